package proxy_test

import (
	"context"
	"net/netip"
	"testing"
	"testing/synctest"

	"github.com/tr87proxy/tr87proxy/policy"
	"github.com/tr87proxy/tr87proxy/proxy"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

// slowBook checks passwords when go says so.
type slowBook struct {
	book
	begun, proceed chan struct{}
}

func (b slowBook) Check(ctx context.Context, application, name, password string, from netip.Addr) (proxy.Account, error) {
	close(b.begun)
	<-b.proceed
	return b.book.Check(ctx, application, name, password, from)
}

// A login that is being checked while a reload goes on gets what the new configuration allows.
func TestReloadDuringLogin(t *testing.T) {
	only101 := policy.FromGrants(nil, policy.Grant{Who: "trunk", Control: []string{"101"}})
	for name, tt := range map[string]struct {
		own  string
		now  proxy.Change
		ends bool
	}{
		"nothing":               {own: "trunk", now: proxy.Change{Policy: crmRules, Modes: map[string]proxy.SessionMode{"xml": proxy.SessionsOptional}}},
		"off":                   {own: "trunk", now: proxy.Change{Policy: crmRules, Modes: map[string]proxy.SessionMode{"xml": proxy.SessionsOff}}, ends: true},
		"the account's rights":  {own: "trunk", now: proxy.Change{Policy: only101, Modes: map[string]proxy.SessionMode{"xml": proxy.SessionsOptional}}, ends: true},
		"rights of a stranger":  {now: proxy.Change{Policy: only101, Modes: map[string]proxy.SessionMode{"xml": proxy.SessionsOptional}}, ends: true},
		"off, and not trusted":  {now: proxy.Change{Policy: crmRules, Modes: map[string]proxy.SessionMode{"xml": proxy.SessionsOff}}, ends: true},
		"mandatory for trusted": {own: "trunk", now: proxy.Change{Policy: crmRules, Modes: map[string]proxy.SessionMode{"xml": proxy.SessionsMandatory}}, ends: true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				slow := slowBook{book{"crm": true}, make(chan struct{}), make(chan struct{})}
				p := start(t, &flaky{lose: make(chan error)}, crmRules, func(c *proxy.Config) {
					c.Accounts, c.Modes = slow, map[string]proxy.SessionMode{"xml": proxy.SessionsOptional}
				})
				l := &listener{}
				s, err := p.Open(proxy.Opening{Identity: policy.Identity{Name: tt.own}, Front: "xml", Addr: client}, l)
				if err != nil {
					t.Fatal(err)
				}
				seconds := 60
				login := uacsta.Login{User: "crm", Password: "right"}.Opening("x", uacsta.LoginPlain, 0, uacsta.Edition3)
				login.RequestedSessionDuration = &seconds
				s.Request(uacsta.Encode(login, uacsta.Edition3), func(*uacsta.Message) {})
				<-slow.begun
				tt.now.Numbers = threeDigits
				p.Change(tt.now)
				close(slow.proceed)
				synctest.Wait()
				if got := s.Identity().Name; got == "crm" && tt.ends && l.over() == nil {
					t.Errorf("the client is %s now", got)
				} else if !tt.ends && got != "crm" {
					t.Errorf("the client is %q, closed: %v", got, l.over())
				}
			})
		})
	}
}

// A reload can come while a session is being opened: between the check of its rights and its entry in the table.
func TestReloadDuringOpening(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := start(t, &flaky{lose: make(chan error)}, crmRules, func(*proxy.Config) {})
		first := true
		reload := func() bool { // the front is asked behind the check of rights
			if first {
				first = false
				p.SetRules(policy.FromGrants(nil, policy.Grant{Who: "trunk", Control: []string{"101"}}), threeDigits)
			}
			return true
		}
		if _, err := p.Open(proxy.Opening{Identity: policy.Identity{Name: "crm"}, Line: "100", Addr: client, Valid: reload}, &listener{}); err == nil {
			t.Log("a reload behind the entry ends it")
		}
		synctest.Wait()
		if n := p.Status().Sessions; n != 0 {
			t.Errorf("%d sessions", n)
		}
	})
}

// A reload that denies an address ends the sessions of its clients, of accounts too.
func TestReloadDeniesAddress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := start(t, &flaky{lose: make(chan error)}, crmRules, func(c *proxy.Config) { c.Accounts = book{"crm": true} })
		s, l := bound(t, p)
		if got := why(logIn(s, "crm", "right", 0)); got != "" {
			t.Fatal(got)
		}
		trusted, other := &listener{}, &listener{}
		for at, l := range map[string]*listener{"192.0.2.7": trusted, "192.0.2.8": other} {
			if _, err := p.Open(proxy.Opening{Identity: policy.Identity{Name: "trunk"}, Addr: netip.MustParseAddr(at)}, l); err != nil {
				t.Fatal(err)
			}
		}
		denied := *crmRules
		denied.Deny = []netip.Prefix{netip.MustParsePrefix("192.0.2.7/32")}
		change := proxy.Change{Policy: &denied, Numbers: threeDigits}
		if foreseen := p.Foresee(change); len(foreseen) != 2 {
			t.Errorf("%v", foreseen)
		}
		p.Change(change)
		synctest.Wait()
		if l.over() == nil || trusted.over() == nil || other.over() != nil {
			t.Errorf("closed: %v, %v, %v", l.over(), trusted.over(), other.over())
		}
		if _, err := p.Open(proxy.Opening{Identity: policy.Identity{Name: "trunk"}, Addr: client}, &listener{}); err == nil {
			t.Error("a client whose connection was accepted before is admitted")
		}
	})
}
