package softswitch

import (
	"slices"

	"github.com/tr87proxy/tr87proxy/uacsta"
)

// Services that change the parties of a call.

// free returns a refusal unless the switch can put the device into the call at once.
func (d *device) free(c *call) *uacsta.Error {
	if !d.liftable() {
		return errNoPhone
	}
	return d.mayEnter(c)
}

// mayEnter returns a refusal unless the device can be put into the call once its telephone is off-hook.
func (d *device) mayEnter(c *call) *uacsta.Error {
	switch {
	case c.of(d) != nil:
		return errSameParty
	case !d.station():
		return errNoPhone
	case !d.idle() || d.dnd.on:
		return errDestinationState
	}
	return nil
}

// participations maps types of participation to causes of Conferenced.
var participations = map[uacsta.ParticipationType]uacsta.EventCause{
	uacsta.ParticipationActive: uacsta.CauseActiveParticipation, uacsta.ParticipationSilent: uacsta.CauseSilentParticipation,
}

// added sends the event that a device joined the call. by is the device that added it, through
// that device's connection in the call, and before the connection that x had in another call,
// if any.
func (x *connection) added(by *device, through uacsta.ConnectionID, before *uacsta.ConnectionID, how uacsta.ParticipationType) uacsta.ConnectionID {
	x.silent = how == uacsta.ParticipationSilent
	items := make([]uacsta.ConnectionListItem, 0, len(x.call.connections))
	for _, y := range x.call.connections {
		now := y.id()
		old := &now
		if y == x {
			old = before
		}
		items = append(items, y.end().item(now, old))
	}
	x.call.sw.emit(x.call, nil, uacsta.ConferencedEvent{
		PrimaryOldCall: through, SecondaryOldCall: before, ConferencingDevice: uacsta.Ext(by.number), AddedParty: uacsta.Ext(x.device.number),
		ConferenceConnections: items, Cause: participations[how],
	})
	return x.id()
}

// singleStepConferenceCall implements Single Step Conference Call (ECMA-269 17.1). The added
// phone goes off-hook by itself.
func (s *Switch) singleStepConferenceCall(req *uacsta.SingleStepConferenceCall) (any, error) {
	x, d, err := s.adding(req.ActiveCall, req.DeviceToJoin, req.ParticipationType)
	if err != nil {
		return nil, err
	}
	joined := x.call.join(d, uacsta.Connected).added(x.device, x.id(), nil, req.ParticipationType)
	return uacsta.SingleStepConferenceCallResponse{ConferencedCall: joined}, nil
}

// adding returns the connection of an active call and the device to add to it.
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

// joinCall implements Join Call (ECMA-269 17.1). With prompt, the joining phone rings first.
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

// joinConference adds a device that was prompted to join and has been lifted.
func (x *connection) joinConference() {
	how := uacsta.ParticipationActive
	if x.silent {
		how = uacsta.ParticipationSilent
	}
	x.become(uacsta.Connected)
	x.added(x.device, x.call.others(x)[0].id(), nil, how)
}

// intrudeCall implements Intrude Call (ECMA-269 17.1). The caller of a busy device enters that
// device's active call.
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
	own.notifyCleared(y, uacsta.CauseIntrude)
	x.move(busy.call)
	joined := x.added(x.device, busy.id(), &before, req.ParticipationType)
	own.end(uacsta.CauseIntrude, busy.call)
	return uacsta.IntrudeCallResponse{ConferencedCall: joined}, nil
}

// directedPickupCall implements Directed Pickup Call (ECMA-269 17.1) for a call that rings, is
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

// pickedUp moves a call to another device, which answers it.
func (x *connection) pickedUp(by *device) uacsta.ConnectionID {
	c, cause := x.call, uacsta.CauseCallPickup
	if x.device.park {
		cause = uacsta.CausePark
	}
	group, among := x.group, x.among
	x.leave()
	x.divert(by.number, cause)
	y := c.join(by, uacsta.Alerting)
	y.group, y.among = group, among
	y.establish(cause)
	return y.id()
}

// groupPickupCall implements Group Pickup Call (ECMA-269 17.1). It takes the call that has rung
// longest in the pickup group.
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

// picksUp reports whether two devices share a pickup group.
func (s *Switch) picksUp(d, other *device) bool {
	for _, group := range s.devices {
		if slices.Contains(group.pickup, d) && slices.Contains(group.pickup, other) {
			return true
		}
	}
	return false
}

// pickupGroup returns the named pickup group, or the one the device is in.
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

// parkCall implements Park Call (ECMA-269 17.1). Directed Pickup Call fetches the call. After
// Config.ParkTime it returns to the device that parked it.
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
	x.divert(p.number, uacsta.CausePark)
	y := c.join(p, uacsta.Queued)
	y.parker = parker
	s.emit(c, nil, uacsta.QueuedEvent{QueuedConnection: y.id(), Queue: uacsta.Ext(p.number), Cause: uacsta.CausePark})
	y.recallLater()
	return uacsta.ParkCallResponse{ParkedTo: y.id()}, nil
}

// recallLater returns a parked call to the device that parked it, once the time has passed and
// the phone is free.
func (x *connection) recallLater() {
	x.after(x.call.sw.cfg.ParkTime, func() {
		if c := x.call; x.parker.takes(c) {
			x.leave()
			x.divert(x.parker.number, uacsta.CauseRecall)
			c.ring(x.parker, uacsta.CauseRecall, nil)
			return
		}
		x.stopTimers()
		x.recallLater()
	})
}
