package files

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// List describes files that have one entry on each line. Blank lines, and comments, which begin with #,
// may stand between them.
type List[E any] struct {
	Entries string                       // what the entries are, in the plural, for errors
	Key     string                       // what no two entries have in common, for errors
	Most    int                          // number of entries at most
	KeyOf   func(E) string               // the key of an entry
	Parse   func(line string) (E, error) // reads a line; its errors must not repeat the line, which can have secrets
	Format  func(E) (string, error)      // writes a line, without its end
}

// maxList is the maximum size of a list, in octets.
const maxList = 4 << 20

// Read reads a file. An error names file and line.
func (l *List[E]) Read(path string) ([]E, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	return l.Scan(path, f)
}

// Scan reads the content of a file. path is for errors.
func (l *List[E]) Scan(path string, r io.Reader) ([]E, error) {
	data, err := io.ReadAll(io.LimitReader(r, maxList+1))
	if err != nil {
		return nil, err
	}
	if len(data) > maxList {
		return nil, fmt.Errorf("%s: larger than %d octets", path, maxList)
	}
	var list []E
	there := map[string]bool{}
	number := 0
	for line := range strings.Lines(string(data)) {
		number++
		line = strings.TrimRight(line, "\r\n")
		if strings.TrimSpace(line) == "" || line[0] == '#' {
			continue
		}
		entry, err := l.Parse(line)
		if err != nil {
			return nil, fmt.Errorf("%s:%d: %w", path, number, err)
		}
		key := l.KeyOf(entry)
		if there[key] {
			return nil, fmt.Errorf("%s:%d: duplicate %s", path, number, l.Key)
		}
		there[key] = true
		if list = append(list, entry); len(list) > l.Most {
			return nil, fmt.Errorf("%s:%d: more than %d %s", path, number, l.Most, l.Entries)
		}
	}
	return list, nil
}

// Edit changes a file atomically: readers see the old or the new content, concurrent edits are
// serialised, and nothing changes if change fails. It creates a missing file, readable by its owner
// only. Comments are kept at the top.
func (l *List[E]) Edit(path string, change func([]E) ([]E, error)) error {
	folder, err := os.Open(filepath.Dir(path)) // lock the directory, since the file itself is replaced
	if err != nil {
		return err
	}
	defer func() { _ = folder.Close() }()
	if err := syscall.Flock(int(folder.Fd()), syscall.LOCK_EX); err != nil {
		return err
	}
	old, err := os.ReadFile(path)
	mode := os.FileMode(0o600)
	switch info, statErr := os.Stat(path); {
	case errors.Is(err, os.ErrNotExist):
	case err != nil:
		return err
	case statErr == nil:
		mode = info.Mode().Perm()
	}
	list, err := l.Scan(path, bytes.NewReader(old))
	if err != nil {
		return err
	}
	if list, err = change(list); err != nil {
		return err
	}
	var b bytes.Buffer
	for line := range strings.Lines(string(old)) {
		if strings.HasPrefix(line, "#") {
			b.WriteString(line)
		}
	}
	for _, entry := range list {
		line, err := l.Format(entry)
		if err != nil {
			return err
		}
		b.WriteString(line + "\n")
	}
	if _, err := l.Scan(path, bytes.NewReader(b.Bytes())); err != nil { // what cannot be read again is not written
		return err
	}
	return Replace(path, b.Bytes(), mode)
}
