package api

import (
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"net/http"
	"strings"
)

// page shows /openapi.json to people. It needs nothing from elsewhere.
//
//go:embed page.html
var page string

// pagePolicy lets the page run its own script, and talk to the proxy alone.
var pagePolicy = "default-src 'none'; connect-src 'self'; script-src " + hashIn(page, "script") + "; style-src " + hashIn(page, "style") +
	"; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// hashIn returns the hash of the content of an element, as Content-Security-Policy has it.
func hashIn(document, element string) string {
	_, rest, _ := strings.Cut(document, "<"+element+">")
	content, _, _ := strings.Cut(rest, "</"+element+">")
	sum := sha256.Sum256([]byte(content))
	return "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
}

// servePage serves the page.
func servePage(w http.ResponseWriter, _ *http.Request) {
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Security-Policy", pagePolicy)
	h.Set("Cache-Control", "no-cache")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("X-Content-Type-Options", "nosniff")
	_, _ = w.Write([]byte(page)) // the client may have left
}
