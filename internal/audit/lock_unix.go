//go:build darwin || dragonfly || freebsd || illumos || linux || netbsd || openbsd

package audit

import (
	"errors"
	"os"
	"syscall"
)

// lock locks a file until it is closed. It returns false if another process holds the lock. A
// file system without locks allows any number of writers.
func lock(f *os.File) (free bool) {
	return !errors.Is(syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB), syscall.EWOULDBLOCK)
}

// The modes of access(2).
const (
	toWrite  = 2
	toSearch = 1
)

// writable returns why we may not write to a file; nil if we may.
func writable(path string) error { return syscall.Access(path, toWrite) }

// creatable returns why we may not create files in a directory; nil if we may.
func creatable(dir string) error { return syscall.Access(dir, toWrite|toSearch) }
