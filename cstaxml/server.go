package cstaxml

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/tr87proxy/tr87proxy/policy"
	"github.com/tr87proxy/tr87proxy/proxy"
	ours "github.com/tr87proxy/tr87proxy/tls"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

// ServerConfig says whom a server lets in, and how many.
type ServerConfig struct {
	Proxy *proxy.Proxy
	// Identify says who a peer is, by its address and the names in its verified
	// certificate; false when it may not connect. Nobody may, where Sessions lets
	// applications say who they are.
	Identify       func(addr netip.Addr, certificateNames []string) (policy.Identity, bool)
	Sessions       proxy.SessionMode          // whether clients open application sessions
	Admits         func(addr netip.Addr) bool // whether an address may connect at all; nil: any
	MaxConnections int                        // 2000
	MaxPeer        int                        // connections from one address; 500
	HandshakeTime  time.Duration
	NameKinds      []string // of names in certificates that count, in this order: dns, uri, cn; none: all
	Conn           Config
	Log            *slog.Logger
}

// Server is the front for clients that dial in: a connection is an association, its
// loss ends every monitor and registration made on it.
type Server struct {
	cfg ServerConfig

	strangers proxy.Strangers

	mu    sync.Mutex
	peers map[netip.Addr]int
	total int
}

// NewServer makes a server.
func NewServer(cfg ServerConfig) *Server {
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
	cfg.Conn.Log = cfg.Log
	return &Server{cfg: cfg, peers: map[netip.Addr]int{}}
}

// Serve takes connections until ctx ends; then it closes them all and returns once
// nothing of them is left.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
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
			s.cfg.Log.Error("no connection taken", "listener", l.Addr().String(), "err", err)
			select {
			case <-time.After(wait):
			case <-ctx.Done():
			}
			continue
		}
		wait = 0
		addr := addrOf(nc)
		if s.cfg.Admits != nil && !s.cfg.Admits(addr) {
			s.refused(nc, "the address may not connect")
			_ = nc.Close()
			continue
		}
		if !s.admit(addr) {
			s.refused(nc, "too many connections")
			_ = nc.Close()
			continue
		}
		group.Go(func() {
			defer s.leave(addr)
			s.serve(ctx, nc, addr)
		})
	}
}

func addrOf(nc net.Conn) netip.Addr {
	if tcp, ok := nc.RemoteAddr().(*net.TCPAddr); ok {
		return tcp.AddrPort().Addr().Unmap()
	}
	return netip.Addr{}
}

func (s *Server) admit(addr netip.Addr) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.total >= s.cfg.MaxConnections || s.peers[addr] >= s.cfg.MaxPeer {
		return false
	}
	s.total++
	s.peers[addr]++
	return true
}

func (s *Server) leave(addr netip.Addr) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.total--
	if s.peers[addr]--; s.peers[addr] == 0 {
		delete(s.peers, addr)
	}
}

// serve is the life of one connection.
func (s *Server) serve(ctx context.Context, nc net.Conn, addr netip.Addr) {
	defer func() { _ = nc.Close() }()
	names, err := s.handshake(ctx, nc)
	if err != nil {
		s.refused(nc, "TLS handshake failed: "+err.Error())
		return
	}
	who, ok := s.cfg.Identify(addr, names)
	if !ok {
		s.refused(nc, "the peer is not trusted")
		return
	}
	a := &association{}
	a.conn = NewConn(nc, a, s.cfg.Conn)
	session, err := s.cfg.Proxy.Open(proxy.Opening{Identity: who, Peer: "xml:" + nc.RemoteAddr().String(), Front: "xml", Addr: addr, Sessions: s.cfg.Sessions, Still: func() bool {
		now, ok := s.cfg.Identify(addr, names)
		return ok && now == who
	}}, toClient{a})
	if err != nil {
		return // the core has logged it
	}
	a.session = session
	session.Close(a.conn.Serve(ctx))
}

// refused says in the log, once in a while for each address, that a peer is not let in.
func (s *Server) refused(nc net.Conn, why string) {
	if s.strangers.News(addrOf(nc), time.Now()) {
		s.cfg.Proxy.Refused("xml", nc.RemoteAddr().String(), "", why)
		s.cfg.Log.Warn("connection refused", "peer", nc.RemoteAddr().String(), "why", why, "silent", proxy.StrangerPause)
	}
}

// handshake finishes TLS, where it is spoken, and returns the names in the peer's
// verified certificate.
func (s *Server) handshake(ctx context.Context, nc net.Conn) ([]string, error) {
	t, ok := nc.(*tls.Conn)
	if !ok {
		return nil, nil
	}
	ctx, cancel := context.WithTimeout(ctx, s.cfg.HandshakeTime)
	defer cancel()
	if err := t.HandshakeContext(ctx); err != nil {
		return nil, err
	}
	return ours.PeerNames(t.ConnectionState(), s.cfg.NameKinds...), nil
}

// association is one client: a connection on one side, a session of the core on the
// other.
type association struct {
	conn    *Conn
	session *proxy.Session
}

// Request implements Handler.
func (a *association) Request(req *uacsta.Message, answer func(*uacsta.Message)) {
	a.session.Request(req, answer)
}

// toClient is the association as the core sees it: a proxy.Client.
type toClient struct{ *association }

// Event implements proxy.Client: an event, or a request of the switching function,
// whose answer says nothing that the core waits for.
func (a toClient) Event(m *uacsta.Message) {
	if m.Kind() == uacsta.Event {
		_ = a.conn.Send(m) // fails when the connection has ended
		return
	}
	a.conn.Request(m, func(_ *uacsta.Message, err error) {
		if errors.Is(err, ErrSlow) { // it must not miss one
			a.conn.Close(err)
		}
	})
}

// Closed implements proxy.Client.
func (a toClient) Closed(reason error) {
	if errors.Is(reason, proxy.ErrSlow) {
		a.conn.Close(reason)
		return
	}
	a.conn.Finish(reason)
}

// Event implements Handler: a computing function has none to send.
func (a *association) Event(*uacsta.Message) {}
