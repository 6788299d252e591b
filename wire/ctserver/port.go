package ctserver

import (
	"context"
	"errors"
	"net"
	"reflect"
	"time"

	"github.com/tr87proxy/tr87proxy/proxy"
	"github.com/tr87proxy/tr87proxy/proxy/callmodel"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

// port is one device: a card port and the calls on its line. All of it but the inbox belongs
// to the goroutine that takes from the inbox.
type port struct {
	link *Link
	cfg  Port

	inbox proxy.Inbox // open while the port can be reached

	wire         *wire
	was          bool // it could be reached before
	active, held *call
	playing      string // the message that is being played
	recording    string // the message that is being recorded
}

// call is one call of the port.
type call struct {
	callmodel.Call[*callmodel.Connection]
	own       *callmodel.Connection
	far       *callmodel.Connection // the other end; nil where its number is not known
	incoming  bool
	announced bool        // Delivered has been told
	reached   bool        // the other end has answered, as far as can be known
	timer     *time.Timer // of the next ring, or of the answer
	caller    *time.Timer // for the caller ID
}

func newPort(l *Link, cfg Port) *port { return &port{link: l, cfg: cfg} }

// serve is the port while there is a connection; up is called once it can carry requests.
func (p *port) serve(ctx context.Context, nc net.Conn, up func()) error {
	p.inbox.Open()
	var w *wire
	w = newWire(nc, p.cfg.Port-1, p.link.cfg.Log, func(what, more string) {
		p.inbox.Do(func() { p.happened(what, more) }, w.Close) // it must not miss what happens
	})
	p.wire = w
	p.inbox.Guard(w.Close)
	ended := make(chan error, 1)
	go func() { ended <- w.Serve(ctx, w.read) }()                  // the inbox waits for it
	p.command("cthangup", p.link.cfg.Timeout, func(*line, error) { // whatever it was doing before
		if p.was {
			p.tell(func(ref string) any {
				return uacsta.BackInServiceEvent{MonitorCrossRefID: ref, Device: uacsta.Ext(p.cfg.Number), Cause: uacsta.CauseNormal}
			})
		}
		p.was = true
		up()
	})
	err := p.inbox.Run(ended)
	p.lose()
	return err
}

// lose ends the calls of a port that cannot be reached any more.
func (p *port) lose() {
	for _, c := range []*call{p.active, p.held} {
		if c != nil {
			p.cleared(c, uacsta.CauseNormal)
		}
	}
	p.playing, p.recording = "", ""
	if p.was {
		p.tell(func(ref string) any {
			return uacsta.OutOfServiceEvent{MonitorCrossRefID: ref, Device: uacsta.Ext(p.cfg.Number), Cause: uacsta.CauseNormal}
		})
	}
}

// command sends a command; then is called in the port's own goroutine.
func (p *port) command(name string, timeout time.Duration, then func(reply *line, err error), args ...string) {
	deliver := p.inbox.Deliverer()
	err := p.wire.send(name, timeout, func(reply *line, err error) {
		if err == nil && reply.arg(1) == "ERROR" {
			err = errors.New(name + " failed")
		}
		deliver(func() { then(reply, err) })
	}, args...)
	if err != nil {
		then(nil, err)
	}
}

// tell tells the monitors of the port; event makes the event for a cross reference.
func (p *port) tell(event func(ref string) any) {
	p.link.pass(p.cfg.Number, event)
}

// pass tells the monitors of a device, in order with the replies; event makes the event for a cross
// reference.
func (l *Link) pass(device string, event func(ref string) any) {
	ev := uacsta.Encode(event("0"), uacsta.Edition6)
	l.outbox.Post(func() { l.watch.Forward(device, ev) })
	l.outbox.Flush()
}

// newCall makes a call of the port.
func (p *port) newCall(incoming bool) *call {
	c := &call{own: &callmodel.Connection{Device: p.cfg.Number}, incoming: incoming}
	c.ID = p.link.newCall()
	c.Add(c.own)
	return c
}

// with takes in the number of the other end, which is connected from the beginning where it has
// called.
func (c *call) with(number string) {
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

// beyond is the connection of a number that is no device of the port: nobody watches it here.
func beyond(number string) *callmodel.Connection {
	return &callmodel.Connection{Device: number, Network: true}
}

// happens tells what has happened to a call.
func (p *port) happens(notices []callmodel.Notice) {
	for _, n := range notices {
		p.link.pass(n.Device, n.For)
	}
}

// connection is the port's part in a call.
func (p *port) connection(c *call) uacsta.ConnectionID { return c.Connection(c.own) }

func (c *call) stop() {
	for _, t := range []*time.Timer{c.timer, c.caller} {
		if t != nil {
			t.Stop()
		}
	}
}

// forget takes a call off the port.
func (p *port) forget(c *call) {
	c.stop()
	if p.active == c {
		p.active = nil
	}
	if p.held == c {
		p.held = nil
	}
}

// has reports whether a call is still there.
func (p *port) has(c *call) bool { return p.active == c || p.held == c }

// find finds the call that a connection names, by both its callID and its device; a device alone
// names its call only where it has exactly one.
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

// happened takes note of what happens on the line.
func (p *port) happened(what, more string) {
	switch what {
	case "ring":
		p.rings()
	case "cid":
		if c := p.active; c != nil && c.incoming && !c.announced {
			p.announce(c, more)
		}
	case "hangup", "loopdrop":
		if p.active != nil {
			p.gone(p.active)
		}
	case "pickup":
		p.reached()
	case "toneend":
		if p.playing != "" {
			p.played(uacsta.CauseEndOfMessageDetected)
			return
		}
		p.reached()
	case "timer", "flash":
	case "dtmf":
		p.digit(more)
	default:
		p.digit(what)
	}
}

func (p *port) digit(digit string) {
	if c := p.active; c != nil && c.own.State == uacsta.Connected && len(digit) == 1 && isEvent(digit) {
		p.tell(func(ref string) any {
			return uacsta.DtmfDetectedEvent{MonitorCrossRefID: ref, OverConnection: p.connection(c), DtmfChar: digit, Cause: uacsta.CauseDTMFDigitDetected}
		})
	}
}

// rings: a call has come, or goes on ringing. The caller ID comes between the first ring and
// the second.
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
		p.command("ctlistenforcid", p.link.cfg.Timeout, func(*line, error) {}) // there are cards that cannot
		c.caller = time.AfterFunc(p.link.cfg.CallerTime, func() { p.inbox.Post(func() { p.readCaller(c) }) })
	case c != nil && c.incoming && c.own.State == uacsta.Alerting:
		c.timer.Reset(p.link.cfg.RingTime)
		p.readCaller(c)
	}
}

// readCaller asks for the caller ID, once.
func (p *port) readCaller(c *call) {
	if !c.caller.Stop() && c.announced || p.active != c || c.announced {
		return
	}
	c.caller.Stop()
	p.command("ctreadcid", p.link.cfg.Timeout, func(reply *line, err error) {
		number := ""
		if err == nil && reply.arg(1) == "OK" {
			number = reply.arg(2)
		}
		p.announce(c, number)
	})
}

// announce tells of a call that has come.
func (p *port) announce(c *call, number string) {
	if c.announced || p.active != c {
		return
	}
	c.announced = true
	if !numbers.MatchString(number) {
		number = ""
	}
	c.with(number)
	p.happens(c.Deliver(c.own, c.Cause()))
}

// reached: the other end of a call that was dialled has answered, or so it seems.
func (p *port) reached() {
	c := p.active
	if c == nil || c.incoming || c.reached || c.own.State != uacsta.Connected {
		return
	}
	c.stop()
	c.reached = true
	p.happens(c.Establish(c.far, uacsta.CauseNetworkSignal))
}

// gone: the other end has hung up. A held call stays on the line.
func (p *port) gone(c *call) {
	if c.incoming && c.own.State == uacsta.Alerting {
		p.cleared(c, uacsta.CauseCallCancelled)
		return
	}
	if c.far != nil {
		p.happens(c.Clear(c.far, uacsta.CauseNormalClearing))
	}
	p.cleared(c, uacsta.CauseNormalClearing)
	if p.held == nil {
		p.command("cthangup", p.link.cfg.Timeout, func(*line, error) {})
	}
}

// cleared tells that the port is out of a call. One that was never told of ends untold.
func (p *port) cleared(c *call, cause uacsta.EventCause) {
	p.forget(c)
	if p.playing != "" {
		p.played(uacsta.CauseNormalClearing)
	}
	if c.incoming && !c.announced {
		return
	}
	p.happens(c.Clear(c.own, cause))
}

// played tells that a message is not played any more.
func (p *port) played(cause uacsta.EventCause) {
	message := p.playing
	p.playing = ""
	p.stopped(message, cause)
}

func (p *port) stopped(message string, cause uacsta.EventCause) {
	id := uacsta.Conn("", p.cfg.Number)
	if p.active != nil {
		id = p.connection(p.active)
	}
	p.tell(func(ref string) any {
		return uacsta.StopEvent{MonitorCrossRefID: ref, Connection: id, Message: message, Cause: cause}
	})
}

// portOf is the port that a service is for: that of its first connection or device. A connection
// of no port is none.
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

// connectionsOf are the connections that a service names.
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
