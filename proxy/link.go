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

// A Link is one switching function: a PBX, a telephone, a card, or the built-in switch. Package
// linktest describes the contract in full and checks it.
type Link interface {
	// Run connects and serves until ctx ends or the connection fails, and returns why. The proxy calls
	// it again, with increasing delays. Run calls up.Ready once the link can carry requests. When Run
	// returns, nothing that it started may still run.
	Run(ctx context.Context, up Upcalls) error
	// Request sends one service request to the switching function and must not block. Requests reach
	// the switching function in the order of the calls. The link calls reply exactly once, possibly
	// before Request returns, and before any event that the request causes. A refusal is a
	// *uacsta.Error. reply does not block.
	Request(req *uacsta.Message, reply func(*uacsta.Message, error))
}

// Upcalls is how a link calls the core. No method blocks. A link must serialise the calls that concern
// one device.
type Upcalls interface {
	// Ready reports that the link can carry requests.
	Ready()
	// Event delivers an event under the link's cross reference, a request of the switching function
	// that needs no response, or a late response to a request that timed out (see [Opens]).
	Event(ev *uacsta.Message)
	// Request delivers a request of the switching function. It returns nil if the core accepts the
	// request, or the *uacsta.Error to send as the response.
	Request(req *uacsta.Message) error
}

// Refusal converts an error of package gate into the CSTA error that a client receives. It returns any
// other error unchanged.
func Refusal(err error) error {
	switch {
	case errors.Is(err, gate.ErrCut):
		return errCut
	case errors.Is(err, gate.ErrClosed):
		return errLinkDown
	case errors.Is(err, gate.ErrTimeout):
		return &uacsta.Error{Category: uacsta.SystemResourceAvailability, Value: uacsta.Generic, Unsure: true}
	case errors.Is(err, gate.ErrTooManyWaiting):
		return uacsta.Refuse(uacsta.SubscribedResourceAvailability, uacsta.OutstandingReqLimitExceeded)
	case errors.Is(err, gate.ErrSlow):
		return uacsta.Refuse(uacsta.SystemResourceAvailability, uacsta.ResourceLimitExceeded)
	}
	return err
}

// FeatureLister is an optional interface of a Link that knows which services and events a device
// supports.
type FeatureLister interface {
	Features(device string) uacsta.Features
}

// A Describer is an optional interface of a Link that knows more of a device than CSTA has services for.
type Describer interface {
	// Describe returns what the link knows of a device; the zero value: nothing. It does not block.
	Describe(device string) Description
}

// Description is what people want to know of a device.
type Description struct {
	Name       string
	Telephones []Telephone
}

// Telephone is a telephone behind a device.
type Telephone struct {
	Agent     string // what it says it is: the header User-Agent of SIP
	Reachable bool   // calls can be sent to it
}

// managedLink is a link with its supervision and everything that the core keeps for it.
type managedLink struct {
	proxy       *Proxy
	name        string
	link        Link
	devices     atomic.Pointer[func(device string) bool]
	numbers     atomic.Pointer[Translation]
	cancel      context.CancelFunc // stops the supervision; guarded by Proxy.mu
	done        chan struct{}      // closed when the supervision has stopped
	calls       *calls
	roundTrip   atomic.Int64  // of the last request, in nanoseconds
	log         *slog.Logger  // repeats equal lines once a second at most
	memory      budget        // for snapshot segments and held events
	pictures    budget        // for the pictures of the link's devices
	resyncSlots chan struct{} // holds a value for each monitor that resynchronises
	first       sync.Once
	ready       chan struct{} // closed when the link comes up for the first time

	mu        lock
	life      *life                    // the current one; a closed one while the link is down
	monitors  map[string]*monitor      // by monitor.key
	routers   map[*router]struct{}     // RouteRegister registrations of clients
	status    uacsta.SystemStatusValue // as the switch reports it; valid while the link is up
	condition condition
	since     time.Time               // when the link came up or went down
	failure   error                   // why the link is down
	next      time.Time               // when it is connected again
	cut       context.CancelCauseFunc // cancels Run
}

// has reports whether a device belongs to the link.
func (t *managedLink) has(device string) bool { return (*t.devices.Load())(device) }

// now returns the current life of the link. While the link is down, that life is closed.
func (t *managedLink) now() *life {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.life
}

// isUp reports whether the link can carry requests.
func (t *managedLink) isUp() bool { return t.now().active() }

// monitorList returns the monitors of the link.
func (t *managedLink) monitorList() []*monitor {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Collect(maps.Values(t.monitors))
}

// run starts the supervision, which lasts until ctx ends or stop is called. The caller holds p.mu.
func (t *managedLink) run(ctx context.Context) {
	ctx, t.cancel = context.WithCancel(ctx)
	done := make(chan struct{})
	t.done = done
	t.proxy.supervisors.Go(func() {
		defer close(done)
		t.supervise(ctx)
	})
}

// stop stops the supervision and waits for it.
func (t *managedLink) stop() {
	t.proxy.mu.Lock()
	cancel, done := t.cancel, t.done
	t.proxy.mu.Unlock()
	if cancel != nil {
		cancel()
		<-done
	}
}

// stopMonitors stops the monitors that which selects and notifies their clients.
func (t *managedLink) stopMonitors(which func(*monitor) bool) {
	for _, m := range t.monitorList() {
		if which(m) {
			m.stop(errMoved, true)
		}
	}
}

// errCall refuses a request for a call that does not exist or that the client has no right on. The
// error does not tell which.
var errCall = uacsta.Refuse(uacsta.Operation, uacsta.InvalidConnectionID)

var errLinkDown = uacsta.Refuse(uacsta.SystemResourceAvailability, uacsta.ResourceOutOfService)

// errCut is errLinkDown for a request that was sent before: the switch may have carried it out.
var errCut = &uacsta.Error{Category: uacsta.SystemResourceAvailability, Value: uacsta.ResourceOutOfService, Unsure: true}

// supervise runs the link again and again until ctx ends.
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
		t.mu.Lock()
		t.next = time.Now().Add(pause)
		t.mu.Unlock()
		t.log.Error("link down", "err", err, "retry", pause.Round(time.Millisecond))
		if !gate.Sleep(ctx, pause) {
			return
		}
	}
}

// live runs the link once. A panic ends this run only.
func (t *managedLink) live(ctx context.Context) (err error) {
	ctx, cut := context.WithCancelCause(ctx)
	defer cut(nil)
	t.mu.Lock()
	t.cut, t.next = cut, time.Time{}
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

// panicked logs a panic of the link and cancels Run if it still runs.
func (t *managedLink) panicked(why any) error {
	err := fmt.Errorf("link panicked: %v", why)
	share.Panicked(t.log, why, "link; it restarts")
	t.mu.Lock()
	cut := t.cut
	t.mu.Unlock()
	cut(err)
	return err
}

// Ready implements Upcalls. It starts a new life, notifies clients, and restarts monitors and
// registrations.
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
	t.tracedState("up", nil)
	t.log.Info("link up", "monitors", len(monitors))
	t.publishLinkState()
	t.proxy.spawn(func() { // restarting takes a while, and Ready must not block
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

// down closes the life of the link and reports whether the link was up.
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
		t.tracedState("down", why)
		t.publishLinkState()
	}
	return was
}

// Translation says how devices are written at a link: Out applies to requests, In to what the link
// sends.
type Translation struct{ Out, In policy.NumberRules }

// inward converts a message of the link into the core's form: it applies the link's number rules, puts
// devices that can be read as numbers into canonical form, and replaces the link's callIDs by those
// that clients see.
func (t *managedLink) inward(m *uacsta.Message) {
	rules, numbers := t.numbers.Load().In, t.proxy.numbers()
	for _, d := range m.Devices() {
		d.Set(inward(rules, numbers, d.ID(), d.Type()))
	}
	t.calls.toClient(m, time.Now())
}

// inward converts a device of a link into the core's form. A dynamic identifier is no number to which rules apply.
func inward(rules policy.NumberRules, numbers *policy.Numbers, id, kind string) (string, string) {
	if len(rules) > 0 && kind != uacsta.Dynamic {
		id = rules.Apply(id)
	}
	if n, err := numbers.Parse(id, kind); err == nil {
		if id = n.String(); id[0] == '+' {
			kind = "" // the + says so already
		}
	}
	return id, kind
}

// outward converts a request into the link's form. It returns false if the request names a call that
// the link does not have.
func (t *managedLink) outward(m *uacsta.Message) bool {
	rules := t.numbers.Load().Out
	for _, d := range m.Devices() {
		d.Set(outward(rules, d.ID()))
	}
	return t.calls.toLink(m)
}

// outward converts a device into the form of a link.
func outward(rules policy.NumberRules, device string) (id, kind string) {
	id, kind = policy.Element(device)
	if len(rules) > 0 && kind != uacsta.Dynamic {
		id = rules.Apply(id)
	}
	return id, kind
}

// device returns the own number of the device that a number stands for.
func (t *managedLink) device(n policy.Number) policy.Number {
	namer, ok := t.link.(DeviceNamer)
	if !ok {
		return n
	}
	written, _ := outward(t.numbers.Load().Out, n.String())
	own := namer.Device(written)
	if own == written {
		return n
	}
	own, _ = inward(t.numbers.Load().In, t.proxy.numbers(), own, "")
	d, _ := t.proxy.numbers().Parse(own, "") // nobody has a right on the zero value
	return d
}

// candidates returns the connections that an identifier in an element of a service's request may stand
// for, in the core's form; device is canonical or "". For a link that cannot say, they are the parties that it has
// reported, or the identifier itself.
func (t *managedLink) candidates(service, element, callID, device string) []Candidate {
	finder, ok := t.link.(ConnectionFinder)
	if !ok {
		devices := []string{device}
		if device == "" {
			devices = t.calls.parties(callID)
		}
		list := make([]Candidate, 0, len(devices))
		for _, device := range devices {
			list = append(list, Candidate{ID: uacsta.Conn(callID, device), Fits: true})
		}
		return list
	}
	var id uacsta.ConnectionID
	if callID != "" {
		if id.CallID, ok = t.calls.link(callID); !ok {
			return nil
		}
	}
	if device != "" {
		id.DeviceID = uacsta.Typed(outward(t.numbers.Load().Out, device))
	}
	list := finder.FindConnections(service, element, id)
	rules, numbers := t.numbers.Load().In, t.proxy.numbers()
	for i := range list {
		x := &list[i].ID
		x.CallID = t.calls.shown(x.CallID)
		x.DeviceID.ID, _ = inward(rules, numbers, x.DeviceID.ID, x.DeviceID.Type())
	}
	return list
}

// Request implements Upcalls.
func (t *managedLink) Request(req *uacsta.Message) error {
	if req.Name() != uacsta.NameMonitorStop { // else Event traces it
		req.SetCause(t.proxy.cfg.Trace.Exchange())
		t.traced(false, req)
	}
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
		_ = t.Request(ev) // the link expects no response
		return
	}
	ev.SetCause(t.proxy.cfg.Trace.Exchange())
	t.traced(false, ev)
	t.inward(ev)
	m := l.monitors.of(ev.CrossRef())
	if m == nil {
		t.proxy.stats.StrayEvents.Add(1) // its monitor has just stopped
		return
	}
	if ev.Name() == uacsta.NameMonitorStop {
		l.monitors.leave(ev.CrossRef(), m)
		m.stop(nil, false)
		return
	}
	m.event(ev)
}

// request forwards a client's request if the link is up, and refuses it at once otherwise.
func (t *managedLink) request(by *Session, req *uacsta.Message, reply func(*uacsta.Message, error)) {
	t.now().request(by, req, reply)
}

// worthAnother reports whether a refused request may succeed on a retry: the switch lacks resources or
// is out of order. Any other refusal is final.
func worthAnother(err error) bool {
	var refusal *uacsta.Error
	if !errors.As(err, &refusal) {
		return true
	}
	return refusal.Category == uacsta.SystemResourceAvailability || refusal.Category == uacsta.SubscribedResourceAvailability
}

// pause waits before a retry, longer after each refusal and with jitter. It reports whether ctx is
// still alive.
func (p *Proxy) pause(ctx context.Context, refusals int) bool {
	pause := min(p.cfg.Retry<<min(refusals, 10), 30*p.cfg.Retry)
	return gate.Sleep(ctx, pause/2+rand.N(pause)) //nolint:gosec // jitter
}
