package softswitch

import (
	"cmp"

	"github.com/tr87proxy/tr87proxy/uacsta"
)

// Services that change one device's calls (ECMA-269 clause 17.1). permitted.go has their
// requirements on a connection's state.

// find returns the connection a request names, by callID and device: [Switch.complete] and the core
// have added a missing half.
func (s *Switch) find(id uacsta.ConnectionID, refusal *uacsta.Error) (*connection, error) {
	id.DeviceID.ID = s.Device(id.DeviceID.ID)
	if c := s.callNow(id.CallID); c != nil {
		for _, x := range c.connections {
			if x.is(id) {
				return x, nil
			}
		}
	}
	return nil, refusal
}

// permit returns the connection a request names after checking its state.
func (s *Switch) permit(id uacsta.ConnectionID, may func(*connection) *uacsta.Error) (*connection, error) {
	x, err := s.find(id, errConnection)
	if err != nil {
		return nil, err
	}
	if refusal := may(x); refusal != nil {
		return nil, refusal
	}
	return x, nil
}

// makeCall implements Make Call (ECMA-269 17.1). From a virtual trunk it simulates a call from
// outside.
func (s *Switch) makeCall(req *uacsta.MakeCall) (any, error) {
	d := s.devices[req.CallingDevice.ID]
	switch {
	case d == nil:
		return nil, uacsta.Refuse(uacsta.Operation, uacsta.InvalidCallingDeviceID)
	case !d.station() && !d.supports(uacsta.NameMakeCall): // such as a real trunk: only the network makes calls from it
		return nil, errNoCallingPhone
	case req.CalledDirectoryNumber.ID == "":
		return nil, uacsta.Refuse(uacsta.Operation, uacsta.InvalidCalledDeviceID)
	}
	prompt := req.AutoOriginate != uacsta.DoNotPrompt
	if refusal := s.mayCall(d, prompt, nil); refusal != nil {
		return nil, refusal
	}
	x := s.initiate(d, req.CalledDirectoryNumber.ID, uacsta.CauseMakeCall)
	x.presents(req.CallingDevice.ID)
	x.call.data = data{
		account: req.AccountCode, auth: req.AuthCode, correlator: req.CorrelatorData, subject: req.SubjectOfCall, languages: req.LanguagePreferences,
		characteristics: req.CallCharacteristics,
	}
	switch {
	case d.trunk != nil, !prompt && !d.real:
		x.originate(uacsta.CauseNewCall)
	default: // a real telephone calls after it was lifted
		x.prompt(uacsta.CauseMakeCall)
		x.auto = !prompt
	}
	return uacsta.MakeCallResponse{CallingDevice: x.id()}, nil
}

// answerCall implements Answer Call (ECMA-269 17.1). It also lifts a prompted phone.
func (s *Switch) answerCall(req *uacsta.AnswerCall) (any, error) {
	x, err := s.permit(req.CallToBeAnswered, (*connection).mayAnswer)
	if err != nil {
		return nil, err
	}
	return uacsta.AnswerCallResponse{}, x.pickUp()
}

// clearConnection implements Clear Connection (ECMA-269 17.1).
func (s *Switch) clearConnection(req *uacsta.ClearConnection) (any, error) {
	x, err := s.find(req.ConnectionToBeCleared, errConnection)
	if err != nil {
		return nil, err
	}
	x.release("")
	return uacsta.ClearConnectionResponse{}, nil
}

// release handles a device that hangs up. cause is why, "" for nothing special: if the caller does so before the answer,
// the call is cancelled.
func (x *connection) release(cause uacsta.EventCause) {
	usual, follow := uacsta.CauseNormalClearing, uacsta.CauseNormalClearing
	if rest := x.call.others(x); len(rest) > 0 && rest[0].unanswered() {
		usual, follow = uacsta.CauseCallCancelled, uacsta.CauseCallNotAnswered
	}
	x.clearWith(cmp.Or(cause, usual), follow)
}

// unanswered reports whether the connection has not been answered.
func (x *connection) unanswered() bool {
	return x.alerts() || x.state == uacsta.Queued && !x.device.park
}

// clearCall implements Clear Call (ECMA-269 17.1).
func (s *Switch) clearCall(req *uacsta.ClearCall) (any, error) {
	x, err := s.find(req.CallToBeCleared, errConnection)
	if err != nil {
		return nil, err
	}
	c := x.call
	for len(c.connections) > 0 {
		y := c.connections[0]
		y.leave()
		c.notifyCleared(y, uacsta.CauseNormalClearing)
	}
	c.end(uacsta.CauseNormalClearing, nil)
	return uacsta.ClearCallResponse{}, nil
}

// holdCall implements Hold Call (ECMA-269 17.1).
func (s *Switch) holdCall(req *uacsta.HoldCall) (any, error) {
	x, err := s.permit(req.CallToBeHeld, (*connection).mayHold)
	if err != nil {
		return nil, err
	}
	x.hold(uacsta.CauseNormal)
	return uacsta.HoldCallResponse{}, nil
}

// retrieveCall implements Retrieve Call (ECMA-269 17.1).
func (s *Switch) retrieveCall(req *uacsta.RetrieveCall) (any, error) {
	x, err := s.permit(req.CallToBeRetrieved, (*connection).mayRetrieve)
	if err != nil {
		return nil, err
	}
	x.retrieve(uacsta.CauseNormal)
	return uacsta.RetrieveCallResponse{}, nil
}

// consultationCall implements Consultation Call (ECMA-269 17.1).
func (s *Switch) consultationCall(req *uacsta.ConsultationCall) (any, error) {
	x, err := s.find(req.ExistingCall, errConnection)
	switch {
	case err != nil:
		return nil, err
	case req.ConsultedDevice.ID == "":
		return nil, uacsta.Refuse(uacsta.Operation, uacsta.InvalidCalledDeviceID)
	}
	if refusal := x.mayConsult(); refusal != nil {
		return nil, refusal
	}
	x.hold(uacsta.CauseConsultation)
	y := s.initiate(x.device, req.ConsultedDevice.ID, uacsta.CauseConsultation)
	y.call.data = x.call.data
	if !req.CorrelatorData.IsZero() {
		y.call.data.correlator = req.CorrelatorData
	}
	res := uacsta.ConsultationCallResponse{InitiatedCall: y.id()}
	y.originate(uacsta.CauseConsultation)
	return res, nil
}

// pair returns a held and an active connection of one device after checking them for a service.
func (s *Switch) pair(heldID, activeID uacsta.ConnectionID, may func(held, active *connection) *uacsta.Error) (held, active *connection, err error) {
	if held, err = s.find(heldID, errHeldID); err != nil {
		return nil, nil, err
	}
	if active, err = s.find(activeID, errActiveID); err != nil {
		return nil, nil, err
	}
	if refusal := mayPair(held, active); refusal != nil {
		return nil, nil, refusal
	}
	if refusal := may(held, active); refusal != nil {
		return nil, nil, refusal
	}
	return held, active, nil
}

// alternateCall implements Alternate Call (ECMA-269 17.1).
func (s *Switch) alternateCall(req *uacsta.AlternateCall) (any, error) {
	held, active, err := s.pair(req.HeldCall, req.ActiveCall, mayAlternate)
	if err != nil {
		return nil, err
	}
	active.hold(uacsta.CauseAlternate)
	held.retrieve(uacsta.CauseAlternate)
	return uacsta.AlternateCallResponse{}, nil
}

// reconnectCall implements Reconnect Call (ECMA-269 17.1).
func (s *Switch) reconnectCall(req *uacsta.ReconnectCall) (any, error) {
	held, active, err := s.pair(req.HeldCall, req.ActiveCall, mayReconnect)
	if err != nil {
		return nil, err
	}
	active.clear(uacsta.CauseNormalClearing)
	held.retrieve(uacsta.CauseNormal)
	return uacsta.ReconnectCallResponse{}, nil
}

// listed moves a connection to a call and returns the list item that says so.
func listed(x *connection, to *call) uacsta.ConnectionListItem {
	id := x.id()
	old := &id
	if x.hidden() { // the call is on its way there
		old = nil
	}
	x.move(to)
	return x.end().item(x.id(), old)
}

// transferCall implements Transfer Call (ECMA-269 17.1).
func (s *Switch) transferCall(req *uacsta.TransferCall) (any, error) {
	held, active, err := s.pair(req.HeldCall, req.ActiveCall, mayTransfer)
	if err != nil {
		return nil, err
	}
	primary, secondary := held.id(), active.id()
	first, second := held.call, active.call
	near, far := first.others(held), second.others(active)
	leaver := held.device
	z := s.merged(near[0].end(), far[0].end().who.Device.ID, first, second)
	z.redirecting, z.outbound = leaver.number, second.outbound
	held.leave()
	active.leave()
	var items []uacsta.ConnectionListItem
	for _, x := range append(append([]*connection{}, near...), far...) {
		items = append(items, listed(x, z))
	}
	s.emit(z, []*device{leaver}, uacsta.TransferedEvent{
		PrimaryOldCall: primary, SecondaryOldCall: &secondary, TransferringDevice: uacsta.Ext(leaver.number),
		TransferredToDevice: far[0].end().who, TransferredConnections: items, Cause: uacsta.CauseTransfer,
	})
	first.end(uacsta.CauseTransfer, z)
	second.end(uacsta.CauseTransfer, z)
	for _, x := range far {
		switch {
		case x.alerts():
			x.arm()
		case x.campsOn():
			x.campOnFor()
		case x.state == uacsta.Queued:
			x.limitWait()
		}
		if x.alerts() || x.campsOn() {
			z.returning = &returning{to: leaver}
		}
	}
	return uacsta.TransferCallResponse{TransferredCall: far[0].id(), Connections: items}, nil
}

// singleStepTransferCall implements Single Step Transfer Call (ECMA-269 17.1).
func (s *Switch) singleStepTransferCall(req *uacsta.SingleStepTransferCall) (any, error) {
	return s.transferAtOnce(req, nil)
}

// transferAtOnce implements Single Step Transfer Call. back is where the call returns to if nobody takes it; nil for the
// extension that transfers it, which rings.
func (s *Switch) transferAtOnce(req *uacsta.SingleStepTransferCall, back *returning) (any, error) {
	x, err := s.find(req.ActiveCall, errActiveID)
	if err != nil {
		return nil, err
	}
	if refusal := x.mayTransferAtOnce(); refusal != nil {
		return nil, refusal
	}
	old := x.call
	rest := old.others(x)
	target := s.target(req.TransferredTo.ID, nil)
	switch {
	case target == nil || target == x.device || !target.callable():
		return nil, errDestination
	case !old.admits(target):
		return nil, errSameParty
	}
	if back == nil && x.device.station() {
		back = &returning{to: x.device}
	}
	primary, leaver, arrives := x.id(), x.device, end{who: uacsta.Ext(target.number)}
	if target.trunk != nil {
		if way, _ := free(s.waysOut(req.TransferredTo.ID), nil); way != nil {
			target = way
		}
		arrives = end{who: uacsta.Ext(req.TransferredTo.ID), nid: target}
	}
	z := s.merged(rest[0].end(), req.TransferredTo.ID, old)
	if !req.CorrelatorData.IsZero() {
		z.data.correlator = req.CorrelatorData
	}
	z.redirecting, z.returning = leaver.number, back
	x.leave()
	stays := listed(rest[0], z)
	arriving := uacsta.ConnectionID{CallID: z.id, DeviceID: z.next(target)}
	items := []uacsta.ConnectionListItem{stays, arrives.item(arriving, nil)}
	s.emit(z, []*device{leaver}, uacsta.TransferedEvent{
		PrimaryOldCall: primary, TransferringDevice: uacsta.Ext(leaver.number), TransferredToDevice: arrives.who,
		TransferredConnections: items, Cause: uacsta.CauseSingleStepTransfer,
	})
	old.end(uacsta.CauseSingleStepTransfer, z)
	z.present(rest[0], req.TransferredTo.ID, uacsta.CauseSingleStepTransfer)
	return uacsta.SingleStepTransferCallResponse{TransferredCall: arriving, Connections: items}, nil
}

// conferenceCall implements Conference Call (ECMA-269 17.1).
func (s *Switch) conferenceCall(req *uacsta.ConferenceCall) (any, error) {
	held, active, err := s.pair(req.HeldCall, req.ActiveCall, mayConference)
	if err != nil {
		return nil, err
	}
	primary, secondary := held.id(), active.id()
	first, second := held.call, active.call
	near, far := first.others(held), second.others(active)
	z := s.merged(first.calling, first.called, first, second)
	z.outbound = cmp.Or(first.outbound, second.outbound)
	held.leave()
	items := []uacsta.ConnectionListItem{listed(active, z)}
	for _, x := range append(append([]*connection{}, near...), far...) {
		items = append(items, listed(x, z))
	}
	s.emit(z, nil, uacsta.ConferencedEvent{
		PrimaryOldCall: primary, SecondaryOldCall: &secondary, ConferencingDevice: uacsta.Ext(active.device.number),
		AddedParty: far[0].end().who, ConferenceConnections: items, Cause: uacsta.CauseConference,
	})
	first.end(uacsta.CauseConference, z)
	second.end(uacsta.CauseConference, z)
	return uacsta.ConferenceCallResponse{ConferenceCall: active.id(), Connections: items}, nil
}

// callable reports whether the device can be called.
func (d *device) callable() bool { return !d.park && d.pickup == nil }
