package proxy

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"github.com/tr87proxy/tr87proxy/policy"
)

// Proof is the evidence of a client's identity, for [Proxy.Identify].
type Proof struct {
	Addr             netip.Addr // proved by the transport connection, or by a nonce that the client returned
	CertificateNames []string   // of the verified client certificate, the preferred one first
	Login            *Login     // nil: no name and password given
}

// Login is the name and password of an account.
type Login struct {
	User, Password string
	Application    string // the application ID, which an account can require; "": none
}

// Errors of [Proxy.Identify], besides those of Accounts.
var (
	ErrUntrusted     = errors.New("the peer is not trusted")
	ErrNoCredentials = errors.New("no credentials, or no accounts configured")
)

// Identified is the result of [Proxy.Identify].
type Identified struct {
	Identity policy.Identity

	proxy   *Proxy
	proof   Proof
	account Account // the zero value: no login
}

// Identify authenticates a client. With a login, the identity is that of the account; otherwise it is
// that of the trusted peer, by certificate or else by address. With a login Identify may block as long
// as Accounts.Check does, which also guards passwords against guessing.
//
// The error is ErrUntrusted, ErrNoCredentials, ErrBusy, an error of Accounts, or says that no rule
// names the identity. The caller reports it to [Proxy.Refused]. A front opens a session with the
// identity and with [Identified.Valid].
func (p *Proxy) Identify(ctx context.Context, proof Proof) (Identified, error) {
	k := Identified{proxy: p, proof: proof}
	if proof.Login == nil {
		var ok bool
		if k.Identity, ok = p.peer(proof.Addr, proof.CertificateNames); !ok {
			return Identified{}, ErrUntrusted
		}
		return k, nil
	}
	if p.cfg.Accounts == nil {
		return Identified{}, ErrNoCredentials
	}
	var err error
	if k.account, err = p.cfg.Accounts.Check(ctx, proof.Login.Application, proof.Login.User, proof.Login.Password, proof.Addr); err != nil {
		return Identified{}, err
	}
	k.proof.Login = &Login{User: proof.Login.User} // without the password
	k.Identity = policy.Identity{Name: k.account.Name, How: "account"}
	if err := p.named(k.Identity); err != nil {
		return Identified{}, err
	}
	return k, nil
}

// Valid reports whether Identify would still return the same identity. It serves as Opening.Valid.
func (k Identified) Valid() bool {
	if k.proof.Login == nil {
		who, ok := k.proxy.peer(k.proof.Addr, k.proof.CertificateNames)
		return ok && who == k.Identity
	}
	return k.proxy.cfg.Accounts.Holds(k.account)
}

// named returns an error if no rule and no grant names an identity.
func (p *Proxy) named(who policy.Identity) error {
	if !p.policy().Known(who) {
		return fmt.Errorf("no grant names %s", who.Name)
	}
	return nil
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
