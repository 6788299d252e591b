package ctserver

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tr87proxy/tr87proxy/internal/gate"
	"github.com/tr87proxy/tr87proxy/proxy"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

// Port is one port of a card.
type Port struct {
	Number  string // of the device that it is
	Port    int    // from 1 on, counted as ctserver does
	Address string // of the ctserver, where it is not the link's: host, or host:port
}

// Flash is what is dialled for services that the switch behind the line carries out: digits,
// "&" for a hook flash, "," for a pause of a second.
type Flash struct {
	Hold       string // "&"
	Retrieve   string // "&"
	Consult    string // before the number; "&,"
	Alternate  string // "&2"
	Reconnect  string // "&1"
	Conference string // of the two calls of one port; "&3"
}

// LinkConfig says where a ctserver is and what its lines are like. Zero values take defaults.
type LinkConfig struct {
	Address    string // host of the ctserver
	Ports      []Port
	Manager    string        // host:port of the manager connection; "": none
	Flash      Flash         // as the switch behind the lines wants it
	AnswerTime time.Duration // after which a call that was dialled counts as answered; 10 s
	RingTime   time.Duration // without a ring after which the caller counts as gone; 8 s
	CallerTime time.Duration // for the caller ID, after the first ring; 3 s
	Timeout    time.Duration // for the answer to a command; 10 s
	Heartbeat  time.Duration // the manager connection is asked for the ports at this interval; 30 s
	Log        *slog.Logger
}

// Link is the ports of one or more ctservers; it implements proxy.Link.
type Link struct {
	cfg   LinkConfig
	ports map[string]*port // by device

	watch  proxy.Monitors
	outbox proxy.Outbox // monitors are started, and told of events, in one order
	ready  atomic.Bool  // it takes requests

	mu       sync.Mutex
	lastCall int   // of callIDs
	manager  *wire // nil while there is none
}

var _ proxy.ConnectionKeeper = (*Link)(nil)

// KeepsConnections implements proxy.ConnectionKeeper: a port carries out what names connections of
// its own calls only.
func (*Link) KeepsConnections() {}

// NewLink makes a link. It connects once Run is called.
func NewLink(cfg LinkConfig) *Link {
	for p, standard := range map[*time.Duration]time.Duration{
		&cfg.AnswerTime: 10 * time.Second, &cfg.RingTime: 8 * time.Second, &cfg.CallerTime: 3 * time.Second, &cfg.Timeout: 10 * time.Second, &cfg.Heartbeat: 30 * time.Second,
	} {
		if *p == 0 {
			*p = standard
		}
	}
	for p, standard := range map[*string]string{&cfg.Flash.Hold: "&", &cfg.Flash.Retrieve: "&", &cfg.Flash.Consult: "&,", &cfg.Flash.Alternate: "&2", &cfg.Flash.Reconnect: "&1", &cfg.Flash.Conference: "&3"} {
		if *p == "" {
			*p = standard
		}
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	l := &Link{cfg: cfg, ports: map[string]*port{}}
	for _, p := range cfg.Ports {
		l.ports[p.Number] = newPort(l, p)
	}
	return l
}

// errNoPort is why a link is down.
var errNoPort = errors.New("no port of the card can be reached")

// How long a port is left alone before it is tried again: at first, and at most.
const (
	firstPause = time.Second
	mostPause  = 5 * time.Second
)

// Run implements proxy.Link: it connects to every port, and to those that fail again, until
// ctx ends or none is left.
func (l *Link) Run(ctx context.Context, up proxy.Upcalls) error {
	ctx, cancel := context.WithCancel(ctx)
	broken := make(chan error, 1)
	l.outbox.Guard(func(err error) {
		select {
		case broken <- err:
		default: // it is known
		}
	})
	var group sync.WaitGroup
	defer l.outbox.Drain()
	defer group.Wait()
	defer cancel()
	defer l.watch.Reset(nil)
	changes := make(chan change, len(l.ports))
	for _, p := range l.ports {
		group.Go(func() { l.keep(ctx, p, changes) })
	}
	if l.cfg.Manager != "" {
		group.Go(func() { l.manage(ctx) })
	}
	states, ready := map[*port]error{}, false
	alive := 0
	for {
		select {
		case <-ctx.Done():
			cancel()
			return ctx.Err()
		case err := <-broken:
			cancel()
			return err
		case c := <-changes:
			if was, known := states[c.port]; known && was == nil && c.err != nil {
				alive--
			} else if c.err == nil {
				alive++
			}
			states[c.port] = c.err
			if len(states) == len(l.ports) && alive == 0 {
				cancel()
				return fmt.Errorf("%w: %w", errNoPort, c.err)
			}
			if !ready && (alive == len(l.ports) || alive > 0 && len(states) == len(l.ports)) {
				ready = true
				l.watch.Reset(up)
				l.ready.Store(true)
				defer l.ready.Store(false)
				up.Ready()
			}
		}
	}
}

// change is that a port has come, or gone and why.
type change struct {
	port *port
	err  error
}

// keep keeps the connection to one port until ctx ends.
func (l *Link) keep(ctx context.Context, p *port, changes chan<- change) {
	tell := func(err error) {
		select {
		case changes <- change{p, err}:
		case <-ctx.Done():
		}
	}
	for wait := (gate.BackOff{First: firstPause, Most: mostPause}); ; {
		nc, err := gate.Dial(ctx, []string{p.address(l.cfg.Address)}, strconv.Itoa(firstPort-1+p.cfg.Port), nil, l.cfg.Timeout)
		if err == nil {
			err = p.serve(ctx, nc, func() { wait.Reset(); tell(nil) })
			l.cfg.Log.Warn("port lost", "device", p.cfg.Number, "err", err)
		}
		tell(err)
		if !gate.Sleep(ctx, wait.Next()) {
			return
		}
	}
}

// firstPort is the TCP port of card port 1.
const firstPort = 1200

// address is where the port's ctserver is.
func (p *port) address(usual string) string {
	if p.cfg.Address != "" {
		return p.cfg.Address
	}
	return usual
}

// manage keeps the manager connection: it asks for the state of the ports, and stops
// recordings, until ctx ends.
func (l *Link) manage(ctx context.Context) {
	for {
		nc, err := gate.Dial(ctx, []string{l.cfg.Manager}, "1198", nil, l.cfg.Timeout)
		if err == nil {
			err = l.ask(ctx, nc)
		}
		if ctx.Err() != nil {
			return
		}
		l.cfg.Log.Warn("no manager connection", "address", l.cfg.Manager, "err", err)
		if !gate.Sleep(ctx, l.cfg.Heartbeat) {
			return
		}
	}
}

// ask asks for the state of the ports again and again.
func (l *Link) ask(ctx context.Context, nc net.Conn) error {
	w := newWire(nc, manager, l.cfg.Log, func(string, string) {})
	l.mu.Lock()
	l.manager = w
	l.mu.Unlock()
	defer func() {
		l.mu.Lock()
		l.manager = nil
		l.mu.Unlock()
	}()
	return w.Run(ctx, w.read, func(ctx context.Context) error {
		beat := time.NewTicker(l.cfg.Heartbeat)
		defer beat.Stop()
		replied := make(chan struct{}, 1)
		for {
			if err := w.probe("portstatus", l.cfg.Timeout, func(reply *line, err error) {
				if err == nil {
					l.cfg.Log.Debug("ports", "status", reply.args)
				}
				replied <- struct{}{}
			}); err != nil {
				return err
			}
			select {
			case <-replied: // commands before it may take long
			case <-ctx.Done():
				return ctx.Err()
			}
			select {
			case <-beat.C:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	}, nil)
}

// newCall makes a callID.
func (l *Link) newCall() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lastCall++
	return fmt.Sprintf("%08X%04X", uint32(started), uint16(l.lastCall))
}

// started tells callIDs of this run from those of an earlier one.
var started = time.Now().Unix()

// Features implements proxy.FeatureLister.
func (l *Link) Features(string) uacsta.Features {
	return uacsta.Features{
		Services: []string{
			uacsta.NameMonitorStart, uacsta.NameMonitorStop, uacsta.NameSnapshotCall, uacsta.NameSnapshotDevice, uacsta.NameAlternateCall,
			uacsta.NameAnswerCall, uacsta.NameClearConnection, uacsta.NameConferenceCall, uacsta.NameConsultationCall, uacsta.NameHoldCall,
			uacsta.NameMakeCall, uacsta.NameReconnectCall, uacsta.NameRetrieveCall, uacsta.NameTransferCall, uacsta.NameGenerateDigits,
			uacsta.NamePlayMessage, uacsta.NameRecordMessage, uacsta.NameStop,
		},
		Events: []string{
			uacsta.NameConferencedEvent, uacsta.NameConnectionClearedEvent, uacsta.NameDeliveredEvent, uacsta.NameEstablishedEvent,
			uacsta.NameFailedEvent, uacsta.NameHeldEvent, uacsta.NameNetworkReachedEvent, uacsta.NameOriginatedEvent, uacsta.NameRetrievedEvent,
			uacsta.NameServiceInitiatedEvent, uacsta.NameTransferedEvent, uacsta.NameBackInServiceEvent, uacsta.NameOutOfServiceEvent,
			uacsta.NameDtmfDetectedEvent, uacsta.NamePlayEvent, uacsta.NameRecordEvent, uacsta.NameStopEvent,
		},
	}
}

var (
	errService    = uacsta.Refuse(uacsta.Operation, uacsta.ServiceNotSupported)
	errDevice     = uacsta.Refuse(uacsta.Operation, uacsta.InvalidDeviceID)
	errConnection = uacsta.Refuse(uacsta.Operation, uacsta.InvalidConnectionID)
)

// Request implements proxy.Link.
func (l *Link) Request(req *uacsta.Message, reply func(*uacsta.Message, error)) {
	if !l.ready.Load() {
		reply(nil, proxy.Refusal(gate.ErrClosed))
		return
	}
	proxy.Perform(req, reply, func(service any, answer proxy.Answer) {
		switch s := service.(type) {
		case *uacsta.MonitorStart:
			l.outbox.Post(func() { answer(l.watch.Start(s, func(device string) bool { return l.ports[device] != nil })) })
			l.outbox.Flush()
		case *uacsta.MonitorStop:
			l.outbox.Post(func() { answer(l.watch.Stop(s)) })
			l.outbox.Flush()
		default:
			p, err := l.portOf(service)
			if err != nil {
				answer(nil, err)
				return
			}
			p.inbox.Do(func() { p.perform(service, answer) }, func(err error) { answer(nil, err) })
		}
	})
}
