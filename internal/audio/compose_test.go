package audio

import (
	"slices"
	"testing"
	"time"
)

// A recording has each part where it is heard, parts together where they overlap, and silence elsewhere. What was there is
// overwritten, and the limit holds.
func TestCompose(t *testing.T) {
	d, err := OpenDirectory(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	loud := &Clip{slices.Repeat([]int16{1000}, Rate)} // one second
	if loud.Duration() != time.Second {
		t.Errorf("%v", loud.Duration())
	}
	for _, lasts := range []time.Duration{10 * time.Second, 3 * time.Second} {
		r, err := d.Overwrite("x.au", 5*time.Second)
		if err != nil {
			t.Fatal(err)
		}
		if err := r.Compose(lasts, []Part{
			{loud, -500 * time.Millisecond, time.Second}, {loud, 250 * time.Millisecond, 1250 * time.Millisecond}, {loud, 2 * time.Second, 2100 * time.Millisecond},
		}); err != nil {
			t.Fatal(err)
		}
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
		clip, err := d.Load("x.au")
		if err != nil {
			t.Fatal(err)
		}
		if want := min(lasts, 5*time.Second); clip.Duration() != want {
			t.Errorf("%v, want %v", clip.Duration(), want)
		}
		for ms, want := range map[int]int16{0: 1000, 249: 1000, 251: 2000, 499: 2000, 501: 1000, 1249: 1000, 1251: 0, 1999: 0, 2001: 1000, 2099: 1000, 2101: 0, 2999: 0} {
			if got := clip.samples[ms*Rate/1000]; got != want {
				t.Errorf("%d after %d ms, want %d", got, ms, want)
			}
		}
	}
}
