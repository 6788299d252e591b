package gate

import (
	"container/list"
	"errors"
	"net"
	"time"
)

// Numbering is what a protocol says of its frames.
type Numbering struct {
	FirstID, LastID int // invoke IDs of our requests
	Batch           int // frames that are written at once, at most
}

// ErrMute is why a connection ends whose peer has left so many requests without an answer that no
// invoke ID is free.
var ErrMute = errors.New("the peer has left too many requests without an answer")

// lateTimes is how many time-outs more a request that has timed out keeps its invoke ID.
const lateTimes = 4

// Peer is a connection on which both sides ask: a Conn with requests of ours that wait for answers
// of type A, each known by its invoke ID.
//
// A peer that was dialled may answer a request after its time-out. No later request may be taken for
// that one: the request keeps its invoke ID until its late answer comes, or for lateTimes time-outs.
// What clients answer decides nothing, so requests to a peer that has come through a gate do not
// keep theirs.
type Peer[A any] struct {
	*Conn
	ids Numbering

	// guarded by Conn.mu
	taken  map[int]*list.Element // requests that have an invoke ID: those in asked and late
	asked  list.List             // requests that wait, of *waiting[A], the one asked first at the front
	late   list.List             // requests that have timed out, of *waiting[A], the one asked first at the front
	lastID int
}

// waiting is a request of ours.
type waiting[A any] struct {
	id    int
	reply func(A, error) // nil once it has timed out
	until time.Time      // that it waits; once it has timed out, that it keeps its invoke ID
}

// NewPeer makes a peer of a connection. It writes once Serve is called.
func NewPeer[A any](nc net.Conn, cfg Limits, ids Numbering) *Peer[A] {
	cfg.SetDefaults()
	cfg.MaxOutstanding = min(cfg.MaxOutstanding, ids.LastID-ids.FirstID)
	p := &Peer[A]{ids: ids, taken: map[int]*list.Element{}, lastID: ids.LastID}
	p.Conn = newConn(nc, cfg, ids.Batch, p)
	return p
}

// Ask sends a request, in the frame that is made for its invoke ID. reply is called once: with
// the answer, or with why there is none. Ask does not block where the peer was dialled; it waits
// for room like Push where it has come through a gate. Where it finds that the requests that have
// timed out leave no invoke ID, it ends the connection with ErrMute.
func (p *Peer[A]) Ask(frame func(id int) ([]byte, error), reply func(A, error)) {
	p.ask(frame, reply, p.room, p.put)
}

// Probe is Ask for what keeps the connection, such as a sign of life. Ask leaves an invoke ID for
// it, and it finds room in the queue: one at a time goes out, however much others ask.
func (p *Peer[A]) Probe(frame func(id int) ([]byte, error), reply func(A, error)) {
	p.ask(frame, reply, p.free, p.putAnyway)
}

func (p *Peer[A]) ask(frame func(id int) ([]byte, error), reply func(A, error), room func() error, put func([]byte) error) {
	var none A
	w := &waiting[A]{reply: reply}
	err := p.enter(w, room)
	if errors.Is(err, ErrMute) {
		p.Close(err)
		err = ErrClosed
	}
	if err != nil {
		reply(none, err)
		return
	}
	data, err := frame(w.id)
	if err == nil {
		err = put(data)
	}
	if err != nil && p.drop(w) {
		reply(none, err)
	}
}

// enter has a request wait for its answer, where there is room.
func (p *Peer[A]) enter(w *waiting[A], room func() error) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.reason != nil {
		return ErrClosed
	}
	now := time.Now()
	p.release(now)
	if err := room(); err != nil {
		return err
	}
	w.id, w.until = p.nextID(), now.Add(p.cfg.Timeout)
	p.taken[w.id] = p.asked.PushBack(w)
	p.watch(w.until)
	return nil
}

// room is why Ask has no room; p.mu is held.
func (p *Peer[A]) room() error {
	others := p.ids.LastID - p.ids.FirstID // invoke IDs without the one that is for Probe
	switch {
	case p.asked.Len() >= p.cfg.MaxOutstanding:
		return ErrTooManyWaiting
	case p.late.Len() >= others:
		return ErrMute
	case len(p.taken) >= others:
		return ErrTooManyWaiting
	}
	return nil
}

// free is why there is no invoke ID; p.mu is held.
func (p *Peer[A]) free() error {
	if len(p.taken) > p.ids.LastID-p.ids.FirstID {
		return ErrTooManyWaiting
	}
	return nil
}

// Tell sends a request that has no answer, in the frame that is made for its invoke ID; it blocks
// where Ask does.
func (p *Peer[A]) Tell(frame func(id int) ([]byte, error)) error {
	p.mu.Lock()
	if err := p.free(); err != nil {
		p.mu.Unlock()
		return err
	}
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

// putAnyway puts a frame into the queue though it may be full.
func (p *Peer[A]) putAnyway(data []byte) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.enqueue(data)
}

// nextID returns an invoke ID that no request of ours has; there is one, and p.mu is held.
func (p *Peer[A]) nextID() int {
	for {
		if p.lastID++; p.lastID > p.ids.LastID {
			p.lastID = p.ids.FirstID
		}
		if p.taken[p.lastID] == nil {
			return p.lastID
		}
	}
}

// remove takes the invoke ID from the request that has it, and returns what takes the answer: nil
// when there is no such request, or it has timed out. p.mu is held.
func (p *Peer[A]) remove(id int) func(A, error) {
	e := p.taken[id]
	if e == nil {
		return nil
	}
	delete(p.taken, id)
	w := e.Value.(*waiting[A])
	if w.reply == nil {
		p.late.Remove(e)
	} else {
		p.asked.Remove(e)
	}
	return w.reply
}

// drop removes a request that was not sent, and reports whether it waited still.
func (p *Peer[A]) drop(w *waiting[A]) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if e := p.taken[w.id]; e == nil || e.Value != w {
		return false
	}
	return p.remove(w.id) != nil
}

// release frees the invoke IDs of requests that have kept them long enough; p.mu is held.
func (p *Peer[A]) release(now time.Time) {
	for w := first[A](&p.late); w != nil && !w.until.After(now); w = first[A](&p.late) {
		p.remove(w.id)
	}
}

// Answered takes the request with this invoke ID off those that wait, and returns what takes its
// answer; nil when nobody waits for it. A request that has timed out gives its invoke ID back.
func (p *Peer[A]) Answered(id int) func(A, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.remove(id)
}

// Only returns the invoke ID of the request that waits, when it is the only one that can be answered
// still.
func (p *Peer[A]) Only() (id int, only bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.release(time.Now())
	w := first[A](&p.asked)
	if w == nil {
		return 0, false
	}
	return w.id, len(p.taken) == 1
}

// first is the request of a list that was asked first; nil: there is none.
func first[A any](l *list.List) *waiting[A] {
	e := l.Front()
	if e == nil {
		return nil
	}
	return e.Value.(*waiting[A])
}

// nextDue implements requests: all have the same time.
func (p *Peer[A]) nextDue() time.Time {
	w := first[A](&p.asked)
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
	var none A
	for {
		p.mu.Lock()
		w := first[A](&p.asked)
		if w == nil || !such(w) {
			p.mu.Unlock()
			return
		}
		reply := p.remove(w.id)
		if p.cfg.Guest == nil {
			w.reply, w.until = nil, w.until.Add(lateTimes*p.cfg.Timeout)
			p.taken[w.id] = p.late.PushBack(w)
		}
		p.mu.Unlock()
		reply(none, why)
	}
}
