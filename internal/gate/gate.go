// Package gate handles the TCP and TLS connections of fronts and links. A [Gate] accepts
// connections within limits for each peer and in total. A [Conn] reads and writes frames with
// bounded queues and deadlines; [Peer] and [Commands] match responses to requests. [Dial] and
// [BackOff] serve links. The package knows no protocol above TLS.
package gate

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/tr87proxy/tr87proxy/internal/share"
	ours "github.com/tr87proxy/tr87proxy/tls"
)

// Config configures a [Gate]. Zero fields take the defaults in the comments.
type Config struct {
	Admits         func(addr netip.Addr) bool // reports whether an address may connect; nil admits all
	Trusts         func(addr netip.Addr) bool // reports whether a peer is trusted by its address alone; nil trusts none
	MaxConnections int                        // default 2000; a quarter is reserved for peers that are not strangers
	MaxPeer        int                        // connections of one peer; default 500
	PeerRate       float64                    // new connections a second of a peer that is not trusted; default 50
	PeerBurst      int                        // burst of PeerRate; default 200
	HandshakeTime  time.Duration              // for TLS; default 10 s
	NameKinds      []string                   // kinds of certificate names that count, in order: dns, uri, cn; nil means all
	Strangers      *Strangers                 // memory limit of strangers, shared by gates; nil: 64 MiB for this gate
	Keys           string                     // configuration section that holds max-connections, for the log; "" if none does
	// Refused is called for each refused connection.
	Refused func(nc net.Conn, why string)
	Log     *slog.Logger
}

// manyPeers is the number of peers whose rates a gate remembers.
const manyPeers = 10000

// Gate accepts connections from any number of listeners and limits them together. A peer is an
// IPv4 address or an IPv6 /64. When the gate is full, connections of strangers are closed to
// make room.
type Gate struct {
	cfg    Config
	places *share.Table
	rates  *share.Rates
	faults *faults
}

// New returns a gate.
func New(cfg Config) *Gate {
	if cfg.MaxConnections == 0 {
		cfg.MaxConnections = 2000
	}
	if cfg.MaxPeer == 0 {
		cfg.MaxPeer = 500
	}
	if cfg.PeerRate == 0 {
		cfg.PeerRate = 50
	}
	if cfg.PeerBurst == 0 {
		cfg.PeerBurst = 200
	}
	if cfg.HandshakeTime == 0 {
		cfg.HandshakeTime = 10 * time.Second
	}
	if cfg.Trusts == nil {
		cfg.Trusts = func(netip.Addr) bool { return false }
	}
	if cfg.Refused == nil {
		cfg.Refused = func(net.Conn, string) {}
	}
	if cfg.Strangers == nil {
		cfg.Strangers = NewStrangers(0)
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	return &Gate{
		cfg: cfg, rates: share.NewRates(cfg.PeerRate, cfg.PeerBurst, manyPeers), faults: newFaults(cfg.Log),
		places: share.New(share.Limits{Most: cfg.MaxConnections, Reserve: cfg.MaxConnections / 4, Peer: cfg.MaxPeer}),
	}
}

// Serve accepts connections until ctx ends. It then closes the listener and returns after all
// connections are closed. It calls serve for each connection after the TLS handshake. serve
// must return when its context ends; then the connection is closed. A panic in serve closes
// that connection only.
func (g *Gate) Serve(ctx context.Context, l net.Listener, serve func(ctx context.Context, guest *Guest)) error {
	var group sync.WaitGroup
	defer group.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { _ = l.Close() })
	defer stop()
	for wait := time.Duration(0); ; {
		nc, err := l.Accept()
		switch {
		case ctx.Err() != nil:
			if err == nil { // accepted at the last moment
				_ = nc.Close()
			}
			if stop() { // Accept returned before stop closed the listener
				_ = l.Close()
			}
			return ctx.Err()
		case errors.Is(err, net.ErrClosed):
			return err
		case err != nil: // perhaps out of file descriptors, which may pass
			wait = min(max(2*wait, 5*time.Millisecond), time.Second)
			g.cfg.Log.Error("could not accept connection", "listener", l.Addr().String(), "err", err)
			Sleep(ctx, wait)
			continue
		}
		wait = 0
		if host := g.enter(ctx, nc, false); host != nil {
			group.Go(func() { host(serve) })
		}
	}
}

// Host is Serve for one connection that another server has accepted, and whose peer it has identified: the guest is no stranger.
// It returns after the connection is closed.
func (g *Gate) Host(ctx context.Context, nc net.Conn, serve func(ctx context.Context, guest *Guest)) {
	if host := g.enter(ctx, nc, true); host != nil {
		host(serve)
	}
}

// enter admits a connection and returns what serves and closes it, or refuses and closes it and returns nil. known says that
// its peer is identified.
func (g *Gate) enter(ctx context.Context, nc net.Conn, known bool) (host func(serve func(context.Context, *Guest))) {
	life, end := context.WithCancelCause(ctx)
	guest, why := g.admit(nc, known, end)
	if why != "" {
		end(nil)
		g.refuse(nc, why)
		_ = nc.Close()
		return nil
	}
	return func(serve func(context.Context, *Guest)) {
		defer end(nil)
		defer guest.leave()
		defer func() { _ = nc.Close() }()
		defer share.Survive(g.cfg.Log, "serving "+nc.RemoteAddr().String(), nil)
		if err := g.handshake(life, guest); err != nil {
			g.refuse(nc, "TLS handshake failed: "+err.Error())
			return
		}
		_ = Guard(g.cfg.Log, "serving a connection", func() error { serve(life, guest); return nil }) // Guard has logged it
	}
}

func (g *Gate) refuse(nc net.Conn, why string) {
	g.cfg.Strangers.Refused.Add(1)
	g.cfg.Refused(nc, why)
}

// AddrOf returns the address of the peer of a TCP connection, or the zero value.
func AddrOf(nc net.Conn) netip.Addr {
	if tcp, ok := nc.RemoteAddr().(*net.TCPAddr); ok {
		return tcp.AddrPort().Addr().Unmap()
	}
	return netip.Addr{}
}

// admit enters a connection into the table, or returns why it is refused. end closes the
// connection if it is evicted. Over TLS every peer that is not known is a stranger before the
// handshake.
func (g *Gate) admit(nc net.Conn, known bool, end context.CancelCauseFunc) (*Guest, string) {
	addr := AddrOf(nc)
	trusted := known || g.cfg.Trusts(addr)
	switch {
	case g.cfg.Admits != nil && !g.cfg.Admits(addr):
		return nil, "address not admitted"
	case !trusted && !g.rates.Allow(addr, time.Now()):
		return nil, "too many new connections"
	}
	_, secure := nc.(*tls.Conn)
	proved := trusted && (known || !secure)
	guest := newGuest(g, nc, addr, end)
	var err error
	if guest.place, err = g.places.Enter(addr, proved, guest.makeRoom); err != nil {
		return nil, "too many connections: " + err.Error() + g.key(err)
	}
	if proved {
		guest.Prove()
	} else {
		g.cfg.Strangers.enter(guest, secure)
	}
	return guest, ""
}

// key returns the configuration key of the limit reached, in parentheses after a blank, or "".
func (g *Gate) key(why error) string {
	switch {
	case g.cfg.Keys == "":
		return ""
	case errors.Is(why, share.ErrPeer):
		return " (" + g.cfg.Keys + ".max-connections-per-peer)"
	}
	return " (" + g.cfg.Keys + ".max-connections)"
}

// handshake completes the TLS handshake, if any, and sets the names in the peer's verified
// certificate.
func (g *Gate) handshake(ctx context.Context, guest *Guest) error {
	t, ok := guest.Conn.(*tls.Conn)
	if !ok {
		return nil
	}
	limited, cancel := context.WithTimeout(ctx, g.cfg.HandshakeTime)
	defer cancel()
	if err := t.HandshakeContext(limited); err != nil {
		if plain := overHTTP(err); plain != nil {
			return plain
		}
		if cause := context.Cause(ctx); cause != nil { // it explains more
			return cause
		}
		return err
	}
	guest.Names = ours.PeerNames(t.ConnectionState(), g.cfg.NameKinds...)
	return nil
}

// overHTTP responds to a client that speaks HTTP without TLS, and returns why it is refused; nil: the handshake has failed
// otherwise.
func overHTTP(err error) error {
	var first tls.RecordHeaderError
	if !errors.As(err, &first) || first.Conn == nil || !slices.Contains(methods, string(first.RecordHeader[:4])) {
		return nil
	}
	_ = first.Conn.SetWriteDeadline(time.Now().Add(time.Second))
	_, _ = io.WriteString(first.Conn, "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n\r\nThis listener takes TLS only: use https or wss.\n")
	return errPlainHTTP
}

var (
	methods      = []string{"GET ", "POST", "PUT ", "HEAD", "OPTI", "DELE"} // how requests begin
	errPlainHTTP = errors.New("it speaks HTTP without TLS, and this listener takes TLS only")
)

// TLS returns the configuration for the next connection.
type TLS func() *tls.Config

// Dial connects to the first address that accepts the connection, with TLS if secure is not
// nil. port is the default port. limit applies to each address and includes the TLS handshake.
// If all fail, the error lists each failure.
func Dial(ctx context.Context, addresses []string, port string, secure TLS, limit time.Duration) (net.Conn, error) {
	var failures []error
	for _, address := range addresses {
		if _, _, err := net.SplitHostPort(address); err != nil {
			address = net.JoinHostPort(strings.Trim(address, "[]"), port)
		}
		ctx, cancel := context.WithTimeout(ctx, limit)
		var nc net.Conn
		var err error
		if secure != nil {
			nc, err = (&tls.Dialer{Config: secure()}).DialContext(ctx, "tcp", address)
		} else {
			nc, err = (&net.Dialer{}).DialContext(ctx, "tcp", address)
		}
		cancel()
		if err == nil {
			return nc, nil
		}
		failures = append(failures, fmt.Errorf("%s: %w", address, err))
	}
	return nil, errors.Join(failures...)
}
