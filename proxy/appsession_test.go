package proxy_test

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/tr87proxy/tr87proxy/policy"
	"github.com/tr87proxy/tr87proxy/proxy"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

// vault is a list of accounts whose checks take a while.
type vault struct {
	checking sync.Mutex // held: no check returns
	seal     byte       // of the account that Check returns
	holds    atomic.Int32
}

func (v *vault) Check(_ context.Context, _, name, password string, _ netip.Addr) (proxy.Account, error) {
	v.checking.Lock()
	defer v.checking.Unlock()
	if password != "right" {
		return proxy.Account{}, errors.New("wrong")
	}
	return proxy.Account{Name: name, Seal: [32]byte{v.seal}}, nil
}

func (v *vault) Holds(a proxy.Account) bool { return a.Seal[0] == byte(v.holds.Load()) }

func login(password string) uacsta.StartApplicationSession {
	return uacsta.Login{User: "crm", Password: password}.Opening("x", uacsta.LoginPlain, 0, uacsta.Edition3)
}

// Requests that a client sends without waiting, logins among them, are answered in order. None is
// refused because another is being checked.
func TestPipelinedLogins(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := &vault{}
		rules := policy.FromGrants(nil, policy.Grant{Who: "crm", Control: []string{"100"}})
		p := start(t, &flaky{lose: make(chan error)}, rules, func(c *proxy.Config) { c.Accounts = v })
		s, err := p.Open(proxy.Opening{Sessions: proxy.SessionsMandatory, Peer: "test"}, &listener{})
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		v.checking.Lock()
		for _, req := range []any{login("wrong"), login("also wrong"), uacsta.RequestSystemStatus{}, login("right"), uacsta.RequestSystemStatus{}} {
			s.Request(uacsta.Encode(req, uacsta.Edition3), func(m *uacsta.Message) { got = append(got, m.Name()+" "+m.Text("errorCode/definedError")) })
		}
		if len(got) > 0 {
			t.Error("answered before the password was looked at:", got)
		}
		v.checking.Unlock()
		synctest.Wait()
		want := "StartApplicationSessionNegResponse invalidApplicationInfo,StartApplicationSessionNegResponse invalidApplicationInfo,CSTAErrorCode ,StartApplicationSessionPosResponse ,RequestSystemStatusResponse "
		if strings.Join(got, ",") != want {
			t.Error(got)
		}
		if s.Identity().Name != "crm" {
			t.Error(s.Identity())
		}
	})
}

// A password that changes ends the application session that it opened, and no other. If it changes
// while it is being checked, the application session does not last.
func TestPasswordChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := &vault{}
		rules := policy.FromGrants(nil, policy.Grant{Who: "crm", Control: []string{"100"}})
		p := start(t, &flaky{lose: make(chan error)}, rules, func(c *proxy.Config) { c.Accounts = v })
		open := func() *proxy.Session {
			s, err := p.Open(proxy.Opening{Sessions: proxy.SessionsMandatory, Peer: "test"}, &listener{})
			if err != nil {
				t.Fatal(err)
			}
			s.Request(uacsta.Encode(login("right"), uacsta.Edition3), func(*uacsta.Message) {})
			synctest.Wait()
			return s
		}
		old := open()
		p.Recheck()
		synctest.Wait()
		if old.Identity().Name != "crm" {
			t.Error("it ended although nothing has changed")
		}
		v.holds.Store(1) // the password is another now
		stale := open()  // but this one was looked at before
		v.seal = 1
		fresh := open()
		p.Recheck()
		synctest.Wait()
		if old.Identity().Name != "" || stale.Identity().Name != "" || fresh.Identity().Name != "crm" {
			t.Error(old.Identity(), stale.Identity(), fresh.Identity())
		}
	})
}
