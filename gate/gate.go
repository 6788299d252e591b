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

	ours "github.com/tr87proxy/tr87proxy/tls"
)

// Config says who is let in. Zero values take defaults.
type Config struct {
	Admits         func(addr netip.Addr) bool // whether an address may connect at all; nil: any
	MaxConnections int                        // 2000
	MaxPeer        int                        // connections from one address; 500
	HandshakeTime  time.Duration              // of TLS; 10 s
	NameKinds      []string                   // of names in certificates that count, in this order: dns, uri, cn; none: all
	// Refused is told of each connection that is not taken.
	Refused func(nc net.Conn, why string)
	Log     *slog.Logger
}

// Gate takes connections of any number of listeners and counts them together.
type Gate struct {
	cfg Config

	mu    sync.Mutex
	peers map[netip.Addr]int
	total int
}

// New makes a gate.
func New(cfg Config) *Gate {
	if cfg.MaxConnections == 0 {
		cfg.MaxConnections = 2000
	}
	if cfg.MaxPeer == 0 {
		cfg.MaxPeer = 500
	}
	if cfg.HandshakeTime == 0 {
		cfg.HandshakeTime = 10 * time.Second
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	return &Gate{cfg: cfg, peers: map[netip.Addr]int{}}
}

// Serve takes connections until ctx ends; then it waits until nothing of them is left.
// serve is the life of one, with the names in the peer's verified certificate; it ends when
// its context does, and the connection is closed after it.
func (g *Gate) Serve(ctx context.Context, l net.Listener, serve func(ctx context.Context, nc net.Conn, names []string)) error {
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
			return ctx.Err()
		case errors.Is(err, net.ErrClosed):
			return err
		case err != nil: // no file descriptors, perhaps: it may get better
			wait = min(max(2*wait, 5*time.Millisecond), time.Second)
			g.cfg.Log.Error("no connection taken", "listener", l.Addr().String(), "err", err)
			select {
			case <-time.After(wait):
			case <-ctx.Done():
			}
			continue
		}
		wait = 0
		addr := AddrOf(nc)
		if why := g.admit(addr); why != "" {
			g.cfg.Refused(nc, why)
			_ = nc.Close()
			continue
		}
		group.Go(func() {
			defer g.leave(addr)
			defer func() { _ = nc.Close() }()
			names, err := g.handshake(ctx, nc)
			if err != nil {
				g.cfg.Refused(nc, "TLS handshake failed: "+err.Error())
				return
			}
			serve(ctx, nc, names)
		})
	}
}

// AddrOf is the address of the peer of a TCP connection.
func AddrOf(nc net.Conn) netip.Addr {
	if tcp, ok := nc.RemoteAddr().(*net.TCPAddr); ok {
		return tcp.AddrPort().Addr().Unmap()
	}
	return netip.Addr{}
}

// admit counts a connection; it returns why it is not taken.
func (g *Gate) admit(addr netip.Addr) string {
	if g.cfg.Admits != nil && !g.cfg.Admits(addr) {
		return "the address may not connect"
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.total >= g.cfg.MaxConnections || g.peers[addr] >= g.cfg.MaxPeer {
		return "too many connections"
	}
	g.total++
	g.peers[addr]++
	return ""
}

func (g *Gate) leave(addr netip.Addr) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.total--
	if g.peers[addr]--; g.peers[addr] == 0 {
		delete(g.peers, addr)
	}
}

// handshake finishes TLS, where it is spoken, and returns the names in the peer's
// verified certificate.
func (g *Gate) handshake(ctx context.Context, nc net.Conn) ([]string, error) {
	t, ok := nc.(*tls.Conn)
	if !ok {
		return nil, nil
	}
	ctx, cancel := context.WithTimeout(ctx, g.cfg.HandshakeTime)
	defer cancel()
	if err := t.HandshakeContext(ctx); err != nil {
		return nil, err
	}
	return ours.PeerNames(t.ConnectionState(), g.cfg.NameKinds...), nil
}

// Dial connects to the first of several addresses that takes the connection, over TLS where
// secure is not nil. An address without port has the usual one. limit is for each of them,
// TLS included.
func Dial(ctx context.Context, addresses []string, port string, secure *tls.Config, limit time.Duration) (net.Conn, error) {
	var failures []error
	for _, address := range addresses {
		if _, _, err := net.SplitHostPort(address); err != nil {
			address = net.JoinHostPort(strings.Trim(address, "[]"), port)
		}
		ctx, cancel := context.WithTimeout(ctx, limit)
		var nc net.Conn
		var err error
		if secure != nil {
			nc, err = (&tls.Dialer{Config: secure}).DialContext(ctx, "tcp", address)
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
