package phones

import (
	"context"
	"errors"
	"slices"
	"time"

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
	next    time.Time // not before then
	wait    time.Duration
	ref     string // of the monitor at the telephone, "" for none
}

const (
	cstaPatience = 5 * time.Second
	cstaWait     = 5 * time.Second // before the second try; doubled each time
	cstaPause    = time.Hour       // after a telephone has said that it cannot
	cstaRefuses  = 10 * time.Minute
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
		s.mu.Lock()
		wants := u.wants()
		for _, b := range u.bindings {
			c := &b.csta
			switch {
			case wants && c.client == nil && !c.opening && b.reachable(now) && now.After(c.next):
				c.opening = true
				s.group.Go(func() { s.openSession(u, b) })
			case !wants && c.client != nil:
				end = append(end, c.client)
				c.client, c.ref = nil, ""
			case c.client != nil && (c.ref != "") != u.monitored && !c.opening && !b.byNotify():
				c.opening = true
				s.group.Go(func() { s.follow(u, b) })
			}
		}
		s.mu.Unlock()
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
		s.spawn(func() { s.conversed(u, nil) })
	}
}

// conversed tells that a session has begun, or, with nil, ended.
func (s *Server) conversed(u *user, client conversation) {
	s.service(u)
	if s.desk != nil {
		s.desk.serves(u.Number, client)
	}
}

// openSession opens the session with one telephone: INVITE with RequestSystemStatus.
func (s *Server) openSession(u *user, b *binding) {
	ctx, cancel := context.WithTimeout(s.ctx, cstaPatience)
	defer cancel()
	if b.byNotify() {
		by := &notifier{s, u, b}
		s.mu.Lock()
		b.csta.opening, b.csta.client, b.csta.ref = false, by, "none" // it sends no events
		s.mu.Unlock()
		s.conversed(u, by)
		return
	}
	client, err := tr87.Open(ctx, s.ua, tr87.Dial{
		To: s.address(u.Number, b), Target: b.contact, Flow: b.flow, From: s.address("tr87proxy", b), Username: u.Name, Password: u.password(),
		Event: func(m *uacsta.Message) { s.fromTelephone(u, m) },
		Ended: func(reason error) {
			s.log.Info("uaCSTA session ended", "device", u.Number, "reason", reason)
			s.mu.Lock()
			b.csta.client, b.csta.ref, b.csta.next = nil, "", time.Now().Add(cstaWait)
			s.mu.Unlock()
			s.spawn(func() { s.conversed(u, nil) })
		},
	})
	s.mu.Lock()
	c := &b.csta
	c.opening = false
	gone := !slices.Contains(u.bindings, b) || s.closed
	switch {
	case err != nil:
		c.wait = min(max(2*c.wait, cstaWait), cstaRefuses)
		var refusal *sip.Refusal
		if errors.As(err, &refusal) && slices.Contains([]int{405, 415, 488, 501, 603, 606}, refusal.Response.Code()) {
			c.wait = cstaPause
		}
		c.next = time.Now().Add(c.wait)
	case !gone:
		c.client, c.wait = client, 0
	}
	s.mu.Unlock()
	switch {
	case err != nil:
		s.log.Info("no uaCSTA session with a telephone", "device", u.Number, "peer", b.peer(), "err", err)
	case gone:
		client.Close()
	default:
		s.log.Info("uaCSTA session", "device", u.Number, "peer", b.peer())
		s.conversed(u, client)
	}
}

// follow starts or stops the monitor at a telephone.
func (s *Server) follow(u *user, b *binding) {
	s.mu.Lock()
	client, ref, monitored := b.csta.client, b.csta.ref, u.monitored
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		b.csta.opening = false
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
		s.desk.event(u.Number, m)
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
	case "MicrophoneMuteEvent":
		told[uacsta.MicrophoneMuteEvent](s, u, m)
	case "SpeakerMuteEvent":
		told[uacsta.SpeakerMuteEvent](s, u, m)
	case "SpeakerVolumeEvent":
		told[uacsta.SpeakerVolumeEvent](s, u, m)
	case "DoNotDisturbEvent":
		var e uacsta.DoNotDisturbEvent
		err := m.Decode(&e)
		perform(uacsta.SetDoNotDisturb{Device: device, DoNotDisturbOn: e.DoNotDisturbOn}, err)
	case "ForwardingEvent":
		var e uacsta.ForwardingEvent
		err := m.Decode(&e)
		perform(uacsta.SetForwarding{Device: device, ForwardingType: e.ForwardingType, ActivateForward: e.ForwardStatus, ForwardDN: e.ForwardTo, RingCount: e.RingCount}, err)
	default:
		s.log.Debug("event of a telephone", "device", u.Number, "event", m.Name())
	}
}

// told passes an event of a telephone on to the switch as it is.
func told[T any](s *Server, u *user, m *uacsta.Message) {
	var event T
	if err := m.Decode(&event); err != nil {
		s.log.Info("an event of a telephone is not readable", "device", u.Number, "event", m.Name(), "err", err)
		return
	}
	s.sw.Told(u.Number, event)
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

var errTelephone = uacsta.Refuse(uacsta.SystemResourceAvailability, uacsta.ResourceOutOfService)

// Serve implements softswitch.Phones: a service on the telephone itself.
func (s *Server) Serve(number string, req *uacsta.Message, reply func(*uacsta.Message, error)) {
	client, own := s.session(number)
	if client == nil {
		reply(nil, errTelephone)
		return
	}
	asked := s.spawn(func() {
		ctx, cancel := context.WithTimeout(s.ctx, cstaPatience)
		defer cancel()
		m := req.Clone()
		m.SetNamespace(uacsta.NamespaceED3)
		m.SetText("device", own)
		reply(s.ask(ctx, number, client, m))
	})
	if !asked {
		reply(nil, errTelephone)
	}
}

// ask asks a telephone. A session whose connection has gone ends: there will be another.
func (s *Server) ask(ctx context.Context, number string, client conversation, req *uacsta.Message) (*uacsta.Message, error) {
	res, err := client.Request(ctx, req)
	var refusal *uacsta.Error
	if err == nil || errors.As(err, &refusal) {
		return res, err
	}
	s.log.Info("a telephone does not answer", "device", number, "service", req.Name(), "err", err)
	if errors.Is(err, sip.ErrConnectionLost) || errors.Is(err, sip.ErrUnanswered) || errors.Is(err, sip.ErrLocalBye) { // the way is gone, or the dialog
		s.mu.Lock()
		u := s.users[number]
		for _, b := range u.bindings {
			if b.csta.client == client {
				b.csta.client, b.csta.ref, b.csta.next = nil, "", time.Now().Add(cstaWait)
			}
		}
		s.mu.Unlock()
		client.Close()
		s.conversed(u, nil)
	}
	return nil, errTelephone
}

// lift makes a telephone answer the call that rings there, or take back the one that its
// user holds; false when no telephone of the user speaks uaCSTA.
func (s *Server) lift(number string, held bool) bool {
	client, own := s.session(number)
	if client == nil {
		return false
	}
	return s.spawn(func() {
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
