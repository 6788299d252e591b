package front

import (
	"errors"
	"mime"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/tr87proxy/tr87proxy/internal/accounts"
	"github.com/tr87proxy/tr87proxy/internal/digest"
	"github.com/tr87proxy/tr87proxy/internal/kind"
	"github.com/tr87proxy/tr87proxy/proxy"
	"github.com/tr87proxy/tr87proxy/tls"
	"github.com/tr87proxy/tr87proxy/wire/soap"
)

// Door says who the clients of requests are: an account by HTTP Basic or Digest, or a trusted peer by its certificate or
// address. A client that is neither can log in by StartApplicationSession, where application sessions are on.
type Door struct {
	env     *kind.FrontEnv
	callers *kind.Callers
	realm   *digest.Realm
	name    string   // of the protocol, for the log
	plain   bool     // names and passwords are taken without TLS from other machines
	front   string   // whose sessions and listeners these are
	kinds   []string // kinds of certificate names that count
}

// NewDoor returns the door of a front. name is what the log calls the protocol. plain has names and passwords taken without
// TLS from other machines.
func NewDoor(front, name string, plain bool, env *kind.FrontEnv) *Door {
	d := &Door{env: env, callers: kind.NewCallers(env, front, name), name: name, plain: plain, front: front}
	// Some software reads the first challenge alone, and knows MD5 only.
	d.realm = digest.New(accounts.DigestRealm, accounts.MD5, accounts.SHA256)
	if env.Config != nil {
		d.kinds = env.Config.Names
	}
	return d
}

// Texts for clients that are not identified. None says which accounts there are.
const (
	textNoCredentials = "send the name and password of an account"
	textWrong         = "the name or the password is wrong, or the account takes neither by this scheme"
	textLocked        = "the account is locked at this address after too many wrong passwords"
	textBusy          = "too many passwords wait to be checked; try again later"
	textUnnamed       = "no rule and no grant of the configuration names this client"
	textStale         = "respond to the new challenge"
	textNoSession     = "there is no such session: it has ended, or its sessionID is wrong; send StartApplicationSession"
)

// Refusal is why a client is not identified.
type Refusal struct {
	Status int
	Text   string // for the client

	why   string // for the log; "": it is usual that a request with credentials follows
	user  string // whom the client says it is
	stale bool   // only the nonce of its HTTP Digest is unusable
	retry time.Duration
}

// refusal returns the refusal of a request with credentials for an error of [proxy.Proxy.Identify] or
// [accounts.Keeper.CheckDigest].
func refusal(err error, user string) *Refusal {
	f := &Refusal{why: err.Error(), user: user}
	f.Status, f.retry = kind.HTTPStatus(err)
	switch f.Status {
	case http.StatusTooManyRequests:
		f.Text = textLocked
	case http.StatusServiceUnavailable:
		f.Text = textBusy
	case http.StatusForbidden:
		f.Text = textUnnamed
	default:
		f.Text = textWrong
	}
	return f
}

// identify is the Identify of Config.
func (d *Door) identify(w http.ResponseWriter, r *http.Request) (Caller, bool) {
	if len(r.Header.Values("Origin")) > 0 || r.Header.Get("Sec-Fetch-Site") != "" {
		why := "the request comes from a page in a browser"
		refuse(w, r, d.Refuse(r, why), why)
		return Caller{}, false
	}
	c, f := d.Admit(w, r)
	if f != nil {
		refuse(w, r, f.Status, f.Text)
		return Caller{}, false
	}
	return c, true
}

// Admit returns the client of a request. If it is refused, Admit has set headers of the response, and returns why; else nil.
func (d *Door) Admit(w http.ResponseWriter, r *http.Request) (Caller, *Refusal) {
	c, f := d.caller(r)
	if f == nil {
		if c.Opening.Identity.Name != "" {
			kind.Known(r.Context())
		} else {
			c.Challenges = d.challenges(c.Opening.Addr, false)
		}
		return c, nil
	}
	d.refused(r, f)
	if f.retry > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(int(f.retry/time.Second)))
	}
	if f.Status == http.StatusUnauthorized {
		challenge(w, d.challenges(c.Opening.Addr, f.stale))
	}
	return c, f
}

// Refuse writes down that a request is refused for what it is, and returns the status of the response.
func (d *Door) Refuse(r *http.Request, why string) int {
	d.refused(r, &Refusal{Status: http.StatusForbidden, why: why})
	return http.StatusForbidden
}

func (d *Door) refused(r *http.Request, f *Refusal) {
	if f.why != "" {
		d.callers.Refused(r, f.user, strconv.Itoa(f.Status), f.Status, f.why)
	}
}

// challenge asks for credentials.
func challenge(w http.ResponseWriter, challenges []string) {
	for _, c := range challenges {
		w.Header().Add("WWW-Authenticate", c)
	}
}

// challenges returns the values of WWW-Authenticate for a client at an address. HTTP Digest is offered if there are accounts
// that can use it: software that has the choice prefers it.
func (d *Door) challenges(from netip.Addr, stale bool) []string {
	var list []string
	if d.env.Accounts != nil && d.env.Accounts.Digests() {
		list = d.realm.Challenges(from, stale)
	}
	return append(list, `Basic realm="CSTA", charset="UTF-8"`)
}

// refuse responds to a client that is not identified, with a fault in the version of SOAP of its Content-Type.
func refuse(w http.ResponseWriter, r *http.Request, status int, text string) {
	e := &soap.Envelope{}
	if media, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type")); media == "application/soap+xml" {
		e.Version = soap.V12
	}
	w.Header().Set("Content-Type", e.Version.ContentType(""))
	w.WriteHeader(status)
	_, _ = w.Write(e.Fault(soap.Client, text).Envelope())
}

// caller returns the client of a request, or why it is refused.
func (d *Door) caller(r *http.Request) (Caller, *Refusal) {
	c := Caller{}
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	addr := peer.Addr().Unmap()
	c.Opening = proxy.Opening{Addr: addr, Front: d.front, Peer: d.name + ":" + r.RemoteAddr, Place: kind.PlaceOf(r), Sessions: d.env.Sessions}
	if err != nil || !d.env.Admits(addr) {
		return c, forbidden("the configuration does not admit this address", "")
	}
	if r.TLS != nil {
		c.Opening.Names = tls.PeerNames(*r.TLS, d.kinds...)
	}
	proof := proxy.Proof{Addr: addr, CertificateNames: c.Opening.Names}
	f := d.credentials(r, &proof)
	if f != nil {
		return c, f
	}
	who, err := d.env.Proxy.Identify(r.Context(), proof)
	if err == nil {
		err = who.Named()
	}
	anonymous := proof.Login == nil && proof.Account == proxy.Account{}
	if err == nil {
		c.Opening.Identity, c.Opening.Valid, c.Opening.Until = who.Identity, who.Valid, who.Until
		c.Key = d.callers.Key(addr, c.Opening.Names, "peer")
		if account := who.Account(); !anonymous {
			c.Key = d.callers.Key(addr, c.Opening.Names, "account", account.Name, string(account.Seal[:]))
		}
		return c, nil
	}
	f = refusal(err, proof.Account.Name)
	switch {
	case proof.Login != nil:
		f.user = proof.Login.User
	case !anonymous:
	case f.Status == http.StatusUnauthorized && d.env.Proxy.Mode(d.front, d.env.Sessions) != proxy.SessionsOff: // nobody yet
		c.Key = d.callers.Key(addr, c.Opening.Names, "peer")
		return c, nil
	case f.Status == http.StatusUnauthorized && d.env.Accounts != nil: // software made for .NET sends credentials only after 401
		f.why, f.Text = "", textNoCredentials
	case f.Status == http.StatusUnauthorized:
		f = forbidden(f.why, "")
	}
	return c, f
}

// credentials adds the account of a request, or its name and password, to the proof; a request without credentials adds
// nothing.
func (d *Door) credentials(r *http.Request, proof *proxy.Proof) *Refusal {
	given := r.Header.Values("Authorization")
	if len(given) == 0 {
		return nil
	}
	user, password, basic := r.BasicAuth()
	scheme, _, _ := strings.Cut(given[0], " ")
	switch {
	case len(given) > 1 || !basic && !strings.EqualFold(scheme, "Digest"):
		why := "the request has credentials that are not those of HTTP Basic or Digest"
		return &Refusal{Status: http.StatusUnauthorized, Text: why, why: why}
	case r.TLS == nil && !proof.Addr.IsLoopback() && !d.plain:
		return forbidden("a name and password came without TLS; use TLS, or set xml.soap.plain-passwords", user)
	case basic:
		proof.Login = &proxy.Login{User: user, Password: password}
		return nil
	}
	return d.digest(r, given[0], proof)
}

// digest adds the account of a request with HTTP Digest to the proof.
func (d *Door) digest(r *http.Request, credentials string, proof *proxy.Proof) *Refusal {
	if d.env.Accounts == nil {
		return &Refusal{Status: http.StatusUnauthorized, Text: textWrong, why: proxy.ErrNoCredentials.Error()}
	}
	res, err := d.realm.Read(credentials, proof.Addr)
	if err == nil && res.URI != r.RequestURI {
		why := "the credentials are for another URI"
		return &Refusal{Status: http.StatusBadRequest, Text: why, why: why, user: res.Username}
	}
	if err == nil {
		var login accounts.Login
		login, err = d.env.Accounts.CheckDigest(r.Context(), res.Username, res.Algorithm, func(h1 string) error {
			switch {
			case !res.Right(r.Method, h1):
				return accounts.ErrWrong
			case !res.Use():
				return digest.ErrStale
			}
			return nil
		}, proof.Addr)
		proof.Account = proxy.Account(login)
	}
	switch {
	case err == nil:
		return nil
	case errors.Is(err, digest.ErrStale):
		return &Refusal{Status: http.StatusUnauthorized, Text: textStale, user: res.Username, stale: true}
	}
	return refusal(err, res.Username)
}

// forbidden returns the refusal of a request that no other credentials help.
func forbidden(why, user string) *Refusal {
	return &Refusal{Status: http.StatusForbidden, Text: why, why: why, user: user}
}
