package proxy_test

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tr87proxy/tr87proxy/policy"
	"github.com/tr87proxy/tr87proxy/proxy"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

var threeDigits = &policy.Numbers{Extensions: func(n string) bool { return len(n) == 3 }}

// When the rules change, each client keeps what it still may have. Other monitors, route registrations
// and associations end at the link, and the client is notified.
func TestRulesChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := router()
		collects := 0
		f.answers["StartDataCollection"] = func(*uacsta.Message) (*uacsta.Message, error) {
			collects++
			return uacsta.Encode(uacsta.StartDataCollectionResponse{DcollCrossRefID: fmt.Sprint("c", collects)}, uacsta.Edition3), nil
		}
		f.answers["MakeCall"] = func(req *uacsta.Message) (*uacsta.Message, error) {
			return uacsta.Encode(uacsta.MakeCallResponse{CallingDevice: uacsta.Conn("of"+req.Text("callingDevice"), req.Text("callingDevice"))}, uacsta.Edition3), nil
		}
		p := start(t, f, policy.FromGrants(nil, policy.Grant{Who: "a", Control: []string{"100", "101"}, Dial: []string{"*"}}), func(c *proxy.Config) { c.Linger = time.Hour })
		s, l := open(t, p, "a")
		monitors, registrations, collections := map[string]string{}, map[string]string{}, map[string]string{}
		for _, device := range []string{"100", "101"} {
			monitors[device] = request(s, monitorOf(device)).CrossRef()
			registrations[device] = routes(s, device)
			own := uacsta.Conn(call(s, device), device)
			collections[device] = request(s, uacsta.StartDataCollection{Object: &uacsta.CallObject{Call: &own}}).Text("dcollCrossRefID")
		}
		f.said()
		p.SetRules(policy.FromGrants(nil, policy.Grant{Who: "a", Control: []string{"100", "101"}}), threeDigits)
		if got := names(l); got != "" {
			t.Errorf("nothing ends, and it is told %s", got)
		}
		p.SetRules(policy.FromGrants(nil, policy.Grant{Who: "a", Control: []string{"101"}}), threeDigits)
		synctest.Wait()
		var told []string
		for _, m := range l.take() {
			told = append(told, m.Name()+" "+m.CrossRef()+m.Text("routeRegisterReqID")+m.Text("dcollCrossRefID"))
		}
		want := "MonitorStop " + monitors["100"] + ", RouteRegisterAbort " + registrations["100"] + ", StopDataCollection " + collections["100"]
		if got := strings.Join(told, ", "); got != want {
			t.Errorf("told: %s, want %s", got, want)
		}
		if m := f.last("MonitorStop"); m.CrossRef() != "link1" {
			t.Errorf("the link is asked to stop %s", m)
		}
		if m := f.last("StopDataCollection"); m.Text("dcollCrossRefID") != "c1" {
			t.Errorf("the link is asked to stop %s", m)
		}
		if got := f.said(); got != "RouteRegisterCancel reg1" {
			t.Errorf("the link hears %s", got)
		}
		if why := refusal(request(s, uacsta.MonitorStop{MonitorCrossRefID: monitors["101"]})); why != "" {
			t.Errorf("what stays has gone: %q", why)
		}
		if why := refusal(request(s, uacsta.MonitorStop{MonitorCrossRefID: monitors["100"]})); why != uacsta.InvalidMonitorCrossRefID {
			t.Errorf("what has gone is there: %q", why)
		}
	})
}

// A session closes when the rules no longer name its identity or allow its line, or its front would no
// longer accept the client.
func TestSessionsThatRulesEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		before := policy.FromGrants(nil, policy.Grant{Who: "a", Observe: []string{"100", "101"}}, policy.Grant{Who: "b", Observe: []string{"100"}}, policy.Grant{Who: "crm", Control: []string{"102"}})
		after := policy.FromGrants(nil, policy.Grant{Who: "a", Observe: []string{"100"}}, policy.Grant{Who: "crm", Control: []string{"102"}})
		p := start(t, &flaky{lose: make(chan error)}, before, func(c *proxy.Config) { c.Accounts = book{"crm": true} })
		still := true
		for _, tt := range []struct {
			who, line string
			still     func() bool
			ends      bool
			account   bool
		}{
			{who: "a", line: "100"}, {who: "a", line: "101", ends: true}, {who: "a"}, {who: "b", ends: true}, {who: "b", line: "100", ends: true},
			{who: "a", still: func() bool { return still }, ends: true}, {who: "a", line: "100", still: func() bool { return true }},
			{who: "a", line: "101", account: true}, // the line is that of who opened it, who is another now
		} {
			still = true
			p.SetRules(before, threeDigits)
			l := &listener{}
			s, err := p.Open(proxy.Opening{Identity: policy.Identity{Name: tt.who}, Line: tt.line, Valid: tt.still, Sessions: proxy.SessionsOptional, Addr: client}, l)
			if err != nil {
				t.Fatal(err)
			}
			if tt.account {
				if got := why(logIn(s, "crm", "right", 0)); got != "" {
					t.Fatal(got)
				}
			}
			still = false
			p.SetRules(after, threeDigits)
			synctest.Wait()
			if (l.over() != nil) != tt.ends || p.Status().Sessions != 0 && tt.ends {
				t.Errorf("%s on %q: closed %v", tt.who, tt.line, l.over())
			}
			s.Close(nil)
		}
		if _, err := p.Open(proxy.Opening{Identity: policy.Identity{Name: "a"}, Valid: func() bool { return false }}, &listener{}); err == nil || p.Status().Sessions != 0 {
			t.Errorf("a client that its front would not take any more: %v", err)
		}
	})
}
