package softswitch

import (
	"github.com/tr87proxy/tr87proxy/uacsta"
)

// The services of this file change who takes part in a call.

var (
	errParticipation    = uacsta.Refuse(uacsta.Operation, uacsta.InvalidParticipationType)
	errDestinationState = uacsta.Refuse(uacsta.StateIncompatibility, uacsta.InvalidDestinationDeviceState)
)

// clearCall: ECMA-269 17.1 Clear Call.
func (s *Switch) clearCall(req *uacsta.ClearCall) (any, error) {
	x, err := s.find(req.CallToBeCleared, errConnection)
	if err != nil {
		return nil, err
	}
	for c := x.call; len(c.connections) > 0; {
		y := c.connections[0]
		y.leave()
		c.tellCleared(y, uacsta.CauseNormalClearing)
	}
	return uacsta.ClearCallResponse{}, nil
}

// free reports why a device cannot be put into a call at once.
func (d *device) free(c *call) *uacsta.Error {
	switch {
	case c.of(d) != nil:
		return errSameParty
	case d.active() != nil || d.busy() || d.dnd:
		return errDestinationState
	}
	return nil
}

// singleStepConferenceCall: ECMA-269 17.1 Single Step Conference Call. The phone
// that is added goes off-hook by itself.
func (s *Switch) singleStepConferenceCall(req *uacsta.SingleStepConferenceCall) (any, error) {
	x, err := s.find(req.ActiveCall, errActiveID)
	if err != nil {
		return nil, err
	}
	causes := map[uacsta.ParticipationType]uacsta.EventCause{
		uacsta.ParticipationActive: uacsta.CauseActiveParticipation, uacsta.ParticipationSilent: uacsta.CauseSilentParticipation,
	}
	cause, d, c := causes[req.ParticipationType], s.devices[req.DeviceToJoin.ID], x.call
	switch {
	case cause == "":
		return nil, errParticipation
	case x.state != uacsta.Connected || !c.established():
		return nil, errActiveState
	case d == nil:
		return nil, errDestination
	case len(c.connections) >= maxMembers:
		return nil, errMembers
	}
	if refusal := d.free(c); refusal != nil {
		return nil, refusal
	}
	var items []uacsta.ConnectionListItem
	for _, y := range c.connections {
		id := y.id()
		items = append(items, uacsta.ConnectionListItem{NewConnection: &id, OldConnection: &id, Endpoint: &uacsta.ConnectionListEnd{DeviceID: uacsta.Dev(y.device.number)}})
	}
	joined := c.join(d, uacsta.Connected).id()
	items = append(items, uacsta.ConnectionListItem{NewConnection: &joined, Endpoint: &uacsta.ConnectionListEnd{DeviceID: uacsta.Dev(d.number)}})
	s.emit(c, nil, func(ref string, local uacsta.LocalConnectionState) any {
		return uacsta.ConferencedEvent{
			MonitorCrossRefID: ref, PrimaryOldCall: x.id(), ConferencingDevice: uacsta.Ext(x.device.number), AddedParty: uacsta.Ext(d.number),
			ConferenceConnections: items, LocalConnectionInfo: local, Cause: cause,
		}
	})
	return uacsta.SingleStepConferenceCallResponse{ConferencedCall: joined}, nil
}

// established reports whether every party of the call talks or is on hold.
func (c *call) established() bool {
	for _, y := range c.connections {
		if y.state != uacsta.Connected && y.state != uacsta.Hold {
			return false
		}
	}
	return len(c.connections) > 1
}

// directedPickupCall: ECMA-269 17.1 Directed Pickup Call, of a call that rings or
// is on hold.
func (s *Switch) directedPickupCall(req *uacsta.DirectedPickupCall) (any, error) {
	x, err := s.find(req.CallToBePickedUp, errConnection)
	if err != nil {
		return nil, err
	}
	d, c := s.devices[req.RequestingDevice.ID], x.call
	switch {
	case x.state != uacsta.Alerting && x.state != uacsta.Hold:
		return nil, errState
	case d == nil:
		return nil, errDestination
	}
	if refusal := d.free(c); refusal != nil {
		return nil, refusal
	}
	x.leave()
	c.divert(x.device, d.number, uacsta.CauseCallPickup)
	y := c.join(d, uacsta.Alerting)
	y.establish(uacsta.CauseCallPickup)
	return uacsta.DirectedPickupCallResponse{PickedCall: y.id()}, nil
}
