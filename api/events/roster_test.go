package events

import (
	"errors"
	"fmt"
	"testing"

	"github.com/tr87proxy/tr87proxy/internal/wait"
)

// Devices are compared with the patterns of a stream once each, when it begins or they come: never by the recorder when it
// takes a picture for the stream, and never for an event. So a stream with many patterns costs the others nothing.
func TestComparedOnce(t *testing.T) {
	w := newWorld(t, "", "*")
	w.subscribe(Wish{Patterns: []string{"*"}, Snapshot: true}).until(Ready, "")
	wait.For(t, "all devices", func() bool { return w.recorder.Status().Watched >= 5 })
	compared := func() uint64 { return w.recorder.roster.compared.Load() }
	known := len(w.recorder.roster.all())
	var patterns []string
	for n := range MostPatterns {
		patterns = append(patterns, fmt.Sprintf("*9%03d*", n))
	}
	release, err := w.recorder.Want(t.Context(), "spy", nil, patterns) // the streams have these patterns watched already
	if err != nil {
		t.Fatal(err)
	}
	defer release()
	wait.For(t, "what is to be watched", func() bool {
		busy := true
		if err := w.recorder.do(t.Context(), func() { busy = w.recorder.sieve.busy }); err != nil {
			t.Fatal(err)
		}
		return !busy
	})
	const streams = 20
	before := compared()
	var open []*reader
	for range streams {
		s := w.subscribe(Wish{Patterns: patterns, Snapshot: true, Rights: func() Rights { return &right{func(string) bool { return false }} }})
		s.until(Ready, "")
		for !s.caught {
			if events, err := s.Next(1); len(events) > 0 || err != nil {
				t.Fatal(events, err)
			}
		}
		open = append(open, s)
	}
	if n := compared() - before; n != uint64(streams*known) {
		t.Errorf("%d streams and %d devices: %d were compared", streams, known, n)
	}
	before = compared()
	all := w.subscribe(Wish{Patterns: []string{"*"}})
	for range 20 {
		call := w.call("100", "101").CallID
		w.clear(call, "100")
		all.until("connectionCleared", "100")
	}
	if n := compared() - before; n > 0 {
		t.Errorf("events had %d devices compared", n)
	}
	for _, s := range open {
		if events, err := s.Next(1); len(events) > 0 || err != nil {
			t.Error(events, err)
		}
	}
}

// A stream whose patterns begin to match a device that comes later gets its events.
func TestLaterDevices(t *testing.T) {
	w := newWorld(t, "")
	s := w.subscribe(Wish{Patterns: []string{"1?2"}})
	s.until(Ready, "")
	r := &w.recorder.roster
	for n := range 200 { // over several words of the set
		device := fmt.Sprint(100 + n)
		if got, want := s.patterns.has(device, r.number(device)), device[2] == '2' && len(device) == 3 && device[0] == '1'; got != want {
			t.Errorf("%s: %v", device, got)
		}
	}
	if n := r.number("100"); n < 0 || r.number("100") != n || !s.patterns.has("192", -1) || s.patterns.has("193", -1) {
		t.Error("a device without number is not compared")
	}
}

// A client that begins many streams with many patterns has to wait; others do not.
func TestOften(t *testing.T) {
	w := newWorld(t, "")
	patterns := make([]string, MostPatterns)
	for n := range patterns {
		patterns[n] = fmt.Sprintf("9%03d*", n)
	}
	begin := func(who string, patterns []string) error {
		s, err := w.recorder.Prepare(t.Context(), Wish{Who: who, Patterns: patterns, Rights: func() Rights { return everything }, Wake: func() {}})
		if err == nil {
			s.Close()
		}
		return err
	}
	for n := 0; ; n++ {
		err := begin("spy", patterns)
		if errors.Is(err, ErrOften) {
			break
		}
		if err != nil || n > 1000 {
			t.Fatal(n, err)
		}
	}
	if err := begin("crm", patterns); err != nil {
		t.Error(err)
	}
}
