package audit

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// file is what a chain needs of an *os.File.
type file interface {
	io.Writer
	io.ReaderAt
	io.Closer
	Stat() (os.FileInfo, error)
	Truncate(size int64) error
	Sync() error
}

// chain is the file that is written, and where its chain of lines ends.
type chain struct {
	cfg  Config
	open func(path string) (file, error)

	file   file   // nil after a failed rotation
	buffer []byte // of write
	size   int64  // of the whole lines in it
	torn   bool   // something stands behind them
	number int64
	last   string // hash
}

// openFile opens the file of a chain for appending, or makes it, for its owner only. It locks the
// file: two writers would break the chain.
func openFile(path string) (file, error) {
	if info, err := os.Stat(path); err == nil && !info.Mode().IsRegular() { // a device may never end
		return nil, fmt.Errorf("%s: is no regular file; the chain of lines can only be kept in one", path)
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	if !lock(f) {
		_ = f.Close()
		return nil, fmt.Errorf("another process writes %s", path)
	}
	return f, nil
}

// begin finds out where the chain ends, like resume, and tells of a file that has no lines yet: it
// may have been removed.
func (c *chain) begin() (left string, err error) {
	if left, err = c.resume(); err == nil && c.size == 0 {
		c.cfg.Log.Info("began a new audit file", "file", c.cfg.Path, "first", c.number+1)
	}
	return left, err
}

// resume finds out where the chain ends. It returns what to write down of how it was left: "" if
// it was closed.
func (c *chain) resume() (left string, err error) {
	if c.file, err = c.open(c.cfg.Path); err != nil {
		c.file = nil // not a typed one
		return "", err
	}
	end, err := endOf(c.file)
	if err != nil {
		return "", fmt.Errorf("%s: %w", c.cfg.Path, err)
	}
	c.size = end.whole
	if end.torn > 0 {
		c.cfg.Log.Warn("the last line of the audit file was torn, and is cut off", "file", c.cfg.Path, "octets", end.torn)
		if err := c.file.Truncate(end.whole); err != nil {
			return "", err
		}
	}
	torn := end.torn
	if files := older(c.cfg.Path); end.whole == 0 && len(files) > 0 { // the chain goes on from the youngest
		if end, err = endOfFile(files[len(files)-1]); err != nil {
			return "", err
		}
	}
	c.number, c.last = end.entry.Number, end.entry.Hash
	switch {
	case end.unreadable > 0:
		left = fmt.Sprintf("%d octets behind number %d are no lines", end.unreadable, end.entry.Number)
		c.cfg.Log.Warn("the end of the audit file cannot be read; new lines come behind it", "file", c.cfg.Path, "octets", end.unreadable)
	case torn > 0:
		left = fmt.Sprintf("the last line was torn: %d octets are cut off", torn)
	case end.entry.Number > 0 && end.entry.Kind != "stopped":
		left = "the log was not closed: after a failure of the machine lines of its last seconds may be missing"
	}
	return left, nil
}

// end is how a file ends.
type end struct {
	entry      Entry // the last one that can be read
	whole      int64 // where whole lines end
	unreadable int64 // octets of whole lines behind entry
	torn       int64 // octets behind the whole lines
}

const (
	firstLook = 64 << 10
	lastLook  = 16 << 20 // octets at the end of a file in which there must be a line
)

var errNoLines = errors.New("has no lines of an audit file at its end; move it away if the chain may begin anew")

// endOf reads a file from its end.
func endOf(f file) (end, error) {
	info, err := f.Stat()
	if err != nil {
		return end{}, err
	}
	size := info.Size()
	for look := int64(firstLook); ; look *= 4 {
		from := max(0, size-look)
		data := make([]byte, size-from)
		if _, err := f.ReadAt(data, from); err != nil && !errors.Is(err, io.EOF) {
			return end{}, err
		}
		lines := data[:bytes.LastIndexByte(data, '\n')+1]
		e := end{whole: from + int64(len(lines)), torn: int64(len(data) - len(lines))}
		for rest := lines; len(rest) > 0; {
			begin := bytes.LastIndexByte(rest[:len(rest)-1], '\n') + 1
			if begin == 0 && from > 0 {
				break // it may begin before what has been read
			}
			if json.Unmarshal(rest[begin:], &e.entry) == nil && e.entry.Number > 0 && e.entry.Hash != "" {
				return e, nil
			}
			e.entry = Entry{}
			e.unreadable += int64(len(rest) - begin)
			rest = rest[:begin]
		}
		begins := []byte(`{"number":`)
		switch {
		case from == 0 && len(lines) == 0 && bytes.HasPrefix(begins, data[:min(len(data), len(begins))]):
			return e, nil // empty, or its first line is torn
		case from == 0, look >= lastLook:
			return end{}, errNoLines
		}
	}
}

func endOfFile(name string) (end, error) {
	f, err := os.Open(name)
	if err != nil {
		return end{}, err
	}
	defer func() { _ = f.Close() }()
	e, err := endOf(f)
	if err != nil {
		err = fmt.Errorf("%s: %w", name, err)
	}
	return e, err
}

const piece = 1 << 20 // octets that are written at once

// write appends entries, and returns how many of them are in the file.
func (c *chain) write(entries []Entry) (written int, err error) {
	if len(entries) == 0 {
		return 0, nil
	}
	if err := c.mend(); err != nil {
		return 0, err
	}
	lines, number, last := c.buffer[:0], c.number, c.last
	flush := func(lines []byte, before int) error {
		if n, err := c.file.Write(lines); err != nil {
			c.torn = n > 0
			return errors.Join(err, c.mend())
		}
		c.size += int64(len(lines))
		c.number, c.last = number, last
		written = before
		return nil
	}
	for i := range entries {
		e := &entries[i]
		e.Number, e.Before = number+1, last
		before := len(lines)
		if lines, err = seal(lines, c.cfg.Key, e); err != nil {
			return written, err
		}
		if c.size+int64(before) > 0 && c.size+int64(len(lines)) > c.cfg.MaxSize {
			if err := flush(lines[:before], i); err != nil {
				return written, err
			}
			if err := c.rotate(); err != nil {
				return written, err
			}
			lines = append(lines[:0], lines[before:]...)
		}
		if number, last = e.Number, e.Hash; len(lines) >= piece {
			if err := flush(lines, i+1); err != nil {
				return written, err
			}
			lines = lines[:0]
		}
	}
	c.buffer = lines
	err = flush(lines, len(entries)) // which counts what is written
	return written, err
}

// mend takes away what stands behind the whole lines.
func (c *chain) mend() error {
	if !c.torn {
		return nil
	}
	err := c.file.Truncate(c.size)
	c.torn = err != nil
	return err
}

// rotate gives the file a number and begins a new one; the oldest goes. A process that ends in
// the midst of that finds the end of the chain in the youngest of the older files.
func (c *chain) rotate() error {
	if err := c.file.Sync(); err != nil {
		return err
	}
	name := fmt.Sprintf("%s.%d", c.cfg.Path, c.number)
	if _, err := os.Lstat(name); err == nil {
		return fmt.Errorf("%s is there already", name)
	}
	if err := os.Rename(c.cfg.Path, name); err != nil {
		return err
	}
	_ = c.file.Close() // it is on the disk
	c.file, c.size = nil, 0
	for files := older(c.cfg.Path); len(files) > c.cfg.Keep; files = files[1:] {
		_ = os.Remove(files[0]) // it is tried again next time
	}
	return c.create()
}

// create begins a new file.
func (c *chain) create() (err error) {
	if c.file, err = c.open(c.cfg.Path); err != nil {
		c.file = nil // not a typed one
		return err
	}
	dir, err := os.Open(filepath.Dir(c.cfg.Path)) // its entries are on the disk, too
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// replaced reports whether the file was moved away, or removed: what is written into it then
// nobody finds.
func (c *chain) replaced() bool {
	there, err := os.Stat(c.cfg.Path)
	if err != nil {
		return os.IsNotExist(err)
	}
	ours, err := c.file.Stat()
	return err == nil && !os.SameFile(there, ours)
}

// reopen goes on after a failure, with the file that is there now.
func (c *chain) reopen() error {
	if c.file != nil {
		_ = c.file.Close() // it has failed
		c.file = nil
	}
	size, torn, number, last := c.size, c.torn, c.number, c.last
	f, err := c.open(c.cfg.Path)
	if err != nil {
		return err
	}
	c.file = f
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if info.Size() == size || torn && info.Size() > size { // as it was left
		return f.Sync() // of which nothing is known after a failed one
	}
	_ = f.Close() // it is opened again
	c.file = nil
	if info.Size() == 0 {
		c.cfg.Log.Warn("began a new audit file: the old one was moved away or removed", "file", c.cfg.Path)
	} else {
		c.cfg.Log.Warn("the audit file was changed or replaced by another one, and goes on behind its last line", "file", c.cfg.Path)
	}
	if _, err := c.resume(); err != nil {
		return err
	}
	if c.torn = false; c.number < number {
		c.number, c.last = number, last // no number is given twice
	}
	return nil
}

// older lists the files that were written before, the oldest first.
func older(path string) []string {
	entries, _ := os.ReadDir(filepath.Dir(path)) // none where there is no such directory
	numbers := map[string]int64{}
	for _, entry := range entries {
		after, found := strings.CutPrefix(entry.Name(), filepath.Base(path)+".")
		if n, err := strconv.ParseInt(after, 10, 64); found && err == nil && n > 0 {
			numbers[filepath.Join(filepath.Dir(path), entry.Name())] = n
		}
	}
	names := make([]string, 0, len(numbers))
	for name := range numbers {
		names = append(names, name)
	}
	slices.SortFunc(names, func(a, b string) int { return int(numbers[a] - numbers[b]) })
	return names
}

// Config says where and how much is kept. Zero values take defaults.
type Config struct {
	Path    string // of the file that is written; older ones have a number behind it
	Key     []byte // of the hashes: without it nobody can make new ones; nil: plain hashes
	MaxSize int64  // of a file, in octets; 100 MiB
	Keep    int    // older files; 10
	Log     *slog.Logger

	strangers bool // what they do is in it, which nothing waits for
}

func (c *Config) setDefaults() {
	if c.MaxSize == 0 {
		c.MaxSize = 100 << 20
	}
	if c.Keep == 0 {
		c.Keep = 10
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
}
