package cstaxml

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/tr87proxy/tr87proxy/internal/gate"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

// Handler takes the messages of a peer. The connection calls it from one goroutine, in the order in which the peer
// wrote.
type Handler interface {
	// Request takes a request of the peer. The handler calls answer once, from any goroutine: with the response, or
	// with nil for a request without one.
	Request(req *uacsta.Message, answer func(*uacsta.Message))
	// Unclear takes a request that two readers may read differently, or, without a name, a document that nobody can
	// read. The handler refuses it by answer.
	Unclear(u *uacsta.Unclear, answer func(*uacsta.Message))
	// Event takes an event of the peer. Where we dialled the peer, it also takes responses that come after the timeout
	// of their request, for such a response may open something that must be ended. An error closes the connection.
	Event(ev *uacsta.Message) error
}

// The limits of a peer that has not logged in: they leave room for a login.
const (
	strangerFrame    = 4096 // octets of a frame
	strangerElements = 128  // elements of a document
	strangerCost     = 64   // octets of memory for each octet of a document, until it is answered
)

// Longest returns the length of the longest frame in octets that a connection reads from a guest now.
func Longest(guest *gate.Guest) int {
	if guest.Proved() {
		return MaxFrame
	}
	return strangerFrame
}

// unnumbered reports whether the peer of a connection leaves invoke IDs out. Then its requests are carried out one after the
// other, and a response of it is that to our oldest request.
func unnumbered(nc net.Conn) bool {
	n, ok := nc.(interface{ Unnumbered() bool })
	return ok && n.Unnumbered()
}

// firstToClient is the lowest invoke ID of a request to a client: some clients match responses by the ID alone, and their own
// requests begin with 0 or 1.
const firstToClient = 5000

// Conn is a connection to a peer. It is the same for a computing function and for a switching function: the roles
// differ only in the messages that they send.
type Conn struct {
	*gate.Peer[*uacsta.Message]

	cfg     gate.Limits
	nc      net.Conn
	handler Handler
}

// NewConn returns a connection over nc. It reads and writes once [Conn.Serve] or [Conn.Run] is called. A connection
// with limits.Guest came through a gate; any other was dialled.
func NewConn(nc net.Conn, handler Handler, cfg gate.Limits) *Conn {
	cfg.SetDefaults()
	cfg.Tap = cfg.Tap.On("csta-xml", nc, conceal)
	ids := gate.Numbering{LastID: EventID - 1, Batch: 64}
	if cfg.Guest != nil {
		ids.FirstID = firstToClient
	}
	return &Conn{cfg: cfg, nc: nc, handler: handler, Peer: gate.NewPeer[*uacsta.Message](nc, cfg, ids)}
}

// Serve reads and writes until the peer closes the connection, the connection fails, or ctx ends, and returns the
// reason. Requests without an answer then get gate.ErrClosed.
func (c *Conn) Serve(ctx context.Context) error { return c.Peer.Serve(ctx, c.read) }

// Run serves a connection that was dialled, while keep logs in and checks the peer (gate.Conn.Run). leave, if any,
// says goodbye to the peer when ctx has ended.
func (c *Conn) Run(ctx context.Context, keep func(context.Context) error, leave func()) error {
	return c.Peer.Run(ctx, c.read, keep, leave)
}

func (c *Conn) read() error {
	in := c.cfg.Tap.Input(c.nc)
	r := bufio.NewReaderSize(in, 4096)
	misfit := false // the peer has written a document longer than its header says
	for {
		_ = c.nc.SetReadDeadline(time.Time{})
		longest, elements := Longest(c.cfg.Guest), uacsta.MaxElements
		stranger := !c.cfg.Guest.Proved()
		if stranger {
			elements = strangerElements
		}
		id, document, err := ReadFrame(r, longest, func() { _ = c.nc.SetReadDeadline(time.Now().Add(c.cfg.FrameTime)) })
		if err != nil {
			in.Skip(r, stranger)
		}
		if err != nil && misfit {
			return fmt.Errorf("%w; the peer counts characters in the length of a document, not octets", err)
		}
		if err != nil {
			return err
		}
		t := &turn{conn: c, id: id, unnumbered: unnumbered(c.nc)}
		if stranger || t.unnumbered {
			t.answered = make(chan struct{})
		}
		cost := strangerCost * len(document)
		c.cfg.Guest.Take(cost)
		m, err := uacsta.ParseWithin(document, elements)
		if err != nil {
			if whole := c.rest(r, document, longest-headerSize); len(whole) > len(document) {
				misfit = true
				more := strangerCost * (len(whole) - len(document))
				c.cfg.Guest.Take(more)
				cost += more
				m, err = uacsta.ParseWithin(whole, elements)
			}
		}
		if err == nil {
			in.Keep(r, stranger)
			err = c.dispatch(t, m)
		} else { // the next frame can be read
			in.Skip(r, stranger)
			err = c.unreadable(t, err)
		}
		if err != nil {
			return err
		}
		t.wait()
		c.cfg.Guest.Give(cost)
	}
}

// restTime is how long the rest of a document may take that is longer than its header says.
const restTime = time.Second

// rest returns a document that cannot be read with the octets behind it that belong to it if its header counts characters
// instead of octets. It reads no more than longest octets, and nothing of the next frame, which begins with 0.
func (c *Conn) rest(r *bufio.Reader, document []byte, longest int) []byte {
	characters := 0
	count := func(octet byte) {
		if utf8.RuneStart(octet) {
			characters++
		}
	}
	for _, octet := range document {
		count(octet)
	}
	if characters == len(document) {
		return document
	}
	_ = c.nc.SetReadDeadline(time.Now().Add(restTime))
	whole := slices.Clip(document)
	for len(whole) < longest {
		next, err := r.Peek(1)
		if err != nil || next[0] == 0 || characters == len(document) && utf8.RuneStart(next[0]) {
			break
		}
		count(next[0])
		whole = append(whole, next[0])
		_, _ = r.Discard(1)
		if characters == len(document) && next[0] == '>' {
			break // nothing of a document follows its last character
		}
	}
	if len(whole) > len(document) {
		c.Report(slog.LevelWarn, "length of a document counts characters instead of octets", "length", len(document), "octets", len(whole))
	}
	return whole
}

// turn is a document of the peer, and its answer if it has one.
type turn struct {
	conn       *Conn
	id         int
	unnumbered bool // the peer has given no ID
	once       sync.Once
	asked      bool          // the document is a request
	answered   chan struct{} // closed when the request is answered; nil: nobody waits for that
}

// reply returns what takes the document, if it is the response to a request of ours; else nil.
func (t *turn) reply() func(*uacsta.Message, error) {
	id := t.id
	if t.unnumbered {
		id = t.conn.Oldest()
	}
	return t.conn.Answered(id)
}

// answer sends the response to a request of the peer; only the first call does.
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

// wait waits for the answer to a request of a peer that has one request at a time: one that has not logged in, or that does
// not number its requests.
func (t *turn) wait() {
	if !t.asked || t.answered == nil {
		return
	}
	select {
	case <-t.answered:
	case <-t.conn.Ended():
	}
}

// unreadable handles a document that is not CSTA-XML, or that two readers may read differently.
func (c *Conn) unreadable(t *turn, err error) error {
	var u *uacsta.Unclear
	message := errors.As(err, &u)
	if !message { // it counts as a request, so that the peer gets an answer
		u = &uacsta.Unclear{Refusal: &uacsta.Error{Category: uacsta.Operation, Value: uacsta.Generic, Detail: err.Error()}}
	}
	var end error
	if !message || u.Kind() != uacsta.Request || !c.cfg.Guest.Proved() { // the core limits and logs the requests of the others
		end = c.Strike(slog.LevelWarn, "could not read CSTA-XML document", "err", err)
	}
	switch u.Kind() {
	case uacsta.Request:
		t.asked = true
		c.handler.Unclear(u, t.answer)
	case uacsta.Event:
	default:
		if reply := t.reply(); reply != nil {
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
		reply := t.reply()
		if reply == nil {
			if err := c.Strike(slog.LevelWarn, "response without a request", "invoke", t.id, "message", m.Name()); err != nil || c.cfg.Guest != nil {
				return err
			}
			return c.handler.Event(m)
		}
		if refusal := m.Err(); refusal != nil {
			reply(nil, refusal)
		} else {
			reply(m, nil)
		}
	}
	return nil
}

// Request sends a request. It calls reply once: with the response, with a *uacsta.Error if the peer refuses the request
// or answers with the response of another service, or with an error of package gate. A request that has no response
// gets nil as soon as it is queued. Request blocks where gate.Peer.Ask does.
func (c *Conn) Request(req *uacsta.Message, reply func(*uacsta.Message, error)) {
	c.request(c.Ask, req, reply)
}

// Probe is Request for the requests that keep the connection, such as a heartbeat: requests of clients always leave
// room for one (gate.Peer.Probe).
func (c *Conn) Probe(req *uacsta.Message, reply func(*uacsta.Message, error)) {
	c.request(c.Peer.Probe, req, reply)
}

// request sends a request. One that has a response goes out by ask, which is Ask or Probe of gate.Peer.
func (c *Conn) request(ask func(func(int) ([]byte, error), func(*uacsta.Message, error)), req *uacsta.Message, reply func(*uacsta.Message, error)) {
	frame := func(id int) ([]byte, error) { return c.encode(id, req) }
	if req.OneWay() {
		reply(nil, c.Notify(frame))
		return
	}
	service := req.Name()
	ask(frame, func(res *uacsta.Message, err error) {
		if err == nil && !answers(res.Name(), service) {
			c.Report(slog.LevelWarn, "response of another service", "service", service, "response", res.Name())
			res, err = nil, &uacsta.Error{Category: uacsta.SystemResourceAvailability, Value: uacsta.Generic, Detail: "the response is " + res.Name()}
		}
		reply(res, err)
	})
}

// answers reports whether a response is that of a service. The responses of ECMA-354 are positive or negative.
func answers(response, service string) bool {
	kind, same := strings.CutPrefix(response, service)
	return same && (kind == "Response" || kind == "PosResponse" || kind == "NegResponse")
}

// Send sends an event. While the queue is full it blocks, for gate.Limits.WriteTime at most; then the connection closes.
func (c *Conn) Send(ev *uacsta.Message) error { return c.queue(EventID, ev) }

// queue puts a message into the queue of frames to write.
func (c *Conn) queue(id int, m *uacsta.Message) error {
	data, err := c.encode(id, m)
	if err != nil {
		return err
	}
	return c.Push(data)
}

// encode returns the frame of a message. In place of a response that does not fit in a frame it returns a refusal.
func (c *Conn) encode(id int, m *uacsta.Message) ([]byte, error) {
	document := ascii(m.Bytes()) // some peers take the length as a number of characters
	data, err := Frame(id, document)
	if err == nil {
		return data, nil
	}
	c.Report(slog.LevelError, "could not send message", "message", m.Name(), "octets", len(document), "err", err)
	if m.Kind() != uacsta.Response {
		return nil, err
	}
	return Frame(id, uacsta.Refuse(uacsta.SystemResourceAvailability, uacsta.ResourceLimitExceeded).Message(m.Edition()).Bytes())
}
