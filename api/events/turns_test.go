package events

import (
	"testing"
	"time"

	"github.com/tr87proxy/tr87proxy/internal/eventlog"
	"github.com/tr87proxy/tr87proxy/internal/wait"
)

// Streams of one client that catch up take turns, so others get theirs. One step reads a limited piece of the log, also
// if nothing in it matches.
func TestTurns(t *testing.T) {
	w := newWorld(t, "")
	if err := w.recorder.do(t.Context(), func() {}); err != nil { // it has begun
		t.Fatal(err)
	}
	entries := make([]eventlog.Entry, 10*readAtOnce)
	for i := range entries {
		entries[i] = eventlog.Entry{Time: time.Now(), Device: "101", Kind: "held", Data: []byte(`{"type":"held","device":"101","link":"switch"}`)}
	}
	first := make(chan uint64, 1)
	if err := w.log.Append(entries, func(n uint64, _ error) { first <- n }); err != nil {
		t.Fatal(err)
	}
	zero := uint64(0)
	_ = wait.Next(t, first, "the commit")
	of := func(who string) *reader {
		s := w.subscribe(Wish{Who: who, Devices: []string{"101"}, Link: "nowhere", After: &zero})
		s.until(Ready, "")
		return s
	}
	step := func(s *reader) (steps uint64) {
		t.Helper()
		before := w.recorder.steps.Load()
		if events, err := s.Next(10); len(events) > 0 || err != nil {
			t.Fatal(events, err)
		}
		return w.recorder.steps.Load() - before
	}
	a, b, other := of("crm"), of("crm"), of("bob")
	if n := step(a); n != 1 {
		t.Errorf("%d steps at a time", n)
	}
	wait.Next(t, a.wake, "going on")
	w.recorder.turns.take(a.Subscription) // it is reading
	if n, m := step(b), step(other); n != 0 || m != 1 {
		t.Errorf("%d steps of the same client, %d of another", n, m)
	}
	w.recorder.turns.give(a.Subscription)
	wait.Next(t, b.wake, "its turn")
	if n := step(b); n != 1 {
		t.Errorf("%d steps", n)
	}
	w.recorder.turns.take(a.Subscription)
	step(b)
	a.Close() // passes the turn on
	wait.Next(t, b.wake, "its turn")
	for !b.caught {
		step(b)
	}
	if len(w.recorder.turns.of) > 0 {
		t.Errorf("%v", w.recorder.turns.of)
	}
}
