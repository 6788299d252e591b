package softswitch

import (
	"github.com/tr87proxy/tr87proxy/uacsta"
)

// Refusals.
var (
	errConnection       = uacsta.Refuse(uacsta.Operation, uacsta.InvalidConnectionID)
	errHeldID           = uacsta.Refuse(uacsta.Operation, uacsta.InvalidHeldConnectionID)
	errActiveID         = uacsta.Refuse(uacsta.Operation, uacsta.InvalidActiveConnectionID)
	errNotSame          = uacsta.Refuse(uacsta.Operation, uacsta.NotSameDevice)
	errSameParty        = uacsta.Refuse(uacsta.Operation, uacsta.NotDifferentDevices)
	errDestination      = uacsta.Refuse(uacsta.Operation, uacsta.InvalidDestination)
	errParticipation    = uacsta.Refuse(uacsta.Operation, uacsta.InvalidParticipationType)
	errNoPhone          = uacsta.Refuse(uacsta.Operation, uacsta.RequestIncompatibleWithDevice)
	errNoCallingPhone   = uacsta.Refuse(uacsta.Operation, uacsta.RequestIncompatibleWithCallingDevice)
	errConnected        = uacsta.Refuse(uacsta.StateIncompatibility, uacsta.ConnectedCallExists)
	errState            = uacsta.Refuse(uacsta.StateIncompatibility, uacsta.InvalidConnectionState)
	errNoAnswer         = uacsta.Refuse(uacsta.StateIncompatibility, uacsta.NoCallToAnswer)
	errNoActive         = uacsta.Refuse(uacsta.StateIncompatibility, uacsta.NoActiveCall)
	errNoHeld           = uacsta.Refuse(uacsta.StateIncompatibility, uacsta.NoHeldCall)
	errNotFailed        = uacsta.Refuse(uacsta.StateIncompatibility, uacsta.NoCallToComplete)
	errHeldState        = uacsta.Refuse(uacsta.StateIncompatibility, uacsta.InvalidHeldConnectionState)
	errActiveState      = uacsta.Refuse(uacsta.StateIncompatibility, uacsta.InvalidActiveConnectionState)
	errAway             = uacsta.Refuse(uacsta.SystemResourceAvailability, uacsta.CallingDeviceOutOfService)
	errCallingState     = uacsta.Refuse(uacsta.StateIncompatibility, uacsta.InvalidCallingDeviceState)
	errDestinationState = uacsta.Refuse(uacsta.StateIncompatibility, uacsta.InvalidDestinationDeviceState)
	errMembers          = uacsta.Refuse(uacsta.SystemResourceAvailability, uacsta.ConferenceMemberLimitExceeded)
	errNoVoice          = uacsta.Refuse(uacsta.Operation, uacsta.ServiceNotSupported)
	errBusyVoice        = uacsta.Refuse(uacsta.SystemResourceAvailability, uacsta.ResourceBusy)
	errNoMessage        = uacsta.Refuse(uacsta.Operation, uacsta.InvalidMsgID)
	errLimit            = uacsta.Refuse(uacsta.SystemResourceAvailability, uacsta.ResourceLimitExceeded)
)

// Each service's requirements on a connection's state are a function below, which returns nil
// or the refusal. The services and servicesPermitted both call it, so that they cannot
// disagree.

// mayCall checks that a device can make a call. aside is its active connection if that will be held first, else
// nil.
func (s *Switch) mayCall(d *device, prompt bool, aside *connection) *uacsta.Error {
	switch {
	case d.trunk != nil && d.inUse() < d.lines && len(s.calls) < s.cfg.MaxCalls:
		return nil
	case d.kind == Virtual || !d.liftable() && !prompt:
		return errNoCallingPhone
	case d.away:
		return errAway
	case d.active() != aside:
		return errConnected
	case d.inUse() >= d.lines:
		return errCallingState
	case len(s.calls) >= s.cfg.MaxCalls:
		return errLimit
	}
	return nil
}

// requirements has the services that name one connection and require something of its state.
var requirements = map[string]func(*connection) *uacsta.Error{
	uacsta.NameAnswerCall: (*connection).mayAnswer, uacsta.NameCallBack: (*connection).mayCallBack, uacsta.NameCamponCall: (*connection).mayCampOn,
	uacsta.NameConsultationCall: (*connection).mayConsult, uacsta.NameDeflectCall: (*connection).mayDeflect,
	uacsta.NameDirectedPickupCall: (*connection).mayPickUp, uacsta.NameGenerateDigits: (*connection).mayDial, uacsta.NameHoldCall: (*connection).mayHold,
	uacsta.NameIntrudeCall: (*connection).mayIntrude, uacsta.NameJoinCall: (*connection).mayAdd, uacsta.NameParkCall: (*connection).mayPark,
	uacsta.NameRetrieveCall: (*connection).mayRetrieve, uacsta.NameSingleStepConferenceCall: (*connection).mayAdd,
	uacsta.NameSingleStepTransferCall: (*connection).mayTransferAtOnce,
	uacsta.NamePlayMessage:            (*connection).mayPlay, uacsta.NameRecordMessage: (*connection).mayRecord, uacsta.NameStop: (*connection).mayStop,
}

func (x *connection) mayAnswer() *uacsta.Error {
	switch {
	case x.device.queue != nil && x.state == uacsta.Queued:
		return nil
	case !x.device.station() || x.state != uacsta.Alerting && x.state != uacsta.Initiated:
		return errNoAnswer
	case x.state == uacsta.Initiated && x.call.predictive != nil && x.call.predictive.waits:
		return errNoAnswer
	case x.state == uacsta.Alerting && x.device.active() != nil:
		return errConnected
	case !x.device.liftable() || x.device.real && !x.device.talks:
		return errNoPhone
	}
	return nil
}

func (x *connection) mayHold() *uacsta.Error {
	if !x.device.station() || x.state != uacsta.Connected {
		return errNoActive
	}
	return nil
}

func (x *connection) mayRetrieve() *uacsta.Error {
	switch {
	case x.state != uacsta.Hold:
		return errNoHeld
	case x.device.active() != nil:
		return errConnected
	}
	return nil
}

func (x *connection) mayConsult() *uacsta.Error {
	switch {
	case !x.device.station() || x.state != uacsta.Connected:
		return errNoActive
	case x.device.inUse() >= x.device.lines:
		return errCallingState
	case len(x.call.sw.calls) >= x.call.sw.cfg.MaxCalls:
		return errLimit
	}
	return nil
}

func (x *connection) mayDeflect() *uacsta.Error {
	if x.device.station() && x.state == uacsta.Alerting || x.device.queue != nil && x.converses() {
		return nil
	}
	return errState
}

// mayPickUp checks that another device can pick up the call.
func (x *connection) mayPickUp() *uacsta.Error {
	switch {
	case x.device.station() && (x.state == uacsta.Alerting || x.state == uacsta.Hold):
		return nil
	case (x.device.park || x.device.queue != nil) && x.state == uacsta.Queued:
		return nil
	}
	return errState
}

// mayPair checks that the connections are a held and an active one of the same device.
func mayPair(held, active *connection) *uacsta.Error {
	switch {
	case held.device != active.device:
		return errNotSame
	case held == active:
		return errActiveID
	case held.state != uacsta.Hold:
		return errHeldState
	case active != active.device.active():
		return errActiveState
	}
	return nil
}

func mayAlternate(_, active *connection) *uacsta.Error {
	if active.state != uacsta.Connected {
		return errActiveState
	}
	return nil
}

func mayReconnect(_, _ *connection) *uacsta.Error { return nil }

func mayTransfer(held, active *connection) *uacsta.Error {
	return mayMerge(held, active, (*connection).unanswered, 2)
}

func mayConference(held, active *connection) *uacsta.Error {
	return mayMerge(held, active, func(*connection) bool { return false }, 1)
}

// mayMerge checks that two calls of one device can be joined: no party may be in both, and the
// far end of the active call must talk or satisfy waits. leaving is how many connections the
// joined call loses.
func mayMerge(held, active *connection, waits func(*connection) bool, leaving int) *uacsta.Error {
	near, far := held.call.others(held), active.call.others(active)
	switch {
	case active.state != uacsta.Connected || len(near) == 0 || len(far) == 0:
		return errActiveState
	case len(near)+len(far)+2-leaving > maxMembers:
		return errMembers
	}
	for _, y := range far {
		switch {
		case !y.talking() && !waits(y):
			return errActiveState
		case !held.call.admits(y.device):
			return errSameParty
		}
	}
	for _, y := range near {
		if !y.talking() {
			return errHeldState
		}
	}
	return nil
}

// mayTransferAtOnce checks that the other party can be transferred in a single step.
func (x *connection) mayTransferAtOnce() *uacsta.Error {
	rest := x.call.others(x)
	if !x.converses() || len(rest) != 1 || !rest[0].talking() {
		return errActiveState
	}
	return nil
}

// mayAdd checks that a device can be added to the call.
func (x *connection) mayAdd() *uacsta.Error {
	switch {
	case !x.device.station() || x.state != uacsta.Connected || !x.call.established():
		return errActiveState
	case len(x.call.connections) >= maxMembers:
		return errMembers
	}
	return nil
}

// mayPark checks that the other party can be parked.
func (x *connection) mayPark() *uacsta.Error {
	if !x.device.station() || x.mayTransferAtOnce() != nil {
		return errState
	}
	for _, d := range x.call.sw.parks {
		if len(d.connections) == 0 {
			return nil
		}
	}
	return uacsta.Refuse(uacsta.StateIncompatibility, uacsta.InvalidParkToDeviceState)
}

// failed returns the connection at the busy extension that the caller x has reached, or nil.
func (x *connection) failed() *connection {
	if !x.device.station() || x.state != uacsta.Connected {
		return nil
	}
	for _, y := range x.call.others(x) {
		if y.refused && y.state == uacsta.Fail && y.cause == uacsta.CauseBusy && y.device.station() {
			return y
		}
	}
	return nil
}

func (x *connection) mayCampOn() *uacsta.Error {
	y := x.failed()
	switch {
	case y == nil:
		return errNotFailed
	case len(y.device.campedOn()) >= maxWaiting:
		return errLimit
	}
	return nil
}

func (x *connection) mayCallBack() *uacsta.Error {
	switch {
	case x.callBackTarget() == nil:
		return errNotFailed
	case len(x.call.sw.callBacks(x.device)) >= maxWaiting:
		return errLimit
	}
	return nil
}

// callBackTarget returns the extension that did not answer the caller's call, or nil.
func (x *connection) callBackTarget() *device {
	if y := x.failed(); y != nil {
		return y.device
	}
	rest := x.call.others(x)
	if x.device.station() && x.state == uacsta.Connected && len(rest) == 1 && rest[0].state == uacsta.Alerting {
		return rest[0].device
	}
	return nil
}

// mayIntrude checks that the busy device is in a call that the caller can enter.
func (x *connection) mayIntrude() *uacsta.Error {
	y := x.failed()
	if y == nil {
		return errState
	}
	busy := y.device.active()
	switch {
	case busy == nil || !busy.call.established() || busy.call.of(x.device) != nil:
		return errState
	case len(busy.call.connections) >= maxMembers:
		return errMembers
	}
	return nil
}

// mayDial checks that keys can be pressed in the call: from an extension or a queue, or by the virtual phone beyond a trunk.
func (x *connection) mayDial() *uacsta.Error {
	if !x.converses() && (x.device.real || !x.outsider()) {
		return errNoActive
	}
	return nil
}

// outsider reports whether the connection is that of a party beyond a trunk who has answered or called.
func (x *connection) outsider() bool { return x.device.trunk != nil && x.talking() }

// speaks checks that messages can be played and recorded over the connection.
func (x *connection) speaks() *uacsta.Error {
	switch {
	case x.call.sw.library == nil:
		return errNoVoice
	case !x.converses() && !x.outsider():
		return errNoActive
	}
	return nil
}

// mayPlay checks that a message can be played over the connection: a call has one at a time.
func (x *connection) mayPlay() *uacsta.Error {
	if x.call.playing() != nil {
		return errBusyVoice
	}
	return x.speaks()
}

// mayRecord checks that the call can be recorded: it has one recording at a time.
func (x *connection) mayRecord() *uacsta.Error {
	if x.call.recording() != nil {
		return errBusyVoice
	}
	return x.speaks()
}

// mayStop checks that the call has a message to stop.
func (x *connection) mayStop() *uacsta.Error {
	if len(x.call.messages) == 0 {
		return errNoMessage
	}
	return nil
}

// permitted returns the services that the connection currently permits.
func (x *connection) permitted() *uacsta.ServicesPermitted {
	p := &uacsta.ServicesPermitted{}
	p.CallControlServices = uacsta.CallControlServices{
		AnswerCall:           x.mayAnswer() == nil,
		CallBack:             x.mayCallBack() == nil,
		CampOnCall:           x.mayCampOn() == nil,
		ClearCall:            true,
		ClearConnection:      true,
		ConsultationCall:     x.mayConsult() == nil,
		DeflectCall:          x.mayDeflect() == nil,
		DirectedPickupCall:   x.mayPickUp() == nil,
		HoldCall:             x.mayHold() == nil,
		IntrudeCall:          x.mayIntrude() == nil,
		JoinCall:             x.mayAdd() == nil,
		ParkCall:             x.mayPark() == nil,
		RetrieveCall:         x.mayRetrieve() == nil,
		SingleStepConference: x.mayAdd() == nil,
		SingleStepTransfer:   x.mayTransferAtOnce() == nil,
	}
	for _, other := range x.device.connections {
		for _, pair := range [][2]*connection{{x, other}, {other, x}} {
			held, active := pair[0], pair[1]
			if mayPair(held, active) != nil {
				continue
			}
			c := &p.CallControlServices
			c.AlternateCall = c.AlternateCall || mayAlternate(held, active) == nil
			c.ReconnectCall = c.ReconnectCall || mayReconnect(held, active) == nil
			c.TransferCall = c.TransferCall || mayTransfer(held, active) == nil
			c.ConferenceCall = c.ConferenceCall || mayConference(held, active) == nil
		}
	}
	p.CallAssociatedServices = uacsta.CallAssociatedServices{AssociateData: true, SendUserInformation: true, GenerateDigits: x.mayDial() == nil}
	p.VoiceServices = uacsta.VoiceServices{PlayMessage: x.mayPlay() == nil, RecordMessage: x.mayRecord() == nil, Stop: x.mayStop() == nil}
	return p
}
