package share

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
)

// A panic ends the work, calls then, and is logged with its location.
func TestSurvive(t *testing.T) {
	var out bytes.Buffer
	log := slog.New(slog.NewTextHandler(&out, nil))
	var told error
	explodes := func() {
		defer Survive(log, "a test", func(err error) { told = err })
		panic("boom")
	}
	explodes()
	if told == nil || told.Error() != "panic: boom" {
		t.Errorf("told %v", told)
	}
	if line := out.String(); !strings.Contains(line, `during="a test"`) || !strings.Contains(line, "panic=boom") || !strings.Contains(line, "survive_test.go") {
		t.Errorf("the log says %s", line)
	}
	out.Reset()
	func() {
		defer Survive(log, "a test", func(error) { panic("again") })
		panic("boom")
	}()
	if line := out.String(); !strings.Contains(line, "panic=boom") || !strings.Contains(line, "panic=again") {
		t.Errorf("the log says %s", line)
	}
	out.Reset()
	func() { defer Survive(log, "a test", func(err error) { t.Error(err) }) }()
	if out.Len() > 0 {
		t.Errorf("without a panic the log says %s", out.String())
	}
}
