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

// Routeing (ECMA-269 clause 20): a client registers for a routeing device, the link asks where to send
// its calls, and the client responds. Clients see the core's own references of registrations and
// dialogues.

// router is a client's route registration at a link. It outlives the life in which it was made: the
// next life renews it.
type router struct {
	session  *Session
	managed  *managedLink
	register uacsta.RouteRegister
	device   policy.Number // policy.Whole for all devices
	ref      string        // the client's reference
	open     int           // open dialogues; guarded by Session.mu

	mu       lock
	question int    // counts the RouteRegister requests: only the response to the last one counts
	life     *life  // in which the last request was sent
	linkRef  string // the link's reference in that life; "" until the link responds

	stopping atomic.Bool // set before the link is asked to cancel it
}

// routeDialogue is a routeing dialogue between the link and a client.
type routeDialogue struct {
	router       *router
	life         *life
	ref, linkRef string
	limit        *time.Timer // restarts with each message of the dialogue
}

const (
	maxDialogues     = 1000            // dialogues of one registration
	maxLinkDialogues = 10000           // dialogues of one link, and unanswered RouteEnd requests of the core
	maxNobodysRoutes = 1000            // unanswered RouteEnd requests beyond which a route request without a client is refused
	dialogueTime     = 2 * time.Minute // a dialogue ends after this time without a message
)

var (
	errRouter   = uacsta.Refuse(uacsta.Operation, uacsta.InvalidRouteRegistrationCrossRefID)
	errDialogue = uacsta.Refuse(uacsta.Operation, uacsta.InvalidRouteingCrossRefID)
)

// routeRegister serves RouteRegister. Without a device it covers all devices, which takes the right to
// control all of them.
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

// enter adds the registration to the tables and sends it to the link.
func (r *router) enter(req *uacsta.Message, answer answerer) {
	s := r.session
	s.mu.Lock()
	closed, full := s.closed, len(s.routers) >= maxAssociations
	if !closed && !full {
		s.routers[r.ref] = r
	}
	s.mu.Unlock()
	switch {
	case closed: // the session closed while the request was audited: nobody would cancel the registration
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
	if s.moved(t, r.device) { // a reload may not have found the registration in the table
		done(nil, errMoved)
		return
	}
	r.ask(l, s, req, done)
}

// ask sends RouteRegister to the link in a life, for the client by or, if nil, for the core. done
// receives the response.
func (r *router) ask(l *life, by *Session, req *uacsta.Message, done func(*uacsta.Message, error)) {
	r.mu.Lock()
	if !l.active() { // the next life may already have asked
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
		var ended *uacsta.Message // the response whose registration must be cancelled
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
			l.managed.proxy.spawn(func() { l.orphan(ended, func() {}) }) // the response may come inside a call of the link
		}
		done(res, err)
	})
}

// renew registers again in a new life of the link and retries while the switch lacks resources;
// refusals counts those so far. The client keeps its reference.
func (r *router) renew(l *life, refusals int) {
	p := r.managed.proxy
	if l.pace() != nil || r.stopping.Load() {
		return
	}
	r.ask(l, nil, uacsta.Encode(r.register, uacsta.Edition3), func(_ *uacsta.Message, err error) {
		if err == nil || r.stopping.Load() || !l.active() { // the next life renews it
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

// allowed reports whether the client may decide the routes of the device.
func (r *router) allowed() bool {
	return r.session.may(policy.Control, r.device)
}

// forgotten removes the registration from the session's table and reports whether it was there.
func (r *router) forgotten() bool {
	r.session.mu.Lock()
	defer r.session.mu.Unlock()
	_, there := r.session.routers[r.ref]
	delete(r.session.routers, r.ref)
	return there
}

// atLink returns the link's reference, or "" if the link has not registered it.
func (r *router) atLink() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.linkRef
}

// leave removes the registration from the link's table and returns what must be cancelled.
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

// ended implements possession. The switch ends a dialogue, or RouteEnd has told it.
func (d *routeDialogue) ended() bool { return false }

// cancel cancels the registration at the link. If the link has not responded yet, its response finds
// that nobody wants the registration.
func (r *router) cancel() {
	if l, linkRef := r.leave(); linkRef != "" {
		still := func() bool { return l.routers.of(linkRef) == r } // the switch may have reused the reference
		l.releaseReference(r.session, uacsta.Encode(uacsta.RouteRegisterCancel{RouteRegisterReqID: linkRef}, uacsta.Edition3), still, func() { l.routers.leave(linkRef, r) })
	}
}

// routeRegisterCancel serves RouteRegisterCancel.
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

// routeing forwards the link's messages of routeing dialogues to clients. An error refuses a route
// request.
func (t *managedLink) routeing(ev *uacsta.Message) error {
	l, linkRef := t.now(), reference(ev.Text("crossRefIdentifier"))
	d, r := l.dialogues.of(linkRef), l.routers.of(ev.Text("routeRegisterReqID"))
	if r != nil && r.ended() {
		r = nil
	}
	switch ev.Name() {
	case uacsta.NameRouteRequest:
		if linkRef == "" { // no client could respond
			t.proxy.stats.StrayEvents.Add(1)
			return errDialogue
		}
		if d != nil { // the link has reused the reference
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

// pass sends the client a message of the dialogue.
func (d *routeDialogue) pass(ev *uacsta.Message) {
	ev.SetText("crossRefIdentifier", d.ref)
	ev.SetText("routeRegisterReqID", d.router.ref)
	d.router.session.translate(ev, "")
	d.router.session.deliver(delivery{msg: ev})
}

// dialogue opens a dialogue. It returns false if the client cannot take it.
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

// expire ends a dialogue without messages, which would keep its place for ever. The call takes its
// default route.
func (d *routeDialogue) expire() {
	if d.close(errRouteTime) {
		d.defaultRoute(errRouteTime)
	}
}

var errRouteTime = uacsta.Refuse(uacsta.Operation, uacsta.RouteingTimerExpired)

// close ends a dialogue for the client and reports whether it was open.
func (d *routeDialogue) close(why *uacsta.Error) bool {
	there := d.forget()
	if there {
		d.router.session.send(uacsta.RouteEnd{CrossRefIdentifier: d.ref, RouteRegisterReqID: d.router.ref, ErrorValue: why})
	}
	return there
}

// defaultRoute tells the link to take the default route. A link that leaves too many of these
// unanswered is reset, because its calls would wait for ever.
func (d *routeDialogue) defaultRoute(why *uacsta.Error) {
	if err := d.life.defaultRoute(d.linkRef, d.router.atLink(), why, maxLinkDialogues); errors.Is(err, errTableFull) {
		d.life.cut(errors.New("the switch does not answer RouteEnd"))
	}
}

// routeEnd is a RouteEnd of the core that is out.
type routeEnd struct{ ref string }

// ended implements possession. One RouteEnd for each dialogue is enough.
func (e *routeEnd) ended() bool { return false }

// defaultRoute tells the link to take the default route of a call, unless such a RouteEnd is out
// already. It returns errTableFull if that would exceed most.
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
	l.managed.proxy.spawn(func() { l.request(nil, msg, over) }) // defaultRoute may run inside a call of the link
	return nil
}

// routeAnswer serves RouteSelect, RouteReject and RouteEnd.
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
			if there := d.life.dialogues.of(d.linkRef); there != d && (there != nil || !last) { // the reference belongs to another call by now
				return errDialogue
			}
			return nil
		}, answer)
	})
}

// forget removes a dialogue from the tables and reports whether the client had it.
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

// endRouteing ends the session's registrations and dialogues. Their calls take the default route at
// once.
func (s *Session) endRouteing() {
	s.mu.Lock()
	routers, dialogues := s.routers, s.dialogues
	s.routers, s.dialogues = map[string]*router{}, map[string]*routeDialogue{}
	s.mu.Unlock()
	for _, d := range dialogues { // before the registrations, which they name
		d.forget()
		d.defaultRoute(nil)
	}
	for _, r := range routers {
		r.cancel()
	}
}

// cancelRouters cancels the registrations at a link that which selects and notifies their clients.
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

// withdraw cancels a registration that its client has no right on any more, and notifies both sides.
// Its calls take the default route.
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

// abort tells the client that the link will not ask it any more.
func (r *router) abort() {
	if l, linkRef := r.leave(); linkRef != "" {
		l.routers.leave(linkRef, r)
	}
	if r.forgotten() {
		r.session.send(uacsta.RouteRegisterAbort{RouteRegisterReqID: r.ref})
	}
}
