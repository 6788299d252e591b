package gate

import (
	"container/list"
	"errors"
	"net"
	"time"
)

// Numbering describes the protocol's frames.
type Numbering struct {
	FirstID, LastID int // range of invoke IDs for our requests
	Batch           int // maximum frames in one write
}

// ErrMute means that the peer left so many requests unanswered that no invoke ID is free.
var ErrMute = errors.New("peer leaves too many requests without response")

// lateTimes is for how many more timeouts a timed-out request keeps its invoke ID.
const lateTimes = 4

// Peer is a [Conn] on which both sides send requests. Our requests await responses of type A,
// matched by invoke ID.
//
// A dialled peer may respond after the timeout. To keep such a response from being taken for
// that of a later request, the timed-out request keeps its invoke ID until the late response
// arrives, or for lateTimes timeouts. Requests to a peer that came through a gate do not,
// because nothing depends on what clients respond.
type Peer[A any] struct {
	*Conn
	ids Numbering

	// Guarded by Conn.mu.
	taken  map[int]*list.Element // requests with an invoke ID, in asked or late
	asked  list.List             // of *waiting[A]: requests without response, the oldest first
	late   list.List             // of *waiting[A]: timed-out requests, the oldest first
	lastID int
}

// waiting is a request of ours.
type waiting[A any] struct {
	id    int
	reply func(A, error) // nil after the timeout
	until time.Time      // timeout of the response, then of the invoke ID
}

// NewPeer returns a peer over a connection. Nothing is sent before Serve runs.
func NewPeer[A any](nc net.Conn, cfg Limits, ids Numbering) *Peer[A] {
	cfg.SetDefaults()
	cfg.MaxOutstanding = min(cfg.MaxOutstanding, ids.LastID-ids.FirstID)
	p := &Peer[A]{ids: ids, taken: map[int]*list.Element{}, lastID: ids.LastID}
	p.Conn = newConn(nc, cfg, ids.Batch, p)
	return p
}

// Ask sends a request in the frame that frame returns for an invoke ID. It calls reply exactly
// once, with the response or an error. On a dialled connection Ask does not block; on one from
// a gate it waits for room as Push does. If timed-out requests occupy every invoke ID, it
// closes the connection with [ErrMute].
func (p *Peer[A]) Ask(frame func(id int) ([]byte, error), reply func(A, error)) {
	p.ask(frame, reply, p.room, p.put)
}

// Probe is Ask for a request that keeps the connection alive. It always finds an invoke ID and
// room in the queue, but only one may be outstanding.
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

// enter adds a request if room permits it.
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

// room returns an error if Ask has no room. Callers hold p.mu.
func (p *Peer[A]) room() error {
	others := p.ids.LastID - p.ids.FirstID // without the one reserved for Probe
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

// free returns an error if no invoke ID is free. Callers hold p.mu.
func (p *Peer[A]) free() error {
	if len(p.taken) > p.ids.LastID-p.ids.FirstID {
		return ErrTooManyWaiting
	}
	return nil
}

// Notify sends a request that has no response, in the frame that frame returns for an invoke
// ID. It blocks when Ask would.
func (p *Peer[A]) Notify(frame func(id int) ([]byte, error)) error {
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

// putAnyway queues a frame even if the queue is full.
func (p *Peer[A]) putAnyway(data []byte) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.enqueue(data)
}

// nextID returns a free invoke ID, which must exist. Callers hold p.mu.
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

// remove frees an invoke ID and returns the callback for its response: nil if no request has
// it, or if the request has timed out. Callers hold p.mu.
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

// drop removes a request that was not sent. It reports whether the request was still waiting.
func (p *Peer[A]) drop(w *waiting[A]) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if e := p.taken[w.id]; e == nil || e.Value != w {
		return false
	}
	return p.remove(w.id) != nil
}

// release frees the invoke IDs of requests that timed out long ago. Callers hold p.mu.
func (p *Peer[A]) release(now time.Time) {
	for w := first[A](&p.late); w != nil && !w.until.After(now); w = first[A](&p.late) {
		p.remove(w.id)
	}
}

// Answered removes the request with this invoke ID and returns the callback for its response,
// or nil if no request awaits one. It also frees the invoke ID of a timed-out request.
func (p *Peer[A]) Answered(id int) func(A, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.remove(id)
}

// Only returns the invoke ID of the only request that can still get a response, and false if
// there is not exactly one.
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

// Oldest returns the invoke ID of the oldest request that awaits a response; 0 if there is none.
func (p *Peer[A]) Oldest() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	if w := first[A](&p.asked); w != nil {
		return w.id
	}
	return 0
}

// first returns the oldest request of a list, or nil.
func first[A any](l *list.List) *waiting[A] {
	e := l.Front()
	if e == nil {
		return nil
	}
	return e.Value.(*waiting[A])
}

// nextDue implements requests. All requests have the same timeout.
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
func (p *Peer[A]) abandon() { p.failAll(ErrCut, func(*waiting[A]) bool { return true }) }

// failAll fails requests, starting with the oldest, as long as such holds.
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
