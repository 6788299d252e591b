package front

import (
	"mime"
	"net/http"
	"net/netip"
	"strconv"
	"time"

	"github.com/tr87proxy/tr87proxy/internal/kind"
	"github.com/tr87proxy/tr87proxy/proxy"
	"github.com/tr87proxy/tr87proxy/tls"
	"github.com/tr87proxy/tr87proxy/wire/soap"
)

// door says who the clients of requests are: an account by HTTP Basic, or a trusted peer by its certificate or address. A
// client that is neither can log in by StartApplicationSession, where application sessions are on.
type door struct {
	env     *kind.FrontEnv
	callers *kind.Callers
	plain   bool     // passwords are taken without TLS from other machines
	front   string   // whose sessions and listeners these are
	kinds   []string // kinds of certificate names that count
}

func newDoor(front string, plain bool, env *kind.FrontEnv) *door {
	d := &door{env: env, callers: kind.NewCallers(env, front, name), plain: plain, front: front}
	if env.Config != nil {
		d.kinds = env.Config.Names
	}
	return d
}

// Identify is the Identify of Config.
func (d *door) identify(w http.ResponseWriter, r *http.Request) (Caller, bool) {
	c, status, why := d.caller(w, r)
	if status == 0 {
		if c.Opening.Identity.Name != "" {
			kind.Known(r.Context())
		}
		return c, true
	}
	if why != "" { // a first request without credentials is usual: software made for .NET sends one
		user, _, _ := r.BasicAuth()
		d.callers.Refused(r, user, strconv.Itoa(status), status, why)
	}
	refuse(w, r, status)
	return Caller{}, false
}

// refuse responds to a client that is not identified, with a fault in the version of SOAP of its Content-Type; with 401, it
// asks for credentials.
func refuse(w http.ResponseWriter, r *http.Request, status int) {
	reason := http.StatusText(status)
	if status == http.StatusUnauthorized {
		reason = "send the name and password of an account by HTTP Basic"
		w.Header().Set("WWW-Authenticate", `Basic realm="CSTA", charset="UTF-8"`)
	}
	e := &soap.Envelope{}
	if media, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type")); media == "application/soap+xml" {
		e.Version = soap.V12
	}
	w.Header().Set("Content-Type", e.Version.ContentType(""))
	w.WriteHeader(status)
	_, _ = w.Write(e.Fault(soap.Client, reason).Envelope())
}

// caller returns the client of a request; else the status of the response, and why, "" for a request that has no credentials
// and may be followed by one that does.
func (d *door) caller(w http.ResponseWriter, r *http.Request) (c Caller, status int, why string) {
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	addr := peer.Addr().Unmap()
	c.Opening = proxy.Opening{Addr: addr, Front: d.front, Peer: name + ":" + r.RemoteAddr, Sessions: d.env.Sessions}
	if err != nil || !d.env.Admits(addr) {
		return c, http.StatusForbidden, "the configuration does not admit this address"
	}
	if len(r.Header.Values("Origin")) > 0 || r.Header.Get("Sec-Fetch-Site") != "" {
		return c, http.StatusForbidden, "the request comes from a page in a browser"
	}
	if r.TLS != nil {
		c.Opening.Names = tls.PeerNames(*r.TLS, d.kinds...)
	}
	proof := proxy.Proof{Addr: addr, CertificateNames: c.Opening.Names}
	given := r.Header.Values("Authorization")
	user, password, basic := r.BasicAuth()
	switch {
	case len(given) > 1 || len(given) == 1 && !basic:
		return c, http.StatusUnauthorized, "the request has credentials that are not those of HTTP Basic"
	case basic && r.TLS == nil && !addr.IsLoopback() && !d.plain:
		return c, http.StatusForbidden, "a password came without TLS (xml.soap.plain-passwords)"
	case basic:
		proof.Login = &proxy.Login{User: user, Password: password}
		c.Key = d.callers.Key(addr, c.Opening.Names, "login", user, password)
	default:
		c.Key = d.callers.Key(addr, c.Opening.Names, "peer")
	}
	who, err := d.env.Proxy.Identify(r.Context(), proof)
	if err == nil {
		err = who.Named()
	}
	if err == nil {
		c.Opening.Identity, c.Opening.Valid, c.Opening.Until = who.Identity, who.Valid, who.Until
		return c, 0, ""
	}
	status, retry := kind.HTTPStatus(err)
	if retry > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(int(retry/time.Second)))
	}
	switch {
	case basic || status != http.StatusUnauthorized:
		return c, status, err.Error()
	case d.env.Proxy.Mode(d.front, d.env.Sessions) != proxy.SessionsOff: // nobody yet
		return c, 0, ""
	}
	return c, status, ""
}
