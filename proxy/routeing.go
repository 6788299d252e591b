package proxy

import (
	"maps"
	"slices"
	"time"

	"github.com/tr87proxy/tr87proxy/policy"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

// Routeing (ECMA-269 clause 20): a client registers for a routeing device, the link
// asks where its calls are to go, the client says. Identifiers of registrations
// and dialogues are the core's own towards the client.

// router is a client's registration at a link.
type router struct {
	session  *Session
	trunk    *trunk
	register uacsta.RouteRegister
	device   policy.Number // that it is for; Whole for all
	ref      string        // the client's
	linkRef  string        // the link's; guarded by Proxy.mu
	open     int           // dialogues; guarded by Session.mu
}

// routeDialogue is a question of the link that a client has.
type routeDialogue struct {
	router       *router
	ref, linkRef string
	limit        *time.Timer // until somebody says something in it
}

const (
	maxDialogues     = 1000            // of one registration
	maxLinkDialogues = 10000           // of one link
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
	r := &router{session: s, ref: s.proxy.refs.next(), device: policy.Whole}
	if err == nil {
		err = req.Decode(&r.register)
	}
	if err != nil {
		answer(nil, err)
		return
	}
	r.trunk = s.homeTrunk()
	if len(o.subjects) > 0 {
		r.device = o.subjects[0]
		r.trunk = s.proxy.route(r.device)
	} else if !r.allowed() {
		answer(nil, uacsta.Refuse(uacsta.Operation, uacsta.PrivilegeViolationSpecifiedDevice))
		return
	}
	if r.trunk == nil {
		answer(nil, uacsta.Refuse(uacsta.Operation, uacsta.InvalidDeviceID))
		return
	}
	s.recorded(&o, answer, func(answer answerer) { r.enter(req, answer) })
}

// enter notes the registration, and asks the link for it.
func (r *router) enter(req *uacsta.Message, answer answerer) {
	s := r.session
	s.mu.Lock()
	full := len(s.routers) >= maxAssociations
	if !s.closed && !full {
		s.routers[r.ref] = r
	}
	s.mu.Unlock()
	if full {
		answer(nil, uacsta.Refuse(uacsta.SubscribedResourceAvailability, uacsta.ObjectRegistrationLimitExceeded))
		return
	}
	r.trunk.request(req, func(res *uacsta.Message, err error) {
		if err == nil && !r.adopt(reference(res.Text("routeRegisterReqID"))) {
			err = errLinkDown
		}
		if err != nil {
			r.forgotten()
			answer(nil, err)
			return
		}
		res.SetText("routeRegisterReqID", r.ref)
		answer(res, nil)
	})
}

// allowed reports whether the client may decide where these calls go.
func (r *router) allowed() bool {
	return r.session.may(policy.Control, r.device)
}

// adopt notes what the link calls the registration; false when the session is over,
// or has cancelled it meanwhile.
func (r *router) adopt(linkRef string) bool {
	s, p := r.session, r.session.proxy
	p.mu.Lock()
	r.linkRef = linkRef
	r.trunk.routers[linkRef] = r
	p.mu.Unlock()
	s.mu.Lock()
	_, wanted := s.routers[r.ref]
	s.mu.Unlock()
	wanted = wanted && r.allowed()
	if !wanted {
		go r.cancel() // we may be inside the link's own call
	}
	return wanted
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

// atLink returns what the link calls the registration.
func (r *router) atLink() string {
	r.session.proxy.mu.Lock()
	defer r.session.proxy.mu.Unlock()
	return r.linkRef
}

// cancel ends the registration at the link.
func (r *router) cancel() {
	p := r.session.proxy
	p.mu.Lock()
	linkRef := r.linkRef
	if r.trunk.routers[linkRef] == r {
		delete(r.trunk.routers, linkRef)
	}
	p.mu.Unlock()
	if linkRef == "" {
		return // the link has not answered yet: adopt will see that nobody wants it
	}
	r.trunk.insist(uacsta.Encode(uacsta.RouteRegisterCancel{RouteRegisterReqID: linkRef}, uacsta.Edition3), func() {})
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

// routeing passes what the link says of a routeing dialogue to the client.
func (t *trunk) routeing(ev *uacsta.Message) {
	p := t.proxy
	linkRef := ev.Text("crossRefIdentifier")
	p.mu.Lock()
	d := t.dialogues[linkRef]
	r := t.routers[ev.Text("routeRegisterReqID")]
	p.mu.Unlock()
	switch ev.Name() {
	case "RouteRequest":
		if d != nil { // the link uses the reference for another one
			d.over(nil)
		}
		if r == nil || !r.dialogue(reference(linkRef), ev) {
			t.end(linkRef, ev.Text("routeRegisterReqID"), nil)
		}
		return
	case "RouteRegisterAbort":
		if r != nil {
			r.aborted()
		}
		return
	}
	if d == nil {
		p.stats.StrayEvents.Add(1)
		return
	}
	d.limit.Reset(dialogueTime)
	if ev.Name() == "RouteEnd" {
		d.forget()
	}
	d.pass(ev)
}

// pass gives the client a message of the dialogue.
func (d *routeDialogue) pass(ev *uacsta.Message) {
	ev.SetText("crossRefIdentifier", d.ref)
	ev.SetText("routeRegisterReqID", d.router.ref)
	d.router.session.translate(ev, "")
	d.router.session.deliver(delivery{msg: ev})
}

// dialogue begins a dialogue; false when the client cannot take it.
func (r *router) dialogue(linkRef string, ev *uacsta.Message) bool {
	s, p := r.session, r.session.proxy
	d := &routeDialogue{router: r, ref: p.refs.next(), linkRef: linkRef}
	p.mu.Lock()
	takes := linkRef != "" && len(r.trunk.dialogues) < maxLinkDialogues
	if takes {
		d.limit = time.AfterFunc(dialogueTime, d.expire)
		r.trunk.dialogues[linkRef] = d
	}
	p.mu.Unlock()
	if !takes {
		return false
	}
	s.mu.Lock()
	if takes = !s.closed && r.open < maxDialogues; takes {
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
	if d.over(errRouteTime) {
		d.router.trunk.end(d.linkRef, d.router.atLink(), errRouteTime)
	}
}

var errRouteTime = uacsta.Refuse(uacsta.Operation, uacsta.RouteingTimerExpired)

// over ends a dialogue for the client, and reports whether it had not ended before.
func (d *routeDialogue) over(why *uacsta.Error) bool {
	there := d.forget()
	if there {
		d.router.session.send(uacsta.RouteEnd{CrossRefIdentifier: d.ref, RouteRegisterReqID: d.router.ref, ErrorValue: why})
	}
	return there
}

// end tells the link that nobody decides: the call takes its default way.
func (t *trunk) end(linkRef, registration string, why *uacsta.Error) {
	msg := uacsta.Encode(uacsta.RouteEnd{CrossRefIdentifier: linkRef, RouteRegisterReqID: registration, ErrorValue: why}, uacsta.Edition3)
	go t.request(msg, func(*uacsta.Message, error) {}) // we may be inside the link's own call
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
		if req.Name() == "RouteEnd" {
			d.forget()
		}
		req.SetText("crossRefIdentifier", d.linkRef)
		req.SetText("routeRegisterReqID", d.router.atLink())
		d.router.trunk.request(req, answer)
	})
}

// forget takes a dialogue out of the tables, and reports whether the client had it.
func (d *routeDialogue) forget() bool {
	s, t := d.router.session, d.router.trunk
	s.mu.Lock()
	_, there := s.dialogues[d.ref]
	if there {
		delete(s.dialogues, d.ref)
		d.router.open--
	}
	s.mu.Unlock()
	s.proxy.mu.Lock()
	defer s.proxy.mu.Unlock()
	d.limit.Stop()
	if t.dialogues[d.linkRef] == d {
		delete(t.dialogues, d.linkRef)
	}
	return there
}

// endRouteing ends the session's registrations and dialogues: calls take their
// default way at once.
func (s *Session) endRouteing() {
	s.mu.Lock()
	routers, dialogues := s.routers, s.dialogues
	s.routers, s.dialogues = map[string]*router{}, map[string]*routeDialogue{}
	s.mu.Unlock()
	for _, r := range routers {
		r.cancel()
	}
	for _, d := range dialogues {
		d.forget()
		d.router.trunk.end(d.linkRef, d.router.atLink(), nil)
	}
}

// endDialogues ends the dialogues of a link that is gone.
func (t *trunk) endDialogues() {
	t.proxy.mu.Lock()
	dialogues := t.dialogues
	t.dialogues = map[string]*routeDialogue{}
	t.proxy.mu.Unlock()
	for _, d := range dialogues {
		d.over(errLinkDown)
	}
}

// registerAgain renews the registrations after the link came back. Clients keep
// their identifiers.
func (t *trunk) registerAgain() {
	t.proxy.mu.Lock()
	routers := t.routers
	t.routers = map[string]*router{}
	t.proxy.mu.Unlock()
	for _, r := range routers {
		t.request(uacsta.Encode(r.register, uacsta.Edition3), func(res *uacsta.Message, err error) {
			if err != nil {
				r.aborted()
				return
			}
			r.adopt(reference(res.Text("routeRegisterReqID")))
		})
	}
}

// endRouters ends all registrations at a link that is not there any more.
func (t *trunk) endRouters() {
	t.proxy.mu.Lock()
	routers := slices.Collect(maps.Values(t.routers))
	t.proxy.mu.Unlock()
	for _, r := range routers {
		r.aborted()
	}
}

// aborted tells the client that the link does not ask it any more.
func (r *router) aborted() {
	p := r.session.proxy
	p.mu.Lock()
	if r.trunk.routers[r.linkRef] == r {
		delete(r.trunk.routers, r.linkRef)
	}
	p.mu.Unlock()
	if r.forgotten() {
		r.session.send(uacsta.RouteRegisterAbort{RouteRegisterReqID: r.ref})
	}
}
