package linktest

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tr87proxy/tr87proxy/proxy"
)

// A Kit says how a link and the switching function behind it are made.
type Kit struct {
	// New makes both. The switching function serves until the test ends: New registers that by
	// t.Cleanup. The link is new, and does not run.
	New func(t testing.TB) *Rig
	// Bubble reports whether everything of the link stays in one process, without sockets: each
	// check then runs under testing/synctest.
	Bubble bool
	// Outlasts reports whether a life outlasts its connection: the link has several peers, and goes on
	// when it loses the only one of the rig. What waits for that peer then has its reply all the same.
	Outlasts bool
	// Patience is how long the suite waits for what must come; 20 s. It must be longer than the link
	// waits for an answer of the switching function.
	Patience time.Duration
	// Without names the checks that are left out, and says how the link behaves instead.
	Without map[string]string
}

// A Rig is a link with its switching function, and what a test can do to them.
//
// Of the switching function the suite wants this. It takes 40 and more calls of Device, one after the
// other and many at a time, to Called and to the numbers 100 to 139, and answers MakeCall with the
// callID; where Device can have few calls, the others are refused. Called may answer or not. A call of
// Device lasts until ClearConnection; when there are more than ten, the switching function may end
// the oldest, so that they do not pile up. It serves every connection of the link anew.
type Rig struct {
	Link   proxy.Link
	Device string // of the link: it is watched, and calls
	Called string // the number that Device calls
	// Tell has something happen at Device, at the switching function and without a request, that
	// each monitor on Device is told by at least one event. No two of these are alike: a call has a
	// callID of its own. It can be called in every life, any number of times, by any goroutine.
	Tell func()
	// Relay carries the octets between the link and the switching function; nil where there are
	// none: the checks of the wire then must be left out.
	Relay *Relay
	// Heard returns the numbers that the switching function was asked to call, in the order of the
	// requests, and forgets them; nil: order shows by the replies only.
	Heard func() []string
}

// A check is one part of the contract.
type check struct {
	name  string // which Kit.Without can have
	wire  bool   // it needs a Relay
	heard bool   // it needs Heard
	run   func(*bench)
}

// checks are the parts of the contract, in the order in which they are played: where a basic one
// fails, the others have little to say.
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

// named finds a check.
func named(name string) (c check, known bool) {
	at := slices.IndexFunc(checks, func(c check) bool { return c.name == name })
	if at < 0 {
		return check{}, false
	}
	return checks[at], true
}

// Test checks a link, one subtest for each part of the contract, and stops where the link does not
// come up. Run it with the race detector.
func Test(t *testing.T, kit Kit) {
	for name := range kit.Without {
		if _, known := named(name); !known {
			t.Fatalf("there is no check %q to leave out", name)
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
				if c.wire && b.rig.Relay == nil || c.heard && b.rig.Heard == nil {
					t.Fatal("the rig cannot show this, and Kit.Without does not say why")
				}
				c.run(b)
				b.over()
			})
		})
		if c.name == "Ready" && !passed {
			t.Fatal("the link does not come up; the other checks are not played")
		}
	}
}

// inside runs a test in a bubble where the link can live in one.
func (k Kit) inside(t *testing.T, test func(t *testing.T)) {
	if k.Bubble {
		synctest.Test(t, test)
		return
	}
	test(t)
}

// patience is how long what must come may take, unless the kit says something else.
const patience = 20 * time.Second
