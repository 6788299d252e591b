package gate

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"sync"
	"time"
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
}

// SetDefaults puts the defaults where nothing is said.
func (l *Limits) SetDefaults() {
	for _, d := range []*time.Duration{&l.Timeout, &l.FrameTime, &l.WriteTime} {
		if *d == 0 {
			*d = 10 * time.Second
		}
	}
	for n, standard := range map[*int]int{&l.MaxOutstanding: 1000, &l.QueueLength: 256} {
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
	cfg   Limits
	ids   Numbering
	nc    net.Conn
	out   chan []byte
	ended chan struct{} // closed by Close

	mu      sync.Mutex
	waiting map[int]*waiting[A] // our requests, by invoke ID
	lastID  int
	reason  error // why it ended; nil while it lives
	last    error // why it ends once what waits is written
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
	return &Peer[A]{
		cfg: cfg, ids: ids, nc: nc, out: make(chan []byte, cfg.QueueLength), ended: make(chan struct{}), waiting: map[int]*waiting[A]{}, lastID: ids.LastID,
	}
}

// Serve writes, and reads by read, until that fails, or the connection is closed, or ctx
// ends; it returns the reason. Requests that wait then get ErrClosed.
func (p *Peer[A]) Serve(ctx context.Context, read func() error) error {
	var group sync.WaitGroup
	group.Go(p.write)
	stop := context.AfterFunc(ctx, func() { p.Close(ctx.Err()) })
	p.Close(read())
	stop()
	group.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.reason
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

// Finish ends the connection once what waits has been written.
func (p *Peer[A]) Finish(reason error) {
	p.mu.Lock()
	p.last = reason
	p.mu.Unlock()
	select {
	case p.out <- nil:
	default:
		p.Close(reason) // it does not take what waits
	}
}

// Ask sends a request, in the frame that is made for its invoke ID. reply is called once: with
// the answer, or with why there is none. Ask does not block.
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
		err = p.Offer(data)
	}
	if err != nil {
		p.fail(id, w, err)
	}
}

// ID is an invoke ID for a request that has no answer.
func (p *Peer[A]) ID() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.nextID()
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
	select {
	case <-p.ended:
		return ErrClosed
	default:
	}
	select {
	case p.out <- data:
		return nil
	case <-p.ended:
		return ErrClosed
	}
}

// Offer puts a frame into the queue unless it is full.
func (p *Peer[A]) Offer(data []byte) error {
	select {
	case p.out <- data:
		return nil
	case <-p.ended:
		return ErrClosed
	default:
		return ErrSlow
	}
}

// write writes what waits, as much at once as there is.
func (p *Peer[A]) write() {
	for {
		var batch net.Buffers
		select {
		case <-p.ended:
			return
		case data := <-p.out:
			batch = append(batch, data)
		}
		for more := true; more && len(batch) < p.ids.Batch && batch[len(batch)-1] != nil; {
			select {
			case data := <-p.out:
				batch = append(batch, data)
			default:
				more = false
			}
		}
		finish := batch[len(batch)-1] == nil
		_ = p.nc.SetWriteDeadline(time.Now().Add(p.cfg.WriteTime))
		_, err := batch.WriteTo(p.nc)
		if err == nil && finish {
			p.mu.Lock()
			err = p.last
			p.mu.Unlock()
		}
		if err != nil {
			p.Close(err)
			return
		}
	}
}
