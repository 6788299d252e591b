package audio

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"time"
	"unicode"
	"unicode/utf8"
	"weak"
)

// maxFile bounds a file to play, in octets: almost an hour.
const maxFile = 50 << 20

// unknownSize is the size of a chunk that goes to the end of the file, as programs write that could not go back to the
// header.
const unknownSize = math.MaxUint32

// WAVE format tags (RFC 2361).
const (
	formatPCM   = 1
	formatALaw  = 6
	formatMuLaw = 7
)

var (
	errSound = errors.New("not a WAV or AU file of 8000 Hz, one channel, 16-bit PCM, A-law or mu-law")
	errShort = errors.New("truncated: the file is shorter than its header says")
	errName  = errors.New("not the name of a file in the directory")
)

// Directory holds the files to play and record. No name can refer to a file outside of it.
type Directory struct {
	root *os.Root
	path string // absolute

	mu    sync.Mutex
	clips map[string]shared // by path in the directory
}

// shared is a clip that somebody plays. Calls that play the same file share its sound.
type shared struct {
	clip     weak.Pointer[Clip]
	size     int64
	modified time.Time
}

// OpenDirectory opens a directory.
func OpenDirectory(path string) (*Directory, error) {
	root, err := os.OpenRoot(path)
	if err != nil {
		return nil, err
	}
	if path, err = filepath.Abs(path); err != nil {
		return nil, errors.Join(err, root.Close())
	}
	return &Directory{root: root, path: path, clips: map[string]shared{}}, nil
}

// Close closes the directory.
func (d *Directory) Close() error { return d.root.Close() }

// maxName bounds the name of a file, in octets.
const maxName = 255

// Path returns the full path of the file that a name stands for, whether there is one or not, or "" if no file in the
// directory can have that name. A name is a path relative to the directory, or a full path in it; .wav is added to one
// without extension. Hidden files have no names.
func (d *Directory) Path(name string) string {
	rel, ok := d.relative(name)
	if !ok {
		return ""
	}
	return filepath.Join(d.path, rel)
}

// relative returns the path in the directory that a name stands for.
func (d *Directory) relative(name string) (rel string, ok bool) {
	if rel = name; filepath.IsAbs(name) {
		if rel, ok = strings.CutPrefix(name, d.path+string(filepath.Separator)); !ok {
			return "", false
		}
	}
	if filepath.Ext(rel) == "" {
		rel += ".wav"
	}
	if len(rel) > maxName || !filepath.IsLocal(rel) || !utf8.ValidString(rel) || strings.ContainsFunc(rel, unicode.IsControl) {
		return "", false
	}
	for part := range strings.SplitSeq(filepath.ToSlash(rel), "/") {
		if part == "" || strings.HasPrefix(part, ".") {
			return "", false
		}
	}
	return rel, true
}

// Load reads a file to play, unless it is played already and has not changed. See Path for its name.
func (d *Directory) Load(name string) (*Clip, error) {
	rel, ok := d.relative(name)
	if !ok {
		return nil, errName
	}
	f, err := d.root.Open(rel)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	d.mu.Lock()
	known := d.clips[rel]
	d.mu.Unlock()
	if clip := known.clip.Value(); clip != nil && known.size == info.Size() && known.modified.Equal(info.ModTime()) {
		return clip, nil
	}
	clip, err := readClip(f)
	if err != nil {
		return nil, err
	}
	d.share(rel, shared{weak.Make(clip), info.Size(), info.ModTime()})
	runtime.AddCleanup(clip, d.forget, rel)
	return clip, nil
}

func (d *Directory) share(rel string, s shared) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.clips[rel] = s
}

// forget removes a clip that nobody plays any more.
func (d *Directory) forget(rel string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.clips[rel].clip.Value() == nil {
		delete(d.clips, rel)
	}
}

// Has reports whether there is a file of this name, of a size that can be played, without reading it.
func (d *Directory) Has(name string) bool {
	rel, ok := d.relative(name)
	if !ok {
		return false
	}
	info, err := d.root.Stat(rel)
	return err == nil && info.Mode().IsRegular() && info.Size() <= maxFile
}

// LoadFile reads a WAV or AU file at any path.
func LoadFile(path string) (*Clip, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	clip, err := readClip(f)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return clip, nil
}

// Clip is sound in memory, in 8 kHz mono.
type Clip struct{ samples []int16 }

// NewClip returns the clip of samples, which must not change any more.
func NewClip(samples []int16) *Clip { return &Clip{samples} }

// Samples returns the samples of the clip, which must not be changed.
func (c *Clip) Samples() []int16 { return c.samples }

// Duration returns how long the clip plays.
func (c *Clip) Duration() time.Duration { return time.Duration(len(c.samples)) * time.Second / Rate }

// readClip reads a WAV or AU file, whatever its name is.
func readClip(r io.Reader) (*Clip, error) {
	data, err := io.ReadAll(io.LimitReader(r, maxFile+1))
	switch {
	case err != nil:
		return nil, err
	case len(data) > maxFile:
		return nil, fmt.Errorf("larger than %d octets", maxFile)
	case len(data) >= 4 && string(data[:4]) == ".snd":
		return readAU(data)
	case len(data) >= 12 && string(data[:4]) == "RIFF" && string(data[8:12]) == "WAVE":
		return readWAV(data)
	}
	return nil, errSound
}

// readWAV reads the chunks fmt and data of a RIFF file (RFC 2361).
func readWAV(data []byte) (*Clip, error) {
	format := -1
	for rest := data[12:]; len(rest) >= 8; {
		name, size := string(rest[:4]), int64(binary.LittleEndian.Uint32(rest[4:]))
		rest = rest[8:]
		body := rest[:min(size, int64(len(rest)))]
		if size > int64(len(rest)) && size != unknownSize {
			return nil, errShort
		}
		switch name {
		case "fmt ":
			if format = formatOf(body); format < 0 {
				return nil, errSound
			}
		case "data":
			return clip(format, binary.LittleEndian, body)
		}
		rest = rest[min(size+size&1, int64(len(rest))):]
	}
	return nil, errSound
}

// formatOf returns the format tag of a playable file, or -1.
func formatOf(chunk []byte) int {
	if len(chunk) < 16 {
		return -1
	}
	u16 := func(at int) int { return int(binary.LittleEndian.Uint16(chunk[at:])) }
	tag, width := u16(0), u16(14)
	if u16(2) != 1 || binary.LittleEndian.Uint32(chunk[4:]) != Rate {
		return -1
	}
	if tag == formatPCM && width == 16 || (tag == formatALaw || tag == formatMuLaw) && width == 8 {
		return tag
	}
	return -1
}

func clip(format int, order binary.ByteOrder, body []byte) (*Clip, error) {
	switch format {
	case formatALaw:
		return &Clip{ALaw.Samples(body)}, nil
	case formatMuLaw:
		return &Clip{MuLaw.Samples(body)}, nil
	case formatPCM:
		c := &Clip{make([]int16, len(body)/2)}
		for i := range c.samples {
			c.samples[i] = int16(order.Uint16(body[2*i:]))
		}
		return c, nil
	}
	return nil, errSound
}

// Recording is a WAV file being written, in 16-bit PCM.
type Recording struct {
	f       *os.File
	samples int
	limit   int
	err     error
}

// Record creates a file, which must not exist. See Path for its name. The recording is at most limit long, to the
// nearest sample.
func (d *Directory) Record(name string, limit time.Duration) (*Recording, error) {
	return d.record(name, os.O_EXCL, limit)
}

// Overwrite is Record for a file that may exist: its content is lost.
func (d *Directory) Overwrite(name string, limit time.Duration) (*Recording, error) {
	return d.record(name, os.O_TRUNC, limit)
}

func (d *Directory) record(name string, how int, limit time.Duration) (*Recording, error) {
	rel, ok := d.relative(name)
	if !ok {
		return nil, errName
	}
	if info, err := d.root.Stat(rel); err == nil && !info.Mode().IsRegular() { // a pipe, which may block
		return nil, errName
	}
	f, err := d.root.OpenFile(rel, os.O_CREATE|os.O_RDWR|how, 0o640)
	if err != nil {
		return nil, err
	}
	r, err := NewRecording(f, limit)
	if err != nil {
		_ = f.Close()
	}
	return r, err
}

// NewRecording writes a recording into an open file, which its Close closes.
func NewRecording(f *os.File, limit time.Duration) (*Recording, error) {
	r := &Recording{f: f, limit: SamplesIn(limit)}
	if _, err := f.Write(r.header()); err != nil {
		return nil, err
	}
	return r, nil
}

// SamplesIn returns how many samples a time has.
func SamplesIn(d time.Duration) int { return int(d * Rate / time.Second) }

func (r *Recording) header() []byte {
	h := make([]byte, 0, 44)
	u32 := func(n int) { h = binary.LittleEndian.AppendUint32(h, uint32(n)) }
	u16 := func(n int) { h = binary.LittleEndian.AppendUint16(h, uint16(n)) }
	h = append(h, "RIFF"...)
	u32(36 + 2*r.samples)
	h = append(h, "WAVEfmt "...)
	u32(16)
	u16(formatPCM)
	u16(1)
	u32(Rate)
	u32(2 * Rate)
	u16(2)
	u16(16)
	h = append(h, "data"...)
	u32(2 * r.samples)
	return h
}

// Left returns how many samples the recording may still get.
func (r *Recording) Left() int { return r.limit - r.samples }

// Write appends samples. It returns false when the maximum length is reached or writing failed.
func (r *Recording) Write(samples []int16) bool {
	samples = samples[:min(len(samples), r.Left())]
	out := make([]byte, 0, 2*len(samples))
	for _, s := range samples {
		out = binary.LittleEndian.AppendUint16(out, uint16(s))
	}
	if r.err == nil {
		_, r.err = r.f.Write(out)
	}
	r.samples += len(samples)
	return r.err == nil && r.samples < r.limit
}

// Close completes the file.
func (r *Recording) Close() error {
	_, err := r.f.WriteAt(r.header(), 0)
	return errors.Join(r.err, err, r.f.Close())
}
