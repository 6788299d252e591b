// Package files replaces files as a whole, and tells when they have changed.
package files

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// Replace puts a new file in the place of an old one: whoever reads it sees the old or the
// new one, and the owner stays, for root edits what a service's user reads.
func Replace(path string, data []byte, mode os.FileMode) error {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(f.Name()) }() // gone when all went well
	if owner, err := os.Stat(path); err == nil {
		if sys, ok := owner.Sys().(*syscall.Stat_t); ok {
			_ = f.Chown(int(sys.Uid), int(sys.Gid)) // who is not root cannot
		}
	}
	_, err = f.Write(data)
	if err := errors.Join(err, f.Chmod(mode), f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}

// Stamp tells one content of a file from another.
type Stamp struct {
	changed time.Time
	size    int64
}

// StampOf returns the stamp of a file as it is; the zero value for one that cannot be seen.
func StampOf(path string) Stamp {
	info, err := os.Stat(path)
	if err != nil {
		return Stamp{}
	}
	return Stamp{info.ModTime(), info.Size()}
}
