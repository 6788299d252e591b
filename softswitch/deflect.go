package softswitch

import (
	"cmp"
	"slices"

	"github.com/tr87proxy/tr87proxy/uacsta"
)

// deflectCall implements Deflect Call (ECMA-269 17.1). With several destinations all of them ring.
func (s *Switch) deflectCall(req *uacsta.DeflectCall) (any, error) {
	x, err := s.permit(req.CallToBeDiverted, (*connection).mayDeflect)
	if err != nil {
		return nil, err
	}
	var rings []string
	switch list := req.NewDestination; len(list) {
	case 0:
		return nil, errDestination
	case 1:
		target := s.target(list[0].ID, nil)
		again := target == x.device && x.state == uacsta.Connected // a queue distributes the call that a client has answered there
		if target == nil || !target.callable() || !x.call.admits(target) && !again {
			return nil, errDestination
		}
	default:
		var refusal *uacsta.Error
		if rings, refusal = x.reachable(list); refusal != nil {
			return nil, refusal
		}
	}
	if !req.CorrelatorData.IsZero() {
		x.call.data.correlator = req.CorrelatorData
	}
	if len(rings) > 0 {
		x.deflectToAll(rings)
	} else {
		x.sendOn(req.NewDestination[0].ID, uacsta.CauseRedirected)
	}
	return uacsta.DeflectCallResponse{}, nil
}

// reachable returns those of several destinations at which a call of the connection can ring now. They must be extensions,
// or numbers of the network that the device may call: what distributes calls itself takes a call alone. Like the members
// of a hunt group, they do not forward it.
func (x *connection) reachable(list []uacsta.DeviceID) ([]string, *uacsta.Error) {
	s, c := x.call.sw, x.call
	if len(list)+len(c.connections)-1 > maxMembers {
		return nil, errLimit
	}
	var found []string
	taken := map[*device]int{}
	for i, to := range list {
		if slices.ContainsFunc(list[:i], func(other uacsta.DeviceID) bool { return other.ID == to.ID }) {
			continue // once is enough
		}
		d := s.target(to.ID, nil)
		takes := d != nil && taken[d] == 0 && d.takes(c)
		if d != nil && d.trunk != nil {
			way, _ := free(s.waysOut(to.ID), taken)
			d, takes = cmp.Or(way, d), way != nil && !way.terminal.Busy()
		}
		switch {
		case d == nil || !d.station() && d.trunk == nil || d.trunk != nil && !c.sendsOut(x.device, to.ID):
			return nil, errDestination
		case takes:
			taken[d]++
			found = append(found, to.ID)
		}
	}
	if len(found) == 0 {
		return nil, errDestinationState
	}
	return found, nil
}

// deflectToAll makes a call ring at several destinations instead of the connection. The first that answers has the call.
func (x *connection) deflectToAll(list []string) {
	c, left := x.call, x.id()
	x.leave()
	for _, to := range list {
		c.notifyDiverted(left, x.device, to, uacsta.CauseRedirected)
	}
	x.stopOthers()
	c.diverted(left, x.device, uacsta.CauseRedirected)
	for _, to := range list {
		d := c.sw.target(to, nil)
		if d.trunk != nil {
			d, _ = free(c.sw.waysOut(to), nil)
			c.seize(d, to, uacsta.CauseRedirected, x.order)
			continue
		}
		y := c.join(d, uacsta.Null)
		y.among = x.order
		y.alert(uacsta.CauseRedirected)
	}
}

// dropsOut clears a connection that does not take a call that still rings at others of several destinations. It returns
// false if there are none.
func (x *connection) dropsOut(cause uacsta.EventCause) bool {
	for _, y := range x.call.others(x) {
		if x.ringsWith(y) {
			x.leave()
			x.call.notifyCleared(x, cause)
			return true
		}
	}
	return false
}

// ringsWith reports whether a call rings at another connection for the same hunt group or queue, or because it was
// deflected to both.
func (x *connection) ringsWith(y *connection) bool {
	return y.alerts() && (y.group != nil && y.group == x.group || y.among != 0 && y.among == x.among)
}
