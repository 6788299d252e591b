package proxy

import (
	"testing"

	"github.com/tr87proxy/tr87proxy/policy"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

// A request that sends a call to a device that it names is of the class new-calls: a rule
// about expensive destinations must reach it.
func TestDestinationsAreNewCalls(t *testing.T) {
	for name, svc := range services {
		if name == "SetAgentState" { // group is where an agent logs on; no call goes there
			continue
		}
		if len(svc.destinations) > 0 && !uacsta.InClass(name, "new-calls") {
			t.Errorf("%s has destinations and is not of the class new-calls", name)
		}
	}
}

// What the table says of observing is what the core asks policy for.
func TestObservingIsAsTheTableSays(t *testing.T) {
	for _, name := range uacsta.Names() {
		if !uacsta.IsRequest(name) || own[name] != nil {
			continue
		}
		if underReference[name] == segments { // what a switching function sends in segments
			continue
		}
		if got := ActionOf(name) == policy.Observe; got != uacsta.Observes(name) {
			t.Errorf("%s: the core observes %v, the table %v", name, got, uacsta.Observes(name))
		}
	}
}
