package proxy

import (
	"slices"

	"github.com/tr87proxy/tr87proxy/policy"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

// A ConnectionKeeper is a Link that keeps calls itself and refuses every request for a connection that
// does not exist. It checks callID and device together when it carries out the request, so the core
// need not ask for a snapshot first.
type ConnectionKeeper interface {
	// KeepsConnections does nothing. It only marks the link.
	KeepsConnections()
}

// A ConnectionFinder is a ConnectionKeeper that says which connections an identifier may stand for. The core asks it
// before policy decides, so that policy, the audit file and the link get the one connection that is meant.
type ConnectionFinder interface {
	ConnectionKeeper
	// FindConnections returns the connections that an identifier in an element of a service's request may stand for: a
	// callID alone for those of the call, a device alone for those of the device, both for the one connection. A callID
	// that the call had before a transfer counts, as long as the link knows it. FindConnections does not block.
	FindConnections(service, element string, id uacsta.ConnectionID) []Candidate
}

// A DeviceNamer is a Link whose devices may have several numbers.
type DeviceNamer interface {
	// Device returns the own number of the device that a number stands for, or the number itself. It does not block.
	Device(number string) string
}

// Candidate is a connection that an identifier may stand for.
type Candidate struct {
	ID   uacsta.ConnectionID
	Fits bool // its state permits the service
}

// A StaticLister is an optional interface of a Link that names some connections by dynamic device identifiers: those that
// a device has in one call beside its first (ECMA-269 6.1.3). What a client may do with such a connection is what it may
// do with the device.
type StaticLister interface {
	// StaticDevice returns the static identifier of the device that has the connections with a dynamic one, which is in
	// hexadecimal digits, or "". It depends on the identifier alone, and does not block.
	StaticDevice(dynamic string) string
}

// static returns the device that has connections with an identifier, both in canonical form. For any identifier but a
// dynamic one that the link knows, that is the identifier itself.
func (t *managedLink) static(device string) string {
	id, kind := policy.Element(device)
	if kind != uacsta.Dynamic {
		return device
	}
	if l, ok := t.link.(StaticLister); ok {
		if of := l.StaticDevice(id); of != "" {
			id, _ = inward(t.numbers.Load().In, t.proxy.numbers(), of, "")
			return id
		}
	}
	return device
}

// static returns the device of a connection on which policy decides: see [managedLink.static]. A dynamic identifier
// means nothing outside its call.
func (p *Proxy) static(call string, device policy.Number) policy.Number {
	for _, t := range p.list() {
		if of := t.static(device.String()); of != device.String() && t.calls.has(call) {
			if n, err := p.numbers().Parse(of, ""); err == nil && p.route(n) == t {
				return n
			}
		}
	}
	return device
}

// Only returns the one candidate, or else the one that fits. It returns false if that leaves none or several.
func Only(list []Candidate) (uacsta.ConnectionID, bool) {
	if len(list) != 1 {
		list = slices.DeleteFunc(slices.Clone(list), func(c Candidate) bool { return !c.Fits })
	}
	if len(list) != 1 {
		return uacsta.ConnectionID{}, false
	}
	return list[0].ID, true
}
