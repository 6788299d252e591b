package cstaxml

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"

	"github.com/tr87proxy/tr87proxy/internal/gate"
	"github.com/tr87proxy/tr87proxy/policy"
	"github.com/tr87proxy/tr87proxy/proxy"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

// ServerConfig says whom a server lets in, and how many.
type ServerConfig struct {
	Proxy *proxy.Proxy
	// Identify says who a peer is, by its address and the names in its verified
	// certificate; false when it may not connect. Nobody may, where Sessions lets
	// applications say who they are.
	Identify func(addr netip.Addr, certificateNames []string) (policy.Identity, bool)
	Sessions proxy.SessionMode // whether clients open application sessions
	Gate     gate.Config       // who may connect at all; its Trusts, Refused and Log are the server's
	Conn     gate.Limits
	Log      *slog.Logger
}

// Server is the front for clients that dial in: a connection is an association, its
// loss ends every monitor and registration made on it.
type Server struct {
	cfg  ServerConfig
	gate *gate.Gate
}

// NewServer makes a server.
func NewServer(cfg ServerConfig) *Server {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	cfg.Conn.Log = cfg.Log
	s := &Server{cfg: cfg}
	cfg.Gate.Refused = func(nc net.Conn, why string) { cfg.Proxy.TurnAway("xml", nc, why) }
	cfg.Gate.Trusts = func(addr netip.Addr) bool { who, ok := cfg.Identify(addr, nil); return ok && who.Name != "" }
	cfg.Gate.Log, cfg.Gate.Keys = cfg.Log, "xml"
	s.gate = gate.New(cfg.Gate)
	return s
}

// Serve takes connections until ctx ends; then it closes them all and returns once
// nothing of them is left.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	return s.gate.Serve(ctx, l, s.serve)
}

// serve is the life of one connection.
func (s *Server) serve(ctx context.Context, guest *gate.Guest) {
	addr := gate.AddrOf(guest.Conn)
	who, ok := s.cfg.Identify(addr, guest.Names)
	if !ok {
		s.cfg.Proxy.TurnAway("xml", guest.Conn, "the peer is not trusted")
		return
	}
	if who.Name != "" {
		guest.Prove()
	}
	a := &association{guest: guest}
	limits := s.cfg.Conn
	limits.Guest = guest
	a.conn = NewConn(guest.Conn, a, limits)
	session, err := s.cfg.Proxy.Open(proxy.Opening{Identity: who, Peer: "xml:" + guest.Conn.RemoteAddr().String(), Front: "xml", Addr: addr, Names: guest.Names, Place: proxy.PlaceOf(guest.Conn), Sessions: s.cfg.Sessions, Still: func() bool {
		now, ok := s.cfg.Identify(addr, guest.Names)
		return ok && now == who
	}}, toClient{a})
	if err != nil {
		return // the core has logged it
	}
	a.session = session
	if reason := a.conn.Serve(ctx); gate.Lost(reason) {
		session.Lose(reason)
	} else {
		session.Close(reason)
	}
}

// association is one client: a connection on one side, a session of the core on the
// other.
type association struct {
	guest   *gate.Guest
	conn    *Conn
	session *proxy.Session
}

// Request implements Handler.
func (a *association) Request(req *uacsta.Message, answer func(*uacsta.Message)) {
	a.session.Request(req, func(res *uacsta.Message) {
		if a.session.Identity().Name != "" { // before the client hears that it has logged in
			a.guest.Prove()
		}
		answer(res)
	})
}

// Unclear implements Handler.
func (a *association) Unclear(u *uacsta.Unclear, answer func(*uacsta.Message)) {
	a.session.Unclear(u, answer)
}

// Event implements Handler: a computing function has none to send.
func (a *association) Event(ev *uacsta.Message) error {
	return a.conn.Strike(slog.LevelInfo, "an event of a client", "event", ev.Name())
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
	a.conn.Request(m, func(*uacsta.Message, error) {})
}

// Closed implements proxy.Client.
func (a toClient) Closed(reason error) {
	if errors.Is(reason, proxy.ErrSlow) {
		a.conn.Close(reason)
		return
	}
	a.conn.Finish(reason)
}
