package softswitch

import (
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tr87proxy/tr87proxy/uacsta"
)

// A call that a telephone redirects goes on to its next destination when one is busy or does not answer, with the rights
// of the telephone that has redirected it.
func TestRedirect(t *testing.T) {
	for last, want := range map[string]string{"103": "103: Delivered X103", "0123": "Failed X100"} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorldOf(t, Config{
				Extensions: []Extension{
					{Number: "100"}, {Number: "101"}, {Number: "102", Outside: []string{"0"}}, {Number: "103"}, {Number: "104", Phone: Behaviour{Busy: true}, Outside: []string{"0"}},
				},
				Trunks: []Trunk{{Number: "900", Prefixes: []string{"0"}}},
			}, "100", "102", "103")
			defer w.stop()
			w.must(uacsta.MakeCall{CallingDevice: uacsta.Dev("100"), CalledDirectoryNumber: uacsta.Dev("101"), AutoOriginate: uacsta.DoNotPrompt})
			key := func(device string) int {
				w.sw.mu.Lock()
				defer w.sw.mu.Unlock()
				return w.sw.devices[device].connections[0].order
			}
			if err := w.sw.Redirect("101", key("101"), []string{"555", "100"}); err == nil {
				t.Error("sent to no number, and to the caller")
			}
			if err := w.sw.Redirect("100", key("100"), []string{"102"}); err == nil {
				t.Error("sent on by the caller")
			}
			if err := w.sw.Redirect("101", key("101"), []string{"102", "104", last}); err != nil {
				t.Fatal(err)
			}
			if seen := w.events(); !slices.ContainsFunc(seen, func(s string) bool { return strings.HasPrefix(s, "102: Delivered X102") }) {
				t.Error(seen)
			}
			time.Sleep(defaultRings*w.sw.cfg.RingCycle + 1)
			synctest.Wait()
			seen := w.events()
			if !slices.ContainsFunc(seen, func(s string) bool { return strings.Contains(s, want) }) {
				t.Errorf("%s: %v", last, seen)
			}
			if last == "0123" && !strings.Contains(strings.Join(seen, "\n"), "blocked") {
				t.Error(seen)
			}
		})
	}
}
