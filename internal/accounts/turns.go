package accounts

import (
	"context"
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync"

	"github.com/tr87proxy/tr87proxy/internal/share"
)

// turns lets few do at a time what takes a processor, each peer in its turn: who comes with
// very many waits for itself. Names that have proved their password at their peer before go first.
// The zero value must be told how many are free.
type turns struct {
	mu    sync.Mutex
	free  int
	known line // of names that have proved their password at the peer before
	other line
}

// line is who waits, by peer.
type line struct {
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

// take waits for a turn, which must be given back. It says ErrBusy where too many of the peer wait,
// or if the place is needed for another, and what ended ctx.
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
	if !left { // it has come just now, or was refused
		if err := <-turn; err == nil {
			t.give()
		}
	}
	return ctx.Err()
}

// room makes room for a peer in a line, and reports whether there is any. Who is known takes the
// place of one who is not. Callers hold t.mu.
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

// give gives a turn back: the next peer has it.
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

// length is how many of a peer wait.
func (l *line) length(peer netip.Prefix) int {
	if q := l.queues[peer]; q != nil {
		return len(q.list)
	}
	return 0
}

// push takes a place in a peer's queue.
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

// pop takes out who is next.
func (l *line) pop() chan error {
	q := l.order[0]
	l.order = append(l.order[1:], q) // behind the others
	return l.cut(q, 0)
}

// turnAway refuses the last of a peer that has most in the line, of any of them if there are several,
// in favour of a peer that has less than these; false if it has not.
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

// leave gives a place in a queue up; false if it is there no more.
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

// cut takes one out of a queue, and the queue out of the line when nobody waits in it.
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
