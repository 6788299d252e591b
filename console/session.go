package console

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/tr87proxy/tr87proxy/internal/audit"
	"github.com/tr87proxy/tr87proxy/internal/kind"
	"github.com/tr87proxy/tr87proxy/internal/tokens"
	"github.com/tr87proxy/tr87proxy/proxy"
)

// credentials are what a browser logs in with: a name and a password, or a token.
type credentials struct {
	Name     string `json:"name"`
	Password string `json:"password"`
	Token    string `json:"token"`
}

const maxCredentials = 4 << 10 // octets of the body

// readCredentials reads the body of a login.
func readCredentials(w http.ResponseWriter, r *http.Request) (c credentials, ok bool) {
	d := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxCredentials))
	d.DisallowUnknownFields()
	if d.Decode(&c) != nil {
		return c, false
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return c, false
	}
	byName, byToken := c.Name != "" && c.Password != "", c.Token != ""
	return c, byName && c.Token == "" || byToken && c.Name+c.Password == ""
}

// session is the body of the response to a login.
type session struct {
	Identity string    `json:"identity"`
	CSRF     string    `json:"csrf"`
	Until    time.Time `json:"until"`
	Version  string    `json:"version"`
	Demo     bool      `json:"demo"`
}

func (c *Console) session(w http.ResponseWriter, l *login) {
	respond(w, http.StatusOK, session{l.identified.Identity.Name, l.csrf, l.until, c.parts.Version, c.parts.Demo})
}

// logIn is POST /session.
func (c *Console) logIn(w http.ResponseWriter, r *http.Request) {
	if media, _, _ := strings.Cut(r.Header.Get("Content-Type"), ";"); strings.TrimSpace(media) != "application/json" {
		c.fail(w, r, http.StatusUnsupportedMediaType, "the body must be application/json")
		return
	}
	given, ok := readCredentials(w, r)
	if !ok {
		c.fail(w, r, http.StatusBadRequest, `the body must be {"name": NAME, "password": PASSWORD} or {"token": TOKEN}`)
		return
	}
	l := &login{addr: addrOf(r), listener: kind.Serving(r.Context()), idle: c.settings.Idle}
	if why := c.identify(r, &given, l); why != nil {
		c.callers.Refused(r, why.who, fmt.Sprint(why.status), why.status, why.reason)
		if why.retry > 0 {
			w.Header().Set("Retry-After", strconv.Itoa(int(why.retry.Seconds())+1))
		}
		c.fail(w, r, why.status, why.text)
		return
	}
	if before := c.shown(r); before != nil {
		c.logins.end(before, errAgain)
	}
	peer := name + ":" + r.RemoteAddr
	l.until = time.Now().Add(c.settings.MaxDuration)
	if at := l.identified.Until; !at.IsZero() && at.Before(l.until) {
		l.until = at
	}
	who := l.identified.Identity
	l.ended = func(why error) {
		c.parts.Audit.Note(audit.Entry{Kind: "closed", Who: who.Name, How: who.How, Front: name, Peer: peer, Session: l.id, Reason: why.Error()})
		c.env.Log.Info("console: login ended", "identity", who.String(), "peer", peer, "reason", why)
	}
	cookie, err := c.logins.enter(l)
	if err != nil {
		c.fail(w, r, http.StatusServiceUnavailable, err.Error())
		return
	}
	c.parts.Audit.Note(audit.Entry{Kind: "opened", Who: who.Name, How: who.How, Front: name, Peer: peer, Session: l.id})
	c.env.Log.Info("console: logged in", "identity", who.String(), "peer", peer)
	kind.Known(r.Context())
	setCookie(w, r, cookie, 0)
	c.session(w, l)
}

// logOut is DELETE /session.
func (c *Console) logOut(w http.ResponseWriter, r *http.Request, l *login) {
	c.logins.end(l, errLeft)
	setCookie(w, r, "", -1)
	respond(w, http.StatusOK, struct{}{})
}

// refusal is why somebody may not log in.
type refusal struct {
	status int
	text   string // for the browser; it does not say whether there is such a name
	retry  time.Duration
	who    string
	reason string // for the log and the audit file
}

// identify says in l who logs in, or returns why he may not. It may block as long as a password is checked.
func (c *Console) identify(r *http.Request, given *credentials, l *login) *refusal {
	proof := proxy.Proof{Addr: l.addr}
	who := given.Name
	if given.Token == "" {
		proof.Login = &proxy.Login{User: given.Name, Password: given.Password}
	} else {
		t, err := c.token(given.Token)
		switch {
		case err != nil && !c.guesses.Allow(l.addr, time.Now()): // the right token still counts: others may share the address
			return &refusal{status: http.StatusTooManyRequests, text: "too many wrong tokens from this address; wait, and try again", retry: guessTime, reason: "too many wrong tokens"}
		case err != nil:
			return &refusal{status: http.StatusUnauthorized, text: err.Error(), who: tokens.IDOf(given.Token), reason: err.Error()}
		}
		if t.Scope != tokens.Control {
			return &refusal{status: http.StatusForbidden, text: "the token has the scope observe, which does not administer", who: t.Name, reason: "the scope of the token is observe"}
		}
		who, l.token = t.Name, t.ID
		proof.Token = &proxy.Token{Name: t.Name, How: "token", Until: t.Expires, Valid: func() bool { return c.env.Tokens.Holds(t) }}
	}
	var err error
	if l.identified, err = c.env.Proxy.Identify(r.Context(), proof); err != nil {
		f := &refusal{who: who, reason: err.Error()}
		f.status, f.retry = kind.HTTPStatus(err)
		f.text = map[int]string{
			http.StatusForbidden:          "this identity may not administer: no grant names it; write one with administer: true",
			http.StatusTooManyRequests:    "too many wrong passwords: the name is locked at this address",
			http.StatusServiceUnavailable: "too many passwords to check; try again",
			http.StatusUnauthorized:       "unknown name or wrong password",
		}[f.status]
		if errors.Is(err, proxy.ErrNoCredentials) {
			f.text = "the configuration names no accounts; log in with a token"
		}
		return f
	}
	if !l.identified.Administers() {
		return &refusal{status: http.StatusForbidden, text: "this identity may not administer; write administer: true in its grant", who: who, reason: "no grant gives the right to administer"}
	}
	return nil
}

// token checks a token of the tokens file.
func (c *Console) token(text string) (tokens.Token, error) {
	if c.env.Tokens == nil {
		return tokens.Token{}, errors.New("the configuration names no tokens file; log in with a name and a password")
	}
	return c.env.Tokens.Check(text)
}

// Wrong tokens of a peer: a few at once, then one in each guessTime.
const (
	guessTime  = 10 * time.Second
	guessBurst = 10
	guessPeers = 10000
)

// cookieName returns the name of the cookie. Browsers send cookies of one port to all ports of a host, so the name has the port.
// With TLS its prefix has browsers refuse one that was not set with TLS, for this host alone.
func cookieName(r *http.Request) string {
	text := "tr87proxy"
	if r.TLS != nil {
		text = "__Host-tr87proxy"
	}
	if local, ok := r.Context().Value(http.LocalAddrContextKey).(*net.TCPAddr); ok {
		text += "-" + strconv.Itoa(local.Port)
	}
	return text
}

// setCookie sets the cookie until the browser is closed, or with a maxAge below 0 removes it. It is Secure with TLS:
// without, browsers would not send it back.
func setCookie(w http.ResponseWriter, r *http.Request, value string, maxAge int) {
	//nolint:gosec // Secure, where that is possible
	http.SetCookie(w, &http.Cookie{Name: cookieName(r), Value: value, Path: "/", MaxAge: maxAge, HttpOnly: true, Secure: r.TLS != nil, SameSite: http.SameSiteStrictMode})
}

// shown returns the login whose cookie a request shows; nil: it shows none, or more than one.
func (c *Console) shown(r *http.Request) *login {
	cookies := r.CookiesNamed(cookieName(r))
	if len(cookies) != 1 {
		return nil
	}
	return c.logins.find(cookies[0].Value, kind.Serving(r.Context()), used(r))
}

// unattended is the header of a request that a page sends by itself, while nobody touches keyboard and mouse.
const unattended = "X-Unattended"

// used reports whether somebody sits in front of the page that sends a request. A WebSocket reconnects by itself.
func used(r *http.Request) bool {
	return len(r.Header[unattended]) == 0 && len(r.Header["Upgrade"]) == 0
}

// addrOf returns the address of the peer of a request.
func addrOf(r *http.Request) netip.Addr {
	peer, _ := netip.ParseAddrPort(r.RemoteAddr) // of no TCP: the zero address, which counts as a peer
	return peer.Addr().Unmap()
}
