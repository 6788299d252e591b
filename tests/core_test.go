// Package tests holds the tests of the whole: the core with the built-in switch
// under random interleavings, and the real binary against real peers.
package tests

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/tr87proxy/tr87proxy/policy"
	"github.com/tr87proxy/tr87proxy/proxy"
	"github.com/tr87proxy/tr87proxy/softswitch"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

// numbered is the built-in switch as a link whose events carry a number for each
// monitor: what a client sees can be compared with what there was.
type numbered struct {
	*softswitch.Switch
	mu     sync.Mutex
	count  map[string]int // by the link's cross reference
	active map[string]int // monitors by device
	device map[string]string
	worst  int // monitors on one device at a time
}

func newNumbered(sw *softswitch.Switch) *numbered {
	return &numbered{Switch: sw, count: map[string]int{}, active: map[string]int{}, device: map[string]string{}}
}

func (l *numbered) Run(ctx context.Context, up proxy.Upcalls) error {
	return l.Switch.Run(ctx, numberedUp{l, up})
}

func (l *numbered) Request(req *uacsta.Message, reply func(*uacsta.Message, error)) {
	l.Switch.Request(req, func(res *uacsta.Message, err error) {
		if err == nil {
			l.mu.Lock()
			switch req.Name() {
			case "MonitorStart":
				d := req.Text("monitorObject/deviceObject")
				l.device[res.CrossRef()] = d
				l.active[d]++
				l.worst = max(l.worst, l.active[d])
			case "MonitorStop":
				l.active[l.device[req.CrossRef()]]--
			}
			l.mu.Unlock()
		}
		reply(res, err)
	})
}

type numberedUp struct {
	*numbered
	proxy.Upcalls
}

func (u numberedUp) Event(ev *uacsta.Message) {
	u.mu.Lock()
	u.count[ev.CrossRef()]++
	n := u.count[ev.CrossRef()]
	u.mu.Unlock()
	u.Upcalls.Event(ev.WithPrivate("t", "urn:test", "number", strconv.Itoa(n)))
}

func (u numberedUp) Request(req *uacsta.Message) error { return u.Upcalls.Request(req) }

// watcher is a client that checks what it is promised while it comes.
type watcher struct {
	session *proxy.Session
	name    string
	fail    func(format string, args ...any)

	mu     sync.Mutex
	last   map[string]int // number of the last event, by cross reference
	known  map[string]bool
	calls  map[string]bool // callIDs that events named
	events int
	refs   []string
	own    []uacsta.ConnectionID
}

func (w *watcher) Event(ev *uacsta.Message) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if ev.Kind() != uacsta.Event {
		return
	}
	w.events++
	ref := ev.CrossRef()
	if !w.known[ref] {
		w.fail("%s: event of monitor %s before its response", w.name, ref)
	}
	n, _ := strconv.Atoi(ev.PrivateText("number"))
	if last, ok := w.last[ref]; ok && n != last+1 {
		w.fail("%s: event %d of monitor %s after %d", w.name, n, ref, last)
	}
	w.last[ref] = n
	for _, c := range ev.Connections() {
		w.calls[c.CallID()] = true
	}
}

func (w *watcher) Closed(error) {}

// ask sends a request; the answer is looked at when it comes.
func (w *watcher) ask(req any, answered func(*uacsta.Message)) {
	w.session.Request(uacsta.Encode(req, uacsta.Edition3), func(res *uacsta.Message) {
		w.mu.Lock()
		defer w.mu.Unlock()
		if res != nil && res.Kind() == uacsta.Response && answered != nil {
			answered(res)
		}
	})
}

// settled waits for an answer, which stands behind all that the client is to see
// by now.
func (w *watcher) settled() {
	answered := make(chan struct{})
	w.session.Request(uacsta.Encode(uacsta.RequestSystemStatus{}, uacsta.Edition3), func(*uacsta.Message) { close(answered) })
	select {
	case <-answered:
	case <-time.After(patience):
		w.fail("%s: no answer", w.name)
	}
}

func (w *watcher) monitor(device string) {
	object := uacsta.Dev(device)
	w.ask(uacsta.MonitorStart{MonitorObject: uacsta.MonitorObject{DeviceObject: &object}}, func(res *uacsta.Message) {
		w.known[res.CrossRef()] = true
		w.refs = append(w.refs, res.CrossRef())
	})
}

func (w *watcher) unmonitor(i int) {
	w.mu.Lock()
	if len(w.refs) == 0 {
		w.mu.Unlock()
		return
	}
	i %= len(w.refs)
	ref := w.refs[i]
	w.refs = append(w.refs[:i], w.refs[i+1:]...)
	w.mu.Unlock()
	w.ask(uacsta.MonitorStop{MonitorCrossRefID: ref}, nil)
}

// call does something with the watcher's own phone.
func (w *watcher) call(what int, other string) {
	w.mu.Lock()
	conn := uacsta.Conn("", w.name)
	if len(w.own) > 0 {
		conn = w.own[what%len(w.own)]
	}
	w.mu.Unlock()
	switch what % 9 {
	case 0, 1:
		w.ask(uacsta.MakeCall{CallingDevice: uacsta.Dev(w.name), CalledDirectoryNumber: uacsta.Dev(other), AutoOriginate: uacsta.DoNotPrompt}, func(res *uacsta.Message) {
			id := res.Text("callingDevice/callID")
			if w.calls[id] {
				w.fail("%s: event of call %s before its MakeCallResponse", w.name, id)
			}
			w.own = append(w.own, uacsta.Conn(id, w.name))
		})
	case 2, 3:
		w.ask(uacsta.AnswerCall{CallToBeAnswered: uacsta.Conn("", w.name)}, nil)
	case 4:
		w.ask(uacsta.HoldCall{CallToBeHeld: conn}, nil)
	case 5:
		w.ask(uacsta.RetrieveCall{CallToBeRetrieved: conn}, nil)
	case 6:
		w.ask(uacsta.ConsultationCall{ExistingCall: conn, ConsultedDevice: uacsta.Dev(other)}, nil)
	case 7:
		w.ask(uacsta.SetForwarding{Device: uacsta.Dev(w.name), ForwardingType: uacsta.ForwardBusy, ActivateForward: what%2 == 0}, nil)
	case 8:
		w.ask(uacsta.ClearConnection{ConnectionToBeCleared: conn}, nil)
	}
}

var phones = []string{"100", "101", "102", "103", "104"}

// arena is a core with the numbered switch.
type arena struct {
	core *proxy.Proxy
	link *numbered
	stop func()
}

func newArena(t interface{ Fatal(...any) }, queue int) *arena {
	cfg := softswitch.Config{}
	for _, p := range phones {
		cfg.Extensions = append(cfg.Extensions, softswitch.Extension{Number: p})
	}
	sw, err := softswitch.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	a := &arena{link: newNumbered(sw)}
	a.core = proxy.New(proxy.Config{Policy: &policy.Policy{Demo: true}, Numbers: &policy.Numbers{Extensions: sw.Has}, Limits: proxy.Limits{QueueLength: queue, MaxOutstanding: 1 << 20}})
	a.core.AddLink("switch", a.link, func(string) bool { return true })
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { a.core.Run(ctx); close(done) }()
	a.stop = func() { cancel(); <-done }
	return a
}

func (a *arena) up() bool { return a.core.Status().Links[0].Up }

func (a *arena) open(name string, fail func(string, ...any)) (*watcher, error) {
	w := &watcher{name: name, fail: fail, last: map[string]int{}, known: map[string]bool{}, calls: map[string]bool{}}
	s, err := a.core.Open(proxy.Opening{Identity: policy.Identity{Name: name, How: "test"}, Line: name}, w)
	w.session = s
	return w, err
}

// empty checks that nothing is left behind.
func (a *arena) empty() error {
	st := a.core.Status()
	_, monitors := a.link.Counts()
	if st.Sessions != 0 || st.Monitors != 0 || monitors != 0 {
		return fmt.Errorf("%d sessions, %d monitors in the core and %d at the link are left", st.Sessions, st.Monitors, monitors)
	}
	if a.link.worst > 1 {
		return fmt.Errorf("%d monitors on one device at a time", a.link.worst)
	}
	return nil
}

// Random monitors, calls and disconnects, one after the other: each client gets
// each event of each of its monitors, the first one included, exactly once.
func TestPromisesOneByOne(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		steps := rapid.SliceOfN(rapid.IntRange(0, 1<<20), 1, 150).Draw(rt, "steps")
		synctest.Test(t, func(t *testing.T) {
			a := newArena(t, 1<<20)
			synctest.Wait()
			var problem error
			fail := func(format string, args ...any) {
				if problem == nil {
					problem = fmt.Errorf(format, args...)
				}
			}
			watchers := make([]*watcher, len(phones))
			for _, step := range steps {
				i, what := step%len(phones), step/len(phones)
				w := watchers[i]
				switch {
				case w == nil:
					w, err := a.open(phones[i], fail)
					if err != nil {
						rt.Fatal(err)
					}
					watchers[i] = w
				case what%12 == 0:
					w.session.Close(errors.New("test"))
					watchers[i] = nil
				case what%12 < 4:
					w.monitor(phones[what%len(phones)])
				case what%12 == 4:
					w.unmonitor(what)
				default:
					w.call(what, phones[(i+1+what%3)%len(phones)])
				}
				synctest.Wait()
			}
			for _, w := range watchers {
				if w != nil {
					w.session.Close(errors.New("test"))
				}
			}
			synctest.Wait()
			if problem == nil {
				problem = a.empty()
			}
			a.stop()
			if problem != nil {
				rt.Fatal(problem)
			}
		})
	})
}

// The same from many goroutines at once.
func TestPromisesAllAtOnce(t *testing.T) {
	t.Parallel()
	a := newArena(t, 1<<20)
	waitFor(t, "the link", a.up)
	const clients, rounds = 20, 300
	var group sync.WaitGroup
	total := make([]int, clients)
	for c := range clients {
		group.Go(func() {
			name := phones[c%len(phones)]
			w, err := a.open(name, t.Errorf)
			if err != nil {
				t.Error(err)
				return
			}
			for r := range rounds {
				what := r*7 + c*13
				switch what % 10 {
				case 0:
					w.monitor(phones[what%len(phones)])
				case 1:
					w.unmonitor(what)
				case 2:
					if r%50 == 2 {
						w.session.Close(errors.New("test"))
						total[c] += w.events
						if w, err = a.open(name, t.Errorf); err != nil {
							t.Error(err)
							return
						}
					}
				default:
					w.call(what, phones[(c+1+what%3)%len(phones)])
				}
			}
			w.settled()
			w.session.Close(errors.New("test"))
			w.mu.Lock()
			total[c] += w.events
			w.mu.Unlock()
		})
	}
	group.Wait()
	waitFor(t, "the end of everything", func() bool { return a.empty() == nil })
	a.stop()
	sum := 0
	for _, n := range total {
		sum += n
	}
	if sum == 0 {
		t.Error("nobody saw an event")
	}
}

// stuck is a client that does not come back from an event.
type stuck struct {
	release chan struct{}
	closed  chan error
}

func (s *stuck) Event(*uacsta.Message) { <-s.release }
func (s *stuck) Closed(err error)      { s.closed <- err }

// A client that takes nothing is cut off with a reason; the others go on.
func TestSlowClient(t *testing.T) {
	t.Parallel()
	a := newArena(t, 16)
	waitFor(t, "the link", a.up)
	slow := &stuck{make(chan struct{}), make(chan error, 1)}
	s, err := a.core.Open(proxy.Opening{Identity: policy.Identity{Name: "slow", How: "test"}, Line: "100"}, slow)
	if err != nil {
		t.Fatal(err)
	}
	w, err := a.open("100", t.Errorf)
	if err != nil {
		t.Fatal(err)
	}
	object := uacsta.Dev("100")
	started := make(chan struct{})
	s.Request(uacsta.Encode(uacsta.MonitorStart{MonitorObject: uacsta.MonitorObject{DeviceObject: &object}}, uacsta.Edition3), func(*uacsta.Message) { close(started) })
	<-started
	w.monitor("100")
	const changes = 200
	for i := range changes {
		w.ask(uacsta.SetDoNotDisturb{Device: uacsta.Dev("100"), DoNotDisturbOn: i%2 == 0}, nil)
		waitFor(t, "the event", func() bool { w.mu.Lock(); defer w.mu.Unlock(); return w.events == i+1 })
	}
	select {
	case err := <-slow.closed:
		if !errors.Is(err, proxy.ErrSlow) {
			t.Errorf("closed with %v", err)
		}
	case <-time.After(patience):
		t.Error("the slow client was not cut off")
	}
	close(slow.release)
	w.session.Close(errors.New("test"))
	a.stop()
}
