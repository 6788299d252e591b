package linktest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"runtime/debug"
	"runtime/pprof"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tr87proxy/tr87proxy/proxy"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

// bench holds the link under test and plays the core.
type bench struct {
	t      testing.TB
	bubble bool
	lasts  bool // a life outlasts its connection
	early  bool // requests of the switch may come before Ready (Kit.Without)
	rig    *Rig
	label  string        // marks the goroutines of the link
	limit  time.Duration // timeout of every wait

	mu     sync.Mutex
	fail   func(format string, args ...any) // reports a breach of the contract
	news   chan struct{}                    // closed at the next change
	lives  int
	broken int // number of breaches
}

// benches numbers the benches, for their labels.
var benches atomic.Int64

func newBench(t testing.TB, kit Kit) *bench {
	t.Helper()
	return &bench{t: t, bubble: kit.Bubble, lasts: kit.Outlasts, early: kit.Without["NothingBeforeReady"] != "", rig: kit.New(t), limit: kit.Patience, fail: t.Errorf, news: make(chan struct{}), label: fmt.Sprint(benches.Add(1))}
}

// labelled calls a function whose goroutines get the link's label.
func (b *bench) labelled(what func()) {
	pprof.Do(context.Background(), pprof.Labels("linktest", b.label), func(context.Context) { what() })
}

// breach reports a breach of the contract. It suppresses all but the first few.
func (b *bench) breach(format string, args ...any) {
	b.mu.Lock()
	b.broken++
	fail, enough := b.fail, b.broken > 10
	b.mu.Unlock()
	if !enough {
		fail(format, args...)
	}
}

// happened wakes all waits.
func (b *bench) happened() {
	b.mu.Lock()
	defer b.mu.Unlock()
	close(b.news)
	b.news = make(chan struct{})
}

// until waits for a condition and reports whether it held in time.
func (b *bench) until(so func() bool) bool {
	deadline := time.NewTimer(b.limit)
	defer deadline.Stop()
	for {
		b.mu.Lock()
		news := b.news
		b.mu.Unlock()
		if so() {
			return true
		}
		select {
		case <-news:
		case <-deadline.C:
			return so()
		}
	}
}

// want waits for a condition and ends the test if it does not hold in time.
func (b *bench) want(what string, so func() bool) {
	b.t.Helper()
	b.wantOr(what, so, nil)
}

// wantOr is want; the failure includes the result of state, if there is one.
func (b *bench) wantOr(what string, so func() bool, state func() string) {
	b.t.Helper()
	if b.until(so) {
		return
	}
	if state != nil {
		b.t.Fatalf("%s: not within %s\n%s", what, b.limit, state())
	}
	b.t.Fatalf("%s: not within %s", what, b.limit)
}

// running describes the goroutines of the link.
func (b *bench) running() string {
	left := b.goroutines()
	if left == "" {
		return "no goroutine of the link is left"
	}
	return "goroutines of the link:\n" + left
}

// over checks that the link has left no goroutine. In a bubble, synctest does that.
func (b *bench) over() {
	b.t.Helper()
	if b.bubble {
		return
	}
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(b.limit)
	for {
		left := b.goroutines()
		if left == "" {
			return
		}
		select {
		case <-tick.C:
		case <-deadline:
			b.t.Fatalf("goroutines of the link are left after Run:\n%s", left)
		}
	}
}

// goroutines returns the stacks of the link's goroutines.
func (b *bench) goroutines() string {
	var profile bytes.Buffer
	if err := pprof.Lookup("goroutine").WriteTo(&profile, 1); err != nil {
		b.t.Fatal(err)
	}
	var left []string
	for group := range strings.SplitSeq(profile.String(), "\n\n") {
		if strings.Contains(group, fmt.Sprintf(`"linktest":%q`, b.label)) {
			left = append(left, group)
		}
	}
	return strings.Join(left, "\n\n")
}

// life is one Run of the link as the core sees it. It implements proxy.Upcalls.
type life struct {
	b     *bench
	name  string
	end   context.CancelFunc
	ended chan struct{} // closed when Run has returned

	mu       sync.Mutex
	err      error // returned by Run
	ready    bool
	over     bool // Run has returned
	faulty   bool // it ends by a panic: requests without a reply are refused by the core
	asked    int
	open     map[*question]struct{}
	monitors map[string]*watched   // all of this life, by cross reference
	hook     func(*uacsta.Message) // called in each event
	greeting func()                // called in Ready
}

// watched is a monitor.
type watched struct {
	ref     string
	told    []string // its events, in order
	inside  bool     // an event is being delivered
	stopped bool     // MonitorStop was sent
}

// question is a request and its outcome.
type question struct {
	life     *life
	name     string
	returned bool // Request has returned
	replies  int
	res      *uacsta.Message
	err      error
	then     func() // called in the reply
}

// life starts a life, after applying settings.
func (b *bench) life(settings ...func(*life)) *life {
	b.lives++
	ctx, cancel := context.WithCancel(context.Background())
	l := &life{b: b, name: fmt.Sprintf("life %d", b.lives), end: cancel, ended: make(chan struct{}), open: map[*question]struct{}{}, monitors: map[string]*watched{}}
	for _, set := range settings {
		set(l)
	}
	b.labelled(func() {
		go func() {
			defer close(l.ended)
			err := l.run(ctx)
			l.mu.Lock()
			l.err, l.over = err, true
			if open := l.unanswered(); len(open) > 0 && !l.faulty {
				defer b.breach("%s: no reply when Run returns (%v): %s", l.name, err, enumerate(open))
			}
			if errors.Is(err, errPanic) && !l.faulty {
				defer b.breach("%s: %v", l.name, err)
			}
			for _, m := range l.monitors {
				if m.inside {
					defer b.breach("%s: an event goes on when Run returns", l.name)
				}
			}
			l.mu.Unlock()
			b.happened()
		}()
	})
	return l
}

// unanswered names the requests without a reply. The caller holds l.mu.
func (l *life) unanswered() []string {
	var names []string
	for q := range l.open {
		if q.returned {
			names = append(names, q.name)
		}
	}
	slices.Sort(names)
	return names
}

// enumerate returns the first few of many items in one line.
func enumerate(things []string) string {
	const few = 5
	if len(things) <= few {
		return strings.Join(things, ", ")
	}
	return fmt.Sprintf("%s, and %d more", strings.Join(things[:few], ", "), len(things)-few)
}

// errPanic is the result of a Run that panics.
var errPanic = errors.New("Run panicked")

func (l *life) run(ctx context.Context) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%w: %v\n%s", errPanic, p, debug.Stack())
		}
	}()
	return l.b.rig.Link.Run(ctx, l)
}

// up starts a life and waits until the link is ready.
func (b *bench) up(settings ...func(*life)) *life {
	b.t.Helper()
	l := b.life(settings...)
	b.wantOr(l.name+": Run calls Ready", func() bool {
		if l.isOver() {
			b.t.Fatalf("%s: the link does not come up: Run returned %v", l.name, l.err)
		}
		l.mu.Lock()
		defer l.mu.Unlock()
		return l.ready
	}, b.running)
	return l
}

func (l *life) isOver() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.over
}

// stop ends the life.
func (l *life) stop() {
	l.b.t.Helper()
	l.end()
	l.returned("after ctx has ended")
}

// returned waits until Run has returned.
func (l *life) returned(when string) {
	l.b.t.Helper()
	l.b.wantOr(l.name+": Run returns "+when, l.isOver, l.b.running)
	<-l.ended
}

// lost waits for the consequences of a cut connection: the end of the life, or, if lives outlast
// connections, the replies to all requests, after which it ends the life.
func (l *life) lost() {
	l.b.t.Helper()
	if !l.b.lasts {
		l.returned("when the connection is cut")
		return
	}
	l.b.want("all replies when the connection is cut", func() bool {
		l.mu.Lock()
		defer l.mu.Unlock()
		return len(l.open) == 0
	})
	l.stop()
}

// Ready implements proxy.Upcalls.
func (l *life) Ready() {
	l.mu.Lock()
	again, late := l.ready, l.over
	l.ready = true
	l.mu.Unlock()
	switch {
	case late:
		l.b.breach("%s: Ready was called after Run had returned", l.name)
	case again:
		l.b.breach("%s: Ready was called twice", l.name)
	}
	if l.greeting != nil {
		l.greeting()
	}
	l.b.happened()
}

// untimely reports an Upcall before Ready or after Run as a breach.
func (l *life) untimely(m *uacsta.Message) {
	l.mu.Lock()
	early, late := !l.ready && (m.Kind() != uacsta.Request || !l.b.early), l.over
	l.mu.Unlock()
	switch {
	case late:
		l.b.breach("%s: an Upcall after Run had returned: %s", l.name, m)
	case early:
		l.b.breach("%s: an Upcall before Ready: %s", l.name, m)
	}
}

// Request implements proxy.Upcalls.
func (l *life) Request(req *uacsta.Message) error {
	l.untimely(req)
	return nil
}

// Event implements proxy.Upcalls.
func (l *life) Event(ev *uacsta.Message) {
	l.untimely(ev)
	if ev.Kind() != uacsta.Event { // a late response, or a request that needs no response
		return
	}
	l.mu.Lock()
	m := l.monitors[ev.CrossRef()]
	if m == nil {
		l.mu.Unlock()
		l.b.breach("%s: an event without a monitor (yet): %s", l.name, ev)
		return
	}
	if m.inside {
		defer l.b.breach("%s: two events of one monitor at the same time: %s", l.name, ev)
	}
	m.inside = true
	m.told = append(m.told, gist(ev))
	hook := l.hook
	l.mu.Unlock()
	defer func() { // also if the hook panics
		l.mu.Lock()
		m.inside = false
		l.mu.Unlock()
		l.b.happened()
	}()
	if hook != nil {
		hook(ev)
	}
	spoil(ev)
}

// gist describes an event without its reference.
func gist(ev *uacsta.Message) string {
	text := ev.Name() + " " + ev.Text("cause") + ev.Text("dtmfChar")
	for _, c := range ev.Connections() {
		text += " " + c.CallID() + "@" + c.DeviceID()
	}
	return text
}

// spoil changes a message that belongs to the core, so that a link that keeps it or passes it twice is
// noticed.
func spoil(m *uacsta.Message) {
	m.SetCrossRef("spoilt")
	for _, d := range m.Devices() {
		d.SetID("spoilt")
	}
}

// ask sends a request.
func (l *life) ask(service any) *question {
	return l.send(uacsta.Encode(service, uacsta.Edition3), nil)
}

// send sends a request; then is called in the reply.
func (l *life) send(req *uacsta.Message, then func()) *question {
	q := &question{life: l, name: req.Name(), then: then}
	ref := req.CrossRef()
	l.mu.Lock()
	l.asked++
	q.name = fmt.Sprintf("%s %d", q.name, l.asked)
	l.open[q] = struct{}{}
	over := l.over
	if m := l.monitors[ref]; m != nil && req.Name() == uacsta.NameMonitorStop {
		m.stopped = true
	}
	l.mu.Unlock()
	start := req.Name() == uacsta.NameMonitorStart
	l.b.labelled(func() { l.b.rig.Link.Request(req, func(res *uacsta.Message, err error) { q.reply(res, err, start) }) })
	l.mu.Lock()
	q.returned = true
	late := q.replies == 0 && (over || l.over) && !l.faulty
	l.mu.Unlock()
	if late {
		l.b.breach("%s: %s has no reply when Request and Run have returned", l.name, q.name)
	}
	return q
}

// reply handles the reply to a request.
func (q *question) reply(res *uacsta.Message, err error, start bool) {
	l := q.life
	var fault string
	l.mu.Lock()
	q.replies++
	switch {
	case q.replies > 1:
		fault = "a second reply"
	case l.over && q.returned:
		fault = "a reply after Run has returned"
	case res != nil && err != nil || res == nil && err == nil:
		fault = "a reply that is neither a response nor an error"
	case err != nil && !errors.As(err, new(*uacsta.Error)):
		fault = "an error that is no refusal"
	case start && err == nil && l.monitors[res.CrossRef()] != nil && !l.monitors[res.CrossRef()].stopped:
		fault = "a cross reference that another monitor has"
	case start && err == nil:
		l.monitors[res.CrossRef()] = &watched{ref: res.CrossRef()}
	}
	q.err = err
	if res != nil {
		q.res = res.Clone()
	}
	delete(l.open, q)
	l.mu.Unlock()
	if fault != "" {
		l.b.breach("%s: %s: %s (%v, %v)", l.name, q.name, fault, res, err)
	}
	if res != nil {
		spoil(res)
	}
	if q.then != nil {
		q.then()
	}
	l.b.happened()
}

// answered reports whether there is a reply.
func (q *question) answered() bool {
	q.life.mu.Lock()
	defer q.life.mu.Unlock()
	return q.replies > 0
}

// must waits for the response to a request. A refusal ends the test.
func (l *life) must(service any) *uacsta.Message {
	l.b.t.Helper()
	q := l.ask(service)
	q.wait()
	if q.err != nil {
		l.b.t.Fatalf("%s: %s: %v", l.name, q.name, q.err)
	}
	return q.res
}

// wait waits for the reply.
func (q *question) wait() {
	q.life.b.t.Helper()
	q.life.b.wantOr("a reply to "+q.name, q.answered, q.life.state)
}

// watch starts a monitor on the device and returns its cross reference.
func (l *life) watch() string {
	l.b.t.Helper()
	return l.must(l.start()).CrossRef()
}

// start is MonitorStart on the device.
func (l *life) start() uacsta.MonitorStart {
	device := uacsta.Dev(l.b.rig.Device)
	return uacsta.MonitorStart{MonitorObject: uacsta.MonitorObject{DeviceObject: &device}}
}

// state describes a life: whether Run is running, and the last events of its monitors.
func (l *life) state() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	text := l.name + ": Run goes on"
	if l.over {
		text = fmt.Sprintf("%s: Run returned %v", l.name, l.err)
	}
	refs := slices.Sorted(maps.Keys(l.monitors))
	if len(refs) == 0 {
		return text + "; there is no monitor"
	}
	const last = 10
	for _, ref := range refs {
		told := l.monitors[ref].told
		text += fmt.Sprintf("\nmonitor %s got %d events; the last: %q", ref, len(told), told[max(0, len(told)-last):])
	}
	return text
}

// hears waits for a condition that events bring about.
func (l *life) hears(what string, so func() bool) {
	l.b.t.Helper()
	l.b.wantOr(what, so, l.state)
}

// told returns the events of a monitor.
func (l *life) told(ref string) []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]string(nil), l.monitors[ref].told...)
}

// call is MakeCall from the device.
func (l *life) call() uacsta.MakeCall {
	return uacsta.MakeCall{CallingDevice: uacsta.Dev(l.b.rig.Device), CalledDirectoryNumber: uacsta.Dev(l.b.rig.Called), AutoOriginate: uacsta.DoNotPrompt}
}

// snapshot is SnapshotDevice of the device.
func (l *life) snapshot() uacsta.SnapshotDevice {
	return uacsta.SnapshotDevice{SnapshotObject: uacsta.Dev(l.b.rig.Device)}
}

// refusedAtOnce sends requests that must be refused before Request returns.
func (b *bench) refusedAtOnce(l *life, when string, services ...any) {
	b.t.Helper()
	for _, service := range services {
		q := l.ask(service)
		if !q.answered() || q.err == nil {
			b.t.Errorf("%s: %s is not refused at once: %v", when, q.name, q.err)
		}
	}
}

var _ proxy.Upcalls = (*life)(nil)

// pause waits for a fifth of Patience, or until a condition holds.
func (b *bench) pause(so func() bool) {
	deadline := time.NewTimer(b.limit / 5)
	defer deadline.Stop()
	for !so() {
		b.mu.Lock()
		news := b.news
		b.mu.Unlock()
		select {
		case <-news:
		case <-deadline.C:
			return
		}
	}
}

// ok waits for the reply and reports whether it is a positive response.
func (q *question) ok() bool {
	q.wait()
	return q.err == nil
}
