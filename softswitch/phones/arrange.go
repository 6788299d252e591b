package phones

import (
	"cmp"
	"maps"
	"slices"

	"github.com/tr87proxy/tr87proxy/internal/audio"
	"github.com/tr87proxy/tr87proxy/internal/tasks"
	"github.com/tr87proxy/tr87proxy/softswitch"
	"github.com/tr87proxy/tr87proxy/softswitch/media"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

// call is the last state of a call that the switch reported, and its room.
type call struct {
	softswitch.View
	room       *media.Room
	heard      string      // what is heard in the background
	clip       *audio.Clip // likewise
	background media.Source
	plays      map[int]interface{ Stop() } // by message
	voice      tasks.Queue                 // tasks for its voice, which may wait for the disk
}

func (c *call) close() {
	if c.room != nil {
		c.room.Close()
	}
}

// apply makes telephones and voice follow the states of calls. kicked lists calls to apply again in their last
// state. The caller runs the returned functions without the lock.
func (s *Server) apply(views []softswitch.View, kicked map[string]bool) (then []func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, v := range views {
		delete(kicked, v.Call)
	}
	for id := range kicked {
		if c := s.calls[id]; c != nil {
			views = append(views, c.View)
		}
	}
	devices, then := s.note(views)
	for _, device := range slices.Sorted(maps.Keys(devices)) {
		then = append(then, s.arrange(device)...)
	}
	for _, v := range views {
		c := s.calls[v.Call]
		if c == nil {
			continue
		}
		if len(v.Parties) == 0 {
			delete(s.calls, v.Call)
			then = append(then, func() { c.voice.Must(c.close) })
			continue
		}
		s.answerCallers(c)
		s.report(c)
		s.join(c)
	}
	return then
}

// note stores the states that the switch reported, and returns the real devices involved, and what is to be done without
// the lock. Callers hold the lock.
func (s *Server) note(views []softswitch.View) (devices map[string]bool, then []func()) {
	devices = map[string]bool{}
	before := map[int]bool{}
	for _, v := range views {
		if c := s.calls[v.Call]; c != nil {
			for _, p := range c.Parties {
				if now := s.parties[p.Key]; now != nil && now.call == v.Call {
					before[p.Key] = true
				}
			}
		}
	}
	for _, v := range views {
		c := s.calls[v.Call]
		if c == nil {
			c = &call{plays: map[int]interface{ Stop() }{}, voice: s.queue("the voice of a call")}
			s.calls[v.Call] = c
		}
		c.View = v
		for _, p := range v.Parties {
			delete(before, p.Key)
			one, first := &party{Party: p, call: v.Call}, s.parties[p.Key] == nil
			s.parties[p.Key], s.line(p.Device).parties[p.Key] = one, one
			s.changed[p.Device] = true
			if p.Phone {
				devices[p.Device] = true
			}
			l, ok := p.Leg.(*leg)
			switch {
			case !ok || !first || s.legs[p.Key] != nil:
			case l.key == 0 && !l.ended:
				l.key = p.Key
				s.legs[p.Key] = l
			case !s.takesBack(l, &p): // its telephone has left, perhaps before the switch reported the connection
				s.leaving[p.Key] = true
				then = append(then, func() { s.sw.HungUp(p.Device, p.Key, "") })
			}
		}
	}
	for key := range before { // parties that have left
		p := s.parties[key]
		if p.Phone {
			devices[p.Device] = true
		}
		s.changed[p.Device] = true
		if ref := s.referrals[key]; ref != nil {
			s.becomes(ref, 487)
		}
		delete(s.parties, key)
		delete(s.leaving, key)
		delete(s.line(p.Device).parties, key)
	}
	return devices, then
}

// arrange assigns a device's connections to its legs. A telephone normally has one leg, which
// carries the active connection. A telephone whose user has made a second call has two, and the
// one that the user listens to carries the active connection. The caller holds the lock, and runs
// the returned functions without it.
func (s *Server) arrange(device string) (then []func()) {
	var own []*party
	for _, p := range s.line(device).parties {
		if p.Phone && !p.Refused && !s.leaving[p.Key] {
			own = append(own, p)
		}
	}
	slices.SortFunc(own, func(a, b *party) int { return cmp.Compare(a.Key, b.Key) })
	if s.trunks[device] == nil {
		s.swap(device, own)
	}
	legs := 0
	for l := range s.line(device).legs {
		key := l.key
		if s.legs[key] != l {
			continue
		}
		if p := s.parties[key]; p != nil && !p.Refused {
			legs++
			continue
		}
		delete(s.legs, key)
		if l.rejected = true; l.referral != nil {
			continue
		}
		why := endNormal
		if s.answeredElsewhere(l) {
			why = endElsewhere
		}
		then = append(then, func() { l.must(func() { l.hangUp(why) }) })
	}
	for _, p := range own {
		l := s.legs[p.Key]
		switch {
		case l == nil && p.State == uacsta.Hold && legs == 0 && s.trunks[device] == nil:
			key := p.Key
			then = append(then, func() { s.sw.Recall(device, key) })
		case l == nil && (p.Rings || p.State == uacsta.Connected && s.trunks[device] == nil): // who has called in over a trunk is never called
			then = append(then, s.call(p))
		case l == nil:
		case p.State == uacsta.Alerting || p.State == uacsta.Initiated:
			if p.Auto && !l.auto { // it rings already
				l.queue(l.talk)
			}
		case !l.up:
		case p.State == uacsta.Hold && !l.held:
			l.follow(p, func() { l.offer(media.SendOnly) })
		case p.State == uacsta.Connected:
			if l.held { // the switch has retrieved it
				l.follow(p, l.resume)
			} else {
				l.follow(p, func() { l.offer(media.SendRecv) })
			}
		}
	}
	return then
}

// follow queues a task for the state of a connection. It is dropped if the state has changed: a task before it may
// have told the switch what the user does. Callers hold the lock.
func (l *leg) follow(p *party, task func()) {
	device, key, state := p.Device, p.Key, p.State
	l.queue(func() {
		if l.server.sw.State(device, key) == state {
			task()
		}
	})
}

// swap moves legs to the connections that need them. Callers hold the lock.
func (s *Server) swap(device string, own []*party) {
	free := func(other *party) *leg { // a leg that is not held and carries no active connection
		for l := range s.line(device).legs {
			p := s.parties[l.key]
			if s.legs[l.key] == l && l.up && !l.held && !l.ended && (p == nil || p.Refused || other.State == uacsta.Connected && p.State == uacsta.Hold) {
				return l
			}
		}
		return nil
	}
	give := func(p *party, l *leg) {
		old := s.legs[p.Key]
		delete(s.legs, l.key)
		if old != nil {
			old.key = l.key
			s.legs[old.key] = old
		}
		l.key = p.Key
		s.legs[p.Key] = l
	}
	for _, p := range own {
		if l := s.legs[p.Key]; p.State == uacsta.Connected && (l == nil || l.up && l.held) {
			if l := free(p); l != nil {
				give(p, l)
			}
		}
	}
	for _, p := range own {
		if p.State == uacsta.Hold && s.legs[p.Key] == nil {
			if l := free(p); l != nil {
				give(p, l)
			}
		}
	}
}

// answeredElsewhere reports whether a leg stops ringing because another device has answered
// the call. Its telephone must not show a missed call then.
func (s *Server) answeredElsewhere(l *leg) bool {
	c := s.calls[l.rang]
	if l.up || c == nil {
		return false
	}
	talking := 0
	for _, p := range c.Parties {
		if p.State == uacsta.Connected && !p.Rings {
			talking++
		}
	}
	return talking > 1
}

// call returns a function that opens a leg for a connection, and rings.
func (s *Server) call(p *party) func() {
	v, one := s.calls[p.call].View, p.Party
	if one.State == uacsta.Connected && s.trunks[one.Device] == nil {
		one.Auto = true // it is in the call already
	}
	return func() {
		address := s.whereabouts(one.Device)
		l, err := s.newLeg(one.Device, s.trunks[one.Device], address)
		if err != nil {
			s.log.Error("could not open a leg for a call", "device", one.Device, "err", err)
			s.sw.Declined(one.Device, one.Key, uacsta.CauseResourcesNotAvailable)
			return
		}
		s.mu.Lock()
		l.key = one.Key
		if s.legs[one.Key] != nil || s.parties[one.Key] == nil {
			s.mu.Unlock()
			l.dispose()
			return
		}
		s.legs[one.Key] = l
		l.auto, l.rang = one.Auto, v.Call
		l.queue(func() { l.ring(v, one) })
		s.mu.Unlock()
	}
}

// answerCallers sends responses to the telephones that have placed calls.
func (s *Server) answerCallers(c *call) {
	for _, p := range c.Parties {
		l := s.legs[p.Key]
		if l == nil || l.up || l.ended || !p.Phone {
			continue
		}
		switch code, cause := s.outcome(c, &p); {
		case code == 200:
			l.queue(l.accept)
		case code < 200 && code > 0:
			l.queue(func() { l.progress(code) })
		case code > 200:
			caller, called := c.Calling.Device.ID, c.Called
			fails := func() {
				if l.invitation != nil {
					l.reportFailure(caller, called, cause)
					l.hangUp(refused(cause))
					l.gone("")
				}
			}
			if clip := s.failureIn(&c.View); clip != nil && l.early {
				l.queue(func() { l.announce(clip, refused(cause), fails) })
			} else {
				l.queue(fails)
			}
		}
	}
}

// outcome returns the SIP status code for the state of a caller's call, or 0 for none yet, and why the call fails.
func (s *Server) outcome(c *call, own *softswitch.Party) (code int, cause uacsta.EventCause) {
	if own.State == uacsta.Fail {
		return refusal(own.Cause), own.Cause
	}
	best := 0
	for _, p := range c.Parties {
		if p.Key == own.Key {
			continue
		}
		l := s.legs[p.Key]
		switch {
		case p.State == uacsta.Fail:
			return refusal(p.Cause), p.Cause
		case p.State == uacsta.Hold, p.Queue, p.State == uacsta.Connected && !p.Rings:
			best = 200
		case p.State == uacsta.Alerting || p.Rings:
			code := 180
			if l != nil && l.early {
				code = 183
			} else if p.Phone && (l == nil || l.callID == "") {
				code = 0 // it does not ring yet
			}
			best = max(best, code)
		}
	}
	if own := s.legs[own.Key]; best < 183 && own != nil && own.early && c.speaks() {
		best = 183 // the caller hears a message before the call is answered
	}
	return best, ""
}

// speaks reports whether a message is played in the call.
func (c *call) speaks() bool {
	for _, m := range c.plays {
		if _, plays := m.(*media.Playing); plays {
			return true
		}
	}
	return false
}
