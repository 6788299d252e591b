package main

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/tr87proxy/tr87proxy/internal/daemon"
	"github.com/tr87proxy/tr87proxy/internal/trace"
	"github.com/tr87proxy/tr87proxy/proxy"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

// Commands paint in a terminal only, and not if the user, the environment or the terminal wants no colours.
func TestPainter(t *testing.T) {
	screen, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Skip("this machine has no terminals: ", err)
	}
	file, err := os.Create(filepath.Join(t.TempDir(), "out"))
	if err != nil {
		t.Fatal(err)
	}
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _, _ = screen.Close(), file.Close(), null.Close() })
	for _, tt := range []struct {
		name          string
		out           io.Writer
		noColor, term string
		flag          string
		want          painter
	}{
		{"a terminal", screen, "", "xterm", "", true},
		{"NO_COLOR", screen, "1", "xterm", "", false},
		{"TERM=dumb", screen, "", "dumb", "", false},
		{"--no-color", screen, "", "xterm", "--no-color", false},
		{"--json", screen, "", "xterm", "--json", false},
		{"a file", file, "", "xterm", "", false},
		{"the null device", null, "", "xterm", "", false},
		{"memory", &bytes.Buffer{}, "", "xterm", "", false},
	} {
		t.Setenv("NO_COLOR", tt.noColor)
		t.Setenv("TERM", tt.term)
		cmd, _, err := newRoot().Find([]string{"status"})
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.ParseFlags(strings.Fields(tt.flag)); err != nil {
			t.Fatal(err)
		}
		if got := painterFor(cmd, tt.out); got != tt.want {
			t.Errorf("%s: %v", tt.name, got)
		}
	}
}

// sequence matches the control sequences that a painter writes.
var sequence = regexp.MustCompile("\x1b\\[[0-9;]*m")

// What comes from elsewhere cannot control the terminal, by control characters of seven or eight bits, in UTF-8 or alone, or
// turn the direction of writing.
func TestPrintable(t *testing.T) {
	for text, want := range map[string]string{
		"Zoë\t100": "Zoë\t100", "a\x1b[2Jb": "a?[2Jb", "a\u009b2Jb": "a?2Jb", "a\x9b2Jb": "a\ufffd2Jb", "a\rb\nc\x00\x7f": "a?b?c??", "a\u202eb\u2066c": "a?b?c",
	} {
		if got := printable(text); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}

// The colours of the status are beside what it says: without them it is the same, its columns are aligned, and a name has none.
func TestStatusColours(t *testing.T) {
	now := time.Now()
	st := &daemon.Status{Version: "v", Started: now, Core: proxy.Status{Links: []proxy.LinkStatus{
		{Name: "pbx", Up: true, Status: "normal", Since: now}, {Name: "evil\x1b[2J\x1e31", Since: now, Failure: "no\x1b]0;x\x07route"},
	}}}
	var plain, coloured bytes.Buffer
	if err := printStatus(&plain, st, true, true, now, false); err != nil {
		t.Fatal(err)
	}
	if err := printStatus(&coloured, st, true, true, now, true); err != nil {
		t.Fatal(err)
	}
	if strings.ContainsAny(plain.String(), "\x1b\x1e") || sequence.ReplaceAllString(coloured.String(), "") != plain.String() {
		t.Errorf("%q\nis in colours\n%q", &plain, &coloured)
	}
	for _, want := range []string{"\x1b[32mpbx", "\x1b[31mevil"} {
		if !strings.Contains(coloured.String(), want) {
			t.Errorf("%q is not in %q", want, &coloured)
		}
	}
}

// The lines about events, records and rows have the colour of what they say, and no control sequence of anybody else.
func TestColoursOfLines(t *testing.T) {
	m, err := uacsta.Parse([]byte(`<FailedEvent xmlns="http://www.ecma-international.org/standards/ecma-323/csta/ed6"><failedConnection><callID>7</callID><deviceID>100</deviceID></failedConnection><calledDevice><deviceIdentifier>1&#155;2J</deviceIdentifier></calledDevice><cause>busy</cause></FailedEvent>`))
	if err != nil {
		t.Fatal(err)
	}
	if got := painter(true).paint(colourOf(m), narrate(m, "100", nil, time.Now())); !strings.HasPrefix(got, "\x1b[31m") || strings.Count(got, "\x1b") != 2 || strings.ContainsRune(got, 0x9b) {
		t.Errorf("%q", got)
	}
	var out bytes.Buffer
	v := &traceView{out: &out, errOut: io.Discard, arrow: narrowArrow, painter: true}
	if err := v.show(trace.Answer{Records: []trace.Record{
		{Lane: trace.Proxy, Kind: trace.Decision, Name: "MakeCall", Reason: "no rule\x1b[0m"}, {Lane: trace.Client, Kind: "request", Name: "Make\x1b[1mCall", Identity: "\x1b[5mcrm"},
	}}); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(out.String(), "\n")
	if !strings.HasPrefix(lines[0], "\x1b[31m") || !strings.HasSuffix(lines[0], "\x1b[0m") || strings.Count(lines[0], "\x1b") != 2 || strings.Contains(lines[1], "\x1b") {
		t.Errorf("%q", lines)
	}
	r := &row{device: "100\x1b[2J", calls: []callAt{{state: "alerting", with: "\x1b[2J"}}}
	if got := fitted([]painted{{r.line(nil, time.Now()), r.colour()}}, 40, true); !strings.HasPrefix(got, "\x1b[33m") || strings.Count(got, "\x1b") != 2 || len([]rune(sequence.ReplaceAllString(got, ""))) != 40 {
		t.Errorf("%q", got)
	}
}
