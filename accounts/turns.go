package accounts

import (
	"context"
	"net/netip"
	"sync"

	"github.com/tr87proxy/tr87proxy/share"
)

// turns lets few do at a time what takes a processor, each peer in its turn: who comes with
// very many waits for itself. The zero value must be told how many are free.
type turns struct {
	mu      sync.Mutex
	free    int
	waiting int
	queues  map[netip.Prefix]*queue
	order   []*queue // those that somebody waits in; the first is served next
}

// queue is who waits of one peer.
type queue struct {
	peer netip.Prefix
	list []chan error
}

const (
	maxWaiting  = 256 // in all
	peerWaiting = 128 // of one peer
)

// take waits for a turn, which must be given back. It says ErrBusy where too many wait, or if
// the place is needed for a peer with fewer, and what ended ctx.
func (t *turns) take(ctx context.Context, from netip.Addr) error {
	t.mu.Lock()
	if t.free > 0 {
		t.free--
		t.mu.Unlock()
		return nil
	}
	turn := t.wait(share.Of(from))
	t.mu.Unlock()
	if turn == nil {
		return ErrBusy
	}
	select {
	case err := <-turn:
		return err
	case <-ctx.Done():
	}
	if !t.leave(share.Of(from), turn) { // it has come just now, or was refused
		if err := <-turn; err == nil {
			t.give()
		}
	}
	return ctx.Err()
}

// wait takes a place in a peer's queue, nil where there is none. Callers hold t.mu.
func (t *turns) wait(peer netip.Prefix) chan error {
	q := t.queues[peer]
	if q == nil {
		q = &queue{peer: peer}
	}
	if len(q.list) >= peerWaiting {
		return nil
	}
	if t.waiting >= maxWaiting {
		longest := q
		for _, other := range t.order {
			if len(other.list) > len(longest.list) {
				longest = other
			}
		}
		if len(longest.list) <= len(q.list)+1 { // it would not be fairer
			return nil
		}
		last := len(longest.list) - 1
		longest.list[last] <- ErrBusy
		longest.list = longest.list[:last]
		t.waiting--
	}
	if len(q.list) == 0 {
		if t.queues == nil {
			t.queues = map[netip.Prefix]*queue{}
		}
		t.queues[peer] = q
		t.order = append(t.order, q)
	}
	turn := make(chan error, 1)
	q.list = append(q.list, turn)
	t.waiting++
	return turn
}

// leave gives a place in a queue up; false if it is there no more.
func (t *turns) leave(peer netip.Prefix, turn chan error) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	q := t.queues[peer]
	if q == nil {
		return false
	}
	for i, other := range q.list {
		if other != turn {
			continue
		}
		q.list = append(q.list[:i], q.list[i+1:]...)
		t.waiting--
		if len(q.list) == 0 {
			t.drop(q)
		}
		return true
	}
	return false
}

// drop takes out a queue in which nobody waits. Callers hold t.mu.
func (t *turns) drop(q *queue) {
	delete(t.queues, q.peer)
	for i, other := range t.order {
		if other == q {
			t.order = append(t.order[:i], t.order[i+1:]...)
			return
		}
	}
}

// give gives a turn back: the next peer has it.
func (t *turns) give() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.order) == 0 {
		t.free++
		return
	}
	q := t.order[0]
	turn := q.list[0]
	q.list = q.list[1:]
	t.waiting--
	t.order = append(t.order[1:], q) // behind the others
	if len(q.list) == 0 {
		t.drop(q)
	}
	turn <- nil
}
