// Package files replaces files atomically, detects changes of files, and keeps lists in files.
package files

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// Replace replaces a file atomically: readers see the old or the new content. It keeps the
// owner, because root may edit what a service's user reads.
func Replace(path string, data []byte, mode os.FileMode) error {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(f.Name()) }() // does nothing after the rename
	if owner, err := os.Stat(path); err == nil {
		if sys, ok := owner.Sys().(*syscall.Stat_t); ok {
			_ = f.Chown(int(sys.Uid), int(sys.Gid)) // only root may
		}
	}
	_, err = f.Write(data)
	if err := errors.Join(err, f.Chmod(mode), f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}

// Stamp identifies the content of a file by its metadata. It is comparable.
type Stamp struct {
	changed time.Time
	size    int64
	inode   uint64 // two replacements within a tick of the file system's clock differ in it
}

// StampOf returns the current stamp of a file, or the zero value if it cannot be read.
func StampOf(path string) Stamp {
	info, err := os.Stat(path)
	if err != nil {
		return Stamp{}
	}
	return stampOf(info)
}

func stampOf(info os.FileInfo) Stamp {
	s := Stamp{changed: info.ModTime(), size: info.Size()}
	if sys, ok := info.Sys().(*syscall.Stat_t); ok {
		s.inode = sys.Ino
	}
	return s
}
