package freeswitch

import "github.com/tr87proxy/tr87proxy/uacsta"

// A telephone consults on the channel that it has: FreeSWITCH parks the other party and sends the
// channel into the dialplan. The channel then is in two calls, as two connections; that of the
// call that waits is kept by the other.

// orders sends commands one after the other, as long as none is refused, and tells the outcome.
func (l *Link) orders(texts []string, done func(error)) {
	if len(texts) == 0 {
		done(nil)
		return
	}
	l.order(texts[0], func(_ any, err error) {
		if err != nil {
			done(err)
			return
		}
		l.orders(texts[1:], done)
	}, nil)
}

// parking are the commands that have FreeSWITCH park channels when their partner leaves, not
// hang up.
func parking(channels ...*channel) []string {
	var texts []string
	for _, ch := range channels {
		if !ch.parks {
			texts = append(texts, "api uuid_setvar_multi "+ch.id+" hangup_after_bridge=false;park_after_bridge=true")
			ch.parks = true
		}
	}
	return texts
}

// with is the other device of a call of two that talk; nil when it is none.
func (ch *channel) with() *channel {
	if o := ch.other(); len(ch.call.channels) == 2 && o.state == uacsta.Connected {
		return o
	}
	return nil
}

// consult: ECMA-269 Consultation Call.
func (l *Link) consult(s *uacsta.ConsultationCall, answer answerer) {
	ch, err := l.in(s.ExistingCall, uacsta.Connected)
	to := s.ConsultedDevice.ID
	switch {
	case err != nil:
	case !words.MatchString(to):
		err = uacsta.Refuse(uacsta.Operation, uacsta.InvalidCalledDeviceID)
	case ch.kept != nil || ch.with() == nil:
		err = errState
	}
	if err != nil {
		answer(nil, err)
		return
	}
	c := &call{id: newID(), calling: ch.number, called: to}
	l.orders(append(parking(ch, ch.with()), "api uuid_dual_transfer "+ch.id+" "+to+"/XML/"+l.cfg.Context+" park/inline"), func(err error) {
		if err == nil && l.channels[ch.id] != ch {
			err = errState // it has hung up meanwhile
		}
		if err != nil {
			answer(nil, err)
			return
		}
		second := &channel{id: ch.id, number: ch.number, network: ch.network, inbound: true, kept: ch, parks: true, state: uacsta.Initiated}
		answer(uacsta.ConsultationCallResponse{InitiatedCall: uacsta.Conn(c.id, ch.number)}, nil)
		ch.state = uacsta.Hold
		l.held(ch, uacsta.CauseConsultation)
		l.add(c, second)
		l.initiated(second, uacsta.CauseConsultation)
		l.originated(second)
	})
}

// pair finds the two connections of one device: one that it holds and one that it talks in.
func (l *Link) pair(heldID, activeID uacsta.ConnectionID) (held, active *channel, err error) {
	if held, err = l.in(heldID, uacsta.Hold); err != nil {
		return nil, nil, err
	}
	if active, err = l.in(activeID, uacsta.Connected); err != nil {
		return nil, nil, err
	}
	if held.number != active.number || held.network != active.network {
		return nil, nil, errConnection
	}
	return held, active, nil
}

// alternate: ECMA-269 Alternate Call. A telephone with a channel for each call holds the one and
// takes back the other.
func (l *Link) alternate(s *uacsta.AlternateCall, answer answerer) {
	held, active, err := l.pair(s.HeldCall, s.ActiveCall)
	if err == nil && (held.with() == nil || active.with() == nil) {
		err = errState
	}
	if err != nil {
		answer(nil, err)
		return
	}
	res := uacsta.AlternateCallResponse{}
	if active.kept != held {
		l.orders([]string{"api uuid_hold " + active.id, "api uuid_hold off " + held.id}, func(err error) { answer(res, err) })
		return
	}
	l.orders(append(parking(active.with()), "api uuid_bridge "+held.id+" "+held.with().id), func(err error) {
		if err == nil && active.kept != held {
			err = errState
		}
		if err != nil {
			answer(nil, err)
			return
		}
		answer(res, nil)
		active.state, held.state = uacsta.Hold, uacsta.Connected
		active.kept, held.kept = nil, active
		l.channels[held.id] = held
		l.held(active, uacsta.CauseAlternate)
		l.retrieved(held, uacsta.CauseAlternate)
	})
}

// reconnect: ECMA-269 Reconnect Call.
func (l *Link) reconnect(s *uacsta.ReconnectCall, answer answerer) {
	held, active, err := l.pair(s.HeldCall, s.ActiveCall)
	if err == nil && held.with() == nil {
		err = errState
	}
	if err != nil {
		answer(nil, err)
		return
	}
	res := uacsta.ReconnectCallResponse{}
	if active.kept != held {
		l.orders([]string{"api uuid_kill " + active.id + " NORMAL_CLEARING", "api uuid_hold off " + held.id}, func(err error) { answer(res, err) })
		return
	}
	l.orders([]string{"api uuid_bridge " + held.id + " " + held.with().id}, func(err error) {
		if err == nil && active.kept != held {
			err = errState
		}
		if err != nil {
			answer(nil, err)
			return
		}
		answer(res, nil)
		if consulted := active.other(); consulted != nil {
			l.order("api uuid_kill "+consulted.id, func(any, error) {}, nil)
		}
		l.drop(active, uacsta.CauseNormalClearing)
		held.state = uacsta.Connected
		l.channels[held.id] = held
		l.retrieved(held, uacsta.CauseNormal)
	})
}

// join: ECMA-269 Transfer Call. The two other parties are joined, whatever the telephone can do.
func (l *Link) join(s *uacsta.TransferCall, answer answerer) {
	held, active, err := l.pair(s.HeldCall, s.ActiveCall)
	if err == nil && (held.with() == nil || active.with() == nil) {
		err = errState
	}
	if err != nil {
		answer(nil, err)
		return
	}
	near, far := held.with(), active.with()
	l.orders([]string{"api uuid_bridge " + near.id + " " + far.id}, func(err error) {
		if err == nil && (held.with() != near || active.with() != far) {
			err = errState
		}
		if err != nil {
			answer(nil, err)
			return
		}
		l.transferred(held, active, answer)
	})
}

// transferred: who is left of two calls of a device is in one call.
func (l *Link) transferred(held, active *channel, answer answerer) {
	near, far := held.with(), active.with()
	z := &call{id: newID(), calling: near.number, called: far.number, redirected: held.number}
	primary, secondary := held.connection(), active.connection()
	list := make([]uacsta.ConnectionListItem, 2)
	for i, ch := range []*channel{near, far} {
		before, after := ch.connection(), uacsta.Conn(z.id, ch.number)
		list[i] = uacsta.ConnectionListItem{NewConnection: &after, OldConnection: &before}
	}
	answer(uacsta.TransferCallResponse{TransferredCall: uacsta.Conn(z.id, far.number), Connections: list}, nil)
	event := func(ref string, local uacsta.LocalConnectionState) any {
		return uacsta.TransferedEvent{
			MonitorCrossRefID: ref, PrimaryOldCall: primary, SecondaryOldCall: &secondary, TransferringDevice: uacsta.Ext(held.number),
			TransferredToDevice: uacsta.Ext(far.number), TransferredConnections: list, LocalConnectionInfo: local, Cause: uacsta.CauseTransfer,
		}
	}
	one := active.kept == held
	for _, ch := range []*channel{held, active, near, far} {
		l.remove(ch)
	}
	l.add(z, near)
	l.add(z, far)
	l.watch.Tell(held.number, func(ref string) any { return event(ref, uacsta.Null) })
	l.tell(z, event)
	if one { // FreeSWITCH ends two by itself
		l.order("api uuid_kill "+held.id, func(any, error) {}, nil)
	}
}
