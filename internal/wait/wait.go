// Package wait lets tests wait for events, with one deadline for all of them.
package wait

import (
	"fmt"
	"os"
	"strconv"
	"testing"
	"time"
)

// Limit is how long a test waits for something that must come before it fails: one minute, times the number
// in the environment variable TR87_PATIENCE. It bounds how long a failure takes, and measures no speed: on a
// busy machine a peer may rightly be slow.
var Limit = limit(os.Getenv("TR87_PATIENCE"))

func limit(factor string) time.Duration {
	if factor == "" {
		return time.Minute
	}
	times, err := strconv.ParseFloat(factor, 64)
	if err != nil || !(times > 0 && times <= 60) {
		panic(fmt.Sprintf("TR87_PATIENCE is %q; write a number up to 60, which multiplies one minute", factor))
	}
	return time.Duration(times * float64(time.Minute))
}

// For waits until a condition holds, and fails the test when it does not within Limit. It calls holds again and
// again, ever less often.
func For(t testing.TB, what string, holds func() bool) {
	t.Helper()
	if !Within(Limit, holds) {
		t.Fatalf("%s did not come within %v", what, Limit)
	}
}

// Within waits until a condition holds, for at most limit, and reports whether it does.
func Within(limit time.Duration, holds func() bool) bool {
	end := time.Now().Add(limit)
	for pause := time.Millisecond; !holds(); pause = min(pause*5/4, 20*time.Millisecond) {
		if time.Now().After(end) {
			return false
		}
		time.Sleep(pause)
	}
	return true
}

// Next returns the next value of a channel, and fails the test when none comes within Limit.
func Next[T any](t testing.TB, ch <-chan T, what string) T {
	t.Helper()
	select {
	case v := <-ch:
		return v
	case <-time.After(Limit):
		t.Fatalf("%s did not come within %v", what, Limit)
		panic("unreachable")
	}
}
