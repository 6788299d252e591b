package softswitch

import "github.com/tr87proxy/tr87proxy/uacsta"

// When a call alerts. A virtual phone rings at once. A real telephone, or the network, is called first: its connection
// is on its way until the telephone or the network says what becomes of it ([Switch.Progress], [Switch.Answered],
// [Switch.Declined]). Meanwhile clients are not told of it. The timers of a ringing connection run all the same.

// coming is the part of a connection that is on its way.
type coming struct {
	cause uacsta.EventCause           // of the event that is due: Delivered, or NetworkReached
	known uacsta.LocalConnectionState // what clients know of it: null, queued (camped on), or connected (NetworkReached)
}

// told returns the connection's state as clients know it.
func (x *connection) told() uacsta.LocalConnectionState {
	if x.coming != nil {
		return x.coming.known
	}
	return x.state
}

// hidden reports whether clients do not know the connection.
func (x *connection) hidden() bool { return x.coming != nil && x.coming.known == uacsta.Null }

// known returns the device's first connection in the call that clients know, or nil.
func (c *call) known(d *device) *connection {
	for _, x := range c.connections {
		if x.device == d && !x.hidden() {
			return x
		}
	}
	return nil
}

// alert calls a device. cause is that of Delivered.
func (x *connection) alert(cause uacsta.EventCause) {
	known := x.state
	x.become(uacsta.Alerting)
	if x.device.real && known != uacsta.Hold { // the user who held the call is there
		x.coming = &coming{cause, known}
		x.arm()
		return
	}
	x.deliver(cause)
}

// deliver sends the event that a connection alerts, and rings.
func (x *connection) deliver(cause uacsta.EventCause) {
	x.call.sw.emit(x.call, nil, uacsta.DeliveredEvent{Connection: x.id(), AlertingDevice: x.end().who, Cause: cause})
	x.arm()
	x.call.conditionMet(uacsta.SignallingCallDelivered)
}

// reach reports that the network has a call that was on its way there.
func (x *connection) reach() {
	if x.device.trunk == nil || !x.hidden() {
		return
	}
	x.coming.known = uacsta.Connected
	x.call.sw.emit(x.call, nil, uacsta.NetworkReachedEvent{
		OutboundConnection: x.id(), NetworkInterfaceUsed: uacsta.Ext(x.device.number), Cause: x.coming.cause,
		NetworkCapability: &uacsta.NetworkCapability{
			NetworkType: uacsta.NetworkTypeISDNPublic, EventsProvided: &uacsta.NetworkEvents{Delivered: true, Established: true, Failed: true, ConnectionCleared: true},
		},
	})
}

// arrive reports that a connection alerts that was on its way. Its time to answer begins.
func (x *connection) arrive() {
	if x.coming == nil {
		return
	}
	x.reach()
	cause := x.coming.cause
	if x.device.trunk != nil {
		cause = uacsta.CauseNetworkSignal
	}
	x.coming = nil
	x.deliver(cause)
}

// Progress reports that the network has a call, or, with alerts, that a telephone or the far end of a line rings.
func (s *Switch) Progress(number string, key int, alerts bool) {
	s.by(number, key, func(x *connection) {
		if x.reach(); alerts {
			x.arrive()
		}
	})
}
