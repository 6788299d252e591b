package events

import (
	"slices"
	"sync"
)

// turns has the streams of one client read the log one at a time, so that a client with many streams, or with filters
// that nothing matches, does not keep others from their events.
type turns struct {
	mu sync.Mutex
	of map[string][]*Subscription // by client: the one whose turn it is, then those that wait for Wake
}

// take reports whether it is the turn of a subscription. If not, it is woken when it is.
func (t *turns) take(s *Subscription) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	row := t.of[s.want.Who]
	if !slices.Contains(row, s) {
		row = append(row, s)
		t.of[s.want.Who] = row
	}
	return row[0] == s
}

// give ends the turn of a subscription, or its waiting for one.
func (t *turns) give(s *Subscription) {
	if next := t.leave(s); next != nil {
		wake(s.recorder.log, next)
	}
}

// leave removes a subscription, and returns the one whose turn it is now, if that changes.
func (t *turns) leave(s *Subscription) (next *Subscription) {
	t.mu.Lock()
	defer t.mu.Unlock()
	row := t.of[s.want.Who]
	i := slices.Index(row, s)
	if i < 0 {
		return nil
	}
	if row = slices.Delete(row, i, i+1); len(row) == 0 {
		delete(t.of, s.want.Who)
		return nil
	}
	t.of[s.want.Who] = row
	if i > 0 {
		return nil
	}
	return row[0]
}
