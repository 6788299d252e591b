package cstaxml

import (
	"bufio"
	"context"
	"errors"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/tr87proxy/tr87proxy/uacsta"
)

// Config says how a connection behaves. Zero values take defaults.
type Config struct {
	Log            *slog.Logger
	MaxOutstanding int           // requests of ours that wait for answers; 1000
	Timeout        time.Duration // for an answer; 10 s
	FrameTime      time.Duration // a frame that has begun must be whole in this time; 10 s
	WriteTime      time.Duration // the peer must take a frame in this time; 10 s
	QueueLength    int           // frames that wait to be written; 256
}

func (cfg *Config) setDefaults() {
	def := func(p *time.Duration) {
		if *p == 0 {
			*p = 10 * time.Second
		}
	}
	def(&cfg.Timeout)
	def(&cfg.FrameTime)
	def(&cfg.WriteTime)
	if cfg.MaxOutstanding == 0 {
		cfg.MaxOutstanding = 1000
	}
	if cfg.QueueLength == 0 {
		cfg.QueueLength = 256
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
}

// Handler is what a connection tells its owner, one call at a time, in the order in
// which the peer wrote.
type Handler interface {
	// Request gets a request of the peer. answer is called once, from any
	// goroutine, with nil when the request has no answer.
	Request(req *uacsta.Message, answer func(*uacsta.Message))
	// Event gets an event of the peer.
	Event(ev *uacsta.Message)
}

// Why requests of ours have no answer.
var (
	ErrClosed         = errors.New("the connection is closed")
	ErrTimeout        = errors.New("the peer gave no answer in time")
	ErrTooManyWaiting = errors.New("too many requests wait for the peer's answer")
	ErrSlow           = errors.New("the peer does not take what is written")
)

// Conn is one connection to a peer. The roles differ in who sends what only.
type Conn struct {
	cfg     Config
	nc      net.Conn
	handler Handler
	out     chan []byte
	ended   chan struct{} // closed by end

	mu      sync.Mutex
	waiting map[int]*waiting // our requests, by invoke ID
	lastID  int              // invoke ID
	reason  error            // why it ended; nil while it lives
	last    error            // why it ends once what waits is written
}

// waiting is a request of ours.
type waiting struct {
	reply func(*uacsta.Message, error)
	timer *time.Timer
}

// NewConn makes a connection of a network connection. It reads and writes once Serve
// is called.
func NewConn(nc net.Conn, handler Handler, cfg Config) *Conn {
	cfg.setDefaults()
	return &Conn{
		cfg: cfg, nc: nc, handler: handler, out: make(chan []byte, cfg.QueueLength), ended: make(chan struct{}),
		waiting: map[int]*waiting{}, lastID: eventID - 1,
	}
}

// Serve reads and writes until the peer closes, something is wrong, or ctx ends; it
// returns the reason. Requests that wait then get ErrClosed.
func (c *Conn) Serve(ctx context.Context) error {
	var group sync.WaitGroup
	group.Go(c.write)
	stop := context.AfterFunc(ctx, func() { c.Close(ctx.Err()) })
	c.Close(c.read())
	stop()
	group.Wait()
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.reason
}

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
	orphans := c.waiting
	c.waiting = map[int]*waiting{}
	c.mu.Unlock()
	close(c.ended)
	_ = c.nc.Close()
	for _, w := range orphans {
		w.timer.Stop()
		w.reply(nil, ErrClosed)
	}
}

// Finish ends the connection once what waits has been written.
func (c *Conn) Finish(reason error) {
	c.mu.Lock()
	c.last = reason
	c.mu.Unlock()
	select {
	case c.out <- nil:
	default:
		c.Close(reason) // it does not take what waits
	}
}

func (c *Conn) read() error {
	r := bufio.NewReaderSize(c.nc, 8192)
	for {
		_ = c.nc.SetReadDeadline(time.Time{})
		id, document, err := readFrame(r, func() { _ = c.nc.SetReadDeadline(time.Now().Add(c.cfg.FrameTime)) })
		if err != nil {
			return err
		}
		m, err := uacsta.Parse(document)
		if err != nil { // the frame was sound: the next one may be better
			c.cfg.Log.Warn("a document that is no CSTA-XML", "peer", c.nc.RemoteAddr().String(), "err", err)
			_ = c.queue(id, uacsta.Refuse(uacsta.Operation, uacsta.Generic).Message(uacsta.Edition3)) // fails when the connection has ended
			continue
		}
		c.dispatch(id, m)
	}
}

func (c *Conn) dispatch(id int, m *uacsta.Message) {
	switch m.Kind() {
	case uacsta.Event:
		c.handler.Event(m)
	case uacsta.Request:
		var once sync.Once
		c.handler.Request(m, func(res *uacsta.Message) {
			once.Do(func() {
				if res != nil {
					_ = c.queue(id, res) // fails when the connection has ended
				}
			})
		})
	default:
		c.mu.Lock()
		w := c.waiting[id]
		delete(c.waiting, id)
		c.mu.Unlock()
		if w == nil {
			c.cfg.Log.Warn("an answer that nobody waits for", "peer", c.nc.RemoteAddr().String(), "invoke", id, "message", m.Name())
			return
		}
		w.timer.Stop()
		if refusal := m.Err(); refusal != nil {
			w.reply(nil, refusal)
			return
		}
		w.reply(m, nil)
	}
}

// Request sends a request. reply is called once: with the answer, a *uacsta.Error
// when it is refused, or one of the Err values. A request that has no answer gets
// nil as soon as it is on its way. Request does not block.
func (c *Conn) Request(req *uacsta.Message, reply func(*uacsta.Message, error)) {
	w := &waiting{reply: reply}
	c.mu.Lock()
	switch {
	case c.reason != nil:
		c.mu.Unlock()
		reply(nil, ErrClosed)
		return
	case len(c.waiting) >= c.cfg.MaxOutstanding:
		c.mu.Unlock()
		reply(nil, ErrTooManyWaiting)
		return
	}
	id := c.nextID()
	if !req.OneWay() {
		w.timer = time.AfterFunc(c.cfg.Timeout, func() { c.giveUp(id, w) })
		c.waiting[id] = w
	}
	c.mu.Unlock()
	data, err := c.encode(id, req)
	if err == nil {
		select {
		case c.out <- data:
		case <-c.ended:
			err = ErrClosed
		default:
			err = ErrSlow
		}
	}
	if req.OneWay() {
		reply(nil, err)
		return
	}
	if err != nil {
		c.fail(id, w, err)
	}
}

// nextID returns an invoke ID that no request of ours has; c.mu is held.
func (c *Conn) nextID() int {
	for {
		c.lastID = (c.lastID + 1) % eventID
		if c.waiting[c.lastID] == nil {
			return c.lastID
		}
	}
}

func (c *Conn) giveUp(id int, w *waiting) { c.fail(id, w, ErrTimeout) }

func (c *Conn) fail(id int, w *waiting, err error) {
	c.mu.Lock()
	mine := c.waiting[id] == w
	if mine {
		delete(c.waiting, id)
	}
	c.mu.Unlock()
	if mine {
		w.timer.Stop()
		w.reply(nil, err)
	}
}

// Send sends an event. It blocks while the peer does not take what waits, for
// WriteTime at most; then the connection ends.
func (c *Conn) Send(ev *uacsta.Message) error { return c.queue(eventID, ev) }

// queue puts one message into the queue of those to be written.
func (c *Conn) queue(id int, m *uacsta.Message) error {
	data, err := c.encode(id, m)
	if err != nil {
		return err
	}
	select {
	case <-c.ended:
		return ErrClosed
	default:
	}
	select {
	case c.out <- data:
		return nil
	case <-c.ended:
		return ErrClosed
	}
}

// encode makes the frame of a message. An answer that is too long becomes a refusal.
func (c *Conn) encode(id int, m *uacsta.Message) ([]byte, error) {
	document := ascii(m.Bytes()) // there are peers that count characters where octets are meant
	data, err := frame(id, document)
	if err == nil {
		return data, nil
	}
	c.cfg.Log.Error("a message that cannot be sent", "peer", c.nc.RemoteAddr().String(), "message", m.Name(), "octets", len(document), "err", err)
	if m.Kind() != uacsta.Response {
		return nil, err
	}
	return frame(id, uacsta.Refuse(uacsta.SystemResourceAvailability, uacsta.ResourceLimitExceeded).Message(m.Edition()).Bytes())
}

// write writes what waits, as much at once as there is.
func (c *Conn) write() {
	for {
		var batch net.Buffers
		select {
		case <-c.ended:
			return
		case data := <-c.out:
			batch = append(batch, data)
		}
		for more := true; more && len(batch) < 64 && batch[len(batch)-1] != nil; {
			select {
			case data := <-c.out:
				batch = append(batch, data)
			default:
				more = false
			}
		}
		finish := batch[len(batch)-1] == nil
		_ = c.nc.SetWriteDeadline(time.Now().Add(c.cfg.WriteTime))
		_, err := batch.WriteTo(c.nc)
		if err == nil && finish {
			c.mu.Lock()
			err = c.last
			c.mu.Unlock()
		}
		if err != nil {
			c.Close(err)
			return
		}
	}
}
