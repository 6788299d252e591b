package eventlog

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tr87proxy/tr87proxy/internal/wait"
)

var silent = slog.New(slog.DiscardHandler)

// start opens a log that the test closes.
func start(t testing.TB, path string, limits Limits) *Log {
	t.Helper()
	l, err := Open(path, limits, silent)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

// stores runs a test with a log in a file, and with one in memory.
func stores(t *testing.T, test func(t *testing.T, path string)) {
	t.Run("file", func(t *testing.T) { test(t, filepath.Join(t.TempDir(), "events.db")) })
	t.Run("memory", func(t *testing.T) { test(t, "") })
}

func entry(n int) Entry {
	return Entry{Device: "100", Kind: "delivered", Data: fmt.Appendf(nil, `{"n":%d}`, n)}
}

// add appends entries numbered in their data, and returns the number of the first when readers can see them.
func add(t testing.TB, l *Log, from, to int) uint64 {
	t.Helper()
	var entries []Entry
	for n := from; n < to; n++ {
		entries = append(entries, entry(n))
	}
	first := make(chan uint64, 1)
	if err := l.Append(entries, func(n uint64, err error) {
		if err != nil {
			t.Error(err)
		}
		first <- n
	}); err != nil {
		t.Fatal(err)
	}
	return wait.Next(t, first, "the commit")
}

// event is what entries of these tests have in their data.
type event struct {
	ID  string `json:"id"`
	Seq uint64 `json:"seq"`
	N   int    `json:"n"`
}

func read(t testing.TB, e Entry) event {
	t.Helper()
	var v event
	if err := json.Unmarshal(e.Data, &v); err != nil || v.Seq != e.Seq || v.ID != fmt.Sprint(e.Seq) {
		t.Fatalf("%s: %v", e.Data, err)
	}
	return v
}

// all reads from a position to the end, in steps.
func all(t testing.TB, l *Log, after uint64) (numbers []int, gaps int) {
	t.Helper()
	for {
		entries, gap, err := l.Read(after, 97)
		if err != nil {
			t.Fatal(err)
		}
		if gap {
			gaps++
		}
		if len(entries) == 0 {
			return numbers, gaps
		}
		for _, e := range entries {
			numbers = append(numbers, read(t, e).N)
			after = e.Seq
		}
	}
}

func sequence(from, to int) (numbers []int) {
	for n := from; n < to; n++ {
		numbers = append(numbers, n)
	}
	return numbers
}

// Entries come back as they were, with their number in front, and a reader resumes at any position.
func TestRead(t *testing.T) {
	stores(t, func(t *testing.T, path string) {
		l := start(t, path, Limits{})
		before, last := l.Bounds()
		if before != last+1 || last < 1e15 || last > 1<<53 {
			t.Errorf("an empty log has %d to %d", before, last)
		}
		at := time.Now().Add(-time.Minute - 123456789)
		full := Entry{Time: at, Device: "N100", Kind: "established", Data: []byte(" {\n \"type\": \"established\"} ")}
		done := make(chan uint64, 2)
		for _, entries := range [][]Entry{{full, {Data: []byte("{ }")}}, {entry(3)}} {
			if err := l.Append(entries, func(first uint64, _ error) { done <- first }); err != nil {
				t.Fatal(err)
			}
		}
		if a, b := wait.Next(t, done, "done"), wait.Next(t, done, "done"); a != before || b != before+2 {
			t.Errorf("first %d and %d of a log that begins with %d", a, b, before)
		}
		entries, gap, err := l.Read(last, 10)
		if len(entries) != 3 || gap || err != nil {
			t.Fatal(entries, gap, err)
		}
		got := entries[0]
		if want := fmt.Sprintf(`{"id":"%d","seq":%d,"type": "established"}`, before, before); string(got.Data) != want || !got.Time.Equal(at) || got.Device != "N100" || got.Kind != "established" || got.Seq != before {
			t.Errorf("%+v: %s", got, got.Data)
		}
		if want := fmt.Sprintf(`{"id":"%d","seq":%d}`, before+1, before+1); string(entries[1].Data) != want || time.Since(entries[1].Time) > wait.Limit {
			t.Errorf("%+v: %s", entries[1], entries[1].Data)
		}
		for i := range entries {
			rest, gap, err := l.Read(last+uint64(i), 2)
			if want := entries[i:min(i+2, 3)]; gap || err != nil || !slices.EqualFunc(rest, want, func(a, b Entry) bool { return a.Seq == b.Seq && string(a.Data) == string(b.Data) }) {
				t.Errorf("after %d: %v %v %v", i, rest, gap, err)
			}
		}
		if rest, gap, err := l.Read(before+2, 10); len(rest) > 0 || gap || err != nil {
			t.Errorf("after the newest: %v %v %v", rest, gap, err)
		}
		if rest, gap, err := l.Read(before+3, 10); len(rest) != 3 || !gap || err != nil {
			t.Errorf("after what is not there yet: %v %v %v", rest, gap, err)
		}
		if rest, gap, err := l.Read(0, 10); len(rest) != 3 || gap || err != nil {
			t.Errorf("from the oldest: %v %v %v", rest, gap, err)
		}
		if rest, gap, err := l.Read(1, 10); len(rest) != 3 || !gap || err != nil {
			t.Errorf("after a position of another log: %v %v %v", rest, gap, err)
		}
	})
}

// What is no entry is refused, and so is everything after Close.
func TestRefused(t *testing.T) {
	stores(t, func(t *testing.T, path string) {
		l := start(t, path, Limits{})
		for _, e := range []Entry{
			{}, {Data: []byte("[]")}, {Data: []byte("{")}, {Data: []byte(`"{}"`)}, {Data: fmt.Appendf(nil, `{"a":"%s"}`, strings.Repeat("x", MaxData))},
			{Data: []byte("{}"), Device: strings.Repeat("1", maxName+1)}, {Data: []byte("{}"), Kind: strings.Repeat("1", maxName+1)},
		} {
			if err := l.Append([]Entry{entry(1), e}, nil); err != ErrInvalid { //nolint:errorlint // exactly this
				t.Errorf("%.50s: %v", e.Data, err)
			}
		}
		if err := l.Put("b", "", nil); err == nil {
			t.Error("no key is a key")
		}
		if err := l.Put("b", "k", make([]byte, MaxData+1)); err == nil {
			t.Error("a large value is kept")
		}
		add(t, l, 0, 1)
		grown := l.Grown()
		if err := l.Close(); err != nil {
			t.Error(err)
		}
		wait.Next(t, grown, "the end")
		_, _, err := l.Read(0, 1)
		for _, err := range []error{err, l.Append([]Entry{entry(1)}, nil), l.Put("b", "k", nil), l.Delete("b", "k"), l.Close()} {
			if err != ErrClosed { //nolint:errorlint // exactly this
				t.Error(err)
			}
		}
	})
}

// Reading begins in the file and goes on in memory, over any boundary.
func TestTail(t *testing.T) {
	path := filepath.Join(t.TempDir(), "events.db")
	l := start(t, path, Limits{})
	first, _ := l.Bounds()
	const n = 15_000
	for i := 0; i < n; i += 5000 {
		add(t, l, i, i+5000)
	}
	if in := len(l.view.Load().tail); in > tailSize {
		t.Errorf("%d entries in memory", in)
	}
	for _, after := range []int{0, n - tailSize - 3, n - tailSize - 1, n - tailSize, n - 1, n} {
		if got, gaps := all(t, l, first-1+uint64(after)); gaps > 0 || !slices.Equal(got, sequence(after, n)) {
			t.Errorf("after %d: %d entries, %d gaps", after, len(got), gaps)
		}
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	l = start(t, path, Limits{})
	if got, gaps := all(t, l, first-1); gaps > 0 || !slices.Equal(got, sequence(0, n)) {
		t.Errorf("opened again: %d entries, %d gaps", len(got), gaps)
	}
	if next := add(t, l, n, n+1); next != first+n {
		t.Errorf("entry %d has number %d of a log that began with %d", n, next, first)
	}
	if s := l.Status(); s.Entries != n+1 || s.Failing || s.Lost+s.Dropped > 0 {
		t.Errorf("%+v", s)
	}
}

// The oldest entries go when there are too many or too large ones, and a reader that is behind is told.
func TestTrim(t *testing.T) {
	for _, limits := range []Limits{{Entries: 100}, {Octets: 100 * 130}} {
		stores(t, func(t *testing.T, path string) {
			l := start(t, path, limits)
			first, _ := l.Bounds()
			for i := range 50 {
				add(t, l, i*50, (i+1)*50)
			}
			from, to := l.Bounds()
			if n := to - from + 1; to != first+2499 || n < 90 || n > 120 {
				t.Errorf("%d entries are kept, to %d", n, to)
			}
			if got, gaps := all(t, l, first+10); gaps != 1 || len(got) == 0 || got[0] != int(from-first) || !slices.Equal(got, sequence(got[0], 2500)) {
				t.Errorf("%d gaps, %v", gaps, got)
			}
			if got, gaps := all(t, l, from-1); gaps > 0 || len(got) != int(to-from+1) {
				t.Errorf("from the oldest: %d gaps, %v", gaps, got)
			}
			if s := l.Status(); s.Entries != int(to-from+1) || s.Octets < 100 || limits.Octets > 0 && s.Octets > limits.Octets {
				t.Errorf("%+v", s)
			}
		})
	}
}

// Entries go when they are old, without anybody who appends. A reader learns that all are gone.
func TestAge(t *testing.T) {
	t.Parallel()
	stores(t, func(t *testing.T, path string) {
		t.Parallel()
		l := start(t, path, Limits{Age: time.Hour})
		first, _ := l.Bounds()
		var old []Entry
		for n := range 5000 {
			e := entry(n)
			e.Time = time.Now().Add(-time.Hour + 2*time.Second)
			old = append(old, e)
		}
		if err := l.Append(old, nil); err != nil {
			t.Fatal(err)
		}
		wait.For(t, "the end of old entries", func() bool { from, to := l.Bounds(); return from > to && to == first+4999 })
		if entries, gap, err := l.Read(first, 10); len(entries) > 0 || !gap || err != nil {
			t.Error(entries, gap, err)
		}
		if entries, gap, err := l.Read(first+4999, 10); len(entries) > 0 || gap || err != nil {
			t.Error(entries, gap, err)
		}
		if got, gaps := all(t, l, first+4999); gaps > 0 || len(got) > 0 {
			t.Error(got, gaps)
		}
		if path != "" {
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
			l = start(t, path, Limits{Age: time.Hour})
			if from, to := l.Bounds(); from != first+5000 || to != from-1 {
				t.Errorf("opened again: %d to %d", from-first, to-first)
			}
		}
		if n := add(t, l, 5000, 5001); n != first+5000 {
			t.Errorf("the next has number %d", n-first)
		}
		if s := l.Status(); s.Entries != 1 {
			t.Errorf("%+v", s)
		}
	})
}

// Age in memory needs no look at a clock by anybody else.
func TestAgeExactly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, err := Open("", Limits{Age: time.Hour}, silent)
		if err != nil {
			t.Fatal(err)
		}
		add(t, l, 0, 3)
		time.Sleep(time.Hour - 2*period)
		if from, to := l.Bounds(); to-from != 2 {
			t.Errorf("%d to %d", from, to)
		}
		time.Sleep(4 * period)
		if from, to := l.Bounds(); from != to+1 {
			t.Errorf("%d to %d", from, to)
		}
		_ = l.Close()
	})
}

// A thousand readers of the tail get every entry once and in order, and share the memory of its data.
func TestReaders(t *testing.T) {
	stores(t, func(t *testing.T, path string) {
		l := start(t, path, Limits{})
		const readers, n = 1000, 500
		_, after := l.Bounds()
		var group sync.WaitGroup
		data := make([]*byte, readers)
		for r := range readers {
			group.Go(func() {
				position, seen := after, 0
				for seen < n {
					grown := l.Grown()
					entries, gap, err := l.Read(position, 10)
					if gap || err != nil {
						t.Error(gap, err)
						return
					}
					for _, e := range entries {
						if e.Seq != position+1 {
							t.Errorf("%d behind %d", e.Seq, position)
							return
						}
						position = e.Seq
						data[r] = &e.Data[0]
					}
					if seen += len(entries); len(entries) > 0 {
						continue
					}
					select {
					case <-grown:
					case <-time.After(wait.Limit):
						t.Errorf("no entry came behind %d", seen)
						return
					}
				}
			})
		}
		for i := range n {
			if err := l.Append([]Entry{entry(i)}, nil); err != nil {
				t.Fatal(err)
			}
		}
		group.Wait()
		for _, p := range data {
			if p != data[0] {
				t.Fatal("readers have copies")
			}
		}
	})
}

// A burst is a few commits.
func TestGroupCommit(t *testing.T) {
	l := start(t, filepath.Join(t.TempDir(), "events.db"), Limits{})
	add(t, l, 0, 1)
	stats := func() int64 { s := l.store.db.Stats().TxStats; return s.GetWrite() }
	before := stats()
	release := make(chan struct{})
	if err := l.Append([]Entry{entry(0)}, func(uint64, error) { <-release }); err != nil {
		t.Fatal(err)
	}
	var puts sync.WaitGroup
	for i := range 100 {
		puts.Go(func() {
			if err := l.Put("bucket", fmt.Sprint(i), []byte("value")); err != nil {
				t.Error(err)
			}
		})
	}
	last := make(chan uint64, 1)
	for i := range 5000 {
		if err := l.Append([]Entry{entry(i)}, func(n uint64, _ error) {
			if i == 4999 {
				last <- n
			}
		}); err != nil {
			t.Fatal(err)
		}
	}
	close(release)
	wait.Next(t, last, "the last")
	puts.Wait()
	// Each commit writes the pages that it changes, and two more. 5000 commits would be more than 15 000.
	if n := stats() - before; n > 1500 {
		t.Errorf("%d writes", n)
	}
}

// When the queue is full, entries are dropped, and readers learn it.
func TestFull(t *testing.T) {
	stores(t, func(t *testing.T, path string) {
		l := start(t, path, Limits{})
		release, entered := make(chan struct{}), make(chan struct{})
		if err := l.Append([]Entry{entry(0)}, func(uint64, error) { close(entered); <-release }); err != nil {
			t.Fatal(err)
		}
		wait.Next(t, entered, "the writer")
		n := 1
		for ; ; n++ {
			if err := l.Append([]Entry{entry(n)}, nil); err == ErrFull { //nolint:errorlint // exactly this
				break
			} else if err != nil {
				t.Fatal(err)
			}
		}
		if n != queued+1 {
			t.Errorf("%d entries wait", n-1)
		}
		if err := l.Append([]Entry{entry(n), entry(n)}, nil); err == nil {
			t.Error("there is room")
		}
		close(release)
		wait.For(t, "the rest", func() bool { from, to := l.Bounds(); return to-from == queued })
		first, _ := l.Bounds()
		if next := add(t, l, n, n+1); next != first+queued+4 {
			t.Errorf("the next has number %d", next-first)
		}
		if got, gaps := all(t, l, first-1); gaps != 1 || !slices.Equal(got, sequence(0, n+1)) {
			t.Errorf("%d entries, %d gaps", len(got), gaps)
		}
		if s := l.Status(); s.Dropped != 3 {
			t.Errorf("%+v", s)
		}
	})
}

// A panic of the one who appends harms nobody else.
func TestPanic(t *testing.T) {
	l := start(t, "", Limits{})
	if err := l.Append([]Entry{entry(0)}, func(uint64, error) { panic("test") }); err != nil {
		t.Fatal(err)
	}
	add(t, l, 1, 2)
}

// Values are kept by bucket and key, and listed in order.
func TestValues(t *testing.T) {
	stores(t, func(t *testing.T, path string) {
		l := start(t, path, Limits{})
		list := func(bucket string) (found []string) {
			if err := l.List(bucket, func(key string, value []byte) bool {
				found = append(found, key+"="+string(value))
				return len(found) < 2
			}); err != nil {
				t.Error(err)
			}
			return found
		}
		for _, key := range []string{"c", "a", "b", "a"} {
			if err := l.Put("x", key, []byte(key+"1")); err != nil {
				t.Error(err)
			}
		}
		if err := l.Put("y", "a", nil); err != nil {
			t.Error(err)
		}
		if got := list("x"); !slices.Equal(got, []string{"a=a1", "b=b1"}) {
			t.Error(got)
		}
		if got := list("y"); !slices.Equal(got, []string{"a="}) {
			t.Error(got)
		}
		for _, key := range []string{"a", "a", "none"} {
			if err := l.Delete("x", key); err != nil {
				t.Error(err)
			}
		}
		if err := l.Delete("none", "none"); err != nil {
			t.Error(err)
		}
		for _, at := range []struct{ bucket, key, value string }{{"x", "b", "b1"}, {"x", "a", ""}, {"none", "a", ""}} {
			if got, err := l.Get(at.bucket, at.key); string(got) != at.value || err != nil {
				t.Errorf("%v: %s %v", at, got, err)
			}
		}
		if path == "" {
			return
		}
		if err := l.Close(); err != nil {
			t.Error(err)
		}
		l = start(t, path, Limits{})
		if got := list("x"); !slices.Equal(got, []string{"b=b1", "c=c1"}) {
			t.Error(got)
		}
	})
}

// A file is one process's, and that is said at once. What cannot be opened is an error.
func TestInUse(t *testing.T) {
	path := filepath.Join(t.TempDir(), "events.db")
	start(t, path, Limits{})
	if _, err := Open(path, Limits{}, silent); err == nil || err.Error() != path+" is in use by another process" {
		t.Error(err)
	}
	if _, err := Open(filepath.Join(path, "none"), Limits{}, silent); err == nil {
		t.Error("a path that cannot be")
	}
	if _, err := Open(filepath.Dir(path), Limits{}, silent); err == nil {
		t.Error("a directory is a file")
	}
}

func BenchmarkAppend(b *testing.B) {
	for _, at := range []struct {
		name   string
		path   string
		limits Limits
	}{{"memory", "", Limits{}}, {"synced", "events.db", Limits{}}, {"unsynced", "events.db", Limits{Unsynced: true}}} {
		for _, burst := range []int{1, 100} {
			b.Run(fmt.Sprintf("%s/%d", at.name, burst), func(b *testing.B) {
				path := at.path
				if path != "" {
					path = filepath.Join(b.TempDir(), path)
				}
				l := start(b, path, at.limits)
				data := fmt.Appendf(nil, `{"a":"%s"}`, strings.Repeat("x", 800))
				entries := make([]Entry, burst)
				done := make(chan struct{})
				for b.Loop() {
					for i := range entries {
						entries[i] = Entry{Device: "100", Kind: "delivered", Data: data}
					}
					if err := l.Append(entries, func(uint64, error) { done <- struct{}{} }); err != nil {
						b.Fatal(err)
					}
					<-done
				}
			})
		}
	}
}
