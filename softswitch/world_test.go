package softswitch

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tr87proxy/tr87proxy/uacsta"
)

// world is a switch with a monitor on each of its devices, and what the monitors
// saw, one line each: "device: Event connection state-here cause".
type world struct {
	t    *testing.T
	sw   *Switch
	refs map[string]string // cross reference -> device
	mu   sync.Mutex
	seen []string
	raw  []*uacsta.Message // everything the switch sent
	stop func()
	show func(*uacsta.Message) string // how an event is written down
}

func newWorld(t *testing.T, extensions ...Extension) *world {
	t.Helper()
	if len(extensions) == 0 {
		extensions = []Extension{{Number: "100"}, {Number: "101"}, {Number: "102"}, {Number: "103"}, {Number: "104", Phone: Behaviour{Busy: true}}}
	}
	var numbers []string
	for _, e := range extensions {
		numbers = append(numbers, e.Number)
	}
	return newWorldOf(t, Config{Extensions: extensions}, numbers...)
}

// newWorldOf makes a switch and monitors on the devices named.
func newWorldOf(t *testing.T, cfg Config, monitored ...string) *world {
	t.Helper()
	sw, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, sw: sw, refs: map[string]string{}}
	w.show = w.line
	ctx, cancel := context.WithCancel(context.Background())
	done, ready := make(chan struct{}), make(chan struct{})
	go func() { _ = sw.Run(ctx, &upcalls{w, ready}); close(done) }()
	w.stop = func() { cancel(); <-done }
	<-ready
	sw.core.outbox.Drain()
	for _, number := range monitored {
		object := uacsta.Dev(number)
		res := w.must(uacsta.MonitorStart{MonitorObject: uacsta.MonitorObject{DeviceObject: &object}})
		w.refs[res.CrossRef()] = number
	}
	w.events()
	return w
}

type upcalls struct {
	w     *world
	ready chan struct{}
}

func (u *upcalls) Ready() { close(u.ready) }

func (u *upcalls) Request(*uacsta.Message) error { return nil }

func (u *upcalls) Event(ev *uacsta.Message) {
	u.w.mu.Lock()
	defer u.w.mu.Unlock()
	u.w.seen = append(u.w.seen, u.w.show(ev))
	u.w.raw = append(u.w.raw, ev)
}

// line writes an event with calls named X, Y, Z, W in the order of their making.
func (w *world) line(ev *uacsta.Message) string {
	parts := []string{w.refs[ev.CrossRef()] + ": " + strings.TrimSuffix(ev.Name(), "Event")}
	for i, c := range ev.Connections() {
		if i == 0 || strings.HasSuffix(c.Path(), "newConnection") || c.Path() == "secondaryOldCall" {
			parts = append(parts, w.call(c.CallID())+plain(c.DeviceID()))
		}
	}
	for _, path := range []string{"newDestination/deviceIdentifier", "lastRedirectionDevice/numberDialed", "localConnectionInfo", "cause", "forwardingType", "forwardStatus", "doNotDisturbOn", "digitGeneratedList", "dtmfChar"} {
		if v := ev.Text(path); v != "" {
			if strings.HasPrefix(path, "last") {
				v = "via" + v
			}
			parts = append(parts, v)
		}
	}
	return strings.Join(parts, " ")
}

func (w *world) call(id string) string {
	_, n, _ := strings.Cut(id, "_")
	return strings.NewReplacer("1", "X", "2", "Y", "3", "Z", "4", "W").Replace(n)
}

// conn names a connection as X100, or X900-1 for a further one of a trunk.
func (w *world) conn(name string) uacsta.ConnectionID {
	id := uacsta.Conn(w.sw.prefix+"_"+strings.NewReplacer("X", "1", "Y", "2", "Z", "3", "W", "4").Replace(name[:1]), name[1:])
	if strings.Contains(name, "-") {
		id.DeviceID = uacsta.Typed(fmt.Sprintf("%X", name[1:]), uacsta.Dynamic)
	}
	return id
}

// plain is what the octets of a dynamic identifier say.
func plain(device string) string {
	if text, err := hex.DecodeString(device); err == nil && bytes.Contains(text, []byte("-")) {
		return string(text)
	}
	return device
}

// do sends a request.
func (w *world) do(req any) (*uacsta.Message, error) {
	type answer struct {
		res *uacsta.Message
		err error
	}
	answers := make(chan answer, 2) // a timer's goroutine may give it
	w.sw.Request(uacsta.Encode(req, uacsta.Edition3), func(m *uacsta.Message, err error) {
		w.mu.Lock()
		w.seen = append(w.seen, "answer")
		if m != nil {
			w.raw = append(w.raw, m)
		}
		w.mu.Unlock()
		answers <- answer{m, err}
	})
	got := <-answers
	if len(answers) > 0 {
		w.t.Fatalf("%T was answered twice", req)
	}
	return got.res, got.err
}

func (w *world) must(req any) *uacsta.Message {
	w.t.Helper()
	res, err := w.do(req)
	if err != nil {
		w.t.Fatalf("%T: %v", req, err)
	}
	return res
}

// events returns what was seen since the last time.
func (w *world) events() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	seen := w.seen
	w.seen = nil
	return seen
}

// expect compares what was seen since the last time, the answer being the first.
func (w *world) expect(what string, want ...string) {
	w.t.Helper()
	got := strings.Join(w.events(), "\n")
	if got != strings.Join(want, "\n") {
		w.t.Errorf("%s:\n got\n%s\nwant\n%s", what, got, strings.Join(want, "\n"))
	}
}

// Shorthands for requests.

func (w *world) makeCall(from, to string) any {
	return uacsta.MakeCall{CallingDevice: uacsta.Dev(from), CalledDirectoryNumber: uacsta.Dev(to), AutoOriginate: uacsta.DoNotPrompt}
}

func (w *world) answer(c string) any {
	return uacsta.AnswerCall{CallToBeAnswered: w.conn(c)}
}

func (w *world) clear(c string) any {
	return uacsta.ClearConnection{ConnectionToBeCleared: w.conn(c)}
}
func (w *world) hold(c string) any     { return uacsta.HoldCall{CallToBeHeld: w.conn(c)} }
func (w *world) retrieve(c string) any { return uacsta.RetrieveCall{CallToBeRetrieved: w.conn(c)} }

func (w *world) consult(c, to string) any {
	return uacsta.ConsultationCall{ExistingCall: w.conn(c), ConsultedDevice: uacsta.Dev(to)}
}

func (w *world) alternate(held, active string) any {
	return uacsta.AlternateCall{HeldCall: w.conn(held), ActiveCall: w.conn(active)}
}

func (w *world) reconnect(active, held string) any {
	return uacsta.ReconnectCall{ActiveCall: w.conn(active), HeldCall: w.conn(held)}
}

func (w *world) transfer(held, active string) any {
	return uacsta.TransferCall{HeldCall: w.conn(held), ActiveCall: w.conn(active)}
}

func (w *world) conference(held, active string) any {
	return uacsta.ConferenceCall{HeldCall: w.conn(held), ActiveCall: w.conn(active)}
}

func (w *world) singleStep(active, to string) any {
	return uacsta.SingleStepTransferCall{ActiveCall: w.conn(active), TransferredTo: uacsta.Dev(to)}
}

func (w *world) deflect(c, to string) any {
	return uacsta.DeflectCall{CallToBeDiverted: w.conn(c), NewDestination: []uacsta.DeviceID{uacsta.Dev(to)}}
}

func (w *world) clearCall(c string) any { return uacsta.ClearCall{CallToBeCleared: w.conn(c)} }

func (w *world) add(c, to string, how uacsta.ParticipationType) any {
	return uacsta.SingleStepConferenceCall{ActiveCall: w.conn(c), DeviceToJoin: uacsta.Dev(to), ParticipationType: how}
}

func (w *world) pickUp(c, by string) any {
	return uacsta.DirectedPickupCall{CallToBePickedUp: w.conn(c), RequestingDevice: uacsta.Dev(by)}
}

func (w *world) forward(from string, kind uacsta.ForwardingType, on bool, to string, rings int) any {
	dn := uacsta.Dev(to)
	req := uacsta.SetForwarding{Device: uacsta.Dev(from), ForwardingType: kind, ActivateForward: on, ForwardDN: &dn}
	if rings > 0 {
		req.RingCount = &rings
	}
	return req
}

// Situations that services start from.

func (w *world) ringing() { w.must(w.makeCall("100", "101")) } // X100 connected, X101 alerting

func (w *world) talking() { // X100, X101 connected
	w.ringing()
	w.must(w.answer("X101"))
}

func (w *world) consulting() { // X100 hold, X101 connected, Y100 connected, Y102 alerting
	w.talking()
	w.must(w.consult("X100", "102"))
}

func (w *world) consulted() { // as consulting, Y102 connected
	w.consulting()
	w.must(w.answer("Y102"))
}

// finish checks that nothing is left when every device has hung up.
func (w *world) finish() {
	w.t.Helper()
	for _, d := range w.sw.devices {
		for len(d.connections) > 0 {
			c := d.connections[0]
			w.must(uacsta.ClearConnection{ConnectionToBeCleared: c.id()})
		}
	}
	if calls, _ := w.sw.Counts(); calls != 0 {
		w.t.Errorf("%d calls are left", calls)
	}
	for _, d := range w.sw.devices {
		if p, ok := d.terminal.(*virtualPhone); ok && len(p.ringing) != 0 {
			w.t.Errorf("%s still rings", d.number)
		}
	}
	w.stop()
}

func refusal(err error) string {
	var r *uacsta.Error
	if errors.As(err, &r) {
		if !r.Known() {
			return "unknown error " + r.Error()
		}
		return string(r.Category) + "/" + r.Value
	}
	return ""
}

const second = time.Second
