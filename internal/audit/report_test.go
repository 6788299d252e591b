package audit

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// A line that was noted elsewhere is found by its number and hash, in any file of the log.
func TestExpected(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.log")
	write(t, Config{Path: path, MaxSize: 1500}, some(20)...)
	entries, report := read(t, path)
	if len(Files(path)) < 3 || report.Lines != 21 || report.First != 1 || report.Number != 21 || report.Hash != entries[20].Hash || report.Found {
		t.Errorf("%+v of %v", report, Files(path))
	}
	for _, e := range []Entry{entries[0], entries[9], entries[20]} {
		if report, err := VerifyLog(nil, path, fmt.Sprintf("%d:%s", e.Number, e.Hash)); err != nil || !report.Found {
			t.Errorf("number %d: %+v %v", e.Number, report, err)
		}
	}
	for _, expect := range []string{"", "1:" + entries[1].Hash, "22:" + entries[20].Hash, entries[20].Hash} {
		if report, err := VerifyLog(nil, path, expect); err != nil || report.Found {
			t.Errorf("%q: %+v %v", expect, report, err)
		}
	}
	if _, err := Verify(nil, []string{path, path + ".nowhere"}); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
}

// Of very many faults, and of very many gaps, a hundred are told.
func TestManyFaults(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.log")
	for _, n := range []int{maxFindings, maxFindings + 1, maxFindings + 7} {
		if err := os.WriteFile(path, []byte(strings.Repeat("x\n", n)), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := Verify(nil, []string{path})
		if err == nil {
			t.Fatal("it is taken")
		}
		list := strings.Split(err.Error(), "\n")
		want := ""
		if n > maxFindings {
			want = fmt.Sprintf("and %d more", n-maxFindings)
		}
		if got := list[len(list)-1]; len(list) != min(n, maxFindings+1) || want != "" && got != want || strings.Contains(got, "more") != (want != "") {
			t.Errorf("of %d faults %d lines are told, the last: %s", n, len(list), got)
		}
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		gaps := slices.Repeat([]Entry{{Kind: "gap", Reason: "no space"}}, n)
		write(t, Config{Path: path}, gaps...)
		if report, err := Verify(nil, []string{path}); err != nil || len(report.Gaps) != min(n, maxFindings) {
			t.Errorf("of %d gaps %d are told: %v", n, len(report.Gaps), err)
		}
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
}

// What a gap says: where, when, and how much is missing, where that is known.
func TestGaps(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.log")
	when := time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC)
	write(t, Config{Path: path}, Entry{Kind: "done", Count: 3}, Entry{Kind: "gap", Time: when, Reason: "it was killed"}, Entry{Kind: "gap", Time: when, Count: 1, Reason: "no space"})
	report, err := Verify(nil, []string{path})
	want := []string{path + ":2: number 2, 2026-11-28T12:00:00Z: it was killed", path + ":3: number 3, 2026-11-28T12:00:00Z: 1 entries are missing: no space"}
	if err != nil || !slices.Equal(report.Gaps, want) {
		t.Errorf("%q %v", report.Gaps, err)
	}
}

// A line that is too long is a fault, and the lines behind it are looked at; one that just fits is
// none.
func TestLongLines(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.log")
	write(t, Config{Path: path}, some(3)...)
	sound, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	first := strings.Index(string(sound), "\n") + 1
	for octets, want := range map[int]string{
		maxLine - 1:   path + ":2: the line is not JSON",
		maxLine:       path + ":2: the line is too long",
		3*maxLine + 7: path + ":2: the line is too long",
	} {
		content := string(sound[:first]) + strings.Repeat("x", octets) + "\n" + string(sound[first:])
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if report, err := VerifyLog(nil, path, ""); err == nil || err.Error() != want || report.Lines != 4 {
			t.Errorf("%d octets: %+v %.200v", octets, report, err)
		}
	}
	if err := os.WriteFile(path, []byte(string(sound)+strings.Repeat("x", 2*maxLine)), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Verify(nil, []string{path}); err == nil || err.Error() != path+":5: the line is torn" {
		t.Errorf("%.200v", err)
	}
	if err := os.WriteFile(path, []byte(string(sound[:first])+strings.Repeat("x", 3*maxLine)+"\n"+string(sound[first:])+"half a li"), 0o600); err != nil {
		t.Fatal(err)
	}
	if report, err := VerifyLog(nil, path, ""); err == nil || err.Error() != path+":2: the line is too long\n"+path+":6: the line is torn" || report.Lines != 4 { // which is read again
		t.Errorf("%+v %.200v", report, err)
	}
	if _, err := Verify(nil, []string{filepath.Dir(path)}); err == nil {
		t.Error("what cannot be read is sound")
	}
	if err := os.WriteFile(path, []byte(string(sound[:first])+`{"number":"x"}`+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if report, err := Verify(nil, []string{path}); err == nil || !strings.HasPrefix(err.Error(), path+":2: ") || report.Lines != 1 {
		t.Errorf("%+v %v", report, err)
	}
}

// Of strangers an entry has so much and no more.
func TestClip(t *testing.T) {
	long := strings.Repeat("x", 257)
	list := slices.Repeat([]string{long}, 9)
	e := Entry{Kind: long, Who: long, How: long, Front: long, Peer: long, Session: long, Service: long, Outcome: long, Reason: long, Devices: list, Destinations: list, Connections: list}
	e.clip()
	for _, text := range e.texts() {
		if len(*text) != 256 {
			t.Errorf("a text of %d octets", len(*text))
		}
	}
	for _, of := range e.lists() {
		if len(*of) != 8 || len((*of)[7]) != 256 {
			t.Errorf("a list of %d", len(*of))
		}
	}
	if len(list[0]) != 257 {
		t.Error("what belongs to somebody else is cut")
	}
	short := Entry{Kind: "closed", Devices: []string{"100"}}
	short.clip()
	if short.Kind != "closed" || short.Reason != "" || !slices.Equal(short.Devices, []string{"100"}) {
		t.Errorf("%+v", short)
	}
}

// What strangers do is written as a line while there is room, and only counted when not: their log
// says that it fails, and other things go on.
func TestTallyFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out lines
		path, d := filepath.Join(t.TempDir(), "audit.log"), &disk{room: -1}
		cfg := Config{Path: path, Log: slog.New(slog.NewTextHandler(&out, nil))}
		tally, err := openTally(cfg, d.open)
		if err != nil {
			t.Fatal(err)
		}
		if err := tally.Failing(); err != nil {
			t.Error(err)
		}
		if cfg := tally.log.chain.cfg; cfg.MaxSize*int64(cfg.Keep+1) != 50<<20 || cfg.Path != TallyPath(path) {
			t.Errorf("it takes %d files of %d octets", cfg.Keep+1, cfg.MaxSize)
		}
		d.set(func() { d.room = 0 })
		tally.Note("a", Entry{Kind: "refused"})
		synctest.Wait()
		failing := tally.Failing()
		if !errors.Is(failing, ErrStrangersFull) || errors.Is(failing, ErrFull) || !errors.Is(failing, syscall.ENOSPC) || !strings.HasPrefix(failing.Error(), "the audit file of strangers cannot be written since 2000-01-01T00:00:00Z: ") {
			t.Error(failing)
		}
		if got := out.take(); !strings.Contains(got, "their actions are not recorded") || strings.Contains(got, "control requests are refused") {
			t.Error(got)
		}
		d.set(func() { d.room = -1 })
		time.Sleep(2 * period)
		if got := out.take(); tally.Failing() != nil || !strings.Contains(got, "the audit file of strangers can be written again") {
			t.Error(tally.Failing(), got)
		}
		if err := tally.Close(); err != nil {
			t.Error(err)
		}
	})
	var none *Tally
	none.Note("a", Entry{})
	if err := errors.Join(none.Close(), none.Failing()); err != nil || none.Counted() != 0 {
		t.Error(err)
	}
	if _, err := OpenTally(Config{Path: filepath.Join(t.TempDir(), "nowhere", "audit.log"), Log: slog.New(slog.DiscardHandler)}); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
	for path, want := range map[string]string{"audit": "audit-strangers", "/a.b/audit.log": "/a.b/audit-strangers.log"} {
		if got := TallyPath(path); got != want {
			t.Error(got)
		}
	}
}

// A failure says since when and why.
func TestFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out lines
		path, d := filepath.Join(t.TempDir(), "audit.log"), &disk{room: 0}
		l, err := open(Config{Path: path, Log: slog.New(slog.NewTextHandler(&out, nil))}, d.open)
		if err != nil {
			t.Fatal(err)
		}
		if err := l.Failing(); err != nil {
			t.Error(err)
		}
		if err := l.Add(Entry{Kind: "asked"}); !errors.Is(err, syscall.ENOSPC) {
			t.Error(err)
		}
		time.Sleep(3 * period)
		if err := l.Failing(); err == nil || err.Error() != "the audit file cannot be written since 2000-01-01T00:00:00Z: no space left on device" {
			t.Error(err)
		}
		var failure *Failure
		if !errors.As(l.Failing(), &failure) || time.Since(failure.Since) != 3*period {
			t.Error(failure)
		}
		if got := out.take(); strings.Count(got, "level=ERROR") != 1 || !strings.Contains(got, "control requests are refused") {
			t.Error(got)
		}
		d.set(func() { d.room = -1 })
		if err := l.Close(); err != nil { // it is tried once more
			t.Error(err)
		}
		entries, report := read(t, path)
		if len(entries) != 2 || len(report.Gaps) != 1 || !strings.Contains(report.Gaps[0], "1 entries are missing: the file could not be written since 2000-01-01T00:00:00Z: no space left on device") {
			t.Errorf("%+v %q", entries, report.Gaps)
		}
		if lines, refused := l.Counts(); lines != 2 || refused != 1 {
			t.Error(lines, refused)
		}
	})
}

// A log that cannot be written when it is closed says what is missing in it.
func TestClosedFailing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out lines
		path, d := filepath.Join(t.TempDir(), "audit.log"), &disk{room: 0}
		l, err := open(Config{Path: path, Log: slog.New(slog.NewTextHandler(&out, nil))}, d.open)
		if err != nil {
			t.Fatal(err)
		}
		_ = l.Add(Entry{Kind: "asked"})
		l.Note(Entry{Kind: "done"})
		if err := l.Close(); !errors.Is(err, ErrFull) {
			t.Error(err)
		}
		// what was asked, what has happened, and that the log was closed
		if got := out.take(); !strings.Contains(got, `msg="audit file closed with missing entries" file=`+path+" missing=3\n") {
			t.Error(got)
		}
	})
}

// Entries wait in so many octets, whoever gives them.
func TestWaitingIsBounded(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes a while")
	}
	synctest.Test(t, func(t *testing.T) {
		path, d := filepath.Join(t.TempDir(), "audit.log"), &disk{room: -1, hangs: make(chan struct{})}
		l := opened(t, path, d, 0)
		l.Note(Entry{Kind: "done"})
		synctest.Wait() // it hangs in the disk
		large, taken := Entry{Kind: "done", Reason: strings.Repeat("x", 1<<20-512-len("done"))}, 0
		for l.Note(large) != failed && taken < 100 {
			taken++
		}
		if taken != maxWaiting>>20-1 { // the one that is being written waits, too
			t.Errorf("%d entries of 1 MiB wait", taken)
		}
		if _, refused := l.Counts(); refused != 1 {
			t.Error(refused)
		}
		hangs := d.hangs
		d.set(func() { d.hangs = nil })
		close(hangs)
		time.Sleep(2 * period)
		for range maxWaiting>>20 + 1 { // what is written waits no more
			if err := l.Add(large); err != nil {
				t.Fatal(err)
			}
		}
		if err := l.Close(); err != nil {
			t.Error(err)
		}
		if report, err := Verify(nil, []string{path}); err != nil || len(report.Gaps) != 1 || !strings.Contains(report.Gaps[0], "1 entries are missing: more was to be written than the disk could take") {
			t.Errorf("%q", report.Gaps)
		}
	})
}

// What was refused waits no more: after a failure as much can wait as before.
func TestRefusedTakeNoRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path, d := filepath.Join(t.TempDir(), "audit.log"), &disk{room: -1}
		l := opened(t, path, d, 0)
		const many, octets = 50, 100 << 10
		put := func(asked bool) (refused int) {
			hangs := make(chan struct{})
			d.set(func() { d.hangs = hangs })
			l.Note(Entry{Kind: "done"}) // the writer is busy with it
			synctest.Wait()
			for range many {
				if l.put(Entry{Kind: "asked", Reason: strings.Repeat("x", octets), asked: asked}) == failed {
					refused++
				}
			}
			d.set(func() { d.hangs = nil })
			close(hangs)
			synctest.Wait()
			return refused
		}
		for range 3 {
			d.set(func() { d.room = 1000 })
			if refused := put(true); refused != 0 {
				t.Errorf("%d of %d find no room", refused, many)
			}
			if l.Failing() == nil {
				t.Error("it has room for all of them")
			}
			d.set(func() { d.room = -1 })
			time.Sleep(2 * period)
		}
		if refused := put(false); refused != 0 {
			t.Errorf("%d of %d find no room", refused, many)
		}
		if _, missing := l.Counts(); missing != 3*many {
			t.Errorf("%d are missing", missing)
		}
		if err := l.Close(); err != nil {
			t.Error(err)
		}
		if l.waiting != 0 {
			t.Errorf("%d octets wait for nothing", l.waiting)
		}
	})
}

// What waits together is written in pieces: where one cannot be, those before it are in the file, and
// are not written again.
func TestPieces(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path, d := filepath.Join(t.TempDir(), "audit.log"), &disk{room: -1}
		l := opened(t, path, d, 0)
		hangs := make(chan struct{})
		d.set(func() { d.hangs = hangs })
		l.Note(Entry{Kind: "done"}) // the writer is busy with it
		synctest.Wait()
		const many = 40
		for n := range many {
			l.Note(Entry{Kind: "done", Service: fmt.Sprint(n), Reason: strings.Repeat("x", piece/10)})
		}
		d.set(func() { d.hangs, d.room = nil, piece+piece/2 })
		close(hangs)
		synctest.Wait()
		if lines, _ := l.Counts(); lines < 10 || lines > 12 || l.Failing() == nil {
			t.Errorf("%d lines are written: %v", lines, l.Failing())
		}
		if err := l.Note(Entry{Kind: "done", Service: fmt.Sprint(many)}).Wait(); !errors.Is(err, ErrFull) {
			t.Errorf("what is not in the file is said to be: %v", err)
		}
		d.set(func() { d.room = -1 })
		time.Sleep(2 * period)
		if err := l.Close(); err != nil {
			t.Error(err)
		}
		var services []string
		entries, _ := read(t, path)
		for _, e := range entries {
			if e.Service != "" {
				services = append(services, e.Service)
			}
		}
		want := make([]string, 0, many+1)
		for n := range many + 1 {
			want = append(want, fmt.Sprint(n))
		}
		if !slices.Equal(services, want) {
			t.Errorf("the file has %v", services)
		}
	})
}

// A file that nobody writes is read once, however it ends; no file stays open.
func TestReadOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "audit.log")
		if err := os.WriteFile(path+".3", []byte("half a li"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		open := func() int {
			files, _ := os.ReadDir("/proc/self/fd") // none where there is no such directory
			return len(files)
		}
		before, began := open(), time.Now()
		for range 5 {
			if _, err := VerifyLog(nil, path, ""); err == nil || !strings.Contains(err.Error(), "torn") {
				t.Error(err)
			}
			if _, err := Verify(nil, Files(path)); err == nil || !strings.Contains(err.Error(), "torn") {
				t.Error(err)
			}
		}
		if took, left := time.Since(began), open()-before; took != 0 || left > 0 {
			t.Errorf("it waits for %v; %d files are open", took, left)
		}
	})
}

// A line that is sound by itself and does not follow the one before is a fault, whatever it is that does
// not fit: its number, or the hash.
func TestOrder(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.log")
	for name, tt := range map[string]struct {
		number int64
		before string // "": the hash of the line before
		want   string
	}{
		"it follows": {2, "", ""}, "a number is missing": {4, "", "numbers 2 to 3 are missing"}, "the number comes twice": {1, "", "it does not follow the line before, number 1"},
		"the number goes back": {0, "", "it does not follow the line before, number 1"}, "another hash": {2, "00", "it does not follow the line before, number 1"},
	} {
		first := Entry{Number: 1, Kind: "done"}
		lines, err := seal(nil, nil, &first)
		if err != nil {
			t.Fatal(err)
		}
		second := Entry{Number: tt.number, Kind: "done", Before: tt.before}
		if tt.before == "" {
			second.Before = first.Hash
		}
		if lines, err = seal(lines, nil, &second); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, lines, 0o600); err != nil {
			t.Fatal(err)
		}
		_, err = Verify(nil, []string{path})
		if got := fmt.Sprint(err); (err != nil) != (tt.want != "") || !strings.Contains(got, tt.want) {
			t.Errorf("%s: %s", name, got)
		}
	}
}
