package trace

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// readBack returns the names of the records that ReadFile selects.
func readBack(t *testing.T, path string, f Filter) (list []string, unread int) {
	t.Helper()
	unread, err := ReadFile(path, f, func(r *Record) error {
		list = append(list, r.Name)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return list, unread
}

// What was added is in the files in order, the oldest files go, and only their owner reads them; a file goes on where it ended.
func TestFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "trace.json")
	if err := os.WriteFile(path, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for run := range 2 {
		tr := New(Limits{Records: 10000, Octets: 1 << 20}, func(r *Record) { r.Reason = "read" })
		f, err := OpenFile(FileConfig{Path: path, Size: 20000, Keep: 2, Trace: tr, Log: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		for n := range 200 {
			tr.Add(Record{Kind: "request", Name: fmt.Sprintf("%d.%03d", run, n)}, false, []byte("<x>"+strings.Repeat("x", 20)))
		}
		f.Close()
		if f.Lost() != 0 {
			t.Errorf("%d records are lost", f.Lost())
		}
	}
	got, unread := readBack(t, path, Filter{})
	if unread != 0 || len(got) < 200 || got[len(got)-1] != "1.199" || !slices.IsSorted(got) || len(got) == 400 {
		t.Errorf("%d records, %d lines that are none, from %s to %s", len(got), unread, got[0], got[len(got)-1])
	}
	files, _ := filepath.Glob(path + "*")
	if len(files) != 3 {
		t.Errorf("files %q", files)
	}
	for _, name := range files {
		if info, err := os.Stat(name); err != nil || info.Mode().Perm() != 0o600 || info.Size() > 20000 || info.Size() == 0 {
			t.Errorf("%s: %v, %v", name, info, err)
		}
	}
}

// What is pushed out of the trace before it was written is counted, in its place in the file; so is what the disk does not take.
func TestFileLoses(t *testing.T) {
	path := filepath.Join(t.TempDir(), "trace.json")
	tr := New(Limits{Records: 80, Octets: 1 << 20}, nil)
	f, err := OpenFile(FileConfig{Path: path, Size: 1 << 20, Keep: 1, Trace: tr, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	tr.Add(Record{Name: "first"}, false, nil)
	f.batch()
	for range 1000 {
		tr.Add(Record{Name: "more"}, false, nil)
	}
	f.batch()
	list, _ := readBack(t, path, Filter{})
	if f.Lost() != 930 || len(list) != 72 || list[1] != "lost" {
		t.Errorf("%d lost, %d in the file: %q", f.Lost(), len(list), list[:min(3, len(list))])
	}
	f.beforeRetry = time.Hour
	_ = f.file.Close() // as if the disk had gone
	tr.Add(Record{Name: "not written"}, false, nil)
	tr.Add(Record{Name: "not tried"}, false, nil)
	f.batch()
	if f.Lost() != 932 {
		t.Errorf("%d lost without a disk", f.Lost())
	}
	f.beforeRetry = 0
	tr.Add(Record{Name: "again"}, false, nil)
	f.batch()
	list, _ = readBack(t, path, Filter{})
	if got := strings.Join(list[72:], " "); got != "lost again" {
		t.Errorf("after the disk came back: %q", got)
	}
	f.Close()
	if _, err := OpenFile(FileConfig{Path: t.TempDir(), Trace: tr}); err == nil {
		t.Error("a directory is opened")
	}
}

// Filters select whole exchanges, of one run of the proxy, and half a line is passed over.
func TestReadFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "trace.json")
	for run := range 2 {
		tr := New(Limits{Records: 100, Octets: 1 << 20}, nil)
		f, err := OpenFile(FileConfig{Path: path, Size: 1 << 20, Trace: tr, Log: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		tr.Add(Record{Exchange: 1, Name: fmt.Sprint("ask", run), Devices: []string{fmt.Sprint(100 + run)}}, false, nil)
		tr.Add(Record{Exchange: 2, Name: fmt.Sprint("other", run), Devices: []string{"200"}}, false, nil)
		tr.Add(Record{Exchange: 1, Name: fmt.Sprint("answer", run)}, false, nil)
		f.Close()
	}
	for name, tt := range map[string]struct {
		filter Filter
		want   string
	}{
		"all": {Filter{}, "ask0 other0 answer0 ask1 other1 answer1"}, "a device": {Filter{Device: "101"}, "ask1 answer1"},
		"a time": {Filter{Since: time.Now().Add(time.Hour)}, ""}, "nothing": {Filter{Link: "pbx"}, ""},
	} {
		if got, _ := readBack(t, path, tt.filter); strings.Join(got, " ") != tt.want {
			t.Errorf("%s: %q", name, got)
		}
	}
	file, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = file.WriteString(`{"number":9,"na`)
	_ = file.Close()
	if got, unread := readBack(t, path, Filter{}); len(got) != 6 || unread != 1 {
		t.Errorf("%q, %d lines that are no records", got, unread)
	}
	stop := errors.New("stop")
	if _, err := ReadFile(path, Filter{}, func(*Record) error { return stop }); !errors.Is(err, stop) {
		t.Error(err)
	}
}
