// Package front serves clients that speak CSTA in ASN.1 over TCP and TLS. It knows no link.
package front

import (
	"context"
	"crypto/rand"
	"errors"
	"io"
	"log/slog"
	"net"
	"strconv"
	"sync"
	"time"

	"github.com/tr87proxy/tr87proxy/internal/gate"
	"github.com/tr87proxy/tr87proxy/internal/kind"
	"github.com/tr87proxy/tr87proxy/proxy"
	"github.com/tr87proxy/tr87proxy/uacsta"
	"github.com/tr87proxy/tr87proxy/wire/asn1"
)

// name is the name of this front in the configuration, in rules, in the log and in the audit file.
const name = "asn1"

// Config says which clients a server accepts, and what they speak.
type Config struct {
	kind.Access // Sessions applies to flavours with associations: an AARQ has a name and a password

	Flavour asn1.Flavour
	Notify  int // UDP port of the client that events of Phase I go to; 0: they go over the connection
}

// Server is the front for CSTA in ASN.1. A connection is an association: when it ends, so do all monitors that were started
// on it.
type Server struct {
	cfg  Config
	gate *gate.Gate
}

// New returns a server. It serves the listeners that [Server.Serve] is called with.
func New(cfg Config) *Server {
	if !cfg.Flavour.Associates { // no client can log in
		cfg.Sessions, cfg.NoLogin = proxy.SessionsOff, true
	}
	s := &Server{cfg: cfg}
	s.gate = s.cfg.NewGate(name)
	return s
}

// Serve accepts connections until ctx ends; then it closes them all, and returns once all of their goroutines have
// ended.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	return s.gate.Serve(ctx, l, s.serve)
}

// serve serves one connection until it ends.
func (s *Server) serve(ctx context.Context, guest *gate.Guest) {
	opening, ok := s.cfg.Admit(name, guest)
	if !ok {
		return
	}
	c := &client{server: s, guest: guest}
	c.conn = asn1.NewConn(guest.Conn, c, asn1.NewCodec(s.cfg.Flavour, asn1.AnyCallIDs), s.cfg.Limits(guest))
	if s.cfg.Notify > 0 && !s.cfg.Flavour.Associates {
		udp, err := (&net.Dialer{}).DialContext(ctx, "udp", net.JoinHostPort(opening.Addr.String(), strconv.Itoa(s.cfg.Notify)))
		if err != nil {
			s.cfg.Proxy.RefuseConnection(name, guest.Conn, err.Error())
			return
		}
		defer func() { _ = udp.Close() }()
		c.udp = udp
	}
	session, err := s.cfg.Proxy.Open(opening, toClient{c})
	if err != nil {
		return // the core has logged it
	}
	c.session = session
	reason := c.conn.Serve(ctx)
	if gate.Lost(reason) || s.cfg.Flavour.Associates && errors.Is(reason, io.EOF) { // a client that leaves releases the association, or aborts it
		session.Disconnected(reason)
	} else {
		session.Close(reason)
	}
	c.end()
}

// client is one computing function: its connection, and its session of the core. It is an asn1.Handler.
type client struct {
	server  *Server
	guest   *gate.Guest
	conn    *asn1.Conn
	session *proxy.Session
	udp     net.Conn // for events; nil: they go over the connection
	refs    references

	mu     sync.Mutex
	login  *time.Timer // prolongs the application session of an account; nil: there is none
	ended  bool        // the connection has ended
	opened bool        // an AARQ has come
}

// end stops what goes on beside the connection.
func (c *client) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ended = true
	if c.login != nil {
		c.login.Stop()
		c.login = nil
	}
}

var (
	errEnded    = errors.New("the client ended the association")
	errRejected = errors.New("the association was rejected")
	errUnwanted = errors.New("the client sent a PDU of ACSE that a server does not accept")
)

// Associate implements asn1.Handler.
func (c *client) Associate(a *asn1.Association) error {
	c.mu.Lock()
	again := c.opened
	c.opened = true
	c.mu.Unlock()
	switch {
	case a.Kind == asn1.ABRT:
		return errEnded
	case a.Kind == asn1.RLRQ:
		c.conn.Dissociate(&asn1.Association{Kind: asn1.RLRE}, errEnded)
		return nil
	case a.Kind != asn1.AARQ || again:
		return errUnwanted
	case !a.Credentials:
		result := asn1.Accepted
		if c.session.Identity().Name == "" || c.server.cfg.Mode(name) == proxy.SessionsMandatory {
			result = asn1.RejectedPermanent
		}
		c.reply(result)
		return nil
	}
	opening := uacsta.Login{User: a.Name, Password: a.Password}.Opening("", uacsta.LoginPlain, 24*time.Hour, asn1.Edition)
	c.session.Request(uacsta.Encode(opening, asn1.Edition), func(res *uacsta.Message) {
		if res == nil {
			return // the session has ended
		}
		id, duration, err := res.Granted()
		switch {
		case err == nil:
			c.keep(id, duration)
			c.reply(asn1.Accepted)
		case res.Text("errorCode/definedError") == "serverResourcesBusy":
			c.reply(asn1.RejectedTransient)
		default:
			c.reply(asn1.RejectedPermanent)
		}
	})
	return nil
}

// keep prolongs the application session of an account as long as the association lasts: CSTA in ASN.1 has no request for
// it.
func (c *client) keep(id string, duration time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended {
		return
	}
	seconds := int(duration / time.Second)
	c.login = time.AfterFunc(duration/2, func() {
		c.session.Request(uacsta.Encode(uacsta.ResetApplicationSessionTimer{SessionID: id, RequestedSessionDuration: seconds}, asn1.Edition), func(*uacsta.Message) {
			c.mu.Lock()
			defer c.mu.Unlock()
			if c.login != nil {
				c.login.Reset(duration / 2)
			}
		})
	})
}

// reply answers an AARQ. After AARE, the switching function speaks first.
func (c *client) reply(result asn1.AssociationResult) {
	answer := &asn1.Association{Kind: asn1.AARE, Result: result, Stamp: make([]byte, 16), Version: []byte("TR87PXY")}
	_, _ = rand.Read(answer.Stamp)
	if result != asn1.Accepted {
		c.conn.Dissociate(answer, errRejected)
		return
	}
	c.guest.Prove() // the client is trusted, or has logged in
	c.conn.Establish()
	c.conn.Associate(answer)
	c.conn.Request(uacsta.Encode(uacsta.SystemStatus{SystemStatus: uacsta.StatusNormal}, asn1.Edition), func(*uacsta.Message, error) {
		// any answer will do: that of one client is malformed
	})
}

// Request implements asn1.Handler.
func (c *client) Request(req *uacsta.Message, answer func(*uacsta.Message)) {
	service, ref, own := req.Name(), c.refs.core(req.CrossRef()), uint16(0)
	if ref != "" {
		req.SetCrossRef(ref)
	}
	if service == uacsta.NameMonitorStart {
		if own = c.refs.reserve(); own == 0 {
			answer(uacsta.Refuse(uacsta.SystemResourceAvailability, uacsta.OverallMonitorLimitExceeded).Message(asn1.Edition))
			return
		}
	}
	c.session.Request(req, func(res *uacsta.Message) {
		switch {
		case service == uacsta.NameMonitorStart && (res == nil || res.Err() != nil):
			c.refs.release(own)
		case res == nil || res.Err() != nil:
		case service == uacsta.NameMonitorStart:
			c.refs.set(res.CrossRef(), own)
			c.refs.rename(res)
		case service == uacsta.NameMonitorStop:
			c.refs.remove(ref)
		}
		answer(res)
	})
}

// Event implements asn1.Handler. A computing function has no events to send.
func (c *client) Event(ev *uacsta.Message) error {
	return c.conn.Strike(slog.LevelInfo, "event from a client", "event", ev.Name())
}

// toClient is the client as the core uses it: a proxy.Client.
type toClient struct{ *client }

// Event implements proxy.Client. m is an event, or a request of the switching function.
func (c toClient) Event(m *uacsta.Message) {
	ref := m.CrossRef()
	c.refs.rename(m)
	switch {
	case m.Name() == uacsta.NameApplicationSessionTerminated:
		c.Closed(errRejected)
	case m.Kind() != uacsta.Event:
		c.conn.Request(m, func(*uacsta.Message, error) {})
		if m.Name() == uacsta.NameMonitorStop {
			c.refs.remove(ref)
		}
	case c.udp != nil:
		if data, err := c.conn.Notification(m); err == nil {
			_, _ = c.udp.Write(data) // it fails if nobody listens at the port
		}
	default:
		c.conn.Send(m)
	}
}

// Closed implements proxy.Client.
func (c toClient) Closed(reason error) {
	switch {
	case errors.Is(reason, proxy.ErrSlow):
		c.conn.Close(reason)
	case c.server.cfg.Flavour.Associates:
		c.conn.Dissociate(&asn1.Association{Kind: asn1.ABRT}, reason)
	default:
		c.conn.Finish(reason)
	}
}
