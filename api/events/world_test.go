package events

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tr87proxy/tr87proxy/internal/eventlog"
	"github.com/tr87proxy/tr87proxy/internal/wait"
	"github.com/tr87proxy/tr87proxy/policy"
	"github.com/tr87proxy/tr87proxy/proxy"
	"github.com/tr87proxy/tr87proxy/softswitch"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

// world is a recorder with a proxy and the built-in switch behind it, and a client that controls telephones.
type world struct {
	*testing.T
	proxy    *proxy.Proxy
	log      *eventlog.Log
	recorder *Recorder
	link     *cuttable
	session  *proxy.Session
	limits   eventlog.Limits
	stop     func() // stops the recorder
}

// cuttable is a switch whose link can be cut.
type cuttable struct {
	*softswitch.Switch
	cut chan struct{} // one value cuts the link once

	mu   sync.Mutex
	hold chan struct{} // the link stays down until it is closed
}

// down cuts the link, and returns what lets it come back.
func (c *cuttable) down() (back func()) {
	hold := make(chan struct{})
	c.mu.Lock()
	c.hold = hold
	c.mu.Unlock()
	c.cut <- struct{}{}
	return func() { close(hold) }
}

var errCut = errors.New("the test cut the link")

// Run implements proxy.Link.
func (c *cuttable) Run(ctx context.Context, up proxy.Upcalls) error {
	c.mu.Lock()
	hold := c.hold
	c.mu.Unlock()
	select {
	case <-hold:
	case <-ctx.Done():
		return ctx.Err()
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- c.Switch.Run(ctx, up) }()
	select {
	case err := <-done:
		return err
	case <-c.cut:
		cancel()
		<-done
		return errCut
	}
}

type nobody struct{}

func (nobody) Event(*uacsta.Message) {}
func (nobody) Closed(error)          {}

func newWorld(t *testing.T, path string, devices ...string) *world {
	t.Helper()
	w := &world{T: t, limits: eventlog.Limits{Unsynced: true}}
	sw, err := softswitch.New(softswitch.Config{
		Extensions: []softswitch.Extension{{Number: "100"}, {Number: "101"}, {Number: "102"}, {Number: "103"}, {Number: "104"}},
		Trunks:     []softswitch.Trunk{{Number: "900", Prefixes: []string{"0"}, Inward: nil}},
	})
	if err != nil {
		t.Fatal(err)
	}
	up := make(chan struct{})
	close(up)
	w.link = &cuttable{Switch: sw, cut: make(chan struct{}), hold: up}
	log := slog.New(slog.DiscardHandler)
	w.proxy = proxy.New(proxy.Config{
		Policy: &policy.Policy{Demo: true}, Numbers: &policy.Numbers{Extensions: func(n string) bool { return len(n) == 3 }},
		Log: log, BackOff: time.Millisecond, Retry: time.Millisecond,
	})
	w.proxy.AddLink("switch", w.link, func(n string) bool { return sw.Has(n) })
	ctx, cancel := context.WithCancel(context.Background())
	over := make(chan struct{})
	go func() { defer close(over); w.proxy.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-over })
	if err := w.proxy.Await(t.Context(), "switch"); err != nil {
		t.Fatal(err)
	}
	if w.session, err = w.proxy.Open(proxy.Opening{Identity: policy.Identity{Name: "crm", How: "test"}, Front: "test"}, nobody{}); err != nil {
		t.Fatal(err)
	}
	w.start(path, devices...)
	return w
}

// start starts a recorder.
func (w *world) start(path string, devices ...string) {
	w.Helper()
	log := slog.New(slog.DiscardHandler)
	var err error
	if w.log, err = eventlog.Open(path, w.limits, log); err != nil {
		w.Fatal(err)
	}
	w.recorder = New(Config{Proxy: w.proxy, Log: log, Events: w.log, Front: "api", Devices: devices})
	ctx, cancel := context.WithCancel(context.Background())
	over := make(chan struct{})
	go func() { defer close(over); w.recorder.Run(ctx) }()
	stopped := false
	w.stop = func() {
		if !stopped {
			stopped = true
			cancel()
			<-over
			_ = w.log.Close()
		}
	}
	w.Cleanup(func() { w.stop() })
}

// ask sends a request that must succeed.
func (w *world) ask(req any) *uacsta.Message {
	w.Helper()
	res := make(chan *uacsta.Message, 1)
	w.session.Request(uacsta.Encode(req, uacsta.Edition3), func(m *uacsta.Message) { res <- m })
	m := wait.Next(w, res, "a response")
	if err := m.Err(); err != nil {
		w.Fatalf("%T: %v", req, err)
	}
	return m
}

// call makes a call, and returns the caller's connection.
func (w *world) call(from, to string) uacsta.ConnectionID {
	w.Helper()
	var made uacsta.MakeCallResponse
	if err := w.ask(uacsta.MakeCall{CallingDevice: uacsta.Dev(from), CalledDirectoryNumber: uacsta.Dev(to), AutoOriginate: uacsta.DoNotPrompt}).Decode(&made); err != nil {
		w.Fatal(err)
	}
	return made.CallingDevice
}

func (w *world) answer(call, device string) {
	w.Helper()
	w.ask(uacsta.AnswerCall{CallToBeAnswered: uacsta.Conn(call, device)})
}

func (w *world) clear(call, device string) {
	w.Helper()
	w.ask(uacsta.ClearConnection{ConnectionToBeCleared: uacsta.Conn(call, device)})
}

// right is the rights of a test. Each is of other rules.
type right struct{ may func(device string) bool }

// MayObserve implements Rights.
func (r *right) MayObserve(device string) bool { return r.may(device) }

var everything = &right{func(string) bool { return true }}

// reader reads a subscription.
type reader struct {
	*Subscription
	t    *testing.T
	wake chan struct{}
	got  []Event
}

// any is what tests look at of an event.
type seen struct {
	ID, Type, Device, Call, Link, Caller, Called, State, Cause, From, To, Reason string
	Seq                                                                          uint64
	Time                                                                         time.Time
	CSTA                                                                         json.RawMessage
	CSTAOmitted                                                                  bool
	Calls                                                                        []Call
	Devices, Waiting                                                             []string
}

func (w *world) subscribe(want Wish) *reader {
	w.Helper()
	r := &reader{t: w.T, wake: make(chan struct{}, 1)}
	want.Wake = func() {
		select {
		case r.wake <- struct{}{}:
		default:
		}
	}
	if want.Rights == nil {
		want.Rights = func() Rights { return everything }
	}
	s, err := w.recorder.Subscribe(w.Context(), want)
	if err != nil {
		w.Fatal(err)
	}
	w.Cleanup(s.Close)
	r.Subscription = s
	return r
}

// next returns the next event.
func (r *reader) next() seen {
	r.t.Helper()
	for len(r.got) == 0 {
		var err error
		if r.got, err = r.Next(3); err != nil {
			r.t.Fatal(err)
		}
		if len(r.got) == 0 {
			wait.Next(r.t, r.wake, "an event")
		}
	}
	e := r.got[0]
	r.got = r.got[1:]
	var s seen
	if err := json.Unmarshal(e.Data, &s); err != nil || s.Seq != e.Seq || s.Type != e.Type {
		r.t.Fatalf("%s: %v", e.Data, err)
	}
	return s
}

// until returns the events up to one of a type at a device, with it.
func (r *reader) until(kind, device string) (all []seen) {
	r.t.Helper()
	for {
		e := r.next()
		all = append(all, e)
		if e.Type == kind && (device == "" || e.Device == device) {
			return all
		}
	}
}

// line is an event in short.
func (s seen) line() string {
	return strings.Join(slices.DeleteFunc([]string{s.Type, s.Device, s.Caller, s.Called, s.State}, func(s string) bool { return s == "" }), " ")
}

func lines(all []seen) (text []string) {
	for _, e := range all {
		text = append(text, e.line())
	}
	return text
}
