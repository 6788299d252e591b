package asn1

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tr87proxy/tr87proxy/internal/gate"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

// stalling is a PBX that answers when the test says so; it is the handler of its connection.
type stalling struct {
	mu      sync.Mutex
	stalled bool
	waiting []func()
}

func (e *stalling) associate(*association) error { return errAborted }

func (e *stalling) event(*uacsta.Message) error { return nil }

// request implements handler. The cross reference of a monitor is the number of its device.
func (e *stalling) request(req *uacsta.Message, answer func(*uacsta.Message)) {
	res := uacsta.Accept(req, edition)
	if req.Name() == uacsta.NameMonitorStart {
		res = uacsta.Encode(uacsta.MonitorStartResponse{MonitorCrossRefID: "0" + req.Text("monitorObject/deviceObject")}, edition)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.waiting = append(e.waiting, func() { answer(res) })
	if !e.stalled {
		e.answer()
	}
}

// answer gives the answers that wait, in the order of the requests; e.mu is held.
func (e *stalling) answer() {
	for _, answer := range e.waiting {
		answer()
	}
	e.waiting = nil
}

// told keeps what a connection hands up.
type told struct{ events []string }

func (d *told) associate(*association) error                   { return errAborted }
func (d *told) request(*uacsta.Message, func(*uacsta.Message)) {}

func (d *told) event(ev *uacsta.Message) error {
	d.events = append(d.events, ev.Name()+" "+ev.CrossRef())
	return nil
}

// desk is our end of a connection to a stalling PBX.
type desk struct {
	*conn
	told told
	pbx  *stalling
}

// onDesk runs a test with a connection to a PBX, in a time of its own; the connection ends with the
// reason.
func onDesk(t *testing.T, f Flavour, reason error, test func(d *desk)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		d := &desk{pbx: &stalling{}}
		d.conn = newConn(near, &d.told, f, hexCallIDs, gate.Limits{QueueLength: 1000})
		there := newConn(far, d.pbx, f, anyCallIDs, gate.Limits{QueueLength: 1000})
		d.open()
		there.open()
		served, ended := make(chan error, 1), make(chan error, 1)
		go func() { served <- d.serve(context.Background()) }()
		go func() { ended <- there.serve(context.Background()) }()
		test(d)
		d.Close(errAborted)
		if err := <-served; !errors.Is(err, reason) {
			t.Errorf("%s: it ended with %v, not %v", f.Name, err, reason)
		}
		<-ended
	})
}

// monitor asks for a monitor of a device; outcome says what came of it: its cross reference, or an
// error.
func (d *desk) monitor(device int) (outcome func() string) {
	id := uacsta.Dev(fmt.Sprint(device))
	var replies []string
	d.ask(uacsta.Encode(uacsta.MonitorStart{MonitorObject: uacsta.MonitorObject{DeviceObject: &id}}, edition), func(m *uacsta.Message, err error) {
		if err != nil {
			replies = append(replies, err.Error())
			return
		}
		replies = append(replies, m.CrossRef())
	})
	return func() string {
		synctest.Wait()
		return strings.Join(replies, ", ")
	}
}

// A PBX stalls past the time-out of its requests, and later requests have gone through all invoke
// IDs when it answers: no late answer is taken for that to another request, each is handed up.
func TestLateAnswersOfStalledPBX(t *testing.T) {
	for _, f := range []Flavour{Phase3, HiPath, Phase1} {
		onDesk(t, f, errAborted, func(d *desk) {
			const late = 60
			d.pbx.stalled = true
			var monitors [late]func() string
			for n := range monitors {
				monitors[n] = d.monitor(200 + n)
			}
			time.Sleep(10 * time.Second)
			for _, outcome := range monitors {
				if got := outcome(); got != gate.ErrTimeout.Error() {
					t.Fatalf("%s: %s", f.Name, got)
				}
			}
			old := d.pbx.waiting
			d.pbx.waiting, d.pbx.stalled = nil, false
			for range 2*maxID - late { // so that the next would have one of theirs
				if got := d.monitor(101)(); got != "0101" {
					t.Fatalf("%s: %s", f.Name, got)
				}
			}
			d.pbx.stalled = true
			one, two := d.monitor(102), d.monitor(103)
			if got := one() + two(); got != "" {
				t.Errorf("%s: %s", f.Name, got)
			}
			d.pbx.waiting = append(old, d.pbx.waiting...)
			d.pbx.answer()
			if one() != "0102" || two() != "0103" {
				t.Errorf("%s: 102 is %s, 103 is %s", f.Name, one(), two())
			}
			for n, outcome := range monitors {
				if got := outcome(); got != gate.ErrTimeout.Error() {
					t.Errorf("%s: a second answer: %s", f.Name, got)
				}
				if want := fmt.Sprintf("MonitorStartResponse 0%d", 200+n); n >= len(d.told.events) || d.told.events[n] != want {
					t.Errorf("%s: %s is not handed up", f.Name, want)
				}
			}
			if len(d.told.events) != late {
				t.Errorf("%s: %v", f.Name, d.told.events)
			}
		})
	}
}

// When no invoke ID is left because the PBX has answered no request in time, the next request ends the
// connection: its late answers can do no harm in another.
func TestNoInvokeIDsLeft(t *testing.T) {
	for _, f := range []Flavour{Phase3, HiPath, Phase1} {
		onDesk(t, f, gate.ErrMute, func(d *desk) {
			d.pbx.stalled = true
			for n := range maxID - 1 {
				d.monitor(200 + n)
			}
			time.Sleep(10 * time.Second)
			synctest.Wait()
			if got := d.monitor(102)(); got != gate.ErrClosed.Error() {
				t.Errorf("%s: %s", f.Name, got)
			}
			<-d.Ended()
		})
	}
}

// silent takes what a link tells.
type silent struct{ ready chan struct{} }

func (s silent) Ready()                        { close(s.ready) }
func (s silent) Event(*uacsta.Message)         {}
func (s silent) Request(*uacsta.Message) error { return nil }

// slowCalls is a PBX that answers signs of life at once, and no MakeCall.
type slowCalls struct {
	exchange
	alive chan struct{}
}

func (e *slowCalls) request(req *uacsta.Message, answer func(*uacsta.Message)) {
	if req.Name() != uacsta.NameSystemStatus {
		return
	}
	answer(uacsta.Accept(req, edition))
	select {
	case e.alive <- struct{}{}:
	default: // it has been told
	}
}

// Requests of clients that wait for answers never take the room of the link's signs of life.
func TestSignsOfLifeAmongRequests(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var group sync.WaitGroup
	defer group.Wait()
	defer cancel()
	defer func() { _ = l.Close() }()
	e := &slowCalls{alive: make(chan struct{})}
	group.Go(func() {
		nc, err := l.Accept()
		if err != nil {
			return
		}
		e.conn = newConn(nc, e, HiPath, anyCallIDs, gate.Limits{})
		_ = e.conn.serve(ctx)
	})
	link, up := NewLink(LinkConfig{Addresses: []string{l.Addr().String()}, Flavour: HiPath, Heartbeat: 20 * time.Millisecond, Conn: gate.Limits{Timeout: time.Minute}}), silent{make(chan struct{})}
	ended := make(chan error, 1)
	group.Go(func() { ended <- link.Run(ctx, up) })
	wait := func(what string, c <-chan struct{}) {
		t.Helper()
		select {
		case <-c:
		case err := <-ended:
			t.Fatalf("%s: the link ended: %v", what, err)
		case <-time.After(20 * time.Second):
			t.Fatal(what)
		}
	}
	wait("ready", up.ready)
	full := make(chan struct{}, maxID)
	for range maxID {
		link.Request(uacsta.Encode(uacsta.MakeCall{CallingDevice: uacsta.Dev("200"), CalledDirectoryNumber: uacsta.Dev("900")}, edition), func(_ *uacsta.Message, err error) {
			if errors.Is(err, uacsta.Refuse(uacsta.SubscribedResourceAvailability, uacsta.OutstandingReqLimitExceeded)) {
				full <- struct{}{}
			}
		})
	}
	wait("no request is refused", full)
	for range 3 { // one may have been asked before
		wait("no sign of life", e.alive)
	}
}
