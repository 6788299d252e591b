package tasks

import (
	"log/slog"
	"slices"
	"testing"
	"testing/synctest"
)

// queue is one whose goroutines are those of the test.
func queue() *Queue {
	return &Queue{Log: slog.New(slog.DiscardHandler), What: "a test", Start: func(run func()) bool { go run(); return true }, Pressed: make(chan struct{}, 1)}
}

// Tasks run in their order, urgent ones before those that wait, on one goroutine.
func TestOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := queue()
		var done []int
		release := make(chan struct{})
		q.Do(func() { <-release })
		synctest.Wait()
		if q.Presses() {
			t.Error("something urgent waits")
		}
		for n := range 3 {
			q.Do(func() { done = append(done, n) })
			q.Soon(func() { done = append(done, 10+n) })
		}
		if len(q.Pressed) != 1 || !q.Presses() {
			t.Error("nothing urgent waits")
		}
		close(release)
		synctest.Wait()
		if want := []int{10, 11, 12, 0, 1, 2}; !slices.Equal(done, want) {
			t.Errorf("%v, want %v", done, want)
		}
	})
}

// A queue takes Most tasks of each kind, and any number of those that must run.
func TestMost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := queue()
		release := make(chan struct{})
		q.Do(func() { <-release })
		synctest.Wait()
		done := 0
		count := func() { done++ }
		for n := range Most {
			if !q.Do(count) || !q.Soon(count) {
				t.Fatal("task refused:", n)
			}
		}
		if q.Do(count) || q.Soon(count) {
			t.Error("one task too many is taken")
		}
		if !q.Must(count) {
			t.Error("a task that must run is refused")
		}
		close(release)
		synctest.Wait()
		if done != 2*Most+1 {
			t.Errorf("%d tasks ran", done)
		}
	})
}

// A panic ends its task alone, and is told.
func TestPanic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := queue()
		failed := make(chan error, 1)
		q.Failed = func(err error) { failed <- err }
		ran := false
		q.Do(func() { panic("as told") })
		q.Do(func() { ran = true })
		synctest.Wait()
		if !ran || len(failed) != 1 {
			t.Error(ran, len(failed))
		}
	})
}

// A queue is finished when nothing waits, and takes nothing afterwards.
func TestFinish(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := queue()
		early, last := true, false
		both := make(chan struct{}) // closed when both tasks are in the queue
		q.Do(func() {
			<-both
			early = q.Finish()
		})
		q.Do(func() { last = q.Finish() })
		close(both)
		synctest.Wait()
		if early || !last {
			t.Errorf("finished with a task that waits: %v, without: %v", early, last)
		}
		if q.Do(func() {}) || q.Soon(func() {}) || q.Must(func() {}) {
			t.Error("a finished queue takes tasks")
		}
	})
}

// Where no goroutine can be started, tasks run at once.
func TestNoGoroutine(t *testing.T) {
	q := queue()
	q.Start = func(func()) bool { return false }
	ran := 0
	for n := range 3 {
		if q.Do(func() { ran++ }); ran != n+1 {
			t.Fatal("it has not run")
		}
	}
}
