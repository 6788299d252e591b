// Package link connects to a switch that speaks CSTA-XML over TCP or TLS. It knows no front.
package link

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/tr87proxy/tr87proxy/internal/gate"
	"github.com/tr87proxy/tr87proxy/internal/kind"
	"github.com/tr87proxy/tr87proxy/proxy"
	"github.com/tr87proxy/tr87proxy/uacsta"
	"github.com/tr87proxy/tr87proxy/wire/cstaxml"
)

// Config says where a switching function is and how it speaks.
type Config struct {
	kind.Dialling // the heartbeat is RequestSystemStatus

	Dialect Dialect        // of the switching function; the zero value is plain
	Edition uacsta.Edition // of ECMA-323 that the switching function speaks; default: that of the dialect
	Session Session        // the zero value opens no application session, unless the dialect requires one
}

// Link is a link to a switching function that speaks CSTA-XML. It implements proxy.Link.
type Link struct {
	cfg Config

	mu       sync.Mutex
	conn     *cstaxml.Conn // nil while the link is down
	features uacsta.Features

	devices *deviceIDs // nil: the switching function identifies devices by their numbers
	typed   typedDevices
}

// New returns a link. It connects once [Link.Run] is called.
func New(cfg Config) *Link {
	if cfg.Dialect.Edition == 0 {
		cfg.Dialect = dialects["plain"]
	}
	if cfg.Edition == 0 {
		cfg.Edition = cfg.Dialect.Edition
	}
	cfg.SetDefaults()
	l := &Link{cfg: cfg}
	if cfg.Dialect.DeviceIDs {
		l.devices = newDeviceIDs(cfg.Session.Switch)
	}
	return l
}

// Run implements proxy.Link. It connects, opens an application session if the dialect or the configuration requires one,
// and serves until the connection fails, the switching function does not answer, or ctx ends.
func (l *Link) Run(ctx context.Context, up proxy.Upcalls) error {
	port := l.cfg.Dialect.Port
	if l.cfg.TLS != nil {
		port = l.cfg.Dialect.TLSPort
	}
	nc, err := l.cfg.Dial(ctx, port)
	if err != nil {
		return err
	}
	h := &fromSwitch{link: l, up: up}
	h.conn = cstaxml.NewConn(nc, h, l.cfg.Conn)
	s := &session{link: l, conn: h.conn}
	return h.conn.Run(ctx, func(ctx context.Context) error {
		defer l.use(nil)
		return l.keep(ctx, s, up)
	}, s.stop)
}

// use sets the connection that requests go out on; nil: the link is down.
func (l *Link) use(conn *cstaxml.Conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.conn = conn
}

// keep brings the link up and checks at each heartbeat that the switching function answers.
func (l *Link) keep(ctx context.Context, s *session, up proxy.Upcalls) error {
	conn := s.conn
	if err := s.start(ctx); err != nil {
		return err
	}
	alive, err := l.meet(ctx, s)
	if err != nil {
		return err
	}
	l.use(conn)
	up.Ready()
	beat := time.NewTicker(l.cfg.Heartbeat)
	defer beat.Stop()
	for {
		select {
		case <-beat.C:
			if err := alive(ctx); err != nil {
				return err
			}
		case <-s.due:
			if err := s.prolong(ctx); err != nil {
				return err
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// ask sends a request of the link itself and waits for its response.
func (l *Link) ask(ctx context.Context, conn *cstaxml.Conn, req any) (*uacsta.Message, error) {
	type answer struct {
		m   *uacsta.Message
		err error
	}
	answered := make(chan answer, 1)
	conn.Probe(message(req, l.cfg.Edition), func(m *uacsta.Message, err error) { answered <- answer{m, err} })
	select {
	case a := <-answered:
		return a.m, a.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// message returns a request that is a struct or a message as a message.
func message(req any, edition uacsta.Edition) *uacsta.Message {
	if m, ok := req.(*uacsta.Message); ok {
		return m
	}
	return uacsta.Encode(req, edition)
}

// meet asks what a link asks at first, and returns what checks that the switching function is there: a request that it has
// answered. Some leave requests that they do not know without a response. meet fails if the switching function answers none.
func (l *Link) meet(ctx context.Context, s *session) (alive func(context.Context) error, err error) {
	conn := s.conn
	answered := s.id != "" // it has granted the application session
	if answered {
		alive = s.prolong
	}
	status := func(ctx context.Context) error { return l.alive(ctx, conn) }
	features := func(ctx context.Context) error { return l.askFeatures(ctx, conn) }
	silence := status(ctx)
	if silence != nil && !errors.Is(silence, gate.ErrTimeout) {
		return nil, silence
	}
	if l.cfg.Dialect.Register || silence != nil {
		answered = l.register(ctx, conn) || answered
	}
	switch err := features(ctx); {
	case err == nil && alive == nil:
		alive = features
	case err != nil && !errors.Is(err, gate.ErrTimeout):
		return nil, err
	}
	switch {
	case silence == nil:
		alive = status
	case alive != nil:
	case answered:
		l.cfg.Log.Warn("switch answers no heartbeat, only the transport can tell that it is gone")
		alive = func(context.Context) error { return nil }
	default:
		return nil, silence
	}
	return alive, nil
}

// register registers for SystemStatus, and reports whether the switching function answers. The link works without it.
func (l *Link) register(ctx context.Context, conn *cstaxml.Conn) (answered bool) {
	wish := uacsta.SystemRegister{RequestTypes: uacsta.RequestTypes{SystemStatus: true}}
	_, err := l.ask(ctx, conn, wish)
	if err != nil {
		l.cfg.Log.Warn("could not register for system status", "err", err)
	}
	return err == nil || errors.As(err, new(*uacsta.Error))
}

// alive requests the system status. A refusal shows that the switching function is there.
func (l *Link) alive(ctx context.Context, conn *cstaxml.Conn) error {
	res, err := l.ask(ctx, conn, uacsta.RequestSystemStatus{})
	var refusal *uacsta.Error
	switch {
	case errors.As(err, &refusal):
		return nil
	case err != nil:
		return fmt.Errorf("RequestSystemStatus: %w", err)
	case res.Text("systemStatus") == string(uacsta.StatusDisabled):
		return errors.New("the switching function reports the status disabled")
	}
	return nil
}

// usual are the features of a switching function that does not serve GetCSTAFeatures.
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

// askFeatures asks for the services and events that the switching function supports.
func (l *Link) askFeatures(ctx context.Context, conn *cstaxml.Conn) error {
	features := usual
	res, err := l.ask(ctx, conn, uacsta.GetCSTAFeatures{})
	switch {
	case err == nil:
		features = res.Features()
	case errors.As(err, new(*uacsta.Error)):
		err = nil
	case !errors.Is(err, gate.ErrTimeout):
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.features = features
	return err
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
	if !req.Fits(l.cfg.Edition) { // without some of its parameters it would be another request
		reply(nil, uacsta.Refuse(uacsta.Operation, "parameterNotSupported"))
		return
	}
	req.Convert(l.cfg.Edition)
	if !req.Foreign() && req.Namespace() != uacsta.NamespaceApplSession {
		req.SetNamespace(l.cfg.Edition.Namespace())
	}
	send := func(req *uacsta.Message) {
		if l.cfg.Dialect.Types != nil {
			l.typed.learn(req)
		}
		l.cfg.Dialect.write(req)
		conn.Request(req, func(res *uacsta.Message, err error) {
			if err == nil && res != nil {
				l.read(res)
			}
			reply(res, l.cfg.Refusal(req.Name(), err))
		})
	}
	if l.devices == nil {
		send(req)
		return
	}
	l.devices.name(conn, req, send, func(err error) { reply(nil, l.cfg.Refusal(req.Name(), err)) })
}

// read turns the devices of a message of the switching function into numbers.
func (l *Link) read(m *uacsta.Message) {
	if l.devices != nil {
		l.devices.read(m)
	}
	l.cfg.Dialect.read(m, &l.typed)
}

// fromSwitch takes the messages of the switching function. It is a cstaxml.Handler.
type fromSwitch struct {
	link *Link
	conn *cstaxml.Conn
	up   proxy.Upcalls
}

// Event implements cstaxml.Handler. Of late responses, the core gets those that have opened something.
func (h *fromSwitch) Event(ev *uacsta.Message) error {
	if ev.Kind() == uacsta.Response && !proxy.Opens(ev.Name()) {
		return nil
	}
	h.link.read(ev)
	h.up.Event(ev)
	return nil
}

// Unclear implements cstaxml.Handler.
func (h *fromSwitch) Unclear(u *uacsta.Unclear, answer func(*uacsta.Message)) {
	answer(u.Refusal.Message(h.link.cfg.Edition))
}

// Request implements cstaxml.Handler.
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
	case uacsta.NameSystemRegister: // some switching functions register for our status
		answer(uacsta.Encode(uacsta.SystemRegisterResponse{SysStatRegisterID: "1"}, edition))
		return
	case uacsta.NameRequestSystemStatus:
		answer(uacsta.AnswerTo(req, edition))
		return
	}
	res := uacsta.Accept(req, edition) // before the core gets the request, and may change it
	if err := h.up.Request(req); err != nil {
		res = uacsta.ErrorMessage(err, edition)
	}
	answer(res)
}
