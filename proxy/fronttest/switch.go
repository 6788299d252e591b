package fronttest

import (
	"context"
	"errors"
	"slices"
	"sync"

	"github.com/tr87proxy/tr87proxy/internal/gate"
	"github.com/tr87proxy/tr87proxy/proxy"
	"github.com/tr87proxy/tr87proxy/softswitch"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

// behind is a link to the built-in switch that the suite can cut. It can also hold requests, refuse
// them, and send events of its own.
type behind struct {
	*softswitch.Switch

	releasing sync.Mutex // one release at a time

	mu      sync.Mutex
	life    *life             // nil while it is not connected
	broken  chan struct{}     // closed when it may connect
	refs    map[string]string // devices of the monitors of this life, by cross reference
	known   map[string]bool   // cross references that the core has received
	starts  int               // monitors started in all lives
	holding bool
	held    []func()
	refuses int            // number of next requests to refuse
	sent    map[string]int // events of all lives, by device
}

// life is one period of being connected.
type life struct {
	of  *behind
	up  proxy.Upcalls
	cut context.CancelFunc

	mu    sync.Mutex
	ended bool
	calls sync.WaitGroup // calls of up, and requests being carried out
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
	return &behind{Switch: sw, broken: connected, refs: map[string]string{}, known: map[string]bool{}, sent: map[string]int{}}, err
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
	s.life, s.refs, s.known = nil, map[string]string{}, map[string]bool{}
	s.mu.Unlock()
	s.release(false)
	for ref := range refs { // monitors end with their connection
		s.Switch.Request(uacsta.Encode(uacsta.MonitorStop{MonitorCrossRefID: ref}, uacsta.Edition3), func(*uacsta.Message, error) {})
	}
	return errCut
}

// end stops all Upcalls and waits for those that are running.
func (l *life) end() {
	l.mu.Lock()
	l.ended = true
	l.mu.Unlock()
	l.calls.Wait()
}

// during calls a function unless the life has ended, and reports whether it did.
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
func (l *life) Event(ev *uacsta.Message) { l.tell(ev) }

// tell passes an event on unless the life has ended, and reports whether it did.
func (l *life) tell(ev *uacsta.Message) bool {
	s := l.of
	s.mu.Lock()
	s.sent[s.refs[ev.CrossRef()]]++
	s.mu.Unlock()
	return l.during(func() { l.up.Event(ev) })
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

// carry carries out a request unless the connection that it came by has ended.
func (s *behind) carry(now *life, req *uacsta.Message, reply func(*uacsta.Message, error)) {
	s.mu.Lock()
	refused := s.refuses > 0
	if refused {
		s.refuses--
	}
	s.mu.Unlock()
	if now == nil || !now.during(func() {
		if refused {
			reply(nil, uacsta.Refuse(uacsta.SystemResourceAvailability, uacsta.Generic))
			return
		}
		s.Switch.Request(req, func(res *uacsta.Message, err error) {
			ref := ""
			s.mu.Lock()
			switch {
			case err != nil:
			case req.Name() == uacsta.NameMonitorStart:
				ref = res.CrossRef()
				s.refs[ref] = req.Text("monitorObject/deviceObject")
				s.starts++
			case req.Name() == uacsta.NameMonitorStop:
				delete(s.refs, req.CrossRef())
				delete(s.known, req.CrossRef())
			}
			s.mu.Unlock()
			reply(res, err)
			s.mu.Lock()
			if s.refs[ref] != "" {
				s.known[ref] = true
			}
			s.mu.Unlock()
		})
	}) {
		reply(nil, gate.ErrClosed)
	}
}

// hold holds requests from now on.
func (s *behind) hold() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.holding = true
}

// release carries out the held requests, in order or in reverse, and holds no more. A request that comes meanwhile is
// carried out after them.
func (s *behind) release(backwards bool) {
	s.releasing.Lock()
	defer s.releasing.Unlock()
	for {
		s.mu.Lock()
		held := s.held
		s.held, s.holding = nil, len(held) > 0
		s.mu.Unlock()
		if len(held) == 0 {
			return
		}
		if backwards {
			slices.Reverse(held)
		}
		for _, carry := range held {
			carry()
		}
	}
}

// waiting returns how many requests are held.
func (s *behind) waiting() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.held)
}

// refuse refuses the next n requests.
func (s *behind) refuse(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refuses = n
}

// lose cuts the link. It stays down until restore.
func (s *behind) lose() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.broken = make(chan struct{})
	s.life.cut()
}

// restore lets the link connect again.
func (s *behind) restore() {
	s.mu.Lock()
	defer s.mu.Unlock()
	close(s.broken)
}

// told reports whether the core has received the references of all monitors of a device.
func (s *behind) told(device string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for ref, d := range s.refs {
		if d == device && !s.known[ref] {
			return false
		}
	}
	return true
}

// watching returns the references of the monitors of a device that the core has received.
func (s *behind) watching(device string) (refs []string, now *life) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for ref, d := range s.refs {
		if d == device && s.known[ref] {
			refs = append(refs, ref)
		}
	}
	return refs, s.life
}

// tellAll sends an event to each monitor of a device and reports whether there was one.
func (s *behind) tellAll(device string, event func(ref string) any) (told bool) {
	refs, now := s.watching(device)
	for _, ref := range refs {
		told = now.tell(uacsta.Encode(event(ref), uacsta.Edition3)) || told
	}
	return told
}

// started returns how many monitors were started.
func (s *behind) started() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.starts
}

// settled waits until the switch has sent its pending events: it responds after them.
func (s *behind) settled() {
	done := make(chan struct{})
	s.Switch.Request(uacsta.Encode(uacsta.GetDoNotDisturb{Device: uacsta.Dev(Devices[0])}, uacsta.Edition3), func(*uacsta.Message, error) { close(done) })
	<-done
}

// events returns how many events the monitors of a device got.
func (s *behind) events(device string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sent[device]
}

// own returns the connection of a device as the switch identifies it.
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
