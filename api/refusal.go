package api

import (
	"errors"
	"fmt"
	"net/http"
	"time"
)

// refusal is why a client is not served, as a response of HTTP.
type refusal struct {
	status    int
	detail    string        // for people; without secrets
	retry     time.Duration // after which to try again; 0: not said
	challenge string        // the value of WWW-Authenticate of a 401 that follows on a token; "": those of all ways
	who       string        // whom the client says it is; "": not said
	why       string        // for the log and the audit file; "": detail
}

func (f *refusal) Error() string { return f.detail }

// reason returns what is written down.
func (f *refusal) reason() string {
	if f.why != "" {
		return f.why
	}
	return f.detail
}

// kind returns one of few texts, the same for refusals for the same kind of reason.
func (f *refusal) kind() string { return fmt.Sprint(f.status, f.challenge, f.who != "") }

func refuse(status int, format string, args ...any) *refusal {
	return &refusal{status: status, detail: fmt.Sprintf(format, args...)}
}

// challenge sets the header that says how a client can say who it is.
func (a *authenticator) challenge(h http.Header, r *http.Request, f *refusal) {
	if f.challenge != "" {
		h.Set("WWW-Authenticate", f.challenge)
		return
	}
	h.Set("WWW-Authenticate", `Bearer realm="tr87proxy"`)
	// a browser asks its user for a password at this challenge, which is a nuisance in the middle of a page's script
	if mode := r.Header.Get("Sec-Fetch-Mode"); a.passwords && (mode == "" || mode == "navigate") {
		h.Add("WWW-Authenticate", `Basic realm="tr87proxy", charset="UTF-8"`)
	}
}

// refuse responds to a request whose client is not served.
func (a *authenticator) refuse(w http.ResponseWriter, r *http.Request, err error) {
	f := (*refusal)(nil)
	if !errors.As(err, &f) {
		fail(w, explained(err))
		return
	}
	if f.status == http.StatusUnauthorized {
		a.challenge(w.Header(), r, f)
	}
	w.Header().Set("Cache-Control", "no-store")
	p := problem(f.status, "%s", f.detail)
	p.retry = f.retry
	fail(w, p)
}
