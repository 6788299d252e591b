package cstaxml

import (
	"bufio"
	"context"
	"errors"
	"net"
	"sync"
	"time"

	"github.com/tr87proxy/tr87proxy/gate"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

// Handler is what a connection tells its owner, one call at a time, in the order in
// which the peer wrote.
type Handler interface {
	// Request gets a request of the peer. answer is called once, from any
	// goroutine, with nil when the request has no answer.
	Request(req *uacsta.Message, answer func(*uacsta.Message))
	// Unclear gets a request of the peer that can be read in two ways, or, without a name, a
	// document that cannot be read, to be refused.
	Unclear(u *uacsta.Unclear, answer func(*uacsta.Message))
	// Event gets an event of the peer.
	Event(ev *uacsta.Message)
}

// Conn is one connection to a peer. The roles differ in who sends what only.
type Conn struct {
	*gate.Peer[*uacsta.Message]

	cfg     gate.Limits
	nc      net.Conn
	handler Handler
}

// NewConn makes a connection of a network connection. It reads and writes once Serve
// is called.
func NewConn(nc net.Conn, handler Handler, cfg gate.Limits) *Conn {
	cfg.SetDefaults()
	return &Conn{cfg: cfg, nc: nc, handler: handler, Peer: gate.NewPeer[*uacsta.Message](nc, cfg, gate.Numbering{LastID: eventID - 1, Batch: 64})}
}

// Serve reads and writes until the peer closes, something is wrong, or ctx ends; it
// returns the reason. Requests that wait then get gate.ErrClosed.
func (c *Conn) Serve(ctx context.Context) error { return c.Peer.Serve(ctx, c.read) }

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
			c.unreadable(id, err)
			continue
		}
		c.dispatch(id, m)
	}
}

// unreadable answers a document that is no message, or can be read in two ways.
func (c *Conn) unreadable(id int, err error) {
	var u *uacsta.Unclear
	if !errors.As(err, &u) { // it may be anything, and counts as a request
		u = &uacsta.Unclear{Refusal: &uacsta.Error{Category: uacsta.Operation, Value: uacsta.Generic, Detail: err.Error()}}
	}
	if u.Kind() == uacsta.Request {
		c.handler.Unclear(u, c.once(id)) // who refuses it, logs it
		return
	}
	c.cfg.Log.Warn("could not read a CSTA-XML document", "peer", c.nc.RemoteAddr().String(), "err", err)
	if u.Kind() == uacsta.Event {
		return
	}
	if reply := c.Answered(id); reply != nil {
		reply(nil, uacsta.Refuse(uacsta.SystemResourceAvailability, uacsta.Generic))
	}
}

// once returns what sends the answer to a request of the peer, one time.
func (c *Conn) once(id int) func(*uacsta.Message) {
	var once sync.Once
	return func(res *uacsta.Message) {
		once.Do(func() {
			if res != nil {
				_ = c.queue(id, res) // fails when the connection has ended
			}
		})
	}
}

func (c *Conn) dispatch(id int, m *uacsta.Message) {
	switch m.Kind() {
	case uacsta.Event:
		c.handler.Event(m)
	case uacsta.Request:
		c.handler.Request(m, c.once(id))
	default:
		reply := c.Answered(id)
		if reply == nil {
			c.cfg.Log.Warn("an answer that nobody waits for", "peer", c.nc.RemoteAddr().String(), "invoke", id, "message", m.Name())
			return
		}
		if refusal := m.Err(); refusal != nil {
			reply(nil, refusal)
			return
		}
		reply(m, nil)
	}
}

// Request sends a request. reply is called once: with the answer, a *uacsta.Error
// when it is refused, or one of gate's errors. A request that has no answer gets
// nil as soon as it is on its way. Request does not block.
func (c *Conn) Request(req *uacsta.Message, reply func(*uacsta.Message, error)) {
	if !req.OneWay() {
		c.Ask(func(id int) ([]byte, error) { return c.encode(id, req) }, reply)
		return
	}
	data, err := c.encode(c.ID(), req)
	if err == nil {
		err = c.Offer(data)
	}
	reply(nil, err)
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
	return c.Push(data)
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
