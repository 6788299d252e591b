package proxy_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tr87proxy/tr87proxy/policy"
	"github.com/tr87proxy/tr87proxy/proxy"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

// book is a list of accounts whose password is "right". Unknown names fail; "slow" is busy.
type book map[string]bool // by name: it is there still

func (b book) Check(_ context.Context, application, name, password string, from netip.Addr) (proxy.Account, error) {
	switch {
	case name == "slow":
		return proxy.Account{}, fmt.Errorf("not now: %w", proxy.ErrBusy)
	case !b[name] || password != "right" || application != "x" || from != client:
		return proxy.Account{}, errors.New("wrong")
	}
	return proxy.Account{Name: name}, nil
}

func (b book) Holds(a proxy.Account) bool { return b[a.Name] }

var client = netip.MustParseAddr("192.0.2.7")

// logIn opens an application session of a duration in seconds; 0 requests none.
func logIn(s *proxy.Session, name, password string, seconds int, editions ...uacsta.Edition) *uacsta.Message {
	if len(editions) == 0 {
		editions = []uacsta.Edition{uacsta.Edition3}
	}
	start := uacsta.Login{User: name, Password: password}.Opening("x", uacsta.LoginPlain, 0, editions...)
	start.RequestedSessionDuration = &seconds
	return request(s, start)
}

// why returns the reason of a negative response, or "".
func why(m *uacsta.Message) string {
	return m.Text("errorCode/definedError") + refusal(m)
}

var crmRules = policy.FromGrants(nil, policy.Grant{Who: "crm", Control: []string{"100"}}, policy.Grant{Who: "erp", Control: []string{"100"}}, policy.Grant{Who: "trunk", Control: []string{"101"}})

// bound opens a session that must log in.
func bound(t *testing.T, p *proxy.Proxy) (*proxy.Session, *listener) {
	t.Helper()
	l := &listener{}
	s, err := p.Open(proxy.Opening{Sessions: proxy.SessionsMandatory, Peer: "test", Addr: client}, l)
	if err != nil {
		t.Fatal(err)
	}
	return s, l
}

// names returns the names of the messages that a client got.
func names(l *listener) string {
	synctest.Wait()
	return strings.Join(namesOf(l.take()), " ")
}

// An application session lasts as long as the client requests, within limits, and resetting prolongs
// it. When it expires, the client gets the reason, its monitors and registrations end, and a session
// that requires one closes.
func TestApplicationSessionExpires(t *testing.T) {
	for _, tt := range []struct {
		seconds int
		want    time.Duration
	}{{0, time.Hour}, {-5, time.Hour}, {90, 90 * time.Second}, {24 * 3600, 24 * time.Hour}, {24*3600 + 1, 24 * time.Hour}, {math.MaxInt, 24 * time.Hour}} {
		synctest.Test(t, func(t *testing.T) {
			f := &flaky{lose: make(chan error)}
			p := start(t, f, crmRules, func(c *proxy.Config) { c.Accounts = book{"crm": true} })
			s, l := bound(t, p)
			m := logIn(s, "crm", "right", tt.seconds)
			if m.Name() != "StartApplicationSessionPosResponse" || m.Text("actualSessionDuration") != fmt.Sprint(int(tt.want/time.Second)) {
				t.Fatalf("%d s asked for: %s", tt.seconds, m)
			}
			id := m.Text("sessionID")
			request(s, monitorOf("100"))
			time.Sleep(tt.want - time.Second)
			synctest.Wait()
			if got := names(l); got != "" || s.Identity().Name != "crm" {
				t.Errorf("before its time: %s", got)
			}
			time.Sleep(2 * time.Second)
			synctest.Wait()
			got := l.take()
			if len(got) != 1 || got[0].Name() != "ApplicationSessionTerminated" || got[0].Text("sessionID") != id || got[0].Text("sessionTermReason/definedTermReason") != "sessionTimerExpired" {
				t.Errorf("at its end: %v", got)
			}
			if l.over() == nil || s.Identity().Name != "" || f.last("MonitorStop").Name() != "MonitorStop" || p.Status().Applications != 0 {
				t.Errorf("after its end it is %v, closed: %v", s.Identity(), l.over())
			}
		})
	}
}

// A client may shorten or prolong its application session, and no other.
func TestResetApplicationSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := start(t, &flaky{lose: make(chan error)}, crmRules, func(c *proxy.Config) {
			c.Accounts, c.Sessions = book{"crm": true}, proxy.ApplicationSessions{Duration: time.Minute, MaxDuration: 2 * time.Minute}
		})
		s, l := bound(t, p)
		reset := func(id string, seconds int) string {
			m := request(s, uacsta.ResetApplicationSessionTimer{SessionID: id, RequestedSessionDuration: seconds})
			return why(m) + m.Text("actualSessionDuration")
		}
		if got := reset("1", 10); got != "invalidSessionID" {
			t.Errorf("before there is one: %s", got)
		}
		id := logIn(s, "crm", "right", 0).Text("sessionID")
		time.Sleep(50 * time.Second)
		if got := reset(id+"0", 1); got != "invalidSessionID" {
			t.Errorf("of another: %s", got)
		}
		if got := reset(id, 1000); got != "120" {
			t.Errorf("prolonged by %s s", got)
		}
		time.Sleep(119 * time.Second)
		if got := names(l); got != "" {
			t.Errorf("it has ended before its time: %s", got)
		}
		if got := reset(id, 5); got != "5" {
			t.Errorf("shortened to %s s", got)
		}
		time.Sleep(6 * time.Second)
		if got := names(l); got != "ApplicationSessionTerminated" {
			t.Errorf("at its end: %s", got)
		}
	})
}

// A client that stops its application session loses its identity: its monitors and registrations end,
// and a session that requires one closes after the response. A client with an identity of its own
// keeps its session.
func TestStopApplicationSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &flaky{lose: make(chan error)}
		p := start(t, f, crmRules, func(c *proxy.Config) { c.Accounts = book{"crm": true} })
		stop := func(s *proxy.Session, id string) *uacsta.Message {
			return request(s, uacsta.StopApplicationSession{SessionID: id, SessionEndReason: uacsta.SessionEndReason{DefinedEndReason: "normal"}})
		}
		s, l := bound(t, p)
		if got := why(stop(s, "1")); got != "invalidSessionID" {
			t.Errorf("before there is one: %s", got)
		}
		id := logIn(s, "crm", "right", 0).Text("sessionID")
		request(s, monitorOf("100"))
		if got := why(stop(s, id+"0")); got != "invalidSessionID" || s.Identity().Name != "crm" {
			t.Errorf("of another: %s", got)
		}
		if m := stop(s, id); m == nil || m.Name() != "StopApplicationSessionPosResponse" {
			t.Error(m)
		}
		if s.Identity().Name != "" || l.over() == nil || f.last("MonitorStop").Name() != "MonitorStop" || p.Status().Sessions != 0 || p.Status().Applications != 0 {
			t.Errorf("after its end it is %v, closed: %v", s.Identity(), l.over())
		}
		l = &listener{}
		s, err := p.Open(proxy.Opening{Identity: policy.Identity{Name: "trunk"}, Sessions: proxy.SessionsOptional, Addr: client}, l)
		if err != nil {
			t.Fatal(err)
		}
		id = logIn(s, "crm", "right", 0).Text("sessionID")
		if s.Identity().Name != "crm" {
			t.Errorf("it is %v", s.Identity())
		}
		stop(s, id)
		if s.Identity().Name != "trunk" || l.over() != nil || refusal(request(s, monitorOf("101"))) != "" {
			t.Errorf("afterwards it is %v, closed: %v", s.Identity(), l.over())
		}
		logIn(s, "crm", "right", 5)
		time.Sleep(time.Minute)
		if got := names(l); !strings.HasSuffix(got, "ApplicationSessionTerminated") || s.Identity().Name != "trunk" || l.over() != nil {
			t.Errorf("after it has expired it is %v, told %s, closed: %v", s.Identity(), got, l.over())
		}
	})
}

// Monitors and registrations belong to an identity: an application session of another account, or a
// second one, ends them. One that changes nothing ends nothing.
func TestAnotherIdentity(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &flaky{lose: make(chan error)}
		p := start(t, f, crmRules, func(c *proxy.Config) { c.Accounts = book{"crm": true, "erp": true} })
		stops := func() (n int) {
			f.mu.Lock()
			defer f.mu.Unlock()
			for _, m := range f.asked {
				if m.Name() == "MonitorStop" {
					n++
				}
			}
			return n
		}
		open := func(mode proxy.SessionMode) *proxy.Session {
			s, err := p.Open(proxy.Opening{Identity: policy.Identity{Name: "crm"}, Sessions: mode, Addr: client}, &listener{})
			if err != nil {
				t.Fatal(err)
			}
			return s
		}
		s := open(proxy.SessionsOff)
		request(s, monitorOf("100"))
		if m := logIn(s, "whoever", "whatever", 0); m.Name() != "StartApplicationSessionPosResponse" || stops() != 0 || s.Identity().Name != "crm" {
			t.Errorf("where nobody looks at names: %s, %v", m, s.Identity())
		}
		s.Close(nil)
		synctest.Wait()
		if stops() != 1 {
			t.Errorf("its monitor was stopped %d times", stops())
		}
		s = open(proxy.SessionsOptional)
		old := request(s, monitorOf("100")).CrossRef()
		register(s, nil)
		first := logIn(s, "erp", "right", 0).Text("sessionID")
		if m := request(s, uacsta.GetRegistrations{}); strings.Contains(m.String(), "sysStatRegister") {
			t.Errorf("what it registered for as another: %s", m)
		}
		if why := refusal(request(s, uacsta.MonitorStop{MonitorCrossRefID: old})); why != uacsta.InvalidMonitorCrossRefID {
			t.Errorf("a monitor that it had as another: %q", why)
		}
		if stops() != 2 || s.Identity().Name != "erp" || s.Identity().How != "account" {
			t.Errorf("what it had as another goes on; it is %v", s.Identity())
		}
		request(s, monitorOf("100"))
		second := logIn(s, "erp", "right", 0).Text("sessionID")
		if stops() != 3 || first == second || p.Status().Applications != 1 {
			t.Errorf("the second session, of %d, does not end what the first had", p.Status().Applications)
		}
		if m := request(s, uacsta.ResetApplicationSessionTimer{SessionID: first}); why(m) != "invalidSessionID" {
			t.Errorf("the first one lives: %s", m)
		}
	})
}

// A refused login gets its reason in the error codes of ECMA-354.
func TestApplicationSessionRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		accounts := book{"crm": true, "erp": true, "nobody": true}
		p := start(t, &flaky{lose: make(chan error)}, crmRules, func(c *proxy.Config) {
			c.Accounts, c.Sessions = accounts, proxy.ApplicationSessions{Max: 3, MaxAccount: 2, Tries: 100}
		})
		for name, tt := range map[string]struct {
			user, password string
			editions       []uacsta.Edition
			want           string
		}{
			"a wrong password":      {"crm", "wrong", nil, "invalidApplicationInfo"},
			"an unknown name":       {"mallory", "right", nil, "invalidApplicationInfo"},
			"no name":               {"", "", nil, "invalidApplicationInfo"},
			"no time to look":       {"slow", "right", nil, "serverResourcesBusy"},
			"an account of no rule": {"nobody", "right", nil, "invalidApplicationInfo"},
			"an edition too old":    {"crm", "right", []uacsta.Edition{1}, "requestedProtocolVersionNotSupported"},
		} {
			s, _ := bound(t, p)
			before := p.Stats().Denials.Load()
			if got := why(logIn(s, tt.user, tt.password, 0, tt.editions...)); got != tt.want {
				t.Errorf("%s: %s", name, got)
			}
			if counted := p.Stats().Denials.Load() - before; (counted == 1) != (tt.editions == nil) {
				t.Errorf("%s: %d denials", name, counted)
			}
			s.Close(nil)
		}
		var sessions []*proxy.Session
		in := func(name string) string {
			s, _ := bound(t, p)
			sessions = append(sessions, s)
			return why(logIn(s, name, "right", 0))
		}
		for i, tt := range []struct{ name, want string }{{"crm", ""}, {"crm", ""}, {"crm", "maxNumberSessions"}, {"erp", ""}, {"erp", "maxNumberSessions"}} {
			if got := in(tt.name); got != tt.want {
				t.Errorf("session %d, of %s: %q", i, tt.name, got)
			}
		}
		if n := p.Status().Applications; n != 3 {
			t.Errorf("there are %d", n)
		}
		// one's own counts no more once it is replaced, and stays if the other is refused
		if got := why(logIn(sessions[0], "crm", "right", 0)); got != "" || p.Status().Applications != 3 {
			t.Errorf("one that replaces its own: %q, %d", got, p.Status().Applications)
		}
		if got := why(logIn(sessions[3], "crm", "right", 0)); got != "maxNumberSessions" || sessions[3].Identity().Name != "erp" || p.Status().Applications != 3 {
			t.Errorf("one that replaces that of another account: %q, %v, %d", got, sessions[3].Identity(), p.Status().Applications)
		}
		if got := why(logIn(sessions[0], "erp", "right", 0)); got != "" || sessions[0].Identity().Name != "erp" || p.Status().Applications != 3 {
			t.Errorf("one for another account that has room: %q, %v, %d", got, sessions[0].Identity(), p.Status().Applications)
		}
		if got := why(logIn(sessions[3], "crm", "right", 0)); got != "" {
			t.Errorf("once there is room: %q", got)
		}
		sessions[0].Close(nil)
		if got := in("erp"); got != "" {
			t.Errorf("after one has left: %q", got)
		}
	})
}

// A request of ECMA-354 that cannot be carried out has a negative response of ECMA-354, whatever is wrong with it.
func TestApplicationSessionNegative(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := start(t, &flaky{lose: make(chan error)}, crmRules, func(c *proxy.Config) { c.Accounts, c.MaxOutstanding = book{"crm": true}, 1 })
		for _, namespace := range []string{"", uacsta.NamespaceApplSession, uacsta.NamespaceED3} {
			for request, want := range map[string]string{
				"StartApplicationSession>": "StartApplicationSessionNegResponse invalidApplicationInfo",
				"StartApplicationSession><applicationInfo><applicationID>x</applicationID></applicationInfo>": "StartApplicationSessionNegResponse requestedProtocolVersionNotSupported",
				"StartApplicationSession><applicationInfo/><applicationInfo/>":                                "StartApplicationSessionNegResponse invalidApplicationInfo",
				"StopApplicationSession>":                               "StopApplicationSessionNegResponse invalidSessionID",
				"StopApplicationSession><sessionID/><sessionID/>":       "StopApplicationSessionNegResponse invalidSessionID",
				"ResetApplicationSessionTimer>":                         "ResetApplicationSessionTimerNegResponse invalidSessionID",
				"ResetApplicationSessionTimer><sessionID>x</sessionID>": "ResetApplicationSessionTimerNegResponse invalidSessionID",
			} {
				s, l := bound(t, p)
				name, content, _ := strings.Cut(request, ">")
				var res *uacsta.Message
				m, err := uacsta.Parse([]byte("<" + name + ` xmlns="` + namespace + `">` + content + "</" + name + ">"))
				if unclear := (*uacsta.Unclear)(nil); errors.As(err, &unclear) {
					s.Unclear(unclear, func(m *uacsta.Message) { res = m })
				} else {
					s.Request(m, func(m *uacsta.Message) { res = m })
				}
				synctest.Wait()
				if got := res.Name() + " " + res.Text("errorCode/definedError"); got != want || res.Namespace() != uacsta.NamespaceApplSession || l.over() != nil {
					t.Errorf("%s in %q: %s, over: %v", request, namespace, res, l.over())
				}
				s.Close(nil)
			}
		}
	})
}

// The first edition that both sides support is used; a message that names none has that of its
// session.
func TestApplicationSessionEdition(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := start(t, &flaky{lose: make(chan error)}, crmRules, func(c *proxy.Config) { c.Accounts = book{"crm": true} })
		for _, tt := range []struct {
			offered []uacsta.Edition
			want    uacsta.Edition
		}{{[]uacsta.Edition{3}, 3}, {[]uacsta.Edition{1, 6, 3}, 6}, {[]uacsta.Edition{2, 6}, 2}} {
			s, l := bound(t, p)
			m := logIn(s, "crm", "right", 1, tt.offered...)
			if got := m.Text("actualProtocolVersion"); got != tt.want.Namespace() {
				t.Errorf("of %v it takes %s", tt.offered, got)
			}
			time.Sleep(2 * time.Second)
			synctest.Wait()
			for _, m := range l.take() {
				if m.Namespace() != uacsta.NamespaceApplSession {
					t.Errorf("%s is in %s", m.Name(), m.Namespace())
				}
			}
		}
	})
}

// A client that must log in and does not is disconnected: after a while, and after a few requests or
// wrong passwords. A login resets the count.
func TestLoginIsRequired(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := start(t, &flaky{lose: make(chan error)}, crmRules, func(c *proxy.Config) { c.Accounts = book{"crm": true} })
		_, l := bound(t, p)
		s, in := bound(t, p)
		logIn(s, "crm", "right", 0)
		time.Sleep(29 * time.Second)
		synctest.Wait()
		if l.over() != nil {
			t.Error("it is cut off too soon")
		}
		time.Sleep(1500 * time.Millisecond)
		synctest.Wait()
		if l.over() == nil || in.over() != nil {
			t.Errorf("who has not logged in: %v; who has: %v", l.over(), in.over())
		}
		for name, tries := range map[string]func(*proxy.Session) string{
			"a request":        func(s *proxy.Session) string { return refusal(request(s, monitorOf("100"))) },
			"a wrong password": func(s *proxy.Session) string { return why(logIn(s, "crm", "wrong", 0)) },
		} {
			s, l := bound(t, p)
			for n := range 5 {
				if l.over() != nil {
					t.Errorf("%s: it is cut off after %d", name, n)
				}
				if got := tries(s); got != uacsta.Generic && got != "invalidApplicationInfo" {
					t.Errorf("%s: %q", name, got)
				}
			}
			synctest.Wait()
			if l.over() == nil {
				t.Errorf("%s: it goes on", name)
			}
		}
		s, l = bound(t, p)
		for range 3 {
			for range 4 {
				logIn(s, "crm", "wrong", 0)
			}
			if got := why(logIn(s, "crm", "right", 0)); got != "" || l.over() != nil {
				t.Fatalf("after four wrong ones: %q, closed: %v", got, l.over())
			}
		}
	})
}

// A client with an identity of its own needs no application session, and is not disconnected without
// one.
func TestOwnIdentityNeedsNoLogin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := start(t, &flaky{lose: make(chan error)}, crmRules, func(c *proxy.Config) { c.Accounts = book{"crm": true} })
		l := &listener{}
		s, err := p.Open(proxy.Opening{Identity: policy.Identity{Name: "crm"}, Sessions: proxy.SessionsOptional, Addr: client}, l)
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour)
		if got := refusal(request(s, monitorOf("100"))); got != "" || l.over() != nil {
			t.Errorf("%q, closed: %v", got, l.over())
		}
		if got := why(logIn(s, "", "", 0)); got != "" || s.Identity().Name != "crm" {
			t.Errorf("one without a name is %q, and of %v", got, s.Identity())
		}
		if _, err := p.Open(proxy.Opening{Identity: policy.Identity{Name: "crm"}, Sessions: proxy.SessionsMandatory, Addr: client}, &listener{}); err != nil {
			t.Error(err)
		}
	})
}

// When a client's account is removed, its application session ends with its monitors and
// registrations, and the client gets the reason; a session that requires one closes.
func TestAccountRemoved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		accounts := book{"crm": true}
		f := &flaky{lose: make(chan error)}
		p := start(t, f, crmRules, func(c *proxy.Config) { c.Accounts = accounts })
		s, l := bound(t, p)
		logIn(s, "crm", "right", 0)
		request(s, monitorOf("100"))
		p.Recheck()
		synctest.Wait()
		if s.Identity().Name != "crm" || l.over() != nil {
			t.Fatal("it ends although nothing has changed")
		}
		delete(accounts, "crm")
		p.Recheck()
		synctest.Wait()
		got := l.take()
		if len(got) != 1 || got[0].Name() != "ApplicationSessionTerminated" || got[0].Text("sessionTermReason/serverTermReason") == "" {
			t.Errorf("told: %v", got)
		}
		if l.over() == nil || s.Identity().Name != "" || f.last("MonitorStop").Name() != "MonitorStop" {
			t.Errorf("it is %v, closed: %v", s.Identity(), l.over())
		}
	})
}

// While the proxy stops, logins are refused, and every request gets a response.
func TestLoginDuringShutdown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := proxy.New(proxy.Config{Policy: crmRules, Numbers: &policy.Numbers{}, Accounts: book{"crm": true}})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { p.Run(ctx); close(done) }()
		synctest.Wait()
		s, l := bound(t, p)
		cancel()
		<-done
		if got := why(logIn(s, "crm", "right", 0)); got != "serverResourcesBusy" || l.over() == nil {
			t.Errorf("%q, closed: %v", got, l.over())
		}
		if _, err := p.Open(proxy.Opening{Sessions: proxy.SessionsMandatory}, &listener{}); !errors.Is(err, proxy.ErrTooMany) {
			t.Errorf("a session of a proxy that has ended: %v", err)
		}
	})
}
