package daemon

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"testing"
	"unicode/utf8"

	"github.com/tr87proxy/tr87proxy/internal/config"
)

// FuzzLogLine logs any text in both formats: each entry is one line without control characters,
// and encoding/json reads the text of it.
func FuzzLogLine(f *testing.F) {
	for _, text := range []string{"100", "", `"}`, `\`, "a\nb", "a\r\nlevel=ERROR msg=forged", "\u2028", "\x00", "\x1b[31m", "\ufffe", "\xff", "a=b c=d", "Zoë"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		for _, format := range []string{"json", "text"} {
			var b bytes.Buffer
			logger(config.Log{Level: "info", Format: format}, new(slog.LevelVar), &b).Info("request denied", "device", text, "destinations", []string{text})
			line, ended := bytes.CutSuffix(b.Bytes(), []byte("\n"))
			if !ended || bytes.ContainsAny(line, "\r\n\x00\x1b") {
				t.Fatalf("%s: %q", format, b.Bytes())
			}
			if format != "json" {
				continue
			}
			var read struct {
				Msg, Device  string
				Destinations []string
			}
			if err := json.Unmarshal(line, &read); err != nil {
				t.Fatalf("%q: %v", line, err)
			}
			if utf8.ValidString(text) && (read.Msg != "request denied" || read.Device != text || len(read.Destinations) != 1 || read.Destinations[0] != text) {
				t.Fatalf("%q is read as %+v", text, read)
			}
		}
	})
}
