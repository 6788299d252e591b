package webhook

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/tr87proxy/tr87proxy/internal/eventlog"
)

// Letter is a dead letter: an event that could not be delivered.
type Letter struct {
	ID       string          `json:"id"`       // of the event
	Device   string          `json:"device"`   // canonical
	Type     string          `json:"type"`     // of the event
	Time     time.Time       `json:"time"`     // of the event
	Died     time.Time       `json:"died"`     // when the last attempt had failed
	Attempts int             `json:"attempts"` // since the program started
	Reason   string          `json:"reason"`   // why the last one failed
	Event    json.RawMessage `json:"event"`
	Body     json.RawMessage `json:"body,omitempty"` // what is sent, if that was made of more events than this one
}

// The limits of the dead letters of a hook. The oldest go first.
const (
	mostLetters  = 1000
	lettersSized = 2 << 20 // octets
)

// ErrNone says that there is no such hook, or no such dead letter.
var ErrNone = errors.New("there is no such hook or dead letter")

// bury keeps an event that could not be delivered, if the owner may know it.
func (d *delivery) bury(e *eventlog.Entry, body []byte, attempts int, reason string) {
	if !d.sender.may(d.target.hook.Owner, e) { // nobody may read it
		return
	}
	letter := Letter{ID: strconv.FormatUint(e.Seq, 10), Device: e.Device, Type: e.Kind, Time: e.Time.UTC(), Died: time.Now().UTC(), Attempts: attempts, Reason: reason, Event: e.Data, Body: body}
	d.counts.dead.Add(1)
	d.log.Warn("webhook event not delivered: kept as dead letter", "event", letter.ID, "attempts", attempts, "reason", reason)
	data, err := json.Marshal(letter)
	if err == nil {
		var lost int64
		lost, err = d.letters.put(letterKey(e.Seq), data)
		d.counts.lost.Add(lost)
	}
	if err == nil {
		err = d.sender.trim(d.target.hook.Owner)
	}
	if err != nil {
		d.log.Error("could not store the state of a webhook", "err", err)
	}
}

func letterKey(seq uint64) string { return fmt.Sprintf("%020d", seq) }

// letters are the dead letters of a hook.
type letters struct {
	log    *eventlog.Log
	bucket string

	mu     sync.Mutex
	sizes  map[string]int // octets by key; nil: not read yet
	octets int
}

// load reads the sizes. Callers hold mu.
func (l *letters) load() error {
	if l.sizes != nil {
		return nil
	}
	sizes, octets := map[string]int{}, 0
	err := l.log.List(l.bucket, func(key string, value []byte) bool {
		sizes[key] = len(value)
		octets += len(value)
		return true
	})
	if err == nil {
		l.sizes, l.octets = sizes, octets
	}
	return err
}

// count returns how many letters there are; 0 if they cannot be read.
func (l *letters) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	_ = l.load() // put, which needs it, says why not
	return len(l.sizes)
}

// put stores a letter, and drops the oldest ones if there are too many. It returns how many it has dropped.
func (l *letters) put(key string, data []byte) (dropped int64, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.log.Put(l.bucket, key, data); err != nil {
		return 0, err
	}
	if err := l.load(); err != nil {
		return 0, err
	}
	l.octets += len(data) - l.sizes[key]
	l.sizes[key] = len(data)
	for len(l.sizes) > 1 && (len(l.sizes) > mostLetters || l.octets > lettersSized) {
		if err := l.remove(l.oldest()); err != nil {
			return dropped, err
		}
		dropped++
	}
	return dropped, nil
}

// oldest returns the key of the oldest letter; "" if there is none. Callers hold mu.
func (l *letters) oldest() string {
	if len(l.sizes) == 0 {
		return ""
	}
	return slices.Min(slices.Collect(maps.Keys(l.sizes)))
}

// drop removes a letter.
func (l *letters) drop(key string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.remove(key)
}

// remove is drop for callers that hold mu.
func (l *letters) remove(key string) error {
	if err := l.log.Delete(l.bucket, key); err != nil {
		return err
	}
	l.octets -= l.sizes[key]
	delete(l.sizes, key)
	return nil
}

// Dead returns the dead letters of a hook, the oldest first: all of them, or those that its owner may know now.
func (s *Sender) Dead(owner, name string, all bool) ([]Letter, error) {
	d := s.find(owner, name)
	if d == nil {
		return nil, ErrNone
	}
	list := []Letter{}
	err := s.log.List(d.letters.bucket, func(_ string, value []byte) bool {
		var l Letter
		if json.Unmarshal(value, &l) == nil && (all || s.may(owner, &eventlog.Entry{Time: l.Time, Device: l.Device, Kind: l.Type, Data: l.Event})) {
			list = append(list, l)
		}
		return true
	})
	return list, err
}

// Drop removes a dead letter.
func (s *Sender) Drop(owner, name, letter string) error {
	d, key, _, err := s.letter(owner, name, letter)
	if err != nil {
		return err
	}
	return d.letters.drop(key)
}

// Replay sends a dead letter once more, and removes it if the receiver takes it. Otherwise it returns why not.
func (s *Sender) Replay(ctx context.Context, owner, name, letter string) error {
	d, key, l, err := s.letter(owner, name, letter)
	if err != nil {
		return err
	}
	seq, err := strconv.ParseUint(l.ID, 10, 64)
	if err != nil {
		return err
	}
	e := &eventlog.Entry{Seq: seq, Time: l.Time, Device: l.Device, Kind: l.Type, Data: l.Event}
	if !s.may(owner, e) {
		return errors.New("the owner of the hook may not observe the device")
	}
	if _, r := d.send(ctx, e, l.Body); r.reason != "" {
		d.counts.failed.Add(1)
		return errors.New(r.reason)
	}
	d.counts.delivered.Add(1)
	select {
	case d.replayed <- struct{}{}:
	default:
	}
	return d.letters.drop(key)
}

// letter returns a dead letter and its hook.
func (s *Sender) letter(owner, name, letter string) (d *delivery, key string, l Letter, err error) {
	seq, err := strconv.ParseUint(letter, 10, 64)
	if d = s.find(owner, name); err != nil || d == nil {
		return nil, "", Letter{}, ErrNone
	}
	key = letterKey(seq)
	data, err := s.log.Get(d.letters.bucket, key)
	if err == nil && data == nil {
		err = ErrNone
	}
	if err == nil {
		err = json.Unmarshal(data, &l)
	}
	return d, key, l, err
}
