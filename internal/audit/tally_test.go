package audit

import (
	"bufio"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func entriesOf(t *testing.T, name string) (entries []Entry) {
	t.Helper()
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, maxLine)
	for lines.Scan() {
		var e Entry
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			t.Fatal(err)
		}
		entries = append(entries, e)
	}
	return entries
}

// Of each peer the first entry of a kind in a minute is written, and the others are counted, those
// of too many peers together.
func TestTally(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "audit.log")
		tally, err := OpenTally(Config{Path: path, Log: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		for range 1000 {
			tally.Note("a", Entry{Kind: "refused", Front: "xml", Reason: strings.Repeat("x", 1000), Devices: make([]string, 100)})
		}
		tally.Note("a", Entry{Kind: "closed"})
		tally.Note("b", Entry{Kind: "refused"})
		time.Sleep(tallyPeriod + period)
		tally.Note("a", Entry{Kind: "refused"})
		tally.Note("a", Entry{Kind: "refused"})
		const most = 500
		for n := range most + 10 {
			tally.Note(fmt.Sprint("peer", n), Entry{Kind: "closed"})
		}
		if n := tally.Counted(); n != 1004+most+10 {
			t.Errorf("%d are counted", n)
		}
		if err := tally.Close(); err != nil {
			t.Fatal(err)
		}
		if TallyPath("/a.b/audit") != "/a.b/audit-strangers" {
			t.Error(TallyPath("/a.b/audit"))
		}
		entries := entriesOf(t, filepath.Join(filepath.Dir(path), "audit-strangers.log"))
		var got []string
		for _, e := range entries {
			if len(e.Reason) > 256 || len(e.Devices) > 8 {
				t.Errorf("%+v", e)
			}
			if e.Count == 999 && (e.Front != "xml" || e.Reason != strings.Repeat("x", 256)) {
				t.Errorf("%+v: of which front and why?", e)
			}
			if e.Kind != "closed" || e.Count > 0 {
				got = append(got, fmt.Sprintf("%s %s %d", e.Kind, e.Peer, e.Count))
			}
		}
		if want := "[refused  0 refused  0 refused a 999 refused  0 refused a 1 others  11 stopped  0]"; fmt.Sprint(got) != want {
			t.Errorf("%v, want %v", got, want)
		}
		if len(entries) != len(got)+most {
			t.Errorf("%d lines", len(entries))
		}
		if _, err := Verify(nil, Files(TallyPath(path))); err != nil {
			t.Error(err)
		}
	})
}
