package gate

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/tr87proxy/tr87proxy/share"
)

// Why a connection has ended, or a request has no answer.
var (
	ErrClosed         = errors.New("the connection is closed")
	ErrTimeout        = errors.New("the peer gave no answer in time")
	ErrTooManyWaiting = errors.New("too many requests wait for the peer's answer")
	ErrSlow           = errors.New("the peer does not take what is written")
)

// Limits says how a connection behaves. Zero values take defaults.
type Limits struct {
	Log            *slog.Logger
	MaxOutstanding int           // requests of ours that wait for answers; 1000, and fewer than there are invoke IDs
	Timeout        time.Duration // for an answer; 10 s
	FrameTime      time.Duration // a frame that has begun must be whole in this time; 10 s
	WriteTime      time.Duration // the peer must take a frame in this time; 10 s
	QueueLength    int           // frames that wait to be written; 256
	QueueOctets    int           // in these, if they are more than one; 256 KiB
	Guest          *Guest        // the peer, where it has come through a gate; nil: it was dialled
}

// strangerOctets is QueueOctets of a peer that is not proved.
const strangerOctets = 16 << 10

// SetDefaults puts the defaults where nothing is said.
func (l *Limits) SetDefaults() {
	for _, d := range []*time.Duration{&l.Timeout, &l.FrameTime, &l.WriteTime} {
		if *d == 0 {
			*d = 10 * time.Second
		}
	}
	for n, standard := range map[*int]int{&l.MaxOutstanding: 1000, &l.QueueLength: 256, &l.QueueOctets: 256 << 10} {
		if *n == 0 {
			*n = standard
		}
	}
	if l.Log == nil {
		l.Log = slog.New(slog.DiscardHandler)
	}
}

// Numbering is what a protocol says of its frames.
type Numbering struct {
	FirstID, LastID int // invoke IDs of our requests
	Batch           int // frames that are written at once, at most
}

// Peer is a connection on which both sides ask: a bounded queue of frames to be written, and
// our requests that wait for answers of type A.
type Peer[A any] struct {
	cfg    Limits
	ids    Numbering
	nc     net.Conn
	faults *faults
	ended  chan struct{} // closed by Close

	mu       sync.Mutex
	waiting  map[int]*waiting[A] // our requests, by invoke ID
	lastID   int
	reason   error      // why it ended; nil while it lives
	queue    [][]byte   // frames to be written
	queued   int        // octets in these, and in those that are being written
	finished bool       // it ends once these are written
	last     error      // why it does
	changed  *sync.Cond // there is room in the queue, or something to write, or an end
}

// waiting is a request of ours.
type waiting[A any] struct {
	reply func(A, error)
	timer *time.Timer
}

// NewPeer makes a peer of a connection. It writes once Serve is called.
func NewPeer[A any](nc net.Conn, cfg Limits, ids Numbering) *Peer[A] {
	cfg.SetDefaults()
	cfg.MaxOutstanding = min(cfg.MaxOutstanding, ids.LastID-ids.FirstID)
	p := &Peer[A]{cfg: cfg, ids: ids, nc: nc, ended: make(chan struct{}), waiting: map[int]*waiting[A]{}, lastID: ids.LastID}
	p.changed = sync.NewCond(&p.mu)
	if cfg.Guest != nil {
		p.faults = cfg.Guest.gate.faults
	} else {
		p.faults = newFaults(cfg.Log)
	}
	return p
}

// Serve writes, and reads by read, until that fails, or the connection is closed, or ctx
// ends; it returns the reason. Requests that wait then get ErrClosed.
func (p *Peer[A]) Serve(ctx context.Context, read func() error) error {
	var group sync.WaitGroup
	group.Go(p.write)
	stop := context.AfterFunc(ctx, func() { p.Close(context.Cause(ctx)) })
	p.Close(p.survive(read))
	stop()
	group.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.reason
}

// survive reads. A panic ends this connection alone.
func (p *Peer[A]) survive(read func() error) (err error) {
	defer share.Survive(p.cfg.Log, "reading from "+p.nc.RemoteAddr().String(), func(why error) { err = why })
	return read()
}

// Ended is closed when the connection is.
func (p *Peer[A]) Ended() <-chan struct{} { return p.ended }

// Close ends the connection; the first reason counts.
func (p *Peer[A]) Close(reason error) {
	p.mu.Lock()
	if p.reason != nil {
		p.mu.Unlock()
		return
	}
	if reason == nil {
		reason = ErrClosed
	}
	p.reason = reason
	orphans := p.waiting
	p.waiting = map[int]*waiting[A]{}
	p.changed.Broadcast()
	p.mu.Unlock()
	close(p.ended)
	_ = p.nc.Close()
	for _, w := range orphans {
		w.timer.Stop()
		w.fail(ErrClosed)
	}
}

func (w *waiting[A]) fail(err error) {
	var none A
	w.reply(none, err)
}

// Finish ends the connection once what waits has been written; at once, if the peer does not take
// it.
func (p *Peer[A]) Finish(reason error) {
	p.mu.Lock()
	slow := p.full(0)
	p.finished, p.last = true, reason
	p.changed.Broadcast()
	p.mu.Unlock()
	if slow {
		p.Close(reason)
	}
}

// Ask sends a request, in the frame that is made for its invoke ID. reply is called once: with
// the answer, or with why there is none. Ask does not block where the peer was dialled; it waits
// for room like Push where it has come through a gate.
func (p *Peer[A]) Ask(frame func(id int) ([]byte, error), reply func(A, error)) {
	w := &waiting[A]{reply: reply}
	p.mu.Lock()
	var err error
	switch {
	case p.reason != nil:
		err = ErrClosed
	case len(p.waiting) >= p.cfg.MaxOutstanding:
		err = ErrTooManyWaiting
	}
	if err != nil {
		p.mu.Unlock()
		w.fail(err)
		return
	}
	id := p.nextID()
	w.timer = time.AfterFunc(p.cfg.Timeout, func() { p.fail(id, w, ErrTimeout) })
	p.waiting[id] = w
	p.mu.Unlock()
	data, err := frame(id)
	if err == nil {
		err = p.put(data)
	}
	if err != nil {
		p.fail(id, w, err)
	}
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

func (p *Peer[A]) fail(id int, w *waiting[A], err error) {
	p.mu.Lock()
	mine := p.waiting[id] == w
	if mine {
		delete(p.waiting, id)
	}
	p.mu.Unlock()
	if mine {
		w.timer.Stop()
		w.fail(err)
	}
}

// Answered takes the request with this invoke ID off those that wait, and returns what takes its
// answer; nil when nobody waits for it.
func (p *Peer[A]) Answered(id int) func(A, error) {
	p.mu.Lock()
	w := p.waiting[id]
	delete(p.waiting, id)
	p.mu.Unlock()
	if w == nil {
		return nil
	}
	w.timer.Stop()
	return w.reply
}

// Only returns the invoke ID of the request that waits, when it is the only one.
func (p *Peer[A]) Only() (id int, only bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for id = range p.waiting {
		continue
	}
	return id, len(p.waiting) == 1
}

// Push puts a frame into the queue. It blocks while the peer does not take what waits, for
// WriteTime at most; then the connection ends.
func (p *Peer[A]) Push(data []byte) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	for p.open() && p.full(len(data)) {
		p.changed.Wait()
	}
	return p.enqueue(data)
}

// offer puts a frame into the queue unless it is full.
func (p *Peer[A]) offer(data []byte) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.open() && p.full(len(data)) {
		return ErrSlow
	}
	return p.enqueue(data)
}

// open reports whether frames are taken still; p.mu is held.
func (p *Peer[A]) open() bool { return p.reason == nil && !p.finished }

// full reports whether a frame of so many octets must wait; p.mu is held.
func (p *Peer[A]) full(octets int) bool {
	most := p.cfg.QueueOctets
	if !p.cfg.Guest.Proved() {
		most = strangerOctets
	}
	return len(p.queue) >= p.cfg.QueueLength || p.queued > 0 && p.queued+octets > most
}

// enqueue puts a frame behind the others; p.mu is held.
func (p *Peer[A]) enqueue(data []byte) error {
	if !p.open() {
		return ErrClosed
	}
	p.queue = append(p.queue, data)
	p.queued += len(data)
	p.changed.Broadcast()
	return nil
}

// write writes what waits, as much at once as there is.
func (p *Peer[A]) write() {
	for {
		batch := p.next()
		if batch == nil {
			return
		}
		octets := 0
		for _, data := range batch {
			octets += len(data)
		}
		_ = p.nc.SetWriteDeadline(time.Now().Add(p.cfg.WriteTime))
		if _, err := batch.WriteTo(p.nc); err != nil {
			p.Close(err)
			return
		}
		p.mu.Lock()
		p.queued -= octets
		p.changed.Broadcast()
		p.mu.Unlock()
	}
}

// next waits for frames to be written; none when the connection ends.
func (p *Peer[A]) next() net.Buffers {
	p.mu.Lock()
	for p.open() && len(p.queue) == 0 {
		p.changed.Wait()
	}
	var batch net.Buffers
	if n := min(len(p.queue), p.ids.Batch); p.reason == nil && n > 0 {
		batch = slices.Clone(p.queue[:n])
		p.queue = slices.Delete(p.queue, 0, n)
	}
	last := p.last
	p.mu.Unlock()
	if batch == nil {
		p.Close(last)
	}
	return batch
}

// Report says in the log what the peer does, or what cannot be done for it: of each kind one line a
// second, with how many were not told.
func (p *Peer[A]) Report(level slog.Level, what string, args ...any) {
	p.faults.tell(level, p.nc, what, args...)
}

// Strike is Report of what the peer should not send. Its error is to end the connection: of a
// peer that has come through a gate, when that happens too often.
func (p *Peer[A]) Strike(level slog.Level, what string, args ...any) error {
	if p.cfg.Guest != nil {
		return p.cfg.Guest.Strike(level, what, args...)
	}
	p.Report(level, what, args...)
	return nil
}
