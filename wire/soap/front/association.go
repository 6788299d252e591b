package front

import (
	"context"
	"crypto/rand"
	"errors"
	"net/http"
	"sync"
	"time"

	"github.com/tr87proxy/tr87proxy/internal/kind"
	"github.com/tr87proxy/tr87proxy/internal/share"
	"github.com/tr87proxy/tr87proxy/proxy"
	"github.com/tr87proxy/tr87proxy/uacsta"
	"github.com/tr87proxy/tr87proxy/wire/soap"
)

// association is one client: its session of the core, which several HTTP requests use. HTTP has none: StartApplicationSession
// makes one, and later requests name it by its ID; those that name none share one for each set of credentials. It is a
// proxy.Client.
type association struct {
	server  *Server
	id      string   // that clients send
	key     [32]byte // of the credentials
	who     string   // the identity that it counts for; guarded by the server's mu
	implied bool     // its requests name no session
	session *proxy.Session
	queue   queue

	order sync.Mutex // requests go to the core in the order in which they came

	mu            sync.Mutex
	detach        func() bool // from the listener that it began at
	users         int         // requests, pulls and deliveries
	idle          *time.Timer // ends it; nil: it has an application session, which ends by itself
	inner         string      // the core's ID of the application session
	gone          bool
	subscriptions map[string]*subscription
	pull          pull
}

// newAssociation opens a session of the core for the client of a request. The caller calls exit. It returns nil after it has
// responded.
func (x *exchange) newAssociation(implied bool) *association {
	s := x.server
	a := &association{server: s, id: rand.Text(), key: x.caller.Key, who: x.share(), implied: implied, users: 1, subscriptions: map[string]*subscription{}}
	a.queue.init()
	s.mu.Lock()
	full := s.closed || len(s.associations) >= maxAssociations || s.counts[a.who] >= maxOfIdentity
	if !full {
		s.counts[a.who]++
		s.associations[a.id] = a
	}
	s.mu.Unlock()
	if full {
		x.refuse(uacsta.SystemResourceAvailability, uacsta.ResourceLimitExceeded)
		return nil
	}
	session, err := s.cfg.Proxy.Open(x.caller.Opening, a)
	if err != nil { // the core has logged it
		a.forget(false)
		x.refuse(uacsta.Security, uacsta.Generic)
		return nil
	}
	a.mu.Lock()
	a.session = session
	gone := a.gone // the server has closed meanwhile, or the core the session
	if implied && !gone {
		a.idle = time.AfterFunc(idleTime, a.unused)
	}
	if listener := kind.Serving(x.r.Context()); !gone {
		a.detach = context.AfterFunc(listener, func() { a.listenerCloses(context.Cause(listener)) })
	}
	a.mu.Unlock()
	if gone {
		session.Close(nil)
		x.refuse(uacsta.Security, uacsta.Generic)
		return nil
	}
	return a
}

// share returns whose share of the associations a request takes: that of an identity, or of an address that has none.
func (x *exchange) share() string {
	if o := x.caller.Opening; o.Identity.Name == "" {
		return "address " + share.Of(o.Addr).String()
	}
	return "identity " + x.caller.Opening.Identity.Name
}

// association returns the association of a request that is not StartApplicationSession. The caller calls exit. It returns nil
// after it has responded.
func (x *exchange) association() *association {
	s := x.server
	if id := x.session(); id != "" {
		s.mu.Lock()
		a := s.associations[id]
		s.mu.Unlock()
		if a != nil && !a.implied && x.owns(a) && a.enter() {
			x.known(a)
			return a
		}
		if a != nil && !x.owns(a) {
			o := x.caller.Opening
			s.cfg.Proxy.Refused(o.Front, o.Peer, o.Identity.Name, "the request names a session of another client")
			s.log.Warn("request refused: it names a session of another client", "front", name, "identity", o.Identity.String(), "peer", o.Peer)
		}
		x.unknown(textNoSession)
		return nil
	}
	if x.caller.Opening.Identity.Name == "" {
		x.unknown(textNoCredentials)
		return nil
	}
	for {
		s.mu.Lock()
		old := s.implicit[x.caller.Key]
		s.mu.Unlock()
		if old != nil && old.enter() {
			return old
		}
		a := x.newAssociation(true)
		if a == nil {
			return nil
		}
		s.mu.Lock()
		first := s.implicit[a.key] == old
		if first {
			s.implicit[a.key] = a
		}
		s.mu.Unlock()
		if first {
			return a
		}
		a.leave("", "") // another request was faster
	}
}

// own returns the association of a request that this package carries out, if the core lets the client have requests carried out:
// the limits and application sessions are those of all requests. The caller calls exit. It returns nil after it has responded.
func (x *exchange) own() *association {
	a := x.association()
	if a == nil {
		return nil
	}
	body := x.envelope.Body
	res, release, err := a.ask(x.r.Context(), func(reply func(*uacsta.Message)) {
		nothing := func(answer func(*uacsta.Message, error)) { answer(nil, nil) }
		a.session.Own(uacsta.NewMessage(body.Namespace(), body.Name()), nothing, reply)
	})
	release()
	switch {
	case err != nil:
		x.fail(x.envelope.Fault(soap.Server, "the proxy has not responded in time"))
	case res != nil:
		x.refuse(res.Err().Category, res.Err().Value)
	default:
		return a
	}
	a.exit()
	return nil
}

// unknown responds to a request of nobody, or one that names a session that is not its client's; text says which. Software made
// for .NET sends credentials only after 401.
func (x *exchange) unknown(text string) {
	if x.caller.Opening.Identity.Name == "" {
		challenge(x.w, x.caller.Challenges)
		refuse(x.w, x.r, http.StatusUnauthorized, text)
		return
	}
	x.fail(x.envelope.Refuse(&uacsta.Error{Category: uacsta.Security, Value: uacsta.Generic, Detail: text}, x.edition))
}

// cookie is the name of the cookie that names a session, for software that sets header blocks with difficulty.
const cookie = "CSTASession"

// session returns the ID that a request names; "": none.
func (x *exchange) session() string {
	if x.envelope.Session != "" {
		return x.envelope.Session
	}
	if c, err := x.r.Cookie(cookie); err == nil {
		return c.Value
	}
	return ""
}

// owns reports whether the client of the request may use an association: it has the credentials that it had when it began,
// or none, where it has logged in by StartApplicationSession.
func (x *exchange) owns(a *association) bool { return x.caller.Key == a.key }

// start serves StartApplicationSession, which makes an association.
func (x *exchange) start(m *uacsta.Message) {
	if x.caller.Opening.Identity.Name == "" && !hasLogin(m) {
		x.unknown(textNoCredentials)
		return
	}
	a := x.newAssociation(false)
	if a == nil {
		return
	}
	defer a.exit()
	res, release, err := a.do(x.r.Context(), m)
	defer release()
	if err != nil || res == nil || res.Name() != uacsta.NameStartApplicationSession+"PosResponse" {
		defer a.leave("", "")
		if err != nil {
			x.fail(x.envelope.Fault(soap.Server, "the proxy has not responded in time"))
			return
		}
		x.respond(a, m.Name(), res)
		return
	}
	a.mu.Lock()
	a.inner = res.Text("sessionID")
	a.mu.Unlock()
	if !a.countFor("identity " + a.session.Identity().Name) {
		defer a.leave("", "")
		x.refuse(uacsta.SystemResourceAvailability, uacsta.ResourceLimitExceeded)
		return
	}
	x.known(a)
	res.SetText("sessionID", a.id)
	http.SetCookie(x.w, &http.Cookie{Name: cookie, Value: a.id, Path: "/", HttpOnly: true, Secure: x.r.TLS != nil, SameSite: http.SameSiteStrictMode}) //nolint:gosec // a listener without TLS cannot have secure ones
	x.respond(a, m.Name(), res)
}

// known says that the client of the request is no stranger, if it has logged in by StartApplicationSession.
func (x *exchange) known(a *association) {
	if a.session.Identity().Name != "" {
		kind.Known(x.r.Context())
	}
}

// hasLogin reports whether StartApplicationSession has a name and password.
func hasLogin(m *uacsta.Message) bool {
	var s uacsta.StartApplicationSession
	if m.Decode(&s) != nil {
		return true // for the core to refuse
	}
	_, given := s.ApplicationInfo.Login()
	return given
}

// enter reports whether the association is still there, and keeps it until exit is called.
func (a *association) enter() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.gone {
		return false
	}
	a.users++
	if a.idle != nil {
		a.idle.Stop()
	}
	return true
}

func (a *association) exit() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.users--; a.users == 0 && a.idle != nil && !a.gone {
		a.idle.Reset(idleTime)
	}
}

// unused ends an association that nobody has used for long.
func (a *association) unused() {
	if a.forget(true) {
		a.end("SourceCanceling", "the client has sent no request for long")
	}
}

// listenerCloses ends an association whose listener closes. If the proxy stops, Close ends it.
func (a *association) listenerCloses(why error) {
	defer share.Survive(a.server.log, "ending a session of SOAP", nil)
	if errors.Is(why, kind.ErrStopped) {
		a.leave("SourceCanceling", "the listener has closed")
	}
}

// answer is a response of the core, and what lets later messages go on.
type answer struct {
	res     *uacsta.Message
	release func()
}

// do sends a request to the core and waits for the response; nil: it has none. What the request causes is delivered after
// release has been called: an event must not overtake the response.
func (a *association) do(ctx context.Context, m *uacsta.Message) (res *uacsta.Message, release func(), err error) {
	a.mu.Lock()
	inner := a.inner
	a.mu.Unlock()
	if m.Text("sessionID") == a.id { // Stop and Reset
		m.SetText("sessionID", inner)
	}
	return a.ask(ctx, func(reply func(*uacsta.Message)) { a.session.Request(m, reply) })
}

// ask is do for what send sends.
func (a *association) ask(ctx context.Context, send func(reply func(*uacsta.Message))) (res *uacsta.Message, release func(), err error) {
	ctx, cancel := context.WithTimeout(ctx, requestTime)
	defer cancel()
	answered := make(chan answer)
	a.order.Lock()
	send(func(res *uacsta.Message) {
		got := answer{res, a.queue.hold()}
		select {
		case answered <- got:
		case <-ctx.Done(): // nobody waits any more
			got.release()
		}
	})
	a.order.Unlock()
	select {
	case got := <-answered:
		return got.res, got.release, nil
	case <-ctx.Done():
		return nil, func() {}, ctx.Err()
	}
}

// Event implements proxy.Client.
func (a *association) Event(m *uacsta.Message) {
	if m.Name() == uacsta.NameApplicationSessionTerminated {
		m = m.Clone()
		m.SetText("sessionID", a.id)
		a.put(m)
		a.leave("SourceCanceling", "the application session has ended")
		return
	}
	a.put(m)
}

// put queues a message for the client.
func (a *association) put(m *uacsta.Message) {
	edition := m.Edition()
	if edition < oldest {
		edition = oldest
	}
	m = m.Clone()
	if !m.Conform(edition) {
		a.server.log.Warn("event cannot be written over SOAP", "front", name, "identity", a.session.Identity().String(), "message", m.Name())
		return
	}
	a.queue.put(item{name: m.Name(), edition: edition, text: m.String()})
}

// Closed implements proxy.Client.
func (a *association) Closed(error) {
	a.forget(false)
	a.ended("SourceCanceling", "the proxy has closed the session")
}

// leave ends the association and its session of the core.
func (a *association) leave(status, why string) {
	if a.forget(false) {
		a.end(status, why)
	}
}

// end ends the session of the core, and what waits for events of it.
func (a *association) end(status, why string) {
	a.mu.Lock()
	session := a.session
	a.mu.Unlock()
	if session != nil { // else newAssociation closes it
		session.Close(nil)
	}
	a.ended(status, why)
}

// forget takes the association out of the tables, and reports whether it was there. One that is used stays if it must be
// unused.
func (a *association) forget(unused bool) bool {
	a.mu.Lock()
	if a.gone || unused && a.users > 0 {
		a.mu.Unlock()
		return false
	}
	a.gone = true
	if a.idle != nil {
		a.idle.Stop()
	}
	if a.detach != nil {
		a.detach()
	}
	a.mu.Unlock()
	a.remove()
	return true
}

func (a *association) remove() {
	s := a.server
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.associations, a.id)
	if s.implicit[a.key] == a {
		delete(s.implicit, a.key)
	}
	less(s.counts, a.who)
}

// countFor has the association count for another share, that of the identity that has logged in, and reports whether there
// is room.
func (a *association) countFor(who string) bool {
	s := a.server
	s.mu.Lock()
	defer s.mu.Unlock()
	if a.who == who || s.associations[a.id] != a {
		return true
	}
	if s.counts[who] >= maxOfIdentity {
		return false
	}
	less(s.counts, a.who)
	s.counts[who]++
	a.who = who
	return true
}

// less takes one out of a share.
func less(counts map[string]int, who string) {
	if counts[who]--; counts[who] <= 0 {
		delete(counts, who)
	}
}

// ended ends what waits for events of the association. Its sinks get status, unless it is "".
func (a *association) ended(status, why string) {
	a.queue.close()
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, s := range a.subscriptions {
		s.finish(status, why)
	}
}
