package proxy

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"github.com/tr87proxy/tr87proxy/policy"
)

// Proof is what a client shows of who it is.
type Proof struct {
	Addr             netip.Addr // that its connection, or a nonce of ours, has proved
	CertificateNames []string   // of its verified certificate, the one that counts first
	Login            *Login     // nil: it has said no name and password
}

// Login is a name with a password, of an account.
type Login struct {
	User, Password string
	Application    string // its application ID, which an account can ask for; "": none
}

// Why nobody is known by a proof, beside what Accounts say.
var (
	ErrNobody     = errors.New("the peer is not trusted")
	ErrNoAccounts = errors.New("no name and password")
)

// Known is who has shown who it is.
type Known struct {
	Identity policy.Identity

	proxy   *Proxy
	proof   Proof
	account Account // the zero value: it has not logged in
}

// Identify returns who shows a proof: the account of its login, or, without one, the trusted peer by its certificate,
// else by its address. With a login it can block, as long as Accounts.Check does, which guards
// passwords against guessing. The error says why it is nobody: ErrNobody, ErrNoAccounts, ErrBusy, an error of Accounts,
// or that no rule names it. The caller notes that ([Proxy.Refused]); a front opens a session with the identity and with
// [Known.Still].
func (p *Proxy) Identify(ctx context.Context, proof Proof) (Known, error) {
	k := Known{proxy: p, proof: proof}
	if proof.Login == nil {
		var ok bool
		if k.Identity, ok = p.peer(proof.Addr, proof.CertificateNames); !ok {
			return Known{}, ErrNobody
		}
		return k, nil
	}
	if p.cfg.Accounts == nil {
		return Known{}, ErrNoAccounts
	}
	var err error
	if k.account, err = p.cfg.Accounts.Check(ctx, proof.Login.Application, proof.Login.User, proof.Login.Password, proof.Addr); err != nil {
		return Known{}, err
	}
	k.proof.Login = &Login{User: proof.Login.User} // the password is not kept
	k.Identity = policy.Identity{Name: k.account.Name, How: "account"}
	if err := p.named(k.Identity); err != nil {
		return Known{}, err
	}
	return k, nil
}

// Still reports whether it would be known as the same still: for [Opening].
func (k Known) Still() bool {
	if k.proof.Login == nil {
		who, ok := k.proxy.peer(k.proof.Addr, k.proof.CertificateNames)
		return ok && who == k.Identity
	}
	return k.proxy.cfg.Accounts.Holds(k.account)
}

// named says that no rule and no grant names an identity, if so.
func (p *Proxy) named(who policy.Identity) error {
	if !p.policy().Known(who) {
		return fmt.Errorf("no grant names %s", who.Name)
	}
	return nil
}

// peer is who a client is that only its connection tells of.
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
