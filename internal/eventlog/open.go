package eventlog

import (
	"bytes"
	"crypto/rand"
	"errors"
	"log/slog"
	"os"
	"time"

	"go.etcd.io/bbolt"

	"github.com/tr87proxy/tr87proxy/internal/database"
)

// open opens or creates the file of a log.
func open(path string, unsynced bool, log *slog.Logger) (*store, error) {
	s, suspect, err := attempt(path, unsynced)
	if suspect != nil {
		var aside string
		if aside, err = setAside(path); err != nil {
			return nil, err
		}
		var again error
		if s, again, err = attempt(path, unsynced); again != nil || err != nil {
			return nil, errors.Join(again, err)
		}
		entries, values, whole := s.salvage(aside)
		if errors.Is(suspect, database.ErrDamaged) || !whole {
			log.Error("event log is damaged; beginning a new one", "file", path, "aside", aside, "err", suspect, "entries", entries, "values", values)
		} else {
			_ = os.Remove(aside) //nolint:gosec // the user names the file
			log.Warn("event log may lack events", "file", path, "reason", suspect)
		}
		s.next = fresh(s.next - 1)
	}
	if err != nil {
		return nil, err
	}
	if _, err := os.Stat(s.mark()); err == nil { //nolint:gosec // the user names the file
		log.Warn("event log may lack events", "file", path, "reason", "it could not be written before the program ended")
		s.next = fresh(s.next - 1)
		_ = os.Remove(s.mark()) //nolint:gosec // the user names the file
	}
	return s, nil
}

// errPower is why an unsynced file is not trusted although it can be read.
var errPower = errors.New("the machine stopped before the file was closed")

// attempt opens a file and reads all of it. suspect says why the file must be replaced; it is closed then.
func attempt(path string, unsynced bool) (s *store, suspect, err error) {
	var found contents
	db, err := database.Open(path, bbolt.Options{NoSync: unsynced, NoGrowSync: unsynced}, func(file *os.File) (err error) {
		found, err = examine(file)
		return err
	})
	if errors.Is(err, database.ErrDamaged) {
		return nil, err, nil
	}
	if err != nil {
		return nil, nil, err
	}
	boot := bootID()
	if found.boot != nil && !bytes.Equal(found.boot, boot) {
		_ = database.Guard(db.Close)
		return nil, errPower, nil
	}
	err = database.Guard(func() error {
		if err := os.Chmod(path, 0o600); err != nil { //nolint:gosec // the user names the file
			return err
		}
		return db.Update(func(tx *bbolt.Tx) error {
			for _, name := range [][]byte{entriesBucket, valuesBucket, notesBucket} {
				if _, err := tx.CreateBucketIfNotExists(name); err != nil {
					return err
				}
			}
			notes := tx.Bucket(notesBucket)
			if !unsynced {
				return notes.Delete(bootNote)
			}
			return notes.Put(bootNote, boot)
		})
	})
	if err == nil {
		return &store{db: db, path: path, kept: found.kept, next: found.next}, nil, nil
	}
	_ = database.Guard(db.Close)
	if errors.Is(err, database.ErrDamaged) {
		return nil, err, nil
	}
	return nil, nil, err
}

// bootID identifies the run of the machine; if it has no identity, a new one each time.
func bootID() []byte {
	if id, err := os.ReadFile("/proc/sys/kernel/random/boot_id"); err == nil {
		return id
	}
	return []byte(rand.Text())
}

// setAside gives a damaged file another name, and returns that.
func setAside(path string) (string, error) {
	aside := path + ".damaged-" + time.Now().UTC().Format("20060102T150405.000000")
	return aside, os.Rename(path, aside) //nolint:gosec // the user names the file
}

// salvage adds what can be read of a damaged file, and reports whether that was all.
func (s *store) salvage(path string) (entries, values int, whole bool) {
	old, err := os.Open(path) //nolint:gosec // the user names the file
	if err != nil {
		return 0, 0, false
	}
	defer old.Close()
	info, err := old.Stat()
	if err != nil {
		return 0, 0, false
	}
	whole = true
	var found []Entry
	var puts []put
	last, size := uint64(0), int64(0)
	add := func() {
		if _, err := s.write(found, nil, Limits{}); err == nil {
			entries += len(found)
		} else {
			whole = false
		}
		found, size = nil, 0
	}
	err = database.Read(old, info.Size(), func(path []string, key, value []byte) {
		if len(path) == 2 && path[0] == string(valuesBucket) && len(path[1]) <= maxName && len(key) <= maxName {
			puts = append(puts, put{bucket: path[1], key: string(key), value: append([]byte{}, value...)})
		}
		if len(path) != 1 || path[0] != string(entriesBucket) {
			return
		}
		e, err := decode(key, value)
		if err != nil || e.Seq <= last {
			whole = false
			return
		}
		last = e.Seq
		found = append(found, e)
		if size += e.size(); size > salvageOnce {
			add()
		}
	})
	add()
	whole = whole && err == nil
	if _, err := s.write(nil, puts, Limits{}); err != nil {
		return entries, 0, false
	}
	return entries, len(puts), whole
}
