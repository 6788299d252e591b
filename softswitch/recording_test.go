package softswitch

import (
	"strings"
	"testing"
)

// Anyone who knows the name of a recording can play it, so one name must not reveal the next.
func TestRecordingNames(t *testing.T) {
	first, second := newRecording(), newRecording()
	if len(first) < len("recording-")+20 || strings.HasPrefix(second, first[:len("recording-")+8]) {
		t.Errorf("%q follows %q", second, first)
	}
}
