package softswitch

import (
	"strings"
	"testing"
)

// A recording is played to whoever knows its name: one name does not lead to the next.
func TestRecordingNames(t *testing.T) {
	first, second := newRecording(), newRecording()
	if len(first) < len("recording-")+20 || strings.HasPrefix(second, first[:len("recording-")+8]) {
		t.Errorf("%q follows %q", second, first)
	}
}
