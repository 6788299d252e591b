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

// file is the part of *os.File that a chain uses.
type file interface {
	io.Writer
	io.ReaderAt
	io.Closer
	Stat() (os.FileInfo, error)
	Truncate(size int64) error
	Sync() error
}

// chain is the current file and the end of its chain of lines.
type chain struct {
	cfg  Config
	open func(path string) (file, error)

	file   file   // nil after a failed rotation
	buffer []byte // for write
	size   int64  // octets of whole lines in the file
	torn   bool   // the file continues after them
	number int64
	last   string // hash of the last line
}

// openFile opens the file of a chain for appending, or creates it, readable by its owner only.
// It locks the file, since two writers would break the chain.
func openFile(path string) (file, error) {
	if info, err := os.Stat(path); err == nil && !info.Mode().IsRegular() { // reading a device may never end
		return nil, notRegular(path)
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	if !lock(f) {
		_ = f.Close()
		return nil, fmt.Errorf("%s is in use by another process", path)
	}
	return f, nil
}

func notRegular(path string) error {
	return fmt.Errorf("%s: not a regular file, which the chain of lines requires", path)
}

// begin finds the end of the chain, like resume, and logs if the file has no lines yet, since
// it may have been removed.
func (c *chain) begin() (left string, err error) {
	if left, err = c.resume(); err == nil && c.size == 0 {
		c.cfg.Log.Info("started a new audit file", "file", c.cfg.Path, "first", c.number+1)
	}
	return left, err
}

// resume finds the end of the chain. left describes an unclean end for the log, or is "" if the
// log was closed.
func (c *chain) resume() (left string, err error) {
	if c.file, err = c.open(c.cfg.Path); err != nil {
		c.file = nil // a nil interface, not a nil *os.File in one
		return "", err
	}
	end, err := endOf(c.file)
	if err != nil {
		return "", fmt.Errorf("%s: %w", c.cfg.Path, err)
	}
	c.size = end.whole
	if end.torn > 0 {
		c.cfg.Log.Warn("removing an incomplete last line from the audit file", "file", c.cfg.Path, "octets", end.torn)
		if err := c.file.Truncate(end.whole); err != nil {
			return "", err
		}
	}
	torn := end.torn
	if files := older(c.cfg.Path); end.whole == 0 && len(files) > 0 { // the chain continues from the latest older file
		if end, err = endOfFile(files[len(files)-1]); err != nil {
			return "", err
		}
	}
	c.number, c.last = end.entry.Number, end.entry.Hash
	switch {
	case end.unreadable > 0:
		left = fmt.Sprintf("%d octets behind number %d are no lines", end.unreadable, end.entry.Number)
		c.cfg.Log.Warn("could not read the end of the audit file: appending after it", "file", c.cfg.Path, "octets", end.unreadable)
	case torn > 0:
		left = fmt.Sprintf("the last line was torn: %d octets are cut off", torn)
	case end.entry.Number > 0 && end.entry.Kind != "stopped":
		left = "the log was not closed: after a failure of the machine lines of its last seconds may be missing"
	}
	return left, nil
}

// end describes the end of a file.
type end struct {
	entry      Entry // last readable entry
	whole      int64 // octets of whole lines
	unreadable int64 // octets of whole lines after entry
	torn       int64 // octets after the whole lines
}

const (
	firstLook = 64 << 10
	lastLook  = 16 << 20 // octets at the end of a file that must contain a line
)

var errNoLines = errors.New("does not end with lines of an audit file; move it away to start a new chain")

// endOf reads a file backwards to find its end.
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
				break // the line may begin earlier
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
			return e, nil // empty, or the first line is incomplete
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

const piece = 1 << 20 // octets per write

// write appends entries and returns how many of them are in the file.
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
	err = flush(lines, len(entries)) // which updates written
	return written, err
}

// mend removes what follows the whole lines.
func (c *chain) mend() error {
	if !c.torn {
		return nil
	}
	err := c.file.Truncate(c.size)
	c.torn = err != nil
	return err
}

// rotate renames the file to a number and creates a new one. It removes the oldest file. If the
// process ends in between, the chain continues from the latest older file.
func (c *chain) rotate() error {
	if err := c.file.Sync(); err != nil {
		return err
	}
	name := fmt.Sprintf("%s.%d", c.cfg.Path, c.number)
	if _, err := os.Lstat(name); err == nil {
		return fmt.Errorf("%s already exists", name)
	}
	if err := os.Rename(c.cfg.Path, name); err != nil {
		return err
	}
	_ = c.file.Close() // already synchronised
	c.file, c.size = nil, 0
	for files := older(c.cfg.Path); len(files) > c.cfg.Keep; files = files[1:] {
		_ = os.Remove(files[0]) // the next rotation tries again
	}
	return c.create()
}

// create creates a new file.
func (c *chain) create() (err error) {
	if c.file, err = c.open(c.cfg.Path); err != nil {
		c.file = nil // a nil interface, not a nil *os.File in one
		return err
	}
	dir, err := os.Open(filepath.Dir(c.cfg.Path)) // synchronise the directory entry, too
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// replaced reports whether the file at the path is another one or missing, so that new lines
// would be lost.
func (c *chain) replaced() bool {
	there, err := os.Stat(c.cfg.Path)
	if err != nil {
		return os.IsNotExist(err)
	}
	ours, err := c.file.Stat()
	return err == nil && !os.SameFile(there, ours)
}

// reopen continues after a failure with the file now at the path.
func (c *chain) reopen() error {
	if c.file != nil {
		_ = c.file.Close() // after a failure
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
	if info.Size() == size || torn && info.Size() > size { // unchanged
		return f.Sync() // a failed write leaves this unknown
	}
	_ = f.Close() // resume opens it again
	c.file = nil
	if info.Size() == 0 {
		c.cfg.Log.Warn("started a new audit file: the old one was moved or removed", "file", c.cfg.Path)
	} else {
		c.cfg.Log.Warn("audit file was changed or replaced: continuing after its last line", "file", c.cfg.Path)
	}
	if _, err := c.resume(); err != nil {
		return err
	}
	if c.torn = false; c.number < number {
		c.number, c.last = number, last // never use a number twice
	}
	return nil
}

// older returns the older files, the oldest first.
func older(path string) []string {
	entries, _ := os.ReadDir(filepath.Dir(path)) // none if there is no such directory
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

// Config configures a [Log]. Zero fields take the defaults in the comments.
type Config struct {
	Path    string // of the current file; older ones have a number appended
	Key     []byte // HMAC key of the hashes; nil means plain hashes, which anyone can compute
	MaxSize int64  // of one file, in octets; default 100 MiB
	Keep    int    // older files kept; default 10
	Log     *slog.Logger

	strangers bool // records strangers only: nothing waits for its entries
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
