package cstaxml

import (
	"bufio"
	"context"
	"errors"
	"log/slog"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/tr87proxy/tr87proxy/internal/gate"
	"github.com/tr87proxy/tr87proxy/proxy"
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
	// Event gets an event of the peer. Its error ends the connection.
	Event(ev *uacsta.Message) error
}

// What a peer may send before it is proved: a login, and little else.
const (
	strangerFrame    = 4096 // octets of a frame
	strangerElements = 128  // of a document
	strangerCost     = 64   // octets of memory for one of a document, until it is answered
)

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
	r := bufio.NewReaderSize(c.nc, 4096)
	for {
		_ = c.nc.SetReadDeadline(time.Time{})
		longest, elements := maxFrame, uacsta.MaxElements
		stranger := !c.cfg.Guest.Proved()
		if stranger {
			longest, elements = strangerFrame, strangerElements
		}
		id, document, err := readFrame(r, longest, func() { _ = c.nc.SetReadDeadline(time.Now().Add(c.cfg.FrameTime)) })
		if err != nil {
			return err
		}
		t := &turn{conn: c, id: id}
		if stranger {
			t.answered = make(chan struct{})
		}
		cost := strangerCost * len(document)
		c.cfg.Guest.Take(cost)
		m, err := uacsta.ParseWithin(document, elements)
		if err == nil {
			err = c.dispatch(t, m)
		} else { // the frame was sound: the next one may be better
			err = c.unreadable(t, err)
		}
		if err != nil {
			return err
		}
		t.wait()
		c.cfg.Guest.Give(cost)
	}
}

// turn is a document of the peer that may have an answer.
type turn struct {
	conn     *Conn
	id       int
	once     sync.Once
	asked    bool          // it is a request
	answered chan struct{} // closed when it is answered; nil: nobody waits for that
}

// answer sends the answer to a request of the peer, one time.
func (t *turn) answer(res *uacsta.Message) {
	t.once.Do(func() {
		if res != nil {
			_ = t.conn.queue(t.id, res) // fails when the connection has ended
		}
		if t.answered != nil {
			close(t.answered)
		}
	})
}

// wait waits until the request of a peer that was not proved is answered: it has one at a time.
func (t *turn) wait() {
	if !t.asked || t.answered == nil {
		return
	}
	select {
	case <-t.answered:
	case <-t.conn.Ended():
	}
}

// unreadable answers a document that is no message, or can be read in two ways.
func (c *Conn) unreadable(t *turn, err error) error {
	var u *uacsta.Unclear
	message := errors.As(err, &u)
	if !message { // it may be anything, and counts as a request
		u = &uacsta.Unclear{Refusal: &uacsta.Error{Category: uacsta.Operation, Value: uacsta.Generic, Detail: err.Error()}}
	}
	var end error
	if !message || u.Kind() != uacsta.Request || !c.cfg.Guest.Proved() { // whose requests have a rate, and a line each
		end = c.Strike(slog.LevelWarn, "could not read a CSTA-XML document", "err", err)
	}
	switch u.Kind() {
	case uacsta.Request:
		t.asked = true
		c.handler.Unclear(u, t.answer)
	case uacsta.Event:
	default:
		if reply := c.Answered(t.id); reply != nil {
			reply(nil, uacsta.Refuse(uacsta.SystemResourceAvailability, uacsta.Generic))
		}
	}
	return end
}

func (c *Conn) dispatch(t *turn, m *uacsta.Message) error {
	switch m.Kind() {
	case uacsta.Event:
		return c.handler.Event(m)
	case uacsta.Request:
		t.asked = true
		c.handler.Request(m, t.answer)
	default:
		reply := c.Answered(t.id)
		if reply == nil {
			if err := c.Strike(slog.LevelWarn, "an answer that nobody waits for", "invoke", t.id, "message", m.Name()); err != nil || c.cfg.Guest != nil || !proxy.Opens(m.Name()) {
				return err
			}
			return c.handler.Event(m) // what it opened must be ended
		}
		if refusal := m.Err(); refusal != nil {
			reply(nil, refusal)
		} else {
			reply(m, nil)
		}
	}
	return nil
}

// Request sends a request. reply is called once: with the answer, a *uacsta.Error
// when it is refused or answered with something else, or one of gate's errors. A request that
// has no answer gets nil as soon as it is on its way. Request blocks where gate.Peer.Ask does.
func (c *Conn) Request(req *uacsta.Message, reply func(*uacsta.Message, error)) {
	c.request(c.Ask, req, reply)
}

// request sends a request; one that may have an answer goes out by ask, which is Ask or Probe.
func (c *Conn) request(ask func(func(int) ([]byte, error), func(*uacsta.Message, error)), req *uacsta.Message, reply func(*uacsta.Message, error)) {
	frame := func(id int) ([]byte, error) { return c.encode(id, req) }
	if req.OneWay() {
		reply(nil, c.Tell(frame))
		return
	}
	service := req.Name()
	ask(frame, func(res *uacsta.Message, err error) {
		if err == nil && !answers(res.Name(), service) {
			c.Report(slog.LevelWarn, "an answer of the wrong kind", "service", service, "answer", res.Name())
			res, err = nil, &uacsta.Error{Category: uacsta.SystemResourceAvailability, Value: uacsta.Generic, Detail: "the answer is " + res.Name()}
		}
		reply(res, err)
	})
}

// answers reports whether a response is one to a service: ECMA-354's are positive or negative.
func answers(response, service string) bool {
	kind, same := strings.CutPrefix(response, service)
	return same && (kind == "Response" || kind == "PosResponse" || kind == "NegResponse")
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
	c.Report(slog.LevelError, "a message that cannot be sent", "message", m.Name(), "octets", len(document), "err", err)
	if m.Kind() != uacsta.Response {
		return nil, err
	}
	return frame(id, uacsta.Refuse(uacsta.SystemResourceAvailability, uacsta.ResourceLimitExceeded).Message(m.Edition()).Bytes())
}
