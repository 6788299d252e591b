package proxy_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tr87proxy/tr87proxy/proxy"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

// numbering numbers its monitors from 1 in each life, as real switches do.
type numbering struct {
	mu     sync.Mutex
	up     proxy.Upcalls
	lose   chan error
	last   int
	active map[string]string // ref -> device
	hook   func(req *uacsta.Message)
	refuse map[string]bool
}

func (f *numbering) Run(ctx context.Context, up proxy.Upcalls) error {
	f.mu.Lock()
	f.up, f.last, f.active = up, 0, map[string]string{}
	f.mu.Unlock()
	up.Ready()
	select {
	case err := <-f.lose:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (f *numbering) Request(req *uacsta.Message, reply func(*uacsta.Message, error)) {
	f.mu.Lock()
	hook := f.hook
	switch req.Name() {
	case "MonitorStart":
		device := req.Text("monitorObject/deviceObject")
		if f.refuse[device] {
			f.mu.Unlock()
			reply(nil, uacsta.Refuse(uacsta.SystemResourceAvailability, uacsta.Generic))
			break
		}
		f.last++
		ref := fmt.Sprint(f.last)
		f.active[ref] = device
		f.mu.Unlock()
		reply(uacsta.Encode(uacsta.MonitorStartResponse{MonitorCrossRefID: ref}, uacsta.Edition3), nil)
	case "MonitorStop":
		_, known := f.active[req.CrossRef()]
		delete(f.active, req.CrossRef())
		f.mu.Unlock()
		if known {
			reply(uacsta.Encode(uacsta.MonitorStopResponse{}, uacsta.Edition3), nil)
		} else {
			reply(nil, uacsta.Refuse(uacsta.Operation, uacsta.InvalidMonitorCrossRefID))
		}
	default:
		f.mu.Unlock()
		reply(uacsta.Encode(uacsta.SnapshotDeviceResponse{}, uacsta.Edition3), nil)
	}
	if hook != nil {
		hook(req)
	}
}

func (f *numbering) of(device string) (n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, d := range f.active {
		if d == device {
			n++
		}
	}
	return n
}

// A client that leaves while monitors restart does not stop another's: its reference is of the
// previous life, and in this one it belongs to another.
func TestReferencesOfAnotherLife(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &numbering{lose: make(chan error)}
		p := start(t, f, demo, nil)
		sessions := map[string]*proxy.Session{}
		for _, device := range []string{"101", "102"} {
			sessions[device], _ = open(t, p, device)
			request(sessions[device], monitorOf(device))
		}
		var once sync.Once
		left := ""
		f.hook = func(req *uacsta.Message) {
			if req.Name() != "MonitorStart" {
				return
			}
			once.Do(func() { // the first has the number 1 now
				left = map[string]string{"101": "102", "102": "101"}[req.Text("monitorObject/deviceObject")]
				sessions[left].Close(errors.New("bye"))
			})
		}
		f.lose <- errors.New("lost")
		time.Sleep(5 * time.Second)
		synctest.Wait()
		stays := map[string]string{"101": "102", "102": "101"}[left]
		if there, gone := f.of(stays), f.of(left); there != 1 || gone != 0 {
			t.Errorf("%s left; the switch has %d monitors on it, and %d on %s", left, gone, there, stays)
		}
	})
}

// A monitor that was about to be retried when the link went down is started once.
func TestRetryAndRestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &numbering{lose: make(chan error), refuse: map[string]bool{}}
		p := start(t, f, demo, func(c *proxy.Config) { c.Retry = 20 * time.Second })
		for _, device := range []string{"101", "102"} {
			s, _ := open(t, p, device)
			request(s, monitorOf(device))
		}
		f.refuse["101"], f.refuse["102"] = true, true
		f.lose <- errors.New("lost")
		time.Sleep(2 * time.Second) // it is up again, and both are refused: they are tried again in 10 to 30 s
		f.mu.Lock()
		f.refuse = map[string]bool{}
		f.mu.Unlock()
		var slow atomic.Bool
		f.hook = func(req *uacsta.Message) {
			if req.Name() == "MonitorStart" && !slow.Swap(true) {
				time.Sleep(40 * time.Second)
			}
		}
		f.lose <- errors.New("lost again")
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		for _, device := range []string{"101", "102"} {
			if n := f.of(device); n != 1 {
				t.Errorf("the switch has %d monitors on %s", n, device)
			}
		}
	})
}

// If a device moves to another link while MonitorStart is out, the client is refused at once, and a
// late response is released at the old link.
func TestReloadWhileStarting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &flaky{lose: make(chan error), mute: "MonitorStart"}
		p := start(t, f, demo, nil)
		s, _ := open(t, p, "a")
		res := request(s, monitorOf("100"))
		p.SetLinks([]proxy.NamedLink{
			{Name: "new", Link: &flaky{lose: make(chan error)}, Devices: func(d string) bool { return d == "100" }},
			{Name: "flaky", Devices: func(d string) bool { return d != "100" }},
		})
		synctest.Wait()
		if res != nil {
			t.Fatal("it was answered before the reload")
		}
		f.release(uacsta.Encode(uacsta.MonitorStartResponse{MonitorCrossRefID: "late"}, uacsta.Edition3))
		synctest.Wait()
		if stop := f.last("MonitorStop"); stop.CrossRef() != "late" {
			t.Errorf("the old link was asked %v", stop)
		}
		if devices := p.DeviceList(); len(devices) != 0 {
			t.Errorf("monitors: %v", devices)
		}
	})
}

// release answers the held requests.
func (f *flaky) release(res *uacsta.Message) {
	f.mu.Lock()
	holding := f.holding
	f.holding, f.hold, f.mute = nil, false, ""
	f.mu.Unlock()
	for _, reply := range holding {
		reply(res, nil)
	}
}

// What a late response opens is released, unless the reference is in use.
func TestLateResponses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &flaky{lose: make(chan error)}
		p := start(t, f, demo, nil)
		s, l := open(t, p, "a")
		request(s, monitorOf("100"))
		f.answers = answers{"EscapeRegister": text(`<EscapeRegisterResponse><escapeRegisterID>used</escapeRegisterID></EscapeRegisterResponse>`)}
		request(s, uacsta.EscapeRegister{})
		for _, late := range []string{
			`<MonitorStartResponse><monitorCrossRefID>other</monitorCrossRefID></MonitorStartResponse>`,
			`<MonitorStartResponse><monitorCrossRefID>link1</monitorCrossRefID></MonitorStartResponse>`,
			`<RouteRegisterResponse><routeRegisterReqID>routes</routeRegisterReqID></RouteRegisterResponse>`,
			`<StartDataCollectionResponse><dcollCrossRefID>digits</dcollCrossRefID></StartDataCollectionResponse>`,
			`<StartCDRTransmissionResponse><cdrCrossRefID>records</cdrCrossRefID></StartCDRTransmissionResponse>`,
			`<EscapeRegisterResponse><escapeRegisterID>private</escapeRegisterID></EscapeRegisterResponse>`,
			`<EscapeRegisterResponse><escapeRegisterID>used</escapeRegisterID></EscapeRegisterResponse>`,
			`<EscapeRegisterResponse/>`,
			`<SnapshotDeviceResponse><serviceCrossRefID>ends by itself</serviceCrossRefID></SnapshotDeviceResponse>`,
		} {
			m := parse(t, late)
			if proxy.Opens(m.Name()) != (m.Name() != "SnapshotDeviceResponse") {
				t.Errorf("%s: Opens says %v", m.Name(), proxy.Opens(m.Name()))
			}
			f.up.Event(m)
		}
		synctest.Wait()
		for service, where := range map[string][2]string{"StopDataCollection": {"dcollCrossRefID", "digits"}, "StopCDRTransmission": {"cdrCrossRefID", "records"}, "EscapeRegisterCancel": {"escapeRegisterID", "private"}} {
			if end := f.last(service); end.Text(where[0]) != where[1] || f.times(service) != 1 {
				t.Errorf("%d times %s: %s", f.times(service), service, end)
			}
		}
		if stop := f.last("MonitorStop"); stop.CrossRef() != "other" {
			t.Errorf("the link was asked %v", stop)
		}
		if cancel := f.last("RouteRegisterCancel"); cancel.Text("routeRegisterReqID") != "routes" {
			t.Errorf("the link was asked %v", cancel)
		}
		f.event()
		synctest.Wait()
		if got := l.take(); len(got) != 1 {
			t.Errorf("the client's own monitor tells %v", got)
		}
		f.mu.Lock()
		f.asked = nil
		f.mu.Unlock()
		long := strings.Repeat("r", 1025)
		for _, late := range []any{
			uacsta.MonitorStartResponse{}, uacsta.MonitorStartResponse{MonitorCrossRefID: long}, uacsta.RouteRegisterResponse{}, uacsta.RouteRegisterResponse{RouteRegisterReqID: long}, uacsta.SnapshotDeviceResponse{},
		} {
			f.up.Event(uacsta.Encode(late, uacsta.Edition3))
		}
		synctest.Wait()
		if len(f.asked) != 0 {
			t.Errorf("what opened nothing is ended: %v", f.asked)
		}
	})
}

// If the switching function gives one cross reference to two monitors, the first keeps it.
func TestReferenceTwice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &flaky{lose: make(chan error), answers: map[string]func(*uacsta.Message) (*uacsta.Message, error){
			"MonitorStart": text(`<MonitorStartResponse><monitorCrossRefID>link0</monitorCrossRefID></MonitorStartResponse>`),
		}}
		p := start(t, f, demo, nil)
		first, one := open(t, p, "a")
		second, other := open(t, p, "b")
		request(first, monitorOf("100"))
		if why := request(second, monitorOf("101")); why.Err() == nil {
			t.Errorf("the second monitor: %v", why)
		}
		f.event()
		synctest.Wait()
		if mine, others := one.take(), other.take(); len(mine) != 1 || len(others) != 0 {
			t.Errorf("the first is told %v, the second %v", mine, others)
		}
		if stop := f.last("MonitorStop"); stop.Name() == "MonitorStop" {
			t.Errorf("the first one's monitor is stopped")
		}
	})
}

// narrow is a link whose switching function accepts a limited number of requests and responds when
// told to.
type narrow struct {
	flaky
	room    int
	waiting []func()
	order   []string
	refused int
}

func (n *narrow) Request(req *uacsta.Message, reply func(*uacsta.Message, error)) {
	n.mu.Lock()
	full := len(n.waiting) >= n.room
	if full {
		n.refused++
	} else {
		n.order = append(n.order, req.Text("callingDevice")+" "+req.Text("calledDirectoryNumber"))
		n.waiting = append(n.waiting, func() { reply(uacsta.Accept(req, uacsta.Edition3), nil) })
	}
	n.mu.Unlock()
	if full {
		reply(nil, uacsta.Refuse(uacsta.SubscribedResourceAvailability, uacsta.OutstandingReqLimitExceeded))
	}
}

// answer answers the oldest request; it returns false if there is none.
func (n *narrow) answer() bool {
	n.mu.Lock()
	if len(n.waiting) == 0 {
		n.mu.Unlock()
		return false
	}
	first := n.waiting[0]
	n.waiting = n.waiting[1:]
	n.mu.Unlock()
	first()
	return true
}

// Clients share what a switching function accepts at a time: each client's requests wait in order, and
// clients take turns. A request that waits too long is refused.
func TestTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &narrow{flaky: flaky{lose: make(chan error)}, room: 4}
		p := start(t, n, demo, nil)
		answers := map[string]int{}
		var mu sync.Mutex
		ask := func(s *proxy.Session, device string, numbers int) {
			for i := range numbers {
				s.Request(uacsta.Encode(uacsta.MakeCall{CallingDevice: uacsta.Dev(device), CalledDirectoryNumber: uacsta.Dev(fmt.Sprint(200 + i))}, uacsta.Edition3), func(m *uacsta.Message) {
					mu.Lock()
					defer mu.Unlock()
					answers[device+" "+refusal(m)]++
				})
			}
			synctest.Wait()
		}
		greedy, _ := open(t, p, "a")
		modest, _ := open(t, p, "b")
		ask(greedy, "101", 60)
		ask(modest, "102", 3)

		for range 20 {
			n.answer()
			synctest.Wait()
		}
		if answers["102 "] != 3 {
			t.Errorf("after 20 answers the client with three requests has %d", answers["102 "])
		}
		for n.answer() {
			synctest.Wait()
		}
		if answers["101 "] != 60 || len(answers) != 2 {
			t.Errorf("answers: %v", answers)
		}
		if n.refused > 3 {
			t.Errorf("the switching function had to refuse %d times", n.refused)
		}
		last := map[string]string{}
		for _, one := range n.order {
			if device, number := one[:3], one[4:]; number <= last[device] {
				t.Errorf("%s after %s", one, last[device])
			} else {
				last[device] = number
			}
		}
		clear(answers)
		ask(greedy, "101", 10)
		time.Sleep(6 * time.Second)
		synctest.Wait()
		if answers["101 "+uacsta.OutstandingReqLimitExceeded] != 6 {
			t.Errorf("of ten requests, four of them at a switch that does not answer: %v", answers)
		}
	})
}

// A snapshot that the switching function refuses after a reconnect is retried. Until then events pass;
// then clients get what they missed.
func TestSnapshotRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newPBX(map[string][]string{"c1": {"100", "101"}})
		p := start(t, f, demo, nil)
		s, l := open(t, p, "a")
		request(s, monitorOf("100"))
		f.up.Event(uacsta.Encode(uacsta.EstablishedEvent{MonitorCrossRefID: "link1", EstablishedConnection: uacsta.Conn("c1", "100"), AnsweringDevice: uacsta.Ext("100")}, uacsta.Edition3))
		synctest.Wait()
		l.take()
		snapshot := f.answers["SnapshotDevice"]
		f.mu.Lock()
		f.answers["SnapshotDevice"] = func(*uacsta.Message) (*uacsta.Message, error) {
			return nil, uacsta.Refuse(uacsta.SubscribedResourceAvailability, uacsta.ResourceLimitExceeded)
		}
		f.mu.Unlock()
		delete(f.calls, "c1")
		f.lose <- errors.New("lost")
		time.Sleep(2 * time.Second)
		synctest.Wait()
		f.up.Event(uacsta.Encode(uacsta.DoNotDisturbEvent{MonitorCrossRefID: "link2", Device: uacsta.Ext("100"), DoNotDisturbOn: true}, uacsta.Edition3))
		synctest.Wait()
		told := func(name string) (n int) {
			for _, m := range l.take() {
				if m.Name() == name {
					n++
				}
			}
			return n
		}
		if told("DoNotDisturbEvent") != 1 {
			t.Error("an event waits for a snapshot that is refused")
		}
		f.mu.Lock()
		f.answers["SnapshotDevice"] = snapshot
		f.mu.Unlock()
		time.Sleep(time.Minute)
		synctest.Wait()
		if n := told("ConnectionClearedEvent"); n != 1 {
			t.Errorf("the client is told %d times that its call is over", n)
		}
	})
}

// Calls that a client knows from a snapshot are known after a reconnect: those that have ended are
// reported, the others are not.
func TestCallsOfSnapshots(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newPBX(map[string][]string{"stays": {"100", "101"}, "ends": {"100", "102"}})
		p := start(t, f, demo, nil)
		s, l := open(t, p, "a")
		request(s, monitorOf("100"))
		request(s, uacsta.SnapshotDevice{SnapshotObject: uacsta.Dev("100")})
		delete(f.calls, "ends")
		f.lose <- errors.New("lost")
		time.Sleep(time.Minute)
		synctest.Wait()
		var told []string
		for _, m := range l.take() {
			if m.Kind() == uacsta.Event {
				told = append(told, m.Name())
			}
		}
		if len(told) != 1 || told[0] != "ConnectionClearedEvent" {
			t.Errorf("the client is told %v", told)
		}
	})
}

// After a reconnect the switching function does not get all requests at once.
func TestPace(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes a while")
	}
	synctest.Test(t, func(t *testing.T) {
		f := &flaky{lose: make(chan error)}
		p := start(t, f, demo, func(c *proxy.Config) { c.Pace = 50 })
		s, _ := open(t, p, "a")
		for n := range 400 {
			request(s, monitorOf(fmt.Sprint(100+n)))
		}
		f.mu.Lock()
		f.asked = nil
		f.mu.Unlock()
		f.lose <- errors.New("lost")
		asked := func() int {
			f.mu.Lock()
			defer f.mu.Unlock()
			return len(f.asked)
		}
		for asked() == 0 {
			time.Sleep(10 * time.Millisecond)
			synctest.Wait()
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if n := asked(); n < 100 || n > 250 { // fifty at once, and fifty in a second; calls of devices are looked at, too
			t.Errorf("%d questions in two seconds", n)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if f.starts != 800 {
			t.Errorf("%d monitors were started", f.starts)
		}
	})
}

// faulty is a link that panics where it is told to.
type faulty struct {
	flaky
	in string
}

func (f *faulty) Run(ctx context.Context, up proxy.Upcalls) error {
	if f.in == "Run" {
		f.in = ""
		up.Ready()
		panic("a fault in Run")
	}
	return f.flaky.Run(ctx, up)
}

func (f *faulty) Request(req *uacsta.Message, reply func(*uacsta.Message, error)) {
	if req.Name() == f.in {
		f.in = ""
		panic("a fault at a request")
	}
	f.flaky.Request(req, reply)
}

// A panic in a link ends that link only, and the link is restarted.
func TestFaultInLink(t *testing.T) {
	for _, in := range []string{"Run", "MakeCall"} {
		synctest.Test(t, func(t *testing.T) {
			f := &faulty{flaky: flaky{lose: make(chan error)}, in: in}
			p := start(t, f, demo, nil)
			if in == "Run" {
				time.Sleep(5 * time.Second)
			}
			s, _ := open(t, p, "a")
			if in != "Run" {
				if why := request(s, uacsta.MakeCall{CallingDevice: uacsta.Dev("100"), CalledDirectoryNumber: uacsta.Dev("101")}); why.Err() == nil {
					t.Errorf("%s: %v", in, why)
				}
			}
			time.Sleep(5 * time.Second)
			synctest.Wait()
			if call(s, "100") == "" {
				t.Errorf("%s: the link has not come back", in)
			}
			if status := p.Status().Links[0]; !status.Up {
				t.Errorf("%s: %v", in, status)
			}
		})
	}
}

// A route registration that is cancelled in one life is not cancelled in the next, where its reference
// may be another's.
func TestRegistrationsOfAnotherLife(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		registered := 0
		f := &flaky{lose: make(chan error), answers: map[string]func(*uacsta.Message) (*uacsta.Message, error){
			"RouteRegister": func(*uacsta.Message) (*uacsta.Message, error) {
				registered++
				return uacsta.Encode(uacsta.RouteRegisterResponse{RouteRegisterReqID: fmt.Sprint(registered % 2)}, uacsta.Edition3), nil
			},
		}}
		p := start(t, f, demo, nil)
		var sessions []*proxy.Session
		for _, device := range []string{"100", "101"} {
			s, _ := open(t, p, device)
			d := uacsta.Dev(device)
			if res := request(s, uacsta.RouteRegister{RouteingDevice: &d}); res.Err() != nil {
				t.Fatal(res)
			}
			sessions = append(sessions, s)
		}
		f.mu.Lock()
		f.mute = "RouteRegister"
		f.mu.Unlock()
		f.lose <- errors.New("lost")
		time.Sleep(2 * time.Second) // it is up, and has not answered
		synctest.Wait()
		sessions[0].Close(nil)
		synctest.Wait()
		if cancel := f.last("RouteRegisterCancel"); cancel.Name() == "RouteRegisterCancel" {
			t.Errorf("the link was asked %v, which is another's", cancel)
		}
		f.mu.Lock()
		holding := f.holding
		f.holding, f.mute = nil, ""
		f.mu.Unlock()
		for n, reply := range holding {
			reply(uacsta.Encode(uacsta.RouteRegisterResponse{RouteRegisterReqID: fmt.Sprint("new", n)}, uacsta.Edition3), nil)
		}
		synctest.Wait()
		if cancel := f.last("RouteRegisterCancel"); len(holding) != 2 || cancel.Name() != "RouteRegisterCancel" {
			t.Errorf("%d registrations were renewed; the one that nobody wants is not cancelled", len(holding))
		}
	})
}

// A link that calls Ready twice loses its previous life.
func TestReadyTwice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &flaky{lose: make(chan error)}
		p := start(t, f, demo, nil)
		s, l := open(t, p, "a")
		request(s, monitorOf("100"))
		var res *uacsta.Message
		f.hold = true
		s.Request(uacsta.Encode(uacsta.GetDoNotDisturb{Device: uacsta.Dev("100")}, 3), func(m *uacsta.Message) { res = m })
		synctest.Wait()
		f.hold = false
		f.up.Ready()
		synctest.Wait()
		time.Sleep(time.Second)
		if refusal(res) != uacsta.ResourceOutOfService {
			t.Errorf("what was asked before is answered with %v", res)
		}
		synctest.Wait()
		l.take()
		f.event()
		synctest.Wait()
		if got := l.take(); f.starts != 2 || len(got) != 1 {
			t.Errorf("%d monitors were started; the client is told %v", f.starts, got)
		}
	})
}

// If the switch reuses the reference of a late response while it is being released, the new owner
// keeps it.
func TestReferenceOfLateResponse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &flaky{lose: make(chan error), mute: "MonitorStop", answers: map[string]func(*uacsta.Message) (*uacsta.Message, error){
			"MonitorStart":  text(`<MonitorStartResponse><monitorCrossRefID>m</monitorCrossRefID></MonitorStartResponse>`),
			"RouteRegister": text(`<RouteRegisterResponse><routeRegisterReqID>r</routeRegisterReqID></RouteRegisterResponse>`),
		}}
		p := start(t, f, demo, nil)
		s, _ := open(t, p, "a")
		f.up.Event(uacsta.Encode(uacsta.MonitorStartResponse{MonitorCrossRefID: "m"}, uacsta.Edition3))
		synctest.Wait()
		if m := request(s, monitorOf("100")); m.CrossRef() == "" {
			t.Errorf("the reference is kept for what is being ended: %s", m)
		}
		f.mu.Lock()
		stop := f.holding
		f.holding, f.mute = nil, "RouteRegisterCancel"
		f.mu.Unlock()
		f.up.Event(uacsta.Encode(uacsta.RouteRegisterResponse{RouteRegisterReqID: "r"}, uacsta.Edition3))
		synctest.Wait()
		if m := request(s, uacsta.RouteRegister{}); m.Err() != nil {
			t.Errorf("the registration is kept for what is being ended: %s", m)
		}
		f.mu.Lock()
		stop = append(stop, f.holding...)
		f.holding, f.mute = nil, ""
		f.mu.Unlock()
		if len(stop) != 2 {
			t.Fatalf("%d are being ended", len(stop))
		}
		for _, reply := range stop {
			reply(nil, uacsta.Refuse(uacsta.SystemResourceAvailability, uacsta.Generic)) // not now
		}
		time.Sleep(time.Hour)
		if monitors, routers := f.count("MonitorStop"), f.count("RouteRegisterCancel"); monitors+routers != 0 {
			t.Errorf("what has the reference now is ended: %d, %d", monitors, routers)
		}
	})
}
