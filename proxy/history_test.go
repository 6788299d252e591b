package proxy_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tr87proxy/tr87proxy/policy"
	"github.com/tr87proxy/tr87proxy/proxy"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

var exhaustive = flag.Bool("exhaustive", false, "TestHistories goes through 10 000 of them, and what else takes long is tested; it takes some minutes")

// exchange is a switching function with calls. Like a real one, it numbers its monitors from 1 in each
// life and reuses numbers. It sends everything in one order.
type exchange struct {
	rng *rand.Rand

	mu      sync.Mutex
	up      proxy.Upcalls // nil while it is down
	lose    chan error
	out     chan func()
	active  map[string]string                                 // reference -> device
	calls   map[string]map[string]uacsta.LocalConnectionState // by callID and device; it has them while the link is down, too
	made    int
	refuses int             // of a hundred requests it has no time for so many
	late    int             // of a hundred requests it answers so many after the link has given up
	room    int             // requests that it takes at a time; 0: any number
	open    int             // requests that it has not answered
	wrong   []string        // what the core should not have done
	stopped map[string]bool // references that were stopped
}

func newExchange(seed, stream uint64) *exchange {
	return &exchange{rng: rand.New(rand.NewPCG(seed, stream)), lose: make(chan error), calls: map[string]map[string]uacsta.LocalConnectionState{}}
}

func (x *exchange) Run(ctx context.Context, up proxy.Upcalls) error {
	out := make(chan func(), 10000)
	x.mu.Lock()
	x.up, x.out, x.active, x.stopped, x.open = up, out, map[string]string{}, map[string]bool{}, 0
	x.mu.Unlock()
	up.Ready()
	for {
		select {
		case say := <-out:
			say()
			continue
		default:
		}
		var err error
		select {
		case say := <-out:
			say()
			continue
		case err = <-x.lose:
		case <-ctx.Done():
			err = ctx.Err()
		}
		x.mu.Lock()
		x.up = nil
		x.mu.Unlock()
		return err
	}
}

// Request responds through the queue of the switching function, in order. Some requests get no
// response, which the core must handle at the end of a life.
func (x *exchange) Request(req *uacsta.Message, reply func(*uacsta.Message, error)) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.up == nil {
		reply(nil, uacsta.Refuse(uacsta.SystemResourceAvailability, uacsta.ResourceOutOfService))
		return
	}
	x.open++
	answered := func(say func()) func() {
		return func() {
			x.mu.Lock()
			x.open--
			x.mu.Unlock()
			say()
		}
	}
	switch {
	case x.room > 0 && x.open > x.room:
		x.out <- answered(func() {
			reply(nil, uacsta.Refuse(uacsta.SubscribedResourceAvailability, uacsta.OutstandingReqLimitExceeded))
		})
		return
	case x.rng.IntN(100) < x.refuses:
		x.out <- answered(func() { reply(nil, uacsta.Refuse(uacsta.SystemResourceAvailability, uacsta.Generic)) })
		return
	}
	res := x.carry(req)
	if x.rng.IntN(100) < x.late { // the link gives up, and the answer comes all the same
		up := x.up
		if req.Name() == "MonitorStop" {
			x.stopped[req.CrossRef()] = true // it is asked for once more, rightly
		}
		x.out <- answered(func() {
			reply(nil, uacsta.Refuse(uacsta.SystemResourceAvailability, uacsta.Generic))
			up.Event(res)
		})
		return
	}
	x.out <- answered(func() { reply(res, nil) })
}

// carry carries a request out. The caller holds x.mu.
func (x *exchange) carry(req *uacsta.Message) *uacsta.Message {
	encode := func(res any) *uacsta.Message { return uacsta.Encode(res, uacsta.Edition3) }
	switch req.Name() {
	case "MonitorStart":
		ref := 1
		for x.active[strconv.Itoa(ref)] != "" {
			ref++
		}
		delete(x.stopped, strconv.Itoa(ref))
		x.active[strconv.Itoa(ref)] = req.Text("monitorObject/deviceObject")
		return encode(uacsta.MonitorStartResponse{MonitorCrossRefID: strconv.Itoa(ref)})
	case "MonitorStop":
		if x.active[req.CrossRef()] == "" && !x.stopped[req.CrossRef()] {
			x.wrong = append(x.wrong, "a monitor was stopped that is not there")
		}
		delete(x.active, req.CrossRef())
		return encode(uacsta.MonitorStopResponse{})
	case "SnapshotDevice":
		list, device := &uacsta.SnapshotDeviceDataList{}, req.Text("snapshotObject")
		for id, parties := range x.calls {
			if state := parties[device]; state != "" {
				list.SnapshotDeviceResponseInfo = append(list.SnapshotDeviceResponseInfo, uacsta.SnapshotDeviceResponseInfo{
					ConnectionIdentifier: uacsta.Conn(id, device), LocalCallState: uacsta.CallState{CompoundCallState: []uacsta.LocalConnectionState{state}},
				})
			}
		}
		return encode(uacsta.SnapshotDeviceResponse{CrossRefIDorSnapshotData: uacsta.CrossRefIDorSnapshotDeviceData{SnapshotData: list}})
	case "SnapshotCall":
		list, id := &uacsta.SnapshotCallDataList{}, req.Text("snapshotObject/callID")
		for device, state := range x.calls[id] {
			c := uacsta.Conn(id, device)
			list.SnapshotCallResponseInfo = append(list.SnapshotCallResponseInfo, uacsta.SnapshotCallResponseInfo{DeviceOnCall: uacsta.Ext(device), CallIdentifier: &c, LocalConnectionInfo: state})
		}
		return encode(uacsta.SnapshotCallResponse{CrossRefIDorSnapshotData: uacsta.CrossRefIDorSnapshotCallData{SnapshotData: list}})
	}
	return uacsta.Accept(req, uacsta.Edition3)
}

// tell sends an event about a connection to every monitor on a device in its call. The caller holds
// x.mu.
func (x *exchange) tell(id string, event func(ref string, local uacsta.LocalConnectionState) any) {
	if x.up == nil {
		return
	}
	up := x.up
	for _, ref := range slices.Sorted(maps.Keys(x.active)) {
		if local, in := x.calls[id][x.active[ref]]; in {
			m := uacsta.Encode(event(ref, local), uacsta.Edition3)
			x.out <- func() { up.Event(m) }
		}
	}
}

// change begins a call, or changes or ends one of its connections.
func (x *exchange) change(devices []string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if len(x.calls) < 3 && (len(x.calls) == 0 || x.rng.IntN(3) == 0) {
		x.made++
		id := fmt.Sprint("c", x.made)
		order := x.rng.Perm(len(devices))
		caller, called := devices[order[0]], devices[order[1]]
		x.calls[id] = map[string]uacsta.LocalConnectionState{caller: uacsta.Connected}
		x.tell(id, func(ref string, local uacsta.LocalConnectionState) any {
			return uacsta.OriginatedEvent{MonitorCrossRefID: ref, OriginatedConnection: uacsta.Conn(id, caller), CallingDevice: uacsta.Ext(caller), CalledDevice: uacsta.Ext(called), LocalConnectionInfo: local, Cause: uacsta.CauseNewCall}
		})
		x.calls[id][called] = uacsta.Alerting
		x.tell(id, func(ref string, local uacsta.LocalConnectionState) any {
			return uacsta.DeliveredEvent{MonitorCrossRefID: ref, Connection: uacsta.Conn(id, called), AlertingDevice: uacsta.Ext(called), CallingDevice: uacsta.Ext(caller), CalledDevice: uacsta.Ext(called), LocalConnectionInfo: local, Cause: uacsta.CauseNewCall}
		})
		return
	}
	ids := slices.Sorted(maps.Keys(x.calls))
	id := ids[x.rng.IntN(len(ids))]
	parties := slices.Sorted(maps.Keys(x.calls[id]))
	device := parties[x.rng.IntN(len(parties))]
	c := uacsta.Conn(id, device)
	switch state := x.calls[id][device]; {
	case x.rng.IntN(3) == 0: // the whole call ends
		for _, device := range parties {
			x.calls[id][device] = uacsta.Null
			x.tell(id, func(ref string, local uacsta.LocalConnectionState) any {
				return uacsta.ConnectionClearedEvent{MonitorCrossRefID: ref, DroppedConnection: uacsta.Conn(id, device), ReleasingDevice: uacsta.Ext(device), LocalConnectionInfo: local, Cause: uacsta.CauseNormalClearing}
			})
			delete(x.calls[id], device)
		}
		delete(x.calls, id)
	case state == uacsta.Alerting:
		x.calls[id][device] = uacsta.Connected
		x.tell(id, func(ref string, local uacsta.LocalConnectionState) any {
			return uacsta.EstablishedEvent{MonitorCrossRefID: ref, EstablishedConnection: c, AnsweringDevice: uacsta.Ext(device), CallingDevice: uacsta.Ext(device), CalledDevice: uacsta.Ext(device), LocalConnectionInfo: local, Cause: uacsta.CauseNewCall}
		})
	case state == uacsta.Connected:
		x.calls[id][device] = uacsta.Hold
		x.tell(id, func(ref string, local uacsta.LocalConnectionState) any {
			return uacsta.HeldEvent{MonitorCrossRefID: ref, HeldConnection: c, HoldingDevice: uacsta.Ext(device), LocalConnectionInfo: local, Cause: uacsta.CauseNormal}
		})
	default:
		x.calls[id][device] = uacsta.Connected
		x.tell(id, func(ref string, local uacsta.LocalConnectionState) any {
			return uacsta.RetrievedEvent{MonitorCrossRefID: ref, RetrievedConnection: c, RetrievingDevice: uacsta.Ext(device), LocalConnectionInfo: local, Cause: uacsta.CauseNormal}
		})
	}
}

// program is a client that keeps a picture of the devices that it monitors.
type program struct {
	t       *testing.T
	session *proxy.Session
	slow    bool // it takes no events, until its session is ended

	mu      sync.Mutex
	watched map[string]*watching // by its cross reference
	closed  bool
	release chan struct{}
}

// watching is what a program knows of a device.
type watching struct {
	device string
	whole  bool // it knew all calls when it began
	calls  map[string]uacsta.LocalConnectionState
}

func (c *program) Closed(error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
}

// own returns the connections that events are about.
var own = map[string]struct {
	path  string
	state uacsta.LocalConnectionState
}{
	"OriginatedEvent": {"originatedConnection", uacsta.Connected}, "DeliveredEvent": {"connection", uacsta.Alerting},
	"EstablishedEvent": {"establishedConnection", uacsta.Connected}, "HeldEvent": {"heldConnection", uacsta.Hold},
	"RetrievedEvent": {"retrievedConnection", uacsta.Connected}, "ConnectionClearedEvent": {"droppedConnection", ""},
}

func (c *program) Event(ev *uacsta.Message) {
	if c.slow {
		<-c.release
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	switch ev.Name() {
	case "SystemStatus":
		return
	case "MonitorStop":
		delete(c.watched, ev.CrossRef())
		return
	}
	w := c.watched[ev.CrossRef()]
	change, known := own[ev.Name()]
	if w == nil || !known {
		c.t.Errorf("a client got %s that is not its own", ev)
		return
	}
	id, device := ev.Text(change.path+"/callID"), ev.Text(change.path+"/deviceID")
	if device != w.device {
		if local := ev.Text("localConnectionInfo"); w.calls[id] == "" && w.whole {
			c.t.Errorf("%s is told %s, and is in no such call (local %s)", w.device, ev, local)
		}
		return
	}
	if before, there := w.calls[id]; before == change.state && (there || w.whole) {
		c.t.Errorf("%s is told twice: %s", w.device, ev)
	}
	w.calls[id] = change.state
	if change.state == "" {
		delete(w.calls, id)
	}
}

// watch starts a monitor, after a snapshot if whole is set.
func (c *program) watch(device string, whole bool) {
	w := &watching{device: device, whole: whole, calls: map[string]uacsta.LocalConnectionState{}}
	if whole {
		calls, ok := c.look(device)
		if !ok {
			return
		}
		w.calls = calls
	}
	d, answered := uacsta.Dev(device), false
	c.session.Request(uacsta.Encode(uacsta.MonitorStart{MonitorObject: uacsta.MonitorObject{DeviceObject: &d}}, uacsta.Edition3), func(m *uacsta.Message) {
		c.mu.Lock()
		defer c.mu.Unlock()
		answered = true
		if m.CrossRef() != "" {
			c.watched[m.CrossRef()] = w
		}
	})
	synctest.Wait()
	c.mu.Lock()
	defer c.mu.Unlock()
	if !answered { // the calls are others by then
		w.whole, w.calls = false, map[string]uacsta.LocalConnectionState{}
	}
}

// look takes a snapshot of a device.
func (c *program) look(device string) (calls map[string]uacsta.LocalConnectionState, ok bool) {
	calls = map[string]uacsta.LocalConnectionState{}
	done := false
	c.session.Request(uacsta.Encode(uacsta.SnapshotDevice{SnapshotObject: uacsta.Dev(device)}, uacsta.Edition3), func(m *uacsta.Message) {
		c.mu.Lock()
		defer c.mu.Unlock()
		done = true
		var snapshot uacsta.SnapshotDeviceResponse
		if ok = m.Err() == nil && m.Decode(&snapshot) == nil; !ok {
			return
		}
		if data := snapshot.CrossRefIDorSnapshotData.SnapshotData; data != nil {
			for _, info := range data.SnapshotDeviceResponseInfo {
				calls[info.ConnectionIdentifier.CallID] = info.LocalCallState.CompoundCallState[0]
			}
		}
	})
	synctest.Wait()
	c.mu.Lock()
	defer c.mu.Unlock()
	return calls, ok && done
}

// TestHistories: whatever happens to a link, in the end every client has the right picture, no event
// has come twice or to the wrong client, and the switching function has one monitor for each device
// that a client monitors.
func TestHistories(t *testing.T) {
	histories := 150
	switch {
	case *exhaustive:
		histories = 10000
	case testing.Short():
		histories = 20
	}
	for seed := range histories {
		synctest.Test(t, func(t *testing.T) { history(t, uint64(seed)) })
		if t.Failed() {
			t.Fatalf("history %d", seed)
		}
	}
}

func history(t *testing.T, seed uint64) {
	t.Cleanup(func() {
		if t.Failed() {
			t.Log("history", seed)
		}
	})
	rng := rand.New(rand.NewPCG(seed, 1))
	devices := []string{"101", "102", "103", "104"}
	x, y := newExchange(seed, 2), newExchange(seed, 3)
	if rng.IntN(2) == 0 {
		x.room = 1 + rng.IntN(3)
	}
	cfg := proxy.Config{Policy: demo, Numbers: &policy.Numbers{Extensions: func(n string) bool { return len(n) == 3 }}, Limits: proxy.Limits{QueueLength: 20}}
	if rng.IntN(2) == 0 {
		cfg.Linger = 10 * time.Second
	}
	p := proxy.New(cfg)
	links := func(moved string) []proxy.NamedLink {
		return []proxy.NamedLink{{Name: "y", Devices: func(d string) bool { return d == moved }}, {Name: "x", Devices: func(d string) bool { return d != moved }}}
	}
	first := links("")
	first[0].Link, first[1].Link = y, x
	p.SetLinks(first)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { p.Run(ctx); close(done) }()
	defer func() { cancel(); <-done }()
	synctest.Wait()
	var programs []*program
	for n := range 4 {
		c := &program{t: t, slow: n == 3, watched: map[string]*watching{}, release: make(chan struct{})}
		defer close(c.release)
		programs = append(programs, c)
	}
	pick := func() *program {
		c := programs[rng.IntN(len(programs))]
		c.mu.Lock()
		closed := c.closed || c.session == nil
		c.mu.Unlock()
		if closed {
			s, err := p.Open(proxy.Opening{Identity: policy.Identity{Name: "a"}}, c)
			if err != nil {
				return nil
			}
			c.mu.Lock()
			c.session, c.closed, c.watched = s, false, map[string]*watching{}
			c.mu.Unlock()
		}
		return c
	}
	for range 60 {
		switch n := rng.IntN(20); {
		case n < 8:
			x.change(devices)
		case n < 12:
			if c := pick(); c != nil {
				c.watch(devices[rng.IntN(len(devices))], rng.IntN(2) == 0)
			}
		case n == 12:
			if c := pick(); c != nil {
				c.mu.Lock()
				refs := slices.Sorted(maps.Keys(c.watched))
				c.mu.Unlock()
				if len(refs) > 0 {
					request(c.session, uacsta.MonitorStop{MonitorCrossRefID: refs[0]})
					c.mu.Lock()
					delete(c.watched, refs[0])
					c.mu.Unlock()
				}
			}
		case n == 13:
			if c := pick(); c != nil {
				if rng.IntN(2) == 0 {
					c.session.Close(nil)
				} else {
					c.session.Disconnected(errors.New("gone"))
				}
				synctest.Wait()
				c.mu.Lock()
				c.closed, c.watched = true, map[string]*watching{}
				c.mu.Unlock()
			}
		case n < 16:
			select {
			case x.lose <- errors.New("lost"):
			default:
			}
		case n == 16:
			x.mu.Lock()
			x.refuses, x.late = rng.IntN(3)*20, rng.IntN(3)*10
			x.mu.Unlock()
		case n == 17:
			p.SetLinks(links(append(devices, "")[rng.IntN(len(devices)+1)]))
		default:
			time.Sleep(time.Duration(rng.IntN(3000)) * time.Millisecond)
		}
		if rng.IntN(3) > 0 {
			synctest.Wait()
		}
	}
	x.mu.Lock()
	x.refuses, x.late = 0, 0
	x.mu.Unlock()
	p.SetLinks(links(""))
	time.Sleep(5 * time.Minute)
	synctest.Wait()
	wanted, perhaps := map[string]bool{}, map[string]bool{}
	for i, c := range programs {
		c.mu.Lock()
		watched, closed := maps.Clone(c.watched), c.closed || c.session == nil
		c.mu.Unlock()
		if closed {
			continue
		}
		if c.slow { // which has not taken the answers
			for _, device := range devices {
				perhaps[device] = true
			}
			continue
		}
		for _, w := range watched {
			wanted[w.device] = true
			calls, ok := c.look(w.device)
			if !ok {
				t.Fatalf("no snapshot of %s", w.device)
			}
			for id, state := range calls {
				if got := w.calls[id]; got != state && (got != "" || w.whole) {
					t.Errorf("program %d: call %s of %s is %s, and it believes %q", i, id, w.device, state, got)
				}
			}
			for id, state := range w.calls {
				if calls[id] == "" {
					t.Errorf("program %d: call %s of %s is over, and it believes %s", i, id, w.device, state)
				}
			}
		}
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	monitors := map[string]int{}
	for _, device := range x.active {
		monitors[device]++
	}
	for _, device := range devices {
		if n := monitors[device]; n > 1 || n == 0 && wanted[device] || n == 1 && !wanted[device] && !perhaps[device] {
			t.Errorf("the switching function has %d monitors on %s (wanted: %v)", n, device, wanted[device])
		}
	}
	if len(x.wrong) > 0 {
		t.Error(strings.Join(x.wrong, "; "))
	}
}
