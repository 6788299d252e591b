package cstaxml

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/tr87proxy/tr87proxy/proxy"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

// LinkConfig says where a switching function is and how it is spoken to.
type LinkConfig struct {
	Addresses []string       // host:port; the first that takes the connection is used
	TLS       *tls.Config    // nil: TCP
	Edition   uacsta.Edition // that the peer speaks; 3
	Heartbeat time.Duration  // RequestSystemStatus at this interval; 30 s
	DialTime  time.Duration  // for one address, TLS included; 10 s
	Conn      Config
	Log       *slog.Logger
}

// Link is a switching function that speaks CSTA-XML over TCP or TLS; it implements
// proxy.Link.
type Link struct {
	cfg LinkConfig

	mu       sync.Mutex
	conn     *Conn // nil while there is none
	features uacsta.Features
}

// NewLink makes a link. It connects once Run is called.
func NewLink(cfg LinkConfig) *Link {
	if cfg.Edition == 0 {
		cfg.Edition = uacsta.Edition3
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
		cfg.Conn.QueueLength = 4096 // requests do not wait for room
	}
	cfg.Conn.Log = cfg.Log
	return &Link{cfg: cfg}
}

// Run implements proxy.Link: it connects, asks for the status, and serves until the
// connection fails, the peer does not answer, or ctx ends.
func (l *Link) Run(ctx context.Context, up proxy.Upcalls) error {
	nc, err := l.dial(ctx)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	conn := NewConn(nc, &fromSwitch{link: l, up: up}, l.cfg.Conn)
	served := make(chan error, 1)
	go func() { served <- conn.Serve(ctx) }()
	err = l.serve(ctx, conn, up)
	l.mu.Lock()
	l.conn = nil
	l.mu.Unlock()
	conn.Close(err)
	return <-served
}

// dial connects to the first address that can be reached.
func (l *Link) dial(ctx context.Context) (net.Conn, error) {
	var failures []error
	for _, address := range l.cfg.Addresses {
		ctx, cancel := context.WithTimeout(ctx, l.cfg.DialTime)
		var nc net.Conn
		var err error
		if l.cfg.TLS != nil {
			nc, err = (&tls.Dialer{Config: l.cfg.TLS}).DialContext(ctx, "tcp", address)
		} else {
			nc, err = (&net.Dialer{}).DialContext(ctx, "tcp", address)
		}
		cancel()
		if err == nil {
			l.cfg.Log.Info("connected", "address", address)
			return nc, nil
		}
		failures = append(failures, fmt.Errorf("%s: %w", address, err))
	}
	return nil, errors.Join(failures...)
}

// serve opens the link and keeps asking whether the peer is there.
func (l *Link) serve(ctx context.Context, conn *Conn, up proxy.Upcalls) error {
	if err := l.alive(ctx, conn); err != nil {
		return err
	}
	features, err := l.askFeatures(ctx, conn)
	if err != nil {
		return err
	}
	l.mu.Lock()
	l.conn, l.features = conn, features
	l.mu.Unlock()
	up.Ready()
	beat := time.NewTicker(l.cfg.Heartbeat)
	defer beat.Stop()
	for {
		select {
		case <-beat.C:
			if err := l.alive(ctx, conn); err != nil {
				return err
			}
		case <-conn.ended:
			return nil // Serve knows why
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// ask sends a request of our own and waits for its answer.
func (l *Link) ask(ctx context.Context, conn *Conn, req any) (*uacsta.Message, error) {
	type answer struct {
		m   *uacsta.Message
		err error
	}
	answered := make(chan answer, 1)
	conn.Request(uacsta.Encode(req, l.cfg.Edition), func(m *uacsta.Message, err error) { answered <- answer{m, err} })
	select {
	case a := <-answered:
		return a.m, a.err
	case <-ctx.Done():
		return nil, ctx.Err()
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
		"monitorStart", "monitorStop", "snapshotCall", "snapshotDevice", "alternateCall", "answerCall", "clearConnection", "conferenceCall",
		"consultationCall", "deflectCall", "holdCall", "makeCall", "reconnectCall", "retrieveCall", "singleStepTransfer", "transferCall",
	},
	Events: []string{
		"conferenced", "connectionCleared", "delivered", "diverted", "established", "failed", "held", "netwReached", "originated", "queued",
		"retrieved", "serviceInitiated", "transferred",
	},
}

func (l *Link) askFeatures(ctx context.Context, conn *Conn) (uacsta.Features, error) {
	res, err := l.ask(ctx, conn, uacsta.GetCSTAFeatures{})
	var refusal *uacsta.Error
	switch {
	case errors.As(err, &refusal):
		return usual, nil
	case err != nil:
		return usual, err
	}
	return res.Features(), nil
}

// Features implements proxy.FeatureLister.
func (l *Link) Features(string) uacsta.Features {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.features
}

var (
	errDown     = uacsta.Refuse(uacsta.SystemResourceAvailability, uacsta.ResourceOutOfService)
	errNoAnswer = uacsta.Refuse(uacsta.SystemResourceAvailability, uacsta.Generic)
	errBusy     = uacsta.Refuse(uacsta.SystemResourceAvailability, uacsta.ResourceLimitExceeded)
)

// Request implements proxy.Link.
func (l *Link) Request(req *uacsta.Message, reply func(*uacsta.Message, error)) {
	l.mu.Lock()
	conn := l.conn
	l.mu.Unlock()
	if conn == nil {
		reply(nil, errDown)
		return
	}
	req.Convert(l.cfg.Edition)
	if req.Namespace() != uacsta.NamespaceApplSession {
		req.SetNamespace(l.cfg.Edition.Namespace())
	}
	conn.Request(req, func(res *uacsta.Message, err error) {
		switch {
		case errors.Is(err, ErrClosed):
			err = errDown
		case errors.Is(err, ErrTimeout):
			l.cfg.Log.Warn("no answer", "service", req.Name())
			err = errNoAnswer
		case errors.Is(err, ErrTooManyWaiting), errors.Is(err, ErrSlow):
			err = errBusy
		}
		reply(res, err)
	})
}

// fromSwitch takes what the switching function sends: a Handler.
type fromSwitch struct {
	link *Link
	up   proxy.Upcalls
}

// Event implements Handler.
func (h *fromSwitch) Event(ev *uacsta.Message) { h.up.Event(ev) }

// Request implements Handler.
func (h *fromSwitch) Request(req *uacsta.Message, answer func(*uacsta.Message)) {
	edition := req.Edition()
	if edition == 0 {
		edition = h.link.cfg.Edition
	}
	switch req.Name() {
	case "SystemStatus":
		h.link.cfg.Log.Info("status of the switching function", "status", req.Text("systemStatus"))
	case "SystemRegister": // some switching functions want to be told of ours
		answer(uacsta.Encode(uacsta.SystemRegisterResponse{SysStatRegisterID: "1"}, edition))
		return
	case "RequestSystemStatus":
	case "MonitorStop", "SwitchingFunctionDevices", "RouteRequest", "ReRoute", "RouteUsed", "RouteEnd", "RouteRegisterAbort":
		defer h.up.Event(req) // after the answer
	default:
		h.link.cfg.Log.Warn("a request that is not served", "service", req.Name())
	}
	answer(uacsta.AnswerTo(req, edition))
}
