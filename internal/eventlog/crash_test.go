package eventlog

import (
	"bufio"
	"bytes"
	"fmt"
	"log/slog"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"go.etcd.io/bbolt"

	"github.com/tr87proxy/tr87proxy/internal/wait"
)

// childEnv names the file of a log to a child process.
const childEnv = "TR87_EVENTLOG_CHILD"

// TestMain appends as fast as it can if the process is the child of a test. For each entry that readers can see it
// writes the number of its data and its own number.
func TestMain(m *testing.M) {
	path, unsynced, _ := strings.Cut(os.Getenv(childEnv), "|")
	if path == "" {
		os.Exit(m.Run())
	}
	l, err := Open(path, Limits{Unsynced: unsynced != "", Entries: 400}, slog.Default())
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	_, after := l.Bounds()
	n := 0
	if last, _, _ := l.Read(after-1, 1); len(last) == 1 {
		_, _ = fmt.Sscanf(string(last[0].Data[bytes.Index(last[0].Data, []byte(`"n":`)):]), `"n":%d}`, &n)
		n++
	}
	for turn := 0; ; turn++ {
		grown := l.Grown()
		for range 1 + turn%50 {
			_ = l.Append([]Entry{entry(n)}, nil)
			n++
		}
		<-grown
		for entries, _, _ := l.Read(after, 1000); len(entries) > 0; entries, _, _ = l.Read(after, 1000) {
			for _, e := range entries {
				fmt.Printf("%d %s\n", e.Seq, e.Data[bytes.Index(e.Data, []byte(`"n":`))+4:len(e.Data)-1])
				after = e.Seq
			}
		}
	}
}

// child starts a process that appends to a file, and returns a reader of what it says.
func child(t *testing.T, argument string) (*exec.Cmd, *bufio.Scanner) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"="+argument)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	return cmd, bufio.NewScanner(out)
}

// A process that is killed at any moment loses no entry that a reader has seen, gives no number twice, and leaves no
// hole.
func TestKilled(t *testing.T) {
	t.Parallel()
	for _, unsynced := range []string{"", "|unsynced"} {
		path := filepath.Join(t.TempDir(), "events.db")
		seen := map[uint64]int{} // by number
		var begun, last uint64
		for range 10 {
			cmd, said := child(t, path+unsynced)
			enough := 1 + rand.IntN(1500)
			for said.Scan() {
				seq, n, _ := strings.Cut(said.Text(), " ")
				number, err := strconv.ParseUint(seq, 10, 64)
				value, err2 := strconv.Atoi(n)
				if err != nil || err2 != nil {
					continue // the last line, cut
				}
				if begun == 0 {
					begun = number
				}
				if old, twice := seen[number]; twice && old != value {
					t.Fatalf("number %d was %d, and is %d", number, old, value)
				}
				seen[number] = value
				last = max(last, number)
				if enough--; enough == 0 {
					_ = cmd.Process.Kill() // the rest of what it has said counts
				}
			}
			_ = cmd.Wait()
			for n := begun; n <= last; n++ {
				if value, ok := seen[n]; ok && value != int(n-begun) {
					t.Fatalf("number %d is %d; the log begins with %d", n, value, begun)
				}
			}
		}
		l := start(t, path, Limits{Entries: 400})
		from, to := l.Bounds()
		got, gaps := all(t, l, from-1)
		if to < last || gaps > 0 || !slices.Equal(got, sequence(int(from-begun), int(to-begun)+1)) {
			t.Errorf("kept are %d to %d, seen was %d; %d gaps; %v", from, to, last, gaps, got)
		}
	}
}

// fullEnv tells a child process that it may limit its files.
const fullEnv = "TR87_EVENTLOG_FULL"

// limitFiles limits the size of files that this process may write.
func limitFiles(t *testing.T, octets uint64) {
	t.Helper()
	signal.Ignore(syscall.SIGXFSZ)
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_FSIZE, &limit); err != nil {
		t.Fatal(err)
	}
	limit.Cur = min(octets, limit.Max)
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &limit); err != nil {
		t.Fatal(err)
	}
}

// While the disk is full, events flow from memory. Later they are in the file, except those that have left memory. The
// log says so once.
func TestDiskFull(t *testing.T) {
	if os.Getenv(fullEnv) == "" { // a limit is for the whole process
		cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestDiskFull$")
		cmd.Env = append(os.Environ(), fullEnv+"=yes")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%v\n%s", err, out)
		}
		return
	}
	var log bytes.Buffer
	path := filepath.Join(t.TempDir(), "events.db")
	l, err := Open(path, Limits{}, slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	first := add(t, l, 0, 10)
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	limitFiles(t, uint64(info.Size()))
	defer limitFiles(t, math.MaxUint64)
	outcome := make(chan error, 1)
	large := func(from, to int) error {
		for n := from; n < to; n++ {
			e := entry(n)
			e.Data = fmt.Appendf(nil, `{"x":"%s","n":%d}`, strings.Repeat("x", 100_000), n)
			if err := l.Append([]Entry{e}, func(_ uint64, err error) { outcome <- err }); err != nil {
				t.Fatal(err)
			}
			if err := wait.Next(t, outcome, "the outcome"); n == to-1 {
				return err
			}
		}
		return nil
	}
	if large(10, 60) == nil {
		t.Fatal("the disk is not full")
	}
	if err := l.Put("bucket", "key", make([]byte, 100_000)); err == nil {
		t.Error("a value is kept on a full disk")
	}
	if got, gaps := all(t, l, first-1); gaps > 0 || !slices.Equal(got, sequence(0, 60)) || !l.Status().Failing {
		t.Errorf("%d gaps, %v", gaps, got)
	}
	crashed, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	limitFiles(t, math.MaxUint64)
	wait.For(t, "the file", func() bool { return !l.Status().Failing })
	if err := l.Put("bucket", "key", []byte("value")); err != nil {
		t.Error(err)
	}
	limitFiles(t, 0)
	if large(60, 400) == nil { // more than stay in memory
		t.Error("the disk is not full")
	}
	limitFiles(t, math.MaxUint64)
	wait.For(t, "the file", func() bool { return !l.Status().Failing })
	lost := int(l.Status().Lost)
	if got, gaps := all(t, l, first-1); gaps != 1 || lost < 100 || len(got) != 400-lost || got[len(got)-1] != 399 {
		t.Errorf("%d gaps, %d lost, %d entries", gaps, lost, len(got))
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	for text, times := range map[string]int{"could not write event log": 2, "event log is written again": 2, "lost=" + strconv.Itoa(lost): 1} {
		if strings.Count(log.String(), text) != times {
			t.Errorf("not %d times %q:\n%s", times, text, log.String())
		}
	}
	l = start(t, path, Limits{})
	if got, gaps := all(t, l, first-1); gaps != 1 || len(got) != 400-lost {
		t.Errorf("opened again: %d gaps, %d entries", gaps, len(got))
	}
	if next := add(t, l, 400, 401); next != first+400 {
		t.Errorf("the next has number %d", next-first)
	}

	// The process ended while the disk was full: numbers of entries that readers have seen do not come again.
	path = filepath.Join(t.TempDir(), "events.db")
	for name, data := range map[string][]byte{path: crashed, path + ".unwritten": nil} {
		if err := os.WriteFile(name, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	log.Reset()
	if l, err = Open(path, Limits{}, slog.New(slog.NewTextHandler(&log, nil))); err != nil {
		t.Fatal(err)
	}
	_, last := l.Bounds()
	if last < first+9 || last >= first+59 {
		t.Errorf("%d entries are in the file", last-first+1)
	}
	if next := add(t, l, 200, 201); next < first+400 {
		t.Errorf("the next has number %d", next-first)
	}
	if got, gaps := all(t, l, last-1); gaps != 1 || len(got) != 2 || got[1] != 200 {
		t.Errorf("%d gaps, %v", gaps, got)
	}
	if !strings.Contains(log.String(), "event log may lack events") {
		t.Error(log.String())
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(path + ".unwritten"); err == nil {
		t.Error("the mark stays")
	}
}

// What an unsynced log had not written when the machine failed is a gap, and no number comes again. After Close all is
// on the disk.
func TestMachineFailed(t *testing.T) {
	var log bytes.Buffer
	path := filepath.Join(t.TempDir(), "events.db")
	l := start(t, path, Limits{Unsynced: true})
	first := add(t, l, 0, 10)
	if err := l.Put("bucket", "key", []byte("value")); err != nil {
		t.Error(err)
	}
	crashed, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	add(t, l, 10, 20)
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	l = start(t, path, Limits{Unsynced: true})
	if next := add(t, l, 20, 21); next != first+20 {
		t.Errorf("closed and opened again: the next has number %d", next-first)
	}
	path = filepath.Join(t.TempDir(), "events.db")
	if err := os.WriteFile(path, crashed, 0o600); err != nil {
		t.Fatal(err)
	}
	db, err := bbolt.Open(path, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	err = db.Update(func(tx *bbolt.Tx) error {
		if old := tx.Bucket(notesBucket).Get(bootNote); !bytes.Equal(old, bootID()) {
			t.Errorf("the file was written in the run %q of the machine", old)
		}
		return tx.Bucket(notesBucket).Put(bootNote, []byte("another"))
	})
	if err != nil || db.Close() != nil {
		t.Fatal(err)
	}
	l, err = Open(path, Limits{}, slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if next := add(t, l, 20, 21); next < first+20 {
		t.Errorf("the next has number %d", next-first)
	}
	if got, gaps := all(t, l, first-1); gaps != 1 || !slices.Equal(got, append(sequence(0, 10), 20)) {
		t.Errorf("%d gaps, %v", gaps, got)
	}
	if value, err := l.Get("bucket", "key"); string(value) != "value" || err != nil {
		t.Error(value, err)
	}
	if !strings.Contains(log.String(), "event log may lack events") || strings.Contains(log.String(), "damaged") {
		t.Error(log.String())
	}
	if files, _ := filepath.Glob(filepath.Join(filepath.Dir(path), "*")); len(files) != 1 {
		t.Error(files)
	}
}

// A damaged file is set aside, what can be read of it is in the new one, and the log goes on.
func TestDamaged(t *testing.T) {
	path := filepath.Join(t.TempDir(), "events.db")
	l := start(t, path, Limits{})
	first := add(t, l, 0, 3000)
	if err := l.Put("bucket", "key", []byte("value")); err != nil {
		t.Error(err)
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	damaged := map[string][]byte{
		"no log": []byte("this is no event log"), "short": whole[:100], "zeros": make([]byte, len(whole)),
		"cut": whole[:len(whole)/2], "no meta": append(make([]byte, 8192), whole[8192:]...),
		"one entry": bytes.Replace(whole, []byte(`"n":1500}`), []byte(`"n":1600}`), 1),
	}
	rnd := rand.New(rand.NewPCG(1, 2))
	for i := range 15 {
		data := slices.Clone(whole)
		for range 1 + i*20 {
			data[rnd.IntN(len(data))] ^= byte(1 + rnd.IntN(255))
		}
		damaged[fmt.Sprint("octets ", i)] = data
		data = slices.Clone(whole)
		page := os.Getpagesize() * rnd.IntN(len(data)/os.Getpagesize())
		copy(data[page:page+os.Getpagesize()], bytes.Repeat([]byte{byte(i)}, os.Getpagesize()))
		damaged[fmt.Sprint("page ", i)] = data
	}
	for name, data := range damaged {
		var log bytes.Buffer
		dir := t.TempDir()
		path := filepath.Join(dir, "events.db")
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		l, err := Open(path, Limits{Unsynced: true}, slog.New(slog.NewTextHandler(&log, nil)))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		done := make(chan error, 1)
		if err := l.Append([]Entry{entry(3000)}, func(_ uint64, err error) { done <- err }); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if err := wait.Next(t, done, "the commit"); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		got, gaps := all(t, l, first-1)
		if len(got) == 0 || got[len(got)-1] != 3000 || !slices.IsSorted(got) {
			t.Errorf("%s: %v", name, got)
		}
		aside, _ := filepath.Glob(path + ".damaged-*")
		switch said := strings.Contains(log.String(), "event log is damaged"); {
		case said && len(aside) == 1 && gaps > 0:
			if kept, err := os.ReadFile(aside[0]); err != nil || len(kept) < len(data) && name != "short" && name != "no log" {
				t.Errorf("%s: set aside are %d octets, %v", name, len(kept), err)
			}
		case !said && len(aside) == 0 && len(got) == 3001 && gaps == 0: // nothing that is in use was hit
		default:
			t.Errorf("%s: %v set aside, %d gaps, %d entries: %s", name, aside, gaps, len(got), log.String())
		}
		if name == "one entry" {
			if value, err := l.Get("bucket", "key"); len(got) != 3000 || string(value) != "value" || err != nil {
				t.Errorf("%d entries and %q saved, %v", len(got), value, err)
			}
		}
		if err := l.Close(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		log.Reset()
		again, err := Open(path, Limits{Unsynced: true}, slog.New(slog.NewTextHandler(&log, nil)))
		if err != nil || log.Len() > 0 {
			t.Fatalf("%s, opened again: %v, %s", name, err, log.String())
		}
		_ = again.Close()
	}
}

// The file is for its owner's eyes only.
func TestMode(t *testing.T) {
	path := filepath.Join(t.TempDir(), "events.db")
	for range 2 {
		l := start(t, path, Limits{})
		add(t, l, 0, 1)
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
			t.Error(info.Mode(), err)
		}
		if err := l.Close(); err != nil {
			t.Error(err)
		}
		if err := os.Chmod(path, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}
