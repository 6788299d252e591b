package proxy_test

import (
	"testing"
	"testing/synctest"

	"github.com/tr87proxy/tr87proxy/proxy"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

// A request that a front carries out itself has the limits of all: a client must log in first, it waits while a password is
// being checked, and it counts.
func TestOwnRequests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := start(t, &flaky{lose: make(chan error)}, crmRules, func(c *proxy.Config) { c.Accounts = book{"crm": true} })
		s, _ := bound(t, p)
		carried := 0
		own := func() *uacsta.Message {
			var res *uacsta.Message
			s.Own(uacsta.NewMessage("urn:x", "GetDeviceId"), func(answer func(*uacsta.Message, error)) {
				carried++
				answer(uacsta.NewMessage("urn:x", "GetDeviceIdResponse"), nil)
			}, func(m *uacsta.Message) { res = m })
			synctest.Wait()
			return res
		}
		if res := own(); why(res) != uacsta.Generic || carried != 0 {
			t.Errorf("before a login: %s, carried out %d times", res, carried)
		}
		logIn(s, "crm", "right", 0)
		if res := own(); res.Name() != "GetDeviceIdResponse" || res.Namespace() != "urn:x" || carried != 1 {
			t.Errorf("after the login: %s, carried out %d times", res, carried)
		}
		if n := p.Stats().Requests.Load(); n != 3 {
			t.Errorf("%d requests counted", n)
		}
	})
}
