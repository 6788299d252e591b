package softswitch

import (
	"github.com/tr87proxy/tr87proxy/uacsta"
)

// Calls to and from the network. The trunk is the party that stands for whoever is
// beyond it; it is connected from NetworkReached on (ECMA-269 network interface
// devices).

// goOut takes the call into the network.
func (c *call) goOut(from *connection, d *device, number string, cause uacsta.EventCause) {
	switch {
	case d.away:
		c.failAt(from, uacsta.CauseNetworkNotObtainable)
		return
	case d.inUse() >= d.lines:
		c.failAt(from, uacsta.CauseTrunksBusy)
		return
	}
	x := c.join(d, uacsta.Connected)
	x.far, c.outbound = number, x
	c.sw.emit(c, nil, uacsta.NetworkReachedEvent{
		OutboundConnection: x.id(), NetworkInterfaceUsed: uacsta.Ext(d.number), Cause: cause,
		NetworkCapability: &uacsta.NetworkCapability{
			NetworkType: uacsta.NetworkTypeISDNPublic, EventsProvided: &uacsta.NetworkEvents{Delivered: true, Established: true, Failed: true, ConnectionCleared: true},
		},
	})
	if d.terminal.Busy() {
		x.refused = true
		c.failAt(x, uacsta.CauseBusy)
		return
	}
	c.sw.emit(c, nil, uacsta.DeliveredEvent{Connection: x.id(), AlertingDevice: uacsta.Ext(number), Cause: uacsta.CauseNetworkSignal})
	x.arm()
	c.conditionMet(x, uacsta.SignallingCallDelivered)
}

// farEndAnswers tells that whoever was called outside has answered.
func (x *connection) farEndAnswers() {
	c := x.call
	x.reached = true
	x.stopTimers()
	x.device.terminal.Stop(c.id)
	c.touch()
	c.sw.emit(c, nil, uacsta.EstablishedEvent{EstablishedConnection: x.id(), AnsweringDevice: uacsta.Ext(x.far), Cause: uacsta.CauseNetworkSignal})
	c.conditionMet(x, uacsta.SignallingCallEstablished)
}
