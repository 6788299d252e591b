package asn1

import (
	"bufio"
	"context"
	"encoding/hex"
	"errors"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/tr87proxy/tr87proxy/internal/gate"
	"github.com/tr87proxy/tr87proxy/proxy"
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
	// event gets an event of the peer. Its error ends the connection.
	event(ev *uacsta.Message) error
}

// Why a connection ends.
var (
	ErrGarbage      = errors.New("too many PDUs that cannot be read")
	errUnassociated = errors.New("a PDU before the association")
)

// maxGarbage is how many PDUs in a row may be unreadable.
const maxGarbage = 8

// How long a PDU may be before the association is there, how many elements it may have, and how many
// octets of memory one of its octets takes until the peer has logged in.
const (
	longestRequest  = 2048
	requestElements = 128
	requestCost     = 64
)

// conn is one connection to a peer.
type conn struct {
	*gate.Peer[answer]

	cfg     gate.Limits
	codec   codec
	nc      net.Conn
	handler handler

	mu         sync.Mutex
	associated bool
	lastEvent  int         // invoke ID
	unanswered int         // requests of the peer
	held       []heldEvent // that wait until they are answered
	heldOctets int
}

// heldEvent is the frame of an event that waits, and the reference of its monitor.
type heldEvent struct {
	ref  string
	data []byte
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
		longest, elements, cost := MaxPDU, maxElements, 0
		if !c.isOpen() {
			longest, elements, cost = longestRequest, requestElements, requestCost
		}
		data, err := c.codec.flavour.frames.read(r, longest, func() { _ = c.nc.SetReadDeadline(time.Now().Add(c.cfg.FrameTime)) })
		if err != nil {
			return err
		}
		cost *= len(data)
		c.cfg.Guest.Take(cost) // for as long as a login takes: what follows it ends the connection
		err = c.take(data, elements)
		switch {
		case errors.Is(err, errUnreadable):
			c.cfg.Guest.Give(cost)
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

// take reads one PDU of at most so many elements.
func (c *conn) take(data []byte, elements int) error {
	p, err := parseWithin(data, elements)
	if err != nil {
		if len(data) > 0 && data[0] > 0xA0|byte(invoke) && data[0] <= 0xA0|byte(reject) {
			c.Report(slog.LevelInfo, "a malformed answer", "err", err)
			if err := c.answered(&pdu{kind: reject, problem: unrecognizedPDU}); err != nil { // there is a client that cannot do better
				return err
			}
			return errUnreadable
		}
		return c.unreadable(&pdu{kind: reject, problem: badlyStructuredPDU}, err)
	}
	if a, err := readAssociation(p); err == nil && c.codec.flavour.acse {
		return c.handler.associate(a)
	}
	if !c.isOpen() {
		return errUnassociated
	}
	m, err := readPDU(p)
	if err != nil {
		return c.unreadable(&pdu{kind: reject, problem: unrecognizedPDU}, err)
	}
	if m.kind != invoke {
		return c.answered(m)
	}
	if m.operation == eventReport {
		return c.takeEvent(m)
	}
	return c.takeRequest(m)
}

// unreadable rejects a PDU. It returns errUnreadable, or why the connection ends.
func (c *conn) unreadable(answer *pdu, err error) error {
	_ = c.queue(answer) // fails when the connection has ended
	if err := c.Strike(slog.LevelWarn, "a PDU that cannot be read", "err", err); err != nil {
		return err
	}
	return errUnreadable
}

func (c *conn) takeEvent(m *pdu) error {
	ev, unknown, err := c.codec.readEvent(m.body)
	if err != nil {
		return c.unreadable(&pdu{kind: reject, problem: mistypedArgument}, err)
	}
	if len(unknown) > 0 {
		c.cfg.Log.Debug("members of an event that are not known", "event", ev.Name(), "members", unknown)
	}
	return c.handler.event(ev)
}

func (c *conn) takeRequest(m *pdu) error {
	req, unknown, err := c.codec.readRequest(m.operation, m.body)
	switch {
	case err != nil:
		_ = c.queue(&pdu{kind: reject, id: m.id, problem: mistypedArgument})
		return c.Strike(slog.LevelWarn, "a request that cannot be read", "operation", m.operation, "err", err)
	case req == nil:
		_ = c.queue(&pdu{kind: reject, id: m.id, problem: unrecognizedOperation})
		return c.Strike(slog.LevelInfo, "a request for an operation that is not known", "operation", m.operation)
	case len(unknown) > 0: // to leave it out would be to do something else than what was asked for
		c.Report(slog.LevelInfo, "a request with members that are not known", "service", req.Name(), "members", unknown)
		_ = c.queue(&pdu{kind: returnError, id: m.id, body: c.codec.flavour.notation.failure(uacsta.Refuse(uacsta.Operation, "parameterNotSupported"))})
		return nil
	}
	c.mu.Lock()
	c.unanswered++
	c.mu.Unlock()
	service, ref := req.Name(), req.CrossRef()
	var once sync.Once
	c.handler.request(req, func(res *uacsta.Message) {
		once.Do(func() { c.answer(m, service, ref, res) })
	})
	return nil
}

// answer answers a request of the peer, which may have named a monitor, and lets go the events that
// waited for it. Those of a monitor that is stopped by it have come too late.
func (c *conn) answer(m *pdu, service, ref string, res *uacsta.Message) {
	if res != nil {
		_ = c.queue(c.answerOf(m, service, res)) // fails when the connection has ended
	}
	c.mu.Lock()
	if service == uacsta.NameMonitorStop && res != nil && res.Err() == nil {
		c.dropHeld(ref)
	}
	c.unanswered--
	var held []heldEvent
	if c.unanswered == 0 {
		held, c.held, c.heldOctets = c.held, nil, 0
	}
	c.mu.Unlock()
	for _, ev := range held {
		_ = c.Push(ev.data)
	}
}

// dropHeld forgets the events of a monitor that wait; c.mu is held.
func (c *conn) dropHeld(ref string) {
	c.held = slices.DeleteFunc(c.held, func(ev heldEvent) bool {
		if ev.ref == ref {
			c.heldOctets -= len(ev.data)
		}
		return ev.ref == ref
	})
}

func (c *conn) answerOf(m *pdu, service string, res *uacsta.Message) *pdu {
	refusal := res.Err()
	if refusal == nil {
		body, err := c.codec.response(service, res)
		if err == nil {
			return &pdu{kind: result, id: m.id, operation: m.operation, body: body}
		}
		c.Report(slog.LevelWarn, "an answer that cannot be said", "flavour", c.codec.flavour.Name, "service", service, "err", err)
		refusal = uacsta.Refuse(uacsta.Operation, "requestIncompatibleWithObject")
	}
	return &pdu{kind: returnError, id: m.id, body: c.codec.flavour.notation.failure(refusal)}
}

// answered takes the answer to a request of ours. One without an invoke ID is the answer to
// the only request that waits: there is a client that loses it.
func (c *conn) answered(m *pdu) error {
	id := 0
	for _, octet := range m.id {
		id = id<<8 | int(octet)
	}
	if only, is := c.Only(); is && len(m.id) == 0 {
		id = only
	}
	reply := c.Answered(id)
	if reply == nil {
		if err := c.Strike(slog.LevelWarn, "an answer that nobody waits for", "kind", m.kind.String(), "invoke", id); err != nil || c.cfg.Guest != nil {
			return err
		}
		return c.late(m)
	}
	reply(answer{m}, nil)
	return nil
}

// late hands up what a switching function answers too late: what it opened must be ended.
func (c *conn) late(m *pdu) error {
	s := c.codec.flavour.notation.serviceOf(m.operation, nil)
	if m.kind != result || m.empty || s == nil || !proxy.Opens(s.name+"Response") {
		return nil
	}
	res, err := c.readAnswer(s.name, m.operation, m)
	if err != nil {
		return nil //nolint:nilerr // it is in the log
	}
	return c.handler.event(res)
}

// ask sends a request. reply is called once: with the answer, a *uacsta.Error when it is
// refused or cannot be said, or one of gate's errors. ask blocks where gate.Peer.Ask does.
func (c *conn) ask(req *uacsta.Message, reply func(*uacsta.Message, error)) {
	c.request(c.Ask, req, reply)
}

// probe is ask for a sign of life (gate.Peer.Probe).
func (c *conn) probe(req *uacsta.Message, reply func(*uacsta.Message, error)) {
	c.request(c.Probe, req, reply)
}

// request sends a request by Ask or Probe.
func (c *conn) request(send func(func(int) ([]byte, error), func(answer, error)), req *uacsta.Message, reply func(*uacsta.Message, error)) {
	m := &pdu{kind: invoke}
	var err error
	if m.operation, m.body, err = c.codec.request(req); err != nil {
		reply(nil, err)
		return
	}
	service := req.Name()
	send(func(id int) ([]byte, error) {
		m.id = integer(id).Data.Bytes()
		return c.codec.flavour.frames.frame(m.octets())
	}, func(a answer, err error) {
		if err != nil {
			reply(nil, err)
			return
		}
		reply(c.readAnswer(service, m.operation, a.pdu))
	})
}

// readAnswer reads the answer to a request of ours. A result says of which operation it is, unless it
// is empty (X.880).
func (c *conn) readAnswer(service string, operation int, m *pdu) (*uacsta.Message, error) {
	switch {
	case m.kind == returnError:
		return nil, c.codec.flavour.notation.refusal(m.body)
	case m.kind == reject:
		return nil, m.problem.refusal()
	case m.empty:
	case m.operation != operation && older[m.operation] != operation && older[operation] != m.operation:
		c.Report(slog.LevelWarn, "an answer of the wrong kind", "service", service, "operation", m.operation)
		return nil, uacsta.Refuse(uacsta.Operation, uacsta.Generic)
	}
	res, unknown, err := c.codec.readResponse(service, m.body)
	if len(unknown) > 0 {
		c.cfg.Log.Debug("members of a result that are not known", "service", service, "members", unknown)
	}
	if err != nil {
		c.Report(slog.LevelWarn, "a result that cannot be read", "service", service, "err", err)
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
	if c.hold(heldEvent{strings.Clone(ev.CrossRef()), data}) {
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
		c.Report(level, "an event that cannot be said", "flavour", c.codec.flavour.Name, "event", ev.Name(), "err", err)
		return nil, err
	}
	c.mu.Lock()
	c.lastEvent = c.lastEvent%127 + 1
	id := c.lastEvent
	c.mu.Unlock()
	return c.codec.flavour.frames.frame((&pdu{kind: invoke, id: []byte{byte(id)}, operation: eventReport, body: body}).octets())
}

// hold keeps an event while the peer waits for an answer.
func (c *conn) hold(ev heldEvent) bool {
	if c.codec.flavour.notation == phase3 && !c.codec.flavour.exact {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.unanswered == 0 {
		return false
	}
	if c.heldOctets += len(ev.data); len(c.held) >= c.cfg.QueueLength || c.heldOctets > c.cfg.QueueOctets {
		c.Close(gate.ErrSlow)
		return true
	}
	c.held = append(c.held, ev)
	return true
}

// queue puts one PDU into the queue of those to be written.
func (c *conn) queue(m *pdu) error {
	data, err := c.codec.flavour.frames.frame(m.octets())
	if err != nil {
		c.Report(slog.LevelError, "a PDU that cannot be sent", "invoke", hex.EncodeToString(m.id), "err", err)
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
