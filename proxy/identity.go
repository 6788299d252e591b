package proxy

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/tr87proxy/tr87proxy/policy"
)

// Proof is the evidence of a client's identity, for [Proxy.Identify].
type Proof struct {
	Addr             netip.Addr // proved by the transport connection, or by a nonce that the client returned
	CertificateNames []string   // of the verified client certificate, the preferred one first
	Login            *Login     // nil: no name and password given
	Account          Account    // to which the front has seen the client log in other than by its password; the zero value: none
	Token            *Token     // nil: no token given
}

// Login is the name and password of an account.
type Login struct {
	User, Password string
	Application    string // the application ID, which an account can require; "": none
}

// Token is what a front has learnt from a token that it has checked itself.
type Token struct {
	Name  string      // the identity
	How   string      // token or openid
	Until time.Time   // when the token expires; the zero time: never
	Valid func() bool // reports whether the token still means the same; it must not block. Time alone ends it at Until
}

// Errors of [Proxy.Identify], besides those of Accounts.
var (
	ErrUntrusted     = errors.New("the peer is not trusted")
	ErrNoCredentials = errors.New("no credentials, or no accounts configured")
	ErrUnnamed       = errors.New("no grant names")
)

// These errors close sessions whose client would not be identified as before.
var (
	errExpired = errors.New("the client's token has expired")
	errRevoked = errors.New("the token has been revoked")
	errAccount = errors.New(accountGone)
)

// Identified is the result of [Proxy.Identify].
type Identified struct {
	Identity policy.Identity
	Until    time.Time // when it ends by itself; the zero time: never. It serves as Opening.Until

	proxy   *Proxy
	proof   Proof
	account Account // the zero value: no login
}

// Identify authenticates a client. With a login or an account, the identity is that of the account, with a token that of the token;
// otherwise it is that of the trusted peer, by certificate or else by address. With a login Identify may block as long
// as Accounts.Check does, which also guards passwords against guessing.
//
// The error is ErrUntrusted, ErrNoCredentials, ErrBusy, an error of Accounts, or, with a login or token, ErrUnnamed. The
// caller reports it to [Proxy.Refused]. A front opens a session with the identity and with [Identified.Valid].
func (p *Proxy) Identify(ctx context.Context, proof Proof) (Identified, error) {
	k := Identified{proxy: p, proof: proof}
	switch {
	case proof.Token != nil:
		k.Identity, k.Until = policy.Identity{Name: strings.ToLower(proof.Token.Name), How: proof.Token.How}, proof.Token.Until
	case proof.Account != Account{}:
		k.account, k.Identity = proof.Account, policy.Identity{Name: proof.Account.Name, How: "account"}
	case proof.Login == nil:
		var ok bool
		if k.Identity, ok = p.peer(proof.Addr, proof.CertificateNames); !ok {
			return Identified{}, ErrUntrusted
		}
		return k, nil
	case p.cfg.Accounts == nil:
		return Identified{}, ErrNoCredentials
	default:
		var err error
		if k.account, err = p.cfg.Accounts.Check(ctx, proof.Login.Application, proof.Login.User, proof.Login.Password, proof.Addr); err != nil {
			return Identified{}, err
		}
		k.proof.Login = &Login{User: proof.Login.User} // without the password
		k.Identity = policy.Identity{Name: k.account.Name, How: "account"}
	}
	if err := k.Named(); err != nil {
		return Identified{}, err
	}
	return k, nil
}

// Valid reports whether Identify would still return the same identity. It serves as Opening.Valid.
func (k Identified) Valid() bool {
	switch {
	case k.proof.Token != nil:
		return (k.Until.IsZero() || time.Now().Before(k.Until)) && k.proof.Token.Valid()
	case k.account != Account{}:
		return k.proxy.cfg.Accounts.Holds(k.account)
	}
	who, ok := k.proxy.peer(k.proof.Addr, k.proof.CertificateNames)
	return ok && who == k.Identity
}

// Account returns the account that the client has logged in to; the zero value: none.
func (k Identified) Account() Account { return k.account }

// Lapsed returns why Identify would not return the same identity any more, in words for the client; nil: it would.
func (k Identified) Lapsed() error {
	if k.Valid() {
		return nil
	}
	return lapse(k.Identity.How, k.Until)
}

// lapse returns why an identification does not hold any more.
func lapse(how string, until time.Time) error {
	switch {
	case !until.IsZero() && !time.Now().Before(until):
		return errExpired
	case how == "token":
		return errRevoked
	case how == "account":
		return errAccount
	}
	return errRights
}

// Named returns ErrUnnamed if no rule and no grant names the identity.
func (k Identified) Named() error { return k.proxy.named(k.Identity) }

// Administers reports whether the identity may administer the proxy now.
func (k Identified) Administers() bool { return k.proxy.policy().Administers(k.Identity) }

// named returns an error if no rule and no grant names an identity.
func (p *Proxy) named(who policy.Identity) error {
	if !p.policy().Known(who) {
		return fmt.Errorf("%w %s", ErrUnnamed, who.Name)
	}
	return nil
}

// expire closes the session at a time.
func (s *Session) expire(at time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed {
		s.expiry = time.AfterFunc(time.Until(at), func() { s.disconnect(errExpired) })
	}
}

// peer returns the identity of a client by its transport connection alone.
func (p *Proxy) peer(addr netip.Addr, names []string) (policy.Identity, bool) {
	rules := p.policy()
	switch {
	case rules.Demo:
		return policy.Identity{Name: "demo", How: "demo"}, true
	case !rules.Trusts(addr, names):
		return policy.Identity{}, false
	case len(names) > 0:
		return policy.Identity{Name: strings.ToLower(names[0]), How: "certificate"}, true
	}
	return policy.Identity{Name: addr.String(), How: "address"}, true
}

// Mode returns whether clients of a front open application sessions: what the configuration says of it now, or else
// the mode that the front says itself.
func (p *Proxy) Mode(front string, itself SessionMode) SessionMode {
	if mode, ok := p.rules.Load().modes[front]; ok {
		return mode
	}
	return itself
}

// Peers returns what says who a client of a connection is, for fronts whose clients have a session as long as they are
// connected. A peer that is not trusted is nobody until it opens an application session. If the front's clients open
// none ([Proxy.Mode]), it may not connect: false.
func (p *Proxy) Peers(front string, mode SessionMode) func(addr netip.Addr, certificateNames []string) (policy.Identity, bool) {
	return func(addr netip.Addr, names []string) (policy.Identity, bool) {
		who, ok := p.peer(addr, names)
		return who, ok || p.Mode(front, mode) != SessionsOff
	}
}
