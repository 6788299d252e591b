package audit

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// linesOf counts the lines of a file that have a text.
func linesOf(t *testing.T, path, with string) int {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for line := range strings.Lines(string(data)) {
		if strings.Contains(line, with) {
			n++
		}
	}
	return n
}

// A log that goes on in another file while entries come has each of them in one of the files, and both chains are whole.
func TestMove(t *testing.T) {
	folder := t.TempDir()
	first, second := filepath.Join(folder, "first.log"), filepath.Join(folder, "second.log")
	l, err := Open(Config{Path: first, Key: []byte("one")})
	if err != nil {
		t.Fatal(err)
	}
	const writers, each = 4, 200
	var group sync.WaitGroup
	half := make(chan struct{}, writers)
	for w := range writers {
		group.Go(func() {
			for i := range each {
				if err := l.Add(Entry{Kind: "asked", Who: fmt.Sprintf("w%d-%d.", w, i)}); err != nil {
					t.Error(err)
				}
				if i == each/2 {
					half <- struct{}{}
				}
			}
		})
	}
	for range writers {
		<-half
	}
	if err := l.Move(Config{Path: second, Key: []byte("two"), MaxSize: 1 << 20, Keep: 1}); err != nil {
		t.Fatal(err)
	}
	before := linesOf(t, first, "asked")
	group.Wait()
	if err := errors.Join(l.Add(Entry{Kind: "asked", Who: "last."}), l.Close()); err != nil {
		t.Fatal(err)
	}
	if after := linesOf(t, first, "asked"); after != before || before <= writers*each/2 || before+linesOf(t, second, "asked") != writers*each+1 {
		t.Errorf("%d lines in the first file when the log left it, %d now, %d in the second", before, after, linesOf(t, second, "asked"))
	}
	if linesOf(t, first, "goes on in "+second) != 1 {
		t.Error("the old file does not name the new one")
	}
	for path, key := range map[string]string{first: "one", second: "two"} {
		if report, err := Verify([]byte(key), []string{path}); err != nil || len(report.Gaps) > 0 {
			t.Errorf("%s: %+v, %v", path, report, err)
		}
	}
	if err := l.Move(Config{Path: first, Key: []byte("one")}); err == nil {
		t.Error("a closed log goes on")
	}
	if l = nil; l.Move(Config{Path: first}) != nil {
		t.Error("no log cannot move, which is no fault")
	}
}

// With its own path a log takes other bounds, and no other key. A file that cannot be opened leaves all as it was.
func TestMoveToItself(t *testing.T) {
	folder := t.TempDir()
	cfg := Config{Path: filepath.Join(folder, "audit.log"), Key: []byte("one"), MaxSize: 1 << 20}
	l, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	other := cfg
	other.Key = []byte("two")
	if err := l.Move(other); !errors.Is(err, errOneKey) {
		t.Error(err)
	}
	if err := l.Move(Config{Path: filepath.Join(folder, "none", "audit.log")}); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
	cfg.MaxSize, cfg.Keep = 300, 100
	if err := l.Move(cfg); err != nil {
		t.Fatal(err)
	}
	for _, e := range some(5) {
		if err := l.Add(e); err != nil {
			t.Fatal(err)
		}
	}
	if files := Files(cfg.Path); len(files) < 4 {
		t.Errorf("the size does not hold: %v", files)
	}
}

// A log leaves a disk that is full: what the old file could not take is in the new one, which tells of the gap.
func TestMoveFromFullDisk(t *testing.T) {
	folder := t.TempDir()
	full := &disk{room: 0}
	first, second := filepath.Join(folder, "first.log"), filepath.Join(folder, "second.log")
	l, err := open(Config{Path: first}, func(path string) (file, error) {
		if path == first {
			return full.open(path)
		}
		return openFile(path)
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Add(Entry{Kind: "asked", Who: "refused."}); !errors.Is(err, ErrFull) && err == nil {
		t.Errorf("%v", err)
	}
	_ = l.Note(Entry{Kind: "done", Who: "kept."}).Wait() // it is kept
	if err := l.Move(Config{Path: second}); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(l.Failing(), l.Add(Entry{Kind: "asked", Who: "after."}), l.Close()); err != nil {
		t.Error(err)
	}
	for who, want := range map[string]int{"refused.": 0, "kept.": 1, "after.": 1, `"kind":"gap"`: 1} {
		if got := linesOf(t, second, who); got != want {
			t.Errorf("%s is there %d times, not %d", who, got, want)
		}
	}
}

// fullFile is a file on a full disk.
type fullFile struct{ file }

func (fullFile) Write([]byte) (int, error) { return 0, syscall.ENOSPC }

// A file whose disk is full is not gone on in: the log stays where it can write.
func TestMoveToFullDisk(t *testing.T) {
	folder := t.TempDir()
	first, full := filepath.Join(folder, "first.log"), filepath.Join(folder, "full.log")
	l, err := open(Config{Path: first}, func(path string) (file, error) {
		f, err := openFile(path)
		if path == full && err == nil {
			return fullFile{f}, nil
		}
		return f, err
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Move(Config{Path: full}); !errors.Is(err, syscall.ENOSPC) {
		t.Error(err)
	}
	if err := errors.Join(l.Add(Entry{Kind: "asked"}), l.Close()); err != nil {
		t.Error(err)
	}
	if n := linesOf(t, first, "asked"); n != 1 {
		t.Errorf("%d requests are in the file", n)
	}
}

// watchedFile calls a function when the writer looks at the file, before it takes what waits.
type watchedFile struct {
	file
	look func()
}

func (f watchedFile) Stat() (os.FileInfo, error) {
	f.look()
	return f.file.Stat()
}

// An entry that comes behind the last line of the file that is left has as much time as any other.
func TestEntryWhileMoving(t *testing.T) {
	folder := t.TempDir()
	first := filepath.Join(folder, "first.log")
	look := func() {}
	l, err := open(Config{Path: first}, func(path string) (file, error) {
		f, err := openFile(path)
		if path == first && err == nil {
			return watchedFile{f, func() { look() }}, nil
		}
		return f, err
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Add(Entry{Kind: "asked", Who: "before"}); err != nil {
		t.Fatal(err)
	}
	var r *Receipt
	var left time.Duration
	look = func() { // on the writer's goroutine, which sleeps until the move
		if r == nil {
			r = l.put(Entry{Kind: "asked", Who: "meanwhile"})
			left = time.Until(r.until)
		}
	}
	if err := l.Move(Config{Path: filepath.Join(folder, "second.log")}); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(r.Wait(), l.Close()); err != nil || left <= 0 {
		t.Errorf("%v, and %v left to wait", err, left)
	}
}
