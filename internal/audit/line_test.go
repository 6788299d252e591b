package audit

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// FuzzLine writes down any texts: each entry is one line, which encoding/json reads as these
// texts, with U+FFFD for what is no UTF-8, and the chain holds.
func FuzzLine(f *testing.F) {
	for _, text := range []string{"100", "", `"}`, `\`, "a\nb", "a\r\nb", "\u2028", "\x00", "\x1b[31m", "\ufffe", "\xff", `{"hash":"x"}`, `","hash":"`, "Zoë"} {
		f.Add(text, "100")
		f.Add("100", text)
	}
	f.Add("\xc3", "\x80")
	f.Fuzz(func(t *testing.T, who, device string) {
		path := filepath.Join(t.TempDir(), "audit.log")
		entry := Entry{Kind: "done", Who: who, Service: "MakeCall", Devices: []string{device}, Connections: []string{who}, Reason: who, Outcome: device}
		write(t, Config{Path: path}, entry, entry)
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		lines := bytes.Split(bytes.TrimSuffix(data, []byte("\n")), []byte("\n"))
		if len(lines) != 3 || !bytes.Contains(lines[2], []byte(`"kind":"stopped"`)) || bytes.ContainsAny(data, "\r\x00\x1b") {
			t.Fatalf("%d lines: %q", len(lines), data)
		}
		for _, line := range lines[:2] {
			var e Entry
			if err := json.Unmarshal(line, &e); err != nil {
				t.Fatalf("%q: %v", line, err)
			}
			who, device := strings.ToValidUTF8(who, "\uFFFD"), strings.ToValidUTF8(device, "\uFFFD")
			if e.Who != who || e.Reason != who || e.Outcome != device || !slices.Equal(e.Devices, []string{device}) || !slices.Equal(e.Connections, []string{who}) {
				t.Fatalf("%q, %q is read as %+v", who, device, e)
			}
		}
		if _, err := Verify(nil, []string{path}); err != nil {
			t.Fatal(err)
		}
	})
}

// What an entry is taken to weigh is more than its texts, all of them.
func TestWeight(t *testing.T) {
	empty := Entry{}
	text, base := strings.Repeat("x", 1000), empty.size()
	if base < 100 {
		t.Errorf("an empty one weighs %d octets", base)
	}
	for name, e := range map[string]Entry{
		"reason": {Reason: text}, "who": {Who: text}, "service": {Service: text}, "devices": {Devices: []string{text}}, "destinations": {Destinations: []string{text}}, "connections": {Connections: []string{text}},
	} {
		if more := e.size() - base; more < 1000 || more > 1100 {
			t.Errorf("%s of 1000 octets weigh %d", name, more)
		}
	}
	if many := (&Entry{Devices: make([]string, 100)}).size() - base; many < 1600 {
		t.Errorf("100 empty texts weigh %d", many)
	}
}
