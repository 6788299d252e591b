package audit

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func write(t *testing.T, cfg Config, entries ...Entry) {
	t.Helper()
	cfg.Log = slog.New(slog.DiscardHandler)
	l, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if err := l.Add(e); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}

func some(n int) []Entry {
	list := make([]Entry, n)
	for i := range list {
		list[i] = Entry{Kind: "done", Who: fmt.Sprintf("user %d \"<&>\"\r\n\x1b[31m", i), Service: "MakeCall", Devices: []string{"100"}, Outcome: "ok"}
	}
	return list
}

// The chain goes on when the log is opened again, and over files.
func TestChain(t *testing.T) {
	for _, key := range [][]byte{nil, []byte("secret")} {
		path := filepath.Join(t.TempDir(), "audit.log")
		cfg := Config{Path: path, Key: key, MaxSize: 2000, Keep: 3}
		for range 5 {
			write(t, cfg, some(7)...)
		}
		files := Files(path)
		if len(files) != 4 {
			t.Errorf("%v", files)
		}
		report, err := Verify(key, files)
		if err != nil || report.Number != 40 || report.Lines >= 40 || report.Lines < 10 || report.First != 41-report.Lines || len(report.Gaps) > 0 {
			t.Errorf("%+v, %v", report, err)
		}
		if _, err := Verify([]byte("another"), files); err == nil {
			t.Error("another key will do")
		}
		if info, _ := os.Stat(path); info.Mode().Perm() != 0o600 {
			t.Error(info.Mode())
		}
		data, _ := os.ReadFile(path)
		if bytes.ContainsAny(data, "\r\x1b") {
			t.Error("control characters stand in the file")
		}
	}
}

// Whatever is changed is found.
func TestTampering(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.log")
	write(t, Config{Path: path}, some(5)...)
	sound, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.SplitAfter(string(sound), "\n")
	for name, content := range map[string]string{
		"changed":   strings.Replace(string(sound), "user 2", "user 9", 1),
		"taken out": lines[0] + lines[1] + lines[3] + lines[4],
		"moved":     lines[0] + lines[2] + lines[1] + lines[3] + lines[4],
		"doubled":   lines[0] + lines[0] + lines[1],
		"put in":    lines[0] + strings.Replace(lines[0], "user 0", "user 7", 1) + lines[1],
		"blanks":    strings.Replace(string(sound), `"kind"`, ` "kind"`, 1),
		"no JSON":   "x\n",
		"torn":      string(sound[:len(sound)-3]),
	} {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if end, err := Verify(nil, []string{path}); err == nil || !strings.HasPrefix(err.Error(), path+":") {
			t.Errorf("%s: %+v, %v", name, end, err)
		}
	}
}

// A log can be verified while a proxy writes it, and gives its files other names.
func TestVerifyLive(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes a while")
	}
	cfg := Config{Path: filepath.Join(t.TempDir(), "audit.log"), MaxSize: 3000, Keep: 3, Log: slog.New(slog.DiscardHandler)}
	l, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	var group sync.WaitGroup
	group.Go(func() {
		for ctx.Err() == nil {
			if err := l.Add(some(1)[0]); err != nil {
				t.Error(err)
			}
		}
	})
	for range 50 {
		if report, err := VerifyLog(nil, cfg.Path, ""); err != nil {
			t.Errorf("%+v, %v", report, err)
			break
		}
	}
	stop()
	group.Wait()
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	if _, err := VerifyLog(nil, cfg.Path+"x", ""); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
	data, err := os.ReadFile(cfg.Path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(cfg.Path, data[:len(data)-3], 0o600); err != nil { // and nobody goes on
		t.Fatal(err)
	}
	if _, err := VerifyLog(nil, cfg.Path, ""); err == nil || !strings.HasSuffix(err.Error(), "the line is torn") {
		t.Error(err)
	}
}

// A half line is read again when the proxy has written the rest of it.
func TestVerifyHalfLine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "audit.log")
		write(t, Config{Path: path}, some(3)...)
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		half := len(data) - 100
		if err := os.WriteFile(path, data[:half], 0o600); err != nil {
			t.Fatal(err)
		}
		time.AfterFunc(3*pause/2, func() {
			if err := os.WriteFile(path, data, 0o600); err != nil {
				t.Error(err)
			}
		})
		if report, err := VerifyLog(nil, path, ""); err != nil || report.Lines != 4 {
			t.Errorf("%+v, %v", report, err)
		}
	})
}

// With another key no line fits, which is said once.
func TestVerifyOtherKey(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.log")
	write(t, Config{Path: path, Key: []byte("secret")}, some(100)...)
	for _, key := range []string{"", "another"} {
		if _, err := VerifyLog([]byte(key), path, ""); !errors.Is(err, ErrKey) || strings.Contains(err.Error(), "\n") {
			t.Error(err)
		}
	}
}

// Of a log that is damaged in several places each is told, and where the log itself says that
// something is missing.
func TestEveryFault(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.log")
	write(t, Config{Path: path}, append(some(9), Entry{Kind: "gap", Count: 7, Reason: "no space"})...)
	sound, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.SplitAfter(string(sound), "\n")
	lines[1] = strings.Replace(lines[1], "user 1", "user 8", 1)
	lines[3], lines[4] = "", ""
	lines[7] = "x\n"
	if err := os.WriteFile(path, []byte(strings.Join(lines, "")), 0o600); err != nil {
		t.Fatal(err)
	}
	report, err := Verify(nil, []string{path})
	for _, want := range []string{path + ":2: the line has been changed", path + ":4: it does not follow the line before: numbers 4 to 5 are missing", path + ":6: the line is not JSON", path + ":7: it does not follow the line before: numbers 8 to 8 are missing"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
	if len(report.Gaps) != 1 || !strings.Contains(report.Gaps[0], "7 entries are missing: no space") {
		t.Errorf("%+v", report)
	}
}

// FuzzVerify reads any file: whoever verifies it looks at every line, and whoever goes on with it
// leaves its whole lines as they are, or refuses it and changes nothing.
func FuzzVerify(f *testing.F) {
	path := filepath.Join(f.TempDir(), "seed")
	l, err := Open(Config{Path: path, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		f.Fatal(err)
	}
	_ = l.Add(some(1)[0])
	_ = l.Close()
	seed, _ := os.ReadFile(path)
	f.Add(seed)
	f.Add(seed[:len(seed)-5])
	f.Add(append(slices.Clone(seed), "x\n{\"number\":"...))
	f.Fuzz(func(t *testing.T, data []byte) {
		name := filepath.Join(t.TempDir(), "x")
		if err := os.WriteFile(name, data, 0o600); err != nil {
			t.Fatal(err)
		}
		report, err := Verify(nil, []string{name})
		if lines := int64(bytes.Count(data, []byte("\n"))); err == nil && report.Lines != lines || report.Lines > lines {
			t.Errorf("%+v of %q", report, data)
		}
		l, err := Open(Config{Path: name, Log: slog.New(slog.DiscardHandler)})
		if err == nil {
			err = l.Close()
		}
		after, _ := os.ReadFile(name)
		if whole := data[:bytes.LastIndexByte(data, '\n')+1]; err == nil && !bytes.HasPrefix(after, whole) || err != nil && !bytes.Equal(after, data) {
			t.Errorf("%q becomes %q, %v", data, after, err)
		}
	})
}

// A device is no file to keep a chain in: one that has no end would be read for ever.
func TestNoRegularFile(t *testing.T) {
	for _, path := range []string{"/dev/full", "/dev/zero", t.TempDir()} {
		if l, err := Open(Config{Path: path, Log: slog.New(slog.DiscardHandler)}); err == nil || !strings.Contains(err.Error(), "regular") {
			t.Errorf("%s: %v %v", path, l, err)
		}
	}
}
