package proxy

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"github.com/tr87proxy/tr87proxy/uacsta"
)

// life is one period in which a link is up, from Ready until Run returns. It owns everything that ends
// with it: the switch's references, unanswered requests, listings, dialogues and associations. A
// reference is valid in its own life only; in another it means nothing or something else. So each
// reference is kept together with its life, and a closed life accepts no request.
type life struct {
	managed *managedLink
	since   time.Time
	ctx     context.Context //nolint:containedctx // ends with it
	end     context.CancelFunc
	turns   *turns
	paces   *rate.Limiter // paces the requests that the core makes on its own

	mu           lock
	closed       bool
	monitors     owned[*monitor]       // by the link's cross reference
	lists        owned[*listing]       // device lists in transit
	routers      owned[*router]        // by the link's registration
	dialogues    owned[*routeDialogue] // by the link's cross reference
	associations owned[*association]   // by kind and the link's reference
	sent         int                   // counts requests that open or end a reference
	repeats      map[string]repeat     // stop requests that were sent more than once
	routeEnds    owned[*routeEnd]      // unanswered RouteEnd requests, by the link's cross reference
	lateOnes     int                   // late responses whose references are not released yet
}

// repeat records the last retry of a request that ends a reference.
type repeat struct {
	number int // its position among the requests counted by life.sent
	at     time.Time
}

// repeatsLast is longer than any request can stay unanswered.
const repeatsLast = 5 * time.Minute

func newLife(t *managedLink) *life {
	l := &life{mu: lock{rank: ofLife}, managed: t, since: time.Now(), turns: newTurns(t.proxy.cfg.MaxAtLink, t.proxy.cfg.Turn), paces: rate.NewLimiter(rate.Limit(t.proxy.cfg.Pace), paceBurst)}
	l.ctx, l.end = context.WithCancel(t.proxy.ctx)
	l.monitors.life, l.lists.life, l.routers.life, l.dialogues.life, l.associations.life, l.routeEnds.life = l, l, l, l, l, l
	return l
}

// endedLife returns a closed life, for a link that is down.
func endedLife(t *managedLink) *life {
	l := newLife(t)
	l.close()
	return l
}

// close ends the life. Everything that it owns ends, and unanswered requests get errLinkDown.
func (l *life) close() {
	l.end()
	l.mu.Lock()
	l.closed = true
	l.mu.Unlock()
	l.turns.close()
	l.monitors.empty()
	l.routers.empty()
	l.routeEnds.empty()
	for _, list := range l.lists.empty() {
		list.linkDown(l)
	}
	for _, d := range l.dialogues.empty() {
		d.close(errLinkDown)
	}
	for _, a := range l.associations.empty() {
		a.forget()
		a.notifyAborted()
	}
}

// paceBurst is how many requests the core may send on its own at once.
const paceBurst = 50

// pace waits until the core may send a request on its own. After a reconnect the core has thousands of
// them, and requests of clients must not wait behind these.
func (l *life) pace() error {
	if err := l.turns.quiet(l.ctx); err != nil {
		return err
	}
	return l.paces.Wait(l.ctx)
}

// active reports whether the life is not closed.
func (l *life) active() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return !l.closed
}

// owned is a table of a life, keyed by the link's references.
type owned[T possession] struct {
	life *life
	all  map[string]T // guarded by life.mu
}

var (
	errReferenceUsed = errors.New("the switch reused a reference that is still in use")
	errTableFull     = errors.New("the switch has too many references open")
)

// possession is what a life keeps under a reference.
type possession interface {
	comparable
	ended() bool // it is being ended at the switch, which does not reuse the reference before that
}

// enter adds an entry to the table. It refuses a reference that another entry has: each would receive
// the messages of the other.
func (o *owned[T]) enter(ref string, what T) error { return o.enterOf(ref, what, 0) }

// enterOf is enter with a limit on the size of the table; 0 means none.
func (o *owned[T]) enterOf(ref string, what T, most int) error {
	o.life.mu.Lock()
	defer o.life.mu.Unlock()
	there, used := o.all[ref]
	switch {
	case o.life.closed:
		return errLinkDown
	case used && there != what && !there.ended():
		return errReferenceUsed
	case !used && most > 0 && len(o.all) >= most:
		return errTableFull
	}
	if o.all == nil {
		o.all = map[string]T{}
	}
	o.all[ref] = what
	return nil
}

// of returns the entry under a reference, or the zero value.
func (o *owned[T]) of(ref string) T {
	o.life.mu.Lock()
	defer o.life.mu.Unlock()
	return o.all[ref]
}

// leave removes an entry if it still has the reference.
func (o *owned[T]) leave(ref string, what T) {
	o.life.mu.Lock()
	defer o.life.mu.Unlock()
	if o.all[ref] == what {
		delete(o.all, ref)
	}
}

// list returns all entries.
func (o *owned[T]) list() []T {
	o.life.mu.Lock()
	defer o.life.mu.Unlock()
	return slices.Collect(maps.Values(o.all))
}

// empty removes all entries and returns them.
func (o *owned[T]) empty() map[string]T {
	o.life.mu.Lock()
	defer o.life.mu.Unlock()
	all := o.all
	o.all = nil
	return all
}

// request sends a request within the life when its turn comes. by is the client; nil means the core.
// reply is called once, in order with everything else that the link delivers. errLinkDown means that
// the life ended first; a response that arrives later is ignored.
func (l *life) request(by *Session, req *uacsta.Message, reply func(*uacsta.Message, error)) {
	l.requestIf(by, req, nil, reply)
}

// requestIf is request with a check right before the request is sent: by then a reference may belong
// to something else. If still returns an error, the request is refused with it and not sent.
func (l *life) requestIf(by *Session, req *uacsta.Message, still func() error, reply func(*uacsta.Message, error)) {
	t := l.managed
	if !t.outward(req) {
		reply(nil, errCall)
		return
	}
	if req.Cause() == 0 { // the core asks for itself
		req.SetCause(t.proxy.cfg.Trace.Exchange())
	}
	l.turns.ask(by, func(q *question) {
		if still != nil {
			if why := still(); why != nil {
				if l.turns.withdraw(q) {
					reply(nil, why)
					l.turns.hand()
				}
				return
			}
		}
		oneWay := req.OneWay()
		t.traced(true, req)
		asked := time.Now()
		l.carry(req.Clone(), func(res *uacsta.Message, err error) { // the link owns the clone from now on
			t.roundTrip.Store(int64(time.Since(asked)))
			t.tracedAnswer(req, res, err)
			if err == nil && res == nil && !oneWay {
				err = errors.New("the link returned no response")
			}
			if l.turns.answered(q, err) {
				if res != nil {
					t.inward(res)
				}
				reply(res, err)
			}
			l.turns.hand()
		})
	}, func(err error) {
		if by != nil && noRoom(err) {
			t.proxy.stats.TurnsRefused.Add(1)
			t.log.Warn("request refused: switch busy", "service", req.Name(), "identity", by.Identity().String())
		}
		reply(nil, err)
	})
}

// carry passes a request to the link. A panic restarts the link.
func (l *life) carry(req *uacsta.Message, reply func(*uacsta.Message, error)) {
	defer func() {
		if why := recover(); why != nil {
			reply(nil, l.managed.panicked(why))
		}
	}()
	l.managed.link.Request(req, reply)
}

// count numbers a request that opens or ends a reference, when it is sent.
func (l *life) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.sent++
	return l.sent
}

// repeated records that a request to end a reference is being retried, or that a retry succeeded. The
// first attempt may have succeeded as well, and the switch may have reused the reference since.
func (l *life) repeated(service, ref string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.repeats == nil {
		l.repeats = map[string]repeat{}
	}
	now := time.Now()
	maps.DeleteFunc(l.repeats, func(_ string, r repeat) bool { return now.Sub(r.at) > repeatsLast })
	l.sent++
	l.repeats[service+" "+ref] = repeat{l.sent, now}
}

// doubtful reports whether a reference that request number opened may have been ended by a retry that
// meant its previous owner.
func (l *life) doubtful(service, ref string, number int) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.repeats[service+" "+ref].number > number
}

// errEnded refuses what a retry may have ended by mistake.
var errEnded = uacsta.Refuse(uacsta.SystemResourceAvailability, uacsta.Generic)

// maxReleaseAttempts is how often the core asks the link to end a reference. All attempts together
// take about three minutes.
const maxReleaseAttempts = 10

// releaseReference asks the link to end an unused reference, and calls over when that has succeeded or
// been given up. It retries while the switch lacks resources: otherwise the reference would stay for
// as long as the link is up. Before each attempt, still reports whether the reference still means the
// same; if not, there is nothing to release.
func (l *life) releaseReference(by *Session, req *uacsta.Message, still func() bool, over func()) {
	p := l.managed.proxy
	ref := req.CrossRef() + req.Text("routeRegisterReqID")
	var ask func(refusals int)
	ask = func(refusals int) {
		if by != nil && by.ended() { // a closed session must not use up turns
			by = nil
		}
		var gone atomic.Bool // the life may end while the request is in transit
		l.requestIf(by, req.Clone(), func() error {
			if !still() {
				gone.Store(true)
				return errReferenceUsed
			}
			if refusals > 0 {
				l.repeated(req.Name(), ref)
			}
			return nil
		}, func(_ *uacsta.Message, err error) {
			if refusals > 0 && err == nil {
				l.repeated(req.Name(), ref)
			}
			again := err != nil && !gone.Load() && worthAnother(err) && l.active()
			if again && refusals+1 == maxReleaseAttempts {
				l.managed.log.Warn("could not release an unused reference on the switch", "service", req.Name(), "err", err)
				again = false
			}
			if !again || !p.spawn(func() {
				if p.pause(l.ctx, refusals) {
					ask(refusals + 1)
				} else {
					over()
				}
			}) {
				over()
			}
		})
	}
	ask(0)
}

// Opens reports whether a response opens a reference at the switching function that lasts until it is
// ended: a monitor, a registration or an association. A link passes such a response to [Upcalls.Event]
// when it arrives after its request timed out, so that the core can release the reference.
func Opens(answer string) bool {
	return answer == uacsta.NameMonitorStartResponse || answer == uacsta.NameRouteRegisterResponse || lastingKind(answer) != nil
}

// maxLate is how many late responses of a life may wait for the release of their references.
const maxLate = 1000

// errLateAnswers closes a life that exceeds maxLate.
var errLateAnswers = fmt.Errorf("more than %d late responses from the switch hold references", maxLate)

// late takes a response that no request waits for. If the switch sends them faster than their
// references can be released, the link is reset, which releases all of them.
func (l *life) late(res *uacsta.Message) {
	l.mu.Lock()
	cut := !l.closed && l.lateOnes == maxLate
	if !cut {
		l.lateOnes++
	}
	l.mu.Unlock()
	if cut {
		l.cut(errLateAnswers)
		return
	}
	l.orphan(res, func() {
		l.mu.Lock()
		l.lateOnes--
		l.mu.Unlock()
	})
}

// cut ends the life by cancelling Run, and logs why.
func (l *life) cut(why error) {
	t := l.managed
	t.mu.Lock()
	cut, now := t.cut, t.life == l
	t.mu.Unlock()
	if now && l.active() {
		t.log.Error("link reset", "err", why)
		cut(why)
	}
}

// orphan releases at the link what an unwanted response opened: its request timed out or is no longer
// needed. References that are in use stay. done is called when the release has ended.
func (l *life) orphan(res *uacsta.Message, done func()) {
	ref := ""
	var end any
	var still func() bool
	var over func()
	switch kind := lastingKind(res.Name()); res.Name() {
	case uacsta.NameMonitorStartResponse:
		nobodys := &monitor{mu: lock{rank: ofShared}, state: stopped}
		nobodys.stopping.Store(true)
		if ref = reference(res.CrossRef()); ref == "" || l.monitors.enter(ref, nobodys) != nil {
			done()
			return
		}
		end, still = uacsta.MonitorStop{MonitorCrossRefID: ref}, func() bool { return l.monitors.of(ref) == nobodys }
		over = func() { l.monitors.leave(ref, nobodys) }
	case uacsta.NameRouteRegisterResponse:
		nobodys := &router{mu: lock{rank: ofShared}}
		nobodys.stopping.Store(true)
		if ref = reference(res.Text("routeRegisterReqID")); ref == "" || l.routers.enter(ref, nobodys) != nil {
			done()
			return
		}
		end, still = uacsta.RouteRegisterCancel{RouteRegisterReqID: ref}, func() bool { return l.routers.of(ref) == nobodys }
		over = func() { l.routers.leave(ref, nobodys) }
	default:
		if kind == nil {
			done()
			return
		}
		a := &association{kind: kind, life: l, linkRef: reference(kind.of(res))}
		still = func() bool { return l.associations.of(a.key()) == nil }
		if a.linkRef == "" || !still() {
			done()
			return
		}
		end, over = kind.cancel(a.linkRef), func() {}
	}
	l.managed.log.Info("late response from the switch: releasing what it opened", "answer", res.Name())
	l.releaseReference(nil, uacsta.Encode(end, uacsta.Edition3), still, func() { over(); done() })
}
