package proxy

import (
	"testing"

	"github.com/tr87proxy/tr87proxy/uacsta"
)

// A request with a destination is of the class new-calls, so that a rule about expensive destinations
// covers it.
func TestDestinationsAreNewCalls(t *testing.T) {
	for _, name := range uacsta.Names() {
		if name == uacsta.NameSetAgentState { // group is where an agent logs on; no call goes there
			continue
		}
		if len(uacsta.ServiceOf(name).Elements(uacsta.Destination)) > 0 && !uacsta.InClass(name, "new-calls") {
			t.Errorf("%s has destinations and is not of the class new-calls", name)
		}
	}
}
