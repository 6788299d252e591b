package api

import (
	"net/http"
	"strings"

	"github.com/tr87proxy/tr87proxy/internal/kind"
	"github.com/tr87proxy/tr87proxy/internal/share"
)

// cors says which pages in browsers may use the interface: those of listed origins, and the proxy's own. It never permits
// cookies, because there are none; a page sends credentials itself.
type cors struct {
	origins kind.Origins
	auth    *authenticator // responds to those that are refused
}

func newCORS(id *Identification, auth *authenticator) *cors { return &cors{id.Origins, auth} }

// allowed reports whether a request may come from where it comes: from no page in a browser, from one of the proxy's own, or
// from one of a listed origin. It holds for WebSockets, too, which browsers let every page open.
func (c *cors) allowed(r *http.Request) bool {
	switch {
	case len(r.Header["Origin"]) > 0:
		return c.origins.Allow(r)
	case r.Method == http.MethodGet || r.Method == http.MethodHead || r.Method == http.MethodOptions:
		return true
	}
	site := r.Header.Get("Sec-Fetch-Site") // a form of a foreign page, of which the browser hides the origin
	return site != "cross-site" && site != "same-site"
}

// What pages may send and read.
const (
	pageMethods  = "GET, HEAD, POST, PUT, PATCH, DELETE"
	pageHeaders  = "Authorization, Content-Type, Accept, Idempotency-Key, Last-Event-ID"
	pageExposed  = "Location, Link, Retry-After, WWW-Authenticate, Idempotency-Replayed"
	preflightAge = "600" // seconds
)

// wrap refuses the requests of foreign pages, responds to preflights, and lets the others through.
func (c *cors) wrap(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Add("Vary", "Origin")
		if !c.allowed(r) {
			why := refuse(http.StatusForbidden, "this page may not use the interface: the configuration does not list its origin (api.origins)")
			why.why = "a page of " + share.Clip(strings.Join(r.Header["Origin"], ", ")) + ", which api.origins does not list"
			c.auth.record(r, why)
			c.auth.refuse(w, r, why)
			return
		}
		if origin := r.Header.Get("Origin"); origin != "" {
			h.Set("Access-Control-Allow-Origin", origin)
			h.Set("Access-Control-Expose-Headers", pageExposed)
		}
		if r.Method != http.MethodOptions || r.Header.Get("Origin") == "" || r.Header.Get("Access-Control-Request-Method") == "" {
			next.ServeHTTP(w, r)
			return
		}
		h.Set("Access-Control-Allow-Methods", pageMethods)
		h.Set("Access-Control-Allow-Headers", pageHeaders)
		h.Set("Access-Control-Max-Age", preflightAge)
		if r.Header.Get("Access-Control-Request-Private-Network") == "true" { // a page in the internet, and the proxy in an office
			h.Set("Access-Control-Allow-Private-Network", "true")
		}
		w.WriteHeader(http.StatusNoContent)
	})
}
