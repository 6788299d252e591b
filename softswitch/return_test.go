package softswitch

import (
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tr87proxy/tr87proxy/uacsta"
)

// A call that a telephone transfers by itself returns when nobody takes it, as its user left it.
func TestReturn(t *testing.T) {
	config := Config{
		Extensions: []Extension{
			{Number: "100"}, {Number: "101", Outside: []string{"0"}}, {Number: "102"}, {Number: "103"}, {Number: "104", Phone: Behaviour{Busy: true}},
		},
		HuntGroups: []HuntGroup{{Number: "200", Members: []string{"102"}}},
		Queues:     []Queue{{Number: "300", MaxCalls: 2, WaitTime: 10 * time.Second}},
		Trunks:     []Trunk{{Number: "900", Prefixes: []string{"0"}}},
		AlertTime:  time.Minute,
	}
	key := func(w *world, device string) int {
		w.sw.mu.Lock()
		defer w.sw.mu.Unlock()
		return w.sw.devices[device].connections[0].order
	}
	decline := func(w *world, device string) { w.sw.Declined(device, key(w, device), uacsta.CauseBusy) }
	for name, tt := range map[string]struct {
		to    string
		held  bool
		then  func(w *world)
		cause string // of the return; "" for none
	}{
		"busy":             {"104", false, func(*world) {}, "recallBusy"},
		"busy, held":       {"104", true, func(*world) {}, "recallBusy"},
		"declined":         {"102", false, func(w *world) { decline(w, "102") }, "recallBusy"},
		"declined, held":   {"102", true, func(w *world) { decline(w, "102") }, "recallBusy"},
		"group":            {"200", false, func(w *world) { decline(w, "102") }, "recallBusy"},
		"not answered":     {"102", false, func(*world) { time.Sleep(time.Minute + 1) }, "recallNoAnswer"},
		"trunk":            {"0123", true, func(w *world) { w.sw.Declined("900", key(w, "900"), uacsta.CauseNetworkNotObtainable) }, "recall"},
		"answered":         {"102", false, func(w *world) { w.must(w.answer("Y102")); w.must(w.clear("Y102")) }, ""},
		"trunk answers":    {"0123", false, func(w *world) { _ = w.sw.Answered("900", key(w, "900"), 0); w.must(w.clear("Y900")) }, ""},
		"queued":           {"300", false, func(*world) { time.Sleep(time.Minute) }, ""},
		"the party leaves": {"102", false, func(w *world) { w.must(w.clear("Y100")) }, ""},
		"telephone left":   {"102", false, func(w *world) { w.sw.Keep("100", key(w, "100"), "leg"); decline(w, "102") }, ""},
		"another one left": {"102", false, func(w *world) { w.sw.Keep("100", key(w, "100"), "other"); decline(w, "102") }, "recallBusy"},
		"busy elsewhere":   {"102", false, func(w *world) { w.must(w.makeCall("101", "103")); decline(w, "102") }, "recallBusy"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorldOf(t, config, "100", "101", "102")
				defer w.stop()
				w.talking()
				if tt.held {
					w.must(w.hold("X101"))
				}
				if err := w.sw.Refer("101", key(w, "101"), tt.to, "leg"); err != nil {
					t.Fatal(err)
				}
				tt.then(w)
				synctest.Wait()
				seen := w.events()
				told := func(event, end string) bool {
					return slices.ContainsFunc(seen, func(line string) bool {
						return strings.HasPrefix(line, "101: "+event+" Y101 ") && (strings.HasSuffix(line, " "+end) || end == "" && strings.Contains(line, " recall"))
					})
				}
				if back := told("Established", tt.cause); back != (tt.cause != "") {
					t.Errorf("returned: %v\n%s", back, strings.Join(seen, "\n"))
				}
				if held := told("Held", "hold normal"); tt.cause != "" && held != (tt.held || name == "busy elsewhere") {
					t.Errorf("held: %v\n%s", held, strings.Join(seen, "\n"))
				}
				w.sw.mu.Lock()
				defer w.sw.mu.Unlock()
				for _, c := range w.sw.calls {
					if x := c.of(w.sw.devices["101"]); tt.cause != "" && x != nil && x.call.id == w.conn("Y101").CallID && (len(c.connections) != 2 || x.leg != "leg" || c.returning != nil) {
						t.Errorf("%d connections, leg %v", len(c.connections), x.leg)
					}
				}
			})
		})
	}
}

// The same after a transfer to a telephone that rings for a call of its own.
func TestReturnAfterConsultation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.stop()
		w.consulting()
		key := func(device string, n int) int { return w.sw.devices[device].connections[n].order }
		if err := w.sw.Join("100", key("100", 0), key("100", 1), "leg"); err != nil {
			t.Fatal(err)
		}
		w.events()
		w.sw.Declined("102", key("102", 0), uacsta.CauseBusy)
		w.expect("the return",
			"102: Diverted Z102 100 via100 null recallBusy", "101: Diverted Z102 100 via100 connected recallBusy",
			"101: Delivered Z100 via102 connected recallBusy", "100: Delivered Z100 via102 alerting recallBusy",
			"101: Established Z100 via102 connected recallBusy", "100: Established Z100 via102 connected recallBusy",
			"101: Held Z100 connected normal", "100: Held Z100 hold normal")
		w.finish()
	})
}
