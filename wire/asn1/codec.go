package asn1

import (
	"bufio"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"time"

	ber "github.com/go-asn1-ber/asn1-ber"

	"github.com/tr87proxy/tr87proxy/uacsta"
)

// Flavour is a variant of CSTA in ASN.1: a phase, and how strictly the peers of one make keep to it. [FlavourOf] returns
// one by its name.
type Flavour struct {
	Name        string
	Port        string // the usual TCP port of switching functions
	Associates  bool   // AARQ opens an association, with a name and a password if they are needed
	SpeaksFirst bool   // the switching function sends its SystemStatus before it takes requests

	notation *notation
	frames   framing
	exact    bool  // programs match the members of call control events and of results by position, and take no others
	status   int   // the operation of SystemStatus
	filters  []int // how many bits each group of a filter has at least; nil: as many as are set
}

// The flavours.
var (
	// Phase3 is CSTA Phase III as ECMA-285 defines it.
	Phase3 = Flavour{Name: "phase3", Port: "18000", Associates: true, notation: phase3, frames: markedFrames, status: 211}
	// HiPath is Phase III as a Siemens HiPath and the programs for it speak it.
	HiPath = Flavour{
		Name: "hipath", Port: "18000", Associates: true, SpeaksFirst: true, notation: phase3, frames: markedFrames, exact: true, status: 52,
		filters: []int{18, 5, 2, 11, 14, 3, 7, 1},
	}
	// Phase1 is CSTA Phase I (ECMA-180) as an Ericsson MD110 Application Link speaks it.
	Phase1 = Flavour{Name: "phase1", Port: "2555", notation: phase1, frames: plainFrames, status: 52, filters: []int{14, 4, 6, 2}}
)

func flavours() []Flavour { return []Flavour{Phase3, HiPath, Phase1} }

// FlavourNames returns the names of the flavours.
func FlavourNames() (names []string) {
	for _, f := range flavours() {
		names = append(names, f.Name)
	}
	return names
}

// FlavourOf returns the flavour with a name; false if there is none.
func FlavourOf(name string) (Flavour, bool) {
	for _, f := range flavours() {
		if f.Name == name {
			return f, true
		}
	}
	return Flavour{}, false
}

// Features returns the services and events that the flavour has.
func (f Flavour) Features() uacsta.Features {
	var all uacsta.Features
	for name := range f.notation.requests {
		all.Services = append(all.Services, name)
	}
	for name := range f.notation.events {
		all.Events = append(all.Events, name+"Event")
	}
	return all
}

// Edition is the edition of ECMA-323 of messages that a codec reads: it has all parameters of both phases.
const Edition = uacsta.Edition6

// callControl is the category of the events that programs for HiPath match by position.
const callControl = 0

// older maps operations of Phases I and II that peers of Phase III use to those of ECMA-285.
var older = map[int]int{8: 218, 52: 211}

// Codec makes PDUs of messages of CSTA, and messages of PDUs. It keeps no state.
type Codec struct {
	flavour Flavour
	callIDs CallIDs
	now     func() time.Time
}

// NewCodec returns a codec for peers of one flavour.
func NewCodec(f Flavour, ids CallIDs) *Codec {
	return &Codec{flavour: f, callIDs: ids, now: time.Now}
}

// ReadFrame reads one frame, and returns its PDU, which must not be longer than longest octets. It calls begun once it has
// the first octet. It returns io.EOF if the connection ends before a frame, io.ErrUnexpectedEOF if it ends within one, and
// [ErrTooLong], with the beginning of the PDU, if the frame has been read and its PDU is longer than [MaxPDU].
func (c *Codec) ReadFrame(r *bufio.Reader, longest int, begun func()) ([]byte, error) {
	return c.flavour.frames.read(r, longest, begun)
}

// Frame returns the frame of a PDU. It returns [ErrTooLong] if the PDU is longer than [MaxPDU].
func (c *Codec) Frame(m *PDU) ([]byte, error) { return c.flavour.frames.frame(m.octets()) }

// Parse reads a PDU of at most so many elements.
func (c *Codec) Parse(data []byte, elements int) (*PDU, error) {
	p, err := parseWithin(data, elements)
	if err != nil {
		return nil, err
	}
	if c.flavour.Associates {
		if a, err := readAssociation(p); err == nil {
			return &PDU{Association: a}, nil
		}
	}
	return readPDU(p)
}

// Request returns the Invoke of a request, without an invoke ID. A request that the flavour cannot express gives a
// *uacsta.Error.
func (c *Codec) Request(req *uacsta.Message) (*PDU, error) {
	operation, argument, err := c.putRequest(req)
	if err != nil {
		return nil, err
	}
	return &PDU{Kind: Invoke, operation: operation, body: argument}, nil
}

// Event returns the Invoke of an event, without an invoke ID. It returns an error if the flavour does not have the event.
func (c *Codec) Event(ev *uacsta.Message) (*PDU, error) {
	body, err := c.putEvent(ev)
	if err != nil {
		return nil, err
	}
	return &PDU{Kind: Invoke, operation: eventReport, body: body}, nil
}

// Answer returns the answer to the Invoke of a service: a ReturnResult, or the ReturnError of a refusal. It returns an
// error if the flavour cannot express the result.
func (c *Codec) Answer(to *PDU, service string, res *uacsta.Message) (*PDU, error) {
	if refusal := res.Err(); refusal != nil {
		return c.refuse(to, refusal), nil
	}
	body, err := c.putResponse(service, res)
	if err != nil {
		return nil, err
	}
	return &PDU{Kind: ReturnResult, id: to.id, operation: to.operation, body: body}, nil
}

// refuse returns the ReturnError to an Invoke.
func (c *Codec) refuse(to *PDU, refusal *uacsta.Error) *PDU {
	return &PDU{Kind: ReturnError, id: to.id, body: c.flavour.notation.failure(refusal)}
}

// ReadRequest returns the request of an Invoke; nil if the flavour does not have its operation. The error is errUnserved if
// it has the operation, but no request for it is known here. unknown are members of its argument that the flavour does not
// have.
func (c *Codec) ReadRequest(m *PDU) (req *uacsta.Message, unknown []string, err error) {
	return c.takeRequest(m.operation, m.body)
}

// ReadEvent returns the event of an event report. unknown are members that the flavour does not have.
func (c *Codec) ReadEvent(m *PDU) (ev *uacsta.Message, unknown []string, err error) {
	return c.takeEvent(m.body)
}

// ReadAnswer returns the response of a service in a ReturnResult; a ReturnError or a Reject gives a *uacsta.Error. unknown
// are members of the result that the flavour does not have.
func (c *Codec) ReadAnswer(m *PDU, service string) (res *uacsta.Message, unknown []string, err error) {
	switch m.Kind {
	case ReturnError:
		return nil, nil, c.flavour.notation.refusal(m.body)
	case Reject:
		return nil, nil, m.problem.refusal()
	}
	return c.takeResponse(service, m.body)
}

// errUnknownService is the error of a request or an event that the flavour does not have.
var errUnknownService = errors.New("the phase has no such message")

// errUnserved is the error of a request that the flavour has and that has no form here.
var errUnserved = errors.New("the service is not supported")

// putRequest writes the argument of a request. What the phase cannot express is a *uacsta.Error.
func (c *Codec) putRequest(req *uacsta.Message) (operation int, argument *ber.Packet, err error) {
	s := c.flavour.notation.requests[req.Name()]
	if s == nil {
		return 0, nil, unsupported(uacsta.ServiceNotSupported, errUnknownService)
	}
	v, err := structOf(req)
	if err != nil {
		return 0, nil, err
	}
	if start, ok := v.Addr().Interface().(*uacsta.MonitorStart); ok && c.flavour.exact && start.RequestedMonitorFilter == nil {
		start.RequestedMonitorFilter = &uacsta.MonitorFilter{}
	}
	if name := s.form.inexpressible(v); name != "" {
		return 0, nil, unsupported("parameterNotSupported", &inexpressible{name})
	}
	argument, err = s.form.put(&coder{callIDs: c.callIDs, filters: c.flavour.filters}, v)
	if err != nil {
		return 0, nil, unsupported("parameterNotSupported", err)
	}
	operation = s.code.number
	if req.Name() == uacsta.NameSystemStatus {
		operation = c.flavour.status
	}
	return operation, argument, nil
}

// putResponse writes the result of a service.
func (c *Codec) putResponse(service string, res *uacsta.Message) (*ber.Packet, error) {
	f, ok := c.flavour.notation.results[service]
	if !ok {
		return null(), nil
	}
	v, err := structOf(res)
	if err != nil && !uacsta.Missing(err) {
		return nil, err
	}
	return f.put(&coder{callIDs: c.callIDs, lenient: true, exact: c.flavour.exact, filters: c.flavour.filters}, v)
}

// putEvent writes the argument of an event report. It returns errUnknownService if the phase does not have the event.
func (c *Codec) putEvent(ev *uacsta.Message) (*ber.Packet, error) {
	e := c.flavour.notation.events[strings.TrimSuffix(ev.Name(), "Event")]
	if e == nil {
		return nil, errUnknownService
	}
	v, err := structOf(ev)
	if err != nil && !uacsta.Missing(err) { // members that are missing are written as unknown
		return nil, err
	}
	under := coder{callIDs: c.callIDs, lenient: true}
	if c.flavour.exact && e.code.number == callControl {
		under.exact, under.noted = true, c.now()
		complete(v.Addr().Interface())
	}
	info, err := e.form.put(&under, v)
	if err != nil {
		return nil, err
	}
	ref, err := crossRef{}.put(nil, field(v, "monitorCrossRefID"))
	if err != nil {
		return nil, err
	}
	if e.code.sub < 0 {
		return sequence(ref, retag(integer(e.code.number), specific(0)), info), nil
	}
	return sequence(ref, constructed(specific(e.code.number), retag(info, specific(e.code.sub)))), nil
}

// complete adds what programs for HiPath expect of a call that was made of others, and what not every switching function
// tells: the endpoint of each connection, and a second old call, which a single step transfer does not have.
func complete(event any) {
	primary, secondary, list := joined(event)
	if secondary == nil {
		return
	}
	if *secondary == nil {
		*secondary = primary
	}
	for i := range list {
		item := &list[i]
		for _, at := range []*uacsta.ConnectionID{item.NewConnection, item.OldConnection} {
			if item.Endpoint == nil && at != nil && at.DeviceID.Type() != uacsta.Dynamic {
				item.Endpoint = &uacsta.ConnectionListEnd{DeviceID: at.DeviceID}
			}
		}
		if item.Endpoint == nil {
			item.Endpoint = &uacsta.ConnectionListEnd{}
		}
	}
}

// joined returns the old calls of an event about a call that was made of others, and its list of connections; nil: the
// event is another one.
func joined(event any) (primary *uacsta.ConnectionID, secondary **uacsta.ConnectionID, list []uacsta.ConnectionListItem) {
	switch e := event.(type) {
	case *uacsta.TransferedEvent:
		return &e.PrimaryOldCall, &e.SecondaryOldCall, e.TransferredConnections
	case *uacsta.ConferencedEvent:
		return &e.PrimaryOldCall, &e.SecondaryOldCall, e.ConferenceConnections
	}
	return nil, nil, nil
}

// structOf decodes a message into its struct, as far as it can.
func structOf(m *uacsta.Message) (reflect.Value, error) {
	s := uacsta.New(m.Name())
	if s == nil {
		return reflect.Value{}, errUnknownService
	}
	return reflect.ValueOf(s).Elem(), m.Decode(s)
}

// unsupported returns the refusal of a request that the phase cannot express.
func unsupported(value string, why error) *uacsta.Error {
	return &uacsta.Error{Category: uacsta.Operation, Value: value, Detail: why.Error()}
}

// takeRequest reads the argument of a request; nil: the phase does not have the operation, or we do not (errUnserved). unknown are members that the
// table does not have.
func (c *Codec) takeRequest(operation int, argument *ber.Packet) (req *uacsta.Message, unknown []string, err error) {
	n := c.flavour.notation
	s := n.serviceOf(operation, argument)
	if now, ok := older[operation]; s == nil && ok && n == phase3 {
		s = n.serviceOf(now, argument)
	}
	if s == nil {
		return nil, nil, n.unserved(operation, argument)
	}
	if argument == nil {
		argument = sequence()
	}
	return c.read(s.name, &s.form, argument, false)
}

// takeResponse reads the result of a service.
func (c *Codec) takeResponse(service string, body *ber.Packet) (res *uacsta.Message, unknown []string, err error) {
	f, ok := c.flavour.notation.results[service]
	if !ok || body == nil || tagOf(body) == universal(ber.TagNULL) {
		f = form{}
		body = sequence()
	}
	return c.read(service+"Response", &f, body, true)
}

// takeEvent reads the argument of an event report.
func (c *Codec) takeEvent(argument *ber.Packet) (ev *uacsta.Message, unknown []string, err error) {
	if argument == nil || !holds(argument) || len(argument.Children) < 2 || tagOf(argument.Children[0]) != application(21) {
		return nil, nil, mistyped("an event report")
	}
	var at code
	var info *ber.Packet
	switch parts := argument.Children; {
	case c.flavour.notation == phase1 && len(parts) == 3 && tagOf(parts[1]) == specific(0):
		n, err := number(parts[1])
		if err != nil {
			return nil, nil, err
		}
		at, info = code{n, -1}, parts[2]
	case c.flavour.notation == phase3 && parts[1].ClassType == ber.ClassContext && len(parts[1].Children) == 1:
		info = parts[1].Children[0]
		at = code{int(parts[1].Tag), int(info.Tag)}
	default:
		return nil, nil, mistyped("an event report")
	}
	e := c.flavour.notation.numbers[at]
	if e == nil {
		return nil, nil, fmt.Errorf("%w: event %v", errUnknownService, at)
	}
	f := e.form
	if at.sub >= 0 {
		f.tag = &tag{ber.ClassContext, info.Tag}
	}
	ref, err := content(argument.Children[0])
	if err != nil {
		return nil, nil, err
	}
	ev, unknown, err = c.read(e.name+"Event", &f, info, true)
	if err == nil {
		ev.SetCrossRef(toHex(ref))
	}
	return ev, unknown, err
}

// read reads a message by its form.
func (c *Codec) read(name string, f *form, p *ber.Packet, lenient bool) (*uacsta.Message, []string, error) {
	s := uacsta.New(name)
	v := reflect.ValueOf(s).Elem()
	under := &coder{callIDs: c.callIDs, lenient: lenient}
	if err := f.take(under, p, v); err != nil {
		return nil, nil, fmt.Errorf("%s: %w", name, err)
	}
	if e, ok := s.(*uacsta.ServiceInitiatedEvent); ok && e.InitiatingDevice.Device.ID == "" && !e.InitiatingDevice.Restricted {
		e.InitiatingDevice.Device = e.InitiatedConnection.DeviceID // Phase I has the device in the connection only
	}
	if primary, secondary, _ := joined(s); c.flavour.exact && secondary != nil && *secondary != nil &&
		(*secondary).CallID == primary.CallID && (*secondary).DeviceID.ID == primary.DeviceID.ID {
		*secondary = nil // it only fills its place
	}
	return uacsta.Encode(s, Edition), under.unknown, nil
}
