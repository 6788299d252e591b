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
	if once := (Rate{1, time.Minute}); !m.Take("once", once, now) || m.Take("once", once, now) {
		t.Error("once a minute is not once")
	}
	if !m.Take("a", Rate{}, now) {
		t.Error("no rate is a limit")
	}
}

// A full table drops the keys that lose least: a key at its limit stays there, and the table does not
// grow.
func TestMeterForgets(t *testing.T) {
	var m Meter[string]
	now, rate := time.Now(), Rate{3, time.Minute}
	m.Take("idle", rate, now)
	for range 3 {
		m.Take("mallory", rate, now)
		m.Take("busy", rate, now)
	}
	for i := range 50000 {
		m.Take("busy", rate, now)
		m.Take(fmt.Sprint(i), rate, now)
		m.Take(fmt.Sprint(i), rate, now)
	}
	if m.Take("mallory", rate, now) || m.Take("busy", rate, now) {
		t.Error("50000 other keys give a limited one its whole rate back")
	}
	for range 3 {
		if !m.Take("idle", rate, now) {
			t.Error("unbounded")
		}
	}
}
