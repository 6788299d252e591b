package events

import (
	"sync"

	"github.com/tr87proxy/tr87proxy/uacsta"
)

// mailbox is what waits for the goroutine of a recorder, in order. Nobody waits for room: the core would close the
// session of a client that lets its queue fill.
type mailbox struct {
	wake chan struct{}

	mu       sync.Mutex
	items    []item
	octets   int
	overflow bool // events were dropped
	closed   bool
}

// item is an event, or something to do.
type item struct {
	ev    *uacsta.Message
	epoch int // of the session that got the event
	do    func()
}

const (
	maxItems  = 50_000
	maxOctets = 64 << 20
)

// post adds something to do. Callers limit how much they post.
func (b *mailbox) post(do func()) { b.put(item{do: do}, 0) }

// event adds an event. If there is no room, all events are dropped.
func (b *mailbox) event(epoch int, ev *uacsta.Message) {
	b.put(item{ev: ev, epoch: epoch}, ev.Size())
}

func (b *mailbox) put(i item, size int) {
	b.mu.Lock()
	switch {
	case b.closed, i.ev != nil && b.overflow:
		b.mu.Unlock()
		return
	case i.ev != nil && (len(b.items) >= maxItems || b.octets+size > maxOctets):
		b.overflow = true
		kept := b.items[:0]
		for _, old := range b.items {
			if old.ev == nil {
				kept = append(kept, old)
			}
		}
		clear(b.items[len(kept):])
		b.items, b.octets = kept, 0
	default:
		b.items = append(b.items, i)
		b.octets += size
	}
	b.mu.Unlock()
	select {
	case b.wake <- struct{}{}:
	default:
	}
}

// take returns what waits, and whether events were dropped.
func (b *mailbox) take() (items []item, overflow bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	items, overflow = b.items, b.overflow
	b.items, b.octets, b.overflow = nil, 0, false
	return items, overflow
}

// close drops what waits, and what comes later.
func (b *mailbox) close() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.items, b.closed = nil, true
}
