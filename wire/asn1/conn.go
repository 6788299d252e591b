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

	"github.com/tr87proxy/tr87proxy/internal/gate"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

// Handler takes the messages of a peer. The connection calls it from one goroutine, in the order in which the peer
// wrote.
type Handler interface {
	// Associate takes a PDU of ACSE. An error closes the connection.
	Associate(a *Association) error
	// Request takes a request of the peer. The handler calls answer once, from any goroutine: with the response, or
	// with nil for a request without one.
	Request(req *uacsta.Message, answer func(*uacsta.Message))
	// Event takes an event of the peer. Where we dialled the peer, it also takes responses that come after the timeout
	// of their request, for such a response may open something that must be ended. An error closes the connection.
	Event(ev *uacsta.Message) error
}

// Why a connection ends.
var (
	ErrGarbage      = errors.New("the peer sent too many PDUs in a row that cannot be read")
	errUnassociated = errors.New("the peer sent a PDU before it opened an association")
)

// maxGarbage is how many PDUs in a row may be unreadable.
const maxGarbage = 8

// The limits before an association is open.
const (
	longestRequest  = 2048 // octets of a PDU
	requestElements = 128  // elements of a PDU
	requestCost     = 64   // octets of memory for each octet of a PDU, until the peer has logged in
)

// Conn is a connection to a peer. It is the same for a computing function and for a switching function.
type Conn struct {
	*gate.Peer[answer]

	limits  gate.Limits
	codec   *Codec
	nc      net.Conn
	handler Handler

	mu         sync.Mutex
	associated bool
	lastEvent  int         // invoke ID
	unanswered int         // requests of the peer
	held       []heldEvent // events that wait until these are answered
	heldOctets int
}

// answer is the answer to a request of ours. It is read as the result of the service that was requested.
type answer struct{ pdu *PDU }

// NewConn returns a connection over nc. It reads and writes once [Conn.Serve] or [Conn.Run] is called. A connection
// with limits.Guest came through a gate; any other was dialled.
func NewConn(nc net.Conn, handler Handler, codec *Codec, limits gate.Limits) *Conn {
	limits.SetDefaults()
	limits.Tap = limits.Tap.On("asn1", nc, codec.conceal)
	return &Conn{
		limits: limits, codec: codec, nc: nc, handler: handler, associated: !codec.flavour.Associates,
		// some peers read a PDU with one read, so that each is written alone
		Peer: gate.NewPeer[answer](nc, limits, gate.Numbering{FirstID: 1, LastID: maxID, Batch: 1}),
	}
}

// maxID is the highest invoke ID of ours: some peers do not read one of two octets.
const maxID = 127

// Serve reads and writes until the peer closes the connection, the connection fails, or ctx ends, and returns the
// reason. Requests without an answer then get gate.ErrClosed.
func (c *Conn) Serve(ctx context.Context) error { return c.Peer.Serve(ctx, c.read) }

// Run serves a connection that was dialled, while keep logs in and checks the peer (gate.Conn.Run). leave, if any,
// says goodbye to the peer when ctx has ended.
func (c *Conn) Run(ctx context.Context, keep func(context.Context) error, leave func()) error {
	return c.Peer.Run(ctx, c.read, keep, leave)
}

// Establish makes the association the peer's own: the connection takes its requests and events from now on. A flavour
// without associations needs no call.
func (c *Conn) Establish() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.associated = true
}

func (c *Conn) established() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.associated
}

func (c *Conn) read() error {
	in := c.limits.Tap.Input(c.nc)
	r := bufio.NewReader(in)
	for garbage := 0; ; {
		_ = c.nc.SetReadDeadline(time.Time{})
		longest, elements, cost := MaxPDU, MaxElements, 0
		if !c.established() {
			longest, elements, cost = longestRequest, requestElements, requestCost
		}
		data, err := c.codec.ReadFrame(r, longest, func() { _ = c.nc.SetReadDeadline(time.Now().Add(c.limits.FrameTime)) })
		stranger := !c.limits.Guest.Proved()
		if err != nil && data == nil {
			in.Skip(r, stranger)
			return err
		}
		cost *= len(data)
		c.limits.Guest.Take(cost) // for as long as a login takes: any PDU before its end closes the connection
		m, err := c.parse(data, elements, err)
		if m != nil {
			in.Keep(r, stranger)
		} else {
			in.Skip(r, stranger)
		}
		err = c.take(data, m, err)
		switch {
		case errors.Is(err, errUnreadable):
			c.limits.Guest.Give(cost)
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

// errUnreadable is the error of a PDU that was rejected. Its frame was sound, so the next one can be read.
var errUnreadable = errors.New("unreadable")

// parse reads a PDU of at most so many elements, unless its frame has a fault.
func (c *Conn) parse(data []byte, elements int, fault error) (*PDU, error) {
	if fault != nil {
		return nil, fault
	}
	return c.codec.Parse(data, elements)
}

// take handles a PDU, or why it cannot be read.
func (c *Conn) take(data []byte, m *PDU, err error) error {
	switch {
	case err != nil && !errors.Is(err, errMistyped):
		return c.unreadable(data, err)
	case err == nil && m.Association != nil:
		return c.handler.Associate(m.Association)
	case !c.established():
		return errUnassociated
	case err != nil:
		return c.unreadable(data, err)
	case m.IsEvent():
		return c.takeEvent(m)
	case m.Kind == Invoke:
		return c.takeRequest(m)
	}
	return c.answered(m)
}

// unreadable handles a PDU that cannot be read: an Invoke is rejected, with its invoke ID if that can be read. An answer
// counts as one, for one client sends malformed answers; a Reject of it would look like that of a request. It returns
// errUnreadable, or why the connection must end.
func (c *Conn) unreadable(data []byte, err error) error {
	kind, id := begins(data)
	switch {
	case kind > Invoke:
		c.Report(slog.LevelInfo, "malformed answer", "err", err)
		if err := c.answered(&PDU{Kind: Reject, id: id, problem: unrecognizedPDU}); err != nil {
			return err
		}
		return errUnreadable
	case !errors.Is(err, errMistyped):
		return c.reject(id, badlyStructuredPDU, err)
	case kind == Invoke:
		return c.reject(id, mistypedPDU, err)
	}
	return c.reject(id, unrecognizedPDU, err)
}

// reject rejects a PDU; id is nil if its invoke ID could not be read. It returns errUnreadable, or why the connection must
// end.
func (c *Conn) reject(id []byte, why problem, err error) error {
	_ = c.queue(&PDU{Kind: Reject, id: id, problem: why}) // fails once the connection has ended
	if err := c.Strike(slog.LevelWarn, "could not read PDU", "err", err); err != nil {
		return err
	}
	return errUnreadable
}

func (c *Conn) takeEvent(m *PDU) error {
	ev, unknown, err := c.codec.ReadEvent(m)
	if err != nil {
		return c.reject(m.id, mistypedArgument, err)
	}
	if len(unknown) > 0 {
		c.limits.Log.Debug("unknown members of an event", "event", ev.Name(), "members", unknown)
	}
	return c.handler.Event(ev)
}

func (c *Conn) takeRequest(m *PDU) error {
	req, unknown, err := c.codec.ReadRequest(m)
	switch {
	case errors.Is(err, errUnserved):
		_ = c.queue(c.codec.refuse(m, uacsta.Refuse(uacsta.Operation, uacsta.ServiceNotSupported)))
		return c.Strike(slog.LevelInfo, "request for a service that is not supported", "operation", m.operation)
	case err != nil:
		_ = c.queue(&PDU{Kind: Reject, id: m.id, problem: mistypedArgument})
		return c.Strike(slog.LevelWarn, "could not read request", "operation", m.operation, "err", err)
	case req == nil:
		_ = c.queue(&PDU{Kind: Reject, id: m.id, problem: unrecognizedOperation})
		return c.Strike(slog.LevelInfo, "request for an unknown operation", "operation", m.operation)
	case len(unknown) > 0: // without them it would be another request
		c.Report(slog.LevelInfo, "request with unknown members", "service", req.Name(), "members", unknown)
		_ = c.queue(c.codec.refuse(m, uacsta.Refuse(uacsta.Operation, "parameterNotSupported")))
		return nil
	}
	c.mu.Lock()
	c.unanswered++
	c.mu.Unlock()
	service, ref := req.Name(), req.CrossRef()
	var once sync.Once
	c.handler.Request(req, func(res *uacsta.Message) {
		once.Do(func() { c.answer(m, service, ref, res) })
	})
	return nil
}

// answer answers a request of the peer, and sends the events that waited for the answer. ref is the cross reference in
// the request; a MonitorStop drops the events of its monitor that waited.
func (c *Conn) answer(m *PDU, service, ref string, res *uacsta.Message) {
	if res != nil {
		_ = c.queue(c.answerOf(m, service, res)) // fails once the connection has ended
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

func (c *Conn) answerOf(m *PDU, service string, res *uacsta.Message) *PDU {
	a, err := c.codec.Answer(m, service, res)
	if err != nil {
		c.Report(slog.LevelWarn, "could not encode response", "flavour", c.codec.flavour.Name, "service", service, "err", err)
		return c.codec.refuse(m, uacsta.Refuse(uacsta.Operation, "requestIncompatibleWithObject"))
	}
	return a
}

// answered takes the answer to a request of ours. An answer without an invoke ID belongs to the only request that waits:
// one client loses the ID.
func (c *Conn) answered(m *PDU) error {
	id := m.InvokeID()
	if only, is := c.Only(); is && len(m.id) == 0 {
		id = only
	}
	reply := c.Answered(id)
	if reply == nil {
		if err := c.Strike(slog.LevelWarn, "response without a request", "kind", m.Kind.String(), "invoke", id); err != nil || c.limits.Guest != nil {
			return err
		}
		return c.late(m)
	}
	reply(answer{m}, nil)
	return nil
}

// late hands up the response to a request that has timed out.
func (c *Conn) late(m *PDU) error {
	s := c.codec.flavour.notation.serviceOf(m.operation, nil)
	if m.Kind != ReturnResult || m.empty || s == nil {
		return nil
	}
	res, err := c.readAnswer(s.name, m.operation, m)
	if err != nil {
		return nil //nolint:nilerr // readAnswer has logged it
	}
	return c.handler.Event(res)
}

// Request sends a request. It calls reply once: with the response, with a *uacsta.Error if the flavour cannot express the
// request or the peer refuses it, or with an error of package gate. It blocks where gate.Peer.Ask does.
func (c *Conn) Request(req *uacsta.Message, reply func(*uacsta.Message, error)) {
	c.request(c.Ask, req, reply)
}

// Probe is Request for the requests that keep the connection, such as a heartbeat: requests of clients always leave
// room for one (gate.Peer.Probe).
func (c *Conn) Probe(req *uacsta.Message, reply func(*uacsta.Message, error)) {
	c.request(c.Peer.Probe, req, reply)
}

// request sends a request by ask, which is Ask or Probe of gate.Peer.
func (c *Conn) request(ask func(func(int) ([]byte, error), func(answer, error)), req *uacsta.Message, reply func(*uacsta.Message, error)) {
	m, err := c.codec.Request(req)
	if err != nil {
		reply(nil, err)
		return
	}
	service := req.Name()
	ask(func(id int) ([]byte, error) {
		m.SetInvokeID(id)
		return c.codec.Frame(m)
	}, func(a answer, err error) {
		if err != nil {
			reply(nil, err)
			return
		}
		reply(c.readAnswer(service, m.operation, a.pdu))
	})
}

// readAnswer reads the answer to a request of ours. A result that is not empty has its operation (X.880).
func (c *Conn) readAnswer(service string, operation int, m *PDU) (*uacsta.Message, error) {
	if m.Kind == ReturnResult && !m.empty && m.operation != operation && older[m.operation] != operation && older[operation] != m.operation {
		c.Report(slog.LevelWarn, "response of another service", "service", service, "operation", m.operation)
		return nil, uacsta.Refuse(uacsta.Operation, uacsta.Generic)
	}
	res, unknown, err := c.codec.ReadAnswer(m, service)
	if len(unknown) > 0 {
		c.limits.Log.Debug("unknown members of a result", "service", service, "members", unknown)
	}
	if err != nil && !errors.As(err, new(*uacsta.Error)) {
		c.Report(slog.LevelWarn, "could not read result", "service", service, "err", err)
		return nil, uacsta.Refuse(uacsta.Operation, uacsta.Generic)
	}
	return res, err
}

// queue puts a PDU into the queue of frames to write.
func (c *Conn) queue(m *PDU) error { return c.put(m, c.Push) }

// put puts a PDU into the queue of frames to write, by push.
func (c *Conn) put(m *PDU, push func([]byte) error) error {
	data, err := c.codec.Frame(m)
	if err != nil {
		c.Report(slog.LevelError, "could not send PDU", "invoke", hex.EncodeToString(m.id), "err", err)
		if m.Kind != ReturnResult {
			return err
		}
		if data, err = c.codec.Frame(c.codec.refuse(m, uacsta.Refuse(uacsta.SystemResourceAvailability, uacsta.ResourceLimitExceeded))); err != nil {
			return err
		}
	}
	return push(data)
}

// Associate sends a PDU of ACSE.
func (c *Conn) Associate(a *Association) {
	_ = c.queue(&PDU{Association: a}) // fails once the connection has ended
}

// Dissociate sends the PDU of ACSE that ends the association, after all that is queued, and then closes the connection.
// Nothing is sent after that PDU.
func (c *Conn) Dissociate(a *Association, reason error) {
	if err := c.put(&PDU{Association: a}, func(data []byte) error { return c.PushLast(data, reason) }); err != nil { // it is ending
		c.Finish(reason)
	}
}
