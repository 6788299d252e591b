package ctserver

import (
	"errors"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/tr87proxy/tr87proxy/proxy"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

// numbers are those that may be dialled: no hook flash among them.
var numbers = regexp.MustCompile(`^[0-9*#,]{1,64}$`)

func refuse(category uacsta.Category, value string) error { return uacsta.Refuse(category, value) }

// perform carries out a service. Its answer comes before the events that it causes.
func (p *port) perform(service any, answer proxy.Answer) {
	if !p.names(service) {
		answer(nil, errConnection)
		return
	}
	switch s := service.(type) {
	case *uacsta.SnapshotDevice:
		answer(p.snapshot(), nil)
	case *uacsta.SnapshotCall:
		p.snapshotCall(s, answer)
	case *uacsta.MakeCall:
		p.makeCall(s, answer)
	case *uacsta.AnswerCall:
		p.answerCall(s, answer)
	case *uacsta.ClearConnection:
		p.clearConnection(s, answer)
	case *uacsta.HoldCall:
		p.flash(p.active, s.CallToBeHeld, p.link.cfg.Flash.Hold, p.held == nil, answer, uacsta.HoldCallResponse{}, func(c *call) {
			p.active, p.held = nil, c
			p.tellHeld(c, uacsta.CauseNormal)
		})
	case *uacsta.RetrieveCall:
		p.flash(p.held, s.CallToBeRetrieved, p.link.cfg.Flash.Retrieve, p.active == nil, answer, uacsta.RetrieveCallResponse{}, func(c *call) {
			p.active, p.held = c, nil
			p.tellRetrieved(c, uacsta.CauseNormal)
		})
	case *uacsta.AlternateCall:
		p.flash(p.active, s.ActiveCall, p.link.cfg.Flash.Alternate, p.held != nil && p.held == p.find(s.HeldCall), answer, uacsta.AlternateCallResponse{}, func(c *call) {
			p.active, p.held = p.held, c
			p.tellHeld(c, uacsta.CauseAlternate)
			p.tellRetrieved(p.active, uacsta.CauseAlternate)
		})
	case *uacsta.ReconnectCall:
		p.flash(p.active, s.ActiveCall, p.link.cfg.Flash.Reconnect, p.held != nil && p.held == p.find(s.HeldCall), answer, uacsta.ReconnectCallResponse{}, p.back)
	case *uacsta.ConsultationCall:
		p.consult(s, answer)
	case *uacsta.TransferCall:
		p.transfer(s, answer)
	case *uacsta.ConferenceCall:
		p.conference(s, answer)
	case *uacsta.GenerateDigits:
		p.generate(s, answer)
	case *uacsta.PlayMessage:
		p.play(s, answer)
	case *uacsta.RecordMessage:
		p.record(s, answer)
	case *uacsta.Stop:
		p.stopMessage(s, answer)
	default:
		answer(nil, errService)
	}
}

// names reports whether the port has every connection that a service names. Only a conference may
// name a connection of another port, which that port looks at.
func (p *port) names(service any) bool {
	for _, id := range connectionsOf(service) {
		_, conference := service.(*uacsta.ConferenceCall)
		if other := p.link.ports[id.DeviceID.ID]; conference && other != nil && other != p {
			continue
		}
		if p.find(id) == nil {
			return false
		}
	}
	return true
}

// order has ctserver carry out a service by a command. Once that has succeeded, and c is still
// there, the service is answered, and then is what follows.
func (p *port) order(c *call, answer proxy.Answer, res any, then func(), name string, limit time.Duration, args ...string) {
	p.command(name, limit, func(_ *line, err error) {
		if err == nil && c != nil && !p.has(c) {
			err = errGone
		}
		if err != nil {
			p.link.cfg.Log.Info("ctserver refuses", "device", p.cfg.Number, "command", name, "err", err)
			answer(nil, refuse(uacsta.SystemResourceAvailability, uacsta.ResourceBusy))
			return
		}
		answer(res, nil)
		then()
	}, args...)
}

// errGone is of a call that has ended while something was to be done with it.
var errGone = errors.New("the call is gone")

// info is what a snapshot says of a call.
func (p *port) info(c *call) uacsta.SnapshotDeviceResponseInfo {
	states := []uacsta.LocalConnectionState{c.state}
	if c.other != "" && (c.incoming || c.reached) {
		states = append(states, uacsta.Connected)
	}
	return uacsta.SnapshotDeviceResponseInfo{ConnectionIdentifier: p.connection(c), LocalCallState: uacsta.CallState{CompoundCallState: states}}
}

func (p *port) snapshot() any {
	list := &uacsta.SnapshotDeviceDataList{}
	for _, c := range []*call{p.active, p.held} {
		if c != nil && (c.announced || !c.incoming) {
			list.SnapshotDeviceResponseInfo = append(list.SnapshotDeviceResponseInfo, p.info(c))
		}
	}
	return uacsta.SnapshotDeviceResponse{CrossRefIDorSnapshotData: uacsta.CrossRefIDorSnapshotDeviceData{SnapshotData: list}}
}

func (p *port) snapshotCall(s *uacsta.SnapshotCall, answer proxy.Answer) {
	c := p.find(s.SnapshotObject)
	own := p.connection(c)
	list := &uacsta.SnapshotCallDataList{SnapshotCallResponseInfo: []uacsta.SnapshotCallResponseInfo{{DeviceOnCall: uacsta.Ext(p.cfg.Number), CallIdentifier: &own, LocalConnectionInfo: c.state}}}
	if c.other != "" {
		far := c.far()
		list.SnapshotCallResponseInfo = append(list.SnapshotCallResponseInfo, uacsta.SnapshotCallResponseInfo{DeviceOnCall: uacsta.Ext(c.other), CallIdentifier: &far})
	}
	answer(uacsta.SnapshotCallResponse{CrossRefIDorSnapshotData: uacsta.CrossRefIDorSnapshotCallData{SnapshotData: list}}, nil)
}

// dialTime is how long dialling may take.
func (p *port) dialTime(digits string) time.Duration {
	return p.link.cfg.Timeout + time.Duration(len(digits)+4*strings.Count(digits, ","))*250*time.Millisecond
}

func (p *port) makeCall(s *uacsta.MakeCall, answer proxy.Answer) {
	number := s.CalledDirectoryNumber.ID
	switch {
	case !numbers.MatchString(number):
		answer(nil, refuse(uacsta.Operation, uacsta.InvalidCalledDeviceID))
		return
	case p.active != nil || p.held != nil:
		answer(nil, refuse(uacsta.StateIncompatibility, uacsta.InvalidCallingDeviceState))
		return
	}
	c := &call{id: p.link.newCall(), other: number, state: uacsta.Initiated}
	p.active = c
	p.order(c, func(res any, err error) {
		if err != nil {
			p.forget(c)
		}
		answer(res, err)
	}, uacsta.MakeCallResponse{CallingDevice: p.connection(c)}, func() {
		p.initiated(c, uacsta.CauseMakeCall)
		p.command("ctwaitfordial", p.link.cfg.Timeout+10*time.Second, func(_ *line, err error) {
			switch {
			case !p.has(c): // cleared meanwhile
			case err != nil:
				p.fail(c, uacsta.CauseResourcesNotAvailable)
			default:
				p.dial(c, number, uacsta.CauseNewCall)
			}
		})
	}, "ctanswer", p.link.cfg.Timeout)
}

func (p *port) initiated(c *call, cause uacsta.EventCause) {
	p.tell(func(ref string) any {
		return uacsta.ServiceInitiatedEvent{
			MonitorCrossRefID: ref, InitiatedConnection: p.connection(c), InitiatingDevice: uacsta.Ext(p.cfg.Number), LocalConnectionInfo: uacsta.Initiated, Cause: cause,
		}
	})
}

// dial dials the number of a call.
func (p *port) dial(c *call, number string, cause uacsta.EventCause) {
	p.command("ctdial", p.dialTime(number), func(_ *line, err error) {
		switch {
		case !p.has(c):
		case err != nil:
			p.fail(c, uacsta.CauseDestNotObtainable)
		default:
			p.dialled(c, cause)
		}
	}, number)
}

// dialled tells what can be known of a call that was dialled: that it has left.
func (p *port) dialled(c *call, cause uacsta.EventCause) {
	c.state = uacsta.Connected
	own, other := uacsta.Ext(p.cfg.Number), uacsta.Ext(c.other)
	p.tell(func(ref string) any {
		return uacsta.OriginatedEvent{
			MonitorCrossRefID: ref, OriginatedConnection: p.connection(c), CallingDevice: own, CalledDevice: other, LocalConnectionInfo: uacsta.Connected, Cause: cause,
		}
	})
	p.tell(func(ref string) any {
		return uacsta.NetworkReachedEvent{
			MonitorCrossRefID: ref, OutboundConnection: c.far(), NetworkInterfaceUsed: own, CallingDevice: own, CalledDevice: other,
			LocalConnectionInfo: uacsta.Connected, Cause: cause,
		}
	})
	c.timer = time.AfterFunc(p.link.cfg.AnswerTime, func() {
		p.inbox.Post(func() {
			if p.active == c {
				p.reached()
			}
		})
	})
}

// fail ends a call that did not come about.
func (p *port) fail(c *call, cause uacsta.EventCause) {
	p.tell(func(ref string) any {
		return uacsta.FailedEvent{
			MonitorCrossRefID: ref, FailedConnection: p.connection(c), FailingDevice: uacsta.Ext(p.cfg.Number), CallingDevice: uacsta.Ext(p.cfg.Number),
			CalledDevice: uacsta.Ext(c.other), LocalConnectionInfo: uacsta.Fail, Cause: cause,
		}
	})
	p.cleared(c, uacsta.CauseNormalClearing)
	p.command("cthangup", p.link.cfg.Timeout, func(*line, error) {})
}

func (p *port) answerCall(s *uacsta.AnswerCall, answer proxy.Answer) {
	c := p.find(s.CallToBeAnswered)
	if c.state != uacsta.Alerting {
		answer(nil, refuse(uacsta.StateIncompatibility, uacsta.NoCallToAnswer))
		return
	}
	p.order(c, answer, uacsta.AnswerCallResponse{}, func() {
		p.announce(c, "") // the caller ID does not come any more
		c.stop()
		c.state, c.reached = uacsta.Connected, true
		p.tell(func(ref string) any {
			return uacsta.EstablishedEvent{
				MonitorCrossRefID: ref, EstablishedConnection: p.connection(c), AnsweringDevice: uacsta.Ext(p.cfg.Number), CallingDevice: uacsta.Ext(c.other),
				CalledDevice: uacsta.Ext(p.cfg.Number), LocalConnectionInfo: uacsta.Connected, Cause: uacsta.CauseNewCall,
			}
		})
	}, "ctanswer", p.link.cfg.Timeout)
}

// clearConnection hangs up; beside a held call, which would go with it, it goes back to that.
func (p *port) clearConnection(s *uacsta.ClearConnection, answer proxy.Answer) {
	c := p.find(s.ConnectionToBeCleared)
	switch {
	case c == p.held && p.active != nil, c.state == uacsta.Alerting: // a line has no way to say it
		answer(nil, refuse(uacsta.StateIncompatibility, uacsta.InvalidConnectionState))
	case p.held != nil && c == p.active:
		p.flash(c, s.ConnectionToBeCleared, p.link.cfg.Flash.Reconnect, true, answer, uacsta.ClearConnectionResponse{}, p.back)
	default:
		p.endRecording()
		p.order(nil, answer, uacsta.ClearConnectionResponse{}, func() {
			if p.has(c) {
				p.cleared(c, uacsta.CauseNormalClearing)
			}
		}, "cthangup", p.link.cfg.Timeout)
	}
}

// back is the line after it went from the active call back to the held one.
func (p *port) back(c *call) {
	held := p.held
	p.cleared(c, uacsta.CauseNormalClearing)
	p.active, p.held = held, nil
	p.tellRetrieved(held, uacsta.CauseNormal)
}

// flash has the switch behind the line do something with a call, by what is dialled for it.
func (p *port) flash(c *call, id uacsta.ConnectionID, code string, allowed bool, answer proxy.Answer, res any, then func(*call)) {
	if c == nil || p.find(id) != c || !allowed || c.state != uacsta.Connected && c.state != uacsta.Hold {
		answer(nil, refuse(uacsta.StateIncompatibility, uacsta.InvalidConnectionState))
		return
	}
	p.order(c, answer, res, func() { then(c) }, "ctdial", p.dialTime(code), code)
}

func (p *port) tellHeld(c *call, cause uacsta.EventCause) {
	c.state = uacsta.Hold
	p.tell(func(ref string) any {
		return uacsta.HeldEvent{MonitorCrossRefID: ref, HeldConnection: p.connection(c), HoldingDevice: uacsta.Ext(p.cfg.Number), LocalConnectionInfo: uacsta.Hold, Cause: cause}
	})
}

func (p *port) tellRetrieved(c *call, cause uacsta.EventCause) {
	c.state = uacsta.Connected
	p.tell(func(ref string) any {
		return uacsta.RetrievedEvent{
			MonitorCrossRefID: ref, RetrievedConnection: p.connection(c), RetrievingDevice: uacsta.Ext(p.cfg.Number), LocalConnectionInfo: uacsta.Connected, Cause: cause,
		}
	})
}

func (p *port) consult(s *uacsta.ConsultationCall, answer proxy.Answer) {
	number := s.ConsultedDevice.ID
	if !numbers.MatchString(number) {
		answer(nil, refuse(uacsta.Operation, uacsta.InvalidCalledDeviceID))
		return
	}
	n := &call{id: p.link.newCall(), other: number, state: uacsta.Initiated}
	res := uacsta.ConsultationCallResponse{InitiatedCall: p.connection(n)}
	p.flash(p.active, s.ExistingCall, p.link.cfg.Flash.Consult+number, p.held == nil, answer, res, func(c *call) {
		p.active, p.held = n, c
		p.tellHeld(c, uacsta.CauseConsultation)
		p.initiated(n, uacsta.CauseConsultation)
		p.dialled(n, uacsta.CauseConsultation)
	})
}

// both reports whether two connections are the held call of the port and its active one.
func (p *port) both(held, active uacsta.ConnectionID) bool {
	return p.held != nil && p.active != nil && p.find(held) == p.held && p.find(active) == p.active && held.CallID != active.CallID
}

// transfer leaves the held call and the active one to each other: the port hangs up.
func (p *port) transfer(s *uacsta.TransferCall, answer proxy.Answer) {
	if !p.both(s.HeldCall, s.ActiveCall) {
		answer(nil, refuse(uacsta.StateIncompatibility, uacsta.InvalidConnectionState))
		return
	}
	held, active := p.held, p.active
	to := uacsta.Conn(held.id, active.other)
	p.order(held, answer, uacsta.TransferCallResponse{TransferredCall: to}, func() {
		p.forget(held)
		p.forget(active)
		far, old, consulted := held.far(), p.connection(held), p.connection(active)
		p.tell(func(ref string) any {
			return uacsta.TransferedEvent{
				MonitorCrossRefID: ref, PrimaryOldCall: old, SecondaryOldCall: &consulted, TransferringDevice: uacsta.Ext(p.cfg.Number), TransferredToDevice: uacsta.Ext(active.other),
				TransferredConnections: []uacsta.ConnectionListItem{{NewConnection: &far, OldConnection: &far}, {NewConnection: &to}},
				LocalConnectionInfo:    uacsta.Null, Cause: uacsta.CauseTransfer,
			}
		})
	}, "cthangup", p.link.cfg.Timeout)
}

// conference joins the calls of two ports, or has the switch behind the line join the two calls
// of one.
func (p *port) conference(s *uacsta.ConferenceCall, answer proxy.Answer) {
	other := p.link.ports[s.HeldCall.DeviceID.ID]
	switch {
	case other == p:
		held := p.held
		p.flash(p.active, s.ActiveCall, p.link.cfg.Flash.Conference, p.both(s.HeldCall, s.ActiveCall), answer, uacsta.ConferenceCallResponse{ConferenceCall: s.ActiveCall}, func(c *call) {
			p.forget(held)
			c.third = held.other
			p.conferenced(c.id, p.connection(held), held.other)
		})
	case p.active == nil || p.find(s.ActiveCall) != p.active || p.active.state != uacsta.Connected:
		answer(nil, refuse(uacsta.StateIncompatibility, uacsta.InvalidActiveConnectionState))
	default:
		p.join(other, s.HeldCall, answer)
	}
}

// join joins the active call of the port with that of another one, if the other one talks in the
// call that is named.
func (p *port) join(other *port, named uacsta.ConnectionID, answer proxy.Answer) {
	c, refused := p.active, func(err error) { answer(nil, err) }
	other.inbox.Do(func() {
		switch theirs := other.find(named); {
		case theirs == nil:
			answer(nil, errConnection)
		case theirs != other.active || theirs.state != uacsta.Connected:
			answer(nil, refuse(uacsta.StateIncompatibility, uacsta.InvalidHeldConnectionState))
		case p.address(p.link.cfg.Address) != other.address(p.link.cfg.Address):
			answer(nil, refuse(uacsta.Operation, uacsta.RequestIncompatibleWithDevice)) // they are on different machines
		default:
			p.inbox.Do(func() {
				if p.active != c {
					answer(nil, errConnection)
					return
				}
				id := c.id
				p.order(c, answer, uacsta.ConferenceCallResponse{ConferenceCall: p.connection(c)}, func() {
					p.conferenced(id, named, other.cfg.Number)
					other.inbox.Post(func() { other.joined(theirs, id, p.cfg.Number) })
				}, "ctjoin", p.link.cfg.Timeout, strconv.Itoa(p.cfg.Port), strconv.Itoa(other.cfg.Port))
			}, refused)
		}
	}, refused)
}

// joined: another port's call was joined with one of this port.
func (p *port) joined(c *call, id, with string) {
	if p.active != c {
		return // it has ended meanwhile
	}
	old := p.connection(c)
	c.id = id
	p.conferenced(id, old, with)
}

// conferenced tells that the port's call is a conference now.
func (p *port) conferenced(id string, old uacsta.ConnectionID, added string) {
	own, party := uacsta.Conn(id, p.cfg.Number), uacsta.Conn(id, added)
	p.tell(func(ref string) any {
		return uacsta.ConferencedEvent{
			MonitorCrossRefID: ref, PrimaryOldCall: old, ConferencingDevice: uacsta.Ext(p.cfg.Number), AddedParty: uacsta.Ext(added),
			ConferenceConnections: []uacsta.ConnectionListItem{{NewConnection: &own}, {NewConnection: &party}},
			LocalConnectionInfo:   uacsta.Connected, Cause: uacsta.CauseConference,
		}
	})
}
