package proxy

import (
	"errors"
	"maps"
	"slices"
	"sync/atomic"
	"time"

	"github.com/tr87proxy/tr87proxy/policy"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

// Routeing (ECMA-269 clause 20): a client registers for a routeing device, the link
// asks where its calls are to go, the client says. Identifiers of registrations
// and dialogues are the core's own towards the client.

// router is a client's registration at a link. It outlives the life of the link in which it was
// made: in the next one it is renewed.
type router struct {
	session  *Session
	managed  *managedLink
	register uacsta.RouteRegister
	device   policy.Number // that it is for; Whole for all
	ref      string        // the client's
	open     int           // dialogues; guarded by Session.mu

	mu       lock
	question int    // counts the times that the link was asked: only the last answer counts
	life     *life  // in which it was asked
	linkRef  string // the link's, in that life; "" until the link has answered

	stopping atomic.Bool // nobody wants it any more
}

// routeDialogue is a question of the link that a client has.
type routeDialogue struct {
	router       *router
	life         *life
	ref, linkRef string
	limit        *time.Timer // until somebody says something in it
}

const (
	maxDialogues     = 1000            // of one registration
	maxLinkDialogues = 10000           // of one link; as many RouteEnds of the core's may wait for their answers
	maxNobodysRoutes = 1000            // RouteEnds that wait, for another question that nobody decides
	dialogueTime     = 2 * time.Minute // without a word of either side the dialogue is over
)

var (
	errRouter   = uacsta.Refuse(uacsta.Operation, uacsta.InvalidRouteRegistrationCrossRefID)
	errDialogue = uacsta.Refuse(uacsta.Operation, uacsta.InvalidRouteingCrossRefID)
)

// routeRegister answers RouteRegister. Without device it is for all, which takes
// the right to control all.
func (s *Session) routeRegister(req *uacsta.Message, answer answerer) {
	o, err := s.examine(req)
	r := &router{mu: lock{rank: ofShared}, session: s, ref: s.proxy.refs.next(), device: policy.Whole}
	if err == nil {
		err = req.Decode(&r.register)
	}
	if err != nil {
		answer(nil, err)
		return
	}
	r.managed = s.homeLink()
	if len(o.subjects) > 0 {
		r.device = o.subjects[0]
		r.managed = s.proxy.route(r.device)
	} else if !r.allowed() {
		answer(nil, uacsta.Refuse(uacsta.Operation, uacsta.PrivilegeViolationSpecifiedDevice))
		return
	}
	if r.managed == nil {
		answer(nil, uacsta.Refuse(uacsta.Operation, uacsta.InvalidDeviceID))
		return
	}
	s.recorded(&o, answer, func(answer answerer) { r.enter(req, answer) })
}

// enter notes the registration, and asks the link for it.
func (r *router) enter(req *uacsta.Message, answer answerer) {
	s := r.session
	s.mu.Lock()
	closed, full := s.closed, len(s.routers) >= maxAssociations
	if !closed && !full {
		s.routers[r.ref] = r
	}
	s.mu.Unlock()
	switch {
	case closed: // while the request was written down: nobody would cancel the registration
		answer(nil, errSecurity)
		return
	case full:
		answer(nil, uacsta.Refuse(uacsta.SubscribedResourceAvailability, uacsta.ObjectRegistrationLimitExceeded))
		return
	}
	t := r.managed
	t.mu.Lock()
	t.routers[r] = struct{}{}
	l := t.life
	t.mu.Unlock()
	done := func(res *uacsta.Message, err error) {
		if err != nil {
			r.leave()
			r.forgotten()
			answer(nil, err)
			return
		}
		res.SetText("routeRegisterReqID", r.ref)
		answer(res, nil)
	}
	if s.moved(t, r.device) { // a reload came between: it may not have found the registration in the table
		done(nil, errMoved)
		return
	}
	r.ask(l, s, req, done)
}

// ask asks the link for the registration, in a life; by is the client for which it does, nil where
// the core does it. done gets the answer.
func (r *router) ask(l *life, by *Session, req *uacsta.Message, done func(*uacsta.Message, error)) {
	r.mu.Lock()
	if !l.active() { // it may have been asked in the next one already
		r.mu.Unlock()
		done(nil, errLinkDown)
		return
	}
	r.question++
	question := r.question
	r.life, r.linkRef = l, ""
	r.mu.Unlock()
	number := 0
	l.requestIf(by, req, func() error {
		number = l.count()
		return nil
	}, func(res *uacsta.Message, err error) {
		r.mu.Lock()
		wanted := r.question == question && !r.stopping.Load() && r.allowed()
		var ended *uacsta.Message // what the answer opened in vain
		if err == nil && wanted {
			linkRef := reference(res.Text("routeRegisterReqID"))
			if linkRef == "" {
				err = uacsta.Refuse(uacsta.Unspecified, "")
			} else if l.doubtful(uacsta.NameRouteRegisterCancel, linkRef, number) {
				err, ended = errEnded, res.Clone()
			} else if err = l.routers.enter(linkRef, r); err == nil {
				r.linkRef = linkRef
			}
			if errors.Is(err, errReferenceUsed) {
				err = uacsta.Refuse(uacsta.Unspecified, "")
			}
		}
		r.mu.Unlock()
		if err == nil && !wanted {
			ended, err = res.Clone(), errLinkDown
		}
		if ended != nil {
			l.managed.proxy.spawn(func() { l.orphan(ended, func() {}) }) // not here: we may be inside the link's own call
		}
		done(res, err)
	})
}

// renew asks for the registration in a new life of the link, and once more after a while where the
// link has no time for it; refusals is how often that was so. The client keeps its identifier.
func (r *router) renew(l *life, refusals int) {
	p := r.managed.proxy
	if l.pace() != nil || r.stopping.Load() {
		return
	}
	r.ask(l, nil, uacsta.Encode(r.register, uacsta.Edition3), func(_ *uacsta.Message, err error) {
		if err == nil || r.stopping.Load() || !l.active() { // there will be another life
			return
		}
		var refusal *uacsta.Error
		taken := errors.As(err, &refusal) && refusal.Value == uacsta.ObjectRegistrationLimitExceeded // by another client of the switch
		again := worthAnother(err) && !taken && r.allowed() && p.spawn(func() {
			if p.pause(l.ctx, refusals) {
				r.renew(l, refusals+1)
			}
		})
		r.managed.log.Warn("route registration refused", "device", r.device.String(), "err", err, "retrying", again)
		if !again {
			r.abort()
		}
	})
}

// allowed reports whether the client may decide where these calls go.
func (r *router) allowed() bool {
	return r.session.may(policy.Control, r.device)
}

// forgotten takes the registration out of the session's table and reports whether it
// was there.
func (r *router) forgotten() bool {
	r.session.mu.Lock()
	defer r.session.mu.Unlock()
	_, there := r.session.routers[r.ref]
	delete(r.session.routers, r.ref)
	return there
}

// atLink returns what the link calls the registration; "" where it does not know it.
func (r *router) atLink() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.linkRef
}

// leave takes the registration out of the trunk's table, and returns what there is to end.
func (r *router) leave() (l *life, linkRef string) {
	r.stopping.Store(true)
	r.mu.Lock()
	l, linkRef = r.life, r.linkRef
	r.linkRef = ""
	r.mu.Unlock()
	r.managed.mu.Lock()
	delete(r.managed.routers, r)
	r.managed.mu.Unlock()
	return l, linkRef
}

// ended implements possession.
func (r *router) ended() bool { return r.stopping.Load() }

// ended implements possession: the switching function ends a dialogue, or has been told that it is over.
func (d *routeDialogue) ended() bool { return false }

// cancel ends the registration at the link. Where the link has not answered yet, its answer finds
// that nobody wants it.
func (r *router) cancel() {
	if l, linkRef := r.leave(); linkRef != "" {
		still := func() bool { return l.routers.of(linkRef) == r } // the switch may have given it to the next
		l.releaseReference(r.session, uacsta.Encode(uacsta.RouteRegisterCancel{RouteRegisterReqID: linkRef}, uacsta.Edition3), still, func() { l.routers.leave(linkRef, r) })
	}
}

// routeRegisterCancel answers RouteRegisterCancel.
func (s *Session) routeRegisterCancel(req *uacsta.Message, answer answerer) {
	s.mu.Lock()
	r := s.routers[req.Text("routeRegisterReqID")]
	s.mu.Unlock()
	if r == nil || !r.forgotten() {
		answer(nil, errRouter)
		return
	}
	r.cancel()
	answer(uacsta.Encode(uacsta.RouteRegisterCancelResponse{}, uacsta.Edition3), nil)
}

// routeing passes what the link says of a routeing dialogue to the client. Its error refuses a
// question of the link.
func (t *managedLink) routeing(ev *uacsta.Message) error {
	l, linkRef := t.now(), reference(ev.Text("crossRefIdentifier"))
	d, r := l.dialogues.of(linkRef), l.routers.of(ev.Text("routeRegisterReqID"))
	if r != nil && r.ended() {
		r = nil
	}
	switch ev.Name() {
	case uacsta.NameRouteRequest:
		if linkRef == "" { // in which nobody could answer
			t.proxy.stats.StrayEvents.Add(1)
			return errDialogue
		}
		if d != nil { // the link uses the reference for another one
			d.close(nil)
		}
		if r != nil && r.dialogue(l, linkRef, ev) {
			return nil
		}
		if err := l.defaultRoute(linkRef, reference(ev.Text("routeRegisterReqID")), nil, maxNobodysRoutes); errors.Is(err, errTableFull) {
			t.log.Warn("route requests refused: too many unanswered RouteEnd requests", "limit", maxNobodysRoutes)
			return uacsta.Refuse(uacsta.SubscribedResourceAvailability, uacsta.OutstandingReqLimitExceeded)
		}
		return nil
	case uacsta.NameRouteRegisterAbort:
		if r != nil {
			r.abort()
		}
		return nil
	}
	if d == nil {
		t.proxy.stats.StrayEvents.Add(1)
		return nil
	}
	d.limit.Reset(dialogueTime)
	if ev.Name() == uacsta.NameRouteEnd {
		d.forget()
	}
	d.pass(ev)
	return nil
}

// pass gives the client a message of the dialogue.
func (d *routeDialogue) pass(ev *uacsta.Message) {
	ev.SetText("crossRefIdentifier", d.ref)
	ev.SetText("routeRegisterReqID", d.router.ref)
	d.router.session.translate(ev, "")
	d.router.session.deliver(delivery{msg: ev})
}

// dialogue begins a dialogue; false when the client cannot take it.
func (r *router) dialogue(l *life, linkRef string, ev *uacsta.Message) bool {
	s := r.session
	d := &routeDialogue{router: r, life: l, ref: s.proxy.refs.next(), linkRef: linkRef}
	d.limit = time.AfterFunc(dialogueTime, d.expire)
	if linkRef == "" || l.dialogues.enterOf(linkRef, d, maxLinkDialogues) != nil {
		d.limit.Stop()
		return false
	}
	s.mu.Lock()
	takes := !s.closed && r.open < maxDialogues
	if takes {
		s.dialogues[d.ref] = d
		r.open++
	}
	s.mu.Unlock()
	if !takes {
		d.forget()
		return false
	}
	d.pass(ev)
	return true
}

// expire ends a dialogue in which nobody has said anything for long: it would keep its place for
// ever. The call takes its default way.
func (d *routeDialogue) expire() {
	if d.close(errRouteTime) {
		d.defaultRoute(errRouteTime)
	}
}

var errRouteTime = uacsta.Refuse(uacsta.Operation, uacsta.RouteingTimerExpired)

// over ends a dialogue for the client, and reports whether it had not ended before.
func (d *routeDialogue) close(why *uacsta.Error) bool {
	there := d.forget()
	if there {
		d.router.session.send(uacsta.RouteEnd{CrossRefIdentifier: d.ref, RouteRegisterReqID: d.router.ref, ErrorValue: why})
	}
	return there
}

// defaultRoute tells the link that nobody decides: the call takes its default way. A link that does
// not answer this is cut: its calls would wait for ever.
func (d *routeDialogue) defaultRoute(why *uacsta.Error) {
	if err := d.life.defaultRoute(d.linkRef, d.router.atLink(), why, maxLinkDialogues); errors.Is(err, errTableFull) {
		d.life.cut(errors.New("the switch does not answer RouteEnd"))
	}
}

// routeEnd is a RouteEnd of the core's on its way.
type routeEnd struct{ ref string }

// ended implements possession: one for each dialogue is enough.
func (e *routeEnd) ended() bool { return false }

// defaultRoute tells the link that nobody decides about a call, once while the link has not answered
// that. At most so many RouteEnds may be on their way: errTableFull.
func (l *life) defaultRoute(linkRef, registration string, why *uacsta.Error, most int) error {
	e := &routeEnd{ref: linkRef}
	switch err := l.routeEnds.enterOf(linkRef, e, most); {
	case errors.Is(err, errReferenceUsed):
		return nil
	case err != nil:
		return err
	}
	msg := uacsta.Encode(uacsta.RouteEnd{CrossRefIdentifier: linkRef, RouteRegisterReqID: registration, ErrorValue: why}, uacsta.Edition3)
	over := func(*uacsta.Message, error) { l.routeEnds.leave(linkRef, e) }
	l.managed.proxy.spawn(func() { l.request(nil, msg, over) }) // not here: we may be inside the link's own call
	return nil
}

// routeAnswer carries RouteSelect, RouteReject and RouteEnd.
func (s *Session) routeAnswer(req *uacsta.Message, answer answerer) {
	s.mu.Lock()
	d := s.dialogues[req.Text("crossRefIdentifier")]
	s.mu.Unlock()
	if d == nil {
		o, err := s.read(req)
		if err == nil {
			err = errDialogue
			s.refused(&o, err.Error())
		}
		answer(nil, err)
		return
	}
	o, err := s.examine(req, d.router.device)
	if err != nil {
		answer(nil, err)
		return
	}
	s.recorded(&o, answer, func(answer answerer) {
		d.limit.Reset(dialogueTime)
		last := req.Name() == uacsta.NameRouteEnd
		if last {
			d.forget()
		}
		req.SetText("crossRefIdentifier", d.linkRef)
		req.SetText("routeRegisterReqID", d.router.atLink())
		d.life.requestIf(s, req, func() error {
			if there := d.life.dialogues.of(d.linkRef); there != d && (there != nil || !last) { // it is about another call by now
				return errDialogue
			}
			return nil
		}, answer)
	})
}

// forget takes a dialogue out of the tables, and reports whether the client had it.
func (d *routeDialogue) forget() bool {
	s := d.router.session
	s.mu.Lock()
	_, there := s.dialogues[d.ref]
	if there {
		delete(s.dialogues, d.ref)
		d.router.open--
	}
	s.mu.Unlock()
	d.limit.Stop()
	d.life.dialogues.leave(d.linkRef, d)
	return there
}

// endRouteing ends the session's registrations and dialogues: calls take their
// default way at once.
func (s *Session) endRouteing() {
	s.mu.Lock()
	routers, dialogues := s.routers, s.dialogues
	s.routers, s.dialogues = map[string]*router{}, map[string]*routeDialogue{}
	s.mu.Unlock()
	for _, d := range dialogues { // which name their registrations
		d.forget()
		d.defaultRoute(nil)
	}
	for _, r := range routers {
		r.cancel()
	}
}

// cancelRouters ends some of the registrations at a link, and tells the clients.
func (t *managedLink) cancelRouters(which func(*router) bool) {
	t.mu.Lock()
	routers := slices.Collect(maps.Keys(t.routers))
	t.mu.Unlock()
	for _, r := range routers {
		if which(r) {
			r.withdraw()
		}
	}
}

// withdraw ends a registration that its client may not have any more: its calls take their default
// way, and both sides are told.
func (r *router) withdraw() {
	s := r.session
	s.mu.Lock()
	dialogues := slices.Collect(maps.Values(s.dialogues))
	s.mu.Unlock()
	for _, d := range dialogues {
		if d.router == r && d.close(nil) {
			d.defaultRoute(nil)
		}
	}
	r.cancel()
	r.abort()
}

// gone tells the client that the link does not ask it any more.
func (r *router) abort() {
	if l, linkRef := r.leave(); linkRef != "" {
		l.routers.leave(linkRef, r)
	}
	if r.forgotten() {
		r.session.send(uacsta.RouteRegisterAbort{RouteRegisterReqID: r.ref})
	}
}
