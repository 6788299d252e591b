package uacsta

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"
)

// lineTexts are texts that callers and programs put into names to forge lines.
var lineTexts = []string{
	"100", "", " a ", `"}`, `\`, "a\nb", "a\r\nb", "\u2028", "\x00", "\x1b[31m", "\ufffe", "\xff", "<x>&amp;]]>", `{"a":1}`, "{{.}}", "Zoë", "\U0001F4DE", strings.Repeat("a", 5000),
}

// FuzzJSON encodes messages with any texts as JSON: each is one line, which encoding/json decodes to
// these texts.
func FuzzJSON(f *testing.F) {
	for _, text := range lineTexts {
		f.Add(text, "100")
		f.Add("100", text)
	}
	f.Fuzz(func(t *testing.T, number, subject string) {
		m := Encode(MakeCall{CallingDevice: Dev(number), CalledDirectoryNumber: Dev(subject), SubjectOfCall: subject}, Edition6)
		line, err := json.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		if bytes.ContainsAny(line, "\r\n\x00\x1b") {
			t.Fatalf("more than a line: %q", line)
		}
		var read struct {
			Name    string
			Content struct{ CallingDevice, CalledDirectoryNumber, SubjectOfCall string }
		}
		if err := json.Unmarshal(line, &read); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		if !utf8.ValidString(number) || !utf8.ValidString(subject) {
			return // JSON has no octets that are no UTF-8
		}
		number, subject = strings.TrimSpace(number), strings.TrimSpace(subject)
		if c := read.Content; read.Name != "MakeCall" || c.CallingDevice != number || c.CalledDirectoryNumber != subject || c.SubjectOfCall != subject {
			t.Fatalf("%q, %q is read as %+v", number, subject, read)
		}
	})
}
