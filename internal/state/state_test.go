package state

import (
	"bytes"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.etcd.io/bbolt"
)

const things = "things"

func open(t *testing.T, path string) *File {
	t.Helper()
	f, err := Open(path, slog.New(slog.DiscardHandler), things)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// A value that is not urgent waits to be written until another one is, or until Flush, and is not lost
// when the file closes.
func TestWrittenTogether(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state.db")
	f := open(t, path)
	writes := func() int64 {
		stats := f.db.Stats().TxStats
		return stats.GetWrite()
	}
	before := writes()
	for n := range 1000 {
		f.Keep(things, "a", n, false)
	}
	if n := writes() - before; n != 0 {
		t.Errorf("%d writes", n)
	}
	stored := func() (value string) {
		_ = f.db.View(func(tx *bbolt.Tx) error {
			value = string(tx.Bucket([]byte(things)).Get([]byte("a")))
			return nil
		})
		return value
	}
	f.Flush()
	for until := time.Now().Add(10 * time.Second); stored() == ""; {
		if time.Now().After(until) {
			t.Fatal("it is not written")
		}
	}
	f.Keep(things, "a", 1000, false)
	f.Keep(things, "b", 1, true)
	f.Close()
	f = open(t, path)
	defer f.Close()
	if got := Load[int](f, things); !maps.Equal(got, map[string]int{"a": 1000, "b": 1}) {
		t.Error(got)
	}
}

// The key stays that of the file; another file has another one.
func TestKey(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state.db")
	f := open(t, path)
	key := bytes.Clone(f.Key())
	f.Close()
	f = open(t, path)
	defer f.Close()
	other := open(t, filepath.Join(t.TempDir(), "state.db"))
	defer other.Close()
	if !bytes.Equal(f.Key(), key) || len(key) < 32 || bytes.Equal(key, other.Key()) {
		t.Errorf("%x, was %x; another file: %x", f.Key(), key, other.Key())
	}
}

// A file that is open cannot be opened again.
func TestInUse(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state.db")
	f := open(t, path)
	defer f.Close()
	if _, err := Open(path, slog.New(slog.DiscardHandler), things); err == nil || !strings.Contains(err.Error(), "is in use by another process") {
		t.Error(err)
	}
	if _, err := Open(filepath.Join(path, "none"), slog.New(slog.DiscardHandler)); err == nil {
		t.Error("a path that cannot be")
	}
}

// A value that cannot be read is left out, and logged.
func TestUnreadable(t *testing.T) {
	var log bytes.Buffer
	f, err := Open(filepath.Join(t.TempDir(), "state.db"), slog.New(slog.NewTextHandler(&log, nil)), things)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	err = f.db.Update(func(tx *bbolt.Tx) error {
		b := tx.Bucket([]byte(things))
		if err := b.Put([]byte("broken"), []byte("{")); err != nil {
			return err
		}
		return b.Put([]byte("whole"), []byte("7"))
	})
	if err != nil {
		t.Fatal(err)
	}
	if got := Load[int](f, things); !maps.Equal(got, map[string]int{"whole": 7}) || !strings.Contains(log.String(), "name=broken") {
		t.Error(got, log.String())
	}
}

// Without a file nothing is kept, and nobody has to ask.
func TestNone(t *testing.T) {
	var f *File
	f.Keep(things, "a", 1, true)
	f.Flush()
	if f.Key() != nil || len(Load[int](f, things)) > 0 {
		t.Error("nothing has a key, or values")
	}
	f.Close()
}

// A file that is damaged, or none of this program, is an error that says what to do, and is not changed.
func TestDamaged(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state.db")
	f := open(t, path)
	for n := range 500 {
		f.Keep(things, strings.Repeat("x", n%30+1), strings.Repeat("y", 200), false)
	}
	f.Flush()
	f.Close()
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string][]byte{
		"text": []byte("this is no state file"), "cut": whole[:len(whole)/2], "zeros": make([]byte, len(whole)), "no data": append(bytes.Clone(whole[:8192]), make([]byte, len(whole)-8192)...),
	} {
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		f, err := Open(path, slog.New(slog.DiscardHandler), things)
		if err == nil {
			f.Close()
		}
		if err == nil || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), "move it away") {
			t.Errorf("%s: %v", name, err)
		}
		if after, err := os.ReadFile(path); err != nil || !bytes.Equal(after, data) {
			t.Errorf("%s: the file was changed", name)
		}
	}
}
