package linktest

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tr87proxy/tr87proxy/internal/wait"
	"github.com/tr87proxy/tr87proxy/proxy"
)

// A Kit describes the link under test to [Test].
type Kit struct {
	// New returns a new link, which is not running, and its switching function, which serves until the
	// test ends: New stops it with t.Cleanup.
	New func(t testing.TB) *Rig
	// Bubble reports whether the link and its switching function use no sockets or other processes.
	// Each check then runs under testing/synctest.
	Bubble bool
	// Outlasts reports whether a life outlasts its connection: the link has several peers and
	// continues when it loses the only one of the rig. Requests that wait for that peer must get their
	// replies nevertheless.
	Outlasts bool
	// Patience is the timeout of everything that must happen. It must be longer than the link's own
	// timeout for a response. Default: a third of wait.Limit (20 s).
	Patience time.Duration
	// Without names the checks to skip, each with how the link behaves instead.
	Without map[string]string
}

// A Rig is a link with its switching function and the means to control them.
//
// The switching function must accept 40 and more calls of Device, one after another and concurrently,
// to Called and to the numbers 100 to 139, and respond to MakeCall with the callID; if Device can have
// few calls, it refuses the others. Called may answer or not. A call of Device lasts until
// ClearConnection; when there are more than ten, the switching function may end the oldest. It treats
// every connection of the link as a new one.
type Rig struct {
	Link   proxy.Link
	Device string // the device of the link that is monitored and places calls
	Called string // the number that Device calls
	// Tell makes something happen at Device, on the switching function and without a request, that
	// each monitor on Device gets at least one event for. No two are alike: a call has its own callID.
	// Tell may be called in every life, any number of times, from any goroutine.
	Tell func()
	// Relay forwards the octets between the link and the switching function. If it is nil, Kit.Without
	// must skip the checks of the wire.
	Relay *Relay
	// Heard returns and forgets the numbers that the switching function was asked to call, in the
	// order of the requests. If it is nil, only replies show the order, and Kit.Without must skip
	// OrderOfRequests.
	Heard func() []string
}

// A check tests one part of the contract.
type check struct {
	name  string // for Kit.Without
	wire  bool   // needs a Relay
	heard bool   // needs Heard
	run   func(*bench)
}

// checks are run in this order: if a basic one fails, the later ones mean little.
var checks = []check{
	{name: "Ready", run: ready},
	{name: "NothingBeforeReady", run: nothingBeforeReady},
	{name: "Services", run: services},
	{name: "Editions", run: editions},
	{name: "Snapshot", run: snapshot},
	{name: "Connections", run: keptConnections},
	{name: "RefusedBeforeReady", run: refusedBeforeReady},
	{name: "RefusedWhileDialling", wire: true, run: refusedWhileDialling},
	{name: "RefusedAfterRun", run: refusedAfterRun},
	{name: "OrderOfReplies", run: orderOfReplies},
	{name: "OrderOfRequests", heard: true, run: orderOfRequests},
	{name: "ReplyBeforeEvents", run: replyBeforeEvents},
	{name: "EveryMonitor", run: everyMonitor},
	{name: "Reentry", run: reentry},
	{name: "RunAgain", run: runAgain},
	{name: "References", run: references},
	{name: "NothingAfterRun", run: nothingAfterRun},
	{name: "Panic", run: panics},
	{name: "SilentSwitch", wire: true, run: silentSwitch},
	{name: "CutRequest", wire: true, run: cutRequest},
	{name: "CutAnswer", wire: true, run: cutAnswer},
	{name: "Garbage", wire: true, run: garbage},
	{name: "Histories", run: nil},
}

// named returns the check with a name.
func named(name string) (c check, known bool) {
	at := slices.IndexFunc(checks, func(c check) bool { return c.name == name })
	if at < 0 {
		return check{}, false
	}
	return checks[at], true
}

// Test checks a link, with one subtest for each part of the contract. It stops if the link does not
// come up. Run it with the race detector.
func Test(t *testing.T, kit Kit) {
	for name := range kit.Without {
		if _, known := named(name); !known {
			t.Fatalf("Kit.Without names %q, which is no check", name)
		}
	}
	if kit.Patience == 0 {
		kit.Patience = patience
	}
	for _, c := range checks {
		passed := t.Run(c.name, func(t *testing.T) {
			if why := kit.Without[c.name]; why != "" {
				t.Skip(why)
			}
			if c.run == nil {
				histories(t, kit)
				return
			}
			kit.inside(t, func(t *testing.T) {
				b := newBench(t, kit)
				if c.wire && b.rig.Relay == nil {
					t.Fatal("Rig.Relay is nil; set it, or name this check in Kit.Without")
				}
				if c.heard && b.rig.Heard == nil {
					t.Fatal("Rig.Heard is nil; set it, or name this check in Kit.Without")
				}
				c.run(b)
				b.over()
			})
		})
		if c.name == "Ready" && !passed {
			t.Fatal("the link does not come up; the other checks are skipped")
		}
	}
}

// inside runs a test, in a bubble if the kit allows it.
func (k Kit) inside(t *testing.T, test func(t *testing.T)) {
	if k.Bubble {
		synctest.Test(t, test)
		return
	}
	test(t)
}

// patience is the default of Kit.Patience. Checks of what must not happen wait for a fifth of it.
var patience = wait.Limit / 3
