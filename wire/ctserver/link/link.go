// Package link makes devices of the ports of cards that Voicetronix ctserver drives. Each port has a small state machine,
// because the telephone line behind it reports little. It knows no front.
package link

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
	"github.com/tr87proxy/tr87proxy/internal/trace"
	"github.com/tr87proxy/tr87proxy/proxy"
	"github.com/tr87proxy/tr87proxy/uacsta"
	"github.com/tr87proxy/tr87proxy/wire/ctserver"
)

// Port is one port of a card.
type Port struct {
	Number  string // of the device
	Port    int    // of the card, from 1 on
	Address string // of its ctserver, host or host:port; default: Config.Address
}

// Flash is what the link dials for the services of the switch behind the line: digits, "&" for a hook flash, "," for a
// pause of one second.
type Flash struct {
	Hold       string // default "&"
	Retrieve   string // default "&"
	Consult    string // before the number; default "&,"
	Alternate  string // default "&2"
	Reconnect  string // default "&1"
	Conference string // of the two calls of a port; default "&3"
}

// Config says where a ctserver is, and how its telephone lines behave.
type Config struct {
	Address    string // host of the ctserver
	Ports      []Port
	Manager    string        // host:port of the manager connection; "": none
	Flash      Flash         // for the switch behind the lines
	AnswerTime time.Duration // after it an outgoing call counts as answered; default 10 s
	RingTime   time.Duration // without a ring for so long an incoming call counts as ended; default 8 s
	CallerTime time.Duration // to wait for the caller ID after the first ring; default 3 s
	Timeout    time.Duration // for the reply to a command; default 10 s
	Heartbeat  time.Duration // interval of the heartbeat on the manager connection; default 30 s
	Log        *slog.Logger  // nil: no log
	Tap        *trace.Tap    // keeps the lines; nil: nobody wants them
}

// Link is a link to the ports of one or more ctservers. It implements proxy.Link.
type Link struct {
	cfg   Config
	ports map[string]*port // by device

	watch  proxy.Monitors
	outbox proxy.Outbox // keeps the order of responses and events
	ready  atomic.Bool  // the link serves requests

	mu       sync.Mutex
	lastCall int   // of callIDs
	manager  *wire // nil: not connected
}

var _ proxy.ConnectionKeeper = (*Link)(nil)

// KeepsConnections implements proxy.ConnectionKeeper: a port serves only requests that name connections of its own calls.
func (*Link) KeepsConnections() {}

// New returns a link. It connects once [Link.Run] is called.
func New(cfg Config) *Link {
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

// errNoPort is the error of a link whose ports all failed.
var errNoPort = errors.New("could not connect to any port of the card")

// The delay before the link reconnects to a port: at first, and at most.
const (
	firstPause = time.Second
	mostPause  = 5 * time.Second
)

// Run implements proxy.Link. It connects to all ports, and reconnects to those that fail, until ctx ends or no port is
// connected.
func (l *Link) Run(ctx context.Context, up proxy.Upcalls) error {
	ctx, cancel := context.WithCancel(ctx)
	broken := make(chan error, 1)
	l.outbox.Guard(func(err error) {
		select {
		case broken <- err:
		default: // Run already has one
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

// change says that a port has connected, or, with an error, that it has failed.
type change struct {
	port *port
	err  error
}

// keep connects to a port, again and again, until ctx ends.
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
			l.cfg.Log.Warn("connection to card port failed", "device", p.cfg.Number, "err", err)
		}
		tell(err)
		if !gate.Sleep(ctx, wait.Next()) {
			return
		}
	}
}

// firstPort is the TCP port of card port 1.
const firstPort = 1200

// address returns the address of the port's ctserver.
func (p *port) address(usual string) string {
	if p.cfg.Address != "" {
		return p.cfg.Address
	}
	return usual
}

// manage keeps the manager connection, which stops recordings, until ctx ends.
func (l *Link) manage(ctx context.Context) {
	for {
		nc, err := gate.Dial(ctx, []string{l.cfg.Manager}, "1198", nil, l.cfg.Timeout)
		if err == nil {
			err = l.serveManager(ctx, nc)
		}
		if ctx.Err() != nil {
			return
		}
		l.cfg.Log.Warn("manager connection failed", "address", l.cfg.Manager, "err", err)
		if !gate.Sleep(ctx, l.cfg.Heartbeat) {
			return
		}
	}
}

// serveManager serves the manager connection. Its heartbeat is the command portstatus.
func (l *Link) serveManager(ctx context.Context, nc net.Conn) error {
	w := newWire(nc, ctserver.Manager, &l.cfg, func(string, string) {})
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
			if err := w.probe("portstatus", l.cfg.Timeout, func(reply *ctserver.Line, err error) {
				if err == nil {
					l.cfg.Log.Debug("status of the card ports", "status", reply.Args)
				}
				replied <- struct{}{}
			}); err != nil {
				return err
			}
			select {
			case <-replied: // this may take as long as the commands before it
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

// newCall returns a new callID.
func (l *Link) newCall() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lastCall++
	return fmt.Sprintf("%08X%04X", uint32(started), uint16(l.lastCall))
}

// started makes the callIDs of this run differ from those of earlier ones.
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
