package eventlog

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"log/slog"
	"os"
	"runtime/debug"
	"syscall"
	"time"

	"go.etcd.io/bbolt"
	dberrors "go.etcd.io/bbolt/errors"
)

// store is the file of a log. The writer's goroutine has its fields; read, get and list are for everybody.
type store struct {
	db   *bbolt.DB
	path string
	kept kept
	next uint64 // one more than the newest entry in the file
	boot bool   // the file says in which run of the machine it was written
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
	bootNote      = []byte("boot")
)

const (
	lockTimeout = 100 * time.Millisecond
	salvageOnce = 10_000  // entries in a transaction of salvage
	readAtOnce  = 1 << 20 // octets that one read returns before it stops
	head        = 16      // octets of an entry before its texts: checksum, time, lengths of device and kind
)

// errDamaged says that a file is no event log, or not whole.
var errDamaged = errors.New("damaged")

// guard turns faults that damaged pages cause into errors: bbolt panics, and memory that is mapped to a file can be
// behind its end.
func guard(work func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%w: %v", errDamaged, p)
		}
	}()
	return work()
}

// database opens a file. It releases the file if that fails.
func database(path string, options bbolt.Options) (db *bbolt.DB, err error) {
	var file *os.File
	options.Timeout = lockTimeout
	options.FreelistType = bbolt.FreelistMapType
	options.OpenFile = func(name string, flag int, mode os.FileMode) (_ *os.File, err error) {
		file, err = os.OpenFile(name, flag, mode)
		return file, err
	}
	err = guard(func() error {
		db, err = bbolt.Open(path, 0o600, &options)
		return err
	})
	var onPath *fs.PathError
	var errno syscall.Errno
	switch {
	case err == nil:
		return db, nil
	case errors.Is(err, dberrors.ErrTimeout):
		return nil, fmt.Errorf("%s is in use by another process", path)
	case errors.As(err, &onPath), errors.As(err, &errno), errors.Is(err, errDamaged):
	default:
		err = fmt.Errorf("%w: %w", errDamaged, err)
	}
	if file != nil {
		_ = file.Close()
	}
	return nil, err
}

// open opens or creates the file of a log.
func open(path string, unsynced bool, log *slog.Logger) (*store, error) {
	s, suspect, err := attempt(path, unsynced)
	if suspect != nil {
		var aside string
		if aside, err = setAside(path); err != nil {
			return nil, err
		}
		if s, _, err = attempt(path, unsynced); err != nil {
			return nil, err
		}
		entries, values, whole := s.salvage(aside)
		if errors.Is(suspect, errDamaged) || !whole {
			log.Error("event log is damaged; beginning a new one", "file", path, "aside", aside, "err", suspect, "entries", entries, "values", values)
		} else {
			_ = os.Remove(aside)
			log.Warn("event log may lack events", "file", path, "reason", suspect)
		}
		s.next = fresh(s.next - 1)
	}
	if err != nil {
		return nil, err
	}
	if _, err := os.Stat(s.mark()); err == nil {
		log.Warn("event log may lack events", "file", path, "reason", "it could not be written before the program ended")
		s.next = fresh(s.next - 1)
		_ = os.Remove(s.mark())
	}
	return s, nil
}

// errPower is why an unsynced file is not trusted although it can be read.
var errPower = errors.New("the machine stopped before the file was closed")

// attempt opens a file and reads all of it. suspect says why the file must be replaced; it is closed then.
func attempt(path string, unsynced bool) (s *store, suspect, err error) {
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
		if err := os.Chmod(path, 0o600); err != nil {
			return err
		}
		return db.Update(func(tx *bbolt.Tx) error {
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
	s.boot = unsynced
	if err == nil {
		err = guard(s.walk)
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

// walk reads all entries, and the keys of all values.
func (s *store) walk() error {
	return s.db.View(func(tx *bbolt.Tx) error {
		s.kept, s.next = kept{}, fresh(0)
		c := tx.Bucket(entriesBucket).Cursor()
		for k, v := c.First(); k != nil; k, v = c.Next() {
			e, err := decode(k, v)
			if err != nil {
				return err
			}
			if e.Seq <= s.kept.last {
				return fmt.Errorf("%w: entries are not in order", errDamaged)
			}
			s.kept.add(&e)
			s.next = e.Seq + 1
		}
		values := tx.Bucket(valuesBucket)
		return values.ForEachBucket(func(name []byte) error {
			return values.Bucket(name).ForEach(func(_, _ []byte) error { return nil })
		})
	})
}

func (k *kept) add(e *Entry) {
	if k.count++; k.count == 1 {
		k.first, k.since = e.Seq, e.Time
	}
	k.last = e.Seq
	k.octets += e.size()
}

// exceeds reports whether the oldest entry must go.
func (k *kept) exceeds(limits Limits, now time.Time) bool {
	return k.count > 0 && (k.count > limits.Entries || k.octets > limits.Octets || k.since.Before(now.Add(-limits.Age)))
}

// setAside gives a damaged file another name, and returns that.
func setAside(path string) (string, error) {
	aside := path + ".damaged-" + time.Now().UTC().Format("20060102T150405.000000")
	return aside, os.Rename(path, aside)
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
	err = guard(func() error {
		return old.View(func(tx *bbolt.Tx) error {
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
	})
	whole = whole && err == nil
	add()
	var puts []put
	err = guard(func() error {
		return old.View(func(tx *bbolt.Tx) error {
			all := tx.Bucket(valuesBucket)
			return all.ForEachBucket(func(name []byte) error {
				return all.Bucket(name).ForEach(func(k, v []byte) error {
					puts = append(puts, put{bucket: string(name), key: string(k), value: append([]byte{}, v...)})
					return nil
				})
			})
		})
	})
	whole = whole && err == nil
	if _, err := s.write(nil, puts, Limits{}); err != nil {
		return entries, 0, false
	}
	return entries, len(puts), whole
}

// mark is the name of an empty file that exists while readers have got entries that are not in the file.
func (s *store) mark() string { return s.path + ".unwritten" }

// close closes the file, after all of it is on the disk.
func (s *store) close() error {
	return guard(func() error {
		if !s.boot {
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
	err = guard(func() error {
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
			for _, p := range puts {
				if err := store1(tx, p); err != nil {
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
	err = guard(func() error {
		return s.db.View(func(tx *bbolt.Tx) error {
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
	})
	return entries, err
}

func key(seq uint64) []byte { return binary.BigEndian.AppendUint64(nil, seq) }

var checksums = crc32.MakeTable(crc32.Castagnoli)

// encode returns an entry as it is in the file.
func encode(e *Entry) []byte {
	b := make([]byte, 4, head+len(e.Device)+len(e.Kind)+len(e.Data))
	b = binary.BigEndian.AppendUint64(b, uint64(e.Time.UnixNano()))
	b = binary.BigEndian.AppendUint16(b, uint16(len(e.Device)))
	b = binary.BigEndian.AppendUint16(b, uint16(len(e.Kind)))
	b = append(b, e.Device...)
	b = append(b, e.Kind...)
	b = append(b, e.Data...)
	binary.BigEndian.PutUint32(b, checksum(key(e.Seq), b))
	return b
}

// checksum returns the checksum of an entry that stands under a key.
func checksum(k, v []byte) uint32 {
	return crc32.Update(crc32.Checksum(k, checksums), checksums, v[4:])
}

// decode reads an entry. It keeps nothing of its arguments.
func decode(k, v []byte) (Entry, error) {
	if len(k) != 8 || len(v) < head || checksum(k, v) != binary.BigEndian.Uint32(v) {
		return Entry{}, fmt.Errorf("%w: an entry has a wrong checksum", errDamaged)
	}
	device, kind := int(binary.BigEndian.Uint16(v[12:])), int(binary.BigEndian.Uint16(v[14:]))
	texts := v[head:]
	if device+kind > len(texts) {
		return Entry{}, fmt.Errorf("%w: an entry is too short", errDamaged)
	}
	return Entry{
		Seq:    binary.BigEndian.Uint64(k),
		Time:   entryTime(v),
		Device: string(texts[:device]),
		Kind:   string(texts[device : device+kind]),
		Data:   bytes.Clone(texts[device+kind:]),
	}, nil
}

func entryTime(v []byte) time.Time { return time.Unix(0, int64(binary.BigEndian.Uint64(v[4:]))) }
