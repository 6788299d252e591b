package asn1

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"time"

	ber "github.com/go-asn1-ber/asn1-ber"

	"github.com/tr87proxy/tr87proxy/uacsta"
)

// Flavour is which CSTA a peer speaks, and how strictly.
type Flavour struct {
	Name     string
	notation *notation
	frames   framing
	acse     bool // associations are opened by AARQ
	exact    bool // events and results have the members that its programs look for, and no others
	status   int  // the operation of SystemStatus
	filters  []int
}

// The flavours.
var (
	// Phase3 is CSTA Phase III as ECMA-285 says it.
	Phase3 = Flavour{Name: "phase3", notation: phase3, frames: markedFrames, acse: true, status: 211}
	// HiPath is Phase III as a Siemens HiPath and its programs speak it: these match by
	// position and take nothing else.
	HiPath = Flavour{Name: "hipath", notation: phase3, frames: markedFrames, acse: true, exact: true, status: 52, filters: []int{18, 5, 2, 11, 14, 3, 7, 1}}
	// Phase1 is CSTA Phase I as an Ericsson MD110 Application Link speaks it.
	Phase1 = Flavour{Name: "phase1", notation: phase1, frames: plainFrames, status: 52, filters: []int{14, 4, 6, 2}}
)

func flavours() []Flavour { return []Flavour{Phase3, HiPath, Phase1} }

// FlavourNames lists the flavours.
func FlavourNames() (names []string) {
	for _, f := range flavours() {
		names = append(names, f.Name)
	}
	return names
}

// FlavourOf returns a flavour by its name; false when it is not known.
func FlavourOf(name string) (Flavour, bool) {
	for _, f := range flavours() {
		if f.Name == name {
			return f, true
		}
	}
	return Flavour{}, false
}

// edition is that of the messages made of PDUs: it has every parameter that they have.
const edition = uacsta.Edition6

// callControl is the category of events that programs of HiPath match by position.
const callControl = 0

// older are codes that peers use for a service which has another in ECMA-285.
var older = map[int]int{8: 218, 52: 211}

// codec turns messages into the parts of PDUs, and back.
type codec struct {
	flavour Flavour
	callIDs callIDs
	now     func() time.Time
}

// errUnknownService is of a request, or an event, that the phase does not have.
var errUnknownService = errors.New("the phase has no such message")

// request writes the argument of a request. What the phase cannot say is a *uacsta.Error.
func (c *codec) request(req *uacsta.Message) (operation int, argument *ber.Packet, err error) {
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
	if name := s.form.unsayable(v); name != "" {
		return 0, nil, unsupported("parameterNotSupported", &unsayable{name})
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

// response writes the result of a service.
func (c *codec) response(service string, res *uacsta.Message) (*ber.Packet, error) {
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

// event writes the argument of an event report; errUnknownService when the phase has no
// such event.
func (c *codec) event(ev *uacsta.Message) (*ber.Packet, error) {
	e := c.flavour.notation.events[strings.TrimSuffix(ev.Name(), "Event")]
	if e == nil {
		return nil, errUnknownService
	}
	v, err := structOf(ev)
	if err != nil && !uacsta.Missing(err) { // what is missing is not known
		return nil, err
	}
	under := coder{callIDs: c.callIDs, lenient: true}
	if c.flavour.exact && e.code.number == callControl {
		under.exact, under.noted = true, c.now()
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

// structOf decodes a message into its struct; it is filled in as far as can be.
func structOf(m *uacsta.Message) (reflect.Value, error) {
	s := uacsta.New(m.Name())
	if s == nil {
		return reflect.Value{}, errUnknownService
	}
	return reflect.ValueOf(s).Elem(), m.Decode(s)
}

// unsupported is a refusal of what the phase cannot say.
func unsupported(value string, why error) *uacsta.Error {
	return &uacsta.Error{Category: uacsta.Operation, Value: value, Detail: why.Error()}
}

// readRequest makes a request of an invocation; nil when the operation is not known. unknown
// are members that the table does not have.
func (c *codec) readRequest(operation int, argument *ber.Packet) (req *uacsta.Message, unknown []string, err error) {
	n := c.flavour.notation
	s := n.serviceOf(operation, argument)
	if now, ok := older[operation]; s == nil && ok && n == phase3 {
		s = n.serviceOf(now, argument)
	}
	if s == nil {
		return nil, nil, nil
	}
	if argument == nil {
		argument = sequence()
	}
	return c.read(s.name, &s.form, argument, false)
}

// readResponse makes the answer to a request of ours.
func (c *codec) readResponse(service string, body *ber.Packet) (res *uacsta.Message, unknown []string, err error) {
	f, ok := c.flavour.notation.results[service]
	if !ok || body == nil || tagOf(body) == universal(ber.TagNULL) {
		f = form{}
		body = sequence()
	}
	return c.read(service+"Response", &f, body, true)
}

// readEvent makes an event of an event report.
func (c *codec) readEvent(argument *ber.Packet) (ev *uacsta.Message, unknown []string, err error) {
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

// read makes a message of its form.
func (c *codec) read(name string, f *form, p *ber.Packet, lenient bool) (*uacsta.Message, []string, error) {
	s := uacsta.New(name)
	v := reflect.ValueOf(s).Elem()
	under := &coder{callIDs: c.callIDs, lenient: lenient}
	if err := f.take(under, p, v); err != nil {
		return nil, nil, fmt.Errorf("%s: %w", name, err)
	}
	if e, ok := s.(*uacsta.ServiceInitiatedEvent); ok && e.InitiatingDevice.Device.ID == "" && !e.InitiatingDevice.Restricted {
		e.InitiatingDevice.Device = e.InitiatedConnection.DeviceID // Phase I does not say it twice
	}
	return uacsta.Encode(s, edition), under.unknown, nil
}
