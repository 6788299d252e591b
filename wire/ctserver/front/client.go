package front

import (
	"bufio"
	"context"
	"errors"
	"log/slog"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tr87proxy/tr87proxy/internal/gate"
	"github.com/tr87proxy/tr87proxy/internal/share"
	"github.com/tr87proxy/tr87proxy/proxy"
	"github.com/tr87proxy/tr87proxy/uacsta"
	"github.com/tr87proxy/tr87proxy/wire/ctserver"
)

// clientInbox is how many lines and events of a program may wait.
const clientInbox = 256

// writeTime is how long a program may take to read a line.
const writeTime = 10 * time.Second

// client is a program's connection to a port. Everything but the inbox belongs to one goroutine.
type client struct {
	card    *Card
	guest   *gate.Guest
	nc      net.Conn
	handle  int
	session *proxy.Session
	inbox   chan func()
	ended   chan struct{}

	offHook                bool
	ringing, active, held  *uacsta.ConnectionID
	left                   map[string]*uacsta.ConnectionID // calls that the program has hung up, until their last event; not nil: where a transfer has moved the connection
	caller                 string
	rings, wanted          int // of the incoming call; that ctwaitforring waits for
	ring, timer, busyUntil *time.Timer
	waiting                *ctserver.Line // the command that waits
	ends                   string         // the digits that end it
	digits                 string         // that the other end has sent
	script                 string
}

// device is the port's device.
func (cl *client) device() string { return cl.card.cfg.Devices[cl.handle] }

// post has the client's goroutine do something. If the goroutine has fallen behind, post closes the connection.
func (cl *client) post(what func()) {
	select {
	case cl.inbox <- what:
	case <-cl.ended:
	default:
		_ = cl.nc.Close()
	}
}

// serve serves the connection until it ends.
func (cl *client) serve(ctx context.Context, opening proxy.Opening) {
	defer close(cl.ended)
	stop := context.AfterFunc(ctx, func() { _ = cl.nc.Close() })
	defer stop()
	if cl.handle != ctserver.Manager {
		opening.Line = cl.device()
		session, err := cl.card.cfg.Proxy.Open(opening, toClient{cl})
		if err != nil {
			return // the core has logged it
		}
		cl.session = session
		defer session.Close(errors.New("the program closed the connection"))
	}
	cl.card.claim(cl)
	defer cl.card.release(cl)
	defer cl.stopTimers()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		defer share.Survive(cl.card.cfg.Log, "reading a command", nil)
		cl.read()
	}()
	defer func() { _ = cl.nc.Close(); <-ended }()
	cl.watch()
	for {
		select {
		case what := <-cl.inbox:
			what()
		case <-ended:
			return
		}
	}
}

func (cl *client) stopTimers() {
	for _, t := range []*time.Timer{cl.ring, cl.timer, cl.busyUntil} {
		if t != nil {
			t.Stop()
		}
	}
}

// watch starts a monitor of the device.
func (cl *client) watch() {
	if cl.session == nil {
		return
	}
	device := uacsta.Dev(cl.device())
	cl.ask(uacsta.MonitorStart{MonitorObject: uacsta.MonitorObject{DeviceObject: &device}}, func(res *uacsta.Message) {
		if res == nil || res.Err() != nil {
			_ = cl.nc.Close()
		}
	})
}

func (cl *client) read() {
	defer func() { _ = cl.nc.Close() }()
	r := bufio.NewReaderSize(cl.nc, ctserver.MaxLine)
	for {
		l, err := ctserver.ReadLine(r)
		switch {
		case err != nil:
		case l.Name == "" || l.Reply:
			err = cl.guest.Strike(slog.LevelInfo, "line is not a command")
		default:
			cl.post(func() { cl.command(l) })
		}
		if err != nil {
			return
		}
	}
}

// ask sends a request to the switching function. then gets the response, or nil, on the client's goroutine.
func (cl *client) ask(service any, then func(res *uacsta.Message)) {
	req := uacsta.Encode(service, uacsta.Edition6)
	name := req.Name()
	cl.session.Request(req, func(res *uacsta.Message) {
		if res != nil && res.Err() != nil {
			cl.card.cfg.Log.Info("request of a card port refused", "port", cl.handle+1, "service", name, "err", res.Err())
		}
		cl.post(func() { then(res) })
	})
}

// toClient is the client as the core uses it: a proxy.Client.
type toClient struct{ *client }

// Event implements proxy.Client.
func (c toClient) Event(m *uacsta.Message) { c.post(func() { c.event(m) }) }

// Closed implements proxy.Client.
func (c toClient) Closed(error) { _ = c.nc.Close() }

// write writes a line: a reply, or an event. Characters of its arguments that a line cannot hold become question marks.
func (cl *client) write(l *ctserver.Line) {
	l.Reply, l.Src, l.Dst = true, cl.handle, cl.handle
	for i, arg := range l.Args {
		l.Args[i] = ctserver.Word(arg)
	}
	text, err := l.Text()
	if err != nil {
		l.Args = []string{"ERROR"}
		if text, err = l.Text(); err != nil { // not even the name of the command fits
			_ = cl.nc.Close()
			return
		}
	}
	_ = cl.nc.SetWriteDeadline(time.Now().Add(writeTime))
	if _, err := cl.nc.Write([]byte(text)); err != nil {
		_ = cl.nc.Close()
	}
}

// reply replies to a command.
func (cl *client) reply(c *ctserver.Line, args ...string) {
	cl.write(&ctserver.Line{Name: c.Name, Args: args})
}

// done replies to the command that waits.
func (cl *client) done(args ...string) {
	c := cl.waiting
	cl.waiting, cl.ends = nil, ""
	if cl.busyUntil != nil {
		cl.busyUntil.Stop()
	}
	cl.reply(c, args...)
}

// waits has a command wait for events, and replies to it after limit; 0: never.
func (cl *client) waits(c *ctserver.Line, limit time.Duration) {
	cl.waiting = c
	if limit <= 0 {
		return
	}
	cl.busyUntil = time.AfterFunc(limit, func() {
		cl.post(func() {
			if cl.waiting == c {
				cl.done("OK", cl.take())
			}
		})
	})
}

// take returns the digits that the other end has sent, and forgets them.
func (cl *client) take() string {
	heard := cl.digits
	cl.digits = ""
	return heard
}

// happens reports an event on the line: as the reply to the command that waits for it, or as a line of its own.
func (cl *client) happens(what string) {
	switch c := cl.waiting; {
	case c == nil || c.Name == "ctwaitforring" || c.Name == "ctdial":
		cl.write(&ctserver.Line{Name: "event", Args: []string{what}})
	case c.Name == "ctwaitforevent":
		cl.done("OK", what)
	default:
		cl.done("EVENT", cl.take(), what)
	}
}

// event takes an event of the device.
func (cl *client) event(m *uacsta.Message) {
	connections := m.Connections()
	if m.Kind() != uacsta.Event || len(connections) == 0 {
		return
	}
	first := uacsta.Conn(connections[0].CallID(), connections[0].DeviceID())
	mine := first.DeviceID.ID == cl.device()
	if _, left := cl.left[first.CallID]; left { // its events come after its end
		if now := cl.moved(m); now != nil {
			cl.left[first.CallID] = now
		}
		if mine && slices.Contains([]string{uacsta.NameConnectionClearedEvent, uacsta.NameFailedEvent, uacsta.NameDivertedEvent}, m.Name()) {
			delete(cl.left, first.CallID)
		}
		return
	}
	switch m.Name() {
	case uacsta.NameDeliveredEvent:
		if mine {
			cl.ringing, cl.caller, cl.rings = &first, m.Text("callingDevice/deviceIdentifier"), 0
			cl.rang(&first)
		}
	case uacsta.NameServiceInitiatedEvent, uacsta.NameOriginatedEvent:
		cl.active = &first
	case uacsta.NameEstablishedEvent:
		if mine {
			cl.ringing, cl.active = nil, &first
		} else {
			cl.happens("toneend") // the ringback tone ends
		}
	case uacsta.NameHeldEvent:
		if mine {
			cl.held = &first
			if sameCall(&first, cl.active) {
				cl.active = nil
			}
		}
	case uacsta.NameRetrievedEvent:
		if mine {
			cl.active = &first
			if sameCall(&first, cl.held) {
				cl.held = nil
			}
		}
	case uacsta.NameDtmfDetectedEvent:
		cl.heard(m.Text("dtmfChar"))
	case uacsta.NameTransferedEvent, uacsta.NameConferencedEvent:
		cl.joined(m)
	case uacsta.NameConnectionClearedEvent, uacsta.NameFailedEvent, uacsta.NameDivertedEvent:
		if mine {
			cl.over(&first, m.Name() == uacsta.NameFailedEvent)
		}
	}
}

// joined takes a transfer or a conference: the device may have a connection in the new call.
func (cl *client) joined(m *uacsta.Message) {
	cl.active, cl.held = cl.moved(m), nil
}

// moved returns the device's connection after a transfer or a conference; nil: it has none, or m is another event.
func (cl *client) moved(m *uacsta.Message) *uacsta.ConnectionID {
	for _, c := range m.Connections() {
		if strings.HasSuffix(c.Path(), "newConnection") && c.DeviceID() == cl.device() {
			now := uacsta.Conn(c.CallID(), c.DeviceID())
			return &now
		}
	}
	return nil
}

// rang reports a ring, and repeats it until the call is answered or cleared.
func (cl *client) rang(call *uacsta.ConnectionID) {
	if cl.ringing != call {
		return
	}
	cl.rings++
	if c := cl.waiting; c != nil && c.Name == "ctwaitforring" {
		if cl.rings >= cl.wanted {
			cl.done("OK", cl.caller)
		}
	} else {
		cl.happens("ring")
	}
	cl.ring = time.AfterFunc(cl.card.cfg.Ring, func() { cl.post(func() { cl.rang(call) }) })
}

// sameCall reports whether two connections are of one call.
func sameCall(a, b *uacsta.ConnectionID) bool { return a != nil && b != nil && a.CallID == b.CallID }

// over takes the end of the device's connection in a call.
func (cl *client) over(call *uacsta.ConnectionID, failed bool) {
	switch {
	case sameCall(call, cl.ringing):
		cl.ringing = nil // the ringing stops
	case sameCall(call, cl.held):
		cl.held = nil
	case sameCall(call, cl.active):
		cl.active = nil
		if failed {
			cl.happens("loopdrop")
		} else if cl.offHook {
			cl.happens("hangup")
		}
	}
}

// heard takes digits that the other end sends.
func (cl *client) heard(digits string) {
	for _, digit := range digits {
		cl.digits += string(digit)
		switch c := cl.waiting; {
		case c == nil:
			cl.happens(string(digit))
		case c.Name == "ctcollect":
			if most, _ := strconv.Atoi(c.Arg(1)); most > 0 && len(cl.digits) >= most {
				cl.done("OK", cl.take())
			}
		case c.Name == "ctplay" || c.Name == "ctsleep" || c.Name == "ctrecord" && strings.ContainsRune(cl.ends, digit):
			cl.done("OK", cl.take())
		case c.Name == "ctwaitforevent":
			cl.done("OK", string(digit))
		}
	}
}
