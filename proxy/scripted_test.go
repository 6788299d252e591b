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

// scripted is a link whose every request the test controls.
type scripted struct {
	mu   sync.Mutex
	up   proxy.Upcalls
	lose chan error
	do   func(req *uacsta.Message, reply func(*uacsta.Message, error)) // nil: accept
	log  []string
}

func (f *scripted) Run(ctx context.Context, up proxy.Upcalls) error {
	f.mu.Lock()
	f.up = up
	f.mu.Unlock()
	up.Ready()
	select {
	case err := <-f.lose:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (f *scripted) Request(req *uacsta.Message, reply func(*uacsta.Message, error)) {
	f.mu.Lock()
	f.log = append(f.log, req.Name()+" "+req.CrossRef()+req.Text("crossRefIdentifier")+req.Text("routeRegisterReqID"))
	do := f.do
	f.mu.Unlock()
	do(req, reply)
}

func (f *scripted) count(prefix string) (n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, l := range f.log {
		if strings.HasPrefix(l, prefix) {
			n++
		}
	}
	return n
}

func ev(f *scripted, m any) { f.up.Event(uacsta.Encode(m, uacsta.Edition3)) }

func started(ref string) *uacsta.Message {
	return uacsta.Encode(uacsta.MonitorStartResponse{MonitorCrossRefID: ref}, uacsta.Edition3)
}

// A MonitorStop that has waited for its turn is not sent under a reference that has become another's.
func TestStopOfReusedReference(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &scripted{lose: make(chan error)}
		var block []func()
		var mu sync.Mutex
		next := []string{"1", "1"} // the switch ends 1 by itself, and uses the number again
		f.do = func(req *uacsta.Message, reply func(*uacsta.Message, error)) {
			switch req.Name() {
			case "MonitorStart":
				mu.Lock()
				ref := next[0]
				next = next[1:]
				mu.Unlock()
				reply(started(ref), nil)
			case "MakeCall":
				mu.Lock()
				block = append(block, func() {
					reply(uacsta.Encode(uacsta.MakeCallResponse{CallingDevice: uacsta.Conn("c", "103")}, uacsta.Edition3), nil)
				})
				mu.Unlock()
			default:
				reply(uacsta.Accept(req, uacsta.Edition3), nil)
			}
		}
		p := start(t, f, demo, func(c *proxy.Config) { c.MaxAtLink = 2 })
		a, _ := open(t, p, "a")
		b, lb := open(t, p, "b")
		c, _ := open(t, p, "c")
		request(a, monitorOf("101"))
		d, _ := open(t, p, "d")
		for _, s := range []*proxy.Session{c, d} {
			s.Request(uacsta.Encode(uacsta.MakeCall{CallingDevice: uacsta.Dev("103"), CalledDirectoryNumber: uacsta.Dev("109")}, uacsta.Edition3), func(*uacsta.Message) {})
		}
		synctest.Wait()
		var okB *uacsta.Message
		b.Request(uacsta.Encode(monitorOf("102"), uacsta.Edition3), func(m *uacsta.Message) { okB = m }) // waits for a turn, first
		synctest.Wait()
		a.Close(errors.New("bye")) // MonitorStop 1 waits behind
		synctest.Wait()
		ev(f, uacsta.MonitorStop{MonitorCrossRefID: "1"}) // the switch ends it by itself: the number is free
		synctest.Wait()
		block[0]() // a turn: b's MonitorStart, which gets 1; then the MonitorStop
		synctest.Wait()
		t.Log("b's start:", okB, "log", f.log)
		if n := f.count("MonitorStop 1"); n > 0 {
			t.Errorf("MonitorStop 1 was sent %d times, while 1 is b's monitor", n)
		}
		_ = lb
	})
}

// A RouteSelect that has waited for its turn does not decide another client's call.
func TestRouteOfReusedReference(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &scripted{lose: make(chan error)}
		var block func()
		regs := 0
		f.do = func(req *uacsta.Message, reply func(*uacsta.Message, error)) {
			switch req.Name() {
			case "RouteRegister":
				regs++
				reply(uacsta.Encode(uacsta.RouteRegisterResponse{RouteRegisterReqID: fmt.Sprint("r", regs)}, uacsta.Edition3), nil)
			case "MakeCall":
				block = func() {
					reply(uacsta.Encode(uacsta.MakeCallResponse{CallingDevice: uacsta.Conn("c", "103")}, uacsta.Edition3), nil)
				}
			case "RouteSelect":
				reply(nil, nil)
			default:
				reply(uacsta.Accept(req, uacsta.Edition3), nil)
			}
		}
		rules := policy.FromGrants(nil, policy.Grant{Who: "a", Control: []string{"101"}, Dial: []string{"*"}}, policy.Grant{Who: "b", Control: []string{"102"}, Dial: []string{"*"}}, policy.Grant{Who: "c", Control: []string{"103"}, Dial: []string{"*"}})
		p := start(t, f, rules, func(c *proxy.Config) { c.MaxAtLink = 1 })
		a, la := open(t, p, "a")
		b, lb := open(t, p, "b")
		c, _ := open(t, p, "c")
		d1, d2 := uacsta.Dev("101"), uacsta.Dev("102")
		request(a, uacsta.RouteRegister{RouteingDevice: &d1})
		request(b, uacsta.RouteRegister{RouteingDevice: &d2})
		ask := func(reg string, dev string) {
			_ = f.up.Request(uacsta.Encode(uacsta.RouteRequest{CrossRefIdentifier: "x1", RouteRegisterReqID: reg, CurrentRoute: uacsta.Ext(dev)}, uacsta.Edition3))
			synctest.Wait()
		}
		ask("r1", "101")
		got := la.take()
		if len(got) != 1 {
			t.Fatal(got)
		}
		c.Request(uacsta.Encode(uacsta.MakeCall{CallingDevice: uacsta.Dev("103"), CalledDirectoryNumber: uacsta.Dev("109")}, uacsta.Edition3), func(*uacsta.Message) {})
		synctest.Wait()
		a.Request(uacsta.Encode(uacsta.RouteSelect{CrossRefIdentifier: got[0].Text("crossRefIdentifier"), RouteSelected: uacsta.Dev("666")}, uacsta.Edition3), func(*uacsta.Message) {})
		synctest.Wait()
		_ = f.up.Request(uacsta.Encode(uacsta.RouteEnd{CrossRefIdentifier: "x1"}, uacsta.Edition3)) // the switch's timer
		synctest.Wait()
		ask("r2", "102") // the next call, of b
		if got := lb.take(); len(got) != 1 {
			t.Fatal(got)
		}
		block()
		synctest.Wait()
		t.Log(f.log)
		if f.count("RouteSelect x1") > 0 {
			t.Errorf("a's RouteSelect went out under x1, which is the question about b's call by now")
		}
	})
}

// Snapshots for a client's request take the client's turn and do not wait behind the core's own
// requests.
func TestVerificationTakesClientsTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &scripted{lose: make(chan error)}
		var q []func()
		var mu sync.Mutex
		n := 0
		slow := false
		f.do = func(req *uacsta.Message, reply func(*uacsta.Message, error)) {
			var res *uacsta.Message
			switch req.Name() {
			case "MonitorStart":
				mu.Lock()
				n++
				res = started(fmt.Sprint("m", n))
				mu.Unlock()
			case "SnapshotDevice":
				var resp uacsta.SnapshotDeviceResponse
				if d := req.Text("snapshotObject"); d == "101" {
					resp.CrossRefIDorSnapshotData.SnapshotData = &uacsta.SnapshotDeviceDataList{SnapshotDeviceResponseInfo: []uacsta.SnapshotDeviceResponseInfo{{ConnectionIdentifier: uacsta.Conn("call1", "101"), LocalCallState: uacsta.CallState{CompoundCallState: []uacsta.LocalConnectionState{"alerting"}}}}}
				}
				res = uacsta.Encode(resp, uacsta.Edition3)
			default:
				res = uacsta.Accept(req, uacsta.Edition3)
			}
			mu.Lock()
			if slow {
				q = append(q, func() { reply(res, nil) })
				mu.Unlock()
				return
			}
			mu.Unlock()
			reply(res, nil)
		}
		p := start(t, f, demo, func(c *proxy.Config) { c.MaxAtLink = 4 })
		go func() { // 40 answers a second
			for end := time.Now().Add(10 * time.Minute); time.Now().Before(end); {
				time.Sleep(25 * time.Millisecond)
				mu.Lock()
				var next func()
				if len(q) > 0 {
					next = q[0]
					q = q[1:]
				}
				mu.Unlock()
				if next != nil {
					next()
				}
			}
		}()
		for i := range 500 {
			s, _ := open(t, p, fmt.Sprint("s", i))
			request(s, monitorOf(fmt.Sprint(200+i)))
		}
		v, lv := open(t, p, "victim")
		res := request(v, uacsta.SnapshotDevice{SnapshotObject: uacsta.Dev("101")})
		_ = lv
		id := ""
		for _, c := range res.Connections() {
			id = c.CallID()
		}
		if id == "" {
			t.Fatal(res)
		}
		mu.Lock()
		slow = true
		mu.Unlock()
		f.lose <- errors.New("lost")
		time.Sleep(3 * time.Second)
		synctest.Wait()
		begun := time.Now()
		var took, direct time.Duration
		v.Request(uacsta.Encode(uacsta.AnswerCall{CallToBeAnswered: uacsta.Conn(id, "101")}, uacsta.Edition3), func(m *uacsta.Message) { took = time.Since(begun); t.Log(m) })
		w, _ := open(t, p, "other")
		w.Request(uacsta.Encode(uacsta.MakeCall{CallingDevice: uacsta.Dev("102"), CalledDirectoryNumber: uacsta.Dev("109")}, uacsta.Edition3), func(*uacsta.Message) { direct = time.Since(begun) })
		time.Sleep(11 * time.Minute)
		synctest.Wait()
		t.Logf("AnswerCall took %v, a MakeCall %v", took, direct)
		if took > 6*time.Second || took == 0 {
			t.Errorf("AnswerCall of a client waited %v behind what the core asks; MakeCall %v", took, direct)
		}
	})
}

// Unanswered requests of one identity leave turns to others.
func TestTurnsOfOneIdentity(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &scripted{lose: make(chan error)}
		f.do = func(req *uacsta.Message, reply func(*uacsta.Message, error)) {
			if req.Text("callingDevice") == "199" { // a dead telephone: refused for want of time
				time.AfterFunc(10*time.Second, func() { reply(nil, uacsta.Refuse(uacsta.SystemResourceAvailability, uacsta.Generic)) })
				return
			}
			reply(uacsta.Accept(req, uacsta.Edition3), nil)
		}
		p := start(t, f, demo, nil)
		for range 5 {
			s, _ := open(t, p, "attacker")
			for range 60 {
				s.Request(uacsta.Encode(uacsta.MakeCall{CallingDevice: uacsta.Dev("199"), CalledDirectoryNumber: uacsta.Dev("109")}, uacsta.Edition3), func(*uacsta.Message) {})
			}
		}
		synctest.Wait()
		v, _ := open(t, p, "victim")
		begun := time.Now()
		v.Request(uacsta.Encode(uacsta.GetDoNotDisturb{Device: uacsta.Dev("101")}, uacsta.Edition3), func(m *uacsta.Message) {
			t.Logf("after %v: %v", time.Since(begun), m)
			if m.Err() != nil {
				t.Errorf("another client is refused after %v: %v", time.Since(begun), m.Err())
			}
		})
		time.Sleep(30 * time.Second)
		synctest.Wait()
	})
}

// Many clients that leave at once do not take the turns of those that stay.
func TestTurnsOfLeavingClients(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &scripted{lose: make(chan error)}
		var q []func()
		var mu sync.Mutex
		n := 0
		slow := false
		f.do = func(req *uacsta.Message, reply func(*uacsta.Message, error)) {
			res := uacsta.Accept(req, uacsta.Edition3)
			if req.Name() == "MonitorStart" {
				n++
				res = started(fmt.Sprint("m", n))
			}
			mu.Lock()
			defer mu.Unlock()
			if slow {
				q = append(q, func() { reply(res, nil) })
			} else {
				go reply(res, nil)
			}
		}
		p := start(t, f, demo, func(c *proxy.Config) { c.MaxAtLink = 16 })
		var all []*proxy.Session
		for i := range 900 {
			s, _ := open(t, p, "attacker")
			request(s, monitorOf(fmt.Sprint(100+i)))
			all = append(all, s)
		}
		mu.Lock()
		slow = true
		mu.Unlock()
		go func() { // 100 answers a second
			for end := time.Now().Add(10 * time.Minute); time.Now().Before(end); {
				time.Sleep(10 * time.Millisecond)
				mu.Lock()
				var next func()
				if len(q) > 0 {
					next = q[0]
					q = q[1:]
				}
				mu.Unlock()
				if next != nil {
					next()
				}
			}
		}()
		for _, s := range all {
			s.Close(errors.New("bye"))
		}
		synctest.Wait()
		v, _ := open(t, p, "victim")
		begun := time.Now()
		v.Request(uacsta.Encode(uacsta.MakeCall{CallingDevice: uacsta.Dev("102"), CalledDirectoryNumber: uacsta.Dev("109")}, uacsta.Edition3), func(m *uacsta.Message) {
			t.Logf("after %v: %v", time.Since(begun), m)
			if m.Err() != nil {
				t.Errorf("refused after %v", time.Since(begun))
			}
		})
		time.Sleep(11 * time.Minute)
		synctest.Wait()
	})
}

// A device that refuses for want of room does not reduce the room of others.
func TestRefusalOfOneDevice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &scripted{lose: make(chan error)}
		f.do = func(req *uacsta.Message, reply func(*uacsta.Message, error)) {
			switch req.Name() + req.Text("device") + req.Text("callingDevice") {
			case "GetDoNotDisturb199":
				go reply(nil, uacsta.Refuse(uacsta.SubscribedResourceAvailability, uacsta.OutstandingReqLimitExceeded))
				return
			case "MakeCall199":
				time.AfterFunc(9*time.Second, func() { reply(nil, uacsta.Refuse(uacsta.SystemResourceAvailability, uacsta.Generic)) })
				return
			}
			go reply(uacsta.Accept(req, uacsta.Edition3), nil)
		}
		p := start(t, f, demo, nil)
		a, _ := open(t, p, "a")
		request(a, uacsta.GetDoNotDisturb{Device: uacsta.Dev("199")})
		a.Request(uacsta.Encode(uacsta.MakeCall{CallingDevice: uacsta.Dev("199"), CalledDirectoryNumber: uacsta.Dev("109")}, uacsta.Edition3), func(*uacsta.Message) {})
		synctest.Wait()
		for i := range 5 {
			v, _ := open(t, p, fmt.Sprint("victim", i))
			begun := time.Now()
			v.Request(uacsta.Encode(uacsta.GetDoNotDisturb{Device: uacsta.Dev("101")}, uacsta.Edition3), func(m *uacsta.Message) {
				if m.Err() != nil {
					t.Errorf("two requests of one client about one device, and others are refused after %v: %v", time.Since(begun), m.Err())
				}
			})
		}
		time.Sleep(30 * time.Second)
		synctest.Wait()
	})
}

// A burst at a switching function with little room, which it reports late, is delayed and not refused.
func TestBurst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &scripted{lose: make(chan error)}
		var mu sync.Mutex
		out := 0
		f.do = func(req *uacsta.Message, reply func(*uacsta.Message, error)) {
			mu.Lock()
			defer mu.Unlock()
			if out >= 4 {
				time.AfterFunc(5*time.Millisecond, func() {
					reply(nil, uacsta.Refuse(uacsta.SubscribedResourceAvailability, uacsta.OutstandingReqLimitExceeded))
				})
				return
			}
			out++
			time.AfterFunc(20*time.Millisecond, func() { mu.Lock(); out--; mu.Unlock(); reply(uacsta.Accept(req, uacsta.Edition3), nil) })
		}
		p := start(t, f, demo, nil)
		refused := map[int]int{}
		for round := range 4 {
			a, _ := open(t, p, "a")
			for range 50 {
				a.Request(uacsta.Encode(uacsta.GetDoNotDisturb{Device: uacsta.Dev("101")}, uacsta.Edition3), func(m *uacsta.Message) {
					if m.Err() != nil {
						mu.Lock()
						refused[round]++
						mu.Unlock()
					}
				})
			}
			time.Sleep(10 * time.Second)
			synctest.Wait()
		}
		t.Logf("refused of 50, in each round: %v", refused)
		if refused[0] > 5 {
			t.Errorf("%v", refused)
		}
	})
}

// If the retry of a MonitorStop whose success was reported too late stops the next monitor with that
// number, clients do not believe that monitor started.
func TestStopRepeated(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &scripted{lose: make(chan error)}
		active := map[string]string{}
		var mu sync.Mutex
		stops := 0
		f.do = func(req *uacsta.Message, reply func(*uacsta.Message, error)) {
			mu.Lock()
			defer mu.Unlock()
			switch req.Name() {
			case "MonitorStart": // the lowest number that is free
				active["1"] = req.Text("monitorObject/deviceObject")
				wait := time.Millisecond
				if active["1"] == "102" {
					wait = 3 * time.Second
				}
				time.AfterFunc(wait, func() { reply(started("1"), nil) })
			case "MonitorStop":
				_, there := active[req.CrossRef()]
				delete(active, req.CrossRef())
				stops++
				switch {
				case stops == 1:
					time.AfterFunc(10*time.Second, func() { reply(nil, uacsta.Refuse(uacsta.SystemResourceAvailability, uacsta.Generic)) }) // the link's time-out
				case there:
					go reply(uacsta.Accept(req, uacsta.Edition3), nil)
				default:
					go reply(nil, uacsta.Refuse(uacsta.Operation, uacsta.InvalidMonitorCrossRefID))
				}
			default:
				go reply(uacsta.Accept(req, uacsta.Edition3), nil)
			}
		}
		p := start(t, f, demo, nil)
		a, _ := open(t, p, "a")
		a.Request(uacsta.Encode(monitorOf("101"), uacsta.Edition3), func(*uacsta.Message) {})
		time.Sleep(time.Second)
		a.Close(errors.New("bye"))
		time.Sleep(9500 * time.Millisecond)
		b, _ := open(t, p, "b")
		var ok *uacsta.Message
		b.Request(uacsta.Encode(monitorOf("102"), uacsta.Edition3), func(m *uacsta.Message) { ok = m })
		time.Sleep(5 * time.Minute)
		synctest.Wait()
		mu.Lock()
		defer mu.Unlock()
		if ok.Err() == nil && active["1"] != "102" {
			t.Errorf("b was told %v, the core has %+v, and the switch has no monitor: %v, %v", ok, p.DeviceList(), active, f.log)
		}
	})
}

// A client's request whose turn does not come in time is counted and logged; the core's own are not.
func TestTurnsRefusedAreCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &scripted{lose: make(chan error), do: func(*uacsta.Message, func(*uacsta.Message, error)) {}} // it never answers
		p := start(t, f, demo, func(c *proxy.Config) { c.MaxAtLink = 1 })
		for _, name := range []string{"a", "b"} {
			s, _ := open(t, p, name)
			s.Request(uacsta.Encode(uacsta.GetDoNotDisturb{Device: uacsta.Dev("101")}, uacsta.Edition3), func(*uacsta.Message) {})
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if n := p.Stats().TurnsRefused.Load(); n != 1 {
			t.Errorf("%d requests were refused for want of a turn, want b's", n)
		}
	})
}
