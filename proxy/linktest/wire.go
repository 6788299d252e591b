package linktest

import (
	"math/rand/v2"
	"strings"
	"sync/atomic"

	"github.com/tr87proxy/tr87proxy/uacsta"
)

func contains(text, part string) bool { return strings.Contains(text, part) }

// A request that is cut off after any octet gets a reply, and the life ends.
func cutRequest(b *bench) { b.cutAtEvery(toSwitch) }

// So does a request whose response is cut off.
func cutAnswer(b *bench) { b.cutAtEvery(toLink) }

func (b *bench) cutAtEvery(way int) {
	relay := b.rig.Relay
	l := b.up()
	l.must(l.start())
	before := relay.passes()[way]
	l.ask(l.call()).wait()
	length := relay.passes()[way] - before
	l.stop()
	if length < 4 {
		b.t.Fatalf("a request that takes %d octets", length)
	}
	for n := range length {
		l := b.up()
		l.must(l.start())
		relay.cutAfter(way, n)
		l.ask(l.call()).wait()
		relay.cut() // in case this life has fewer octets
		l.lost()
	}
	l = b.up()
	l.must(l.start())
	l.stop()
}

// A switching function that neither reads nor responds blocks nobody: each request gets a reply within
// the link's timeout, and the link notices that the peer is dead. Meanwhile it refuses what exceeds
// its limits; what waits gets a reply when the connection ends.
func silentSwitch(b *bench) {
	l := b.up()
	l.must(l.start())
	b.rig.Relay.stall(true)
	q := l.ask(l.call())
	b.wantOr("a reply to "+q.name+" while the switching function is silent", q.answered, l.state)
	if q.err == nil {
		b.t.Fatalf("%s: the switching function is silent, but it is answered %s", q.name, q.res)
	}
	if b.lasts {
		l.stop()
	} else {
		l.returned("when the switching function is silent")
	}
	b.rig.Relay.stall(false)
	b.rig.Relay.cut()
	l = b.up()
	l.must(l.start())
	b.rig.Relay.stall(true)
	var asked, refused atomic.Int64
	go func() {
		for refused.Load() == 0 && asked.Load() < 100_000 {
			q := l.ask(l.call())
			asked.Add(1)
			if q.answered() {
				refused.Add(1)
			}
		}
		b.happened()
	}()
	for last := int64(-1); refused.Load() == 0; {
		if now := asked.Load(); now >= 100_000 {
			b.t.Fatal("the link accepts requests without limit")
		} else if now == last {
			b.t.Fatal("Request blocks")
		} else {
			last = now
		}
		b.pause(func() bool { return refused.Load() > 0 || asked.Load() >= 100_000 })
	}
	b.rig.Relay.stall(false)
	b.rig.Relay.cut()
	l.lost()
	l = b.up()
	l.must(l.start())
	l.stop()
}

// Octets that are no message end the life or have no effect.
func garbage(b *bench) {
	random := rand.New(rand.NewPCG(1, 2)) //nolint:gosec // the same octets each time
	for range 50 {
		l := b.up()
		ref := l.watch()
		octets := make([]byte, 1+random.IntN(300))
		for i := range octets {
			octets[i] = byte(random.Uint32())
		}
		_ = b.rig.Relay.inject(octets) // fails if the link has closed the connection
		l.ask(l.snapshot())
		l.ask(uacsta.MonitorStop{MonitorCrossRefID: ref})
		b.rig.Relay.cut()
		l.lost()
	}
	l := b.up()
	l.must(l.start())
	l.stop()
}
