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

// stalling is a PBX that answers when the test says so; it is the Handler of its connection.
type stalling struct {
	mu      sync.Mutex
	stalled bool
	waiting []func()
}

func (e *stalling) Associate(*Association) error { return errEnd }

func (e *stalling) Event(*uacsta.Message) error { return nil }

// Request implements Handler. The cross reference of a monitor is the number of its device.
func (e *stalling) Request(req *uacsta.Message, answer func(*uacsta.Message)) {
	res := uacsta.Accept(req, Edition)
	if req.Name() == uacsta.NameMonitorStart {
		res = uacsta.Encode(uacsta.MonitorStartResponse{MonitorCrossRefID: "0" + req.Text("monitorObject/deviceObject")}, Edition)
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

// errEnd ends a connection.
var errEnd = errors.New("the end of the test")

// told keeps what a connection hands up.
type told struct{ events []string }

func (d *told) Associate(*Association) error                   { return errEnd }
func (d *told) Request(*uacsta.Message, func(*uacsta.Message)) {}

func (d *told) Event(ev *uacsta.Message) error {
	d.events = append(d.events, ev.Name()+" "+ev.CrossRef())
	return nil
}

// desk is our end of a connection to a stalling PBX.
type desk struct {
	*Conn
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
		d.Conn = NewConn(near, &d.told, NewCodec(f, HexCallIDs), gate.Limits{QueueLength: 1000})
		there := NewConn(far, d.pbx, NewCodec(f, AnyCallIDs), gate.Limits{QueueLength: 1000})
		d.Establish()
		there.Establish()
		served, ended := make(chan error, 1), make(chan error, 1)
		go func() { served <- d.Serve(context.Background()) }()
		go func() { ended <- there.Serve(context.Background()) }()
		test(d)
		d.Close(errEnd)
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
	d.Request(uacsta.Encode(uacsta.MonitorStart{MonitorObject: uacsta.MonitorObject{DeviceObject: &id}}, Edition), func(m *uacsta.Message, err error) {
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
		onDesk(t, f, errEnd, func(d *desk) {
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
