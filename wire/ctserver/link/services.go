package link

import (
	"errors"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/tr87proxy/tr87proxy/proxy"
	"github.com/tr87proxy/tr87proxy/proxy/callmodel"
	"github.com/tr87proxy/tr87proxy/uacsta"
	"github.com/tr87proxy/tr87proxy/wire/ctserver"
)

// numbers matches the numbers that a client may dial: they have no hook flash.
var numbers = regexp.MustCompile(`^[0-9*#,]{1,64}$`)

func refuse(category uacsta.Category, value string) error { return uacsta.Refuse(category, value) }

// perform carries out a service. It calls answer before it sends the events of the service.
func (p *port) perform(service any, answer proxy.Answer) {
	if !p.hasAll(service) {
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
			p.notify(c.Hold(c.own, uacsta.CauseNormal))
		})
	case *uacsta.RetrieveCall:
		p.flash(p.held, s.CallToBeRetrieved, p.link.cfg.Flash.Retrieve, p.active == nil, answer, uacsta.RetrieveCallResponse{}, func(c *call) {
			p.active, p.held = c, nil
			p.notify(c.Retrieve(c.own, uacsta.CauseNormal))
		})
	case *uacsta.AlternateCall:
		p.flash(p.active, s.ActiveCall, p.link.cfg.Flash.Alternate, p.held != nil && p.held == p.find(s.HeldCall), answer, uacsta.AlternateCallResponse{}, func(c *call) {
			p.active, p.held = p.held, c
			p.notify(c.Hold(c.own, uacsta.CauseAlternate))
			p.notify(p.active.Retrieve(p.active.own, uacsta.CauseAlternate))
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

// hasAll reports whether the port has all connections that a service names. A conference may name a connection of another
// port, which that port checks.
func (p *port) hasAll(service any) bool {
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

// order carries out a service by a command of ctserver. If the command succeeds, and the port still has c, order calls
// answer with res, and then. c can be nil.
func (p *port) order(c *call, answer proxy.Answer, res any, then func(), name string, limit time.Duration, args ...string) {
	p.command(name, limit, func(_ *ctserver.Line, err error) {
		if err == nil && c != nil && !p.has(c) {
			err = errEnded
		}
		if err != nil {
			answer(nil, p.refusal(name, err))
			return
		}
		answer(res, nil)
		then()
	}, args...)
}

// refusal logs the error of a command, and returns what the client gets.
func (p *port) refusal(name string, err error) error {
	p.link.cfg.Log.Info("command refused by ctserver", "device", p.cfg.Number, "command", name, "err", err)
	return refuse(uacsta.SystemResourceAvailability, uacsta.ResourceBusy)
}

var (
	errFailed = errors.New("failed")             // ctserver has answered ERROR
	errEnded  = errors.New("the call has ended") // while a command for it went on
)

// info returns a call as a snapshot shows it.
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

// dialTime returns the timeout for dialling digits.
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
	c.add(number)
	p.active = c
	p.order(c, func(res any, err error) {
		if err != nil {
			p.forget(c)
		}
		answer(res, err)
	}, uacsta.MakeCallResponse{CallingDevice: p.connection(c)}, func() {
		p.notify(c.Initiate(c.own, uacsta.CauseMakeCall))
		p.command("ctwaitfordial", p.link.cfg.Timeout+10*time.Second, func(_ *ctserver.Line, err error) {
			switch {
			case !p.has(c): // it was cleared meanwhile
			case err != nil:
				p.failCall(c, uacsta.CauseResourcesNotAvailable)
			default:
				p.dial(c, number, uacsta.CauseNewCall)
			}
		})
	}, "ctanswer", p.link.cfg.Timeout)
}

// dial dials the number of an outgoing call.
func (p *port) dial(c *call, number string, cause uacsta.EventCause) {
	p.command("ctdial", p.dialTime(number), func(_ *ctserver.Line, err error) {
		switch {
		case !p.has(c):
		case err != nil:
			p.failCall(c, uacsta.CauseDestNotObtainable)
		default:
			p.dialled(c, cause)
		}
	}, number)
}

// dialled sends the events of a call whose number was dialled. The line does not show more.
func (p *port) dialled(c *call, cause uacsta.EventCause) {
	p.notify(c.Originate(c.own, cause))
	p.notify(c.Reach(c.far, p.cfg.Number, cause))
	c.timer = time.AfterFunc(p.link.cfg.AnswerTime, func() {
		p.inbox.Post(func() {
			if p.active == c {
				p.answered()
			}
		})
	})
}

// failCall ends an outgoing call that failed.
func (p *port) failCall(c *call, cause uacsta.EventCause) {
	p.notify(c.Fail(c.own, cause))
	p.cleared(c, uacsta.CauseNormalClearing)
	p.command("cthangup", p.link.cfg.Timeout, func(*ctserver.Line, error) {})
}

func (p *port) answerCall(s *uacsta.AnswerCall, answer proxy.Answer) {
	c := p.find(s.CallToBeAnswered)
	if c.own.State != uacsta.Alerting {
		answer(nil, refuse(uacsta.StateIncompatibility, uacsta.NoCallToAnswer))
		return
	}
	p.order(c, answer, uacsta.AnswerCallResponse{}, func() {
		p.announce(c, "") // the caller ID comes no more
		c.stop()
		c.reached = true
		p.notify(c.Establish(c.own, c.Cause()))
	}, "ctanswer", p.link.cfg.Timeout)
}

// clearConnection hangs up. Beside a held call it reconnects to that one, which would end with the line.
func (p *port) clearConnection(s *uacsta.ClearConnection, answer proxy.Answer) {
	c := p.find(s.ConnectionToBeCleared)
	switch {
	case c == p.held && p.active != nil, c.own.State == uacsta.Alerting: // an analogue line cannot do it
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

// back takes the end of the active call beside a held one, which becomes the active one.
func (p *port) back(c *call) {
	held := p.held
	p.cleared(c, uacsta.CauseNormalClearing)
	p.active, p.held = held, nil
	p.notify(held.Retrieve(held.own, uacsta.CauseNormal))
}

// flash has the switch behind the line carry out a service, by the code that is dialled for it.
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
	n.add(number)
	res := uacsta.ConsultationCallResponse{InitiatedCall: p.connection(n)}
	p.flash(p.active, s.ExistingCall, p.link.cfg.Flash.Consult+number, p.held == nil, answer, res, func(c *call) {
		p.active, p.held = n, c
		p.notify(c.Hold(c.own, uacsta.CauseConsultation))
		p.notify(n.Initiate(n.own, uacsta.CauseConsultation))
		p.dialled(n, uacsta.CauseConsultation)
	})
}

// both reports whether two connections are those of the port's held call and of its active one.
func (p *port) both(held, active uacsta.ConnectionID) bool {
	return p.held != nil && p.active != nil && p.find(held) == p.held && p.find(active) == p.active && held.CallID != active.CallID
}

// transfer transfers the held call to the active one: the port hangs up.
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
		p.notify(notices)
	}, "cthangup", p.link.cfg.Timeout)
}

// conference joins the calls of two ports, or has the switch behind the line join the two calls of one port.
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

// join joins the active call of the port and the named call of another one, if that is connected.
func (p *port) join(other *port, named uacsta.ConnectionID, answer proxy.Answer) {
	c, refused := p.active, func(err error) { answer(nil, err) }
	other.inbox.Do(func() {
		switch theirs := other.find(named); {
		case theirs == nil:
			answer(nil, errConnection)
		case theirs != other.active || theirs.own.State != uacsta.Connected:
			answer(nil, refuse(uacsta.StateIncompatibility, uacsta.InvalidHeldConnectionState))
		case p.address(p.link.cfg.Address) != other.address(p.link.cfg.Address):
			answer(nil, refuse(uacsta.Operation, uacsta.RequestIncompatibleWithDevice)) // two ctservers cannot join calls
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

// joined takes the join of a call of this port with that of another one.
func (p *port) joined(c *call, id, with string) {
	if p.active != c {
		return // the call has ended meanwhile
	}
	before := c.Call
	c.Call = callmodel.Call[*callmodel.Connection]{ID: id, Calling: before.Calling, Called: before.Called}
	p.conferenced(c, before.Connection(c.own), nil, with, append(members(&before, nil), c.member(beyond(with))))
}

type member = callmodel.Member[*callmodel.Connection]

func (c *call) member(x *callmodel.Connection) member { return member{Call: &c.Call, Party: x} }

// members returns all members of a call but one; nil: all of them.
func members(c *callmodel.Call[*callmodel.Connection], but *callmodel.Connection) []member {
	var list []member
	for _, x := range c.Parties {
		if x != but {
			list = append(list, member{Call: c, Party: x})
		}
	}
	return list
}

// number returns the number of the other end; "": it is not known.
func (c *call) number() string {
	if c.far == nil {
		return ""
	}
	return c.far.Device
}

// conferenced sends the Conferenced event of the port's call.
func (p *port) conferenced(c *call, old uacsta.ConnectionID, second *uacsta.ConnectionID, added string, members []member) {
	_, notices := c.Conference(callmodel.Joining{By: p.cfg.Number, Added: added, Primary: old, Secondary: second, Cause: uacsta.CauseConference}, members...)
	p.notify(notices)
}
