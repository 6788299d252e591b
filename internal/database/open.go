// Package database opens files of bbolt. bbolt trusts what is in a file; package database reads it before, so that a damaged
// one is an error.
package database

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime/debug"
	"syscall"
	"time"

	"go.etcd.io/bbolt"
	dberrors "go.etcd.io/bbolt/errors"
)

// ErrDamaged says that a file is no database, or not whole.
var ErrDamaged = errors.New("damaged")

const lockTimeout = 100 * time.Millisecond

// Guard turns faults that damaged pages cause into errors: bbolt panics, and memory that is mapped to a file can be
// behind its end.
func Guard(work func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%w: %v", ErrDamaged, p)
		}
	}()
	return work()
}

// Open opens a file, or creates it. It locks the file, and calls examine before bbolt reads it; nil: [Read] alone. It
// releases the file if that fails. The error is an ErrDamaged, one of the operating system, or says that another process has
// the file.
func Open(path string, options bbolt.Options, examine func(*os.File) error) (db *bbolt.DB, err error) {
	if examine == nil {
		examine = sound
	}
	var file *os.File
	options.Timeout, options.FreelistType = lockTimeout, bbolt.FreelistMapType
	options.OpenFile = func(name string, flag int, mode os.FileMode) (*os.File, error) {
		var err error
		if file, err = os.OpenFile(name, flag, mode); err == nil {
			err = syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) // bbolt would take it later
		}
		if err == nil {
			err = examine(file)
		}
		return file, err
	}
	err = Guard(func() error {
		db, err = bbolt.Open(path, 0o600, &options)
		return err
	})
	var onPath *fs.PathError
	var errno syscall.Errno
	switch {
	case err == nil:
		return db, nil
	case errors.Is(err, dberrors.ErrTimeout), errors.Is(err, syscall.EWOULDBLOCK):
		err = fmt.Errorf("%s is in use by another process", path)
	case errors.Is(err, ErrDamaged), errors.As(err, &onPath), errors.As(err, &errno):
	default:
		err = fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	if file != nil {
		_ = file.Close()
	}
	return nil, err
}

// sound reads a whole file, and reports what is wrong with it.
func sound(file *os.File) error {
	info, err := file.Stat()
	if err != nil || info.Size() == 0 {
		return err
	}
	return Read(file, info.Size(), func([]string, []byte, []byte) {})
}
