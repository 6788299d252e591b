package gate

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"slices"
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
	MaxOutstanding int           // requests of ours that wait for answers, but for a probe; 1000, and fewer than there are invoke IDs
	Timeout        time.Duration // for an answer; 10 s
	FrameTime      time.Duration // a frame that has begun must be whole in this time; 10 s; see Serve
	WriteTime      time.Duration // the peer must take a frame in this time; 10 s
	QueueLength    int           // frames that wait to be written; 256
	QueueOctets    int           // in these, if they are more than one; 256 KiB
	Guest          *Guest        // the peer, where it has come through a gate; nil: it was dialled
}

// strangerOctets is QueueOctets of a peer that is not proved.
const strangerOctets = 16 << 10

// Lost reports whether a connection that ended for this reason was lost: the peer did not close it
// between two frames, and nobody here did.
func Lost(reason error) bool {
	return errors.Is(reason, io.ErrUnexpectedEOF) || errors.Is(reason, os.ErrDeadlineExceeded) || errors.As(reason, new(*net.OpError))
}

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

// Conn is a connection that one goroutine reads and another writes, out of a bounded queue, so that
// whoever sends does not wait for the peer. [Peer] and [Commands] add the requests that wait
// for answers.
type Conn struct {
	cfg      Limits
	batch    int // frames that are written at once, at most
	nc       net.Conn
	faults   *faults
	requests requests
	ended    chan struct{} // closed by Close

	mu       sync.Mutex
	reason   error      // why it ended; nil while it lives
	queue    [][]byte   // frames to be written
	queued   int        // octets in these, and in those that are being written
	finished bool       // it ends once these are written
	last     error      // why it does
	changed  *sync.Cond // there is room in the queue, or something to write, or an end

	watchers sync.WaitGroup
	due      time.Time     // when the goroutine that watches the requests looks at them; zero: there is none
	sooner   chan struct{} // holds a value when it must look earlier
}

// requests are those of ours that wait for answers.
type requests interface {
	// nextDue is when the time of one is over; zero: none waits. Conn.mu is held.
	nextDue() time.Time
	// overdue ends what has waited too long.
	overdue(now time.Time)
	// abandon has all fail with ErrClosed; no other comes after it.
	abandon()
}

func newConn(nc net.Conn, cfg Limits, batch int, r requests) *Conn {
	c := &Conn{cfg: cfg, batch: batch, nc: nc, requests: r, ended: make(chan struct{}), sooner: make(chan struct{}, 1)}
	c.changed = sync.NewCond(&c.mu)
	if cfg.Guest != nil {
		c.faults = cfg.Guest.gate.faults
	} else {
		c.faults = newFaults(cfg.Log)
	}
	return c
}

// Serve writes what waits, and calls read once, to read until that fails: read loops. When read
// returns, with an error or without, the connection ends; so it does when it is closed, or when ctx
// ends. Serve returns the reason; it is ErrClosed where read gave none. Only read knows where a frame
// begins: it sets the deadline of FrameTime then, and takes it back when the frame is whole.
// Requests that wait at the end get ErrClosed, before Serve returns; nobody is told anything after
// it. A panic in read, or in what takes an answer, ends this connection alone.
func (c *Conn) Serve(ctx context.Context, read func() error) error {
	var group sync.WaitGroup
	group.Go(func() { c.Close(Guard(c.cfg.Log, "writing", c.write)) })
	stop := context.AfterFunc(ctx, func() { c.Close(context.Cause(ctx)) })
	c.Close(Guard(c.cfg.Log, "reading", read))
	stop()
	group.Wait()
	c.watchers.Wait()
	for Guard(c.cfg.Log, "telling of the end", func() error { c.requests.abandon(); return nil }) != nil { // the others are told nevertheless
		continue
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.reason
}

// Run is the life of a connection that was dialled: it serves, with read as Serve has it, while keep
// logs in and looks whether the peer is there. keep's context ends with the connection; the connection ends when keep
// returns, and when ctx has ended then, after leave, if there is one, has taken leave of the peer.
// Run returns the reason once both have ended. A front, whose peers have come through a gate, calls
// Serve instead. Where it logs in to its peers, or asks whether they are there, it calls Run, too.
func (c *Conn) Run(ctx context.Context, read func() error, keep func(ctx context.Context) error, leave func()) error {
	life, end := context.WithCancel(ctx)
	served := make(chan error, 1)
	go func() { // Run waits for it
		err := c.Serve(context.WithoutCancel(ctx), read)
		end()
		served <- err
	}()
	c.Close(Guard(c.cfg.Log, "keeping the connection", func() error {
		err := keep(life)
		if ctx.Err() != nil && leave != nil {
			leave()
		}
		return err
	}))
	return <-served
}

// Ended is closed when the connection is.
func (c *Conn) Ended() <-chan struct{} { return c.ended }

// Close ends the connection; the first reason counts.
func (c *Conn) Close(reason error) {
	c.mu.Lock()
	if c.reason != nil {
		c.mu.Unlock()
		return
	}
	if reason == nil {
		reason = ErrClosed
	}
	c.reason = reason
	c.changed.Broadcast()
	c.mu.Unlock()
	close(c.ended)
	_ = c.nc.Close()
}

// Finish ends the connection once what waits has been written; at once, if the peer does not take
// it.
func (c *Conn) Finish(reason error) {
	c.mu.Lock()
	slow := c.full(0)
	c.finished, c.last = true, reason
	c.changed.Broadcast()
	c.mu.Unlock()
	if slow {
		c.Close(reason)
	}
}

// Push puts a frame into the queue. It blocks while the peer does not take what waits, for
// WriteTime at most; then the connection ends.
func (c *Conn) Push(data []byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.open() && c.full(len(data)) {
		c.changed.Wait()
	}
	return c.enqueue(data)
}

// offer puts a frame into the queue unless it is full.
func (c *Conn) offer(data []byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.open() && c.full(len(data)) {
		return ErrSlow
	}
	return c.enqueue(data)
}

// open reports whether frames are taken still; c.mu is held.
func (c *Conn) open() bool { return c.reason == nil && !c.finished }

// full reports whether a frame of so many octets must wait; c.mu is held.
func (c *Conn) full(octets int) bool {
	most := c.cfg.QueueOctets
	if !c.cfg.Guest.Proved() {
		most = strangerOctets
	}
	return len(c.queue) >= c.cfg.QueueLength || c.queued > 0 && c.queued+octets > most
}

// enqueue puts a frame behind the others; c.mu is held.
func (c *Conn) enqueue(data []byte) error {
	if !c.open() {
		return ErrClosed
	}
	c.queue = append(c.queue, data)
	c.queued += len(data)
	c.changed.Broadcast()
	return nil
}

// write writes what waits, as much at once as there is, and returns why the connection ends.
func (c *Conn) write() error {
	for {
		batch, last := c.next()
		if batch == nil {
			return last
		}
		octets := 0
		for _, data := range batch {
			octets += len(data)
		}
		_ = c.nc.SetWriteDeadline(time.Now().Add(c.cfg.WriteTime))
		if _, err := batch.WriteTo(c.nc); err != nil {
			return err
		}
		c.mu.Lock()
		c.queued -= octets
		c.changed.Broadcast()
		c.mu.Unlock()
	}
}

// next waits for frames to be written; none when the connection ends, and why it does.
func (c *Conn) next() (batch net.Buffers, last error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.open() && len(c.queue) == 0 {
		c.changed.Wait()
	}
	if n := min(len(c.queue), c.batch); c.reason == nil && n > 0 {
		batch = slices.Clone(c.queue[:n])
		c.queue = slices.Delete(c.queue, 0, n)
		c.changed.Broadcast() // there is room, however long they take to be written
	}
	return batch, c.last
}

// watch has the requests looked at when the time of one is over. c.mu is held.
func (c *Conn) watch(due time.Time) {
	switch {
	case c.reason != nil:
	case c.due.IsZero():
		c.due = due
		c.watchers.Go(func() {
			if err := Guard(c.cfg.Log, "telling of time-outs", c.expire); err != nil {
				c.Close(err)
			}
		})
	case due.Before(c.due):
		c.due = due
		select {
		case c.sooner <- struct{}{}:
		default: // it will look in any case
		}
	}
}

// expire ends requests whose time is over, until none waits.
func (c *Conn) expire() error {
	for {
		c.mu.Lock()
		c.due = c.requests.nextDue()
		due := c.due
		c.mu.Unlock()
		if due.IsZero() {
			return nil
		}
		select {
		case <-time.After(time.Until(due)):
			c.requests.overdue(time.Now())
		case <-c.sooner:
		case <-c.ended:
			return nil
		}
	}
}

// Report says in the log what the peer does, or what cannot be done for it: of each kind one line a
// second, with how many were not told.
func (c *Conn) Report(level slog.Level, what string, args ...any) {
	c.faults.tell(level, c.nc, what, args...)
}

// Strike is Report of what the peer should not send. Its error is to end the connection: of a
// peer that has come through a gate, when that happens too often.
func (c *Conn) Strike(level slog.Level, what string, args ...any) error {
	if c.cfg.Guest != nil {
		return c.cfg.Guest.Strike(level, what, args...)
	}
	c.Report(level, what, args...)
	return nil
}
