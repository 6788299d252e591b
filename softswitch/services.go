package softswitch

import (
	"strings"

	"github.com/tr87proxy/tr87proxy/uacsta"
)

// Refusals by name.
var (
	errConnection   = uacsta.Refuse(uacsta.Operation, uacsta.InvalidConnectionID)
	errHeldID       = uacsta.Refuse(uacsta.Operation, uacsta.InvalidHeldConnectionID)
	errActiveID     = uacsta.Refuse(uacsta.Operation, uacsta.InvalidActiveConnectionID)
	errNotSame      = uacsta.Refuse(uacsta.Operation, uacsta.NotSameDevice)
	errSameParty    = uacsta.Refuse(uacsta.Operation, uacsta.NotDifferentDevices)
	errDestination  = uacsta.Refuse(uacsta.Operation, uacsta.InvalidDestination)
	errConnected    = uacsta.Refuse(uacsta.StateIncompatibility, uacsta.ConnectedCallExists)
	errState        = uacsta.Refuse(uacsta.StateIncompatibility, uacsta.InvalidConnectionState)
	errNoAnswer     = uacsta.Refuse(uacsta.StateIncompatibility, uacsta.NoCallToAnswer)
	errNoActive     = uacsta.Refuse(uacsta.StateIncompatibility, uacsta.NoActiveCall)
	errNoHeld       = uacsta.Refuse(uacsta.StateIncompatibility, uacsta.NoHeldCall)
	errHeldState    = uacsta.Refuse(uacsta.StateIncompatibility, uacsta.InvalidHeldConnectionState)
	errActiveState  = uacsta.Refuse(uacsta.StateIncompatibility, uacsta.InvalidActiveConnectionState)
	errMembers      = uacsta.Refuse(uacsta.SystemResourceAvailability, uacsta.ConferenceMemberLimitExceeded)
	errCalls        = uacsta.Refuse(uacsta.SystemResourceAvailability, uacsta.ResourceLimitExceeded)
	errCallingState = uacsta.Refuse(uacsta.StateIncompatibility, uacsta.InvalidCallingDeviceState)
)

const maxMembers = 8

// find returns the connection that a request names. A call alone names nothing
// here: the core has put the device in. A device alone names its one call.
func (s *Switch) find(id uacsta.ConnectionID, refusal *uacsta.Error) (*connection, error) {
	d := s.devices[id.DeviceID.ID]
	if d == nil {
		return nil, refusal
	}
	if id.CallID == "" {
		if len(d.connections) == 1 {
			return d.connections[0], nil
		}
		return nil, refusal
	}
	for _, x := range d.connections {
		if x.call.id == id.CallID {
			return x, nil
		}
	}
	return nil, refusal
}

// makeCall: ECMA-269 17.1 Make Call.
func (s *Switch) makeCall(req *uacsta.MakeCall) (any, error) {
	d := s.devices[req.CallingDevice.ID]
	switch {
	case d == nil:
		return nil, uacsta.Refuse(uacsta.Operation, uacsta.InvalidCallingDeviceID)
	case req.CalledDirectoryNumber.ID == "":
		return nil, uacsta.Refuse(uacsta.Operation, uacsta.InvalidCalledDeviceID)
	case d.active() != nil:
		return nil, errConnected
	case d.inUse() >= d.lines:
		return nil, errCallingState
	case len(s.calls) >= s.cfg.MaxCalls:
		return nil, errCalls
	}
	x := s.initiate(d, req.CalledDirectoryNumber.ID, uacsta.CauseMakeCall)
	if req.AutoOriginate == uacsta.DoNotPrompt {
		x.originate(uacsta.CauseNewCall)
	} else {
		x.after(s.cfg.PromptTime, func() { x.clear(uacsta.CauseCallNotAnswered) })
		d.terminal.Alert(x.call.id)
	}
	return uacsta.MakeCallResponse{CallingDevice: x.id()}, nil
}

// initiate takes a device off-hook for a new call.
func (s *Switch) initiate(d *device, number string, cause uacsta.EventCause) *connection {
	c := s.newCall(d.number, number)
	x := c.join(d, uacsta.Initiated)
	s.emit(c, nil, func(ref string, local uacsta.LocalConnectionState) any {
		return uacsta.ServiceInitiatedEvent{MonitorCrossRefID: ref, InitiatedConnection: x.id(), InitiatingDevice: uacsta.Ext(d.number), LocalConnectionInfo: local, Cause: cause}
	})
	return x
}

// answerCall: ECMA-269 17.1 Answer Call. A prompted phone is lifted by it.
func (s *Switch) answerCall(req *uacsta.AnswerCall) (any, error) {
	x, err := s.find(req.CallToBeAnswered, errConnection)
	if err != nil {
		return nil, err
	}
	return uacsta.AnswerCallResponse{}, x.answer()
}

func (x *connection) answer() error {
	if other := x.device.active(); other != nil && other != x && x.state == uacsta.Alerting {
		return errConnected
	}
	switch x.state {
	case uacsta.Initiated:
		x.originate(uacsta.CauseNewCall)
	case uacsta.Alerting:
		x.establish(uacsta.CauseNewCall)
	default:
		return errNoAnswer
	}
	return nil
}

// clearConnection: ECMA-269 17.1 Clear Connection.
func (s *Switch) clearConnection(req *uacsta.ClearConnection) (any, error) {
	x, err := s.find(req.ConnectionToBeCleared, errConnection)
	if err != nil {
		return nil, err
	}
	x.release()
	return uacsta.ClearConnectionResponse{}, nil
}

// release is a device hanging up. A caller who gives up before anybody answered
// cancels the call.
func (x *connection) release() {
	cause := uacsta.CauseNormalClearing
	if rest := x.call.others(x); len(rest) == 1 && rest[0].state == uacsta.Alerting {
		cause = uacsta.CauseCallCancelled
	}
	x.clear(cause)
}

// holdCall: ECMA-269 17.1 Hold Call.
func (s *Switch) holdCall(req *uacsta.HoldCall) (any, error) {
	x, err := s.find(req.CallToBeHeld, errConnection)
	if err != nil {
		return nil, err
	}
	if x.state != uacsta.Connected {
		return nil, errNoActive
	}
	x.hold(uacsta.CauseNormal)
	return uacsta.HoldCallResponse{}, nil
}

// retrieveCall: ECMA-269 17.1 Retrieve Call.
func (s *Switch) retrieveCall(req *uacsta.RetrieveCall) (any, error) {
	x, err := s.find(req.CallToBeRetrieved, errConnection)
	switch {
	case err != nil:
		return nil, err
	case x.state != uacsta.Hold:
		return nil, errNoHeld
	case x.device.active() != nil:
		return nil, errConnected
	}
	x.retrieve(uacsta.CauseNormal)
	return uacsta.RetrieveCallResponse{}, nil
}

// consultationCall: ECMA-269 17.1 Consultation Call.
func (s *Switch) consultationCall(req *uacsta.ConsultationCall) (any, error) {
	x, err := s.find(req.ExistingCall, errConnection)
	switch {
	case err != nil:
		return nil, err
	case req.ConsultedDevice.ID == "":
		return nil, uacsta.Refuse(uacsta.Operation, uacsta.InvalidCalledDeviceID)
	case x.state != uacsta.Connected:
		return nil, errNoActive
	case x.device.inUse() >= x.device.lines:
		return nil, errCallingState
	case len(s.calls) >= s.cfg.MaxCalls:
		return nil, errCalls
	}
	x.hold(uacsta.CauseConsultation)
	y := s.initiate(x.device, req.ConsultedDevice.ID, uacsta.CauseConsultation)
	res := uacsta.ConsultationCallResponse{InitiatedCall: y.id()}
	y.originate(uacsta.CauseConsultation)
	return res, nil
}

// pair finds a held and an active connection of one device.
func (s *Switch) pair(heldID, activeID uacsta.ConnectionID) (held, active *connection, err error) {
	if held, err = s.find(heldID, errHeldID); err != nil {
		return nil, nil, err
	}
	if active, err = s.find(activeID, errActiveID); err != nil {
		return nil, nil, err
	}
	switch {
	case held.device != active.device:
		return nil, nil, errNotSame
	case held == active:
		return nil, nil, errActiveID
	case held.state != uacsta.Hold:
		return nil, nil, errHeldState
	}
	return held, active, nil
}

// alternateCall: ECMA-269 17.1 Alternate Call.
func (s *Switch) alternateCall(req *uacsta.AlternateCall) (any, error) {
	held, active, err := s.pair(req.HeldCall, req.ActiveCall)
	switch {
	case err != nil:
		return nil, err
	case active.state != uacsta.Connected:
		return nil, errActiveState
	}
	active.hold(uacsta.CauseAlternate)
	held.retrieve(uacsta.CauseAlternate)
	return uacsta.AlternateCallResponse{}, nil
}

// reconnectCall: ECMA-269 17.1 Reconnect Call.
func (s *Switch) reconnectCall(req *uacsta.ReconnectCall) (any, error) {
	held, active, err := s.pair(req.HeldCall, req.ActiveCall)
	switch {
	case err != nil:
		return nil, err
	case active.state == uacsta.Hold || active.state == uacsta.Alerting:
		return nil, errActiveState
	}
	active.clear(uacsta.CauseNormalClearing)
	held.retrieve(uacsta.CauseNormal)
	return uacsta.ReconnectCallResponse{}, nil
}

// merge checks that two calls of one device can be joined without naming a party
// twice, and that the active one got somewhere.
func merge(held, active *connection, alerting bool) error {
	if active.state != uacsta.Connected {
		return errActiveState
	}
	far := active.call.others(active)
	if len(far) == 0 || len(held.call.others(held)) == 0 {
		return errActiveState
	}
	for _, y := range far {
		if y.state == uacsta.Fail || y.state == uacsta.Initiated || y.state == uacsta.Alerting && !alerting {
			return errActiveState
		}
		if held.call.of(y.device) != nil {
			return errSameParty
		}
	}
	for _, y := range held.call.others(held) {
		if y.state != uacsta.Connected && y.state != uacsta.Hold {
			return errHeldState
		}
	}
	return nil
}

// listed moves a connection into a call and notes what became of it.
func listed(x *connection, to *call) uacsta.ConnectionListItem {
	old := x.id()
	x.move(to)
	now := x.id()
	return uacsta.ConnectionListItem{NewConnection: &now, OldConnection: &old, Endpoint: &uacsta.ConnectionListEnd{DeviceID: uacsta.Dev(x.device.number)}}
}

// transferCall: ECMA-269 17.1 Transfer Call.
func (s *Switch) transferCall(req *uacsta.TransferCall) (any, error) {
	held, active, err := s.pair(req.HeldCall, req.ActiveCall)
	if err == nil {
		err = merge(held, active, true)
	}
	if err != nil {
		return nil, err
	}
	primary, secondary := held.id(), active.id()
	near, far := held.call.others(held), active.call.others(active)
	leaver := held.device
	z := s.newCall(near[0].device.number, far[0].device.number)
	z.redirecting = leaver.number
	held.leave()
	active.leave()
	var items []uacsta.ConnectionListItem
	for _, x := range append(append([]*connection{}, near...), far...) {
		items = append(items, listed(x, z))
	}
	s.emit(z, []*device{leaver}, func(ref string, local uacsta.LocalConnectionState) any {
		return uacsta.TransferedEvent{
			MonitorCrossRefID: ref, PrimaryOldCall: primary, SecondaryOldCall: &secondary, TransferringDevice: uacsta.Ext(leaver.number),
			TransferredToDevice: uacsta.Ext(far[0].device.number), TransferredConnections: items, LocalConnectionInfo: local, Cause: uacsta.CauseTransfer,
		}
	})
	for _, x := range far {
		if x.state == uacsta.Alerting {
			x.rearm()
		}
	}
	return uacsta.TransferCallResponse{TransferredCall: far[0].id(), Connections: items}, nil
}

// rearm sets the timers of a ringing connection that changed its call.
func (x *connection) rearm() {
	x.stopTimers()
	if to, rings := x.device.forwarding.noAnswer(); to != "" {
		x.after(x.call.ringTime(rings), func() { x.sendOn(to, uacsta.CauseCallForwardNoAnswer) })
	}
	x.after(x.call.sw.cfg.AlertTime, func() { x.clear(uacsta.CauseCallNotAnswered) })
	x.device.terminal.Alert(x.call.id)
}

// singleStepTransferCall: ECMA-269 17.1 Single Step Transfer Call.
func (s *Switch) singleStepTransferCall(req *uacsta.SingleStepTransferCall) (any, error) {
	x, err := s.find(req.ActiveCall, errActiveID)
	switch {
	case err != nil:
		return nil, err
	case x.state != uacsta.Connected:
		return nil, errActiveState
	}
	target := s.devices[req.TransferredTo.ID]
	rest := x.call.others(x)
	switch {
	case target == nil || target == x.device:
		return nil, errDestination
	case x.call.of(target) != nil:
		return nil, errSameParty
	case len(rest) != 1 || rest[0].state != uacsta.Connected && rest[0].state != uacsta.Hold:
		return nil, errActiveState
	}
	primary, leaver := x.id(), x.device
	z := s.newCall(rest[0].device.number, target.number)
	z.redirecting = leaver.number
	x.leave()
	arriving := uacsta.Conn(z.id, target.number)
	items := []uacsta.ConnectionListItem{
		listed(rest[0], z),
		{NewConnection: &arriving, Endpoint: &uacsta.ConnectionListEnd{DeviceID: uacsta.Dev(target.number)}},
	}
	s.emit(z, []*device{leaver}, func(ref string, local uacsta.LocalConnectionState) any {
		return uacsta.TransferedEvent{
			MonitorCrossRefID: ref, PrimaryOldCall: primary, TransferringDevice: uacsta.Ext(leaver.number), TransferredToDevice: uacsta.Ext(target.number),
			TransferredConnections: items, LocalConnectionInfo: local, Cause: uacsta.CauseSingleStepTransfer,
		}
	})
	z.present(rest[0], target.number, uacsta.CauseSingleStepTransfer)
	return uacsta.SingleStepTransferCallResponse{TransferredCall: arriving, Connections: items}, nil
}

// conferenceCall: ECMA-269 17.1 Conference Call.
func (s *Switch) conferenceCall(req *uacsta.ConferenceCall) (any, error) {
	held, active, err := s.pair(req.HeldCall, req.ActiveCall)
	if err == nil {
		err = merge(held, active, false)
	}
	if err == nil && len(held.call.connections)+len(active.call.connections)-1 > maxMembers {
		err = errMembers
	}
	if err != nil {
		return nil, err
	}
	primary, secondary := held.id(), active.id()
	near, far := held.call.others(held), active.call.others(active)
	z := s.newCall(held.call.calling, held.call.called)
	held.leave()
	items := []uacsta.ConnectionListItem{listed(active, z)}
	for _, x := range append(append([]*connection{}, near...), far...) {
		items = append(items, listed(x, z))
	}
	s.emit(z, nil, func(ref string, local uacsta.LocalConnectionState) any {
		return uacsta.ConferencedEvent{
			MonitorCrossRefID: ref, PrimaryOldCall: primary, SecondaryOldCall: &secondary, ConferencingDevice: uacsta.Ext(active.device.number),
			AddedParty: uacsta.Ext(far[0].device.number), ConferenceConnections: items, LocalConnectionInfo: local, Cause: uacsta.CauseConference,
		}
	})
	return uacsta.ConferenceCallResponse{ConferenceCall: active.id(), Connections: items}, nil
}

// deflectCall: ECMA-269 17.1 Deflect Call. Of several destinations the first is
// taken.
func (s *Switch) deflectCall(req *uacsta.DeflectCall) (any, error) {
	x, err := s.find(req.CallToBeDiverted, errConnection)
	switch {
	case err != nil:
		return nil, err
	case x.state != uacsta.Alerting:
		return nil, errState
	case len(req.NewDestination) != 1:
		return nil, errDestination
	}
	to := req.NewDestination[0].ID
	if target := s.devices[to]; target == nil || x.call.of(target) != nil {
		return nil, errDestination
	}
	x.sendOn(to, uacsta.CauseRedirected)
	return uacsta.DeflectCallResponse{}, nil
}

// generateDigits: ECMA-269 Generate Digits.
func (s *Switch) generateDigits(req *uacsta.GenerateDigits) (any, error) {
	x, err := s.find(req.ConnectionToSendDigits, errConnection)
	switch {
	case err != nil:
		return nil, err
	case req.DigitMode == uacsta.RotaryPulse:
		return nil, uacsta.Refuse(uacsta.Operation, uacsta.DigitModeNotSupported)
	case req.CharactersToSend == "" || strings.Trim(req.CharactersToSend, "0123456789*#ABCDabcd,") != "":
		return nil, uacsta.Refuse(uacsta.Operation, uacsta.CharactersToSendNotSupported)
	case x.state != uacsta.Connected:
		return nil, errNoActive
	}
	s.emit(x.call, nil, func(ref string, _ uacsta.LocalConnectionState) any {
		return uacsta.DigitsGeneratedEvent{MonitorCrossRefID: ref, Connection: x.id(), DigitGeneratedList: req.CharactersToSend}
	})
	return uacsta.GenerateDigitsResponse{}, nil
}
