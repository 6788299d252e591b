package events

import (
	"bytes"
	"path/filepath"
	"slices"
	"testing"

	"github.com/tr87proxy/tr87proxy/internal/wait"
)

// devicesOf returns the devices of snapshots with and without calls.
func devicesOf(all []seen) (busy, idle []string) {
	for _, e := range all {
		switch {
		case e.Type == Snapshot && len(e.Calls) > 0:
			busy = append(busy, e.Device)
		case e.Type == Snapshot:
			idle = append(idle, e.Device)
		}
	}
	return busy, idle
}

// A stream begins with a snapshot of each device that is named, and of those that match a pattern and have calls. After
// a gap there is one of each device: nobody must conclude from silence that a call has ended.
func TestIdleSnapshots(t *testing.T) {
	w := newWorld(t, "")
	all := w.subscribe(Wish{Patterns: []string{"10?"}})
	for range 5 {
		all.until(Snapshot, "")
	}
	w.call("100", "101")
	all.until("delivered", "101")
	one := uint64(1)
	for name, tt := range map[string]struct {
		want       Wish
		busy, idle []string
	}{
		"named":           {Wish{Devices: []string{"101", "102"}}, []string{"101"}, []string{"102"}},
		"pattern":         {Wish{Patterns: []string{"10?"}, Devices: []string{"103"}}, []string{"100", "101"}, []string{"103"}},
		"another link":    {Wish{Patterns: []string{"10?"}, Devices: []string{"103"}, Link: "other"}, nil, nil},
		"gap":             {Wish{Patterns: []string{"10?"}, After: &one}, []string{"100", "101"}, []string{"102", "103", "104"}},
		"gap, not others": {Wish{Patterns: []string{"10[1-3]"}, Devices: []string{"102"}, After: &one}, []string{"101"}, []string{"102", "103"}},
	} {
		tt.want.Snapshot = true
		s := w.subscribe(tt.want)
		var got []seen
		if tt.want.After != nil {
			if got = append(got, s.next()); got[0].Type != Gap {
				t.Errorf("%s: %+v", name, got)
			}
		}
		got = append(got, s.until(Ready, "")...)
		for range len(tt.busy) + len(tt.idle) {
			got = append(got, s.next())
		}
		if busy, idle := devicesOf(got); !slices.Equal(busy, tt.busy) || !slices.Equal(idle, tt.idle) {
			t.Errorf("%s: %v with calls, %v without", name, busy, idle)
		}
		if events, err := s.Next(1); len(events) > 0 || err != nil {
			t.Errorf("%s: and %d events, %v", name, len(events), err)
		}
		s.Close()
	}
}

// A stream that takes the place of another one has the events of both between them, and the snapshots after these.
func TestChange(t *testing.T) {
	w := newWorld(t, "")
	w.subscribe(Wish{Devices: []string{"102"}}).until(Ready, "") // 102 is recorded already
	before := w.subscribe(Wish{Devices: []string{"101"}})
	before.until(Ready, "")
	call := w.call("100", "101").CallID
	w.call("103", "102")
	wait.For(t, "the calls", func() bool { calls, _ := w.recorder.CallsOf(t.Context(), "102"); return len(calls) == 1 })
	wake := make(chan struct{}, 1)
	sub, err := w.recorder.Prepare(t.Context(), Wish{Devices: []string{"101", "102"}, Snapshot: true, Rights: before.want.Rights, Wake: func() {
		select {
		case wake <- struct{}{}:
		default:
		}
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer sub.Close()
	if err := sub.Begin(t.Context(), before.Subscription); err != nil {
		t.Fatal(err)
	}
	before.Close()
	w.answer(call, "101")
	s := &reader{Subscription: sub, t: t, wake: wake}
	if got := lines(s.until("established", "101")); !slices.Equal(got, []string{
		"ready", "delivered 101 100 101 alerting", "delivered 102 103 102 alerting", "snapshot 101", "snapshot 102", "established 101 100 101 connected",
	}) {
		t.Errorf("%q", got)
	}
}

// What the log has lost while a stream was open is a gap; with snapshot, a snapshot of each device follows.
func TestGapInTheMiddle(t *testing.T) {
	path := filepath.Join(t.TempDir(), "events.db")
	w := newWorld(t, path)
	w.stop()
	w.limits.Entries = 10
	w.start(path)
	caught, behind := w.subscribe(Wish{Devices: []string{"101"}, Snapshot: true}), w.subscribe(Wish{Devices: []string{"101"}, Snapshot: true})
	for _, s := range []*reader{caught, behind} {
		s.until(Snapshot, "101")
	}
	if events, err := caught.Next(1); len(events) > 0 || err != nil || !caught.caught {
		t.Fatal(events, err)
	}
	last := ""
	for range 20 {
		last = w.call("100", "101").CallID
		w.clear(last, "100")
	}
	wait.For(t, "all events, of which some are dropped", func() bool {
		first, to := w.log.Bounds()
		w.recorder.hub.mu.Lock()
		defer w.recorder.hub.mu.Unlock()
		if w.recorder.hub.at != to {
			return false
		}
		newest, _, _ := w.log.Read(to-1, 1)
		return first > behind.at+1 && len(newest) == 1 && bytes.Contains(newest[0].Data, []byte(`"call":"`+last+`"`)) && bytes.Contains(newest[0].Data, []byte(`"state":"null"`))
	})
	caught.mu.Lock()
	caught.waiting, caught.octets = nil, 0
	caught.mu.Unlock()
	caught.lacks() // as the hub does when the log drops events before it has read them
	for _, s := range []*reader{caught, behind} {
		all := s.until(Snapshot, "101")
		if got := lines(all[len(all)-2:]); !slices.Equal(got, []string{"gap", "snapshot 101"}) || len(all[len(all)-1].Calls) > 0 || all[len(all)-2].From == "" {
			t.Errorf("%q: %+v", got, all)
		}
	}
	call := w.call("100", "101").CallID
	for _, s := range []*reader{caught, behind} {
		if e := s.until("delivered", "101"); e[len(e)-1].Call != call || len(e) > 1 {
			t.Errorf("%+v", e)
		}
	}
}
