package softswitch

import "github.com/tr87proxy/tr87proxy/uacsta"

// The return of a call that was transferred, and that nobody takes.

// returning says where a call returns to.
type returning struct {
	to   *device
	leg  any  // of the telephone that transferred it by itself and waits for the outcome, for Party.Leg; nil: the device has left
	held bool // its user held the call
}

// returnsTo returns what brings the connection's call back to its telephone.
func (x *connection) returnsTo(leg any) *returning {
	return &returning{to: x.device, leg: leg, held: x.state == uacsta.Hold}
}

// recalls has the cause of a call's return for the cause of its failure.
var recalls = map[uacsta.EventCause]uacsta.EventCause{
	uacsta.CauseBusy: uacsta.CauseRecallBusy, uacsta.CauseCallNotAnswered: uacsta.CauseRecallNoAnswer,
	uacsta.CauseResourcesNotAvailable: uacsta.CauseRecallResourcesNotAvailable,
}

// returns gives a call back to the device that has transferred it: at once to a telephone that waits for the outcome; any
// other one rings. at is the connection that fails: that of the target, which leaves the call, or that of the party that
// was transferred. returns does nothing and returns false if nobody has transferred the call, if others are in it, or if
// the device cannot ring.
func (c *call) returns(at *connection, cause uacsta.EventCause) bool {
	back := c.returning
	if back == nil || at == nil || c.of(back.to) != nil || back.leg == nil && !back.to.takes(c) {
		return false
	}
	fails := !at.talking()
	if fails && len(c.others(at)) != 1 || !fails && len(c.connections) != 1 {
		return false
	}
	why := recalls[cause]
	if why == "" {
		why = uacsta.CauseRecall
	}
	if fails {
		at.leave()
		at.divert(back.to.number, why)
	}
	if back.leg == nil {
		c.returning = nil
		c.ring(back.to, why, nil)
		return true
	}
	talks := back.to.active() != nil
	x := c.join(back.to, uacsta.Alerting)
	x.leg, x.cause = back.leg, cause
	c.sw.emit(c, nil, uacsta.DeliveredEvent{Connection: x.id(), AlertingDevice: uacsta.Ext(back.to.number), Cause: why})
	x.establish(why)
	if back.held || talks {
		x.hold(uacsta.CauseNormal)
	}
	return true
}

// Keep reports that the telephone of a leg has left, and does not take back the call that it has transferred: that of
// the party with this key.
func (s *Switch) Keep(party string, key int, leg any) {
	s.by(party, key, func(x *connection) {
		if back := x.call.returning; back != nil && back.leg == leg {
			x.call.returning = nil
		}
	})
}
