package api

import (
	"context"
	"errors"
	"maps"
	"net/http"
	"sync"
	"time"

	"github.com/tr87proxy/tr87proxy/proxy"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

// client is one caller's session with the core. Requests with the same credentials from the same peer share one.
type client struct {
	session *proxy.Session
	who     caller
	events  func(*uacsta.Message) // of a WebSocket; nil: nobody listens
	closed  func(error)           // nil: nobody listens

	mu      sync.Mutex
	ended   error                           // why the core closed the session
	gone    chan struct{}                   // closed when the core has closed the session
	waiting map[string]chan *uacsta.Message // for the segments of a list, by its reference
}

// Event implements proxy.Client.
func (c *client) Event(m *uacsta.Message) {
	ref := m.Text("serviceCrossRefID")
	if _, segments := segmented[m.Name()]; segments && ref != "" && c.segment(ref, m) {
		return
	}
	if c.events != nil {
		c.events(m)
	}
}

// segmented are the messages that bring a list in segments.
var segmented = map[string]struct{}{
	uacsta.NameSwitchingFunctionDevices: {}, uacsta.NameSnapshotDeviceData: {}, uacsta.NameSnapshotCallData: {},
}

// segment hands a segment to the request that waits for it. Those that a client has asked for by POST /v1/csta over a
// WebSocket are events of it.
func (c *client) segment(ref string, m *uacsta.Message) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	ch := c.waiting[ref]
	if ch != nil {
		select {
		case ch <- m:
		default: // the request has given up
		}
	}
	return ch != nil
}

// Closed implements proxy.Client.
func (c *client) Closed(reason error) {
	c.mu.Lock()
	c.ended = reason
	c.mu.Unlock()
	close(c.gone)
	if c.closed != nil {
		c.closed(reason)
	}
}

// over reports why the core closed the session; nil if it did not.
func (c *client) over() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.ended
}

// lapsed returns why the client's session has ended, or must; nil if it goes on.
func (c *client) lapsed() error {
	if err := c.over(); err != nil {
		return err
	}
	return c.who.lapsed()
}

// left returns the problem of a request whose session the core has closed, or nil if it is open.
func (c *client) left() error {
	switch {
	case c.over() == nil:
		return nil
	case !c.who.valid():
		p := problem(http.StatusUnauthorized, "the token or password has ceased to hold")
		p.challenge = `Bearer realm="tr87proxy", error="invalid_token"`
		return p
	}
	p := problem(http.StatusServiceUnavailable, "the proxy has closed the session of this client; try again")
	p.retry = time.Second
	return p
}

// view returns a device as the client may use it, as proxy.Session.View does. The attempt to see another's is audited.
func (c *client) view(device string) (proxy.View, error) {
	v, err := c.session.View(device)
	if errors.Is(err, proxy.ErrForbidden) {
		c.tried(uacsta.SnapshotDevice{SnapshotObject: uacsta.Dev(device)})
	}
	return v, err
}

// tried sends a request that the core refuses and therefore audits.
func (c *client) tried(req any) {
	c.session.Request(uacsta.Encode(req, uacsta.Edition6), func(*uacsta.Message) {})
}

// do sends a request, a struct of uacsta or a *uacsta.Message, and waits for its response. A refusal is a *uacsta.Error.
func (c *client) do(ctx context.Context, req any) (*uacsta.Message, error) {
	return c.ask(ctx, req, func(*uacsta.Message) {})
}

// ask is do, and calls first with the response before the core calls Event with what follows it.
func (c *client) ask(ctx context.Context, req any, first func(*uacsta.Message)) (*uacsta.Message, error) {
	m, ok := req.(*uacsta.Message)
	if !ok {
		m = uacsta.Encode(req, uacsta.Edition6)
	}
	if err := c.left(); err != nil {
		return nil, err
	}
	answer := make(chan *uacsta.Message, 1)
	c.session.Request(m, func(res *uacsta.Message) {
		if res != nil && res.Err() == nil {
			first(res)
		}
		answer <- res
	})
	select {
	case res := <-answer:
		if res == nil || res.Err() == nil {
			return res, nil
		}
		if err := c.left(); err != nil && res.Err().Category == uacsta.Security { // it was closed before the request was carried out
			return nil, err
		}
		return nil, res.Err()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// list sends a request whose response may name a list, and calls each for every segment of it.
func (c *client) list(ctx context.Context, req any, ref func(res *uacsta.Message) string, each func(*uacsta.Message) (last bool, err error)) error {
	segments := make(chan *uacsta.Message, maxSegments)
	defer c.done(segments)
	named := false
	_, err := c.ask(ctx, req, func(res *uacsta.Message) {
		if name := ref(res); name != "" {
			named = true
			c.wait(ctx, name, segments)
		}
	})
	if err != nil || !named {
		return err
	}
	for {
		select {
		case m := <-segments:
			if last, err := each(m); last || err != nil {
				return err
			}
		case <-c.gone:
			return c.left()
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// maxSegments limits the segments of one list that wait.
const maxSegments = 2100

// wait has the segments of a list sent to a channel, unless ctx has ended, after which done is called.
func (c *client) wait(ctx context.Context, ref string, segments chan *uacsta.Message) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if ctx.Err() == nil {
		c.waiting[ref] = segments
	}
}

func (c *client) done(segments chan *uacsta.Message) {
	c.mu.Lock()
	defer c.mu.Unlock()
	maps.DeleteFunc(c.waiting, func(_ string, ch chan *uacsta.Message) bool { return ch == segments })
}

// open opens a session for a caller.
func (s *Server) open(who caller, peer string, place func() proxy.Place, event func(*uacsta.Message), closed func(error)) (*client, error) {
	c := &client{who: who, events: event, closed: closed, gone: make(chan struct{}), waiting: map[string]chan *uacsta.Message{}}
	session, err := s.proxy.Open(proxy.Opening{
		Identity: who.identified.Identity, Reach: who.reach, Peer: who.front() + ":" + peer, Front: who.front(), Addr: who.addr, Names: who.names,
		Sessions: proxy.SessionsOff, NoLogin: true, Lists: true, Plain: event == nil, Place: place, Valid: who.valid, Until: who.identified.Until,
	}, c)
	if err != nil {
		return nil, err
	}
	c.session = session
	return c, nil
}

// idle is how long the session of a caller stays open after its last request.
const idle = 30 * time.Second

// clients are the sessions of callers that make single requests.
type clients struct {
	mu    sync.Mutex
	table map[[32]byte]*shared
	ended bool
}

// shared is a client that several requests use.
type shared struct {
	*client
	users int
	timer *time.Timer // closes the session after the last request
}

// borrow returns the session of a caller, and what gives it back.
func (s *Server) borrow(who caller, r *http.Request) (*client, func(), error) {
	t := &s.clients
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.ended {
		return nil, nil, errStopping
	}
	c := t.table[who.key]
	if c == nil || c.over() != nil {
		opened, err := s.open(who, r.RemoteAddr, nil, nil, nil)
		if err != nil {
			return nil, nil, err
		}
		c = &shared{client: opened}
		t.table[who.key] = c
	}
	c.users++
	if c.timer != nil {
		c.timer.Stop()
	}
	return c.client, func() { s.giveBack(who.key, c) }, nil
}

func (s *Server) giveBack(key [32]byte, c *shared) {
	t := &s.clients
	t.mu.Lock()
	defer t.mu.Unlock()
	if c.users--; c.users > 0 {
		return
	}
	if t.ended || c.over() != nil {
		t.forget(key, c)
		return
	}
	c.timer = time.AfterFunc(idle, func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		if c.users == 0 {
			t.forget(key, c)
		}
	})
}

// forget closes a session that nobody uses. The caller holds t.mu.
func (t *clients) forget(key [32]byte, c *shared) {
	if t.table[key] == c {
		delete(t.table, key)
	}
	c.session.Close(nil)
}

// close closes the sessions that nobody uses; the others close after their requests.
func (t *clients) close() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.ended = true
	for key, c := range t.table {
		if c.users == 0 {
			if c.timer != nil {
				c.timer.Stop()
			}
			t.forget(key, c)
		}
	}
}

type clientKey struct{}

// withClient returns a context whose requests are those of a client: they are not identified again.
func withClient(ctx context.Context, c *client) context.Context {
	return context.WithValue(ctx, clientKey{}, c)
}

// clientOf returns the client of a request.
func clientOf(ctx context.Context) *client {
	c, _ := ctx.Value(clientKey{}).(*client)
	return c
}
