package cstaxml

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/tr87proxy/tr87proxy/internal/gate"
	"github.com/tr87proxy/tr87proxy/proxy"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

// LinkConfig says where a switching function is and how it is spoken to.
type LinkConfig struct {
	Addresses []string       // host:port, or host for the dialect's port; the first that takes the connection is used
	TLS       gate.TLS       // nil: TCP
	Dialect   Dialect        // of the peer; the zero value is the plain one
	Edition   uacsta.Edition // that the peer speaks; that of the dialect
	Session   Session        // application session; the zero value opens none unless the dialect wants one
	Heartbeat time.Duration  // RequestSystemStatus at this interval; 30 s
	DialTime  time.Duration  // for one address, TLS included; 10 s
	Conn      gate.Limits
	Log       *slog.Logger
}

// Link is a switching function that speaks CSTA-XML over TCP or TLS; it implements
// proxy.Link.
type Link struct {
	cfg LinkConfig

	mu       sync.Mutex
	conn     *Conn // nil while there is none
	features uacsta.Features

	devices *deviceIDs // nil where numbers are identifiers
}

// NewLink makes a link. It connects once Run is called.
func NewLink(cfg LinkConfig) *Link {
	if cfg.Dialect.Edition == 0 {
		cfg.Dialect = dialects["plain"]
	}
	if cfg.Edition == 0 {
		cfg.Edition = cfg.Dialect.Edition
	}
	if cfg.Heartbeat == 0 {
		cfg.Heartbeat = 30 * time.Second
	}
	if cfg.DialTime == 0 {
		cfg.DialTime = 10 * time.Second
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Conn.QueueLength == 0 {
		cfg.Conn.QueueLength, cfg.Conn.QueueOctets = 4096, 4<<20 // requests do not wait for room
	}
	cfg.Conn.Log = cfg.Log
	l := &Link{cfg: cfg}
	if cfg.Dialect.DeviceIDs {
		l.devices = newDeviceIDs(cfg.Session.Switch)
	}
	return l
}

// Run implements proxy.Link: it connects, asks for the status, and serves until the
// connection fails, the peer does not answer, or ctx ends.
func (l *Link) Run(ctx context.Context, up proxy.Upcalls) error {
	port := l.cfg.Dialect.Port
	if l.cfg.TLS != nil {
		port = l.cfg.Dialect.TLSPort
	}
	nc, err := gate.Dial(ctx, l.cfg.Addresses, port, l.cfg.TLS, l.cfg.DialTime)
	if err != nil {
		return err
	}
	l.cfg.Log.Info("connected", "address", nc.RemoteAddr().String())
	conn := NewConn(nc, nil, l.cfg.Conn)
	conn.handler = &fromSwitch{link: l, conn: conn, up: up}
	s := &session{link: l, conn: conn}
	return conn.Run(ctx, conn.read, func(ctx context.Context) error {
		defer l.use(nil)
		return l.keep(ctx, s, up)
	}, s.stop)
}

// use has requests go out on a connection; nil: there is none.
func (l *Link) use(conn *Conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.conn = conn
}

// keep opens the link and keeps asking whether the peer is there.
func (l *Link) keep(ctx context.Context, s *session, up proxy.Upcalls) error {
	conn := s.conn
	if err := s.start(ctx); err != nil {
		return err
	}
	if err := l.alive(ctx, conn); err != nil {
		return err
	}
	if l.cfg.Dialect.Register {
		l.register(ctx, conn)
	}
	if err := l.askFeatures(ctx, conn); err != nil {
		return err
	}
	l.use(conn)
	up.Ready()
	beat := time.NewTicker(l.cfg.Heartbeat)
	defer beat.Stop()
	for {
		select {
		case <-beat.C:
			if err := l.alive(ctx, conn); err != nil {
				return err
			}
		case <-s.due:
			if err := s.reset(ctx); err != nil {
				return err
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// ask sends a request that keeps the link, and waits for its answer.
func (l *Link) ask(ctx context.Context, conn *Conn, req any) (*uacsta.Message, error) {
	type answer struct {
		m   *uacsta.Message
		err error
	}
	answered := make(chan answer, 1)
	conn.request(conn.Probe, message(req, l.cfg.Edition), func(m *uacsta.Message, err error) { answered <- answer{m, err} })
	select {
	case a := <-answered:
		return a.m, a.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// message makes one of a struct.
func message(req any, edition uacsta.Edition) *uacsta.Message {
	if m, ok := req.(*uacsta.Message); ok {
		return m
	}
	return uacsta.Encode(req, edition)
}

// register asks to be told the status. Whoever refuses does not tell it.
func (l *Link) register(ctx context.Context, conn *Conn) {
	wish := uacsta.SystemRegister{RequestTypes: uacsta.RequestTypes{SystemStatus: true}}
	if _, err := l.ask(ctx, conn, wish); err != nil {
		l.cfg.Log.Warn("the switching function does not tell its status", "err", err)
	}
}

// alive asks for the status. A peer that refuses to say is there.
func (l *Link) alive(ctx context.Context, conn *Conn) error {
	res, err := l.ask(ctx, conn, uacsta.RequestSystemStatus{})
	var refusal *uacsta.Error
	switch {
	case errors.As(err, &refusal):
		return nil
	case err != nil:
		return fmt.Errorf("no status: %w", err)
	case res.Text("systemStatus") == string(uacsta.StatusDisabled):
		return errors.New("the switching function says that it is disabled")
	}
	return nil
}

// usual is what a peer is taken for that does not say what it can do.
var usual = uacsta.Features{
	Services: []string{
		uacsta.NameMonitorStart, uacsta.NameMonitorStop, uacsta.NameSnapshotCall, uacsta.NameSnapshotDevice, uacsta.NameAlternateCall,
		uacsta.NameAnswerCall, uacsta.NameClearConnection, uacsta.NameConferenceCall, uacsta.NameConsultationCall, uacsta.NameDeflectCall,
		uacsta.NameHoldCall, uacsta.NameMakeCall, uacsta.NameReconnectCall, uacsta.NameRetrieveCall, uacsta.NameSingleStepTransferCall,
		uacsta.NameTransferCall,
	},
	Events: []string{
		uacsta.NameConferencedEvent, uacsta.NameConnectionClearedEvent, uacsta.NameDeliveredEvent, uacsta.NameDivertedEvent,
		uacsta.NameEstablishedEvent, uacsta.NameFailedEvent, uacsta.NameHeldEvent, uacsta.NameNetworkReachedEvent, uacsta.NameOriginatedEvent,
		uacsta.NameQueuedEvent, uacsta.NameRetrievedEvent, uacsta.NameServiceInitiatedEvent, uacsta.NameTransferedEvent,
	},
}

func (l *Link) askFeatures(ctx context.Context, conn *Conn) error {
	features := usual
	res, err := l.ask(ctx, conn, uacsta.GetCSTAFeatures{})
	switch {
	case err == nil:
		features = res.Features()
	case !errors.As(err, new(*uacsta.Error)):
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.features = features
	return nil
}

// Features implements proxy.FeatureLister.
func (l *Link) Features(string) uacsta.Features {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.features
}

// Request implements proxy.Link.
func (l *Link) Request(req *uacsta.Message, reply func(*uacsta.Message, error)) {
	l.mu.Lock()
	conn := l.conn
	l.mu.Unlock()
	if conn == nil {
		reply(nil, proxy.Refusal(gate.ErrClosed))
		return
	}
	if !req.Fits(l.cfg.Edition) { // to send the call to the first would be something else than what was asked for
		reply(nil, uacsta.Refuse(uacsta.Operation, "parameterNotSupported"))
		return
	}
	req.Convert(l.cfg.Edition)
	if !req.Foreign() && req.Namespace() != uacsta.NamespaceApplSession {
		req.SetNamespace(l.cfg.Edition.Namespace())
	}
	send := func(req *uacsta.Message) {
		l.cfg.Dialect.write(req)
		conn.Request(req, func(res *uacsta.Message, err error) {
			if err == nil && res != nil {
				l.read(res)
			}
			reply(res, l.refusal(req, err))
		})
	}
	if l.devices == nil {
		send(req)
		return
	}
	l.devices.name(conn, req, send, func(err error) { reply(nil, l.refusal(req, err)) })
}

// read brings what the switching function sent into the form of the core.
func (l *Link) read(m *uacsta.Message) {
	if l.devices != nil {
		l.devices.read(m)
	}
	l.cfg.Dialect.read(m)
}

// refusal says in CSTA's words why a request has no answer.
func (l *Link) refusal(req *uacsta.Message, err error) error {
	if errors.Is(err, gate.ErrTimeout) {
		l.cfg.Log.Warn("no answer", "service", req.Name())
	}
	return proxy.Refusal(err)
}

// fromSwitch takes what the switching function sends: a Handler.
type fromSwitch struct {
	link *Link
	conn *Conn
	up   proxy.Upcalls
}

// Event implements Handler.
func (h *fromSwitch) Event(ev *uacsta.Message) error {
	h.link.read(ev)
	h.up.Event(ev)
	return nil
}

// Unclear implements Handler.
func (h *fromSwitch) Unclear(u *uacsta.Unclear, answer func(*uacsta.Message)) {
	answer(u.Refusal.Message(h.link.cfg.Edition))
}

// Request implements Handler.
func (h *fromSwitch) Request(req *uacsta.Message, answer func(*uacsta.Message)) {
	edition := req.Edition()
	if edition == 0 {
		edition = h.link.cfg.Edition
	}
	h.link.read(req)
	switch req.Name() {
	case uacsta.NameApplicationSessionTerminated:
		h.conn.Close(fmt.Errorf("the switching function ended the application session: %.100q", req.Text("sessionTermReason/definedTermReason")+req.Text("sessionTermReason/serverTermReason")))
		answer(nil)
		return
	case uacsta.NameSystemRegister: // some switching functions want to be told of ours
		answer(uacsta.Encode(uacsta.SystemRegisterResponse{SysStatRegisterID: "1"}, edition))
		return
	case uacsta.NameRequestSystemStatus:
		answer(uacsta.AnswerTo(req, edition))
		return
	}
	res := uacsta.Accept(req, edition) // the request is the core's from now on
	if err := h.up.Request(req); err != nil {
		res = uacsta.ErrorMessage(err, edition)
	}
	answer(res)
}
