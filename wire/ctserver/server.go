package ctserver

import (
	"bufio"
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/tr87proxy/tr87proxy/internal/gate"
	"github.com/tr87proxy/tr87proxy/internal/share"
	"github.com/tr87proxy/tr87proxy/policy"
	"github.com/tr87proxy/tr87proxy/proxy"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

// CardConfig says which devices are the ports of a card. Zero values take defaults.
type CardConfig struct {
	Proxy    *proxy.Proxy
	Identify func(addr netip.Addr, certificateNames []string) (policy.Identity, bool)
	Devices  []string      // port 1, port 2, ...
	Gate     gate.Config   // who may connect at all; its Trusts, Refused and Log are the card's
	Ring     time.Duration // from one ring to the next; 5 s
	Play     time.Duration // how long a file seems to play; 2 s
	Shutdown func()        // called by the command shutdown; nil: it is refused
	Log      *slog.Logger
}

// Card makes devices look like the ports of a card that ctserver drives: for programs that
// were written for it, and for those who write them. It has no voice: files seem to be
// played.
type Card struct {
	cfg  CardConfig
	gate *gate.Gate

	mu    sync.Mutex
	ports map[int]*client // that are connected, from 0 on
}

// NewCard makes a card.
func NewCard(cfg CardConfig) *Card {
	for p, standard := range map[*time.Duration]time.Duration{&cfg.Ring: 5 * time.Second, &cfg.Play: 2 * time.Second} {
		if *p == 0 {
			*p = standard
		}
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	c := &Card{cfg: cfg, ports: map[int]*client{}}
	cfg.Gate.Trusts = func(addr netip.Addr) bool { who, ok := cfg.Identify(addr, nil); return ok && who.Name != "" }
	cfg.Gate.Log = cfg.Log
	cfg.Gate.Refused = func(nc net.Conn, why string) { cfg.Proxy.RefuseConnection(front, nc, why) }
	c.gate = gate.New(cfg.Gate)
	return c
}

// clientInbox is how many lines and events of a program may wait.
const clientInbox = 256

// writeTime is how long a program may take to take a line.
const writeTime = 10 * time.Second

// front is the name of this front in rules and logs.
const front = "ctserver"

// Serve takes the connections of one port, counted from 1, until ctx ends; 0 is the manager
// connection.
func (c *Card) Serve(ctx context.Context, l net.Listener, port int) error {
	return c.gate.Serve(ctx, l, func(ctx context.Context, guest *gate.Guest) {
		who, ok := c.cfg.Identify(gate.AddrOf(guest.Conn), guest.Names)
		if !ok || who.Name == "" {
			c.cfg.Proxy.RefuseConnection(front, guest.Conn, "the peer is not trusted")
			return
		}
		guest.Prove()
		cl := &client{card: c, guest: guest, nc: guest.Conn, handle: port - 1, inbox: make(chan func(), clientInbox), ended: make(chan struct{})}
		if port == 0 {
			cl.handle = manager
		}
		cl.serve(ctx, who)
	})
}

// claim makes a connection that of its port; the one before it has none any more.
func (c *Card) claim(cl *client) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ports[cl.handle] = cl
}

func (c *Card) release(cl *client) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ports[cl.handle] == cl {
		delete(c.ports, cl.handle)
	}
}

func (c *Card) port(handle int) *client {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.ports[handle]
}

// client is one connection to a port. All of it but the inbox belongs to one goroutine.
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
	left                   map[string]bool // calls that the program has hung up, until their end is told
	caller                 string
	rings, wanted          int // since the call came; that ctwaitforring waits for
	ring, timer, busyUntil *time.Timer
	waiting                *line  // the command that waits
	ends                   string // the digits that end it
	digits                 string // that were heard
	script                 string
}

// device is the port's device.
func (cl *client) device() string { return cl.card.cfg.Devices[cl.handle] }

// post has something done by the client's goroutine; one that does not keep up is cut off.
func (cl *client) post(what func()) {
	select {
	case cl.inbox <- what:
	case <-cl.ended:
	default:
		_ = cl.nc.Close()
	}
}

func (cl *client) serve(ctx context.Context, who policy.Identity) {
	defer close(cl.ended)
	stop := context.AfterFunc(ctx, func() { _ = cl.nc.Close() })
	defer stop()
	if cl.handle != manager {
		session, err := cl.card.cfg.Proxy.Open(proxy.Opening{
			Identity: who, Line: cl.device(), Peer: front + ":" + cl.nc.RemoteAddr().String(), Front: front, Addr: gate.AddrOf(cl.nc),
		}, toClient{cl})
		if err != nil {
			return // the core has logged it
		}
		cl.session = session
		defer session.Close(errors.New("the program has left"))
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

// watch begins to watch the device.
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
	r := bufio.NewReaderSize(cl.nc, maxLine)
	for {
		l, err := readLine(r)
		switch {
		case err != nil:
		case l.name == "" || l.reply:
			err = cl.guest.Strike(slog.LevelInfo, "a line that is no command")
		default:
			cl.post(func() { cl.command(l) })
		}
		if err != nil {
			return
		}
	}
}

// ask has the switching function do something; then is called in the client's goroutine.
func (cl *client) ask(service any, then func(res *uacsta.Message)) {
	req := uacsta.Encode(service, uacsta.Edition6)
	name := req.Name()
	cl.session.Request(req, func(res *uacsta.Message) {
		if res != nil && res.Err() != nil {
			cl.card.cfg.Log.Info("refused", "port", cl.handle+1, "service", name, "err", res.Err())
		}
		cl.post(func() { then(res) })
	})
}

// toClient is the client as the core sees it: a proxy.Client.
type toClient struct{ *client }

// Event implements proxy.Client.
func (c toClient) Event(m *uacsta.Message) { c.post(func() { c.told(m) }) }

// Closed implements proxy.Client.
func (c toClient) Closed(error) { _ = c.nc.Close() }

// write writes a line: a reply, or what has happened. What a line cannot hold of a caller's number
// or a digit becomes a question mark.
func (cl *client) write(l *line) {
	l.reply, l.src, l.dst = true, cl.handle, cl.handle
	for i, arg := range l.args {
		l.args[i] = sayable(arg)
	}
	text, err := l.text()
	if err != nil {
		l.args = []string{"ERROR"}
		if text, err = l.text(); err != nil { // not even the name of its command can be said
			_ = cl.nc.Close()
			return
		}
	}
	_ = cl.nc.SetWriteDeadline(time.Now().Add(writeTime))
	if _, err := cl.nc.Write([]byte(text)); err != nil {
		_ = cl.nc.Close()
	}
}

// reply answers a command.
func (cl *client) reply(c *line, args ...string) { cl.write(&line{name: c.name, args: args}) }

// done answers the command that waits.
func (cl *client) done(args ...string) {
	c := cl.waiting
	cl.waiting, cl.ends = nil, ""
	if cl.busyUntil != nil {
		cl.busyUntil.Stop()
	}
	cl.reply(c, args...)
}

// waits lets a command wait, at most for a time; then it is done.
func (cl *client) waits(c *line, limit time.Duration) {
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

// take takes the digits that were heard.
func (cl *client) take() string {
	heard := cl.digits
	cl.digits = ""
	return heard
}

// happens says what has happened on the line: to the command that waits for it, or by itself.
func (cl *client) happens(what string) {
	switch c := cl.waiting; {
	case c == nil || c.name == "ctwaitforring" || c.name == "ctdial":
		cl.write(&line{name: "event", args: []string{what}})
	case c.name == "ctwaitforevent":
		cl.done("OK", what)
	default:
		cl.done("EVENT", cl.take(), what)
	}
}

// told takes an event of the device.
func (cl *client) told(m *uacsta.Message) {
	connections := m.Connections()
	if m.Kind() != uacsta.Event || len(connections) == 0 {
		return
	}
	first := uacsta.Conn(connections[0].CallID(), connections[0].DeviceID())
	mine := first.DeviceID.ID == cl.device()
	if cl.left[first.CallID] { // what happened in it before is told late
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
			cl.happens("toneend") // ringback ends
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

// joined: calls were joined. The device is in the one that came of it, unless it is out.
func (cl *client) joined(m *uacsta.Message) {
	cl.active, cl.held = nil, nil
	for _, c := range m.Connections() {
		if strings.HasSuffix(c.Path(), "newConnection") && c.DeviceID() == cl.device() {
			now := uacsta.Conn(c.CallID(), c.DeviceID())
			cl.active = &now
		}
	}
}

// rang rings, and goes on ringing until somebody answers.
func (cl *client) rang(call *uacsta.ConnectionID) {
	if cl.ringing != call {
		return
	}
	cl.rings++
	if c := cl.waiting; c != nil && c.name == "ctwaitforring" {
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

// over: the device is out of a call.
func (cl *client) over(call *uacsta.ConnectionID, failed bool) {
	switch {
	case sameCall(call, cl.ringing):
		cl.ringing = nil // the line falls silent
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

// heard takes digits that the other end has sent.
func (cl *client) heard(digits string) {
	for _, digit := range digits {
		cl.digits += string(digit)
		switch c := cl.waiting; {
		case c == nil:
			cl.happens(string(digit))
		case c.name == "ctcollect":
			if most, _ := strconv.Atoi(c.arg(1)); most > 0 && len(cl.digits) >= most {
				cl.done("OK", cl.take())
			}
		case c.name == "ctplay" || c.name == "ctsleep" || c.name == "ctrecord" && containsDigit(cl.ends, digit):
			cl.done("OK", cl.take())
		case c.name == "ctwaitforevent":
			cl.done("OK", string(digit))
		}
	}
}

func containsDigit(digits string, digit rune) bool {
	for _, d := range digits {
		if d == digit {
			return true
		}
	}
	return false
}
