package softswitch

import (
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/tr87proxy/tr87proxy/uacsta"
)

// Calls to and from the network. The trunk is the party that represents the far end. It is
// connected from NetworkReached on (ECMA-269, network interface devices). Its lines are not devices:
// each that is in a call is a connection of the trunk.

// admits reports whether a device can get one more connection in the call: a trunk can have several.
func (c *call) admits(d *device) bool { return d.trunk != nil || c.of(d) == nil }

// next returns what will identify the next connection of a device in the call: the number of the
// device, or for a further connection of a trunk a dynamic identifier (ECMA-269 6.1.3), which no other
// connection of the call has had.
func (c *call) next(d *device) uacsta.DeviceID {
	if c.of(d) == nil {
		return uacsta.Dev(d.number)
	}
	return uacsta.Typed(fmt.Sprintf("%X", fmt.Appendf(nil, "%s-%d", d.number, c.channels+1)), uacsta.Dynamic)
}

// take adds a connection to the call and gives it its identifier there.
func (c *call) take(x *connection) {
	x.call, x.local = c, c.next(x.device)
	if x.local.Type() == uacsta.Dynamic {
		c.channels++
	}
	c.connections = append(c.connections, x)
}

// StaticDevice implements [proxy.StaticLister] for the identifiers of [call.next].
func (s *Switch) StaticDevice(dynamic string) string {
	text, err := hex.DecodeString(dynamic)
	number, _, _ := strings.Cut(string(text), "-")
	if d := s.devices[number]; err == nil && d != nil && d.trunk != nil { // read-only after New
		return number
	}
	return ""
}

// checkInward returns an error if an inward number leads to a device that does not exist or
// takes no calls. A trunk is not allowed: incoming calls must not go out again.
func (s *Switch) checkInward() error {
	for _, t := range s.trunks {
		for _, number := range slices.Sorted(maps.Keys(t.trunk.Inward)) {
			to := t.trunk.Inward[number]
			if d := s.devices[to]; d == nil || d.trunk != nil || !d.callable() {
				return fmt.Errorf("inward number %q of trunk %q: %q does not exist or takes no calls", number, t.number, to)
			}
		}
	}
	return nil
}

// arriving makes the call that comes in over a trunk.
func (s *Switch) arriving(d *device, a Arrival) *call {
	c := s.newCall(end{who: a.Caller, nid: d}, a.Called)
	if c.redirected = a.Redirected; !a.Redirected.IsZero() {
		c.history = []uacsta.DeviceHistoryListItem{{OldDeviceID: a.Redirected, EventCause: a.Cause}}
	}
	return c
}

// mayGoOut reports whether a call may leave by a trunk to a number: the extension that sends it
// must be allowed to call that number. An incoming call may leave only if such an extension
// diverts it.
func (c *call) mayGoOut(from *connection, number string) bool {
	by := c.sw.devices[c.redirecting]
	if by == nil {
		by = c.caller()
		if from != nil {
			by = from.device
		}
	}
	return c.sendsOut(by, number)
}

// MayReach reports whether the call that goes out by a line may go to another number instead, to which the network
// redirects it: that needs the same right.
func (s *Switch) MayReach(trunk string, key int, number string) (may bool) {
	s.by(trunk, key, func(x *connection) { may = x.call.mayGoOut(nil, number) })
	return may
}

// sendsOut reports whether a device, which may be nil, may send the call to a number of the network.
func (c *call) sendsOut(by *device, number string) bool {
	if by == nil || !by.station() {
		return c.trunkIn == nil // sent by the configuration or a computing function
	}
	return slices.ContainsFunc(by.outside, func(prefix string) bool { return strings.HasPrefix(number, prefix) })
}

// waysOut returns the trunks with a prefix of the number, in configured order.
func (s *Switch) waysOut(number string) []*device {
	var ways []*device
	for _, d := range s.trunks {
		if slices.ContainsFunc(d.trunk.Prefixes, func(p string) bool { return strings.HasPrefix(number, p) }) {
			ways = append(ways, d)
		}
	}
	return ways
}

// free returns the first of some trunks that is in service and has a line beside those that are taken. If there is
// none, it returns nil and the cause.
func free(ways []*device, taken map[*device]int) (*device, uacsta.EventCause) {
	why := uacsta.CauseNetworkNotObtainable
	for _, d := range ways {
		switch {
		case d.away:
		case d.inUse()+taken[d] >= d.lines:
			why = uacsta.CauseTrunksBusy
		default:
			return d, ""
		}
	}
	return nil, why
}

// goOut sends the call to the network by the first trunk that can take it.
func (c *call) goOut(from *connection, number string, cause uacsta.EventCause) {
	d, why := free(c.sw.waysOut(number), nil)
	if d == nil {
		c.failAt(from, why)
		return
	}
	c.seize(d, number, cause, 0)
}

// noWay are the causes for which a trunk cannot take a call that another trunk may take.
var noWay = []uacsta.EventCause{
	uacsta.CauseNetworkCongestion, uacsta.CauseNetworkOutOfOrder, uacsta.CauseNetworkNotObtainable, uacsta.CauseResourcesNotAvailable,
}

// goesOn sends a call out by the next trunk if its trunk cannot take it, and nobody has been told of it yet. It returns
// false if there is none.
func (x *connection) goesOn(cause uacsta.EventCause) bool {
	if x.device.trunk == nil || !x.hidden() || !slices.Contains(noWay, cause) {
		return false
	}
	c, number, due := x.call, x.far.Device.ID, x.coming.cause
	ways := c.sw.waysOut(number)
	d, _ := free(ways[slices.Index(ways, x.device)+1:], nil)
	if d == nil {
		return false
	}
	x.leave()
	c.seize(d, number, due, x.among)
	return true
}

// seize takes a line of a trunk that has a free one. among is for connection.among.
func (c *call) seize(d *device, number string, cause uacsta.EventCause, among int) {
	x := c.join(d, uacsta.Connected)
	x.among = among
	x.far, c.outbound = uacsta.Ext(number), x
	x.coming = &coming{cause, uacsta.Null}
	if d.real {
		x.arm()
		return
	}
	x.reach()
	if d.terminal.Busy() {
		if x.goFurther() {
			return
		}
		x.refused = true
		c.failAt(x, uacsta.CauseBusy)
		return
	}
	x.arrive()
}

// farEndAnswers handles the answer of the far end.
func (x *connection) farEndAnswers() {
	c := x.call
	c.outbound = x
	x.reached, c.further, c.returning = true, nil, nil
	x.stopTimers()
	x.device.terminal.Stop(x.order)
	c.touch()
	c.sw.emit(c, nil, uacsta.EstablishedEvent{EstablishedConnection: x.id(), AnsweringDevice: x.far, Cause: uacsta.CauseNetworkSignal})
	x.stopOthers()
	c.conditionMet(uacsta.SignallingCallEstablished)
}
