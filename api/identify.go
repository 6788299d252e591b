package api

import (
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"strings"

	"github.com/tr87proxy/tr87proxy/internal/kind"
	"github.com/tr87proxy/tr87proxy/internal/openid"
	"github.com/tr87proxy/tr87proxy/internal/tokens"
	"github.com/tr87proxy/tr87proxy/proxy"
	"github.com/tr87proxy/tr87proxy/tls"
)

// caller is the client of a request.
type caller struct {
	identified proxy.Identified
	reach      proxy.Reach
	key        [32]byte // the same for requests with the same credentials from the same address; does not reveal them
	addr       netip.Addr
	names      []string      // in its verified certificate
	token      string        // the ID of its token; "": it has none of the file
	visitor    *kind.Visitor // another front has identified it; nil: this one has
}

// valid reports whether identify would still return the same caller.
func (c caller) valid() bool {
	return c.identified.Valid() && (c.visitor == nil || c.visitor.Valid())
}

// lapsed returns why identify would not return the same caller any more; nil: it would.
func (c caller) lapsed() error {
	if c.visitor != nil && !c.visitor.Valid() {
		return errLeft
	}
	return c.identified.Lapsed()
}

var errLeft = errors.New("the client has logged out, or may not log in any more")

// front returns the front by which the client comes.
func (c caller) front() string {
	if c.visitor != nil {
		return c.visitor.Front
	}
	return name
}

// authenticator says who the clients of requests are.
type authenticator struct {
	env       *kind.FrontEnv
	callers   *kind.Callers
	openID    *openid.Provider // nil: none
	hosts     kind.Hosts       // names of the proxy
	kinds     []string         // kinds of certificate names that count
	passwords bool             // there are accounts
}

// newAuthenticator returns what says who the clients of a front are. Its error is a [*kind.KeyError].
func newAuthenticator(front string, id *Identification, env *kind.FrontEnv) (*authenticator, error) {
	a := &authenticator{env: env, callers: kind.NewCallers(env, front, front), hosts: id.Hosts}
	if env.Config != nil {
		a.passwords, a.kinds = env.Config.Sessions.Accounts != "", env.Config.Names
	}
	if id.OpenID.Issuer != "" {
		source, err := tls.NewClient(tls.Files{CA: id.OpenID.CA, Log: env.Log})
		if err != nil {
			return nil, &kind.KeyError{Key: "openid.ca", Err: err}
		}
		a.openID = openid.New(openid.Config{
			Issuer: id.OpenID.Issuer, Audience: id.OpenID.Audience, Claim: id.OpenID.Claim, Prefix: id.OpenID.Prefix, TLS: source.Config(), Log: env.Log,
		})
	}
	return a, nil
}

// close ends what is being fetched from the OpenID provider.
func (a *authenticator) close() {
	if a.openID != nil {
		a.openID.Close()
	}
}

// identify returns the client of a request. Credentials that are given count alone: if they are wrong, it does not matter
// that the address is trusted. The error is a *refusal; identify has recorded it. With a password it may block as long as
// proxy.Accounts.Check does, and with a token of OpenID some seconds.
func (a *authenticator) identify(r *http.Request) (caller, error) {
	c, why := a.caller(r)
	if why != nil {
		a.record(r, why)
		return caller{}, why
	}
	return c, nil
}

func (a *authenticator) caller(r *http.Request) (caller, *refusal) {
	if v := visitorOf(r.Context()); v != nil {
		return caller{identified: v.Identified, key: v.Key, addr: v.Addr, token: v.Token, visitor: v}, nil
	}
	c := caller{}
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	if c.addr = peer.Addr().Unmap(); err != nil || !a.env.Admits(c.addr) {
		return caller{}, refuse(http.StatusForbidden, "the configuration does not admit this address")
	}
	if r.TLS != nil {
		c.names = tls.PeerNames(*r.TLS, a.kinds...)
	}
	given, why := credentialsOf(r)
	if why != nil {
		return caller{}, why
	}
	proof := proxy.Proof{Addr: c.addr, CertificateNames: c.names}
	switch {
	case given.token != "":
		if proof.Token, c.reach, why = a.token(r, given.token); why != nil {
			return caller{}, why
		}
		c.token, c.key = tokens.IDOf(given.token), a.callers.Key(c.addr, c.names, "token", given.token)
	case given.login != nil:
		proof.Login = &proxy.Login{User: given.login.user, Password: given.login.password}
		c.key = a.callers.Key(c.addr, c.names, "login", given.login.user, given.login.password)
	case r.TLS == nil && !a.hosts.Local(r.Host):
		return caller{}, refuse(http.StatusForbidden, "a request without credentials names the proxy by its address, as localhost, or by a name in api.hosts; otherwise any page in a browser could come by a name of its own (DNS rebinding)")
	default:
		c.key = a.callers.Key(c.addr, c.names, "peer")
	}
	if c.identified, err = a.env.Proxy.Identify(r.Context(), proof); err == nil {
		err = c.identified.Named() // of a trusted peer, Identify does not ask
	}
	if err != nil {
		return caller{}, unidentified(err, &proof)
	}
	return c, nil
}

// token checks a bearer token.
func (a *authenticator) token(r *http.Request, text string) (*proxy.Token, proxy.Reach, *refusal) {
	switch {
	case strings.HasPrefix(text, tokens.Prefix) && a.env.Tokens != nil:
		t, err := a.env.Tokens.Check(text)
		if err != nil {
			f := invalid(err)
			if id := tokens.IDOf(text); id != "" {
				f.why = fmt.Sprintf("%v (%s)", err, id)
			}
			return nil, 0, f
		}
		valid := func() bool { return a.env.Tokens.Holds(t) }
		return &proxy.Token{Name: t.Name, How: "token", Until: t.Expires, Valid: valid}, reach(t.Scope == tokens.Observe), nil
	case !strings.HasPrefix(text, tokens.Prefix) && a.openID != nil:
		b, err := a.openID.Check(r.Context(), text)
		if err != nil {
			return nil, 0, invalid(err)
		}
		return &proxy.Token{Name: b.Name, How: "openid", Until: b.Expires, Valid: func() bool { return true }}, reach(b.Observe), nil
	}
	return nil, 0, invalid(errors.New("the proxy knows no tokens of this kind"))
}

func reach(observe bool) proxy.Reach {
	if observe {
		return proxy.ReachObserve
	}
	return proxy.ReachPolicy
}

// invalid returns the refusal of a token (RFC 6750 section 3.1).
func invalid(err error) *refusal {
	down := (*openid.Unavailable)(nil)
	if errors.As(err, &down) {
		return &refusal{status: http.StatusServiceUnavailable, detail: "the token cannot be checked now: the OpenID provider is not available", retry: down.Retry, why: err.Error()}
	}
	f := &refusal{status: http.StatusUnauthorized, detail: err.Error(), challenge: `Bearer realm="tr87proxy", error="invalid_token"`}
	if errors.Is(err, openid.ErrExpired) || errors.Is(err, tokens.ErrExpired) {
		f.challenge += `, error_description="the token has expired"`
	}
	return f
}

// unidentified returns the refusal for an error of proxy.Identify.
func unidentified(err error, proof *proxy.Proof) *refusal {
	f := &refusal{why: err.Error()}
	switch {
	case proof.Login != nil:
		f.who = proof.Login.User
	case proof.Token != nil:
		f.who = proof.Token.Name
	}
	f.status, f.retry = kind.HTTPStatus(err)
	switch {
	case errors.Is(err, proxy.ErrUnnamed) && f.who != "":
		f.detail = fmt.Sprintf("no rule and no grant of the configuration names %.64q", f.who)
	case errors.Is(err, proxy.ErrUnnamed):
		f.detail = "the request has no credentials, and no rule and no grant of the configuration names its address or certificate: send a token, or a name and password"
	case f.status == http.StatusTooManyRequests:
		f.detail = "too many wrong passwords: the name is locked at this address"
	case f.status == http.StatusServiceUnavailable:
		f.detail = "too many passwords to check; try again"
	case errors.Is(err, proxy.ErrUntrusted):
		f.detail = "the request has no credentials, and its address is not trusted"
	case errors.Is(err, proxy.ErrNoCredentials):
		f.detail = "the proxy has no accounts: use a token"
	default:
		f.detail = "unknown name or wrong password"
	}
	return f
}

// record writes down that a client was refused.
func (a *authenticator) record(r *http.Request, f *refusal) {
	a.callers.Refused(r, f.who, f.kind(), f.status, f.reason())
}
