package audit

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
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

// A file is as large as is said, but for one line that is larger, and has the number of its last
// line when it is full; the oldest goes when there are too many.
func TestSizes(t *testing.T) {
	for _, keep := range []int{0, 2} {
		path := filepath.Join(t.TempDir(), "audit.log")
		cfg := Config{Path: path, MaxSize: 2000, Keep: keep}
		long := some(1)[0]
		long.Reason = strings.Repeat("x", 5000)
		list := append(some(40), long)
		write(t, cfg, append(list, some(70)...)...)
		want := keep
		if keep == 0 {
			want = 10
		}
		names := Files(path)
		if len(names) != want+1 {
			t.Errorf("%d files: %v", len(names), names)
		}
		for i, name := range names {
			entries, data := entriesOf(t, name), int64(0)
			if info, err := os.Stat(name); err == nil {
				data = info.Size()
			}
			if data > cfg.MaxSize && len(entries) > 1 {
				t.Errorf("%s has %d octets", name, data)
			}
			if i == len(names)-1 {
				continue
			}
			if last := entries[len(entries)-1].Number; name != fmt.Sprintf("%s.%d", path, last) {
				t.Errorf("%s ends with number %d", name, last)
			}
			if next := entriesOf(t, names[i+1])[0]; data+int64(lineLength(t, next)) <= cfg.MaxSize {
				t.Errorf("%s has %d octets, and room for the next line", name, data)
			}
		}
		if _, report := read(t, path); report.Number != 112 || len(report.Gaps) != 0 {
			t.Errorf("%+v", report)
		}
	}
}

func lineLength(t *testing.T, e Entry) int {
	t.Helper()
	line, err := seal(nil, nil, &e)
	if err != nil {
		t.Fatal(err)
	}
	return len(line)
}

// A line that just fits into the file goes there; one octet more, and it begins a new one.
func TestLastOctet(t *testing.T) {
	e := Entry{Kind: "done", Time: time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC), Reason: strings.Repeat("x", 300)}
	first := e
	first.Number = 1
	second := e
	second.Number, second.Before = 2, strings.Repeat("0", 64)
	size := int64(lineLength(t, first) + lineLength(t, second))
	for less, want := range map[int64]int64{0: 2, 1: 1} {
		path := filepath.Join(t.TempDir(), "audit.log")
		write(t, Config{Path: path, MaxSize: size - less}, e, e)
		if names := Files(path); len(names) < 2 || names[0] != fmt.Sprintf("%s.%d", path, want) {
			t.Errorf("%d octets less than two lines: %v", less, names)
		}
	}
}

// Only files that were made by a rotation belong to a log, in the order of their numbers.
func TestFiles(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "audit.log")
	for _, name := range []string{"audit.log", "audit.log.100", "audit.log.9", "audit.log.10", "audit.log.x", "audit.log.0", "audit.log.-1", "audit.log.9.gz", "audit.log9", "xaudit.log.8", "audit-strangers.log.7", "8"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if got := Files(path); !slices.Equal(got, []string{path + ".9", path + ".10", path + ".100", path}) {
		t.Error(got)
	}
	if got := Files(filepath.Join(dir, "nowhere", "audit.log")); len(got) != 1 {
		t.Error(got)
	}
}

// The end of a chain is found however long its last line is, and not behind very much of something
// else: a new chain is not begun in such a file.
func TestLongEnd(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.log")
	long := some(1)[0]
	for _, size := range []int{firstLook - 300, firstLook, 5 * firstLook} {
		long.Reason = strings.Repeat("x", size)
		write(t, Config{Path: path}, long)
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		stopped := bytes.LastIndexByte(data[:len(data)-1], '\n') + 1
		if err := os.WriteFile(path, data[:stopped], 0o600); err != nil { // the process was killed
			t.Fatal(err)
		}
	}
	write(t, Config{Path: path}, some(1)...)
	if _, report := read(t, path); report.Number != 8 || len(report.Gaps) != 3 {
		t.Errorf("%+v", report)
	}
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for octets, want := range map[int]error{lastLook / 2: nil, lastLook + 65536: errNoLines} {
		if err := os.WriteFile(path, append(slices.Clone(before), bytes.Repeat(append(bytes.Repeat([]byte("x"), 65535), '\n'), octets/65536)...), 0o600); err != nil {
			t.Fatal(err)
		}
		l, err := Open(Config{Path: path, Log: slog.New(slog.DiscardHandler)})
		if !errors.Is(err, want) {
			t.Errorf("%d octets that are no lines: %v", octets, err)
		}
		if err == nil {
			_ = l.Close()
		}
	}
}

// What is written is on the disk a second later, by one fsync at a time, and an idle log makes none.
func TestSyncs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path, d := filepath.Join(t.TempDir(), "audit.log"), &disk{room: -1}
		syncs := func() (n int) {
			d.set(func() { n = d.syncs })
			return n
		}
		l := opened(t, path, d, 0)
		time.Sleep(10 * period)
		if n := syncs(); n != 0 {
			t.Errorf("an idle log makes %d", n)
		}
		for want := 1; want <= 2; want++ {
			for range 3 {
				if err := l.Add(Entry{Kind: "asked"}); err != nil {
					t.Error(err)
				}
			}
			time.Sleep(period)
			synctest.Wait()
			if n := syncs(); n != want {
				t.Errorf("%d after a second, not %d", n, want)
			}
			time.Sleep(10 * period)
			if n := syncs(); n != want {
				t.Errorf("%d when nothing was written, not %d", n, want)
			}
		}
		stuck := make(chan struct{})
		d.set(func() { d.stuck = stuck })
		for range 5 {
			if err := l.Add(Entry{Kind: "asked"}); err != nil { // nobody waits for it
				t.Error(err)
			}
			time.Sleep(period)
		}
		if n := syncs(); n != 3 {
			t.Errorf("%d, while one has not come back", n)
		}
		d.set(func() { d.stuck = nil })
		close(stuck)
		time.Sleep(period + period/2)
		if n := syncs(); n != 4 {
			t.Errorf("%d: what was written meanwhile is not on the disk", n)
		}
		if err := l.Close(); err != nil || syncs() != 5 {
			t.Errorf("%d, %v", syncs(), err)
		}
	})
}

// A rotation whose fsync fails refuses what was to be done, and is tried again.
func TestRotationFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path, d := filepath.Join(t.TempDir(), "audit.log"), &disk{room: -1}
		l := opened(t, path, d, 1000)
		for range 3 {
			if err := l.Add(Entry{Kind: "asked"}); err != nil {
				t.Error(err)
			}
		}
		d.set(func() { d.sync = syscall.EIO })
		var err error
		for n := 0; err == nil && n < 10; n++ {
			err = l.Add(Entry{Kind: "asked"})
		}
		if !errors.Is(err, syscall.EIO) || !errors.Is(l.Failing(), ErrFull) || len(Files(path)) != 1 {
			t.Errorf("%v, %v, %v", err, l.Failing(), Files(path))
		}
		d.set(func() { d.sync = nil })
		time.Sleep(2 * period)
		if err := l.Add(Entry{Kind: "asked"}); err != nil || len(Files(path)) != 2 {
			t.Errorf("%v, %v", err, Files(path))
		}
		if err := l.Close(); err != nil {
			t.Error(err)
		}
		if _, report := read(t, path); len(report.Gaps) != 1 || report.First != 1 {
			t.Errorf("%+v", report)
		}
	})
}

// A new file that cannot be made refuses what was to be done, and is tried again; a torn line that
// cannot be cut off keeps the log shut.
func TestNoNewFile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path, d := filepath.Join(t.TempDir(), "audit.log"), &disk{room: -1}
		l := opened(t, path, d, 1000)
		if err := l.Add(Entry{Kind: "asked"}); err != nil {
			t.Error(err)
		}
		d.set(func() { d.no = syscall.EMFILE })
		var err error
		for n := 0; err == nil && n < 10; n++ {
			err = l.Add(Entry{Kind: "asked"})
		}
		if !errors.Is(err, syscall.EMFILE) || !errors.Is(l.Failing(), ErrFull) || len(Files(path)) != 2 {
			t.Errorf("%v, %v, %v", err, l.Failing(), Files(path))
		}
		time.Sleep(3 * period)
		if l.Failing() == nil {
			t.Error("it writes into nothing")
		}
		d.set(func() { d.no = nil })
		time.Sleep(2 * period)
		if err := errors.Join(l.Add(Entry{Kind: "asked"}), l.Close()); err != nil {
			t.Error(err)
		}
		if _, report := read(t, path); len(report.Gaps) != 1 || report.First != 1 {
			t.Errorf("%+v", report)
		}
	})
	path, d := filepath.Join(t.TempDir(), "audit.log"), &disk{room: -1, truncate: syscall.EIO}
	torn := []byte(`{"number":`)
	if err := os.WriteFile(path, torn, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := open(Config{Path: path}, d.open); !errors.Is(err, syscall.EIO) {
		t.Error(err)
	}
	d.set(func() { d.truncate = nil })
	l, err := open(Config{Path: path}, d.open) // the first one has let go of it
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
}

// Entries that wait together may need more than one file: where the first is full and cannot be
// written, none of those behind it is taken for written, and all that has happened is kept.
func TestFullBeforeRotation(t *testing.T) {
	for _, room := range []int{400, 2500} { // for none of the files, and for some
		synctest.Test(t, func(t *testing.T) {
			path, d := filepath.Join(t.TempDir(), "audit.log"), &disk{room: -1}
			l := opened(t, path, d, 1000)
			hangs := make(chan struct{})
			d.set(func() { d.hangs = hangs })
			l.Note(Entry{Kind: "done", Reason: "0"}) // the writer is busy with it
			synctest.Wait()
			var receipts []*Receipt
			for n := range 20 {
				receipts = append(receipts, l.Note(Entry{Kind: "done", Reason: fmt.Sprint(n + 1)}))
			}
			d.set(func() { d.hangs, d.room = nil, room })
			close(hangs)
			for _, r := range receipts {
				if err := r.Wait(); !errors.Is(err, syscall.ENOSPC) {
					t.Errorf("what is not in the file is said to be: %v", err)
				}
			}
			if err := l.Failing(); !errors.Is(err, ErrFull) || (len(Files(path)) > 1) != (room > 1000) {
				t.Errorf("%v, %v", err, Files(path))
			}
			d.set(func() { d.room = -1 })
			time.Sleep(2 * period)
			if err := l.Close(); err != nil {
				t.Error(err)
			}
			entries, report := read(t, path)
			var done []string
			for _, e := range entries {
				if e.Kind == "done" {
					done = append(done, e.Reason)
				}
			}
			want := make([]string, 0, 21)
			for n := range 21 {
				want = append(want, fmt.Sprint(n))
			}
			if !slices.Equal(done, want) || len(report.Gaps) != 1 || len(Files(path)) < 4 {
				t.Errorf("the files have %v, %q", done, report.Gaps)
			}
		})
	}
}

// What stands at the end of a file and is no line of the log is told, and gone on behind; it gives no
// number.
func TestUnreadableEnd(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.log")
	write(t, Config{Path: path}, some(2)...)
	sound, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	begin, end := `{"number":90,"hash":"aa","reason":"`, "\"}\n"
	for name, last := range map[string]string{
		"no JSON": "something\n", "no number": `{"number":0,"hash":"aa"}` + "\n", "no hash": `{"number":90}` + "\n", "a number that is a text": `{"hash":"aa","number":"90"}` + "\n",
		"a time that is a number": `{"number":90,"hash":"aa","time":5}` + "\n",
		"a line behind something": "xxxx" + begin + strings.Repeat("p", firstLook-len(begin)-len(end)) + end, // the end that is looked at is a line
	} {
		if err := os.WriteFile(path, append(slices.Clone(sound), last...), 0o600); err != nil {
			t.Fatal(err)
		}
		write(t, Config{Path: path}, some(1)...)
		var entries []Entry
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(data[len(sound)+len(last):])) {
			var e Entry
			if err := json.Unmarshal([]byte(line), &e); err != nil {
				t.Fatal(err)
			}
			entries = append(entries, e)
		}
		if len(entries) != 3 || entries[0].Number != 4 || entries[0].Kind != "gap" || !strings.Contains(entries[0].Reason, fmt.Sprintf("%d octets behind number 3", len(last))) {
			t.Errorf("%s: it goes on with %+v", name, entries)
		}
	}
}

// A file in which there is no line is none of the log's, also where its end looks like the beginning of
// one.
func TestNoLines(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.log")
	begin := `{"number":`
	content := "xxxx" + begin + strings.Repeat("p", firstLook-len(begin))
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	l, err := Open(Config{Path: path})
	if err == nil {
		_ = l.Close()
	}
	if data, _ := os.ReadFile(path); !errors.Is(err, errNoLines) || string(data) != content {
		t.Errorf("%v; the file has %d octets of %d", err, len(data), len(content))
	}
}

// Each line that is larger than a file may be has a file of its own, and no file is empty.
func TestLinesLargerThanFiles(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.log")
	write(t, Config{Path: path, MaxSize: 100}, some(3)...)
	files := Files(path)
	for _, name := range files {
		if data, err := os.ReadFile(name); err != nil || bytes.Count(data, []byte("\n")) != 1 {
			t.Errorf("%s has %q: %v", name, data, err)
		}
	}
	if len(files) != 4 {
		t.Errorf("%v", files)
	}
	read(t, path)
}

// The files of a log are as large, and as many are kept, as its configuration is said to mean.
func TestDefaults(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.log")
	for _, tt := range []struct {
		cfg  Config
		size int64
		keep int
	}{{Config{Path: path}, 100 << 20, 10}, {Config{Path: path, MaxSize: 1000, Keep: 3}, 1000, 3}} {
		l, err := Open(tt.cfg)
		if err != nil {
			t.Fatal(err)
		}
		if got := l.chain.cfg; got.MaxSize != tt.size || got.Keep != tt.keep {
			t.Errorf("%+v", got)
		}
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	}
	tally, err := OpenTally(Config{Path: path, MaxSize: 1000, Keep: 3})
	if err != nil {
		t.Fatal(err)
	}
	if got := tally.log.chain.cfg; got.MaxSize*int64(got.Keep+1) != 50<<20 {
		t.Errorf("of strangers: %+v", got)
	}
	if err := tally.Close(); err != nil {
		t.Error(err)
	}
}

// A file with a torn line is gone on with behind its whole lines; another that somebody puts in its place
// meanwhile is not made as long as it was.
func TestReplacedWhileTorn(t *testing.T) {
	for _, replaced := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			var out lines
			path, d := filepath.Join(t.TempDir(), "audit.log"), &disk{room: -1}
			l, err := open(Config{Path: path, Log: slog.New(slog.NewTextHandler(&out, nil))}, d.open)
			if err != nil {
				t.Fatal(err)
			}
			for range 3 {
				if err := l.Add(Entry{Kind: "asked"}); err != nil {
					t.Error(err)
				}
			}
			d.set(func() { d.room, d.truncate = 20, syscall.EIO })
			if l.Add(Entry{Kind: "asked"}) == nil {
				t.Error("it is written")
			}
			want := "1asked 2asked 3asked 4gap 5stopped"
			if replaced {
				want = "1asked 4gap 5stopped"
				data, err := os.ReadFile(path)
				if err != nil {
					t.Fatal(err)
				}
				if err := errors.Join(os.Remove(path), os.WriteFile(path, data[:bytes.IndexByte(data, '\n')+1], 0o600)); err != nil {
					t.Fatal(err)
				}
			}
			d.set(func() { d.room, d.truncate = -1, nil })
			time.Sleep(2 * period)
			if err := errors.Join(l.Failing(), l.Close()); err != nil {
				t.Error(err)
			}
			var kinds []string
			for _, e := range entriesOf(t, path) {
				kinds = append(kinds, fmt.Sprint(e.Number, e.Kind))
			}
			told := strings.Contains(out.take(), "audit file was changed or replaced")
			if got := strings.Join(kinds, " "); got != want || told != replaced {
				t.Errorf("replaced: %v; the file has %s; told: %v", replaced, got, told)
			}
		})
	}
}

// A chain whose youngest older file cannot be read is not begun anew.
func TestUnreadableOlderFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.log")
	for name, put := range map[string]func() error{
		"a link to nothing": func() error { return os.Symlink(path+"-nowhere", path+".7") },
		"a directory":       func() error { return os.Mkdir(path+".7", 0o700) },
		"no audit file":     func() error { return os.WriteFile(path+".7", []byte("something else\n"), 0o600) },
	} {
		if err := put(); err != nil {
			t.Fatal(err)
		}
		if l, err := Open(Config{Path: path}); err == nil {
			_ = l.Close()
			t.Errorf("%s: the chain begins anew", name)
		}
		if err := os.Remove(path + ".7"); err != nil {
			t.Fatal(err)
		}
	}
	l, err := Open(Config{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
}

// A file that was removed, emptied, or replaced by another while the log failed is gone on with behind
// its last line; no number is given twice.
func TestReopened(t *testing.T) {
	for name, tt := range map[string]struct {
		change func(t *testing.T, path string)
		told   string // in the log of the program
		whole  bool   // the chain holds over it
	}{
		"as it was": {func(*testing.T, string) {}, "", true},
		"removed": {func(t *testing.T, path string) {
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
		}, "started a new audit file: the old one was moved or removed", true},
		"moved": {func(t *testing.T, path string) {
			if err := os.Rename(path, path+".3"); err != nil {
				t.Fatal(err)
			}
		}, "started a new audit file: the old one was moved or removed", true},
		"older": {func(t *testing.T, path string) {
			data, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if err := errors.Join(os.Remove(path), os.WriteFile(path, data[:bytes.IndexByte(data, '\n')+1], 0o600)); err != nil {
				t.Fatal(err)
			}
		}, "audit file was changed or replaced", false},
	} {
		synctest.Test(t, func(t *testing.T) {
			var out lines
			path, d := filepath.Join(t.TempDir(), "audit.log"), &disk{room: -1}
			l, err := open(Config{Path: path, Log: slog.New(slog.NewTextHandler(&out, nil))}, d.open)
			if err != nil {
				t.Fatal(err)
			}
			for range 3 {
				if err := l.Add(Entry{Kind: "asked"}); err != nil {
					t.Error(err)
				}
			}
			d.set(func() { d.room = 20 }) // half a line, which is cut off again
			if l.Add(Entry{Kind: "asked"}) == nil {
				t.Error("it is written")
			}
			tt.change(t, path)
			d.set(func() { d.room = -1 })
			out.take()
			time.Sleep(2 * period)
			if err := l.Failing(); err != nil {
				t.Errorf("%s: %v", name, err)
			}
			got := out.take()
			if told := strings.Contains(got, "level=WARN"); told != (tt.told != "") || !strings.Contains(got, tt.told) {
				t.Errorf("%s: the log has\n%s", name, got)
			}
			if err := l.Close(); err != nil {
				t.Error(err)
			}
			entries := entriesOf(t, path)
			if last := entries[len(entries)-1]; last.Number != 5 || last.Kind != "stopped" || entries[len(entries)-2].Kind != "gap" || entries[len(entries)-2].Count != 1 {
				t.Errorf("%s: it ends with %+v", name, last)
			}
			if _, err := Verify(nil, Files(path)); (err == nil) != tt.whole {
				t.Errorf("%s: %v", name, err)
			}
		})
	}
}

// A file in whose place somebody puts another is noticed before the next entry is written.
func TestReplacedFile(t *testing.T) {
	var out lines
	path := filepath.Join(t.TempDir(), "audit.log")
	l, err := Open(Config{Path: path, Log: slog.New(slog.NewTextHandler(&out, nil))})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := l.Add(Entry{Kind: "asked"}); err != nil {
			t.Error(err)
		}
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	first := data[:bytes.IndexByte(data, '\n')+1]
	if err := errors.Join(os.Rename(path, path+".old"), os.WriteFile(path, first, 0o600)); err != nil {
		t.Fatal(err)
	}
	if err := l.Add(Entry{Kind: "asked"}); err != nil {
		t.Error(err)
	}
	entries := entriesOf(t, path)
	if len(entries) != 3 || entries[1].Kind != "gap" || entries[2].Kind != "asked" || entries[2].Number != 4 || !strings.Contains(out.take(), "was changed or replaced") {
		t.Errorf("%+v", entries)
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
}

// The hash of a line is that of the line without it, so that anybody can check it: SHA-256, or HMAC
// with it where there is a key.
func TestFormat(t *testing.T) {
	when := time.Date(2026, 11, 28, 13, 0, 0, 0, time.FixedZone("", 3600))
	for _, key := range []string{"", "secret"} {
		path := filepath.Join(t.TempDir(), "audit.log")
		write(t, Config{Path: path, Key: []byte(key)}, Entry{Kind: "done", Time: when, Who: "crm", Devices: []string{"100"}})
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		line, _, _ := strings.Cut(string(data), "\n")
		plain := `{"number":1,"time":"2026-11-28T12:00:00Z","kind":"done","who":"crm","devices":["100"],"before":""`
		h := sha256.New()
		if key != "" {
			h = hmac.New(sha256.New, []byte(key))
		}
		h.Write([]byte(plain + "}"))
		if want := plain + `,"hash":"` + hex.EncodeToString(h.Sum(nil)) + `"}`; line != want {
			t.Errorf("key %q: %s, want %s", key, line, want)
		}
	}
}
