package gate

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/tr87proxy/tr87proxy/internal/trace"
)

// Why a connection was closed, or a request got no response.
var (
	ErrClosed         = errors.New("connection closed")
	ErrTimeout        = errors.New("no response in time")
	ErrTooManyWaiting = errors.New("too many requests without response")
	ErrSlow           = errors.New("peer too slow: send queue full")
	// ErrCut is an ErrClosed of a request that may have reached the peer.
	ErrCut = fmt.Errorf("%w before the response", ErrClosed)
)

// Limits configures a [Conn]. Zero fields take the defaults in the comments.
type Limits struct {
	Log            *slog.Logger
	MaxOutstanding int           // requests without response, not counting a probe; default 1000, and fewer than there are invoke IDs
	Timeout        time.Duration // for a response; default 10 s
	FrameTime      time.Duration // from the first octet of a frame to its last; default 10 s; see Conn.Serve
	WriteTime      time.Duration // for the peer to accept a frame; default 10 s
	QueueLength    int           // unsent frames; default 256
	QueueOctets    int           // octets of unsent frames, if there is more than one; default 256 KiB
	Guest          *Guest        // the peer, if a Gate accepted it; nil if we dialled
	Tap            *trace.Tap    // keeps the octets; nil: nobody wants them
}

// strangerOctets is the QueueOctets of a stranger.
const strangerOctets = 16 << 10

// Lost reports whether reason means that the connection was lost: neither did the peer close it
// between two frames, nor did we.
func Lost(reason error) bool {
	return errors.Is(reason, io.ErrUnexpectedEOF) || errors.Is(reason, os.ErrDeadlineExceeded) || errors.As(reason, new(*net.OpError))
}

// SetDefaults replaces zero fields with their defaults.
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

// Conn is a connection with one goroutine that reads and one that writes from a bounded queue,
// so that senders do not wait for the peer. [Peer] and [Commands] add requests that await
// responses.
type Conn struct {
	cfg      Limits
	batch    int // maximum frames in one write
	nc       net.Conn
	faults   *faults
	requests requests
	ended    chan struct{} // closed by Close

	mu       sync.Mutex
	reason   error      // why it was closed; nil while it is open
	queue    [][]byte   // unsent frames
	queued   int        // octets of unsent frames and of those being written
	finished bool       // close after sending the queue
	last     error      // reason given to Finish
	changed  *sync.Cond // the queue or the state changed

	watchers sync.WaitGroup
	due      time.Time     // when the watcher next checks the requests; zero: no watcher runs
	sooner   chan struct{} // signals that it must check earlier
}

// requests are our requests that await responses.
type requests interface {
	// nextDue returns the next timeout, or zero. Conn.mu is held.
	nextDue() time.Time
	// overdue handles the requests that have timed out.
	overdue(now time.Time)
	// abandon fails all requests with ErrClosed, or ErrCut. No request is added after that.
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

// Serve writes queued frames and calls read once, which loops until reading fails. The
// connection is closed when read returns, with or without an error, when Close is called, or
// when ctx ends. Serve returns the reason, which is [ErrClosed] if read returned nil. Since
// only read knows where a frame begins, it sets the read deadline to FrameTime at its first
// octet and clears it after the last. Requests without response get ErrClosed before Serve
// returns; no callback runs after that. A panic in read or in a callback closes this connection
// only.
func (c *Conn) Serve(ctx context.Context, read func() error) error {
	var group sync.WaitGroup
	group.Go(func() { c.Close(Guard(c.cfg.Log, "writing", c.write)) })
	stop := context.AfterFunc(ctx, func() { c.Close(context.Cause(ctx)) })
	c.Close(Guard(c.cfg.Log, "reading", read))
	stop()
	group.Wait()
	c.watchers.Wait()
	for Guard(c.cfg.Log, "failing open requests", func() error { c.requests.abandon(); return nil }) != nil { // continue with the others after a panic
		continue
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.reason
}

// Run serves a connection that we dialled, with read as for [Conn.Serve]. Meanwhile keep logs
// in and checks that the peer is alive. Its context ends with the connection. When keep
// returns, the connection is closed; if ctx has ended by then, leave, if not nil, is called
// first to say goodbye to the peer. Run returns the reason after both goroutines have ended. A
// front, whose peers come through a [Gate], calls Serve, unless it must log in to its peers or
// check that they are alive.
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

// Ended returns a channel that is closed with the connection.
func (c *Conn) Ended() <-chan struct{} { return c.ended }

// Close closes the connection. Only the first reason counts; nil means [ErrClosed].
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
	if nc, ok := c.nc.(reasoned); ok {
		nc.CloseFor(reason)
	} else {
		_ = c.nc.Close()
	}
}

// reasoned is a connection that tells its peer why it is closed. CloseFor does not wait for the peer.
type reasoned interface{ CloseFor(reason error) }

// Finish closes the connection after the queue was sent, or at once if the queue is full.
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

// Push queues a frame. It blocks while the queue is full, at most WriteTime; then the
// connection is closed.
func (c *Conn) Push(data []byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.push(data)
}

// PushLast queues a frame as Push does, and closes the connection after it was sent: no frame
// comes after it.
func (c *Conn) PushLast(data []byte, reason error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.push(data); err != nil {
		return err
	}
	c.finished, c.last = true, reason
	return nil
}

// push waits until there is room and queues a frame. Callers hold c.mu.
func (c *Conn) push(data []byte) error {
	for c.open() && c.full(len(data)) {
		c.changed.Wait()
	}
	return c.enqueue(data)
}

// offer queues a frame, or returns ErrSlow if the queue is full.
func (c *Conn) offer(data []byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.open() && c.full(len(data)) {
		return ErrSlow
	}
	return c.enqueue(data)
}

// open reports whether frames are accepted. Callers hold c.mu.
func (c *Conn) open() bool { return c.reason == nil && !c.finished }

// full reports whether a frame of so many octets does not fit into the queue. Callers hold
// c.mu.
func (c *Conn) full(octets int) bool {
	most := c.cfg.QueueOctets
	if !c.cfg.Guest.Proved() {
		most = strangerOctets
	}
	return len(c.queue) >= c.cfg.QueueLength || c.queued > 0 && c.queued+octets > most
}

// enqueue appends a frame to the queue. Callers hold c.mu.
func (c *Conn) enqueue(data []byte) error {
	if !c.open() {
		return ErrClosed
	}
	c.queue = append(c.queue, data)
	c.queued += len(data)
	c.changed.Broadcast()
	return nil
}

// write writes queued frames, several at a time, and returns why the connection must be closed.
func (c *Conn) write() error {
	for {
		batch, last := c.next()
		if batch == nil {
			return last
		}
		octets := 0
		for _, data := range batch {
			octets += len(data)
			c.cfg.Tap.Keep(true, !c.cfg.Guest.Proved(), data) // first: the response can be there before the write returns
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

// next waits for frames to write. It returns none when the connection must be closed, and the
// reason.
func (c *Conn) next() (batch net.Buffers, last error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.open() && len(c.queue) == 0 {
		c.changed.Wait()
	}
	if n := min(len(c.queue), c.batch); c.reason == nil && n > 0 {
		batch = slices.Clone(c.queue[:n])
		c.queue = slices.Delete(c.queue, 0, n)
		c.changed.Broadcast() // the queue has room, however long the write takes
	}
	return batch, c.last
}

// watch makes the watcher check the requests at due. Callers hold c.mu.
func (c *Conn) watch(due time.Time) {
	switch {
	case c.reason != nil:
	case c.due.IsZero():
		c.due = due
		c.watchers.Go(func() {
			if err := Guard(c.cfg.Log, "handling timeouts", c.expire); err != nil {
				c.Close(err)
			}
		})
	case due.Before(c.due):
		c.due = due
		select {
		case c.sooner <- struct{}{}:
		default: // a check is already pending
		}
	}
}

// expire handles timeouts until no request waits.
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

// Report logs what the peer did, or what could not be done for it, at most one line a second
// for each message. The attribute suppressed counts the others.
func (c *Conn) Report(level slog.Level, what string, args ...any) {
	c.faults.report(level, c.nc, what, args...)
}

// Strike is Report for something the peer should not have sent. If a peer that came through a
// gate does so too often, Strike returns an error with which the caller must close the
// connection.
func (c *Conn) Strike(level slog.Level, what string, args ...any) error {
	if c.cfg.Guest != nil {
		return c.cfg.Guest.Strike(level, what, args...)
	}
	c.Report(level, what, args...)
	return nil
}
