// Package gate takes connections for fronts, as many as they want and from whom they want,
// and makes those of links. It knows no protocol above TLS.
package gate

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/tr87proxy/tr87proxy/internal/share"
	ours "github.com/tr87proxy/tr87proxy/tls"
)

// Config says who is let in. Zero values take defaults.
type Config struct {
	Admits         func(addr netip.Addr) bool // whether an address may connect at all; nil: any
	Trusts         func(addr netip.Addr) bool // whether a peer is known by its address alone; nil: none is
	MaxConnections int                        // 2000; a quarter is kept for peers that are proved
	MaxPeer        int                        // connections of one peer; 500
	PeerRate       float64                    // new connections a second of one peer that is not trusted; 50
	PeerBurst      int                        // of these at once; 200
	HandshakeTime  time.Duration              // of TLS; 10 s
	NameKinds      []string                   // of names in certificates that count, in this order: dns, uri, cn; none: all
	Strangers      *Strangers                 // what peers that are not proved may take; nil: 64 MiB at this gate alone
	Keys           string                     // the part of the configuration that has MaxConnections and MaxPeer, for the log; "": none has
	// Refused is told of each connection that is not taken; nil: nobody is.
	Refused func(nc net.Conn, why string)
	Log     *slog.Logger
}

// manyPeers is of how many peers a gate knows when they connected last.
const manyPeers = 10000

// Gate takes connections of any number of listeners and counts them together. A peer is an IPv4
// address or an IPv6 /64. Connections whose peer is not proved give way to others.
type Gate struct {
	cfg    Config
	places *share.Table
	rates  *share.Rates
	faults *faults
}

// New makes a gate.
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

// Serve takes connections until ctx ends; then it closes the listener, and waits until nothing of
// the connections is left.
// serve is the life of one; it ends when its context does, and the connection is closed after it. A
// panic in it ends that connection alone.
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
			if err == nil { // it came at the last moment
				_ = nc.Close()
			}
			if stop() { // before it was closed
				_ = l.Close()
			}
			return ctx.Err()
		case errors.Is(err, net.ErrClosed):
			return err
		case err != nil: // no file descriptors, perhaps: it may get better
			wait = min(max(2*wait, 5*time.Millisecond), time.Second)
			g.cfg.Log.Error("no connection taken", "listener", l.Addr().String(), "err", err)
			Sleep(ctx, wait)
			continue
		}
		wait = 0
		life, end := context.WithCancelCause(ctx)
		guest, why := g.admit(nc, end)
		if why != "" {
			end(nil)
			g.refuse(nc, why)
			_ = nc.Close()
			continue
		}
		group.Go(func() {
			defer end(nil)
			defer guest.leave()
			defer func() { _ = nc.Close() }()
			defer share.Survive(g.cfg.Log, "serving "+nc.RemoteAddr().String(), nil)
			if err := g.handshake(life, guest); err != nil {
				g.refuse(nc, "TLS handshake failed: "+err.Error())
				return
			}
			_ = Guard(g.cfg.Log, "serving a connection", func() error { serve(life, guest); return nil }) // the log has it
		})
	}
}

func (g *Gate) refuse(nc net.Conn, why string) {
	g.cfg.Strangers.Refused.Add(1)
	g.cfg.Refused(nc, why)
}

// AddrOf is the address of the peer of a TCP connection.
func AddrOf(nc net.Conn) netip.Addr {
	if tcp, ok := nc.RemoteAddr().(*net.TCPAddr); ok {
		return tcp.AddrPort().Addr().Unmap()
	}
	return netip.Addr{}
}

// admit gives a connection its place, or returns why there is none. end ends its life when it has
// to give way to another. Over TLS a peer is not proved before the handshake.
func (g *Gate) admit(nc net.Conn, end context.CancelCauseFunc) (*Guest, string) {
	addr := AddrOf(nc)
	trusted := g.cfg.Trusts(addr)
	switch {
	case g.cfg.Admits != nil && !g.cfg.Admits(addr):
		return nil, "the address may not connect"
	case !trusted && !g.rates.Allow(addr, time.Now()):
		return nil, "too many new connections"
	}
	_, secure := nc.(*tls.Conn)
	guest := newGuest(g, nc, addr, end)
	var err error
	if guest.place, err = g.places.Enter(addr, trusted && !secure, guest.makeRoom); err != nil {
		return nil, "too many connections: " + err.Error() + g.key(err)
	}
	if trusted && !secure {
		guest.Prove()
	} else {
		g.cfg.Strangers.enter(guest, secure)
	}
	return guest, ""
}

// key names the key of the configuration whose bound is reached, in parentheses behind a blank.
func (g *Gate) key(why error) string {
	switch {
	case g.cfg.Keys == "":
		return ""
	case errors.Is(why, share.ErrPeer):
		return " (" + g.cfg.Keys + ".max-connections-per-peer)"
	}
	return " (" + g.cfg.Keys + ".max-connections)"
}

// handshake finishes TLS, where it is spoken, and finds the names in the peer's verified
// certificate.
func (g *Gate) handshake(ctx context.Context, guest *Guest) error {
	t, ok := guest.Conn.(*tls.Conn)
	if !ok {
		return nil
	}
	limited, cancel := context.WithTimeout(ctx, g.cfg.HandshakeTime)
	defer cancel()
	if err := t.HandshakeContext(limited); err != nil {
		if cause := context.Cause(ctx); cause != nil { // says more
			return cause
		}
		return err
	}
	guest.Names = ours.PeerNames(t.ConnectionState(), g.cfg.NameKinds...)
	return nil
}

// TLS returns the configuration of the next connection that is opened.
type TLS func() *tls.Config

// Dial connects to the first of several addresses that takes the connection, over TLS with the configuration
// that secure returns where it is not nil. An address without port has the usual one. limit is for each of them,
// TLS included.
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
