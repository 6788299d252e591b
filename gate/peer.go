package gate

import (
	"container/list"
	"net"
	"time"
)

// Numbering is what a protocol says of its frames.
type Numbering struct {
	FirstID, LastID int // invoke IDs of our requests
	Batch           int // frames that are written at once, at most
}

// Peer is a connection on which both sides ask: a Conn with requests of ours that wait for answers
// of type A, each known by its invoke ID.
type Peer[A any] struct {
	*Conn
	ids Numbering

	// guarded by Conn.mu
	waiting map[int]*list.Element // our requests, by invoke ID
	asked   list.List             // the same, of *waiting[A], the one asked first at the front
	lastID  int
}

// waiting is a request of ours.
type waiting[A any] struct {
	id    int
	reply func(A, error)
	until time.Time
}

// NewPeer makes a peer of a connection. It writes once Serve is called.
func NewPeer[A any](nc net.Conn, cfg Limits, ids Numbering) *Peer[A] {
	cfg.SetDefaults()
	cfg.MaxOutstanding = min(cfg.MaxOutstanding, ids.LastID-ids.FirstID)
	p := &Peer[A]{ids: ids, waiting: map[int]*list.Element{}, lastID: ids.LastID}
	p.Conn = newConn(nc, cfg, ids.Batch, p)
	return p
}

func (w *waiting[A]) fail(err error) {
	var none A
	w.reply(none, err)
}

// Ask sends a request, in the frame that is made for its invoke ID. reply is called once: with
// the answer, or with why there is none. Ask does not block where the peer was dialled; it waits
// for room like Push where it has come through a gate.
func (p *Peer[A]) Ask(frame func(id int) ([]byte, error), reply func(A, error)) {
	w := &waiting[A]{reply: reply}
	if err := p.enter(w); err != nil {
		w.fail(err)
		return
	}
	data, err := frame(w.id)
	if err == nil {
		err = p.put(data)
	}
	if err != nil && p.take(w.id) == w {
		w.fail(err)
	}
}

// enter has a request wait for its answer.
func (p *Peer[A]) enter(w *waiting[A]) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.reason != nil:
		return ErrClosed
	case len(p.waiting) >= p.cfg.MaxOutstanding:
		return ErrTooManyWaiting
	}
	w.id, w.until = p.nextID(), time.Now().Add(p.cfg.Timeout)
	p.waiting[w.id] = p.asked.PushBack(w)
	p.watch(w.until)
	return nil
}

// Tell sends a request that has no answer, in the frame that is made for its invoke ID; it blocks
// where Ask does.
func (p *Peer[A]) Tell(frame func(id int) ([]byte, error)) error {
	p.mu.Lock()
	id := p.nextID()
	p.mu.Unlock()
	data, err := frame(id)
	if err == nil {
		err = p.put(data)
	}
	return err
}

func (p *Peer[A]) put(data []byte) error {
	if p.cfg.Guest != nil {
		return p.Push(data)
	}
	return p.offer(data)
}

// nextID returns an invoke ID that no request of ours has; p.mu is held.
func (p *Peer[A]) nextID() int {
	for {
		if p.lastID++; p.lastID > p.ids.LastID {
			p.lastID = p.ids.FirstID
		}
		if p.waiting[p.lastID] == nil {
			return p.lastID
		}
	}
}

// take takes the request with this invoke ID off those that wait; nil: there is none.
func (p *Peer[A]) take(id int) *waiting[A] {
	p.mu.Lock()
	defer p.mu.Unlock()
	e := p.waiting[id]
	if e == nil {
		return nil
	}
	delete(p.waiting, id)
	return p.asked.Remove(e).(*waiting[A])
}

// Answered takes the request with this invoke ID off those that wait, and returns what takes its
// answer; nil when nobody waits for it.
func (p *Peer[A]) Answered(id int) func(A, error) {
	w := p.take(id)
	if w == nil {
		return nil
	}
	return w.reply
}

// Only returns the invoke ID of the request that waits, when it is the only one.
func (p *Peer[A]) Only() (id int, only bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	w := p.first()
	if w == nil {
		return 0, false
	}
	return w.id, p.asked.Len() == 1
}

// first is the request that has waited longest; p.mu is held.
func (p *Peer[A]) first() *waiting[A] {
	e := p.asked.Front()
	if e == nil {
		return nil
	}
	return e.Value.(*waiting[A])
}

// nextDue implements requests: all have the same time.
func (p *Peer[A]) nextDue() time.Time {
	w := p.first()
	if w == nil {
		return time.Time{}
	}
	return w.until
}

// overdue implements requests.
func (p *Peer[A]) overdue(now time.Time) {
	p.failAll(ErrTimeout, func(w *waiting[A]) bool { return !w.until.After(now) })
}

// abandon implements requests.
func (p *Peer[A]) abandon() { p.failAll(ErrClosed, func(*waiting[A]) bool { return true }) }

// failAll has requests fail, from the one that has waited longest on, as long as they are such.
func (p *Peer[A]) failAll(why error, such func(*waiting[A]) bool) {
	for {
		p.mu.Lock()
		w := p.first()
		p.mu.Unlock()
		if w == nil || !such(w) {
			return
		}
		if p.take(w.id) == w { // it may have been answered meanwhile
			w.fail(why)
		}
	}
}
