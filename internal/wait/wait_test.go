package wait

import (
	"testing"
	"testing/synctest"
	"time"
)

func TestLimit(t *testing.T) {
	for factor, want := range map[string]time.Duration{"": time.Minute, "1": time.Minute, "0.5": 30 * time.Second, "4": 4 * time.Minute} {
		if got := limit(factor); got != want {
			t.Errorf("%q: %v, want %v", factor, got, want)
		}
	}
	for _, factor := range []string{"0", "-1", "61", "2m", "NaN"} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%q is accepted", factor)
				}
			}()
			limit(factor)
		}()
	}
}

// A condition that holds late is seen soon after, and one that never holds is given up at the limit.
func TestWithin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		if !Within(time.Minute, func() bool { return time.Since(began) >= 10*time.Second }) {
			t.Error("it does not see that the condition holds")
		}
		if took := time.Since(began); took > 10*time.Second+20*time.Millisecond {
			t.Errorf("it sees after %v what holds after 10s", took)
		}
		began = time.Now()
		if Within(time.Minute, func() bool { return false }) {
			t.Error("what never holds, holds")
		}
		if took := time.Since(began); took < time.Minute || took > time.Minute+20*time.Millisecond {
			t.Errorf("it gives up after %v", took)
		}
	})
}
