package fronttest

import (
	"context"
	"errors"
	"slices"
	"sync"

	"github.com/tr87proxy/tr87proxy/gate"
	"github.com/tr87proxy/tr87proxy/proxy"
	"github.com/tr87proxy/tr87proxy/softswitch"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

// behind is the built-in switch behind a connection that the suite can cut, and by which it can
// keep requests back and send events of its own.
type behind struct {
	*softswitch.Switch

	mu      sync.Mutex
	life    *life             // nil while it is not connected
	broken  chan struct{}     // closed when it may be connected
	refs    map[string]watch  // monitors of this life, by cross reference
	holding bool
	held    []func()
	sent    map[string]int // events by device, of all lives
}

// watch is a monitor.
type watch struct {
	device   string
	answered bool // its MonitorStart is: events of the suite's own may come
}

// life is one time of being connected.
type life struct {
	of  *behind
	up  proxy.Upcalls
	cut context.CancelFunc

	mu    sync.Mutex
	ended bool
	calls sync.WaitGroup // of up, and requests that are being carried out
}

var errCut = errors.New("the suite cut the link")

func newSwitch() (*behind, error) {
	cfg := softswitch.Config{}
	for _, d := range Devices {
		cfg.Extensions = append(cfg.Extensions, softswitch.Extension{Number: d})
	}
	sw, err := softswitch.New(cfg)
	connected := make(chan struct{})
	close(connected)
	return &behind{Switch: sw, broken: connected, refs: map[string]watch{}, sent: map[string]int{}}, err
}

// Run implements proxy.Link.
func (s *behind) Run(ctx context.Context, up proxy.Upcalls) error {
	s.mu.Lock()
	broken := s.broken
	s.mu.Unlock()
	select {
	case <-broken:
	case <-ctx.Done():
		return ctx.Err()
	}
	ctx, cut := context.WithCancel(ctx)
	defer cut()
	now := &life{of: s, up: up, cut: cut}
	s.mu.Lock()
	s.life = now
	s.mu.Unlock()
	_ = s.Switch.Run(ctx, now)
	now.end()
	s.mu.Lock()
	refs := s.refs
	s.life, s.refs = nil, map[string]watch{}
	s.mu.Unlock()
	s.release(false)
	for ref := range refs { // a connection that is lost takes its monitors with it
		s.Switch.Request(uacsta.Encode(uacsta.MonitorStop{MonitorCrossRefID: ref}, uacsta.Edition3), func(*uacsta.Message, error) {})
	}
	return errCut
}

// end has nothing told any more, and waits for what is being told.
func (l *life) end() {
	l.mu.Lock()
	l.ended = true
	l.mu.Unlock()
	l.calls.Wait()
}

// during does something unless the life has ended, and reports whether it did.
func (l *life) during(what func()) bool {
	l.mu.Lock()
	ended := l.ended
	if !ended {
		l.calls.Add(1)
	}
	l.mu.Unlock()
	if ended {
		return false
	}
	defer l.calls.Done()
	what()
	return true
}

// Ready implements proxy.Upcalls.
func (l *life) Ready() { l.during(l.up.Ready) }

// Event implements proxy.Upcalls.
func (l *life) Event(ev *uacsta.Message) {
	s := l.of
	s.mu.Lock()
	s.sent[s.refs[ev.CrossRef()].device]++
	s.mu.Unlock()
	l.during(func() { l.up.Event(ev) })
}

// Request implements proxy.Upcalls.
func (l *life) Request(req *uacsta.Message) error {
	err := errCut
	l.during(func() { err = l.up.Request(req) })
	return err
}

// Request implements proxy.Link.
func (s *behind) Request(req *uacsta.Message, reply func(*uacsta.Message, error)) {
	s.mu.Lock()
	now := s.life
	if s.holding {
		s.held = append(s.held, func() { s.carry(now, req, reply) })
		s.mu.Unlock()
		return
	}
	s.mu.Unlock()
	s.carry(now, req, reply)
}

// carry carries a request out, unless the connection that it came by has ended.
func (s *behind) carry(now *life, req *uacsta.Message, reply func(*uacsta.Message, error)) {
	if now == nil || !now.during(func() {
		s.Switch.Request(req, func(res *uacsta.Message, err error) {
			start := err == nil && req.Name() == uacsta.NameMonitorStart
			ref, device := "", ""
			if start {
				ref, device = res.CrossRef(), req.Text("monitorObject/deviceObject")
				s.note(ref, watch{device: device})
			} else if err == nil && req.Name() == uacsta.NameMonitorStop {
				s.note(req.CrossRef(), watch{})
			}
			reply(res, err)
			if start {
				s.note(ref, watch{device, true})
			}
		})
	}) {
		reply(nil, gate.ErrClosed)
	}
}

// note keeps what there is to know of a monitor; one without a device is stopped, and stays so.
func (s *behind) note(ref string, w watch) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, is := s.refs[ref]; w.device == "" {
		delete(s.refs, ref)
	} else if is || !w.answered {
		s.refs[ref] = w
	}
}

// hold keeps requests back from now on.
func (s *behind) hold() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.holding = true
}

// release carries out what was kept back, in order or the last first, and keeps back nothing more.
func (s *behind) release(backwards bool) {
	s.mu.Lock()
	held := s.held
	s.held, s.holding = nil, false
	s.mu.Unlock()
	if backwards {
		slices.Reverse(held)
	}
	for _, carry := range held {
		carry()
	}
}

// waiting is how many requests are kept back.
func (s *behind) waiting() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.held)
}

// lose cuts the link; it stays down until restore.
func (s *behind) lose() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.broken = make(chan struct{})
	s.life.cut()
}

// restore has the link connected again.
func (s *behind) restore() {
	s.mu.Lock()
	defer s.mu.Unlock()
	close(s.broken)
}

// watching returns the references of the monitors of a device whose MonitorStart is answered.
func (s *behind) watching(device string) (refs []string, now *life) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for ref, w := range s.refs {
		if w.device == device && w.answered {
			refs = append(refs, ref)
		}
	}
	return refs, s.life
}

// tellAll sends an event to each monitor of a device.
func (s *behind) tellAll(device string, event func(ref string) any) {
	refs, now := s.watching(device)
	for _, ref := range refs {
		now.Event(uacsta.Encode(event(ref), uacsta.Edition3))
	}
}

// settled waits until the switch has told what it has to tell: it answers in the order of its events.
func (s *behind) settled() {
	done := make(chan struct{})
	s.Switch.Request(uacsta.Encode(uacsta.GetDoNotDisturb{Device: uacsta.Dev(Devices[0])}, uacsta.Edition3), func(*uacsta.Message, error) { close(done) })
	<-done
}

// events is how many events monitors of a device got.
func (s *behind) events(device string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sent[device]
}

// own is the connection of a device, as the switch knows it.
func (s *behind) own(device string) uacsta.ConnectionID {
	m, err := s.Ask(uacsta.Encode(uacsta.SnapshotDevice{SnapshotObject: uacsta.Dev(device)}, uacsta.Edition3))
	if err == nil {
		for _, c := range m.Connections() {
			if c.DeviceID() == device {
				return uacsta.Conn(c.CallID(), device)
			}
		}
	}
	fail("the switch knows no call of %s: %w", device, errors.Join(err))
	return uacsta.ConnectionID{}
}
