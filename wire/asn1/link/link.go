// Package link connects to a switch that speaks CSTA in ASN.1. It knows no front.
package link

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/tr87proxy/tr87proxy/internal/gate"
	"github.com/tr87proxy/tr87proxy/internal/kind"
	"github.com/tr87proxy/tr87proxy/proxy"
	"github.com/tr87proxy/tr87proxy/uacsta"
	"github.com/tr87proxy/tr87proxy/wire/asn1"
)

// Config says where a switching function is and how it speaks.
type Config struct {
	kind.Dialling // the heartbeat is SystemStatus

	Flavour       asn1.Flavour // of the switching function
	Name          string       // for the AARQ; "": it has no credentials
	Password      string       // for the AARQ
	Notifications string       // UDP address for the events of Phase I; "": they come over the connection
}

// Link is a link to a switching function that speaks CSTA in ASN.1. It implements proxy.Link.
type Link struct {
	cfg Config

	mu   sync.Mutex
	conn *asn1.Conn // nil while the link is down
}

// New returns a link. It connects once [Link.Run] is called.
func New(cfg Config) *Link {
	cfg.SetDefaults()
	return &Link{cfg: cfg}
}

// Run implements proxy.Link. It connects, opens an association if the flavour has them, and serves until the connection
// fails, the switching function does not answer, or ctx ends.
func (l *Link) Run(ctx context.Context, up proxy.Upcalls) error {
	nc, err := l.cfg.Dial(ctx, l.cfg.Flavour.Port)
	if err != nil {
		return err
	}
	h := &fromSwitch{link: l, up: up, accepted: make(chan error, 1), spoken: make(chan struct{})}
	h.conn = asn1.NewConn(nc, h, asn1.NewCodec(l.cfg.Flavour, asn1.HexCallIDs), l.cfg.Conn)
	var group sync.WaitGroup
	defer group.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if err := l.listen(ctx, &group, h, gate.AddrOf(nc)); err != nil {
		_ = nc.Close()
		return err
	}
	return h.conn.Run(ctx, func(ctx context.Context) error {
		defer l.use(nil)
		return l.keep(ctx, h)
	}, func() {
		if l.cfg.Flavour.Associates {
			h.conn.Dissociate(&asn1.Association{Kind: asn1.ABRT}, ctx.Err())
			<-h.conn.Ended()
		}
	})
}

// use sets the connection that requests go out on; nil: the link is down.
func (l *Link) use(c *asn1.Conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.conn = c
}

// keep brings the link up and checks at each heartbeat that the switching function answers.
func (l *Link) keep(ctx context.Context, h *fromSwitch) error {
	if l.cfg.Flavour.Associates {
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

// associate sends an AARQ and waits until the switching function has accepted it, and, if it speaks first, has sent its
// SystemStatus.
func (l *Link) associate(ctx context.Context, h *fromSwitch) error {
	h.conn.Associate(&asn1.Association{Kind: asn1.AARQ, Name: l.cfg.Name, Password: l.cfg.Password, Credentials: l.cfg.Name != ""})
	patience := time.NewTimer(l.cfg.Conn.Timeout)
	defer patience.Stop()
	select {
	case err := <-h.accepted:
		if err != nil {
			return err
		}
	case <-patience.C:
		return fmt.Errorf("AARQ: %w", gate.ErrTimeout)
	case <-ctx.Done():
		return ctx.Err()
	}
	if !l.cfg.Flavour.SpeaksFirst {
		return nil
	}
	select {
	case <-h.spoken:
		return nil
	case <-patience.C:
		return fmt.Errorf("the switching function sent no SystemStatus after AARE: %w", gate.ErrTimeout)
	case <-ctx.Done():
		return ctx.Err()
	}
}

// alive sends our system status. A refusal shows that the switching function is there.
func (l *Link) alive(ctx context.Context, c *asn1.Conn) error {
	answered := make(chan error, 1)
	c.Probe(uacsta.Encode(uacsta.SystemStatus{SystemStatus: uacsta.StatusNormal}, asn1.Edition), func(_ *uacsta.Message, err error) { answered <- err })
	select {
	case err := <-answered:
		if err == nil || errors.As(err, new(*uacsta.Error)) {
			return nil
		}
		return fmt.Errorf("SystemStatus: %w", err)
	case <-ctx.Done():
		return ctx.Err()
	}
}

// listen starts to take events by UDP from the switching function, whose address is peer.
func (l *Link) listen(ctx context.Context, group *sync.WaitGroup, h *fromSwitch, peer netip.Addr) error {
	if l.cfg.Notifications == "" {
		return nil
	}
	pc, err := (&net.ListenConfig{}).ListenPacket(ctx, "udp", l.cfg.Notifications)
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { _ = pc.Close() })
	group.Go(func() {
		defer stop()
		defer func() { _ = pc.Close() }()
		if err := gate.Guard(l.cfg.Log, "taking notifications", func() error { return h.notifications(pc, peer) }); err != nil {
			h.conn.Close(err)
		}
	})
	return nil
}

// Features implements proxy.FeatureLister. Not all flavours can ask a switching function for its features: these are the
// features of the flavour.
func (l *Link) Features(string) uacsta.Features { return l.cfg.Flavour.Features() }

// Request implements proxy.Link.
func (l *Link) Request(req *uacsta.Message, reply func(*uacsta.Message, error)) {
	l.mu.Lock()
	c := l.conn
	l.mu.Unlock()
	if c == nil {
		reply(nil, proxy.Refusal(gate.ErrClosed))
		return
	}
	req.Convert(asn1.Edition)
	c.Request(req, func(res *uacsta.Message, err error) { reply(res, l.refusal(req, err)) })
}

// refusal returns the error of CSTA for a request without a response.
func (l *Link) refusal(req *uacsta.Message, err error) error {
	var refusal *uacsta.Error
	if errors.As(err, &refusal) && refusal.Detail != "" {
		l.cfg.Log.Info("could not encode request", "flavour", l.cfg.Flavour.Name, "service", req.Name(), "err", refusal.Detail)
	}
	return l.cfg.Refusal(req.Name(), err)
}

// fromSwitch takes the messages of the switching function. It is an asn1.Handler.
type fromSwitch struct {
	link     *Link
	conn     *asn1.Conn
	up       proxy.Upcalls
	accepted chan error // holds the outcome of the AARQ
	once     sync.Once
	spoken   chan struct{} // closed at the first SystemStatus
}

// Associate implements asn1.Handler.
func (h *fromSwitch) Associate(a *asn1.Association) error {
	switch a.Kind {
	case asn1.AARE:
		var err error
		if a.Result != asn1.Accepted {
			err = fmt.Errorf("the switching function rejected the association with result %d; check session.user and its password", a.Result)
		} else {
			h.conn.Establish()
		}
		select {
		case h.accepted <- err:
		default: // associate has an outcome
		}
		return err
	case asn1.RLRQ:
		h.conn.Associate(&asn1.Association{Kind: asn1.RLRE})
	}
	return errors.New("the switching function ended the association")
}

// Request implements asn1.Handler.
func (h *fromSwitch) Request(req *uacsta.Message, answer func(*uacsta.Message)) {
	if req.Name() == uacsta.NameSystemStatus {
		h.once.Do(func() { close(h.spoken) })
	}
	if req.Name() == uacsta.NameRequestSystemStatus {
		answer(uacsta.AnswerTo(req, asn1.Edition))
		return
	}
	res := uacsta.Accept(req, asn1.Edition) // before the core gets the request, and may change it
	if err := h.up.Request(req); err != nil {
		res = uacsta.ErrorMessage(err, asn1.Edition)
	}
	answer(res)
}

// Event implements asn1.Handler. Of late responses, the core gets those that have opened something.
func (h *fromSwitch) Event(ev *uacsta.Message) error {
	if ev.Kind() == uacsta.Response && !proxy.Opens(ev.Name()) {
		return nil
	}
	h.up.Event(ev)
	return nil
}

// notifications takes events by UDP until the socket is closed, from peer only.
func (h *fromSwitch) notifications(pc net.PacketConn, peer netip.Addr) error {
	buffer := make([]byte, asn1.MaxPDU+2)
	for {
		n, from, err := pc.ReadFrom(buffer)
		if err != nil {
			return nil //nolint:nilerr // the socket was closed
		}
		if a, ok := from.(*net.UDPAddr); !ok || a.AddrPort().Addr().Unmap() != peer {
			continue
		}
		ev, err := h.conn.ReadNotification(slices.Clone(buffer[:n]))
		if err != nil {
			h.link.cfg.Log.Warn("could not read notification", "peer", from.String(), "err", err)
			continue
		}
		h.up.Event(ev)
	}
}
