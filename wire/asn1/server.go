package asn1

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net"
	"net/netip"
	"strconv"
	"sync"
	"time"

	"github.com/tr87proxy/tr87proxy/internal/gate"
	"github.com/tr87proxy/tr87proxy/policy"
	"github.com/tr87proxy/tr87proxy/proxy"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

// ServerConfig says whom a server lets in, and what they speak.
type ServerConfig struct {
	Proxy   *proxy.Proxy
	Flavour Flavour
	// Identify says who a peer is, by its address and the names in its verified
	// certificate; the zero identity is somebody who has to say name and password, and
	// false somebody who may not connect. Phase I has no words for name and password.
	Identify func(addr netip.Addr, certificateNames []string) (policy.Identity, bool)
	Sessions proxy.SessionMode // whether clients must say name and password
	Gate     gate.Config       // who may connect at all; its Trusts, Refused and Log are the server's
	Notify   int               // Phase I: events go to this UDP port of the client; 0: over the connection
	Conn     gate.Limits
	Log      *slog.Logger
}

// Server is the front for programs that speak CSTA in ASN.1: a connection is an association,
// its loss ends every monitor made on it.
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
	if !cfg.Flavour.acse { // nobody can say a password
		cfg.Sessions = proxy.SessionsOff
	}
	s := &Server{cfg: cfg}
	cfg.Gate.Refused = func(nc net.Conn, why string) { cfg.Proxy.TurnAway(front, nc, why) }
	cfg.Gate.Trusts = func(addr netip.Addr) bool { who, ok := cfg.Identify(addr, nil); return ok && who.Name != "" }
	cfg.Gate.Log, cfg.Gate.Keys = cfg.Log, "asn1"
	s.gate = gate.New(cfg.Gate)
	return s
}

// Serve takes connections until ctx ends; then it closes them all and returns once
// nothing of them is left.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	return s.gate.Serve(ctx, l, s.serve)
}

// front is the name of this front in rules and logs.
const front = "asn1"

// serve is the life of one connection.
func (s *Server) serve(ctx context.Context, guest *gate.Guest) {
	nc, addr := guest.Conn, gate.AddrOf(guest.Conn)
	who, ok := s.cfg.Identify(addr, guest.Names)
	if !ok || who.Name == "" && !s.cfg.Flavour.acse {
		s.cfg.Proxy.TurnAway(front, nc, "the peer is not trusted")
		return
	}
	if who.Name != "" {
		guest.Prove()
	}
	c := &client{server: s, guest: guest, refs: map[string]uint16{}, theirs: map[uint16]string{}}
	limits := s.cfg.Conn
	limits.Guest = guest
	c.conn = newConn(nc, c, s.cfg.Flavour, anyCallIDs, limits)
	if s.cfg.Notify > 0 && !s.cfg.Flavour.acse {
		udp, err := (&net.Dialer{}).DialContext(ctx, "udp", net.JoinHostPort(addr.String(), strconv.Itoa(s.cfg.Notify)))
		if err != nil {
			s.cfg.Proxy.TurnAway(front, nc, err.Error())
			return
		}
		defer func() { _ = udp.Close() }()
		c.udp = udp
	}
	session, err := s.cfg.Proxy.Open(proxy.Opening{
		Identity: who, Peer: front + ":" + nc.RemoteAddr().String(), Front: front, Addr: addr, Names: guest.Names, Place: proxy.PlaceOf(nc), Sessions: s.cfg.Sessions, NoLogin: !s.cfg.Flavour.acse,
		Still: func() bool {
			now, ok := s.cfg.Identify(addr, guest.Names)
			return ok && now == who
		},
	}, toClient{c})
	if err != nil {
		return // the core has logged it
	}
	c.session = session
	reason := c.conn.serve(ctx)
	if gate.Lost(reason) || s.cfg.Flavour.acse && errors.Is(reason, io.EOF) { // whoever leaves releases the association, or aborts it
		session.Lose(reason)
	} else {
		session.Close(reason)
	}
	c.end()
}

// client is one computing function: a connection on one side, a session of the core on the
// other.
type client struct {
	server  *Server
	guest   *gate.Guest
	conn    *conn
	session *proxy.Session
	udp     net.Conn // for events; nil: over the connection

	mu     sync.Mutex
	login  *time.Timer       // that keeps the application session of an account; nil: there is none, or it has ended
	over   bool              // the connection has ended
	opened bool              // an AARQ has come
	refs   map[string]uint16 // cross references of the core -> those of the client
	theirs map[uint16]string // the other way; "" for a monitor that is being started
	last   uint16
}

func (c *client) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.over = true
	if c.login != nil {
		c.login.Stop()
		c.login = nil
	}
}

var (
	errAborted  = errors.New("the client ended the association")
	errRefused  = errors.New("the association was refused")
	errUnwanted = errors.New("a PDU of ACSE that a server does not take")
)

// associate implements handler.
func (c *client) associate(a *association) error {
	c.mu.Lock()
	again := c.opened
	c.opened = true
	c.mu.Unlock()
	switch {
	case a.kind == abort:
		return errAborted
	case a.kind == releaseRequest:
		c.conn.queueAssociation(&association{kind: releaseResponse})
		c.conn.Finish(errAborted)
		return nil
	case a.kind != associateRequest || again:
		return errUnwanted
	case !a.credentials:
		result := accepted
		if c.session.Identity().Name == "" || c.server.cfg.Proxy.Mode(front, c.server.cfg.Sessions) == proxy.SessionsMandatory {
			result = rejectedForGood
		}
		c.accept(result)
		return nil
	}
	opening := uacsta.Login{User: a.name, Password: a.password}.Opening("", uacsta.LoginPlain, 24*time.Hour, edition)
	c.session.Request(uacsta.Encode(opening, edition), func(res *uacsta.Message) {
		if res == nil {
			return // the session has ended
		}
		id, duration, err := res.Granted()
		switch {
		case err == nil:
			c.keep(id, duration)
			c.accept(accepted)
		case res.Text("errorCode/definedError") == "serverResourcesBusy":
			c.accept(rejectedTransient)
		default:
			c.accept(rejectedForGood)
		}
	})
	return nil
}

// keep keeps the application session of an account alive as long as the association is:
// this has no word for it.
func (c *client) keep(id string, duration time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.over {
		return
	}
	seconds := int(duration / time.Second)
	c.login = time.AfterFunc(duration/2, func() {
		c.session.Request(uacsta.Encode(uacsta.ResetApplicationSessionTimer{SessionID: id, RequestedSessionDuration: seconds}, edition), func(*uacsta.Message) {
			c.mu.Lock()
			defer c.mu.Unlock()
			if c.login != nil {
				c.login.Reset(duration / 2)
			}
		})
	})
}

// accept answers an AARQ. If it is accepted, the switching function speaks first.
func (c *client) accept(result int) {
	answer := &association{kind: associateResponse, result: result, stamp: make([]byte, 16), version: []byte("TR87PXY")}
	_, _ = rand.Read(answer.stamp)
	if result != accepted {
		c.conn.queueAssociation(answer)
		c.conn.Finish(errRefused)
		return
	}
	c.guest.Prove() // it has a name: it is trusted, or has logged in
	c.conn.open()
	c.conn.queueAssociation(answer)
	c.conn.ask(uacsta.Encode(uacsta.SystemStatus{SystemStatus: uacsta.StatusNormal}, edition), func(*uacsta.Message, error) {
		// whatever it says: there is one whose answer is malformed
	})
}

// request implements handler.
func (c *client) request(req *uacsta.Message, answer func(*uacsta.Message)) {
	name, ref, own := req.Name(), c.coreRef(req.CrossRef()), uint16(0)
	if ref != "" {
		req.SetCrossRef(ref)
	}
	if name == uacsta.NameMonitorStart {
		if own = c.reserve(); own == 0 {
			answer(uacsta.Refuse(uacsta.SystemResourceAvailability, uacsta.OverallMonitorLimitExceeded).Message(edition))
			return
		}
	}
	c.session.Request(req, func(res *uacsta.Message) {
		switch {
		case name == uacsta.NameMonitorStart && (res == nil || res.Err() != nil):
			c.remember("", own)
		case res == nil || res.Err() != nil:
		case name == uacsta.NameMonitorStart:
			c.remember(res.CrossRef(), own)
			c.rename(res)
		case name == uacsta.NameMonitorStop:
			c.forget(ref)
		}
		answer(res)
	})
}

// event implements handler: a computing function has none to send.
func (c *client) event(ev *uacsta.Message) error {
	return c.conn.Strike(slog.LevelInfo, "an event of a client", "event", ev.Name())
}

// coreRef is the core's cross reference for one of the client's.
func (c *client) coreRef(ref string) string {
	n, err := strconv.ParseUint(ref, 16, 16)
	c.mu.Lock()
	defer c.mu.Unlock()
	if known := c.theirs[uint16(n)]; known != "" && err == nil {
		return known
	}
	return ref
}

// reserve makes a cross reference for the client: two octets, as clients want it. 0: all are used.
func (c *client) reserve() uint16 {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.theirs) == math.MaxUint16 {
		return 0
	}
	for used := true; used || c.last == 0; {
		c.last++
		_, used = c.theirs[c.last]
	}
	c.theirs[c.last] = ""
	return c.last
}

// remember has a cross reference of the client stand for the core's; "": for none any more.
func (c *client) remember(ref string, own uint16) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if ref == "" {
		delete(c.theirs, own)
		return
	}
	c.refs[ref], c.theirs[own] = own, ref
}

// rename gives a message that has the core's cross reference the client's.
func (c *client) rename(m *uacsta.Message) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if n, ok := c.refs[m.CrossRef()]; ok {
		m.SetCrossRef(fmt.Sprintf("%04X", n))
	}
}

func (c *client) forget(ref string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.theirs, c.refs[ref])
	delete(c.refs, ref)
}

// toClient is the client as the core sees it: a proxy.Client.
type toClient struct{ *client }

// Event implements proxy.Client: an event, or a request of the switching function.
func (c toClient) Event(m *uacsta.Message) {
	ref := m.CrossRef()
	c.rename(m)
	switch {
	case m.Name() == uacsta.NameApplicationSessionTerminated:
		c.Closed(errRefused)
	case m.Kind() != uacsta.Event:
		c.conn.ask(m, func(*uacsta.Message, error) {})
		if m.Name() == uacsta.NameMonitorStop {
			c.forget(ref)
		}
	case c.udp != nil:
		if data, err := c.conn.eventFrame(m); err == nil {
			_, _ = c.udp.Write(data[2:]) // whoever does not listen hears nothing: it is UDP
		}
	default:
		c.conn.send(m)
	}
}

// Closed implements proxy.Client.
func (c toClient) Closed(reason error) {
	if errors.Is(reason, proxy.ErrSlow) {
		c.conn.Close(reason)
		return
	}
	if c.conn.codec.flavour.acse {
		c.conn.queueAssociation(&association{kind: abort})
	}
	c.conn.Finish(reason)
}
