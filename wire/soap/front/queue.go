package front

import (
	"context"
	"slices"
	"sync"

	"github.com/tr87proxy/tr87proxy/uacsta"
)

// item is a message for a client.
type item struct {
	number  uint64
	name    string
	edition uacsta.Edition
	text    string // XML
}

// The room of a queue.
const (
	maxItems  = 1000
	maxOctets = 1 << 20
)

// queue has the messages for the client of an association, numbered from 1. Pulls and subscriptions read it, each from a
// place of its own. When it is full the oldest messages go.
type queue struct {
	mu       sync.Mutex
	items    []item
	octets   int
	next     uint64
	barriers []*uint64 // messages from here on wait until the responses that caused them are written
	grown    chan struct{}
	closed   bool
}

func (q *queue) init() { q.next, q.grown = 1, make(chan struct{}) }

// put adds a message.
func (q *queue) put(i item) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return
	}
	i.number = q.next
	q.next++
	q.items = append(q.items, i)
	q.octets += len(i.text)
	for len(q.items) > maxItems || q.octets > maxOctets && len(q.items) > 1 {
		q.octets -= len(q.items[0].text)
		q.items = q.items[1:]
	}
	q.wake()
}

// wake wakes those that wait. The caller holds q.mu.
func (q *queue) wake() {
	close(q.grown)
	q.grown = make(chan struct{})
}

// hold keeps what is put from now on until release is called.
func (q *queue) hold() (release func()) {
	q.mu.Lock()
	defer q.mu.Unlock()
	barrier := q.next
	q.barriers = append(q.barriers, &barrier)
	return func() {
		q.mu.Lock()
		defer q.mu.Unlock()
		if i := slices.Index(q.barriers, &barrier); i >= 0 {
			q.barriers = slices.Delete(q.barriers, i, i+1)
			q.wake()
		}
	}
}

// last returns the number of the last message.
func (q *queue) last() uint64 {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.next - 1
}

// read returns messages after a number, at most so many. lost says that some after it are gone. Without any it waits, until
// ctx ends or the queue is closed, which open reports.
func (q *queue) read(ctx context.Context, after uint64, most int) (items []item, lost, open bool) {
	for {
		q.mu.Lock()
		end := q.next
		for _, b := range q.barriers {
			end = min(end, *b)
		}
		for _, i := range q.items {
			if i.number > after && i.number < end && len(items) < most {
				items = append(items, i)
			}
		}
		first := q.next
		if len(q.items) > 0 {
			first = q.items[0].number
		}
		lost = after+1 < first && after+1 < q.next
		grown, closed := q.grown, q.closed
		q.mu.Unlock()
		if len(items) > 0 || lost || closed {
			return items, lost, !closed
		}
		select {
		case <-grown:
		case <-ctx.Done():
			return nil, false, true
		}
	}
}

// close ends the queue. What is in it can still be read.
func (q *queue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	if !q.closed {
		q.closed = true
		q.barriers = nil
		q.wake()
	}
}

// before returns the number of the last message that is gone.
func (q *queue) before() uint64 {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.items) > 0 {
		return q.items[0].number - 1
	}
	return q.next - 1
}
