package proxy_test

import (
	"errors"
	"net/netip"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tr87proxy/tr87proxy/policy"
	"github.com/tr87proxy/tr87proxy/proxy"
)

// Identify derives the identity from the proof and says why there is none.
func TestIdentify(t *testing.T) {
	trusted, elsewhere := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("198.51.100.1")
	rules := policy.FromGrants(nil, policy.Grant{Who: "crm", Control: []string{"100"}})
	rules.Trusted = []policy.Peer{{Network: netip.PrefixFrom(trusted, 32)}, {Certificate: "crm.*"}}
	p := proxy.New(proxy.Config{Policy: rules, Accounts: &vault{}})
	none := proxy.New(proxy.Config{Policy: rules})
	token := func(name string) *proxy.Token {
		return &proxy.Token{Name: name, How: "token", Valid: func() bool { return true }}
	}
	login := func(user, password string) *proxy.Login { return &proxy.Login{User: user, Password: password} }
	for _, tt := range []struct {
		core  *proxy.Proxy
		proof proxy.Proof
		want  policy.Identity
		err   error // nil, where there is no identity: any
	}{
		{p, proxy.Proof{Addr: trusted}, policy.Identity{Name: "192.0.2.1", How: "address"}, nil},
		{p, proxy.Proof{Addr: elsewhere}, policy.Identity{}, proxy.ErrUntrusted},
		{p, proxy.Proof{Addr: elsewhere, CertificateNames: []string{"CRM.example"}}, policy.Identity{Name: "crm.example", How: "certificate"}, nil},
		{p, proxy.Proof{Addr: elsewhere, CertificateNames: []string{"erp.example"}}, policy.Identity{}, proxy.ErrUntrusted},
		{p, proxy.Proof{Addr: elsewhere, Login: login("crm", "right")}, policy.Identity{Name: "crm", How: "account"}, nil},
		{p, proxy.Proof{Addr: trusted, Login: login("crm", "wrong")}, policy.Identity{}, nil}, // a trusted peer is nobody else by a wrong password
		{p, proxy.Proof{Addr: elsewhere, Login: login("erp", "right")}, policy.Identity{}, nil},
		{p, proxy.Proof{Addr: elsewhere, Token: token("CRM")}, policy.Identity{Name: "crm", How: "token"}, nil},
		{p, proxy.Proof{Addr: trusted, Token: token("erp")}, policy.Identity{}, proxy.ErrUnnamed},
		{p, proxy.Proof{Addr: trusted, Token: token("")}, policy.Identity{}, proxy.ErrUnnamed},
		{p, proxy.Proof{Addr: elsewhere, Login: login("erp", "right")}, policy.Identity{}, proxy.ErrUnnamed},
		{none, proxy.Proof{Addr: trusted, Login: login("crm", "right")}, policy.Identity{}, proxy.ErrNoCredentials},
	} {
		known, err := tt.core.Identify(t.Context(), tt.proof)
		if known.Identity != tt.want || (err == nil) != (tt.want.Name != "") || tt.err != nil && !errors.Is(err, tt.err) {
			t.Errorf("%+v: %v, %v", tt.proof, known.Identity, err)
		}
		if err == nil && !known.Valid() {
			t.Errorf("%+v: known no more at once", tt.proof)
		}
	}
}

// A session that a login opened closes when the account changes, and that of a trusted peer when it is
// no longer trusted.
func TestIdentityNoLongerValid(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		addr := netip.MustParseAddr("192.0.2.1")
		rules := policy.FromGrants(nil, policy.Grant{Who: "*", Control: []string{"100"}})
		v := &vault{}
		trusting := *rules
		trusting.Trusted = []policy.Peer{{Network: netip.PrefixFrom(addr, 32)}}
		p := start(t, &flaky{lose: make(chan error)}, &trusting, func(c *proxy.Config) { c.Accounts = v })
		open := func(proof proxy.Proof) *listener {
			known, err := p.Identify(t.Context(), proof)
			if err != nil {
				t.Fatal(err)
			}
			l := &listener{}
			if _, err := p.Open(proxy.Opening{Identity: known.Identity, Addr: addr, Peer: "test", Front: "test", Valid: known.Valid}, l); err != nil {
				t.Fatal(err)
			}
			return l
		}
		application, peer := open(proxy.Proof{Addr: addr, Login: &proxy.Login{User: "crm", Password: "right"}}), open(proxy.Proof{Addr: addr})
		v.holds.Store(1) // the account has another password
		p.Recheck()
		if application.closed == nil || peer.closed != nil {
			t.Error(application.closed, peer.closed)
		}
		p.SetRules(rules, &policy.Numbers{})
		if peer.closed == nil {
			t.Error("a peer that is not trusted any more has its session still")
		}
	})
}

// A session that a token opened closes when the token expires, whatever it says of itself, and when it does not hold any
// more; then no request goes through it.
func TestTokenExpires(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rules := policy.FromGrants(nil, policy.Grant{Who: "crm", Control: []string{"100"}})
		p := start(t, &flaky{lose: make(chan error)}, rules, func(*proxy.Config) {})
		var revoked atomic.Bool
		open := func(until time.Time) *listener {
			known, err := p.Identify(t.Context(), proxy.Proof{Token: &proxy.Token{Name: "crm", How: "token", Until: until, Valid: func() bool { return !revoked.Load() }}})
			if err != nil {
				t.Fatal(err)
			}
			l := &listener{}
			if _, err := p.Open(proxy.Opening{Identity: known.Identity, Peer: "test", Front: "test", Valid: known.Valid, Until: known.Until}, l); err != nil {
				t.Fatal(err)
			}
			return l
		}
		expires, stays := open(time.Now().Add(time.Hour)), open(time.Time{})
		time.Sleep(time.Hour - 1)
		synctest.Wait()
		if expires.over() != nil {
			t.Error("too early:", expires.over())
		}
		time.Sleep(time.Nanosecond)
		synctest.Wait()
		if expires.over() == nil || stays.over() != nil {
			t.Error(expires.over(), stays.over())
		}
		known, err := p.Identify(t.Context(), proxy.Proof{Token: &proxy.Token{Name: "crm", How: "token", Until: time.Now().Add(time.Minute), Valid: func() bool { return true }}})
		if err != nil || !known.Valid() {
			t.Error(err)
		}
		time.Sleep(time.Minute)
		if known.Valid() {
			t.Error("it is valid for ever")
		}
		revoked.Store(true)
		p.Recheck()
		if err := stays.over(); err == nil || err.Error() != "the token has been revoked" {
			t.Error("it is revoked, and its session:", err)
		}
	})
}
