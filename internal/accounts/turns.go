package accounts

import (
	"context"
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync"

	"github.com/tr87proxy/tr87proxy/internal/share"
)

// turns limits how many work at a time on what takes a processor. Peers get turns in rotation,
// so a peer with many requests delays only itself. Names that have proved their password from
// their peer before go first. Set free before use.
type turns struct {
	mu    sync.Mutex
	free  int
	known line // names that have proved their password from the peer before
	other line
}

// line holds the waiting requests by peer.
type line struct {
	waiting int
	queues  map[netip.Prefix]*queue
	order   []*queue // queues that are not empty; the first is served next
}

// queue holds the waiting requests of one peer.
type queue struct {
	peer netip.Prefix
	list []chan error
}

const (
	maxWaiting  = 256 // in total
	peerWaiting = 128 // of one peer
)

// take waits for a turn, which the caller must give back. It returns [ErrBusy] if too many
// requests of the peer wait or the place is needed for another peer, and the context's error if
// ctx ends.
func (t *turns) take(ctx context.Context, from netip.Addr, known bool) error {
	l, peer := &t.other, share.Of(from)
	if known {
		l = &t.known
	}
	t.mu.Lock()
	if t.free > 0 {
		t.free--
		t.mu.Unlock()
		return nil
	}
	var turn chan error
	if t.room(l, peer) {
		turn = l.push(peer)
	}
	t.mu.Unlock()
	if turn == nil {
		return ErrBusy
	}
	select {
	case err := <-turn:
		return err
	case <-ctx.Done():
	}
	t.mu.Lock()
	left := l.leave(peer, turn)
	t.mu.Unlock()
	if !left { // the turn came at this moment, or was refused
		if err := <-turn; err == nil {
			t.give()
		}
	}
	return ctx.Err()
}

// room makes room for a request of a peer and reports whether it could. A known peer displaces
// an unknown one. Callers hold t.mu.
func (t *turns) room(l *line, peer netip.Prefix) bool {
	mine := l.length(peer)
	switch {
	case mine >= peerWaiting:
		return false
	case t.known.waiting+t.other.waiting < maxWaiting:
		return true
	case l == &t.known && t.other.waiting > 0:
		t.other.turnAway(0)
		return true
	}
	return l.turnAway(mine)
}

// give gives a turn to the next peer.
func (t *turns) give() {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case t.known.waiting > 0:
		t.known.pop() <- nil
	case t.other.waiting > 0:
		t.other.pop() <- nil
	default:
		t.free++
	}
}

// length returns how many requests of a peer wait.
func (l *line) length(peer netip.Prefix) int {
	if q := l.queues[peer]; q != nil {
		return len(q.list)
	}
	return 0
}

// push appends a request to a peer's queue.
func (l *line) push(peer netip.Prefix) chan error {
	q := l.queues[peer]
	if q == nil {
		q = &queue{peer: peer}
		if l.queues == nil {
			l.queues = map[netip.Prefix]*queue{}
		}
		l.queues[peer] = q
		l.order = append(l.order, q)
	}
	turn := make(chan error, 1)
	q.list = append(q.list, turn)
	l.waiting++
	return turn
}

// pop removes the next request.
func (l *line) pop() chan error {
	q := l.order[0]
	l.order = append(l.order[1:], q) // rotate
	return l.cut(q, 0)
}

// turnAway refuses the last request of the peer with the most in the line, in favour of a peer
// with less. It returns false if none has more than less.
func (l *line) turnAway(less int) bool {
	var longest []*queue
	for _, q := range l.order {
		switch {
		case len(longest) == 0 || len(q.list) > len(longest[0].list):
			longest = append(longest[:0], q)
		case len(q.list) == len(longest[0].list):
			longest = append(longest, q)
		}
	}
	if len(longest) == 0 || len(longest[0].list) <= less {
		return false
	}
	q := longest[rand.IntN(len(longest))] //nolint:gosec // it is nobody's secret
	l.cut(q, len(q.list)-1) <- ErrBusy
	return true
}

// leave removes a request from its queue. It returns false if the request was no longer there.
func (l *line) leave(peer netip.Prefix, turn chan error) bool {
	q := l.queues[peer]
	if q == nil {
		return false
	}
	i := slices.Index(q.list, turn)
	if i < 0 {
		return false
	}
	l.cut(q, i)
	return true
}

// cut removes a request from a queue, and an empty queue from the line.
func (l *line) cut(q *queue, i int) chan error {
	turn := q.list[i]
	q.list = slices.Delete(q.list, i, i+1)
	l.waiting--
	if len(q.list) == 0 {
		delete(l.queues, q.peer)
		l.order = slices.DeleteFunc(l.order, func(other *queue) bool { return other == q })
	}
	return turn
}
