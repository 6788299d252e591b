package eventlog

import (
	"bytes"
	"fmt"
	"maps"
	"slices"

	"go.etcd.io/bbolt"
)

// Put keeps a value under a key in a bucket, in place of the one before, and returns when it is in the file, or why it
// is not. Values are not subject to [Limits]; the caller limits their number.
func (l *Log) Put(bucket, key string, value []byte) error {
	if len(value) > MaxData {
		return fmt.Errorf("a value of %d octets is too large; at most %d", len(value), MaxData)
	}
	return l.put(put{bucket: bucket, key: key, value: append([]byte{}, value...)})
}

// Delete removes a value, if there is one.
func (l *Log) Delete(bucket, key string) error { return l.put(put{bucket: bucket, key: key}) }

func (l *Log) put(p put) error {
	if n := len(p.key); n == 0 || n > maxName || p.bucket == "" || len(p.bucket) > maxName {
		return fmt.Errorf("no key: %.100q in bucket %.100q", p.key, p.bucket)
	}
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return ErrClosed
	}
	if l.store == nil {
		defer l.mu.Unlock()
		if p.value == nil {
			delete(l.values[p.bucket], p.key)
			return nil
		}
		if l.values[p.bucket] == nil {
			l.values[p.bucket] = map[string][]byte{}
		}
		l.values[p.bucket][p.key] = p.value
		return nil
	}
	p.done = make(chan error, 1)
	l.queue.puts = append(l.queue.puts, p) // as many as there are callers, who wait
	l.stir()
	l.mu.Unlock()
	return <-p.done
}

// carryOut stores or removes the value.
func (p put) carryOut(tx *bbolt.Tx) error {
	all := tx.Bucket(valuesBucket)
	if p.value != nil {
		b, err := all.CreateBucketIfNotExists([]byte(p.bucket))
		if err != nil {
			return err
		}
		return b.Put([]byte(p.key), p.value)
	}
	b := all.Bucket([]byte(p.bucket))
	if b == nil {
		return nil
	}
	if err := b.Delete([]byte(p.key)); err != nil {
		return err
	}
	if k, _ := b.Cursor().First(); k == nil {
		return all.DeleteBucket([]byte(p.bucket))
	}
	return nil
}

// Get returns a value; nil if there is none.
func (l *Log) Get(bucket, key string) (value []byte, err error) {
	if l.store == nil {
		l.mu.Lock()
		defer l.mu.Unlock()
		return bytes.Clone(l.values[bucket][key]), nil
	}
	err = inspect(l.store.db, func(tx *bbolt.Tx) error {
		if b := tx.Bucket(valuesBucket).Bucket([]byte(bucket)); b != nil {
			value = bytes.Clone(b.Get([]byte(key)))
		}
		return nil
	})
	return value, err
}

// List calls f with each value of a bucket, in order of keys, until f returns false. f gets the values that there were
// at the beginning, and may change them.
func (l *Log) List(bucket string, f func(key string, value []byte) bool) error {
	found, err := l.list(bucket)
	for _, p := range found {
		if !f(p.key, p.value) {
			break
		}
	}
	return err
}

func (l *Log) list(bucket string) (found []put, err error) {
	if l.store == nil {
		l.mu.Lock()
		defer l.mu.Unlock()
		for _, key := range slices.Sorted(maps.Keys(l.values[bucket])) {
			found = append(found, put{key: key, value: bytes.Clone(l.values[bucket][key])})
		}
		return found, nil
	}
	err = inspect(l.store.db, func(tx *bbolt.Tx) error {
		b := tx.Bucket(valuesBucket).Bucket([]byte(bucket))
		if b == nil {
			return nil
		}
		return b.ForEach(func(k, v []byte) error {
			found = append(found, put{key: string(k), value: append([]byte{}, v...)})
			return nil
		})
	})
	return found, err
}
