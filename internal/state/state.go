// Package state keeps values in a file that survives a crash: JSON, by bucket and name.
package state

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync"

	"go.etcd.io/bbolt"

	"github.com/tr87proxy/tr87proxy/internal/database"
)

// File is an open file. One goroutine of its own writes it: of each name the last value. The methods of
// nil keep nothing.
type File struct {
	db  *bbolt.DB
	log *slog.Logger
	key []byte

	mu      sync.Mutex
	pending map[string]map[string]any // by bucket and name
	wake    chan struct{}
	done    chan struct{}
	group   sync.WaitGroup
}

// seals is the bucket that holds the key.
const seals = "seals"

// Open opens a file with such buckets, or creates it. It fails when another process has it open. Close it
// when nothing is kept any more.
func Open(path string, log *slog.Logger, buckets ...string) (*File, error) {
	db, err := database.Open(path, bbolt.Options{}, nil)
	switch {
	case errors.Is(err, database.ErrDamaged):
		return nil, fmt.Errorf("%s is no state file, or damaged; move it away to begin a new one: %w", path, err)
	case err != nil:
		return nil, err
	}
	key := make([]byte, sha256.Size)
	_, _ = rand.Read(key)
	err = db.Update(func(tx *bbolt.Tx) error {
		for _, name := range append(buckets, seals) {
			if _, err := tx.CreateBucketIfNotExists([]byte(name)); err != nil {
				return err
			}
		}
		bucket := tx.Bucket([]byte(seals))
		if old := bucket.Get([]byte("key")); len(old) == len(key) {
			copy(key, old)
			return nil
		}
		return bucket.Put([]byte("key"), key)
	})
	if err != nil {
		_ = db.Close()
		return nil, err
	}
	f := &File{db: db, log: log, key: key, pending: map[string]map[string]any{}, wake: make(chan struct{}, 1), done: make(chan struct{})}
	f.group.Go(f.run)
	return f, nil
}

// Key returns a random key that the file was created with, and has kept since; nil without a file.
func (f *File) Key() []byte {
	if f == nil {
		return nil
	}
	return f.key
}

// Load returns the values of a bucket, by name. A value that cannot be read is left out, and logged.
func Load[T any](f *File, bucket string) map[string]T {
	values := map[string]T{}
	if f == nil {
		return values
	}
	err := f.db.View(func(tx *bbolt.Tx) error {
		return tx.Bucket([]byte(bucket)).ForEach(func(name, data []byte) error {
			var value T
			if err := json.Unmarshal(data, &value); err != nil {
				f.log.Error("stored value is unreadable", "bucket", bucket, "name", string(name), "err", err)
				return nil
			}
			values[string(name)] = value
			return nil
		})
	})
	if err != nil {
		f.log.Error("state file is unreadable", "bucket", bucket, "err", err)
	}
	return values
}

// Keep keeps a value under a name, in place of the one before: at once where now says so, otherwise with
// the next value that is, or at the next Flush.
func (f *File) Keep(bucket, name string, value any, now bool) {
	if f == nil {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.pending[bucket] == nil {
		f.pending[bucket] = map[string]any{}
	}
	f.pending[bucket][name] = value
	if now {
		f.Flush()
	}
}

// Flush writes what is pending. It does not wait until that is written.
func (f *File) Flush() {
	if f == nil {
		return
	}
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

func (f *File) run() {
	for {
		select {
		case <-f.wake:
			f.write()
		case <-f.done:
			f.write()
			return
		}
	}
}

// write writes what is pending, in one transaction.
func (f *File) write() {
	f.mu.Lock()
	pending := f.pending
	f.pending = map[string]map[string]any{}
	f.mu.Unlock()
	if len(pending) == 0 {
		return
	}
	err := f.db.Update(func(tx *bbolt.Tx) error {
		for bucket, values := range pending {
			for name, value := range values {
				data, err := json.Marshal(value)
				if err != nil {
					return err
				}
				if err := tx.Bucket([]byte(bucket)).Put([]byte(name), data); err != nil {
					return err
				}
			}
		}
		return nil
	})
	if err != nil {
		f.log.Error("could not write state file", "err", err)
	}
}

// Close writes what is pending, and closes the file.
func (f *File) Close() {
	if f == nil {
		return
	}
	close(f.done)
	f.group.Wait()
	if err := f.db.Close(); err != nil {
		f.log.Error("could not close state file", "err", err)
	}
}
