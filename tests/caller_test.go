package tests

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tr87proxy/tr87proxy/tests/openapi"
)

// web asks the HTTP front at a port of this machine. headers are pairs.
func web(t *testing.T, port int, method, path, body string, headers ...string) (status int, header http.Header, text string) {
	t.Helper()
	c := &webClient{
		t: t, server: fmt.Sprintf("http://127.0.0.1:%d", port),
		client: &http.Client{Transport: &openapi.Transport{Fault: func(err error) { t.Error(err) }}},
	}
	w := c.ask(method, path, body, headers...)
	return w.status, w.header, string(w.body)
}

// A client over HTTP is whom its token or password says, as long as that holds, and may do what its token and the rules let
// it; no secret is written down.
func TestCallersOverHTTP(t *testing.T) {
	t.Parallel()
	dir, port := t.TempDir(), freePort(t)
	tokens, accounts, audit := filepath.Join(dir, "tokens"), filepath.Join(dir, "accounts"), filepath.Join(dir, "audit.log")
	account(t, accounts, "crm", "s3cret")
	add := func(args ...string) string {
		t.Helper()
		return addToken(t, tokens, args...)
	}
	control := add("crm", "--scope", "control")
	r := serve(t, fmt.Sprintf("api: {listen: [{transport: tcp, address: \"127.0.0.1:%d\"}], origins: [\"https://crm.example\"]}\naudit: {file: %s}\napplication-sessions: {accounts: %s, tokens-file: %s, lock-after: 2}\n%s", port, audit, accounts, tokens, whoMayWhat))
	observe, unnamed, brief := add("crm"), add("boss"), add("crm", "--expires", "15s") // while it runs
	bearer := func(token string) []string { return []string{"Authorization", "Bearer " + token} }
	basic := func(password string) []string {
		return []string{"Authorization", "Basic " + base64.StdEncoding.EncodeToString([]byte("crm:"+password))}
	}
	ask := func(want int, method, path, body string, headers ...string) string {
		t.Helper()
		status, header, text := web(t, port, method, path, body, headers...)
		if status != want || want == 401 && header.Get("WWW-Authenticate") == "" || want == 429 && header.Get("Retry-After") == "" {
			t.Errorf("%s %s %v: %d %v %s", method, path, len(headers), status, header, text)
		}
		return text
	}
	const devices, calls, to = "/v1/devices", "/v1/devices/1000/calls", `{"to":"1001"}`
	ask(200, "GET", devices, "", bearer(brief)...)
	ask(401, "GET", devices, "")
	ask(200, "GET", devices, "", bearer(observe)...)
	if text := ask(403, "POST", calls, to, bearer(observe)...); !strings.Contains(text, "observe") {
		t.Error(text)
	}
	ask(403, "GET", devices, "", bearer(unnamed)...)
	ask(401, "GET", devices, "", bearer("tr87_wrong")...)
	ask(400, "GET", devices+"?access_token="+control, "")
	ask(403, "GET", devices, "", append(bearer(control), "Origin", "https://evil.example")...)
	ask(200, "GET", devices, "", append(bearer(control), "Origin", "https://crm.example")...)
	ask(204, "OPTIONS", calls, "", "Origin", "https://crm.example", "Access-Control-Request-Method", "POST")
	if status, _, text := web(t, port, "POST", calls, to, bearer(control)...); status/100 != 2 {
		t.Error(status, text)
	}
	ask(200, "GET", devices, "", basic("s3cret")...)
	waitFor(t, "the end of the session of an expired token", func() bool { return strings.Contains(r.out.String(), "the client's token has expired") })
	if text := ask(401, "GET", devices, "", bearer(brief)...); !strings.Contains(text, "expired") {
		t.Error(text)
	}
	if out, status := command(t, "tokens", "revoke", strings.Split(control, "_")[1], "--tokens", tokens); status != 0 {
		t.Fatal(out)
	}
	ask(401, "GET", devices, "", bearer(control)...)
	waitFor(t, "the end of the session of a revoked token", func() bool { return strings.Contains(r.out.String(), "the token has been revoked") })
	ask(200, "GET", devices, "", bearer(observe)...)
	ask(401, "GET", devices, "", basic("guess")...)
	ask(401, "GET", devices, "", basic("guess")...)
	ask(429, "GET", devices, "", basic("s3cret")...)
	r.stop()
	written := r.out.String()
	for _, file := range []string{audit, strings.TrimSuffix(audit, ".log") + "-strangers.log"} {
		data, err := os.ReadFile(file)
		if err != nil || !bytes.Contains(data, []byte("crm")) {
			t.Error(err)
		}
		written += string(data)
	}
	for _, secret := range []string{control, observe, brief, unnamed, "s3cret", basic("s3cret")[1], "guess", strings.Split(observe, "_")[2]} {
		if strings.Contains(written, secret) {
			t.Errorf("%s is written down", secret)
		}
	}
}
