package phones

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"go.etcd.io/bbolt"
	dberrors "go.etcd.io/bbolt/errors"

	"github.com/tr87proxy/tr87proxy/softswitch"
)

// store keeps what outlives a restart. What is to be kept is written by one goroutine: of
// each extension the last word.
type store struct {
	db  *bbolt.DB
	log *slog.Logger
	key []byte // of seals

	mu      sync.Mutex
	pending map[string]map[string]any // by bucket and extension
	wake    chan struct{}
	done    chan struct{}
	group   sync.WaitGroup
}

const (
	featuresBucket = "features"
	bindingsBucket = "bindings"
	sealsBucket    = "seals" // the key of seals
)

// kept is a registration as it is kept.
type kept struct {
	Contact  string
	Source   string // host:port that it came from, over UDP
	CallID   string
	CSeq     uint32
	Instance string
	Expires  time.Time
	Talks    bool
	Agent    string
	Seal     string // of the password that it was made with; "" in files of older versions
}

func openStore(path string, log *slog.Logger) (*store, error) {
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{Timeout: time.Second})
	if errors.Is(err, dberrors.ErrTimeout) {
		err = fmt.Errorf("%s is in use by another process", path)
	}
	if err != nil {
		return nil, err
	}
	key := make([]byte, sha256.Size)
	_, _ = rand.Read(key)
	err = db.Update(func(tx *bbolt.Tx) error {
		for _, name := range []string{featuresBucket, bindingsBucket, sealsBucket} {
			if _, err := tx.CreateBucketIfNotExists([]byte(name)); err != nil {
				return err
			}
		}
		seals := tx.Bucket([]byte(sealsBucket))
		if old := seals.Get([]byte("key")); len(old) == len(key) {
			copy(key, old)
			return nil
		}
		return seals.Put([]byte("key"), key)
	})
	if err != nil {
		_ = db.Close()
		return nil, err
	}
	s := &store{db: db, log: log, key: key, pending: map[string]map[string]any{}, wake: make(chan struct{}, 1), done: make(chan struct{})}
	s.group.Go(s.run)
	return s, nil
}

// seal tells one password of a user from another, and not the password: registrations that
// were made with another one do not outlive a restart.
func (s *store) seal(u *user) string {
	if s == nil {
		return ""
	}
	mac := hmac.New(sha256.New, s.key)
	fmt.Fprintf(mac, "%q|%q|%s", u.Number, u.Name, u.password())
	return hex.EncodeToString(mac.Sum(nil))
}

// load reads everything. What cannot be read is left out, and said.
func (s *store) load() ([]softswitch.Features, map[string][]kept) {
	var features []softswitch.Features
	bindings := map[string][]kept{}
	err := s.db.View(func(tx *bbolt.Tx) error {
		err := tx.Bucket([]byte(featuresBucket)).ForEach(func(number, value []byte) error {
			var f softswitch.Features
			if err := json.Unmarshal(value, &f); err != nil {
				s.log.Error("features kept are not readable", "device", string(number), "err", err)
				return nil
			}
			features = append(features, f)
			return nil
		})
		if err != nil {
			return err
		}
		return tx.Bucket([]byte(bindingsBucket)).ForEach(func(number, value []byte) error {
			var list []kept
			if err := json.Unmarshal(value, &list); err != nil {
				s.log.Error("registrations kept are not readable", "device", string(number), "err", err)
				return nil
			}
			bindings[string(number)] = list
			return nil
		})
	})
	if err != nil {
		s.log.Error("state is not readable", "err", err)
	}
	return features, bindings
}

func (s *store) keepFeatures(f softswitch.Features) { s.keep(featuresBucket, f.Device, f, true) }

// keepBindings keeps registrations. Those that are only longer now are not worth a write of
// their own: they wait for the next, or for flush.
func (s *store) keepBindings(number string, list []kept, changed bool) {
	s.keep(bindingsBucket, number, list, changed)
}

func (s *store) keep(bucket, number string, value any, now bool) {
	if s == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.pending[bucket] == nil {
		s.pending[bucket] = map[string]any{}
	}
	s.pending[bucket][number] = value
	if now {
		s.flush()
	}
}

// flush has what is pending written.
func (s *store) flush() {
	if s == nil {
		return
	}
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

func (s *store) run() {
	for {
		select {
		case <-s.wake:
			s.write()
		case <-s.done:
			s.write()
			return
		}
	}
}

// write writes what is pending, as one transaction.
func (s *store) write() {
	s.mu.Lock()
	pending := s.pending
	s.pending = map[string]map[string]any{}
	s.mu.Unlock()
	if len(pending) == 0 {
		return
	}
	err := s.db.Update(func(tx *bbolt.Tx) error {
		for bucket, values := range pending {
			for number, value := range values {
				data, err := json.Marshal(value)
				if err != nil {
					return err
				}
				if err := tx.Bucket([]byte(bucket)).Put([]byte(number), data); err != nil {
					return err
				}
			}
		}
		return nil
	})
	if err != nil {
		s.log.Error("state not written", "err", err)
	}
}

func (s *store) close() {
	if s == nil {
		return
	}
	close(s.done)
	s.group.Wait()
	if err := s.db.Close(); err != nil {
		s.log.Error("state not closed", "err", err)
	}
}
