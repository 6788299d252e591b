// Package front serves clients that speak CSTA-XML over TCP and TLS. It knows no link.
package front

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"

	"github.com/tr87proxy/tr87proxy/internal/gate"
	"github.com/tr87proxy/tr87proxy/internal/kind"
	"github.com/tr87proxy/tr87proxy/proxy"
	"github.com/tr87proxy/tr87proxy/uacsta"
	"github.com/tr87proxy/tr87proxy/wire/cstaxml"
)

// name is the name of this front in the configuration, in rules, in the log and in the audit file.
const name = "xml"

// Server is the front for CSTA-XML. A connection is an association: when it ends, so do all monitors and registrations
// that were started on it.
type Server struct {
	name   string // of the front whose clients these are
	access kind.Access
	gate   *gate.Gate
	frames bool     // it serves CSTA-XML with headers
	http   overHTTP // web is nil: it does not serve HTTP

	resumable *resumable
}

// New returns a server for the clients that access accepts. It serves the listeners that [Server.Serve] and
// [Server.ServeDialect] are called with.
func New(access kind.Access) *Server { return NewFor(name, access) }

// NewFor is New for another front, whose WebSockets [Server.Host] serves.
func NewFor(front string, access kind.Access) *Server {
	s := &Server{name: front, access: access, frames: true, resumable: newResumable()}
	s.gate = s.access.NewGate(front)
	return s
}

// Serve accepts connections until ctx ends; then it closes them all, and returns once all of their goroutines have
// ended.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	return s.ServeDialect(ctx, l, Dialect{})
}

// ServeDialect is Serve for clients that speak a dialect.
func (s *Server) ServeDialect(ctx context.Context, l net.Listener, d Dialect) error {
	return s.gate.Serve(ctx, l, func(life context.Context, guest *gate.Guest) {
		if d.Greets { // its clients say nothing first
			s.admit(life, guest, guest.Conn, &d)
			return
		}
		speaks, nc, err := protocolOf(life, guest)
		switch {
		case err != nil:
		case speaks == web && s.http.web != nil:
			s.http.web.Serve(life, ctx, guest, nc, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { s.serveHTTP(w, r, guest, &d) }))
		case speaks != framed || !s.frames:
			s.wrong(speaks, guest, nc)
		default:
			s.admit(life, guest, nc, &d)
		}
	})
}

// admit serves a client that speaks CSTA-XML with headers, until its connection ends.
func (s *Server) admit(ctx context.Context, guest *gate.Guest, nc net.Conn, d *Dialect) {
	if opening, ok := s.access.Admit(s.name, guest); ok {
		_ = s.associate(ctx, guest, nc, d, opening) // the core has logged it
	}
}

// associate serves a client until its connection ends. The error is that of proxy.Proxy.Open; then the connection stays open.
func (s *Server) associate(ctx context.Context, guest *gate.Guest, nc net.Conn, d *Dialect, opening proxy.Opening) error {
	a := &association{guest: guest, dialect: d}
	if d.words != nil {
		a.words = d.words(s, a)
	}
	a.conn = cstaxml.NewConn(nc, a, s.access.Limits(guest))
	session, err := s.access.Proxy.Open(opening, toClient{a})
	if err != nil {
		return err
	}
	a.session = session
	if d.Greets {
		session.Greet()
	}
	reason := a.conn.Serve(ctx)
	returns := a.words != nil && a.words.left()
	if returns || gate.Lost(reason) {
		session.Disconnected(reason)
	} else {
		session.Close(reason)
	}
	return nil
}

// association is one client: its connection, and its session of the core. It is a cstaxml.Handler.
type association struct {
	guest   *gate.Guest
	dialect *Dialect
	words   vocabulary // of its dialect; nil: the standard's
	conn    *cstaxml.Conn
	session *proxy.Session
}

// Request implements cstaxml.Handler.
func (a *association) Request(req *uacsta.Message, answer func(*uacsta.Message)) {
	q := asked{req: req}
	if a.words != nil {
		q = a.words.read(req)
	}
	a.dialect.read(q.req)
	reply := func(res *uacsta.Message) {
		if a.session.Identity().Name != "" { // before the client learns that it has logged in
			a.guest.Prove()
		}
		respond := func() { answer(a.write(res)) }
		if q.done != nil && res != nil {
			q.done(res, respond)
		} else {
			respond()
		}
	}
	if q.own != nil {
		a.session.Own(q.req, q.own, reply)
	} else {
		a.session.Request(q.req, reply)
	}
}

// write brings a message for the client into its dialect's form and returns it.
func (a *association) write(m *uacsta.Message) *uacsta.Message {
	if a.words == nil || m == nil {
		return m
	}
	return a.words.write(m)
}

// Unclear implements cstaxml.Handler.
func (a *association) Unclear(u *uacsta.Unclear, answer func(*uacsta.Message)) {
	a.session.Unclear(u, answer)
}

// Event implements cstaxml.Handler. A computing function has no events to send.
func (a *association) Event(ev *uacsta.Message) error {
	return a.conn.Strike(slog.LevelInfo, "event from a client", "event", ev.Name())
}

// toClient is the association as the core uses it: a proxy.Client.
type toClient struct{ *association }

// Event implements proxy.Client. m is an event, or a request of the switching function; the core does not wait for the
// client's response.
func (a toClient) Event(m *uacsta.Message) {
	m = a.write(m)
	if m.Kind() == uacsta.Event {
		_ = a.conn.Send(m) // fails once the connection has ended
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
