package softswitch

import (
	"slices"

	"github.com/tr87proxy/tr87proxy/uacsta"
)

// The services of this file change who takes part in a call.

// free reports why a device cannot be put into a call at once.
func (d *device) free(c *call) *uacsta.Error {
	switch {
	case c.of(d) != nil:
		return errSameParty
	case !d.station() || !d.liftable():
		return errNoPhone
	case !d.idle() || d.dnd.on:
		return errDestinationState
	}
	return nil
}

// participations are the causes of Conferenced for each way to take part.
var participations = map[uacsta.ParticipationType]uacsta.EventCause{
	uacsta.ParticipationActive: uacsta.CauseActiveParticipation, uacsta.ParticipationSilent: uacsta.CauseSilentParticipation,
}

// added tells that a device is in the call now, by whose doing, and what it was in
// before, if anything.
func (x *connection) added(by *device, through uacsta.ConnectionID, before *uacsta.ConnectionID, how uacsta.ParticipationType) uacsta.ConnectionID {
	x.silent = how == uacsta.ParticipationSilent
	items := make([]uacsta.ConnectionListItem, 0, len(x.call.connections))
	for _, y := range x.call.connections {
		now := y.id()
		item := uacsta.ConnectionListItem{NewConnection: &now, Endpoint: &uacsta.ConnectionListEnd{DeviceID: uacsta.Dev(y.device.number)}}
		if y != x {
			item.OldConnection = &now
		} else {
			item.OldConnection = before
		}
		items = append(items, item)
	}
	x.call.sw.emit(x.call, nil, uacsta.ConferencedEvent{
		PrimaryOldCall: through, SecondaryOldCall: before, ConferencingDevice: uacsta.Ext(by.number), AddedParty: uacsta.Ext(x.device.number),
		ConferenceConnections: items, Cause: participations[how],
	})
	return x.id()
}

// singleStepConferenceCall: ECMA-269 17.1 Single Step Conference Call. The phone
// that is added goes off-hook by itself.
func (s *Switch) singleStepConferenceCall(req *uacsta.SingleStepConferenceCall) (any, error) {
	x, d, err := s.adding(req.ActiveCall, req.DeviceToJoin, req.ParticipationType)
	if err != nil {
		return nil, err
	}
	joined := x.call.join(d, uacsta.Connected).added(x.device, x.id(), nil, req.ParticipationType)
	return uacsta.SingleStepConferenceCallResponse{ConferencedCall: joined}, nil
}

// adding finds a call and a device that is to take part in it.
func (s *Switch) adding(active uacsta.ConnectionID, joining uacsta.DeviceID, how uacsta.ParticipationType) (*connection, *device, error) {
	x, err := s.find(active, errActiveID)
	if err != nil {
		return nil, nil, err
	}
	d := s.devices[joining.ID]
	switch refusal := x.mayAdd(); {
	case participations[how] == "":
		return nil, nil, errParticipation
	case refusal != nil:
		return nil, nil, refusal
	case d == nil:
		return nil, nil, errDestination
	}
	if refusal := d.free(x.call); refusal != nil {
		return nil, nil, refusal
	}
	return x, d, nil
}

// joinCall: ECMA-269 17.1 Join Call. With prompt, the phone that joins rings first.
func (s *Switch) joinCall(req *uacsta.JoinCall) (any, error) {
	x, d, err := s.adding(req.ActiveCall, req.JoiningDevice, req.ParticipationType)
	if err != nil {
		return nil, err
	}
	if req.AutoOriginate == uacsta.DoNotPrompt {
		y := x.call.join(d, uacsta.Connected)
		return uacsta.JoinCallResponse{ConferencedCall: y.added(d, x.id(), nil, req.ParticipationType)}, nil
	}
	y := x.call.join(d, uacsta.Initiated)
	y.silent = req.ParticipationType == uacsta.ParticipationSilent
	s.emit(x.call, nil, uacsta.ServiceInitiatedEvent{InitiatedConnection: y.id(), InitiatingDevice: uacsta.Ext(d.number), Cause: uacsta.CauseJoinCall})
	y.prompt(uacsta.CauseJoinCall)
	return uacsta.JoinCallResponse{ConferencedCall: y.id()}, nil
}

// joinConference is what happens when a phone is lifted that was prompted to join.
func (x *connection) joinConference() {
	how := uacsta.ParticipationActive
	if x.silent {
		how = uacsta.ParticipationSilent
	}
	x.become(uacsta.Connected)
	x.added(x.device, x.call.others(x)[0].id(), nil, how)
}

// intrudeCall: ECMA-269 17.1 Intrude Call: the caller of a busy device enters the
// call that it is in.
func (s *Switch) intrudeCall(req *uacsta.IntrudeCall) (any, error) {
	x, err := s.find(req.Intrude, errConnection)
	switch {
	case err != nil:
		return nil, err
	case participations[req.ParticipationType] == "":
		return nil, errParticipation
	}
	if refusal := x.mayIntrude(); refusal != nil {
		return nil, refusal
	}
	y := x.failed()
	own, busy, before := x.call, y.device.active(), x.id()
	y.leave()
	own.tellCleared(y, uacsta.CauseIntrude)
	x.move(busy.call)
	joined := x.added(x.device, busy.id(), &before, req.ParticipationType)
	own.end(uacsta.CauseIntrude, true)
	return uacsta.IntrudeCallResponse{ConferencedCall: joined}, nil
}

// directedPickupCall: ECMA-269 17.1 Directed Pickup Call, of a call that rings, is
// on hold, waits in a queue or is parked.
func (s *Switch) directedPickupCall(req *uacsta.DirectedPickupCall) (any, error) {
	x, err := s.permit(req.CallToBePickedUp, (*connection).mayPickUp)
	if err != nil {
		return nil, err
	}
	d := s.devices[req.RequestingDevice.ID]
	if d == nil {
		return nil, errDestination
	}
	if refusal := d.free(x.call); refusal != nil {
		return nil, refusal
	}
	return uacsta.DirectedPickupCallResponse{PickedCall: x.pickedUp(d)}, nil
}

// pickedUp moves a call to another device, where it is answered.
func (x *connection) pickedUp(by *device) uacsta.ConnectionID {
	c, cause := x.call, uacsta.CauseCallPickup
	if x.device.park {
		cause = uacsta.CausePark
	}
	group := x.group
	x.leave()
	c.divert(x.device, by.number, cause)
	y := c.join(by, uacsta.Alerting)
	y.group = group
	y.establish(cause)
	return y.id()
}

// groupPickupCall: ECMA-269 17.1 Group Pickup Call: the call that has rung longest
// in the pickup group.
func (s *Switch) groupPickupCall(req *uacsta.GroupPickupCall) (any, error) {
	d := s.devices[req.NewDestination.ID]
	if d == nil || !d.station() {
		return nil, errDestination
	}
	group := s.pickupGroup(d, req.PickGroup)
	if group == nil {
		return nil, uacsta.Refuse(uacsta.Operation, uacsta.InvalidPickUpDeviceID)
	}
	refusal := uacsta.Refuse(uacsta.StateIncompatibility, uacsta.NoCallToAnswer)
	var oldest *connection
	for _, member := range group.pickup {
		for _, x := range member.connections {
			if x.state != uacsta.Alerting || member == d {
				continue
			}
			if why := d.free(x.call); why != nil {
				refusal = why
				continue
			}
			if oldest == nil || x.order < oldest.order {
				oldest = x
			}
		}
	}
	if oldest == nil {
		return nil, refusal
	}
	return uacsta.GroupPickupCallResponse{PickedCall: oldest.pickedUp(d)}, nil
}

// picksUp reports whether a device is in a pickup group with another one.
func (s *Switch) picksUp(d, other *device) bool {
	for _, group := range s.devices {
		if slices.Contains(group.pickup, d) && slices.Contains(group.pickup, other) {
			return true
		}
	}
	return false
}

// pickupGroup is the group that is named, or the one that the device is in.
func (s *Switch) pickupGroup(d *device, named *uacsta.DeviceID) *device {
	if named != nil {
		if group := s.devices[named.ID]; group != nil && group.pickup != nil {
			return group
		}
		return nil
	}
	for _, group := range s.order {
		for _, member := range group.pickup {
			if member == d {
				return group
			}
		}
	}
	return nil
}

// parkCall: ECMA-269 17.1 Park Call. The call is fetched by Directed Pickup Call;
// after a time it returns to who parked it.
func (s *Switch) parkCall(req *uacsta.ParkCall) (any, error) {
	x, err := s.permit(req.Parking, (*connection).mayPark)
	if err != nil {
		return nil, err
	}
	p := s.devices[req.ParkTo.ID]
	switch {
	case p == nil || !p.park:
		return nil, uacsta.Refuse(uacsta.Operation, uacsta.InvalidParkToDeviceID)
	case len(p.connections) > 0:
		return nil, uacsta.Refuse(uacsta.StateIncompatibility, uacsta.InvalidParkToDeviceState)
	}
	c, parker := x.call, x.device
	if !req.CorrelatorData.IsZero() {
		c.data.correlator = req.CorrelatorData
	}
	x.leave()
	c.divert(parker, p.number, uacsta.CausePark)
	y := c.join(p, uacsta.Queued)
	y.parker = parker
	s.emit(c, nil, uacsta.QueuedEvent{QueuedConnection: y.id(), Queue: uacsta.Ext(p.number), Cause: uacsta.CausePark})
	y.recallLater()
	return uacsta.ParkCallResponse{ParkedTo: y.id()}, nil
}

// recallLater brings a parked call back to who parked it, once the time is over
// and the phone is free.
func (x *connection) recallLater() {
	x.after(x.call.sw.cfg.ParkTime, func() {
		if c := x.call; x.parker.takes(c) {
			x.leave()
			c.divert(x.device, x.parker.number, uacsta.CauseRecall)
			c.ring(x.parker, uacsta.CauseRecall, nil)
			return
		}
		x.stopTimers()
		x.recallLater()
	})
}
