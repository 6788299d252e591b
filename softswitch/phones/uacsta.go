package phones

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/tr87proxy/tr87proxy/internal/share"
	"github.com/tr87proxy/tr87proxy/sip"
	"github.com/tr87proxy/tr87proxy/tr87"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

// uaCSTA: a telephone that is a switching function itself, in a TR/87 dialog that we open
// to its registered contact. Calls are the switch's; the telephone is asked for what only it
// can do: answer, take back, mute, volume.

// When sessions with telephones are opened.
const (
	Never     = "never"
	Always    = "always"
	Monitored = "monitored" // as long as some client monitors the extension
)

// csta is the session with one telephone. Its fields are guarded by the server's lock.
type csta struct {
	client  conversation // nil: none
	opening bool
	asking  bool      // the telephone is asked to start or stop the monitor
	next    time.Time // not before then
	wait    time.Duration
	ref     string // of the monitor at the telephone, "" for none
}

const (
	cstaPatience = 5 * time.Second
	cstaWait     = 5 * time.Second // before the second try; doubled each time
	cstaPause    = time.Hour       // after a telephone has said that it cannot
	cstaRefuses  = 10 * time.Minute
	tellPatience = 2 * time.Second        // so long an event waits for the answer to the request that is out
	mutePatience = 100 * time.Millisecond // as long where the last such request was not answered
	latePatience = 32 * time.Second       // so late an answer to MonitorStart may come
	maxMute      = 100                    // services that a telephone has not answered
)

// wants reports whether a session with the user's telephones is to be open. Callers hold
// the server's lock.
func (u *user) wants() bool { return u.UACSTA == Always || u.UACSTA == Monitored && u.monitored }

// converse opens and ends sessions with telephones.
func (s *Server) converse(now time.Time) {
	for _, u := range s.users {
		if u.UACSTA == "" || u.UACSTA == Never {
			continue
		}
		var end []conversation
		var then []func()
		s.mu.Lock()
		wants := u.wants()
		for _, b := range u.bindings {
			c := &b.csta
			switch {
			case wants && c.client == nil && !c.opening && b.reachable(now) && now.After(c.next):
				c.opening = true
				then = append(then, func() { s.spawn(func() { s.openSession(u, b) }) })
			case !wants && c.client != nil:
				end = append(end, c.client)
				c.client, c.ref = nil, ""
			case c.client != nil && (c.ref != "") != u.monitored && !c.asking && !b.byNotify():
				c.asking = true
				then = append(then, func() { u.asks.must(func() { s.monitor(u, b) }) })
			}
		}
		s.mu.Unlock()
		for _, do := range then {
			do()
		}
		for _, client := range end {
			client.Close()
		}
		if len(end) > 0 {
			s.service(u)
		}
	}
}

// left ends the sessions with telephones that are not registered any more.
func (s *Server) left(u *user, before []*binding) {
	var end []conversation
	s.mu.Lock()
	for _, b := range before {
		if b.csta.client != nil && !slices.Contains(u.bindings, b) {
			end = append(end, b.csta.client)
			b.csta.client = nil
		}
	}
	s.mu.Unlock()
	for _, client := range end {
		client.Close()
	}
	if len(end) > 0 {
		s.spawn(func() { s.conversed(u) })
	}
}

// hangUp ends a session with one of a user's telephones, or, with nil, all of them: there will be
// others.
func (s *Server) hangUp(u *user, which conversation) {
	var end []conversation
	s.mu.Lock()
	for _, b := range u.bindings {
		if c := &b.csta; c.client != nil && (which == nil || c.client == which) {
			end = append(end, c.client)
			c.client, c.ref, c.next = nil, "", time.Now().Add(cstaWait)
		}
	}
	s.mu.Unlock()
	for _, client := range end {
		client.Close()
	}
	if len(end) > 0 {
		s.conversed(u)
	}
}

// conversed tells that a session with a user's telephones has begun, or ended.
func (s *Server) conversed(u *user) {
	s.service(u)
	if s.desk != nil {
		u.asks.must(func() { s.desk.serves(u) })
	}
}

// session is one try to have a session with a telephone: it may have ended before its beginning is
// known. Its fields are guarded by the server's lock.
type session struct {
	client conversation
	over   bool
}

// ended takes the end of a session. There may be another by now.
func (s *Server) ended(u *user, b *binding, one *session, reason error) {
	s.mu.Lock()
	one.over = true
	if one.client != nil && b.csta.client == one.client {
		b.csta.client, b.csta.ref, b.csta.next = nil, "", time.Now().Add(cstaWait)
	}
	s.mu.Unlock()
	s.log.Info("uaCSTA session ended", "device", u.Number, "reason", reason)
	s.spawn(func() { s.conversed(u) })
}

// openSession opens the session with one telephone: INVITE with RequestSystemStatus.
func (s *Server) openSession(u *user, b *binding) {
	ctx, cancel := context.WithTimeout(s.ctx, cstaPatience)
	defer cancel()
	defer s.tried(u, b)
	if b.byNotify() {
		by := &notifier{s, u, b}
		s.mu.Lock()
		b.csta.client, b.csta.ref = by, "none" // it sends no events
		s.mu.Unlock()
		s.conversed(u)
		return
	}
	one := &session{}
	client, err := tr87.Open(ctx, s.ua, tr87.Dial{
		To: s.address(u.Number, b), Target: b.contact, Flow: b.flow, From: s.address("tr87proxy", b), Username: u.Name, Password: u.password(),
		Event: func(m *uacsta.Message) { s.fromTelephone(u, m) },
		Ended: func(reason error) { s.ended(u, b, one, reason) },
	})
	s.mu.Lock()
	c := &b.csta
	gone := !slices.Contains(u.bindings, b) || s.closed || one.over
	switch {
	case err != nil:
		c.wait = min(max(2*c.wait, cstaWait), cstaRefuses)
		var refusal *sip.Refusal
		if errors.As(err, &refusal) && slices.Contains([]int{405, 415, 488, 501, 603, 606}, refusal.Response.Code()) {
			c.wait = cstaPause
		}
		c.next = time.Now().Add(c.wait)
	case gone:
		c.next = time.Now().Add(cstaWait)
	default:
		c.client, one.client, c.wait = client, client, 0
	}
	s.mu.Unlock()
	switch {
	case err != nil:
		s.log.Info("no uaCSTA session with a telephone", "device", u.Number, "peer", b.peer(), "err", err)
	case gone:
		client.Close()
	default:
		s.log.Info("uaCSTA session", "device", u.Number, "peer", b.peer())
		s.conversed(u)
	}
}

// tried notes that a session is there, or could not be opened.
func (s *Server) tried(u *user, b *binding) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if b.csta.opening = false; u.tried != nil {
		close(u.tried)
		u.tried = nil
	}
}

// monitor starts or stops the monitor at a telephone.
func (s *Server) monitor(u *user, b *binding) {
	s.mu.Lock()
	client, ref, monitored := b.csta.client, b.csta.ref, u.monitored
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		b.csta.asking = false
		s.mu.Unlock()
	}()
	if client == nil {
		return
	}
	ctx, cancel := context.WithTimeout(s.ctx, cstaPatience)
	defer cancel()
	if !monitored {
		_, err := client.Request(ctx, uacsta.Encode(uacsta.MonitorStop{MonitorCrossRefID: ref}, uacsta.Edition3))
		s.log.Debug("monitor at a telephone stopped", "device", u.Number, "err", err)
		ref = ""
	} else {
		object := uacsta.Dev(s.address(u.Number, b))
		res, err := client.Request(ctx, uacsta.Encode(uacsta.MonitorStart{MonitorObject: uacsta.MonitorObject{DeviceObject: &object}}, uacsta.Edition3))
		if err != nil {
			s.log.Info("a telephone takes no monitor", "device", u.Number, "err", err)
			ref = "none" // it is not asked again in this session
		} else {
			ref = res.CrossRef()
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if b.csta.client == client {
		b.csta.ref = ref
	}
}

// fromTelephone takes an event of a telephone. Its calls are known from its legs.
func (s *Server) fromTelephone(u *user, m *uacsta.Message) {
	if s.desk != nil {
		s.desk.event(u, m)
		return
	}
	perform := func(service any, err error) {
		if err == nil {
			err = s.sw.Perform(service)
		}
		if err != nil {
			s.log.Info("a feature of a telephone is refused", "device", u.Number, "event", m.Name(), "err", err)
		}
	}
	device := uacsta.Dev(u.Number)
	switch m.Name() {
	case uacsta.NameMicrophoneMuteEvent:
		told[uacsta.MicrophoneMuteEvent](s, u, m)
	case uacsta.NameSpeakerMuteEvent:
		told[uacsta.SpeakerMuteEvent](s, u, m)
	case uacsta.NameSpeakerVolumeEvent:
		told[uacsta.SpeakerVolumeEvent](s, u, m)
	case uacsta.NameDoNotDisturbEvent:
		var e uacsta.DoNotDisturbEvent
		err := m.Decode(&e)
		perform(uacsta.SetDoNotDisturb{Device: device, DoNotDisturbOn: e.DoNotDisturbOn}, err)
	case uacsta.NameForwardingEvent:
		var e uacsta.ForwardingEvent
		err := m.Decode(&e)
		perform(uacsta.SetForwarding{Device: device, ForwardingType: e.ForwardingType, ActivateForward: e.ForwardStatus, ForwardDN: e.ForwardTo, RingCount: e.RingCount}, err)
	default:
		s.log.Debug("event of a telephone", "device", u.Number, "event", m.Name())
	}
}

// told passes an event of a telephone on to the switch as it is.
func told[T uacsta.EventMessage](s *Server, u *user, m *uacsta.Message) {
	var event T
	if err := m.Decode(&event); err != nil {
		s.log.Info("an event of a telephone is not readable", "device", u.Number, "event", m.Name(), "err", err)
		return
	}
	s.sw.PhysicalEvent(u.Number, event)
}

// session returns a session with one of the user's telephones, nil for none, and how the
// telephone calls itself.
func (s *Server) session(number string) (conversation, string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if u := s.users[number]; u != nil {
		for _, b := range u.bindings {
			if b.csta.client != nil {
				return b.csta.client, s.address(number, b)
			}
		}
	}
	return nil, ""
}

// awaitSession waits, where a user has no session, for those that are being opened: until one is
// there, or all have failed.
func (s *Server) awaitSession(ctx context.Context, u *user) {
	for {
		s.mu.Lock()
		if !slices.ContainsFunc(u.bindings, func(b *binding) bool { return b.csta.opening }) || slices.ContainsFunc(u.bindings, func(b *binding) bool { return b.csta.client != nil }) {
			s.mu.Unlock()
			return
		}
		if u.tried == nil {
			u.tried = make(chan struct{})
		}
		tried := u.tried
		s.mu.Unlock()
		select {
		case <-tried:
		case <-ctx.Done():
			return
		}
	}
}

var errTelephone = uacsta.Refuse(uacsta.SystemResourceAvailability, uacsta.ResourceOutOfService)

// Serve implements softswitch.Phones: a service on the telephone itself.
func (s *Server) Serve(number string, req *uacsta.Message, reply func(*uacsta.Message, error)) {
	u := s.users[number]
	if u == nil {
		reply(nil, errTelephone)
		return
	}
	m := req.Clone()
	s.request(u, func(own string) (*uacsta.Message, error) {
		m.SetNamespace(uacsta.NamespaceED3)
		m.SetText("device", own)
		return m, nil
	}, reply)
}

var errManyAsked = uacsta.Refuse(uacsta.SystemResourceAvailability, uacsta.OutstandingReqLimitExceeded)

// request asks one of a user's telephones, after all that it was asked before; write makes the
// request when it is its turn, for a telephone that calls itself so. A session that is being opened
// is waited for. reply is called once, within about cstaPatience.
func (s *Server) request(u *user, write func(own string) (*uacsta.Message, error), reply func(*uacsta.Message, error)) {
	until := time.Now().Add(cstaPatience)
	taken := u.asks.do(func() {
		var res *uacsta.Message
		var err error = errTelephone
		defer func() { reply(res, err) }() // after a panic, too
		ctx, cancel := context.WithDeadline(s.ctx, until)
		defer cancel()
		s.awaitSession(ctx, u)
		if s.desk != nil {
			s.desk.serves(u)
		}
		client, own := s.session(u.Number)
		if client == nil {
			return
		}
		m, fault := write(own)
		if fault != nil {
			err = fault
			return
		}
		res, err = s.ask(until, u, client, m)
	})
	if !taken {
		reply(nil, errManyAsked)
	}
}

// asked is a request that is out to a telephone.
type asked struct {
	client conversation
	req    *uacsta.Message
	answer chan cstaAnswer // takes the answer as long as somebody waits for it
	given  chan struct{}   // closed when nobody does any more
}

type cstaAnswer struct {
	res *uacsta.Message
	err error
}

// ask asks a telephone, and waits for its answer until then. What the telephone tells meanwhile waits,
// too: it may come of the request. It does not wait for long: the request then has no answer, and if it
// has one yet, it is too late. A session whose connection has gone ends: there will be another. Only
// tasks of the telephone's queue ask.
func (s *Server) ask(until time.Time, u *user, client conversation, req *uacsta.Message) (*uacsta.Message, error) {
	ctx, cancel := context.WithDeadline(s.ctx, until)
	defer cancel()
	if ctx.Err() != nil { // it waited too long for those before it
		return nil, errTelephone
	}
	name := req.Name()
	out, end := ctx, cancel
	if name == uacsta.NameMonitorStart { // it opens something, which is to be ended if nobody knows of it
		if u.stray != nil {
			u.stray()
		}
		out, end = context.WithDeadline(s.ctx, until.Add(latePatience))
		u.stray = end
	}
	one := &asked{client, req, make(chan cstaAnswer), make(chan struct{})}
	defer close(one.given)
	if !s.spawn(func() { defer end(); s.await(out, u, one) }) {
		end()
		return nil, errTelephone
	}
	a, answered := s.overhear(ctx, u, one)
	if !answered || errors.Is(a.err, context.DeadlineExceeded) {
		s.log.Info("a telephone does not answer", "device", u.Number, "service", name)
		if u.mute == nil || len(u.mute) >= maxMute {
			u.mute = map[string]bool{}
		}
		u.mute[name] = true
		return nil, errTelephone
	}
	delete(u.mute, name)
	var refusal *uacsta.Error
	if a.err == nil || errors.As(a.err, &refusal) {
		return a.res, a.err
	}
	s.log.Info("a telephone does not answer", "device", u.Number, "service", name, "err", a.err)
	if errors.Is(a.err, sip.ErrConnectionLost) || errors.Is(a.err, sip.ErrUnanswered) || errors.Is(a.err, sip.ErrLocalBye) { // the way is gone, or the dialog
		s.hangUp(u, client)
	}
	return nil, errTelephone
}

// overhear waits for the answer to a request, as long as that may take.
func (s *Server) overhear(ctx context.Context, u *user, one *asked) (a cstaAnswer, answered bool) {
	var enough <-chan time.Time // for the events that wait
	for {
		select {
		case a = <-one.answer:
			return a, true
		case <-u.asks.pressed:
			if enough == nil && u.asks.presses() {
				patience := tellPatience
				if u.mute[one.req.Name()] {
					patience = mutePatience
				}
				enough = time.After(patience)
			}
		case <-enough:
			return a, false
		case <-ctx.Done():
			return a, false
		}
	}
}

// await takes the answer to a request.
func (s *Server) await(ctx context.Context, u *user, one *asked) {
	a := cstaAnswer{err: errTelephone}
	defer func() {
		select {
		case one.answer <- a:
		case <-one.given:
			s.late(u, one, a.res)
		}
	}()
	defer share.Survive(s.log, "asking a telephone", func(error) { s.hangUp(u, one.client) })
	a.res, a.err = one.client.Request(ctx, one.req)
}

// late ends a monitor of which a telephone has told when nobody waited any more.
func (s *Server) late(u *user, one *asked, res *uacsta.Message) {
	if res == nil || one.req.Name() != uacsta.NameMonitorStart || s.desk == nil {
		return
	}
	ref := res.CrossRef()
	u.asks.must(func() {
		client, _ := s.session(u.Number)
		if client != one.client || len(s.desk.watched(u.Number, ref)) > 0 { // it is gone, or in use
			return
		}
		_, err := s.ask(time.Now().Add(cstaPatience), u, client, uacsta.Encode(uacsta.MonitorStop{MonitorCrossRefID: ref}, uacsta.Edition3))
		s.log.Info("a monitor that a telephone has started too late is stopped", "device", u.Number, "err", err)
	})
}

// lift makes a telephone answer the call that rings there, or take back the one that its
// user holds; false when no telephone of the user speaks uaCSTA.
func (s *Server) lift(number string, held bool) bool {
	u := s.users[number]
	client, own := s.session(number)
	if client == nil {
		return false
	}
	return u.asks.do(func() {
		ctx, cancel := context.WithTimeout(s.ctx, cstaPatience)
		defer cancel()
		if err := lift(ctx, client, own, held); err != nil {
			s.log.Info("a telephone does not answer by uaCSTA", "device", number, "err", err)
		}
	})
}

var errNothingToLift = errors.New("the telephone knows of no call that rings or is on hold")

func lift(ctx context.Context, client conversation, own string, held bool) error {
	if _, blind := client.(*notifier); blind { // the telephone decides which call is meant
		var service any = uacsta.AnswerCall{CallToBeAnswered: uacsta.Conn("", own)}
		if held {
			service = uacsta.RetrieveCall{CallToBeRetrieved: uacsta.Conn("", own)}
		}
		_, err := client.Request(ctx, uacsta.Encode(service, uacsta.Edition3))
		return err
	}
	res, err := client.Request(ctx, uacsta.Encode(uacsta.SnapshotDevice{SnapshotObject: uacsta.Dev(own)}, uacsta.Edition3))
	if err != nil {
		return err
	}
	var snapshot uacsta.SnapshotDeviceResponse
	if err := res.Decode(&snapshot); err != nil {
		return err
	}
	if list := snapshot.CrossRefIDorSnapshotData.SnapshotData; list != nil {
		for _, c := range list.SnapshotDeviceResponseInfo {
			var service any
			switch states := c.LocalCallState.CompoundCallState; {
			case slices.Contains(states, uacsta.Alerting):
				service = uacsta.AnswerCall{CallToBeAnswered: c.ConnectionIdentifier}
			case slices.Contains(states, uacsta.Hold):
				service = uacsta.RetrieveCall{CallToBeRetrieved: c.ConnectionIdentifier}
			default:
				continue
			}
			_, err := client.Request(ctx, uacsta.Encode(service, uacsta.Edition3))
			return err
		}
	}
	return errNothingToLift
}
