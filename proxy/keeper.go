package proxy

import (
	"slices"

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

// Candidate is a connection that an identifier may stand for.
type Candidate struct {
	ID   uacsta.ConnectionID
	Fits bool // its state permits the service
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
