package audio

import (
	"bytes"
	"encoding/binary"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/tr87proxy/tr87proxy/internal/wait"
)

// Values of G.711's tables, and the round trip of every octet.
func TestLaws(t *testing.T) {
	names := map[*Law]string{ALaw: "PCMA", MuLaw: "PCMU"}
	for _, tt := range []struct {
		law    *Law
		sample int16
		octet  byte
	}{
		{ALaw, 0, 0xd5}, {ALaw, -1, 0x55}, {ALaw, 32767, 0xaa}, {ALaw, -32768, 0x2a}, {ALaw, 1000, 0xfa},
		{MuLaw, 0, 0xff}, {MuLaw, 32767, 0x80}, {MuLaw, -32768, 0x00}, {MuLaw, 1000, 0xce},
	} {
		if got := tt.law.encode[uint16(tt.sample)]; got != tt.octet {
			t.Errorf("%s of %d: %#x, want %#x", names[tt.law], tt.sample, got, tt.octet)
		}
	}
	for l, name := range names {
		for i := range 256 {
			s := l.decode[i]
			if got := l.encode[uint16(s)]; got != byte(i) && l.decode[got] != s { // mu-law has two zeros
				t.Errorf("%s %#x: %d, %#x", name, i, s, got)
			}
		}
		for _, s := range []int16{-30000, -1234, -5, 3, 77, 999, 20000} {
			if back := l.decode[l.encode[uint16(s)]]; math.Abs(float64(back-s)) > math.Abs(float64(s))/16+8 {
				t.Errorf("%s %d: %d", name, s, back)
			}
		}
	}
}

func wav(tag, channels uint16, hertz uint32, width uint16, data []byte) []byte {
	b := append([]byte("RIFF\x00\x00\x00\x00WAVELIST\x03\x00\x00\x00abc\x00fmt "), 16, 0, 0, 0)
	b = binary.LittleEndian.AppendUint16(b, tag)
	b = binary.LittleEndian.AppendUint16(b, channels)
	b = binary.LittleEndian.AppendUint32(b, hertz)
	b = append(b, 0, 0, 0, 0, 0, 0)
	b = binary.LittleEndian.AppendUint16(b, width)
	b = append(b, "data"...)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(data)))
	return append(b, data...)
}

func au(begin, size, encoding, hertz, channels uint32, data []byte) []byte {
	b := []byte(".snd")
	for _, n := range []uint32{begin, size, encoding, hertz, channels} {
		b = binary.BigEndian.AppendUint32(b, n)
	}
	return append(b, data...)
}

func TestClips(t *testing.T) {
	for _, tt := range []struct {
		name string
		data []byte
		want int // samples; -1: refused
	}{
		{"PCM", wav(1, 1, 8000, 16, make([]byte, 8)), 4},
		{"A-law", wav(6, 1, 8000, 8, make([]byte, 8)), 8},
		{"mu-law", wav(7, 1, 8000, 8, make([]byte, 8)), 8},
		{"truncated", wav(1, 1, 8000, 16, make([]byte, 8))[:len(wav(1, 1, 8000, 16, nil))+4], -1},
		{"truncated before its sound", wav(1, 1, 8000, 16, nil)[:14], -1},
		{"of unknown size", append(append(wav(1, 1, 8000, 16, nil)[:len(wav(1, 1, 8000, 16, nil))-4], 255, 255, 255, 255), make([]byte, 4)...), 2},
		{"stereo", wav(1, 2, 8000, 16, make([]byte, 8)), -1},
		{"44100 Hz", wav(1, 1, 44100, 16, make([]byte, 8)), -1},
		{"24 bits", wav(1, 1, 8000, 24, make([]byte, 8)), -1},
		{"no data", []byte("RIFF\x00\x00\x00\x00WAVE"), -1},
		{"no WAV", []byte("OggS"), -1},
		{"AU, mu-law", au(24, 8, 1, 8000, 1, make([]byte, 8)), 8},
		{"AU, A-law", au(24, 8, 27, 8000, 1, make([]byte, 8)), 8},
		{"AU, PCM", au(24, 8, 3, 8000, 1, make([]byte, 8)), 4},
		{"AU with a text", au(28, 8, 3, 8000, 1, make([]byte, 12)), 4},
		{"AU without size", au(24, 1<<32-1, 1, 8000, 1, make([]byte, 8)), 8},
		{"AU, truncated", au(24, 9, 1, 8000, 1, make([]byte, 8)), -1},
		{"AU that begins in its header", au(20, 8, 1, 8000, 1, make([]byte, 8)), -1},
		{"AU that begins behind its end", au(33, 0, 1, 8000, 1, make([]byte, 8)), -1},
		{"AU, 44100 Hz", au(24, 8, 1, 44100, 1, make([]byte, 8)), -1},
		{"AU, stereo", au(24, 8, 1, 8000, 2, make([]byte, 8)), -1},
		{"AU, 24 bits", au(24, 8, 4, 8000, 1, make([]byte, 8)), -1},
		{"AU, header alone", au(24, 8, 1, 8000, 1, nil)[:20], -1},
	} {
		c, err := readClip(bytes.NewReader(tt.data))
		if (err != nil) != (tt.want < 0) || err == nil && len(c.samples) != tt.want {
			t.Errorf("%s: %v %v", tt.name, c, err)
		}
	}
}

// No name leads out of the directory, and nothing is overwritten.
func TestDirectory(t *testing.T) {
	outer := t.TempDir()
	inner := filepath.Join(outer, "messages")
	if err := os.Mkdir(inner, 0o700); err != nil {
		t.Fatal(err)
	}
	secret := wav(1, 1, 8000, 16, make([]byte, 8))
	for _, file := range []string{filepath.Join(outer, "secret.wav"), filepath.Join(inner, "hello.wav")} {
		if err := os.WriteFile(file, secret, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("../secret.wav", filepath.Join(inner, "link.wav")); err != nil {
		t.Fatal(err)
	}
	d, err := OpenDirectory(inner)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if _, err := d.Load("hello"); err != nil || !d.Has("hello") {
		t.Error(err)
	}
	for _, name := range []string{"hello.wav", filepath.Join(inner, "hello"), filepath.Join(inner, "hello.wav")} {
		if path := d.Path(name); path != filepath.Join(inner, "hello.wav") || !d.Has(name) {
			t.Errorf("%q is %q", name, path)
		}
	}
	for _, name := range []string{
		"", ".", "..", ".hidden", "a/.hidden", "../secret", "../secret.wav", "x/../../secret", "x//y", inner, inner + "/", inner + "/../secret.wav", inner + "x/hello.wav",
		filepath.Join(outer, "secret.wav"), "a\x00b", "a\nb", "a\x7fb", "a\xffb", strings.Repeat("a", 252),
	} {
		if path := d.Path(name); path != "" {
			t.Errorf("%q is %q", name, path)
		}
		if _, err := d.Load(name); err == nil || d.Has(name) {
			t.Errorf("%q is read", name)
		}
		if _, err := d.Record(name, time.Second); err == nil {
			t.Errorf("%q is written", name)
		}
	}
	for _, name := range []string{"none", "link"} { // one that there is not, and one outside
		if _, err := d.Load(name); err == nil || d.Has(name) || d.Path(name) == "" {
			t.Errorf("%q: %v", name, err)
		}
	}
	if _, err := d.Record("hello", time.Second); err == nil {
		t.Error("a message is overwritten")
	}
	if err := syscall.Mkfifo(filepath.Join(inner, "pipe.wav"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Overwrite("pipe", time.Second); err == nil {
		t.Error("a pipe is written")
	}
	if d.Has("pipe") {
		t.Error("a pipe can be played")
	}
	r, err := d.Record("new", time.Second)
	if err != nil {
		t.Fatal(err)
	}
	if !r.Write(make([]int16, Rate-1)) || r.Write(make([]int16, 10)) {
		t.Error("the limit is not kept")
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
	if c, err := d.Load("new"); err != nil || len(c.samples) != Rate {
		t.Errorf("%v %v", c, err)
	}
}

// Calls that play the same file share its sound, until the file changes or nobody plays it.
func TestSharedClips(t *testing.T) {
	path := t.TempDir()
	file := filepath.Join(path, "hello.wav")
	d, err := OpenDirectory(path)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	load := func(octets int) *Clip {
		t.Helper()
		c, err := d.Load("hello")
		if err != nil || len(c.samples) != octets/2 {
			t.Fatal(c, err)
		}
		return c
	}
	for _, octets := range []int{8, 16} {
		if err := os.WriteFile(file, wav(1, 1, 8000, 16, make([]byte, octets)), 0o600); err != nil {
			t.Fatal(err)
		}
		one, two := load(octets), load(octets)
		if one != two {
			t.Error("the file is in memory twice")
		}
		runtime.KeepAlive(one)
	}
	shared := func() int {
		d.mu.Lock()
		defer d.mu.Unlock()
		return len(d.clips)
	}
	wait.For(t, "the end of the clip", func() bool { runtime.GC(); return shared() == 0 })
}

func FuzzClip(f *testing.F) {
	f.Add(wav(1, 1, 8000, 16, make([]byte, 8)))
	f.Add(wav(6, 1, 8000, 8, make([]byte, 8)))
	f.Add(au(24, 8, 3, 8000, 1, make([]byte, 8)))
	f.Fuzz(func(_ *testing.T, data []byte) { _, _ = readClip(bytes.NewReader(data)) })
}
