package events

import (
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/tr87proxy/tr87proxy/internal/wait"
	"github.com/tr87proxy/tr87proxy/policy"
)

// Only who may observe a device gets its events, by what holds at that moment. Who loses a device is told; who gains one
// gets its calls.
func TestRights(t *testing.T) {
	w := newWorld(t, "")
	var rights atomic.Pointer[right]
	only := func(devices ...string) {
		rights.Store(&right{func(device string) bool { return slices.Contains(devices, device) }})
	}
	only("100")
	s := w.subscribe(Wish{Patterns: []string{"10?"}, Snapshot: true, Rights: func() Rights { return rights.Load() }})
	s.until(Ready, "")
	wait.For(t, "all devices are watched", func() bool { return w.recorder.Status().Watched == 5 })
	all := w.subscribe(Wish{Patterns: []string{"*"}})
	call := w.call("100", "101").CallID
	w.clear(call, "100")
	all.until("connectionCleared", "101")
	for _, e := range s.until("connectionCleared", "100") {
		if e.Device == "101" {
			t.Errorf("%+v", e)
		}
	}
	call = w.call("103", "101").CallID
	all.until("delivered", "101")
	only("100", "101", "102")
	got := s.until(Snapshot, "101")
	if calls := got[len(got)-1].Calls; len(calls) != 1 || calls[0].Call != call {
		t.Errorf("%+v", got)
	}
	w.answer(call, "101")
	s.until("established", "101")
	only("100", "103") // 103 has a call, too
	got = []seen{s.next(), s.next()}
	if !slices.Equal(lines(got), []string{"revoked", "snapshot 103"}) || !slices.Equal(got[0].Devices, []string{"101", "102"}) || got[0].Reason == "" {
		t.Errorf("%+v", got)
	}
	w.clear(call, "103")
	for _, e := range s.until("connectionCleared", "103") {
		if e.Device == "101" {
			t.Errorf("%+v", e)
		}
	}
}

// A pattern has those devices watched that a client which wants it may observe, also after a change of the rules and a
// restart.
func TestWatchedByRights(t *testing.T) {
	path := filepath.Join(t.TempDir(), "events.db")
	w := newWorld(t, path)
	numbers := &policy.Numbers{Extensions: func(n string) bool { return len(n) == 3 }}
	let := func(crm, bob string) {
		w.proxy.SetRules(policy.FromGrants(numbers.Extensions, policy.Grant{Who: "crm", Control: []string{crm}}, policy.Grant{Who: "bob", Control: []string{bob}}), numbers)
	}
	watched := func() (devices []string) {
		if err := w.recorder.do(t.Context(), func() {
			for device, of := range w.recorder.watches {
				if of.pattern {
					devices = append(devices, device)
				}
			}
		}); err != nil {
			t.Fatal(err)
		}
		slices.Sort(devices)
		return devices
	}
	expect := func(want ...string) {
		t.Helper()
		wait.For(t, strings.Join(want, " and "), func() bool { return slices.Equal(watched(), want) })
	}
	let("101", "103")
	s := w.subscribe(Wish{Who: "crm", Patterns: []string{"10?"}})
	expect("101")
	w.subscribe(Wish{Who: "bob", Patterns: []string{"10?"}})
	expect("101", "103")
	let("102", "103")
	expect("102", "103")
	s.Close()
	w.stop()
	w.start(path)
	expect("102", "103")
}
