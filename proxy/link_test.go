package proxy_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tr87proxy/tr87proxy/policy"
	"github.com/tr87proxy/tr87proxy/proxy"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

// flaky is a link that the test connects and disconnects.
type flaky struct {
	mu      sync.Mutex
	up      proxy.Upcalls
	lose    chan error
	refs    int
	starts  int
	runs    int
	calls   int
	holding []func(*uacsta.Message, error) // answers kept back
	hold    bool
	mute    string // the name of requests that are kept back
	answers map[string]func(*uacsta.Message) (*uacsta.Message, error)
	asked   []*uacsta.Message
}

func (f *flaky) Run(ctx context.Context, up proxy.Upcalls) error {
	f.mu.Lock()
	f.up = up
	f.runs++
	f.mu.Unlock()
	up.Ready()
	select {
	case err := <-f.lose:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (f *flaky) Request(req *uacsta.Message, reply func(*uacsta.Message, error)) {
	f.mu.Lock()
	if f.hold || req.Name() == f.mute {
		f.holding = append(f.holding, reply)
		f.mu.Unlock()
		return
	}
	f.asked = append(f.asked, req)
	if answer := f.answers[req.Name()]; answer != nil {
		f.mu.Unlock()
		reply(answer(req))
		return
	}
	var res *uacsta.Message
	switch req.Name() {
	case "MakeCall":
		f.calls++
		res = uacsta.Encode(uacsta.MakeCallResponse{CallingDevice: uacsta.Conn(fmt.Sprint("call", f.calls), req.Text("callingDevice"))}, uacsta.Edition3)
	case "MonitorStart":
		f.starts++
		f.refs++
		res = uacsta.Encode(uacsta.MonitorStartResponse{MonitorCrossRefID: fmt.Sprint("link", f.refs)}, uacsta.Edition3)
	default:
		res = uacsta.Encode(uacsta.SnapshotDeviceResponse{}, uacsta.Edition3)
	}
	f.mu.Unlock()
	reply(res, nil)
}

func (f *flaky) event() {
	f.mu.Lock()
	ref := fmt.Sprint("link", f.refs)
	f.mu.Unlock()
	f.up.Event(uacsta.Encode(uacsta.DoNotDisturbEvent{MonitorCrossRefID: ref, Device: uacsta.Ext("100"), DoNotDisturbOn: true}, uacsta.Edition3))
}

// listener records what its session gets.
type listener struct {
	mu     sync.Mutex
	got    []*uacsta.Message
	closed error
}

func (l *listener) Event(m *uacsta.Message) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.got = append(l.got, m)
}

func (l *listener) Closed(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = err
}

// over returns why the session was closed; nil while it is open.
func (l *listener) over() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.closed
}

func (l *listener) take() []*uacsta.Message {
	l.mu.Lock()
	defer l.mu.Unlock()
	got := l.got
	l.got = nil
	return got
}

func request(s *proxy.Session, req any) *uacsta.Message {
	var res *uacsta.Message
	s.Request(uacsta.Encode(req, uacsta.Edition3), func(m *uacsta.Message) { res = m })
	synctest.Wait()
	return res
}

// call places a call from a device and returns its callID for clients.
func call(s *proxy.Session, device string) string {
	return request(s, uacsta.MakeCall{CallingDevice: uacsta.Dev(device), CalledDirectoryNumber: uacsta.Dev("109")}).Text("callingDevice/callID")
}

func monitorOf(device string) uacsta.MonitorStart {
	d := uacsta.Dev(device)
	return uacsta.MonitorStart{MonitorObject: uacsta.MonitorObject{DeviceObject: &d}}
}

func start(t *testing.T, link proxy.Link, rules *policy.Policy, change func(*proxy.Config)) *proxy.Proxy {
	t.Helper()
	cfg := proxy.Config{Policy: rules, Numbers: &policy.Numbers{Main: "+14255550", Extensions: func(n string) bool { return len(n) == 3 }}}
	if change != nil {
		change(&cfg)
	}
	p := proxy.New(cfg)
	p.AddLink("flaky", link, func(d string) bool { return d != "900" })
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { p.Run(ctx); close(done) }()
	t.Cleanup(func() { cancel(); <-done })
	synctest.Wait()
	return p
}

var demo = &policy.Policy{Demo: true}

func TestLinkLossAndReturn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &flaky{lose: make(chan error)}
		p := start(t, f, demo, nil)
		l := &listener{}
		s, err := p.Open(proxy.Opening{Identity: policy.Identity{Name: "a"}, Line: "100"}, l)
		if err != nil {
			t.Fatal(err)
		}
		ref := request(s, monitorOf("100")).CrossRef()
		f.event()
		synctest.Wait()
		if got := l.take(); len(got) != 1 || got[0].CrossRef() != ref {
			t.Fatalf("event: %v", got)
		}
		f.lose <- errors.New("as told")
		synctest.Wait()
		if got := l.take(); len(got) != 1 || got[0].Name() != "SystemStatus" || got[0].Text("systemStatus") != "disabled" {
			t.Errorf("on loss: %v", got)
		}
		if refusal := request(s, uacsta.SnapshotDevice{SnapshotObject: uacsta.Dev("100")}).Err(); !errors.Is(refusal, uacsta.Refuse(uacsta.SystemResourceAvailability, uacsta.ResourceOutOfService)) {
			t.Errorf("request while down: %v", refusal)
		}
		if status := request(s, uacsta.RequestSystemStatus{}); status.Text("systemStatus") != "disabled" {
			t.Errorf("status while down: %v", status)
		}
		if _, err := p.Open(proxy.Opening{Identity: policy.Identity{Name: "b"}, Line: "100"}, &listener{}); !errors.Is(err, proxy.ErrLinkDown) {
			t.Errorf("session while down: %v", err)
		}
		time.Sleep(2 * time.Second) // the back-off, in the bubble's time
		synctest.Wait()
		if got := l.take(); len(got) != 1 || got[0].Text("systemStatus") != "normal" || f.starts != 2 {
			t.Errorf("on return: %v after %d monitor starts", got, f.starts)
		}
		f.event()
		synctest.Wait()
		if got := l.take(); len(got) != 1 || got[0].CrossRef() != ref {
			t.Errorf("event after return: %v, want the same cross reference %s", got, ref)
		}
		s.Close(errors.New("test"))
	})
}

// During a resynchronisation events are held. If too many come, clients get all of them in order, and
// later ones at once.
func TestTooManyEventsDuringResync(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes a while")
	}
	synctest.Test(t, func(t *testing.T) {
		const events = 1500
		f := &flaky{lose: make(chan error), mute: "SnapshotDevice"}
		p := start(t, f, demo, func(cfg *proxy.Config) { cfg.QueueLength = 2 * events })
		l := &listener{}
		s, err := p.Open(proxy.Opening{Identity: policy.Identity{Name: "a"}, Line: "100"}, l)
		if err != nil {
			t.Fatal(err)
		}
		ref := request(s, monitorOf("100")).CrossRef()
		f.lose <- errors.New("as told")
		time.Sleep(2 * time.Second)
		l.take()
		for n := range events {
			on := n%2 == 0
			f.up.Event(uacsta.Encode(uacsta.DoNotDisturbEvent{MonitorCrossRefID: "link2", Device: uacsta.Ext(fmt.Sprint(n)), DoNotDisturbOn: on}, uacsta.Edition3))
			if n == 500 {
				synctest.Wait()
				if got := l.take(); len(got) != 0 {
					t.Errorf("%d events before the snapshot", len(got))
				}
			}
		}
		synctest.Wait()
		got := l.take()
		if len(got) != events {
			t.Fatalf("%d events", len(got))
		}
		for n, ev := range got {
			if ev.Text("device/deviceIdentifier") != fmt.Sprint(n) || ev.CrossRef() != ref {
				t.Fatalf("event %d is %s", n, ev)
			}
		}
		for _, reply := range f.holding {
			reply(nil, uacsta.Refuse(uacsta.Operation, uacsta.Generic))
		}
		synctest.Wait()
		if late := l.take(); len(late) != 0 {
			t.Errorf("%v", late)
		}
		s.Close(errors.New("test"))
	})
}

func TestBackOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &flaky{lose: make(chan error)}
		start(t, f, demo, nil)
		began := time.Now()
		for range 8 {
			f.lose <- errors.New("again")
		}
		// 0.5, 1, 2 ... s with a jitter of half to one and a half, at most 30 s.
		if took := time.Since(began); took < 30*time.Second || took > 3*time.Minute {
			t.Errorf("eight failures took %v", took)
		}
	})
}

// Two clients with two spellings share one monitor; each gets its own device as it wrote it.
func TestSpelling(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &flaky{lose: make(chan error)}
		p := start(t, f, demo, nil)
		for _, spelling := range []string{"tel:+14255550100;ext=100", "100", "TEL:+1 (425) 555-0100", "sip:100@pbx.example"} {
			l := &listener{}
			s, err := p.Open(proxy.Opening{Identity: policy.Identity{Name: "a"}, Line: spelling, Named: true}, l)
			if err != nil {
				t.Fatal(err)
			}
			request(s, monitorOf(spelling))
			f.event()
			synctest.Wait()
			got := l.take()
			if len(got) != 1 || got[0].Text("device/deviceIdentifier") != spelling {
				t.Errorf("%s comes back as %v", spelling, got)
			}
		}
		if f.starts != 1 {
			t.Errorf("%d monitors at the link, want 1", f.starts)
		}
	})
}

func TestDenials(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &flaky{lose: make(chan error)}
		rules := policy.FromGrants(func(n string) bool { return len(n) == 3 },
			policy.Grant{Who: "sip:alice@*", Control: []string{"100"}, Observe: []string{"101"}},
			policy.Grant{Who: "sip:boss@*", Control: []string{"*"}, Dial: []string{"*"}},
		)
		p := start(t, f, rules, nil)
		alice := policy.Identity{Name: "sip:alice@contoso.com"}
		for line, want := range map[string]error{"100": nil, "101": nil, "102": proxy.ErrForbidden, "900": proxy.ErrForbidden} {
			if _, err := p.Open(proxy.Opening{Identity: alice, Line: line}, &listener{}); !errors.Is(err, want) {
				t.Errorf("line %s: %v", line, err)
			}
		}
		if _, err := p.Open(proxy.Opening{Identity: policy.Identity{Name: "sip:mallory@contoso.com"}}, &listener{}); !errors.Is(err, proxy.ErrForbidden) || !strings.Contains(err.Error(), "no grant names it") {
			t.Errorf("mallory: %v", err)
		}
		if _, err := p.Open(proxy.Opening{Identity: policy.Identity{Name: "sip:boss@x"}, Line: "900"}, &listener{}); !errors.Is(err, proxy.ErrUnknownLine) {
			t.Errorf("a line of no link: %v", err)
		}
		s, err := p.Open(proxy.Opening{Identity: alice, Line: "100"}, &listener{})
		if err != nil {
			t.Fatal(err)
		}
		from := func(from, to string) uacsta.MakeCall {
			return uacsta.MakeCall{CallingDevice: uacsta.Dev(from), CalledDirectoryNumber: uacsta.Dev(to)}
		}
		own := call(s, "100")
		for _, tt := range []struct {
			req  any
			want string
		}{
			{from("100", "102"), ""},
			{from("101", "102"), "privilegeViolationCallingDevice"},
			{from("100", "+19005550100"), "privilegeViolationCalledDevice"},
			{monitorOf("101"), ""},
			{monitorOf("102"), "privilegeViolationSpecifiedDevice"},
			{uacsta.SnapshotDevice{SnapshotObject: uacsta.Dev("102")}, "privilegeViolationSpecifiedDevice"},
			{uacsta.AnswerCall{CallToBeAnswered: uacsta.Conn("1", "101")}, "privilegeViolationSpecifiedDevice"},
			{uacsta.TransferCall{HeldCall: uacsta.Conn("1", "100"), ActiveCall: uacsta.Conn("2", "102")}, "privilegeViolationSpecifiedDevice"},
			{uacsta.DeflectCall{CallToBeDiverted: uacsta.Conn("1", "100"), NewDestination: []uacsta.DeviceID{uacsta.Dev("+19005550100")}}, "privilegeViolationDestinationDevice"},
			{uacsta.AnswerCall{CallToBeAnswered: uacsta.Conn(own, "")}, ""},
			{uacsta.MonitorStop{MonitorCrossRefID: "of nobody"}, "invalidMonitorCrossRefID"},
		} {
			got := ""
			if refusal := request(s, tt.req).Err(); refusal != nil {
				got = refusal.Value
			}
			if got != tt.want {
				t.Errorf("%T: %q, want %q", tt.req, got, tt.want)
			}
		}
		for doc, want := range map[string]string{
			"<WashDishes/>":                   "serviceNotSupported",
			"<Escape><privateData/></Escape>": "privilegeViolationSpecifiedDevice",
			"<MakeCall/>":                     "invalidCallingDeviceID",
			"<DeliveredEvent/>":               "serviceNotSupported",
			"<SingleStepTransferCall><activeCall/></SingleStepTransferCall>": "",
		} {
			m, err := uacsta.Parse([]byte(doc))
			if err != nil {
				t.Fatal(err)
			}
			var res *uacsta.Message
			s.Request(m, func(m *uacsta.Message) { res = m })
			synctest.Wait()
			got := ""
			if refusal := res.Err(); refusal != nil {
				got = refusal.Value
			}
			if got != want {
				t.Errorf("%s: %q, want %q", doc, got, want)
			}
		}
	})
}

// A client whose line is named apart from its requests may name another party's connection: it means
// its own.
func TestConnectionOfTheLastEvent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		seen := make(chan string, 10)
		link := &spy{flaky: flaky{lose: make(chan error)}, seen: seen}
		rules := policy.FromGrants(nil, policy.Grant{Who: "*", Control: []string{"100"}, Dial: []string{"109"}})
		p := start(t, link, rules, nil)
		s, err := p.Open(proxy.Opening{Identity: policy.Identity{Name: "a"}, Line: "tel:+14255550100", Named: true}, &listener{})
		if err != nil {
			t.Fatal(err)
		}
		request(s, uacsta.ClearConnection{ConnectionToBeCleared: uacsta.Conn(call(s, "100"), "tel:+14255550101")})
		if got := <-seen; got != "100" {
			t.Errorf("the link is asked to clear %s", got)
		}
	})
}

type spy struct {
	flaky
	seen chan string
}

func (s *spy) Request(req *uacsta.Message, reply func(*uacsta.Message, error)) {
	if connections := req.Connections(); len(connections) > 0 {
		s.seen <- connections[0].DeviceID()
	}
	s.flaky.Request(req, reply)
}

func TestFilterAndOutstanding(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &flaky{lose: make(chan error)}
		p := start(t, f, demo, func(c *proxy.Config) { c.MaxOutstanding = 2; c.MaxMonitors = 2; c.MaxSessions = 1 })
		l := &listener{}
		s, err := p.Open(proxy.Opening{Identity: policy.Identity{Name: "a"}, Line: "100"}, l)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := p.Open(proxy.Opening{Identity: policy.Identity{Name: "a"}, Line: "100"}, l); !errors.Is(err, proxy.ErrTooMany) {
			t.Errorf("a session too many: %v", err)
		}
		m, err := uacsta.Parse([]byte(`<MonitorStart><monitorObject><deviceObject>100</deviceObject></monitorObject><requestedMonitorFilter><logicalDeviceFeature><doNotDisturb>true</doNotDisturb></logicalDeviceFeature></requestedMonitorFilter></MonitorStart>`))
		if err != nil {
			t.Fatal(err)
		}
		var res *uacsta.Message
		s.Request(m, func(m *uacsta.Message) { res = m })
		synctest.Wait()
		if res.Text("actualMonitorFilter/logicalDeviceFeature/doNotDisturb") != "true" {
			t.Errorf("filter: %v", res)
		}
		f.event()
		synctest.Wait()
		if got := l.take(); len(got) != 0 {
			t.Errorf("a suppressed event came: %v", got)
		}
		request(s, monitorOf("101"))
		if refusal := request(s, monitorOf("102")).Err(); refusal == nil || refusal.Value != uacsta.ObjectMonitorLimitExceeded {
			t.Errorf("a monitor too many: %v", refusal)
		}
		f.hold = true
		for range 2 {
			s.Request(uacsta.Encode(uacsta.SnapshotDevice{SnapshotObject: uacsta.Dev("100")}, 3), func(*uacsta.Message) {})
		}
		if refusal := request(s, uacsta.SnapshotDevice{SnapshotObject: uacsta.Dev("100")}).Err(); refusal == nil || refusal.Value != uacsta.OutstandingReqLimitExceeded {
			t.Errorf("a request too many: %v", refusal)
		}
	})
}
