package policy

import (
	"fmt"
	"testing"
	"time"
)

func TestMeter(t *testing.T) {
	var m Meter[string]
	now := time.Now()
	rate := Rate{3, time.Minute}
	for i := range 5 {
		if got := m.Take("a", rate, now); got != (i < 3) {
			t.Errorf("take %d: %v", i, got)
		}
	}
	if !m.Take("b", rate, now) {
		t.Error("another pays for the first")
	}
	now = now.Add(20 * time.Second) // one has come back
	if !m.Take("a", rate, now) || m.Take("a", rate, now) {
		t.Error("not one has come back in a third of the time")
	}
	now = now.Add(time.Hour)
	for i := range 5 {
		if got := m.Take("a", rate, now); got != (i < 3) {
			t.Errorf("an hour later, take %d: %v", i, got)
		}
	}
	if !m.Take("a", Rate{}, now) {
		t.Error("no rate is a limit")
	}
	now = now.Add(time.Second)
	m.Take("b", rate, now)
	for i := range 50000 { // others push out what was idle longest, and nobody who is busy
		m.Take("b", rate, now)
		m.Take(fmt.Sprint(i), rate, now)
	}
	if m.Take("b", rate, now) {
		t.Error("who comes with many keys gives a busy one a new start")
	}
	if !m.Take("a", rate, now) {
		t.Error("unbounded")
	}
}
