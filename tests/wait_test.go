package tests

import (
	"testing"
	"time"

	"github.com/tr87proxy/tr87proxy/internal/wait"
)

// patience is how long tests wait for what must come.
var patience = wait.Limit

// waitFor waits until a condition holds.
func waitFor(t *testing.T, what string, holds func() bool) {
	t.Helper()
	wait.For(t, what, holds)
}

// waitLong is waitFor for the end of long work: several times patience.
func waitLong(t *testing.T, limit time.Duration, what string, holds func() bool) {
	t.Helper()
	if !wait.Within(limit, holds) {
		t.Fatalf("%s did not come within %v", what, limit)
	}
}

// long leaves a test out of a quick run: it takes long, or needs a machine of its own.
func long(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("takes long")
	}
}
