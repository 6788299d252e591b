package share

import (
	"testing"
	"time"
)

// Single errors cost nothing; many in a row are tried at longer and longer intervals, and end it.
func TestFaults(t *testing.T) {
	var f Retries
	for n := range 1000 {
		if pause, again := f.Next(); pause != 0 || !again {
			t.Fatalf("error %d: %v, %v", n, pause, again)
		}
		f.Reset()
	}
	var all, last time.Duration
	n := 1
	for ; ; n++ {
		pause, again := f.Next()
		if pause < last || pause > time.Second {
			t.Fatalf("error %d in a row: %v after %v", n, pause, last)
		}
		last = pause
		if all += pause; !again {
			break
		}
	}
	if n != 100 || all < time.Minute || all > 2*time.Minute {
		t.Errorf("%d errors in a row, in %v", n, all)
	}
}
