package eventlog

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"go.etcd.io/bbolt"

	"github.com/tr87proxy/tr87proxy/internal/database"
)

// store is the file of a log. The writer's goroutine has its fields; read, get and list are for everybody.
type store struct {
	db   *bbolt.DB
	path string
	kept kept
	next uint64 // one more than the newest entry in the file
}

// kept describes the entries in a file.
type kept struct {
	count  int
	octets int64
	first  uint64    // number of the oldest
	since  time.Time // its time
	last   uint64    // number of the newest
}

// The buckets: entries by number, a bucket of values for each name, and what the log notes about itself.
var (
	entriesBucket = []byte("entries")
	valuesBucket  = []byte("values")
	notesBucket   = []byte("notes")
	bootNote      = []byte("boot") // in which run of the machine an unsynced log was written
	keptNote      = []byte("kept") // what there is, which shows whether all of it can be found
)

const (
	newFile     = 64 << 10 // a larger file has been written to
	salvageOnce = 16 << 20 // octets of entries in a transaction of salvage
	readAtOnce  = 1 << 20  // octets that one read returns before it stops
)

// inspect reads a file.
func inspect(db *bbolt.DB, work func(*bbolt.Tx) error) error {
	return database.Guard(func() error { return db.View(work) })
}

// contents is what a file has: its entries, and what the log has noted.
type contents struct {
	kept kept
	next uint64 // one more than the newest entry
	boot []byte // in which run of the machine an unsynced log was written; nil: the file was closed, or is synced
}

// examine reads a whole file, before bbolt does.
func examine(file *os.File) (contents, error) {
	c := contents{next: fresh(0)}
	info, err := file.Stat()
	if err != nil || info.Size() == 0 {
		return c, err
	}
	var note []byte
	var wrong error
	err = database.Read(file, info.Size(), func(path []string, key, value []byte) {
		switch name := strings.Join(path, "/"); {
		case name == string(entriesBucket):
			e, err := decode(key, value)
			if err != nil {
				wrong = err
				return
			}
			c.kept.add(&e)
			c.next = e.Seq + 1
		case name == string(notesBucket) && bytes.Equal(key, bootNote):
			c.boot = bytes.Clone(value)
		case name == string(notesBucket) && bytes.Equal(key, keptNote):
			note = bytes.Clone(value)
		case name == string(notesBucket) || len(path) == 2 && path[0] == string(valuesBucket):
		default:
			wrong = fmt.Errorf("%w: it is no event log", database.ErrDamaged)
		}
	})
	if err = errors.Join(err, wrong); err != nil {
		return contents{}, err
	}
	if len(note) == 8+8+8 && c.kept.count == 0 {
		c.next = binary.BigEndian.Uint64(note)
	}
	if (note != nil || c.kept.count > 0 || info.Size() > newFile) && !bytes.Equal(note, c.kept.note(c.next)) {
		return contents{}, fmt.Errorf("%w: entries are missing", database.ErrDamaged)
	}
	return c, nil
}

func (k *kept) add(e *Entry) {
	if k.count++; k.count == 1 {
		k.first, k.since = e.Seq, e.Time
	}
	k.last = e.Seq
	k.octets += e.size()
}

// note returns what the file says about the entries: the number of the next one, how many there are, and their size.
func (k *kept) note(next uint64) []byte {
	b := binary.BigEndian.AppendUint64(nil, next)
	b = binary.BigEndian.AppendUint64(b, uint64(k.count))
	return binary.BigEndian.AppendUint64(b, uint64(k.octets))
}

// exceeds reports whether the oldest entry must go.
func (k *kept) exceeds(limits Limits, now time.Time) bool {
	return k.count > 0 && (k.count > limits.Entries || k.octets > limits.Octets || k.since.Before(now.Add(-limits.Age)))
}

// mark is the name of an empty file that exists while readers have got entries that are not in the file.
func (s *store) mark() string { return s.path + ".unwritten" }

// close closes the file, after all of it is on the disk.
func (s *store) close() error {
	return database.Guard(func() error {
		if !s.db.NoSync { // the file does not say in which run of the machine it was written
			return s.db.Close()
		}
		err := s.db.Sync()
		if err == nil {
			err = s.db.Update(func(tx *bbolt.Tx) error { return tx.Bucket(notesBucket).Delete(bootNote) })
		}
		if err == nil {
			err = s.db.Sync()
		}
		return errors.Join(err, s.db.Close())
	})
}

// write adds entries and values in one transaction, which also drops what exceeds limits; limits of zero drop nothing.
// more says that it has not dropped everything that does.
func (s *store) write(entries []Entry, puts []put, limits Limits) (more bool, err error) {
	var now kept
	next := s.next
	err = database.Guard(func() error {
		return s.db.Update(func(tx *bbolt.Tx) error {
			now = s.kept
			b := tx.Bucket(entriesBucket)
			b.FillPercent = 0.95 // keys only grow
			for i := range entries {
				e := &entries[i]
				if err := b.Put(key(e.Seq), encode(e)); err != nil {
					return err
				}
				now.add(e)
				next = e.Seq + 1
			}
			if limits != (Limits{}) {
				var err error
				if more, err = trim(b, &now, limits, 2*len(entries)+atLeast); err != nil {
					return err
				}
			}
			if err := tx.Bucket(notesBucket).Put(keptNote, now.note(next)); err != nil {
				return err
			}
			for _, p := range puts {
				if err := p.carryOut(tx); err != nil {
					return err
				}
			}
			return nil
		})
	})
	if err != nil {
		return false, err
	}
	s.kept, s.next = now, next
	return more, nil
}

// trim drops at most so many entries, and reports whether there are more to drop.
func trim(b *bbolt.Bucket, k *kept, limits Limits, most int) (more bool, err error) {
	now := time.Now()
	if !k.exceeds(limits, now) {
		return false, nil
	}
	var gone [][]byte
	c := b.Cursor()
	for key, v := c.First(); key != nil; key, v = c.Next() {
		k.first, k.since = binary.BigEndian.Uint64(key), entryTime(v)
		if !k.exceeds(limits, now) || len(gone) == most {
			break
		}
		gone = append(gone, bytes.Clone(key))
		k.count--
		k.octets -= int64(len(v) - head + overhead)
	}
	for _, key := range gone {
		if err := b.Delete(key); err != nil {
			return false, err
		}
	}
	return k.exceeds(limits, now), nil
}

// read returns consecutive entries from a number to another, or from the next one that there is. With an error it
// returns what it could read before.
func (s *store) read(from, last uint64, most int) (entries []Entry, err error) {
	err = inspect(s.db, func(tx *bbolt.Tx) error {
		size := int64(0)
		c := tx.Bucket(entriesBucket).Cursor()
		for k, v := c.Seek(key(from)); k != nil && len(entries) < most && size < readAtOnce; k, v = c.Next() {
			e, err := decode(k, v)
			if err != nil {
				return err
			}
			if n := len(entries); e.Seq > last || n > 0 && e.Seq != entries[n-1].Seq+1 {
				break
			}
			entries = append(entries, e)
			size += e.size()
		}
		return nil
	})
	return entries, err
}
