package eventlog

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"go.etcd.io/bbolt"
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
		if errors.Is(suspect, errDamaged) || !whole {
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
	before := int64(0)
	if info, err := os.Stat(path); err == nil { //nolint:gosec // the user names the file
		before = info.Size()
	}
	db, err := database(path, bbolt.Options{NoSync: unsynced, NoGrowSync: unsynced})
	if errors.Is(err, errDamaged) {
		return nil, err, nil
	}
	if err != nil {
		return nil, nil, err
	}
	s = &store{db: db, path: path}
	var old []byte
	boot := bootID()
	err = guard(func() error {
		if err := os.Chmod(path, 0o600); err != nil { //nolint:gosec // the user names the file
			return err
		}
		return db.Update(func(tx *bbolt.Tx) error {
			if before > newFile && tx.Bucket(notesBucket) == nil {
				return fmt.Errorf("%w: everything is missing", errDamaged)
			}
			for _, name := range [][]byte{entriesBucket, valuesBucket, notesBucket} {
				if _, err := tx.CreateBucketIfNotExists(name); err != nil {
					return err
				}
			}
			notes := tx.Bucket(notesBucket)
			if old = bytes.Clone(notes.Get(bootNote)); !unsynced {
				return notes.Delete(bootNote)
			}
			return notes.Put(bootNote, boot)
		})
	})
	if err == nil {
		err = s.walk()
	}
	if err == nil && old != nil && !bytes.Equal(old, boot) {
		err = errPower
	}
	if err == nil {
		return s, nil, nil
	}
	_ = guard(db.Close)
	if errors.Is(err, errDamaged) || errors.Is(err, errPower) {
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
	old, err := database(path, bbolt.Options{ReadOnly: true})
	if err != nil {
		return 0, 0, false
	}
	defer func() { _ = guard(old.Close) }()
	var found []Entry
	last := uint64(0)
	add := func() {
		if _, err := s.write(found, nil, Limits{}); err == nil {
			entries += len(found)
		} else {
			whole = false
		}
		found = nil
	}
	whole = true
	err = inspect(old, func(tx *bbolt.Tx) error {
		c := tx.Bucket(entriesBucket).Cursor()
		for k, v := c.First(); k != nil; k, v = c.Next() {
			e, err := decode(k, v)
			if err != nil || e.Seq <= last {
				whole = false
				continue
			}
			last = e.Seq
			if found = append(found, e); len(found) == salvageOnce {
				add()
			}
		}
		return nil
	})
	whole = whole && err == nil
	add()
	var puts []put
	err = inspect(old, func(tx *bbolt.Tx) error {
		all := tx.Bucket(valuesBucket)
		return all.ForEachBucket(func(name []byte) error {
			return all.Bucket(name).ForEach(func(k, v []byte) error {
				puts = append(puts, put{bucket: string(name), key: string(k), value: append([]byte{}, v...)})
				return nil
			})
		})
	})
	whole = whole && err == nil
	if _, err := s.write(nil, puts, Limits{}); err != nil {
		return entries, 0, false
	}
	return entries, len(puts), whole
}
