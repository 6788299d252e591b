package linktest

import (
	"maps"
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
	// Without names the checks that are left out, and says how the link behaves instead.
	Without map[string]string
}

// A Rig is a link with its switching function, and what a test can do to them.
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
	wire  bool // it needs a Relay
	heard bool // it needs Heard
	run   func(*bench)
}

// checks are the parts of the contract, by the names that Kit.Without can have.
var checks = map[string]check{
	"NothingBeforeReady":   {run: nothingBeforeReady},
	"RefusedBeforeReady":   {run: refusedBeforeReady},
	"RefusedWhileDialling": {wire: true, run: refusedWhileDialling},
	"RefusedAfterRun":      {run: refusedAfterRun},
	"Services":             {run: services},
	"Editions":             {run: editions},
	"OrderOfReplies":       {run: orderOfReplies},
	"OrderOfRequests":      {heard: true, run: orderOfRequests},
	"ReplyBeforeEvents":    {run: replyBeforeEvents},
	"EveryMonitor":         {run: everyMonitor},
	"Reentry":              {run: reentry},
	"NothingAfterRun":      {run: nothingAfterRun},
	"RunAgain":             {run: runAgain},
	"References":           {run: references},
	"Panic":                {run: panics},
	"Histories":            {run: nil},
	"CutRequest":           {wire: true, run: cutRequest},
	"CutAnswer":            {wire: true, run: cutAnswer},
	"SilentSwitch":         {wire: true, run: silentSwitch},
	"Garbage":              {wire: true, run: garbage},
}

// Test checks a link, one subtest for each part of the contract. Run it with the race detector.
func Test(t *testing.T, kit Kit) {
	for name := range kit.Without {
		if _, known := checks[name]; !known {
			t.Fatalf("there is no check %q to leave out", name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(checks)) {
		c := checks[name]
		t.Run(name, func(t *testing.T) {
			if why := kit.Without[name]; why != "" {
				t.Skip(why)
			}
			if name == "Histories" {
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

// patience is how long what must come may take.
const patience = 20 * time.Second
