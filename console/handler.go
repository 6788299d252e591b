package console

import (
	"context"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/tr87proxy/tr87proxy/internal/audit"
	"github.com/tr87proxy/tr87proxy/internal/kind"
	"github.com/tr87proxy/tr87proxy/internal/share"
)

// contentPolicy lets a page of the console load what the console serves, and nothing else.
const contentPolicy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// safe sets the headers of every response, and refuses what no page of the console sends.
func (c *Console) safe(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer share.Survive(c.env.Log, "a request to the console", func(error) {
			c.fail(w, r, http.StatusInternalServerError, "the proxy could not do it; its log says more")
		})
		for header, value := range map[string]string{
			"Content-Security-Policy": contentPolicy, "X-Frame-Options": "DENY", "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer",
			"Cross-Origin-Opener-Policy": "same-origin", "Cross-Origin-Resource-Policy": "same-origin", "Cache-Control": "no-store",
		} {
			w.Header().Set(header, value)
		}
		public := r.URL.Path == "/" || strings.HasPrefix(r.URL.Path, static)
		_ = http.NewResponseController(w).SetWriteDeadline(time.Time{}) // of the response before; a test has none
		w = paced{w}
		switch {
		case !c.env.Admits(addrOf(r)):
			c.fail(w, r, http.StatusForbidden, "the configuration does not admit this address")
		case !c.settings.Hosts.Local(r.Host):
			c.fail(w, r, http.StatusForbidden, "the console is not known by this name; write the name under console.hosts, or come by an address or localhost")
		case !public && !ownSite(r), !ownOrigin(r):
			c.fail(w, r, http.StatusForbidden, "the request comes from a page of another site")
		default:
			next.ServeHTTP(w, r)
		}
	})
}

// ownSite reports whether a request does not come from a page of another site, port included, as far as the browser says.
func ownSite(r *http.Request) bool {
	site := r.Header["Sec-Fetch-Site"]
	return len(site) == 0 || len(site) == 1 && (site[0] == "same-origin" || site[0] == "none")
}

// ownOrigin reports whether a request does not come from a page of somebody else, as far as the browser says. The scheme of one
// that comes by a reverse proxy is not known.
func ownOrigin(r *http.Request) bool {
	from := r.Header["Origin"]
	if len(from) == 0 {
		return true
	}
	u, err := url.Parse(from[0])
	return len(from) == 1 && err == nil && u.Host == r.Host && (u.Scheme == "https" || u.Scheme == "http" && r.TLS == nil)
}

func (c *Console) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", servePage)
	mux.HandleFunc("GET "+static+"{path...}", c.serveStatic)
	mux.HandleFunc("POST /session", c.logIn)
	mux.Handle("GET /session", c.known(func(w http.ResponseWriter, _ *http.Request, l *login) { c.session(w, l) }))
	mux.Handle("DELETE /session", c.known(c.logOut))
	mux.Handle("/admin/", c.known(c.administer))
	for _, path := range []string{"/v1/", "/openapi.json", "/problems/"} {
		mux.Handle(path, c.known(c.call))
	}
	mux.Handle("/", c.known(func(w http.ResponseWriter, r *http.Request, _ *login) {
		c.fail(w, r, http.StatusNotFound, "there is no such path")
	}))
	return mux
}

// known serves requests of those who have logged in. What changes something proves that a page of the console sends it.
func (c *Console) known(next func(http.ResponseWriter, *http.Request, *login)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		l := c.shown(r)
		switch {
		case l == nil:
			c.fail(w, r, http.StatusUnauthorized, "log in first")
		case r.Header.Get("Upgrade") != "" && len(r.Header["Origin"]) == 0:
			c.fail(w, r, http.StatusForbidden, "a WebSocket of the console is opened by a page of it")
		case r.Method != http.MethodGet && r.Method != http.MethodHead && !l.proves(r):
			c.fail(w, r, http.StatusForbidden, "the request has not the X-CSRF-Token of this login")
		default:
			kind.Known(r.Context())
			next(w, r, l)
		}
	})
}

// proves reports whether a request has the token that only pages of the console know.
func (l *login) proves(r *http.Request) bool {
	given := r.Header["X-Csrf-Token"]
	return len(given) == 1 && subtle.ConstantTimeCompare([]byte(given[0]), []byte(l.csrf)) == 1
}

// call serves a request of the API.
func (c *Console) call(w http.ResponseWriter, r *http.Request, l *login) {
	r.Header.Del("Authorization") // the cookie says who it is
	c.parts.API(w, r.WithContext(kind.WithServing(r.Context(), l.ctx)), l.visitor())
}

// administer serves a request of an administrator. The audit file has an action, and the reading of octets, before it happens, and
// its outcome.
func (c *Console) administer(w http.ResponseWriter, r *http.Request, l *login) {
	within, cancel := context.WithCancel(r.Context()) // it waits no longer than the login lasts
	defer cancel()
	defer context.AfterFunc(l.ctx, cancel)()
	action := http.StripPrefix("/admin", c.parts.Admin)
	r = r.WithContext(within)
	if r.Method == http.MethodGet || r.Method == http.MethodHead {
		w = &lasting{ResponseWriter: w, holds: func() bool { return c.logins.check(l) == nil }}
		if r.URL.Path != "/admin/pcap" && r.URL.Path != "/admin/octets" {
			action.ServeHTTP(w, r)
			return
		}
	}
	who := l.identified.Identity
	e := audit.Entry{
		Kind: "asked", Who: who.Name, How: who.How, Front: name, Peer: name + ":" + r.RemoteAddr, Session: l.id,
		Service: share.Clip(r.Method + " " + r.URL.RequestURI()),
	}
	if err := c.parts.Audit.Add(e); err != nil {
		c.fail(w, r, http.StatusServiceUnavailable, "the audit file cannot be written, so the console changes nothing and shows no octets; the admin socket does")
		return
	}
	out := &outcome{ResponseWriter: w, status: http.StatusOK}
	action.ServeHTTP(out, r)
	e.Kind, e.Outcome = "done", "ok"
	if out.status >= http.StatusBadRequest {
		e.Outcome = http.StatusText(out.status)
	}
	c.parts.Audit.Note(e)
}

// lasting is a response to a login, that goes out only as long as it holds. A request may have waited since it came.
type lasting struct {
	http.ResponseWriter

	holds func() bool
	begun bool
}

var errEnded = errors.New("the login has ended")

// WriteHeader implements http.ResponseWriter.
func (l *lasting) WriteHeader(status int) {
	l.begun = true
	l.ResponseWriter.WriteHeader(status)
}

// Write implements http.ResponseWriter.
func (l *lasting) Write(p []byte) (int, error) {
	if !l.holds() {
		if !l.begun {
			l.WriteHeader(http.StatusUnauthorized)
		}
		return 0, errEnded
	}
	l.begun = true
	return l.ResponseWriter.Write(p)
}

// Unwrap is for http.ResponseController.
func (l *lasting) Unwrap() http.ResponseWriter { return l.ResponseWriter }

// paced is a response whose reader must go on taking it.
type paced struct{ http.ResponseWriter }

// writeTime is the longest time in which a browser takes a part of a response.
const writeTime = 30 * time.Second

// Write implements http.ResponseWriter.
func (p paced) Write(part []byte) (int, error) {
	_ = http.NewResponseController(p.ResponseWriter).SetWriteDeadline(time.Now().Add(writeTime)) // a test's has none
	return p.ResponseWriter.Write(part)
}

// Unwrap is for http.ResponseController.
func (p paced) Unwrap() http.ResponseWriter { return p.ResponseWriter }

// outcome is a response whose status is kept.
type outcome struct {
	http.ResponseWriter

	status int
}

// WriteHeader implements http.ResponseWriter.
func (o *outcome) WriteHeader(status int) {
	o.status = status
	o.ResponseWriter.WriteHeader(status)
}

// Unwrap is for http.ResponseController.
func (o *outcome) Unwrap() http.ResponseWriter { return o.ResponseWriter }

// fail responds that a request has failed: under the paths of the API as the API does.
func (*Console) fail(w http.ResponseWriter, r *http.Request, status int, text string) {
	if strings.HasPrefix(r.URL.Path, "/v1/") {
		w.Header().Set("Content-Type", "application/problem+json")
		respond(w, status, map[string]any{"type": "about:blank", "title": http.StatusText(status), "status": status, "detail": text})
		return
	}
	respond(w, status, map[string]string{"error": text})
}

func respond(w http.ResponseWriter, status int, what any) {
	if w.Header().Get("Content-Type") == "" {
		w.Header().Set("Content-Type", "application/json")
	}
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(what) // the browser may have left
}
