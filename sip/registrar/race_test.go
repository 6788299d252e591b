package registrar

import (
	"runtime"
	"strings"
	"testing"

	"github.com/tr87proxy/tr87proxy/internal/wait"
)

// A password that changes after a telephone has proved the other one, and before its subscription is there, ends it.
func TestPasswordWhileSubscribing(t *testing.T) {
	r := aStation(t, Config{Packages: []Package{{Event: "calls", Documents: func(string, string, *Model) []Document { return nil }}}})
	r.digest.Knows = nil // it would wait for the lock
	w := r.raw("TCP", "101")
	w.subscribe("101", "calls", 1, "")
	answered := make(chan int, 1)
	r.mu.Lock()
	go func() {
		code, _ := w.subscribe("101", "calls", 2, "")
		answered <- code
	}()
	stacks := make([]byte, 4<<20)
	wait.For(t, "the password", func() bool {
		return strings.Contains(string(stacks[:runtime.Stack(stacks, true)]), "(*Server).enter(")
	})
	r.users["101"].setPassword("another") // as SetPasswords, which finds no subscription yet
	r.mu.Unlock()
	if code := wait.Next(t, answered, "the response"); code != 200 {
		t.Error(code)
	}
	wait.For(t, "the end of the subscription", func() bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		return len(r.watchers) == 0 && r.users["101"].watching == 0
	})
}
