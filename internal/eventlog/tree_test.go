package eventlog

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tr87proxy/tr87proxy/internal/wait"

	"github.com/tr87proxy/tr87proxy/internal/database"
)

// The layout of a file of bbolt, as package database reads it.
const (
	headSize    = 16
	elementSize = 16
	branchPage  = 0x01
	freePage    = 0x10
)

// busyFile returns a file with several levels of pages, free pages, and values in pages of their own and in others.
func busyFile(t *testing.T) []byte {
	t.Helper()
	path := filepath.Join(t.TempDir(), "events.db")
	l := start(t, path, Limits{Entries: 1500, Unsynced: true})
	for n := range 20 {
		add(t, l, 250*n, 250*n+250)
		for key := range 20 {
			bucket := fmt.Sprint("bucket ", key%3)
			if err := l.Put(bucket, fmt.Sprint(key), make([]byte, 400*n)); err != nil {
				t.Fatal(err)
			}
			if key%4 == n%4 {
				if err := l.Delete(bucket, fmt.Sprint(key)); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// reopen opens a file with this content, has the log grow, and closes it; all within the patience of the test. It
// returns what was logged.
func reopen(t *testing.T, name string, data []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "events.db")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	var said bytes.Buffer
	done := make(chan error, 1)
	go func() {
		l, err := Open(path, Limits{Unsynced: true, Entries: 1500}, slog.New(slog.NewTextHandler(&said, nil)))
		if err == nil {
			appended := make(chan error, 1)
			err = errors.Join(l.Append([]Entry{entry(1)}, func(_ uint64, err error) { appended <- err }), l.Put("bucket 1", "1", []byte("value")))
			err = errors.Join(err, <-appended)
			for after := uint64(0); ; {
				entries, _, failed := l.Read(after, 100)
				if err = errors.Join(err, failed); len(entries) == 0 {
					break
				}
				after = entries[len(entries)-1].Seq
			}
			err = errors.Join(err, l.Close())
		}
		done <- err
	}()
	if err := wait.Next(t, done, name); err != nil {
		t.Errorf("%s: %v", name, err)
	}
	return said.String()
}

// A file in use, that has grown and shrunk, is sound.
func TestSound(t *testing.T) {
	t.Parallel()
	data := busyFile(t)
	if said := reopen(t, "sound", data); said != "" {
		t.Error(said)
	}
	leaves := 0
	if err := database.Read(bytes.NewReader(data), int64(len(data)), func([]string, []byte, []byte) { leaves++ }); err != nil || leaves < 1500 {
		t.Errorf("%d keys, %v", leaves, err)
	}
}

// A page that refers to one above it, to itself, or to the page of another bucket does not send the log round for ever:
// the file is damaged, and what is sound in it is in the new one. A list of free pages that is too long, or has pages
// that are in use, is damage, too.
func TestCycles(t *testing.T) {
	t.Parallel()
	data := busyFile(t)
	page := os.Getpagesize()
	var branches []uint64
	for at := 2 * page; at < len(data); at += page {
		if binary.NativeEndian.Uint16(data[at+8:]) == branchPage && binary.NativeEndian.Uint64(data[at:]) == uint64(at/page) {
			branches = append(branches, uint64(at/page))
		}
	}
	damaged := 0
	for at := 2 * page; at < len(data); at += page {
		if binary.NativeEndian.Uint64(data[at:]) != uint64(at/page) {
			continue
		}
		switch binary.NativeEndian.Uint16(data[at+8:]) {
		case branchPage:
			count := int(binary.NativeEndian.Uint16(data[at+10:]))
			for _, i := range []int{0, count / 2, count - 1} {
				for _, target := range append(branches[:len(branches):len(branches)], 0, 1, uint64(len(data)/page), 1<<40) {
					element := at + headSize + i*elementSize
					if binary.NativeEndian.Uint64(data[element+8:]) == target {
						continue
					}
					cyclic := slices.Clone(data)
					binary.NativeEndian.PutUint64(cyclic[element+8:], target)
					name := fmt.Sprintf("element %d of page %d refers to %d", i, at/page, target)
					if strings.Contains(reopen(t, name, cyclic), "event log is damaged") {
						damaged++
					}
				}
			}
		case freePage:
			for _, ids := range [][]uint64{{math.MaxUint64}, {1 << 40}, {10, 1}} {
				full := slices.Clone(data)
				binary.NativeEndian.PutUint16(full[at+10:], 0xFFFF)
				for i, id := range ids {
					binary.NativeEndian.PutUint64(full[at+headSize+8*i:], id)
				}
				reopen(t, fmt.Sprint("free pages ", ids), full)
			}
		}
	}
	if damaged < 10 { // other pages with branches are free
		t.Errorf("of %d pages with branches, %d changes were damage", len(branches), damaged)
	}
}

// Whatever octets a disk changes, the log begins within the patience of the test. The seed differs from run to run; a
// failure names it.
func TestDamagedAtRandom(t *testing.T) {
	t.Parallel()
	data := busyFile(t)
	page := os.Getpagesize()
	seed := uint64(time.Now().UnixNano())
	for n := range uint64(300) {
		rnd := rand.New(rand.NewPCG(seed, n))
		damaged := slices.Clone(data)
		for range 1 + rnd.IntN(40) {
			at := page * rnd.IntN(len(data)/page)
			switch rnd.IntN(4) {
			case 0: // one octet
				damaged[at+rnd.IntN(page)] = byte(rnd.Uint32())
			case 1: // the head of a page, or one of its first elements
				binary.NativeEndian.PutUint32(damaged[at+8*rnd.IntN(20):], rnd.Uint32N(uint32(len(data)/page)))
			case 2: // a page in the place of another, with its number
				copy(damaged[at:at+page], data[page*rnd.IntN(len(data)/page):])
				binary.NativeEndian.PutUint64(damaged[at:], uint64(at/page))
			case 3: // a page in the place of another
				copy(damaged[at:at+page], data[page*rnd.IntN(len(data)/page):])
			}
		}
		if rnd.IntN(10) == 0 {
			damaged = damaged[:rnd.IntN(len(damaged))]
		}
		reopen(t, fmt.Sprintf("seed %d, %d", seed, n), damaged)
	}
}
