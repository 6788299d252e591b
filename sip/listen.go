package sip

import (
	"context"
	"crypto/tls"
	"errors"
	"maps"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/tr87proxy/tr87proxy/internal/share"
	ours "github.com/tr87proxy/tr87proxy/tls"
)

// ListenUDP starts to serve a UDP address and returns the bound address.
func (ua *UA) ListenUDP(address string) (netip.AddrPort, error) {
	s, err := ua.openUDP(address)
	if err != nil {
		return netip.AddrPort{}, err
	}
	return s.local, nil
}

func (ua *UA) openUDP(address string) (*udpSocket, error) {
	udpAddr, err := net.ResolveUDPAddr("udp", address)
	if err != nil {
		return nil, err
	}
	pc, err := net.ListenUDP("udp", udpAddr)
	if err != nil {
		return nil, err
	}
	_ = pc.SetReadBuffer(socketBuffer)
	_ = pc.SetWriteBuffer(socketBuffer)
	s := newUDPSocket(ua, pc)
	ua.mu.Lock()
	defer ua.mu.Unlock()
	if ua.closing {
		_ = pc.Close()
		return nil, net.ErrClosed
	}
	ua.sockets = append(ua.sockets, s)
	ua.group.Go(s.read)
	ua.group.Go(s.handle)
	return s, nil
}

// drop closes a socket that cannot be read any more and stops using it for sending.
func (ua *UA) drop(s *udpSocket) {
	ua.mu.Lock()
	ua.sockets = slices.DeleteFunc(ua.sockets, func(one *udpSocket) bool { return one == s })
	ua.mu.Unlock()
	s.close()
}

// ListenTCP starts to serve a TCP address, with TLS if tlsConfig is not nil, and returns the
// bound address.
func (ua *UA) ListenTCP(address string, tlsConfig *tls.Config) (netip.AddrPort, error) {
	var lc net.ListenConfig
	l, err := lc.Listen(ua.ctx, "tcp", address)
	if err != nil {
		return netip.AddrPort{}, err
	}
	return ua.take(l, tlsConfig)
}

// ListenDTLS starts to serve DTLS on a UDP address and returns the bound address.
func (ua *UA) ListenDTLS(address string, source *ours.Source) (netip.AddrPort, error) {
	l, err := ours.ListenDTLS(address, source)
	if err != nil {
		return netip.AddrPort{}, err
	}
	return ua.take(l, nil)
}

// take starts to accept connections from a listener.
func (ua *UA) take(l net.Listener, tlsConfig *tls.Config) (netip.AddrPort, error) {
	ua.mu.Lock()
	defer ua.mu.Unlock()
	if ua.closing {
		_ = l.Close()
		return netip.AddrPort{}, net.ErrClosed
	}
	ua.listeners = append(ua.listeners, l)
	ua.group.Add(1)
	go ua.accept(l, tlsConfig)
	return addrPort(l.Addr()), nil
}

var (
	errNotAdmitted = errors.New("address not admitted")
	errTooFast     = errors.New("too many new connections")
)

// addrPort returns the address of a TCP or UDP endpoint.
func addrPort(a net.Addr) netip.AddrPort {
	switch a := a.(type) {
	case *net.TCPAddr:
		return unmap(a.AddrPort())
	case *net.UDPAddr:
		return unmap(a.AddrPort())
	}
	return netip.AddrPort{}
}

func (ua *UA) accept(l net.Listener, tlsConfig *tls.Config) {
	defer ua.group.Done()
	for {
		nc, err := l.Accept()
		if err != nil {
			if ua.ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
				return
			}
			ua.log.Error("could not accept connection", "listener", l.Addr().String(), "err", err)
			select { // out of file descriptors: wait until some are free
			case <-ua.ctx.Done():
				return
			case <-time.After(100 * time.Millisecond):
			}
			continue
		}
		kind := "TCP"
		if tlsConfig != nil {
			nc, kind = tls.Server(&shaking{Conn: nc, places: ua.handshakes}, tlsConfig), "TLS"
		}
		if ours.IsDTLS(nc) {
			kind = dtlsKind
		}
		if err := ua.pace(nc, kind); err != nil {
			ua.warn("connection refused", addrPort(nc.RemoteAddr()), "front", ua.cfg.Front, "why", ua.whyRefused(err))
			_ = nc.Close()
			continue
		}
		if _, err := ua.adopt(nc, kind, "", l); err != nil {
			ua.warn("connection refused", addrPort(nc.RemoteAddr()), "front", ua.cfg.Front, "why", ua.whyRefused(err))
			_ = nc.Close()
		}
	}
}

// whyRefused explains a refused connection and names the configuration key of the limit
// reached.
func (ua *UA) whyRefused(err error) string {
	var key string
	switch {
	case errors.Is(err, share.ErrPeer):
		key = "max-connections-per-peer"
	case errors.Is(err, share.ErrFull):
		key = "max-connections"
	default:
		return err.Error()
	}
	why := "too many connections: " + err.Error()
	if ua.cfg.Keys == "" {
		return why
	}
	return why + " (" + ua.cfg.Keys + "." + key + ")"
}

// pace limits the rate of new connections from an address that is not trusted. DTLS does not
// count: its first datagram may have a forged source address.
func (ua *UA) pace(nc net.Conn, kind string) error {
	remote := addrPort(nc.RemoteAddr())
	if kind == dtlsKind || ua.cfg.Known(Peer{Transport: kind, Addr: remote, Local: addrPort(nc.LocalAddr())}) || ua.newcomers.Allow(remote.Addr(), time.Now()) {
		return nil
	}
	ua.stats.Paced.Add(1)
	return errTooFast
}

// Unlisten stops serving an address. It sends BYE in the dialogs on it, waits until the peers
// have answered or ctx ends, then closes every connection accepted there. transport is udp,
// tcp, tls or dtls.
func (ua *UA) Unlisten(ctx context.Context, transport string, address netip.AddrPort) {
	on := map[conn]bool{}
	ua.mu.Lock()
	if transport == "udp" {
		ua.sockets = slices.DeleteFunc(ua.sockets, func(s *udpSocket) bool {
			if s.local == address {
				on[s] = true
			}
			return on[s]
		})
	} else {
		ua.listeners = slices.DeleteFunc(ua.listeners, func(l net.Listener) bool {
			if addrPort(l.Addr()) != address || (l.Addr().Network() == "udp") != (transport == "dtls") {
				return false
			}
			_ = l.Close()
			for c := range ua.streams {
				on[c] = on[c] || c.listener == l
			}
			return true
		})
	}
	dialogs := slices.Collect(maps.Values(ua.dialogs))
	ua.mu.Unlock()
	maps.DeleteFunc(on, func(_ conn, its bool) bool { return !its })
	ua.byeAll(ctx, slices.DeleteFunc(dialogs, func(d *Dialog) bool { return !on[d.via()] }))
	for c := range on {
		c.close()
	}
}
