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

// life is one period in which a link is up: from Ready until Run returns. It owns what ends with
// it: the switching function's references, the requests that it has not answered, listings,
// dialogues and associations. A reference means nothing in another life, or something else: it is
// always kept together with its life, and a life that is over takes no request.
type life struct {
	managed *managedLink
	since   time.Time
	ctx     context.Context //nolint:containedctx // ends with it
	end     context.CancelFunc
	turns   *turns
	paces   *rate.Limiter // of what the core asks of itself

	mu           lock
	closed       bool
	monitors     owned[*monitor]       // by the link's cross reference
	lists        owned[*listing]       // that the link is sending
	routers      owned[*router]        // by the link's registration
	dialogues    owned[*routeDialogue] // by the link's cross reference
	associations owned[*association]   // by kind and the link's reference
	sent         int                   // counts the requests that open or end something
	repeats      map[string]repeat     // requests to end something that were sent more than once
	routeEnds    owned[*routeEnd]      // that the link has not answered, by its cross reference
	lateOnes     int                   // late answers whose ends it has not answered
}

// repeat is the last time that the link was asked once more to end something.
type repeat struct {
	number int // of the requests that open or end something
	at     time.Time
}

// repeatsLast is how long a request may stay without answer, for sure.
const repeatsLast = 5 * time.Minute

func newLife(t *managedLink) *life {
	l := &life{mu: lock{rank: ofLife}, managed: t, since: time.Now(), turns: newTurns(t.proxy.cfg.MaxAtLink, t.proxy.cfg.Turn), paces: rate.NewLimiter(rate.Limit(t.proxy.cfg.Pace), paceBurst)}
	l.ctx, l.end = context.WithCancel(t.proxy.ctx)
	l.monitors.life, l.lists.life, l.routers.life, l.dialogues.life, l.associations.life, l.routeEnds.life = l, l, l, l, l, l
	return l
}

// endedLife is what a link has that is down.
func endedLife(t *managedLink) *life {
	l := newLife(t)
	l.close()
	return l
}

// finish ends the life: what it owned ends, and requests without answer get errLinkDown.
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

// paceBurst is how many questions the core asks of itself at once.
const paceBurst = 50

// pace waits until the core may ask the link something of itself: what has to be asked after a
// link came back is thousands of questions, and those of clients are not to wait behind them.
func (l *life) pace() error {
	if err := l.turns.quiet(l.ctx); err != nil {
		return err
	}
	return l.paces.Wait(l.ctx)
}

// lasts reports whether the life is not over.
func (l *life) active() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return !l.closed
}

// owned is a table of a life, by the link's references.
type owned[T possession] struct {
	life *life
	all  map[string]T // guarded by life.mu
}

var (
	errReferenceUsed = errors.New("the switch reused a reference that is still in use")
	errTableFull     = errors.New("the switch has too many references open")
)

// possession is what a life has under a reference.
type possession interface {
	comparable
	ended() bool // it is being ended at the switching function, which would not use its reference for another before that
}

// enter puts something into the table. A reference that something else has is refused: one would
// get what is the other's.
func (o *owned[T]) enter(ref string, what T) error { return o.enterOf(ref, what, 0) }

// enterOf is enter into a table of so many; 0: of any number.
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

// of returns what has a reference; the zero value where nothing has.
func (o *owned[T]) of(ref string) T {
	o.life.mu.Lock()
	defer o.life.mu.Unlock()
	return o.all[ref]
}

// leave takes something out, if it is what has the reference.
func (o *owned[T]) leave(ref string, what T) {
	o.life.mu.Lock()
	defer o.life.mu.Unlock()
	if o.all[ref] == what {
		delete(o.all, ref)
	}
}

// list returns what there is.
func (o *owned[T]) list() []T {
	o.life.mu.Lock()
	defer o.life.mu.Unlock()
	return slices.Collect(maps.Values(o.all))
}

// empty takes everything out, and returns it.
func (o *owned[T]) empty() map[string]T {
	o.life.mu.Lock()
	defer o.life.mu.Unlock()
	all := o.all
	o.all = nil
	return all
}

// request carries a request in the life, in its turn; by is the client that asks, nil for the core
// itself. reply is called once, in order with what else the link tells; errLinkDown says that the
// life ended first, and nothing that comes later is taken.
func (l *life) request(by *Session, req *uacsta.Message, reply func(*uacsta.Message, error)) {
	l.requestIf(by, req, nil, reply)
}

// requestIf is request for what must still be right when its turn has come: a reference may be
// another's by then. An error of still refuses it, and nothing is sent.
func (l *life) requestIf(by *Session, req *uacsta.Message, still func() error, reply func(*uacsta.Message, error)) {
	t := l.managed
	if !t.outward(req) {
		reply(nil, errCall)
		return
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
		l.carry(req.Clone(), func(res *uacsta.Message, err error) { // the request is the link's from now on
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

// carry gives a request to the link. A link that panics at it is started anew.
func (l *life) carry(req *uacsta.Message, reply func(*uacsta.Message, error)) {
	defer func() {
		if why := recover(); why != nil {
			reply(nil, l.managed.panicked(why))
		}
	}()
	l.managed.link.Request(req, reply)
}

// count numbers a request that opens or ends something, as it is sent.
func (l *life) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.sent++
	return l.sent
}

// repeated takes note that the link is asked once more to end what has a reference, or has done so. It may
// have done so the first time, too, and have given the reference to something else since.
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

// doubtful reports whether what was asked for by a request, and has a reference, may have been ended by a
// request that meant what had the reference before.
func (l *life) doubtful(service, ref string, number int) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.repeats[service+" "+ref].number > number
}

// errEnded refuses what was ended by mistake.
var errEnded = uacsta.Refuse(uacsta.SystemResourceAvailability, uacsta.Generic)

// maxReleaseAttempts is how often the link is asked to end something, which takes three minutes.
const maxReleaseAttempts = 10

// releaseReference asks the link to end what nobody wants any more, and says when that is over. A switch
// that has no time for it is asked again: else it would stay there as long as the link is up. Right
// before each time still says whether that is still what the reference means; where it is not, that is
// over, too.
func (l *life) releaseReference(by *Session, req *uacsta.Message, still func() bool, over func()) {
	p := l.managed.proxy
	ref := req.CrossRef() + req.Text("routeRegisterReqID")
	var ask func(refusals int)
	ask = func(refusals int) {
		if by != nil && by.ended() { // its turns are for those that stay
			by = nil
		}
		var gone atomic.Bool // the life may end while the request is on its way
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

// Opens reports whether an answer opens something at the switching function that lasts until it is
// ended. One that comes when its request has been given up goes to [Upcalls.Event], so that it is
// ended again.
func Opens(answer string) bool {
	return answer == uacsta.NameMonitorStartResponse || answer == uacsta.NameRouteRegisterResponse || lastingKind(answer) != nil
}

// maxLate is how many late answers of a life are dealt with at a time: what each has opened must be
// ended.
const maxLate = 1000

// errLateAnswers ends a life in which more came.
var errLateAnswers = fmt.Errorf("more than %d late responses from the switch hold references", maxLate)

// late takes an answer that no request waits for. A switching function that gives them faster than
// what they opened can be ended loses the link, and what it has opened with it.
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

// cut ends the life, and says why in the log.
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

// orphan ends at the link what an answer opened that nobody waits for any more: it came after its
// request had been given up. What is in use is left alone. done is called when it has ended.
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
