package link

import (
	"context"
	"fmt"
	"net"
	"reflect"
	"time"

	"github.com/tr87proxy/tr87proxy/proxy"
	"github.com/tr87proxy/tr87proxy/proxy/callmodel"
	"github.com/tr87proxy/tr87proxy/uacsta"
	"github.com/tr87proxy/tr87proxy/wire/ctserver"
)

// port is a device: a card port, and the calls on its telephone line. Everything but the inbox belongs to the goroutine
// that runs the inbox.
type port struct {
	link *Link
	cfg  Port

	inbox proxy.Inbox // open while the port is connected

	wire         *wire
	was          bool // it was connected before
	active, held *call
	playing      string // the message that it plays
	recording    string // the message that it records
}

// call is a call of the port.
type call struct {
	callmodel.Call[*callmodel.Connection]
	own       *callmodel.Connection
	far       *callmodel.Connection // the other end; nil: its number is not known
	incoming  bool
	announced bool        // Delivered has been sent
	reached   bool        // the other end seems to have answered
	timer     *time.Timer // for the next ring, or for the answer
	caller    *time.Timer // for the caller ID
}

func newPort(l *Link, cfg Port) *port { return &port{link: l, cfg: cfg} }

// serve serves the port on a connection, and calls up once the port takes requests.
func (p *port) serve(ctx context.Context, nc net.Conn, up func()) error {
	p.inbox.Open()
	var w *wire
	w = newWire(nc, p.cfg.Port-1, &p.link.cfg, func(what, more string) {
		p.inbox.Do(func() { p.event(what, more) }, w.Close) // a port that misses an event must not go on
	})
	p.wire = w
	p.inbox.Guard(w.Close)
	ended := make(chan error, 1)
	go func() { ended <- w.Serve(ctx, w.read) }()                           // inbox.Run waits for it
	p.command("cthangup", p.link.cfg.Timeout, func(*ctserver.Line, error) { // the port may be off hook
		if p.was {
			p.send(func(ref string) any {
				return uacsta.BackInServiceEvent{MonitorCrossRefID: ref, Device: uacsta.Ext(p.cfg.Number), Cause: uacsta.CauseNormal}
			})
		}
		p.was = true
		up()
	})
	err := p.inbox.Run(ended)
	p.fail()
	return err
}

// fail clears the calls of a port whose connection has ended.
func (p *port) fail() {
	for _, c := range []*call{p.active, p.held} {
		if c != nil {
			p.cleared(c, uacsta.CauseNormal)
		}
	}
	p.playing, p.recording = "", ""
	if p.was {
		p.send(func(ref string) any {
			return uacsta.OutOfServiceEvent{MonitorCrossRefID: ref, Device: uacsta.Ext(p.cfg.Number), Cause: uacsta.CauseNormal}
		})
	}
}

// command sends a command. It calls then on the port's goroutine, with the reply or an error.
func (p *port) command(name string, timeout time.Duration, then func(reply *ctserver.Line, err error), args ...string) {
	deliver := p.inbox.Deliverer()
	err := p.wire.send(name, timeout, func(reply *ctserver.Line, err error) {
		if err == nil && reply.Arg(1) == "ERROR" {
			err = fmt.Errorf("%s %w", name, errFailed)
		}
		deliver(func() { then(reply, err) })
	}, args...)
	if err != nil {
		then(nil, err)
	}
}

// send sends an event to the monitors of the port. event returns the event for a cross reference.
func (p *port) send(event func(ref string) any) {
	p.link.send(p.cfg.Number, event)
}

// send sends an event to the monitors of a device, in order with the responses. event returns the event for a cross
// reference.
func (l *Link) send(device string, event func(ref string) any) {
	ev := uacsta.Encode(event("0"), uacsta.Edition6)
	l.outbox.Post(func() { l.watch.Forward(device, ev) })
	l.outbox.Flush()
}

// newCall returns a new call of the port.
func (p *port) newCall(incoming bool) *call {
	c := &call{own: &callmodel.Connection{Device: p.cfg.Number}, incoming: incoming}
	c.ID = p.link.newCall()
	c.Add(c.own)
	return c
}

// add adds the other end to the call by its number. The other end of an incoming call is connected.
func (c *call) add(number string) {
	if c.incoming {
		c.Calling, c.Called = number, c.own.Device
	} else {
		c.Calling, c.Called = c.own.Device, number
	}
	if number == "" {
		return
	}
	c.far = beyond(number)
	if c.Add(c.far); c.incoming {
		c.far.State = uacsta.Connected
	}
}

// beyond returns the connection of a number in the network, which no monitor of the port watches.
func beyond(number string) *callmodel.Connection {
	return &callmodel.Connection{Device: number, Network: true}
}

// notify sends the events of a step of a call.
func (p *port) notify(notices []callmodel.Notice) {
	for _, n := range notices {
		p.link.send(n.Device, n.For)
	}
}

// connection returns the port's connection in a call.
func (p *port) connection(c *call) uacsta.ConnectionID { return c.Connection(c.own) }

func (c *call) stop() {
	for _, t := range []*time.Timer{c.timer, c.caller} {
		if t != nil {
			t.Stop()
		}
	}
}

// forget removes a call from the port.
func (p *port) forget(c *call) {
	c.stop()
	if p.active == c {
		p.active = nil
	}
	if p.held == c {
		p.held = nil
	}
}

// has reports whether the port has a call.
func (p *port) has(c *call) bool { return p.active == c || p.held == c }

// find returns the call of a connection with this callID and device; without a callID, the only call of the device. nil:
// there is none.
func (p *port) find(id uacsta.ConnectionID) *call {
	switch {
	case id.DeviceID.ID != p.cfg.Number:
		return nil
	case id.CallID == "" && p.active != nil && p.held != nil:
		return nil
	}
	for _, c := range []*call{p.active, p.held} {
		if c != nil && (id.CallID == c.ID || id.CallID == "") {
			return c
		}
	}
	return nil
}

// event takes an event on the telephone line.
func (p *port) event(what, more string) {
	switch what {
	case "ring":
		p.rings()
	case "cid":
		if c := p.active; c != nil && c.incoming && !c.announced {
			p.announce(c, more)
		}
	case "hangup", "loopdrop":
		if p.active != nil {
			p.hungUp(p.active)
		}
	case "pickup":
		p.answered()
	case "toneend":
		if p.playing != "" {
			p.played(uacsta.CauseEndOfMessageDetected)
			return
		}
		p.answered()
	case "timer", "flash":
	case "dtmf":
		p.digit(more)
	default:
		p.digit(what)
	}
}

// digit takes a digit that the other end sends.
func (p *port) digit(digit string) {
	if c := p.active; c != nil && c.own.State == uacsta.Connected && ctserver.IsDigit(digit) {
		p.send(func(ref string) any {
			return uacsta.DtmfDetectedEvent{MonitorCrossRefID: ref, OverConnection: p.connection(c), DtmfChar: digit, Cause: uacsta.CauseDTMFDigitDetected}
		})
	}
}

// rings takes a ring: the first starts an incoming call. The caller ID comes between the first ring and the second.
func (p *port) rings() {
	c := p.active
	switch {
	case c == nil && p.held == nil:
		c = p.newCall(true)
		c.own.State = uacsta.Alerting
		p.active = c
		c.timer = time.AfterFunc(p.link.cfg.RingTime, func() {
			p.inbox.Post(func() {
				if p.active == c && c.own.State == uacsta.Alerting {
					p.cleared(c, uacsta.CauseCallCancelled)
				}
			})
		})
		p.command("ctlistenforcid", p.link.cfg.Timeout, func(*ctserver.Line, error) {}) // some cards do not have it
		c.caller = time.AfterFunc(p.link.cfg.CallerTime, func() { p.inbox.Post(func() { p.readCaller(c) }) })
	case c != nil && c.incoming && c.own.State == uacsta.Alerting:
		c.timer.Reset(p.link.cfg.RingTime)
		p.readCaller(c)
	}
}

// readCaller asks for the caller ID, once in a call.
func (p *port) readCaller(c *call) {
	if !c.caller.Stop() && c.announced || p.active != c || c.announced {
		return
	}
	c.caller.Stop()
	p.command("ctreadcid", p.link.cfg.Timeout, func(reply *ctserver.Line, err error) {
		number := ""
		if err == nil && reply.Arg(1) == "OK" {
			number = reply.Arg(2)
		}
		p.announce(c, number)
	})
}

// announce sends the Delivered event of an incoming call.
func (p *port) announce(c *call, number string) {
	if c.announced || p.active != c {
		return
	}
	c.announced = true
	if !numbers.MatchString(number) {
		number = ""
	}
	c.add(number)
	p.notify(c.Deliver(c.own, c.Cause()))
}

// answered takes the answer of the other end of an outgoing call, as far as the line shows it.
func (p *port) answered() {
	c := p.active
	if c == nil || c.incoming || c.reached || c.own.State != uacsta.Connected {
		return
	}
	c.stop()
	c.reached = true
	p.notify(c.Establish(c.far, uacsta.CauseNetworkSignal))
}

// hungUp takes the other end's hangup. A held call stays on the line.
func (p *port) hungUp(c *call) {
	if c.incoming && c.own.State == uacsta.Alerting {
		p.cleared(c, uacsta.CauseCallCancelled)
		return
	}
	if c.far != nil {
		p.notify(c.Clear(c.far, uacsta.CauseNormalClearing))
	}
	p.cleared(c, uacsta.CauseNormalClearing)
	if p.held == nil {
		p.command("cthangup", p.link.cfg.Timeout, func(*ctserver.Line, error) {})
	}
}

// cleared ends the port's connection in a call. A call that was not announced ends without an event.
func (p *port) cleared(c *call, cause uacsta.EventCause) {
	p.forget(c)
	if p.playing != "" {
		p.played(uacsta.CauseNormalClearing)
	}
	if c.incoming && !c.announced {
		return
	}
	p.notify(c.Clear(c.own, cause))
}

// played ends the playing of a message.
func (p *port) played(cause uacsta.EventCause) {
	message := p.playing
	p.playing = ""
	p.stopped(message, cause)
}

// stopped sends the Stop event of a message.
func (p *port) stopped(message string, cause uacsta.EventCause) {
	id := uacsta.Conn("", p.cfg.Number)
	if p.active != nil {
		id = p.connection(p.active)
	}
	p.send(func(ref string) any {
		return uacsta.StopEvent{MonitorCrossRefID: ref, Connection: id, Message: message, Cause: cause}
	})
}

// portOf returns the port of the first connection or device of a service, or the error of CSTA if there is none.
func (l *Link) portOf(service any) (*port, error) {
	named := connectionsOf(service)
	if conference, ok := service.(*uacsta.ConferenceCall); ok {
		named = []uacsta.ConnectionID{conference.ActiveCall}
	}
	if len(named) > 0 {
		if p := l.ports[named[0].DeviceID.ID]; p != nil {
			return p, nil
		}
		return nil, errConnection
	}
	v := reflect.ValueOf(service).Elem()
	for i := range v.NumField() {
		if id, ok := v.Field(i).Interface().(uacsta.DeviceID); ok {
			if p := l.ports[id.ID]; p != nil {
				return p, nil
			}
			break
		}
	}
	return nil, errDevice
}

// connectionsOf returns the connections that a service names.
func connectionsOf(service any) []uacsta.ConnectionID {
	var named []uacsta.ConnectionID
	v := reflect.ValueOf(service).Elem()
	for i := range v.NumField() {
		if id, ok := v.Field(i).Interface().(uacsta.ConnectionID); ok && id.CallID+id.DeviceID.ID != "" {
			named = append(named, id)
		}
	}
	return named
}
