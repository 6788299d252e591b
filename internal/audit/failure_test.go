package audit

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// disk is a disk that fails as it is told.
type disk struct {
	mu       sync.Mutex
	room     int   // octets that can be written; -1: any number
	sync     error // of fsync
	truncate error
	hangs    chan struct{} // write(2) does not return before it is closed
	stuck    chan struct{} // nor does fsync
	syncs    int           // that were begun
	no       error         // of opening a file
}

func (d *disk) set(change func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	change()
}

func (d *disk) open(path string) (file, error) {
	d.mu.Lock()
	no := d.no
	d.mu.Unlock()
	if no != nil {
		return nil, no
	}
	f, err := openFile(path)
	if err != nil {
		return nil, err
	}
	return &onDisk{f.(*os.File), d}, nil
}

type onDisk struct {
	*os.File
	disk *disk
}

func (f *onDisk) Write(data []byte) (int, error) {
	f.disk.mu.Lock()
	hangs := f.disk.hangs
	f.disk.mu.Unlock()
	if hangs != nil {
		<-hangs
	}
	f.disk.mu.Lock()
	defer f.disk.mu.Unlock()
	if f.disk.room < 0 {
		return f.File.Write(data)
	}
	n, err := f.File.Write(data[:min(len(data), f.disk.room)])
	if f.disk.room -= n; err == nil && n < len(data) {
		err = syscall.ENOSPC
	}
	return n, err
}

func (f *onDisk) Truncate(size int64) error {
	f.disk.mu.Lock()
	defer f.disk.mu.Unlock()
	if f.disk.truncate != nil {
		return f.disk.truncate
	}
	return f.File.Truncate(size)
}

func (f *onDisk) Sync() error {
	f.disk.mu.Lock()
	f.disk.syncs++
	stuck := f.disk.stuck
	f.disk.mu.Unlock()
	if stuck != nil {
		<-stuck
	}
	f.disk.mu.Lock()
	defer f.disk.mu.Unlock()
	return f.disk.sync
}

// opened is a log on such a disk.
func opened(t *testing.T, path string, d *disk, maxSize int64) *Log {
	t.Helper()
	l, err := open(Config{Path: path, MaxSize: maxSize, Keep: 1000, Log: slog.New(slog.DiscardHandler)}, d.open)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func read(t *testing.T, path string) (entries []Entry, report Report) {
	t.Helper()
	report, err := Verify(nil, Files(path))
	if err != nil {
		t.Error(err)
	}
	for _, name := range Files(path) {
		entries = append(entries, entriesOf(t, name)...)
	}
	return entries, report
}

// When the disk is full in the middle of a line, what was to be done is refused, what has
// happened is kept, and the file tells how much is missing once there is room again.
func TestFullDisk(t *testing.T) {
	for _, stuck := range []bool{false, true} { // the half line cannot be cut off at once
		synctest.Test(t, func(t *testing.T) {
			path, d := filepath.Join(t.TempDir(), "audit.log"), &disk{room: 2100}
			if stuck {
				d.truncate = syscall.EIO
			}
			l := opened(t, path, d, 0)
			var inFile, refused int
			for n := range 40 {
				e := Entry{Kind: "asked", Reason: fmt.Sprint(n)}
				switch err := l.Add(e); {
				case err == nil && refused == 0:
					inFile++
				case err == nil:
					t.Fatal("an entry is taken in between")
				default:
					refused++
					l.Note(Entry{Kind: "done", Reason: fmt.Sprint(n)})
				}
			}
			if inFile == 0 || refused == 0 || l.Failing() == nil || !errors.Is(l.Failing(), syscall.ENOSPC) {
				t.Errorf("%d are written, %d refused: %v", inFile, refused, l.Failing())
			}
			time.Sleep(10 * time.Second) // in vain
			if l.Failing() == nil {
				t.Error("it says that it can write")
			}
			d.set(func() { d.room, d.truncate = -1, nil })
			time.Sleep(2 * period)
			if err := l.Failing(); err != nil {
				t.Error(err)
			}
			if err := l.Add(Entry{Kind: "asked", Reason: "last"}); err != nil {
				t.Error(err)
			}
			if lines, missing := l.Counts(); int(missing) != refused || int(lines) != inFile+1+refused+1 {
				t.Errorf("%d lines, %d are missing", lines, missing)
			}
			if err := l.Close(); err != nil {
				t.Error(err)
			}
			entries, report := read(t, path)
			if len(report.Gaps) != 1 || !strings.Contains(report.Gaps[0], fmt.Sprintf("%d entries are missing: the file could not be written since", refused)) || !strings.Contains(report.Gaps[0], "no space left") {
				t.Errorf("%q", report.Gaps)
			}
			counts := map[string]int{}
			for _, e := range entries {
				counts[e.Kind]++
			}
			if counts["asked"] != inFile+1 || counts["done"] != refused || counts["gap"] != 1 || counts["stopped"] != 1 {
				t.Errorf("the file has %v", counts)
			}
		})
	}
}

// What happens while nothing can be written is kept up to a bound; the rest is counted.
func TestLongFailure(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes a while")
	}
	synctest.Test(t, func(t *testing.T) {
		path, d := filepath.Join(t.TempDir(), "audit.log"), &disk{}
		l := opened(t, path, d, 0)
		const many = 3000
		for range many {
			l.Note(Entry{Kind: "done", Reason: strings.Repeat("x", 10000)})
		}
		time.Sleep(3 * period)
		_, missing := l.Counts()
		if missing == 0 || missing == many {
			t.Errorf("%d are missing", missing)
		}
		d.set(func() { d.room = -1 })
		time.Sleep(2 * period)
		if err := l.Close(); err != nil {
			t.Error(err)
		}
		entries, report := read(t, path)
		if len(report.Gaps) != 1 || len(entries) != many-int(missing)+2 || entries[0].Count != missing {
			t.Errorf("%d entries, %d missing, %q", len(entries), missing, report.Gaps)
		}
	})
}

// A failed fsync makes the log fail, and is told.
func TestFailedSync(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path, d := filepath.Join(t.TempDir(), "audit.log"), &disk{room: -1, sync: syscall.EIO}
		l := opened(t, path, d, 0)
		if err := l.Add(Entry{Kind: "asked"}); err != nil {
			t.Error(err) // it has been given to the system
		}
		time.Sleep(3 * period / 2)
		if !errors.Is(l.Failing(), syscall.EIO) {
			t.Errorf("before the next attempt it says %v", l.Failing())
		}
		time.Sleep(2 * period) // between two attempts
		if err := l.Add(Entry{Kind: "asked"}); !errors.Is(l.Failing(), syscall.EIO) || !errors.Is(err, ErrFull) {
			t.Errorf("%v, %v", l.Failing(), err)
		}
		d.set(func() { d.sync = nil })
		time.Sleep(2 * period)
		if err := l.Close(); err != nil {
			t.Error(err)
		}
		if entries, report := read(t, path); len(entries) != 3 || len(report.Gaps) != 1 || !strings.Contains(report.Gaps[0], "1 entries are missing") {
			t.Errorf("%d entries, %q", len(entries), report.Gaps)
		}
	})
}

// A log whose last fsync fails says so when it is closed.
func TestFailedLastSync(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &disk{room: -1, sync: syscall.EIO}
		l := opened(t, filepath.Join(t.TempDir(), "audit.log"), d, 0)
		if err := l.Add(Entry{Kind: "asked"}); err != nil {
			t.Error(err)
		}
		if err := l.Close(); !errors.Is(err, syscall.EIO) || !errors.Is(err, ErrFull) {
			t.Error(err)
		}
	})
}

// A disk that does not answer makes nobody wait for ever.
func TestHangingDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path, d := filepath.Join(t.TempDir(), "audit.log"), &disk{room: -1, hangs: make(chan struct{})}
		l := opened(t, path, d, 0)
		note, began := l.Note(Entry{Kind: "done"}), time.Now()
		if err := l.Add(Entry{Kind: "asked"}); err == nil || time.Since(began) > patience || l.Failing() == nil {
			t.Errorf("%v after %v, %v", err, time.Since(began), l.Failing())
		}
		began = time.Now()
		if note.Wait() == nil || l.Add(Entry{Kind: "asked"}) == nil || time.Since(began) > 0 {
			t.Errorf("somebody waits %v", time.Since(began))
		}
		hangs := d.hangs
		d.set(func() { d.hangs = nil })
		close(hangs)
		time.Sleep(2 * period)
		if err := l.Failing(); err != nil {
			t.Error(err)
		}
		l.fail(errSlow) // somebody gives up at the moment at which the disk is back
		time.Sleep(2 * period)
		if err := l.Failing(); err != nil {
			t.Error(err)
		}
		if err := l.Close(); err != nil {
			t.Error(err)
		}
		if entries, report := read(t, path); len(entries) != 4 || len(report.Gaps) != 1 {
			t.Errorf("%+v, %q", entries, report.Gaps)
		}
	})
}

// A log whose disk hangs is closed after a while, and says what is missing in it; when the disk is
// back, the log says how many were refused meanwhile.
func TestHangingClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out lines
		path, d := filepath.Join(t.TempDir(), "audit.log"), &disk{room: -1, hangs: make(chan struct{})}
		l, err := open(Config{Path: path, Log: slog.New(slog.NewTextHandler(&out, nil))}, d.open)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = l.Add(Entry{Kind: "asked"}), l.Add(Entry{Kind: "asked"})
		hangs := d.hangs
		d.set(func() { d.hangs = make(chan struct{}) })
		close(hangs)
		synctest.Wait()
		if got := out.take(); !strings.Contains(got, `msg="the audit file can be written again" file=`+path+" missing=1\n") {
			t.Errorf("the log has\n%s", got)
		}
		time.Sleep(2 * period) // the gap hangs
		l.Note(Entry{Kind: "closed"})
		began := time.Now()
		if err := l.Close(); !errors.Is(err, errSlow) || time.Since(began) != patience {
			t.Errorf("%v after %v", err, time.Since(began))
		}
		if got := out.take(); !strings.Contains(got, `msg="could not close audit file" file=`+path+` err="the disk did not respond for 5s" missing=2`+"\n") {
			t.Errorf("the log has\n%s", got)
		}
		close(d.hangs)
		synctest.Wait()
	})
}

// lines are those of a program's log.
type lines struct {
	mu  sync.Mutex
	out bytes.Buffer
}

func (l *lines) Write(data []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.out.Write(data)
}

func (l *lines) take() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	defer l.out.Reset()
	return l.out.String()
}

// A file that is moved away is noticed before the next entry is written, however long nothing has
// happened, and the chain goes on in a new one.
func TestMovedAway(t *testing.T) {
	for _, after := range []time.Duration{0, 10 * period} {
		synctest.Test(t, func(t *testing.T) {
			var out bytes.Buffer
			path := filepath.Join(t.TempDir(), "audit.log")
			l, err := Open(Config{Path: path, Log: slog.New(slog.NewTextHandler(&out, nil))})
			if err != nil {
				t.Fatal(err)
			}
			if err := l.Add(Entry{Kind: "asked"}); err != nil {
				t.Error(err)
			}
			if after > 0 { // the log is idle
				time.Sleep(after)
			}
			if err := os.Rename(path, path+".1"); err != nil {
				t.Fatal(err)
			}
			if err := l.Add(Entry{Kind: "asked"}); err != nil {
				t.Error(err)
			}
			if there := entriesOf(t, path); len(there) != 2 || there[0].Kind != "gap" || there[1].Kind != "asked" {
				t.Errorf("after %v an entry is written, and the file has %+v", after, there)
			}
			if err := l.Close(); err != nil {
				t.Error(err)
			}
			if entries, report := read(t, path); len(entries) != 4 || len(report.Gaps) != 1 || !strings.Contains(report.Gaps[0], "moved or removed") {
				t.Errorf("%d entries, %q", len(entries), report.Gaps)
			}
			if out := out.String(); strings.Count(out, "\n") != 2 || !strings.Contains(out, "level=INFO msg=\"started a new audit file\" file="+path+" first=1\n") || !strings.Contains(out, "level=WARN msg=\"started a new audit file: the old one was moved or removed\"") {
				t.Errorf("the log has\n%s", out)
			}
		})
	}
}

// A rotation that fails, or that a crash interrupts, leaves a chain that goes on.
func TestRotation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		path := filepath.Join(dir, "audit.log")
		l := opened(t, path, &disk{room: -1}, 2000)
		for n := range 30 {
			if err := l.Add(Entry{Kind: "asked", Reason: fmt.Sprint(n)}); err != nil {
				t.Fatal(err)
			}
		}
		if err := l.Close(); err != nil {
			t.Error(err)
		}
		if err := os.Rename(path, path+".31"); err != nil { // and the process ends
			t.Fatal(err)
		}
		l = opened(t, path, &disk{room: -1}, 2000)
		last := l.chain.number
		if last != 31 {
			t.Errorf("it goes on behind %d", last)
		}
		// where the next older file would be something is already
		var name string
		for n := range 30 {
			if err := l.Add(Entry{Kind: "asked", Reason: fmt.Sprint(n)}); err != nil {
				break
			}
			if name != "" {
				_ = os.Remove(name)
			}
			name = fmt.Sprintf("%s.%d", path, last+int64(n)+1)
			if err := os.WriteFile(name, []byte("x"), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if l.Failing() == nil {
			t.Error("it has overwritten a file")
		}
		_ = os.Remove(name)
		time.Sleep(2 * period)
		if err := l.Close(); err != nil {
			t.Error(err)
		}
		if _, report := read(t, path); report.First != 1 || len(report.Gaps) != 1 {
			t.Errorf("%+v", report)
		}
	})
}

// However the process ended, the next one goes on behind what is whole, and says so.
func TestCrash(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes a while")
	}
	path := filepath.Join(t.TempDir(), "audit.log")
	write(t, Config{Path: path}, some(3)...)
	sound, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.SplitAfter(string(sound), "\n")
	three := strings.Join(lines[:3], "")
	for name, tt := range map[string]struct{ content, gap, fault string }{
		"closed":     {string(sound), "", ""},
		"killed":     {three, "was not closed", ""},
		"torn":       {three + lines[3][:20], "torn: 20 octets", ""},
		"torn first": {lines[0][:30], "torn: 30 octets", ""},
		"empty":      {"", "", ""},
		"holes":      {three + strings.Repeat("\x00", 100000), "torn: 100000 octets", ""},
		"damaged":    {three + "x\n" + strings.Repeat("y\n", 100000), "200002 octets behind number 3", "the line is not JSON"},
	} {
		if err := os.WriteFile(path, []byte(tt.content), 0o600); err != nil {
			t.Fatal(err)
		}
		write(t, Config{Path: path}, some(1)...)
		report, err := Verify(nil, []string{path})
		switch {
		case tt.fault == "" && err != nil, tt.fault != "" && (err == nil || !strings.Contains(err.Error(), tt.fault) || strings.Contains(err.Error(), "follow")):
			t.Errorf("%s: %v", name, err)
		case tt.gap == "" && len(report.Gaps) > 0, tt.gap != "" && (len(report.Gaps) != 1 || !strings.Contains(report.Gaps[0], tt.gap)):
			t.Errorf("%s: %q", name, report.Gaps)
		}
	}
	for name, content := range map[string]string{"another file": "root:x:0:0\n", "a key": "0123456789abcdef"} {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(Config{Path: path, Log: slog.New(slog.DiscardHandler)}); !errors.Is(err, errNoLines) {
			t.Errorf("%s: %v", name, err)
		}
		if data, _ := os.ReadFile(path); string(data) != content {
			t.Errorf("%s is changed", name)
		}
	}
}

// Two proxies with one file would break its chain: the second does not start, also when the first
// has rotated, and does when the first has ended.
func TestTwoWriters(t *testing.T) {
	cfg := Config{Path: filepath.Join(t.TempDir(), "audit.log"), MaxSize: 2000, Log: slog.New(slog.DiscardHandler)}
	first, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	for range 20 {
		if l, err := Open(cfg); err == nil || err.Error() != cfg.Path+" is in use by another process" {
			t.Fatalf("%v, %v", l, err)
		}
		if err := first.Add(some(1)[0]); err != nil {
			t.Fatal(err)
		}
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	write(t, cfg, some(1)...)
	if _, err := Verify(nil, Files(cfg.Path)); err != nil {
		t.Error(err)
	}
}

// A log takes nothing once it is closed, and no log takes everything.
func TestClosed(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.log")
	l := opened(t, path, &disk{room: -1}, 0)
	if err := errors.Join(l.Close(), l.Close()); err != nil {
		t.Error(err)
	}
	if l.Add(Entry{}) == nil || l.Note(Entry{}).Wait() == nil {
		t.Error("a closed log takes entries")
	}
	var none *Log
	if lines, refused := none.Counts(); lines != 0 || refused != 0 {
		t.Error(lines, refused)
	}
	if err := errors.Join(none.Add(Entry{}), none.Note(Entry{}).Wait(), none.Close(), none.Failing()); err != nil {
		t.Error(err)
	}
}
