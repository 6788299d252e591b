package proxy

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tr87proxy/tr87proxy/internal/gate"
	"github.com/tr87proxy/tr87proxy/internal/share"
	"github.com/tr87proxy/tr87proxy/policy"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

// A Link is one switching function: a PBX, a phone, a card, the built-in switch. Package linktest has
// the whole contract, and checks it.
type Link interface {
	// Run connects and serves until ctx ends or the connection fails; the proxy
	// calls it again, with back-off. It calls up.Ready once requests can be
	// carried, and nothing of it lives on when it returns.
	Run(ctx context.Context, up Upcalls) error
	// Request carries one service request to the switching function. It must not
	// block. Requests reach the switching function in the order of the calls.
	// reply is called exactly once, perhaps before Request returns, and before
	// any event that the request causes; a refusal is a *uacsta.Error. reply does
	// not block either.
	Request(req *uacsta.Message, reply func(*uacsta.Message, error))
}

// Upcalls is what a link tells the core. The calls do not block; those about one
// device are made one after the other.
type Upcalls interface {
	// Ready says that the link can carry requests.
	Ready()
	// Event passes an event on, with the link's cross reference, a request of the
	// switching function, or an answer that came after its request was given up ([Opens]).
	Event(ev *uacsta.Message)
	// Request passes on a request of the switching function. A *uacsta.Error is its
	// answer; nil means that it is taken.
	Request(req *uacsta.Message) error
}

// Refusal says in CSTA's words why a request that a link took has no answer; an error that says
// so already stays as it is.
func Refusal(err error) error {
	switch {
	case errors.Is(err, gate.ErrClosed):
		return errLinkDown
	case errors.Is(err, gate.ErrTimeout):
		return uacsta.Refuse(uacsta.SystemResourceAvailability, uacsta.Generic)
	case errors.Is(err, gate.ErrTooManyWaiting):
		return uacsta.Refuse(uacsta.SubscribedResourceAvailability, uacsta.OutstandingReqLimitExceeded)
	case errors.Is(err, gate.ErrSlow):
		return uacsta.Refuse(uacsta.SystemResourceAvailability, uacsta.ResourceLimitExceeded)
	}
	return err
}

// FeatureLister is implemented by links that know what works on a device.
type FeatureLister interface {
	Features(device string) uacsta.Features
}

// trunk is a link and its supervision.
type managedLink struct {
	proxy       *Proxy
	name        string
	link        Link
	devices     atomic.Pointer[func(device string) bool]
	numbers     atomic.Pointer[Translation]
	cancel      context.CancelFunc // ends the supervision; guarded by Proxy.mu
	done        chan struct{}      // closed when it has ended
	calls       *calls
	log         *slog.Logger  // says equal things once a second
	memory      budget        // for what is kept until something else has come
	pictures    budget        // for the pictures of its devices
	resyncSlots chan struct{} // holds a value for each monitor that looks at its device
	first       sync.Once
	ready       chan struct{} // closed when the link is up for the first time

	mu        lock
	life      *life                    // the one that is, or, while the link is down, one that is over
	monitors  map[string]*monitor      // by what is watched
	routers   map[*router]struct{}     // clients' registrations
	status    uacsta.SystemStatusValue // while it is up
	condition condition
	since     time.Time               // that it is up, or down
	failure   error                   // why it is down
	cut       context.CancelCauseFunc // ends Run
}

// has reports whether a device belongs to the link.
func (t *managedLink) has(device string) bool { return (*t.devices.Load())(device) }

// now returns the life of the link that is; one that is over while the link is down.
func (t *managedLink) now() *life {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.life
}

// isUp reports whether the link can carry requests.
func (t *managedLink) isUp() bool { return t.now().active() }

// monitorList returns the monitors that there are.
func (t *managedLink) monitorList() []*monitor {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Collect(maps.Values(t.monitors))
}

// run supervises the link until ctx ends, or stop is called; p.mu is held.
func (t *managedLink) run(ctx context.Context) {
	ctx, t.cancel = context.WithCancel(ctx)
	done := make(chan struct{})
	t.done = done
	t.proxy.supervisors.Go(func() {
		defer close(done)
		t.supervise(ctx)
	})
}

// stop ends the supervision and waits until it has ended.
func (t *managedLink) stop() {
	t.proxy.mu.Lock()
	cancel, done := t.cancel, t.done
	t.proxy.mu.Unlock()
	if cancel != nil {
		cancel()
		<-done
	}
}

// stopMonitors ends some of the monitors, and tells the clients.
func (t *managedLink) stopMonitors(which func(*monitor) bool) {
	for _, m := range t.monitorList() {
		if which(m) {
			m.stop(errMoved, true)
		}
	}
}

// errCall refuses a request about a call that the client has no right on, or that is not there:
// nobody learns which.
var errCall = uacsta.Refuse(uacsta.Operation, uacsta.InvalidConnectionID)

var errLinkDown = uacsta.Refuse(uacsta.SystemResourceAvailability, uacsta.ResourceOutOfService)

// supervise keeps a link running until ctx ends.
func (t *managedLink) supervise(ctx context.Context) {
	for wait := (gate.BackOff{First: t.proxy.cfg.BackOff, Most: 30 * time.Second}); ; {
		started := time.Now()
		err := t.live(ctx)
		wasUp := t.down(err)
		if ctx.Err() != nil {
			return
		}
		if wasUp && time.Since(started) > time.Minute {
			wait.Reset()
		}
		pause := wait.Next()
		t.log.Error("link down", "err", err, "retry", pause.Round(time.Millisecond))
		if !gate.Sleep(ctx, pause) {
			return
		}
	}
}

// live runs the link once. A panic in it is its end, and nobody else's.
func (t *managedLink) live(ctx context.Context) (err error) {
	ctx, cut := context.WithCancelCause(ctx)
	defer cut(nil)
	t.mu.Lock()
	t.cut = cut
	t.mu.Unlock()
	defer func() {
		if why := recover(); why != nil {
			err = t.panicked(why)
		}
	}()
	if err = t.link.Run(ctx, t); errors.Is(err, context.Canceled) && context.Cause(ctx) != nil {
		err = context.Cause(ctx)
	}
	return err
}

// panicked logs a panic in the link, and ends Run, if it has not ended.
func (t *managedLink) panicked(why any) error {
	err := fmt.Errorf("link panicked: %v", why)
	share.Panicked(t.log, why, "link; it restarts")
	t.mu.Lock()
	cut := t.cut
	t.mu.Unlock()
	cut(err)
	return err
}

// Ready implements Upcalls: monitors are started again, clients are told.
func (t *managedLink) Ready() {
	defer t.first.Do(func() { close(t.ready) })
	if t.isUp() {
		t.down(errors.New("link called Ready twice without going down"))
	}
	l := newLife(t)
	l.turns.begin(t.now().turns)
	t.mu.Lock()
	t.life, t.status, t.since, t.failure = l, uacsta.StatusNormal, l.since, nil
	monitors, routers := slices.Collect(maps.Values(t.monitors)), slices.Collect(maps.Keys(t.routers))
	t.mu.Unlock()
	t.log.Info("link up", "monitors", len(monitors))
	t.publishLinkState()
	t.proxy.spawn(func() { // not here: it takes a while
		for _, r := range routers {
			r.renew(l, 0)
		}
		for _, m := range monitors {
			if l.pace() != nil {
				return
			}
			m.restart(l)
		}
	})
}

// down notes that the link is gone and reports whether it had been up.
func (t *managedLink) down(why error) bool {
	t.mu.Lock()
	l := t.life
	was := l.active()
	if was || t.since.IsZero() {
		t.since = time.Now()
	}
	t.failure = why
	t.mu.Unlock()
	l.close()
	t.calls.forget()
	for _, m := range t.monitorList() {
		m.linkDown(l)
	}
	if was {
		t.publishLinkState()
	}
	return was
}

// Translation is how a link writes devices.
type Translation struct{ Out, In policy.NumberRules }

// inward brings a message of the link into the core's form: devices as the rules for numbers
// say and in canonical form, as far as they can be read as numbers, and callIDs as clients see
// them.
func (t *managedLink) inward(m *uacsta.Message) {
	rules, numbers := t.numbers.Load().In, t.proxy.numbers()
	for _, d := range m.Devices() {
		id := d.ID()
		if len(rules) > 0 {
			id = rules.Apply(id)
		}
		kind := d.Type()
		if n, err := numbers.Parse(id, kind); err == nil {
			if id = n.String(); id[0] == '+' {
				kind = "" // which the + says
			}
		}
		d.Set(id, kind)
	}
	t.calls.toClient(m, time.Now())
}

// outward brings a request into the link's form; it returns false where it names a call that
// the link does not have.
func (t *managedLink) outward(m *uacsta.Message) bool {
	rules := t.numbers.Load().Out
	for _, d := range m.Devices() {
		id, kind := policy.Element(d.ID())
		if len(rules) > 0 {
			id = rules.Apply(id)
		}
		d.Set(id, kind)
	}
	return t.calls.toLink(m)
}

// Request implements Upcalls.
func (t *managedLink) Request(req *uacsta.Message) error {
	t.inward(req)
	switch name := req.Name(); {
	case name == uacsta.NameSystemStatus:
		t.statusReported(uacsta.SystemStatusValue(req.Text("systemStatus")))
	case name == uacsta.NameRequestSystemStatus:
	case name == uacsta.NameMonitorStop:
		t.Event(req)
	case name == uacsta.NameSwitchingFunctionDevices:
		t.listed(req)
	case name == uacsta.NameRouteRequest, name == uacsta.NameReRoute, name == uacsta.NameRouteUsed, name == uacsta.NameRouteEnd, name == uacsta.NameRouteRegisterAbort:
		return t.routeing(req)
	case underReference[name] != nil:
		return t.underReference(req)
	default:
		t.log.Warn("unsupported request from the switch", "service", name)
		return uacsta.Refuse(uacsta.Operation, uacsta.ServiceNotSupported)
	}
	return nil
}

// Event implements Upcalls.
func (t *managedLink) Event(ev *uacsta.Message) {
	l := t.now()
	switch kind := ev.Kind(); {
	case kind == uacsta.Response:
		l.late(ev)
		return
	case kind == uacsta.Request && ev.Name() != uacsta.NameMonitorStop:
		_ = t.Request(ev) // whoever does not ask for an answer gets none
		return
	}
	t.inward(ev)
	m := l.monitors.of(ev.CrossRef())
	if m == nil {
		t.proxy.stats.StrayEvents.Add(1) // its monitor has just been stopped
		return
	}
	if ev.Name() == uacsta.NameMonitorStop {
		l.monitors.leave(ev.CrossRef(), m)
		m.stop(nil, false)
		return
	}
	m.event(ev)
}

// request carries a request of a client's if the link is up; it fails fast if not.
func (t *managedLink) request(by *Session, req *uacsta.Message, reply func(*uacsta.Message, error)) {
	t.now().request(by, req, reply)
}

// worthAnother reports whether what was refused may be taken later: there is too much, or
// something is out of order. Another refusal is final.
func worthAnother(err error) bool {
	var refusal *uacsta.Error
	if !errors.As(err, &refusal) {
		return true
	}
	return refusal.Category == uacsta.SystemResourceAvailability || refusal.Category == uacsta.SubscribedResourceAvailability
}

// pause waits, the longer the more often something was refused, and reports whether ctx has not
// ended.
func (p *Proxy) pause(ctx context.Context, refusals int) bool {
	pause := min(p.cfg.Retry<<min(refusals, 10), 30*p.cfg.Retry)
	return gate.Sleep(ctx, pause/2+rand.N(pause)) //nolint:gosec // jitter
}
