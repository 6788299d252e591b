package daemon

import "testing"

// The call of a message of CSTA-XML is that of its first connection.
func TestCallOf(t *testing.T) {
	for message, want := range map[string]string{
		"<AnswerCall><callToBeAnswered><callID>7</callID><deviceID>100</deviceID></callToBeAnswered></AnswerCall>": "7",
		"<GetCSTAFeatures/>": "", "no XML": "", "": "",
	} {
		if got := callOf([]byte(message)); got != want {
			t.Errorf("%s: %q", message, got)
		}
	}
}
