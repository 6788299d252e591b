package asn1

import (
	"bufio"
	"context"
	"encoding/hex"
	"errors"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/tr87proxy/tr87proxy/gate"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

// handler is what a connection tells its owner, one call at a time, in the order in which
// the peer wrote.
type handler interface {
	// associate gets a PDU of ACSE. Its error ends the connection.
	associate(a *association) error
	// request gets a request of the peer. answer is called once, from any goroutine, with
	// nil when the request has no answer.
	request(req *uacsta.Message, answer func(*uacsta.Message))
	event(ev *uacsta.Message)
}

// Why a connection ends.
var (
	ErrGarbage      = errors.New("too many PDUs that cannot be read")
	errUnassociated = errors.New("a PDU before the association")
)

// maxGarbage is how many PDUs in a row may be unreadable.
const maxGarbage = 8

// longestRequest is how long a PDU may be before the association is there.
const longestRequest = 2048

// conn is one connection to a peer.
type conn struct {
	*gate.Peer[answer]

	cfg     gate.Limits
	codec   codec
	nc      net.Conn
	handler handler

	mu         sync.Mutex
	associated bool
	lastEvent  int      // invoke ID
	unanswered int      // requests of the peer
	held       [][]byte // events that wait until they are answered
}

// answer is what the peer says to a request of ours: a PDU, which is read as the service wants
// it.
type answer struct{ pdu *pdu }

func newConn(nc net.Conn, h handler, f Flavour, ids callIDs, cfg gate.Limits) *conn {
	cfg.SetDefaults()
	return &conn{
		cfg: cfg, codec: codec{flavour: f, callIDs: ids, now: time.Now}, nc: nc, handler: h, associated: !f.acse,
		// there are peers that read a PDU with one read
		Peer: gate.NewPeer[answer](nc, cfg, gate.Numbering{FirstID: 1, LastID: maxID, Batch: 1}),
	}
}

// maxID is the highest invoke ID of ours: there is a peer that does not read longer ones.
const maxID = 127

// serve reads and writes until the peer closes, something is wrong, or ctx ends; it returns
// the reason. Requests that wait then get gate.ErrClosed.
func (c *conn) serve(ctx context.Context) error { return c.Serve(ctx, c.read) }

// open says that the association is there.
func (c *conn) open() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.associated = true
}

func (c *conn) isOpen() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.associated
}

func (c *conn) read() error {
	r := bufio.NewReader(c.nc)
	for garbage := 0; ; {
		_ = c.nc.SetReadDeadline(time.Time{})
		longest := MaxPDU
		if !c.isOpen() {
			longest = longestRequest
		}
		data, err := c.codec.flavour.frames.read(r, longest, func() { _ = c.nc.SetReadDeadline(time.Now().Add(c.cfg.FrameTime)) })
		if err != nil {
			return err
		}
		err = c.take(data)
		switch {
		case errors.Is(err, errUnreadable):
			if garbage++; garbage == maxGarbage {
				return ErrGarbage
			}
		case err != nil:
			return err
		default:
			garbage = 0
		}
	}
}

// errUnreadable is of a PDU that was rejected: the frame was sound, the next one may be
// better.
var errUnreadable = errors.New("unreadable")

// take reads one PDU.
func (c *conn) take(data []byte) error {
	p, err := parse(data)
	if err != nil {
		if len(data) > 0 && data[0] > 0xA0|byte(invoke) && data[0] <= 0xA0|byte(reject) {
			c.cfg.Log.Info("a malformed answer", "peer", c.nc.RemoteAddr().String(), "err", err)
			c.answered(&pdu{kind: reject, problem: unrecognizedPDU}) // there is a client that cannot do better
			return errUnreadable
		}
		c.unreadable(badlyStructuredPDU, err)
		return errUnreadable
	}
	if a, err := readAssociation(p); err == nil && c.codec.flavour.acse {
		return c.handler.associate(a)
	}
	if !c.isOpen() {
		return errUnassociated
	}
	m, err := readPDU(p)
	if err != nil {
		c.unreadable(unrecognizedPDU, err)
		return errUnreadable
	}
	if m.kind != invoke {
		c.answered(m)
		return nil
	}
	if m.operation == eventReport {
		return c.takeEvent(m)
	}
	c.takeRequest(m)
	return nil
}

func (c *conn) unreadable(why problem, err error) {
	c.cfg.Log.Warn("a PDU that cannot be read", "peer", c.nc.RemoteAddr().String(), "err", err)
	_ = c.queue(&pdu{kind: reject, problem: why}) // fails when the connection has ended
}

func (c *conn) takeEvent(m *pdu) error {
	ev, unknown, err := c.codec.readEvent(m.body)
	if err != nil {
		c.unreadable(mistypedArgument, err)
		return errUnreadable
	}
	if len(unknown) > 0 {
		c.cfg.Log.Debug("members of an event that are not known", "event", ev.Name(), "members", unknown)
	}
	c.handler.event(ev)
	return nil
}

func (c *conn) takeRequest(m *pdu) {
	req, unknown, err := c.codec.readRequest(m.operation, m.body)
	switch {
	case err != nil:
		c.cfg.Log.Warn("a request that cannot be read", "peer", c.nc.RemoteAddr().String(), "operation", m.operation, "err", err)
		_ = c.queue(&pdu{kind: reject, id: m.id, problem: mistypedArgument})
		return
	case req == nil:
		c.cfg.Log.Info("a request for an operation that is not known", "peer", c.nc.RemoteAddr().String(), "operation", m.operation)
		_ = c.queue(&pdu{kind: reject, id: m.id, problem: unrecognizedOperation})
		return
	case len(unknown) > 0: // to leave it out would be to do something else than what was asked for
		c.cfg.Log.Info("a request with members that are not known", "peer", c.nc.RemoteAddr().String(), "service", req.Name(), "members", unknown)
		_ = c.queue(&pdu{kind: returnError, id: m.id, body: c.codec.flavour.notation.failure(uacsta.Refuse(uacsta.Operation, "parameterNotSupported"))})
		return
	}
	c.mu.Lock()
	c.unanswered++
	c.mu.Unlock()
	service := req.Name()
	var once sync.Once
	c.handler.request(req, func(res *uacsta.Message) {
		once.Do(func() { c.answer(m, service, res) })
	})
}

// answer answers a request of the peer, and lets go the events that waited for it.
func (c *conn) answer(m *pdu, service string, res *uacsta.Message) {
	if res != nil {
		_ = c.queue(c.answerOf(m, service, res)) // fails when the connection has ended
	}
	c.mu.Lock()
	c.unanswered--
	var held [][]byte
	if c.unanswered == 0 {
		held, c.held = c.held, nil
	}
	c.mu.Unlock()
	for _, data := range held {
		_ = c.Push(data)
	}
}

func (c *conn) answerOf(m *pdu, service string, res *uacsta.Message) *pdu {
	refusal := res.Err()
	if refusal == nil {
		body, err := c.codec.response(service, res)
		if err == nil {
			return &pdu{kind: result, id: m.id, operation: m.operation, body: body}
		}
		c.cfg.Log.Warn("an answer that cannot be said", "flavour", c.codec.flavour.Name, "service", service, "err", err)
		refusal = uacsta.Refuse(uacsta.Operation, "requestIncompatibleWithObject")
	}
	return &pdu{kind: returnError, id: m.id, body: c.codec.flavour.notation.failure(refusal)}
}

// answered takes the answer to a request of ours. One without an invoke ID is the answer to
// the only request that waits: there is a client that loses it.
func (c *conn) answered(m *pdu) {
	id := 0
	for _, octet := range m.id {
		id = id<<8 | int(octet)
	}
	if only, is := c.Only(); is && len(m.id) == 0 {
		id = only
	}
	reply := c.Answered(id)
	if reply == nil {
		c.cfg.Log.Warn("an answer that nobody waits for", "peer", c.nc.RemoteAddr().String(), "kind", m.kind.String(), "invoke", id)
		return
	}
	reply(answer{m}, nil)
}

// ask sends a request. reply is called once: with the answer, a *uacsta.Error when it is
// refused or cannot be said, or one of gate's errors. ask does not block.
func (c *conn) ask(req *uacsta.Message, reply func(*uacsta.Message, error)) {
	m := &pdu{kind: invoke}
	var err error
	if m.operation, m.body, err = c.codec.request(req); err != nil {
		reply(nil, err)
		return
	}
	service := req.Name()
	c.Ask(func(id int) ([]byte, error) {
		m.id = integer(id).Data.Bytes()
		return c.codec.flavour.frames.frame(m.octets())
	}, func(a answer, err error) {
		if err != nil {
			reply(nil, err)
			return
		}
		reply(c.readAnswer(service, a.pdu))
	})
}

// readAnswer reads the answer to a request of ours.
func (c *conn) readAnswer(service string, m *pdu) (*uacsta.Message, error) {
	switch m.kind {
	case returnError:
		return nil, c.codec.flavour.notation.refusal(m.body)
	case reject:
		return nil, m.problem.refusal()
	}
	res, unknown, err := c.codec.readResponse(service, m.body)
	if len(unknown) > 0 {
		c.cfg.Log.Debug("members of a result that are not known", "service", service, "members", unknown)
	}
	if err != nil {
		c.cfg.Log.Warn("a result that cannot be read", "service", service, "err", err)
		return nil, uacsta.Refuse(uacsta.Operation, uacsta.Generic)
	}
	return res, nil
}

// send sends an event. It blocks while the peer does not take what waits, for WriteTime at
// most; then the connection ends. To peers that take the next PDU for the answer to what they
// asked, events go when everything is answered.
func (c *conn) send(ev *uacsta.Message) {
	data, err := c.eventFrame(ev)
	if err != nil {
		return
	}
	if c.hold(data) {
		return
	}
	_ = c.Push(data) // fails when the connection has ended
}

// eventFrame makes the frame of an event; what the phase does not have is said in the log.
func (c *conn) eventFrame(ev *uacsta.Message) ([]byte, error) {
	body, err := c.codec.event(ev)
	if err != nil {
		level := slog.LevelWarn
		if errors.Is(err, errUnknownService) { // nothing is wrong: the phase is as it is
			level = slog.LevelDebug
		}
		c.cfg.Log.Log(context.Background(), level, "an event that cannot be said", "flavour", c.codec.flavour.Name, "event", ev.Name(), "err", err)
		return nil, err
	}
	c.mu.Lock()
	c.lastEvent = c.lastEvent%127 + 1
	id := c.lastEvent
	c.mu.Unlock()
	return c.codec.flavour.frames.frame((&pdu{kind: invoke, id: []byte{byte(id)}, operation: eventReport, body: body}).octets())
}

// hold keeps an event while the peer waits for an answer.
func (c *conn) hold(data []byte) bool {
	if c.codec.flavour.notation == phase3 && !c.codec.flavour.exact {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.unanswered == 0 {
		return false
	}
	if len(c.held) >= c.cfg.QueueLength {
		c.Close(gate.ErrSlow)
		return true
	}
	c.held = append(c.held, data)
	return true
}

// queue puts one PDU into the queue of those to be written.
func (c *conn) queue(m *pdu) error {
	data, err := c.codec.flavour.frames.frame(m.octets())
	if err != nil {
		c.cfg.Log.Error("a PDU that cannot be sent", "peer", c.nc.RemoteAddr().String(), "invoke", hex.EncodeToString(m.id), "err", err)
		if m.kind != result {
			return err
		}
		m = &pdu{kind: returnError, id: m.id, body: c.codec.flavour.notation.failure(uacsta.Refuse(uacsta.SystemResourceAvailability, uacsta.ResourceLimitExceeded))}
		if data, err = c.codec.flavour.frames.frame(m.octets()); err != nil {
			return err
		}
	}
	return c.Push(data)
}

// queueAssociation puts a PDU of ACSE into the queue.
func (c *conn) queueAssociation(a *association) {
	if data, err := c.codec.flavour.frames.frame(a.octets()); err == nil {
		_ = c.Push(data) // fails when the connection has ended
	}
}
