package proxy_test

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tr87proxy/tr87proxy/policy"
	"github.com/tr87proxy/tr87proxy/proxy"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

// A session of the proxy itself may have more wait than a client: it hears all devices. It has a limit, too.
func TestOwnQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &flaky{lose: make(chan error)}
		p := start(t, f, demo, func(c *proxy.Config) { c.QueueLength = 10 })
		l := &busy{release: make(chan struct{})}
		s, err := p.Open(proxy.Opening{Identity: policy.Identity{Name: "own"}, Reach: proxy.ReachOwn}, l)
		if err != nil {
			t.Fatal(err)
		}
		request(s, monitorOf("100"))
		for range 161 { // one is with the client
			f.event()
		}
		synctest.Wait()
		if n := p.Stats().Overflows.Load(); n != 0 {
			t.Error("it is cut off like a client")
		}
		f.event()
		synctest.Wait()
		if n := p.Stats().Overflows.Load(); n != 1 {
			t.Errorf("it is cut off %d times", n)
		}
		close(l.release)
		synctest.Wait()
	})
}

// A client that does not read is disconnected when its queue has reached the limit of messages or
// octets. Its replies are called in order, and other clients continue.
func TestSlowClient(t *testing.T) {
	for name, limit := range map[string]func(*proxy.Config){
		"messages": func(c *proxy.Config) { c.QueueLength = 10 },
		"octets": func(c *proxy.Config) {
			c.QueueOctets = 10 * uacsta.Encode(uacsta.DoNotDisturbEvent{MonitorCrossRefID: "1000000000", Device: uacsta.Ext("100"), DoNotDisturbOn: true}, 3).Size()
		},
	} {
		synctest.Test(t, func(t *testing.T) {
			f := &flaky{lose: make(chan error)}
			p := start(t, f, demo, limit)
			other, heard := open(t, p, "other")
			request(other, monitorOf("100"))
			l := &busy{release: make(chan struct{})}
			s, err := p.Open(proxy.Opening{Identity: policy.Identity{Name: "a"}}, l)
			if err != nil {
				t.Fatal(err)
			}
			request(s, monitorOf("100"))
			told := 0
			for range 11 { // one is with the client
				f.event()
				told++
				synctest.Wait()
			}
			if n := p.Stats().Overflows.Load(); n != 0 && name == "messages" {
				t.Errorf("%s: it is cut off with its queue full and no more", name)
			}
			var answered []string
			for i := range 3 {
				s.Request(uacsta.Encode(uacsta.GetDoNotDisturb{Device: uacsta.Dev("100")}, 3), func(*uacsta.Message) { answered = append(answered, fmt.Sprint(i)) })
			}
			f.event()
			told++
			synctest.Wait()
			if n := p.Stats().Overflows.Load(); n != 1 {
				t.Errorf("%s: it is cut off %d times", name, n)
			}
			close(l.release)
			synctest.Wait()
			if l.got != 1 || !errors.Is(l.closed, proxy.ErrSlow) || strings.Join(answered, "") != "012" {
				t.Errorf("%s: it gets %d events and the answers %v, closed: %v", name, l.got, answered, l.closed)
			}
			if got := len(heard.take()); got != told || p.Status().Sessions != 1 {
				t.Errorf("%s: the other client hears %d events of %d; %d sessions", name, got, told, p.Status().Sessions)
			}
			s.Close(nil) // it is over
			if n := p.Stats().Overflows.Load(); n != 1 {
				t.Errorf("%s: %d overflows", name, n)
			}
		})
	}
}

// A single message is accepted whatever its size if nothing else waits.
func TestOneLargeMessage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &flaky{lose: make(chan error)}
		p := start(t, f, demo, func(c *proxy.Config) { c.QueueOctets = 1 })
		s, l := open(t, p, "a")
		request(s, monitorOf("100"))
		for range 3 {
			f.event()
			synctest.Wait()
		}
		if got := len(l.take()); got != 3 || l.over() != nil {
			t.Errorf("%d events, closed: %v", got, l.over())
		}
	})
}

// The list of sessions has the clients, the oldest first, with their lines and what they have.
func TestSessionList(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &flaky{lose: make(chan error)}
		p := start(t, f, policy.FromGrants(nil, policy.Grant{Who: "a", Control: []string{"100", "101"}}, policy.Grant{Who: "crm", Control: []string{"100"}}), func(c *proxy.Config) { c.Accounts = book{"crm": true} })
		began := time.Now()
		s, err := p.Open(proxy.Opening{Identity: policy.Identity{Name: "a", How: "digest"}, Line: "100", Peer: "192.0.2.1:5060"}, &listener{})
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		second, _ := bound(t, p)
		id := logIn(second, "crm", "right", 0).Text("sessionID")
		time.Sleep(time.Second)
		l := &busy{release: make(chan struct{})}
		third, err := p.Open(proxy.Opening{Identity: policy.Identity{Name: "a"}}, l)
		if err != nil {
			t.Fatal(err)
		}
		request(s, monitorOf("100"))
		request(s, monitorOf("101"))
		request(third, monitorOf("101"))
		for range 3 {
			f.event()
			synctest.Wait()
		}
		list := p.SessionList()
		if len(list) != 3 {
			t.Fatalf("%+v", list)
		}
		want := []proxy.SessionStatus{
			{Identity: "a (digest)", Peer: "192.0.2.1:5060", Line: "100", Since: began, Monitors: 2},
			{Identity: "crm (account)", Peer: "test", Since: began.Add(time.Second), Application: id},
			{Identity: "a ()", Since: began.Add(2 * time.Second), Monitors: 1, Queue: 2},
		}
		for i := range want {
			if want[i].ID = list[i].ID; list[i].ID == "" || list[i] != want[i] {
				t.Errorf("%d: %+v, want %+v", i, list[i], want[i])
			}
		}
		close(l.release)
	})
}

// A client gets the status of its line's link, and of the links on which it has monitors.
func TestStatusOfUsedLinks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, one, two := pair(t, demo, func(c *proxy.Config) { c.Accounts = book{} })
		clients := map[string]*listener{}
		for name, line := range map[string]string{"line of the first": "100", "line of the second": "200", "no line": "", "monitor": "", "registered": "", "registered with a line": "200"} {
			l := &listener{}
			s, err := p.Open(proxy.Opening{Identity: policy.Identity{Name: "a"}, Line: line}, l)
			if err != nil {
				t.Fatal(err)
			}
			if name == "monitor" {
				request(s, monitorOf("101"))
			}
			if strings.HasPrefix(name, "registered") {
				register(s, nil)
			}
			clients[name] = l
		}
		_, clients["not logged in"] = bound(t, p)
		says(t, one, "overloadReached")
		for name, l := range clients {
			hears := name == "line of the first" || name == "monitor" || name == "registered"
			if got := names(l); (got == "SystemStatus") != hears {
				t.Errorf("%s hears %q", name, got)
			}
		}
		time.Sleep(time.Second)
		two.lose <- errors.New("lost")
		for name, l := range clients {
			hears := name == "line of the second" || name == "registered with a line" || name == "registered"
			if got := names(l); (got == "SystemStatus") != hears {
				t.Errorf("of the second link %s hears %q", name, got)
			}
		}
	})
}

// conn is a connection of a peer that is refused.
type conn struct {
	net.Conn
	from string
}

func (c conn) RemoteAddr() net.Addr { return net.TCPAddrFromAddrPort(netip.MustParseAddrPort(c.from)) }

// Refused connections of one address are logged once a minute, with the number of suppressed lines.
func TestRefuseConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		p := start(t, &flaky{lose: make(chan error)}, demo, func(c *proxy.Config) { c.Log = slog.New(slog.NewTextHandler(&log, nil)) })
		lines := func() (n int) {
			n = strings.Count(log.String(), "connection refused")
			return n
		}
		for n := range 5 {
			p.RefuseConnection("xml", conn{from: fmt.Sprint("192.0.2.1:", 1000+n)}, "not trusted")
		}
		p.RefuseConnection("xml", conn{from: "192.0.2.2:1000"}, "not trusted")
		if lines() != 2 || !strings.Contains(log.String(), "192.0.2.1:1000") || !strings.Contains(log.String(), "not trusted") {
			t.Errorf("%s", log.String())
		}
		time.Sleep(time.Minute)
		p.RefuseConnection("xml", conn{from: "192.0.2.1:2000"}, "not trusted")
		if lines() != 3 || !strings.Contains(log.String(), "suppressed=4") {
			t.Errorf("%s", log.String())
		}
	})
}

// A client gets a device as it last wrote it, and others in the form that it writes, tel: or digits.
// The number of kept spellings is limited.
func TestSpellings(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &flaky{lose: make(chan error)}
		p := start(t, f, demo, func(c *proxy.Config) { c.MaxMonitors = 1000 })
		s, l := open(t, p, "a")
		shows := func(device string) string {
			f.mu.Lock()
			ref := fmt.Sprint("link", f.refs)
			f.mu.Unlock()
			f.up.Event(uacsta.Encode(uacsta.DoNotDisturbEvent{MonitorCrossRefID: ref, Device: uacsta.Ext(device)}, uacsta.Edition3))
			synctest.Wait()
			got := l.take()
			return got[0].Text("device/deviceIdentifier")
		}
		request(s, monitorOf("100"))
		if got := shows("101"); got != "101" {
			t.Errorf("to a client that writes digits: %s", got)
		}
		request(s, monitorOf("TEL:+14255550100"))
		for device, want := range map[string]string{"100": "TEL:+14255550100", "101": "tel:+14255550101", "+14255559999": "tel:+14255559999"} {
			if got := shows(device); got != want {
				t.Errorf("to a client that writes tel: %s, want %s", got, want)
			}
		}
		request(s, uacsta.SnapshotDevice{SnapshotObject: uacsta.Dev("100")})
		if got := shows("100"); got != "100" {
			t.Errorf("as it wrote it last: %s", got)
		}
		kinds := func(device string) (all []string) {
			f.mu.Lock()
			ref := fmt.Sprint("link", f.refs)
			f.mu.Unlock()
			f.up.Event(parse(t, `<HeldEvent><monitorCrossRefID>`+ref+`</monitorCrossRefID><heldConnection><callID>1</callID><deviceID>`+device+`</deviceID></heldConnection>`+
				`<holdingDevice><deviceIdentifier typeOfNumber="implicitPublic">`+device+`</deviceIdentifier></holdingDevice></HeldEvent>`))
			synctest.Wait()
			for _, d := range l.take()[0].Devices() {
				all = append(all, d.Type()+":"+d.ID())
			}
			return all
		}
		if got := kinds("100"); !slices.Equal(got, []string{":100", "implicitPublic:100"}) {
			t.Errorf("the link's type: %v", got)
		}
		request(s, uacsta.SnapshotDevice{SnapshotObject: uacsta.Typed("100", "dialingNumber")})
		request(s, uacsta.SnapshotDevice{SnapshotObject: uacsta.Dev("100")})
		if got := kinds("100"); !slices.Equal(got, []string{"dialingNumber:100", "dialingNumber:100"}) {
			t.Errorf("with the client's type: %v", got)
		}
		s, l = open(t, p, "b")
		request(s, monitorOf("100"))
		for n := range 300 {
			request(s, uacsta.SnapshotDevice{SnapshotObject: uacsta.Dev(fmt.Sprintf("sip:%d@pbx.example", 200+n))})
		}
		kept := 0
		for n := range 300 {
			if shows(fmt.Sprint(200+n)) == fmt.Sprintf("sip:%d@pbx.example", 200+n) {
				kept++
			}
		}
		if kept != 255 { // and the one that it watches
			t.Errorf("%d of 300 spellings are kept", kept)
		}
		request(s, uacsta.SnapshotDevice{SnapshotObject: uacsta.Dev("sip:100@pbx.example")})
		if got := shows("100"); got != "sip:100@pbx.example" {
			t.Errorf("one that is known is not learnt anew: %q", got)
		}
	})
}
