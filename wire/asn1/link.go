package asn1

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/tr87proxy/tr87proxy/internal/gate"
	"github.com/tr87proxy/tr87proxy/proxy"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

// LinkConfig says where a switching function is and how it is spoken to.
type LinkConfig struct {
	Addresses     []string // host:port, or host for the flavour's port; the first that takes the connection is used
	TLS           gate.TLS
	Flavour       Flavour
	Name          string        // for AARQ; "" for none
	Password      string        // for AARQ
	Notifications string        // Phase I: where events come to by UDP; "": over the connection
	Heartbeat     time.Duration // SystemStatus at this interval; 30 s
	DialTime      time.Duration // for one address, TLS included; 10 s
	Conn          gate.Limits
	Log           *slog.Logger
}

// Ports are those that switches listen at by habit, by the flavour.
var Ports = map[string]string{"phase3": "18000", "hipath": "18000", "phase1": "2555"}

// Link is a switching function that speaks CSTA in ASN.1; it implements proxy.Link.
type Link struct {
	cfg LinkConfig

	mu   sync.Mutex
	conn *conn // nil while there is none
}

// NewLink makes a link. It connects once Run is called.
func NewLink(cfg LinkConfig) *Link {
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
	cfg.Conn.SetDefaults()
	return &Link{cfg: cfg}
}

// Run implements proxy.Link: it connects, opens an association, and serves until the
// connection fails, the peer does not answer, or ctx ends.
func (l *Link) Run(ctx context.Context, up proxy.Upcalls) error {
	nc, err := gate.Dial(ctx, l.cfg.Addresses, Ports[l.cfg.Flavour.Name], l.cfg.TLS, l.cfg.DialTime)
	if err != nil {
		return err
	}
	l.cfg.Log.Info("connected", "address", nc.RemoteAddr().String())
	h := &fromSwitch{link: l, up: up, accepted: make(chan error, 1), spoken: make(chan struct{})}
	h.conn = newConn(nc, h, l.cfg.Flavour, hexCallIDs, l.cfg.Conn)
	var group sync.WaitGroup
	defer group.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if err := l.listen(ctx, &group, h); err != nil {
		_ = nc.Close()
		return err
	}
	return h.conn.Run(ctx, h.conn.read, func(ctx context.Context) error {
		defer l.use(nil)
		return l.keep(ctx, h)
	}, func() {
		if l.cfg.Flavour.acse {
			h.conn.queueAssociation(&association{kind: abort})
			h.conn.Finish(ctx.Err())
			<-h.conn.Ended()
		}
	})
}

// use has requests go out on a connection; nil: there is none.
func (l *Link) use(c *conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.conn = c
}

// keep opens the association and keeps asking whether the peer is there.
func (l *Link) keep(ctx context.Context, h *fromSwitch) error {
	if l.cfg.Flavour.acse {
		if err := l.associate(ctx, h); err != nil {
			return err
		}
	}
	if err := l.alive(ctx, h.conn); err != nil {
		return err
	}
	l.use(h.conn)
	h.up.Ready()
	beat := time.NewTicker(l.cfg.Heartbeat)
	defer beat.Stop()
	for {
		select {
		case <-beat.C:
			if err := l.alive(ctx, h.conn); err != nil {
				return err
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// associate sends AARQ and waits until the switching function has accepted it and, as HiPath
// does, said its status.
func (l *Link) associate(ctx context.Context, h *fromSwitch) error {
	h.conn.queueAssociation(&association{kind: associateRequest, name: l.cfg.Name, password: l.cfg.Password, credentials: l.cfg.Name != ""})
	patience := time.NewTimer(l.cfg.Conn.Timeout)
	defer patience.Stop()
	select {
	case err := <-h.accepted:
		if err != nil {
			return err
		}
	case <-patience.C:
		return fmt.Errorf("no answer to AARQ: %w", gate.ErrTimeout)
	case <-ctx.Done():
		return ctx.Err()
	}
	if !l.cfg.Flavour.exact {
		return nil
	}
	select {
	case <-h.spoken:
		return nil
	case <-patience.C:
		return fmt.Errorf("no SystemStatus after AARE: %w", gate.ErrTimeout)
	case <-ctx.Done():
		return ctx.Err()
	}
}

// alive tells our status. A peer that refuses to hear it is there.
func (l *Link) alive(ctx context.Context, c *conn) error {
	answered := make(chan error, 1)
	c.probe(uacsta.Encode(uacsta.SystemStatus{SystemStatus: uacsta.StatusNormal}, edition), func(_ *uacsta.Message, err error) { answered <- err })
	select {
	case err := <-answered:
		if err == nil || errors.As(err, new(*uacsta.Error)) {
			return nil
		}
		return fmt.Errorf("no sign of life: %w", err)
	case <-ctx.Done():
		return ctx.Err()
	}
}

// listen takes events by UDP, from the switching function only.
func (l *Link) listen(ctx context.Context, group *sync.WaitGroup, h *fromSwitch) error {
	if l.cfg.Notifications == "" {
		return nil
	}
	pc, err := (&net.ListenConfig{}).ListenPacket(ctx, "udp", l.cfg.Notifications)
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { _ = pc.Close() })
	peer := gate.AddrOf(h.conn.nc)
	group.Go(func() {
		defer stop()
		defer func() { _ = pc.Close() }()
		if err := gate.Guard(l.cfg.Log, "taking notifications", func() error { return h.notifications(pc, peer) }); err != nil {
			h.conn.Close(err)
		}
	})
	return nil
}

// features are what a phase can say.
func (n *notation) features() uacsta.Features {
	var f uacsta.Features
	for name := range n.requests {
		f.Services = append(f.Services, name)
	}
	for name := range n.events {
		f.Events = append(f.Events, name+"Event")
	}
	return f
}

// Features implements proxy.FeatureLister. What a switching function can do cannot be asked
// for in all flavours: it is what can be said.
func (l *Link) Features(string) uacsta.Features { return l.cfg.Flavour.notation.features() }

// Request implements proxy.Link.
func (l *Link) Request(req *uacsta.Message, reply func(*uacsta.Message, error)) {
	l.mu.Lock()
	c := l.conn
	l.mu.Unlock()
	if c == nil {
		reply(nil, proxy.Refusal(gate.ErrClosed))
		return
	}
	req.Convert(edition)
	c.ask(req, func(res *uacsta.Message, err error) { reply(res, l.refusal(req, err)) })
}

// refusal says in CSTA's words why a request has no answer.
func (l *Link) refusal(req *uacsta.Message, err error) error {
	var refusal *uacsta.Error
	switch {
	case errors.As(err, &refusal) && refusal.Detail != "":
		l.cfg.Log.Info("a request that cannot be said", "flavour", l.cfg.Flavour.Name, "service", req.Name(), "why", refusal.Detail)
	case errors.Is(err, gate.ErrTimeout):
		l.cfg.Log.Warn("no answer", "service", req.Name())
	}
	return proxy.Refusal(err)
}

// fromSwitch takes what the switching function sends: a handler.
type fromSwitch struct {
	link     *Link
	conn     *conn
	up       proxy.Upcalls
	accepted chan error
	once     sync.Once
	spoken   chan struct{} // closed at its first SystemStatus
}

// associate implements handler.
func (h *fromSwitch) associate(a *association) error {
	switch a.kind {
	case associateResponse:
		var err error
		if a.result != accepted {
			err = fmt.Errorf("the switching function refused the association: result %d; are name and password right?", a.result)
		} else {
			h.conn.open()
		}
		select {
		case h.accepted <- err:
		default: // it has said so before
		}
		return err
	case releaseRequest:
		h.conn.queueAssociation(&association{kind: releaseResponse})
	}
	return errors.New("the switching function ended the association")
}

// request implements handler.
func (h *fromSwitch) request(req *uacsta.Message, answer func(*uacsta.Message)) {
	if req.Name() == uacsta.NameSystemStatus {
		h.once.Do(func() { close(h.spoken) })
	}
	if req.Name() == uacsta.NameRequestSystemStatus {
		answer(uacsta.AnswerTo(req, edition))
		return
	}
	res := uacsta.Accept(req, edition) // the request is the core's from now on
	if err := h.up.Request(req); err != nil {
		res = uacsta.ErrorMessage(err, edition)
	}
	answer(res)
}

// event implements handler.
func (h *fromSwitch) event(ev *uacsta.Message) error {
	h.up.Event(ev)
	return nil
}

// notifications takes events by UDP until the socket is closed.
func (h *fromSwitch) notifications(pc net.PacketConn, peer netip.Addr) error {
	buffer := make([]byte, MaxPDU+2)
	for {
		n, from, err := pc.ReadFrom(buffer)
		if err != nil {
			return nil //nolint:nilerr // it was closed
		}
		if a, ok := from.(*net.UDPAddr); ok && a.AddrPort().Addr().Unmap() == peer {
			h.notified(append([]byte(nil), buffer[:n]...), a.AddrPort())
		}
	}
}

// notified takes an event that came by UDP, with the length before it or without.
func (h *fromSwitch) notified(data []byte, from netip.AddrPort) {
	if len(data) > 2 && int(data[0])<<8|int(data[1]) == len(data)-2 {
		data = data[2:]
	}
	p, err := parse(data)
	if err == nil {
		var m *pdu
		if m, err = readPDU(p); err == nil && (m.kind != invoke || m.operation != eventReport) {
			err = errUnwanted
		}
		if err == nil {
			var ev *uacsta.Message
			if ev, _, err = h.conn.codec.readEvent(m.body); err == nil {
				h.up.Event(ev)
				return
			}
		}
	}
	h.link.cfg.Log.Warn("a notification that cannot be read", "peer", from.String(), "err", err)
}
