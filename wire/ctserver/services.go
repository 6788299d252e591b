package ctserver

import (
	"errors"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/tr87proxy/tr87proxy/proxy"
	"github.com/tr87proxy/tr87proxy/proxy/callmodel"
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
			p.happens(c.Hold(c.own, uacsta.CauseNormal))
		})
	case *uacsta.RetrieveCall:
		p.flash(p.held, s.CallToBeRetrieved, p.link.cfg.Flash.Retrieve, p.active == nil, answer, uacsta.RetrieveCallResponse{}, func(c *call) {
			p.active, p.held = c, nil
			p.happens(c.Retrieve(c.own, uacsta.CauseNormal))
		})
	case *uacsta.AlternateCall:
		p.flash(p.active, s.ActiveCall, p.link.cfg.Flash.Alternate, p.held != nil && p.held == p.find(s.HeldCall), answer, uacsta.AlternateCallResponse{}, func(c *call) {
			p.active, p.held = p.held, c
			p.happens(c.Hold(c.own, uacsta.CauseAlternate))
			p.happens(p.active.Retrieve(p.active.own, uacsta.CauseAlternate))
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
	states := []uacsta.LocalConnectionState{c.own.State}
	if c.far != nil && (c.incoming || c.reached) {
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
	list := &uacsta.SnapshotCallDataList{}
	for _, x := range c.Parties {
		id := c.Connection(x)
		list.SnapshotCallResponseInfo = append(list.SnapshotCallResponseInfo, uacsta.SnapshotCallResponseInfo{DeviceOnCall: uacsta.Ext(x.Device), CallIdentifier: &id, LocalConnectionInfo: x.State})
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
	c := p.newCall(false)
	c.own.State = uacsta.Initiated
	c.with(number)
	p.active = c
	p.order(c, func(res any, err error) {
		if err != nil {
			p.forget(c)
		}
		answer(res, err)
	}, uacsta.MakeCallResponse{CallingDevice: p.connection(c)}, func() {
		p.happens(c.Initiate(c.own, uacsta.CauseMakeCall))
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
	p.happens(c.Originate(c.own, cause))
	p.happens(c.Reach(c.far, p.cfg.Number, cause))
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
	p.happens(c.Fail(c.own, cause))
	p.cleared(c, uacsta.CauseNormalClearing)
	p.command("cthangup", p.link.cfg.Timeout, func(*line, error) {})
}

func (p *port) answerCall(s *uacsta.AnswerCall, answer proxy.Answer) {
	c := p.find(s.CallToBeAnswered)
	if c.own.State != uacsta.Alerting {
		answer(nil, refuse(uacsta.StateIncompatibility, uacsta.NoCallToAnswer))
		return
	}
	p.order(c, answer, uacsta.AnswerCallResponse{}, func() {
		p.announce(c, "") // the caller ID does not come any more
		c.stop()
		c.reached = true
		p.happens(c.Establish(c.own, c.Cause()))
	}, "ctanswer", p.link.cfg.Timeout)
}

// clearConnection hangs up; beside a held call, which would go with it, it goes back to that.
func (p *port) clearConnection(s *uacsta.ClearConnection, answer proxy.Answer) {
	c := p.find(s.ConnectionToBeCleared)
	switch {
	case c == p.held && p.active != nil, c.own.State == uacsta.Alerting: // a line has no way to say it
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
	p.happens(held.Retrieve(held.own, uacsta.CauseNormal))
}

// flash has the switch behind the line do something with a call, by what is dialled for it.
func (p *port) flash(c *call, id uacsta.ConnectionID, code string, allowed bool, answer proxy.Answer, res any, then func(*call)) {
	if c == nil || p.find(id) != c || !allowed || c.own.State != uacsta.Connected && c.own.State != uacsta.Hold {
		answer(nil, refuse(uacsta.StateIncompatibility, uacsta.InvalidConnectionState))
		return
	}
	p.order(c, answer, res, func() { then(c) }, "ctdial", p.dialTime(code), code)
}

func (p *port) consult(s *uacsta.ConsultationCall, answer proxy.Answer) {
	number := s.ConsultedDevice.ID
	if !numbers.MatchString(number) {
		answer(nil, refuse(uacsta.Operation, uacsta.InvalidCalledDeviceID))
		return
	}
	n := p.newCall(false)
	n.with(number)
	res := uacsta.ConsultationCallResponse{InitiatedCall: p.connection(n)}
	p.flash(p.active, s.ExistingCall, p.link.cfg.Flash.Consult+number, p.held == nil, answer, res, func(c *call) {
		p.active, p.held = n, c
		p.happens(c.Hold(c.own, uacsta.CauseConsultation))
		p.happens(n.Initiate(n.own, uacsta.CauseConsultation))
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
	z, to := &callmodel.Call[*callmodel.Connection]{ID: held.ID}, active.number()
	p.order(held, answer, uacsta.TransferCallResponse{TransferredCall: uacsta.Conn(z.ID, to)}, func() {
		p.forget(held)
		p.forget(active)
		_, notices := z.Transfer(held.member(held.own), active.member(active.own), to, append(members(&held.Call, held.own), members(&active.Call, active.own)...)...)
		p.happens(notices)
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
			before := p.connection(c)
			p.conferenced(c, p.connection(held), &before, held.number(), append(members(&c.Call, nil), members(&held.Call, held.own)...))
		})
	case p.active == nil || p.find(s.ActiveCall) != p.active || p.active.own.State != uacsta.Connected:
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
		case theirs != other.active || theirs.own.State != uacsta.Connected:
			answer(nil, refuse(uacsta.StateIncompatibility, uacsta.InvalidHeldConnectionState))
		case p.address(p.link.cfg.Address) != other.address(p.link.cfg.Address):
			answer(nil, refuse(uacsta.Operation, uacsta.RequestIncompatibleWithDevice)) // they are on different machines
		default:
			p.inbox.Do(func() {
				if p.active != c {
					answer(nil, errConnection)
					return
				}
				id := c.ID
				p.order(c, answer, uacsta.ConferenceCallResponse{ConferenceCall: p.connection(c)}, func() {
					before := p.connection(c)
					p.conferenced(c, named, &before, other.cfg.Number, append(members(&c.Call, nil), c.member(beyond(other.cfg.Number))))
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
	before := c.Call
	c.Call = callmodel.Call[*callmodel.Connection]{ID: id, Calling: before.Calling, Called: before.Called}
	p.conferenced(c, before.Connection(c.own), nil, with, append(members(&before, nil), c.member(beyond(with))))
}

type member = callmodel.Member[*callmodel.Connection]

func (c *call) member(x *callmodel.Connection) member { return member{Call: &c.Call, Party: x} }

// members are all in a call but one; nil: all.
func members(c *callmodel.Call[*callmodel.Connection], but *callmodel.Connection) []member {
	var list []member
	for _, x := range c.Parties {
		if x != but {
			list = append(list, member{Call: c, Party: x})
		}
	}
	return list
}

// number is that of the other end, "" where it is not known.
func (c *call) number() string {
	if c.far == nil {
		return ""
	}
	return c.far.Device
}

// conferenced tells that the port's call is a conference now.
func (p *port) conferenced(c *call, old uacsta.ConnectionID, second *uacsta.ConnectionID, added string, members []member) {
	_, notices := c.Conference(callmodel.Joining{By: p.cfg.Number, Added: added, Primary: old, Secondary: second, Cause: uacsta.CauseConference}, members...)
	p.happens(notices)
}
