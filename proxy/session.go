package proxy

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/tr87proxy/tr87proxy/internal/audit"
	"github.com/tr87proxy/tr87proxy/internal/share"
	"github.com/tr87proxy/tr87proxy/policy"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

// A Client is one computing function as the core sees it. A front implements it. Package fronttest
// describes the contract in full and checks it.
type Client interface {
	// Event delivers an event, or a request of the switching function such as SystemStatus. Calls come
	// in order, one at a time. Event may block for a while; what comes meanwhile waits in the
	// session's queue.
	Event(ev *uacsta.Message)
	// Closed reports, once, that the core has closed the session and why. It is not called if the
	// front closed the session.
	Closed(reason error)
}

// Reasons why Open fails or the core closes a session.
var (
	ErrForbidden   = errors.New("this identity may not use this line")
	ErrUnknownLine = errors.New("no link serves this line")
	ErrLinkDown    = errors.New("the link of this line is down")
	ErrTooMany     = errors.New("too many sessions")
	ErrSlow        = errors.New("client too slow: its event queue is full")
)

// Opening holds the parameters of [Proxy.Open].
type Opening struct {
	Identity policy.Identity // the zero value: nobody, until it has opened an application session
	Line     string          // the device to control, as the client wrote it; "" when it names none
	Named    bool            // the line was named apart from requests, as Lync does it
	Peer     string          // for logs
	Front    string          // that the client came by: the name of its kind
	Addr     netip.Addr      // where the client is
	Names    []string        // in the client's verified certificate, the one that counts first
	Sessions SessionMode     // whether it must open an application session; Config.Modes says otherwise for its front
	NoLogin  bool            // its protocol has no application sessions: Sessions holds, whatever Config.Modes says
	Place    func() Place    // where it comes in now; nil: not known
	Reach    Reach           // what it may do, beside policy
	Plain    bool            // the client gets all numbers in their canonical form, however it writes them
	Valid    func() bool     // reports whether the front would still give the client this identity; nil: always
	Lists    bool            // the front calls Session.Listed after each list of devices
	Until    time.Time       // when the session closes, because the identification ends; the zero time: never
	Single   bool            // it is for one request, and not worth a line in the log
}

// Session is one client's use of the proxy. All methods may be called from any goroutine.
type Session struct {
	proxy  *Proxy
	id     string // for logs
	client Client
	own    policy.Identity // the identity without an application session
	who    atomic.Pointer[policy.Identity]
	line   policy.Number // zero if none was named
	named  bool
	peer   string
	front  string
	addr   netip.Addr
	names  []string
	mode   SessionMode
	reach  Reach
	plain  bool
	single bool // it is for one request
	fixed  bool // the mode holds, whatever the rules say
	place  func() Place
	since  time.Time
	still  func() bool
	until  time.Time                     // Opening.Until
	noted  atomic.Pointer[audit.Receipt] // of the session's last line in the audit file

	mu         lock
	namespace  string              // of the client's last message that named an edition, or of its application session
	tel        bool                // the client writes tel: URIs
	spelling   map[string]spelling // canonical device -> as the client writes it
	monitors   map[string]*clientMonitor
	registered *registration // for SystemStatus; nil: none
	app        *appSession   // nil: none
	busy       bool          // a password is being checked, or a link asked who is in a call: further requests are held
	held       []heldRequest
	strikes    int                       // failed logins, and requests refused for want of an application session
	login      *time.Timer               // closes a session that must open an application session and does not
	expiry     *time.Timer               // closes a session at Opening.Until; nil: never
	routers    map[string]*router        // route registrations, by the client's reference
	dialogues  map[string]*routeDialogue // by the client's cross reference
	// by the client's reference
	associations map[string]*association
	listings     int                 // device lists in transit
	listed       map[string][]string // links whose lists are complete, by the client's reference; nil: the front does not ask
	outstanding  int
	queue        []delivery
	queued       int // octets of memory of the queue
	draining     bool
	full         bool // the queue has overflowed: the session is being closed
	introduced   bool // the audit file has the line that the session was opened
	closed       bool
}

// delivery is one message in a client's queue: a response or an event.
type delivery struct {
	msg   *uacsta.Message
	reply func(*uacsta.Message) // nil for events
	after *audit.Receipt        // the audit line that must be written first
	last  error                 // closes the session after this message; nil: it stays open
	size  int                   // octets of msg in memory
}

const (
	maxSpellings = 256
	ownRoom      = 16 // times the queue of a client has a session of the proxy itself, which hears all devices
)

// Open opens a session for a client. It fails with an error that wraps ErrForbidden, ErrUnknownLine,
// ErrLinkDown or ErrTooMany, and logs and audits the refusal.
func (p *Proxy) Open(o Opening, client Client) (*Session, error) {
	s := &Session{
		mu:    lock{rank: ofSession},
		proxy: p, id: p.refs.next(), client: client, own: o.Identity, named: o.Named, peer: o.Peer, front: o.Front, addr: o.Addr, names: o.Names, mode: o.Sessions, fixed: o.NoLogin, reach: o.Reach, plain: o.Plain, single: o.Single, place: o.Place,
		since: time.Now(), still: o.Valid, until: o.Until,
		namespace: uacsta.NamespaceED3, spelling: map[string]spelling{}, monitors: map[string]*clientMonitor{},
		routers: map[string]*router{}, dialogues: map[string]*routeDialogue{}, associations: map[string]*association{},
	}
	if o.Lists {
		s.listed = map[string][]string{}
	}
	s.who.Store(&s.own)
	if err := s.admit(o.Line); err != nil {
		p.stats.Denials.Add(1)
		s.tracedState("refused", err)
		s.log(slog.LevelWarn, "session refused", o.Identity, "line", o.Line, "err", err)
		entry := s.entry("refused")
		entry.Devices, entry.Reason = texts(s.line), err.Error()
		p.stranger(share.Of(s.addr).String(), entry)
		return nil, err
	}
	p.mu.Lock()
	closed := p.closed
	bounds := p.bounds.Load()
	full := closed || !p.owners.take(s.owner(), bounds.MaxIdentity, bounds.MaxSessions)
	if !full {
		p.sessions[s] = struct{}{}
	}
	p.mu.Unlock()
	if full {
		if !closed {
			s.tooMany()
		}
		return nil, ErrTooMany
	}
	if why := s.barred(p.holding()); why != nil { // a reload came between; a later one finds the session in the table
		s.teardown(false)
		p.cfg.Log.Warn("session refused", "identity", o.Identity.String(), "peer", o.Peer, "err", why)
		return nil, ErrForbidden
	}
	s.expectLogin()
	if !o.Until.IsZero() {
		s.expire(o.Until)
	}
	p.stats.Sessions.Add(1)
	s.tracedState("opened", nil)
	s.log(slog.LevelInfo, "session opened", o.Identity, "line", o.Line)
	return s, nil
}

// admit checks the identity and the line that a session is opened for.
func (s *Session) admit(line string) error {
	p := s.proxy
	if line != "" {
		var err error
		if s.line, err = p.numbers().Parse(line, ""); err != nil {
			return fmt.Errorf("%w: %w", ErrUnknownLine, err)
		}
		if own := p.own(s.line); own == s.line {
			s.learn(s.line, spelling{id: line})
		} else {
			s.line = own
		}
	}
	if s.locked() {
		return nil // the client can only open an application session yet
	}
	if !s.known(p.policy()) {
		return fmt.Errorf("%w: no rule and no grant names it", ErrForbidden)
	}
	if line == "" {
		if s.systemStatus() == uacsta.StatusDisabled {
			return ErrLinkDown
		}
		return nil
	}
	if d := s.decide(p.policy(), s.wish(policy.Observe, s.line)); !d.Allowed {
		return fmt.Errorf("%w: %s", ErrForbidden, d.Reason)
	}
	t := p.route(s.line)
	if t == nil {
		return ErrUnknownLine
	}
	if !t.isUp() {
		return ErrLinkDown
	}
	return nil
}

// wish returns the policy request for an action of the client on a device.
func (s *Session) wish(action policy.Action, device policy.Number) policy.Request {
	return policy.Request{Who: s.Identity(), Front: s.front, Action: action, Device: device, At: time.Now()}
}

// may reports whether the client may use the action on a canonical device at all.
func (s *Session) may(action policy.Action, device policy.Number) bool {
	return s.mayBy(s.proxy.rules.Load(), action, device)
}

// mayBy is may by rules that need not hold.
func (s *Session) mayBy(r *rules, action policy.Action, device policy.Number) bool {
	return s.decide(r.policy, s.wish(action, device)).Allowed
}

// learn remembers how the client writes a device, so that the client gets it back character by
// character.
func (s *Session) learn(device policy.Number, written spelling) {
	if s.plain {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	before, known := s.spelling[device.String()]
	if written = before.after(written); known && before == written {
		return // the usual case
	}
	if known || len(s.spelling) < maxSpellings {
		s.spelling[strings.Clone(device.String())] = spelling{strings.Clone(written.id), strings.Clone(written.kind)} // the originals would keep their whole message in memory
	}
	s.tel = s.tel || strings.HasPrefix(strings.ToLower(written.id), "tel:")
}

// spelling is how a client writes a device: the identifier, and its typeOfNumber, "" for none.
type spelling struct{ id, kind string }

// after returns the spelling to keep once the client has written another: that one, unless it only leaves out the
// typeOfNumber, as many clients do in a connection.
func (w spelling) after(written spelling) spelling {
	if written.kind == "" && written.id == w.id {
		return w
	}
	return written
}

// write writes a canonical device as this client writes it. A client that gives no typeOfNumber gets that of the link. The
// caller holds s.mu.
func (s *Session) write(d uacsta.Device) {
	w, ok := s.spelling[d.ID()]
	switch {
	case ok && w.kind != "":
		d.Set(w.id, w.kind)
		return
	case !ok && s.tel:
		w.id = s.proxy.numbers().Client(d.ID())
	case !ok:
		w.id = d.ID()
	}
	id, kind := policy.Element(w.id)
	d.SetID(id)
	d.SetType(kind) // which an event that the core has made does not have
}

// Identity returns the account of the client's application session, or else the identity that its
// front gave. It changes when an application session opens or ends: do not cache it. The zero value
// means that the client is not identified.
func (s *Session) Identity() policy.Identity { return *s.who.Load() }

// Close closes the session when the client has left properly. Its monitors and registrations stop, and
// events that wait for the client are dropped; requests still get their responses. [Client.Closed] is
// not called. reason goes to the log; nil means none.
func (s *Session) Close(reason error) { s.close(reason, false) }

// Disconnected is [Session.Close] for a client whose connection failed without a goodbye. Its monitors
// stay at the links for Config.Linger, so that a client that reconnects can reuse them.
func (s *Session) Disconnected(reason error) { s.close(reason, true) }

func (s *Session) close(reason error, lost bool) {
	entry := s.entry("closed")
	if who := s.Identity(); s.teardown(lost) {
		s.noteEnd(entry, reason)
		s.tracedState("closed", reason)
		if reason == nil {
			s.log(slog.LevelInfo, "session closed", who)
			return
		}
		s.log(slog.LevelInfo, "session closed", who, "reason", reason)
	}
}

// disconnect closes the session from the core's side.
func (s *Session) disconnect(reason error) {
	entry := s.entry("closed")
	if who := s.Identity(); s.teardown(false) {
		s.noteEnd(entry, reason)
		s.tracedState("closed", reason)
		s.log(slog.LevelWarn, "session ended", who, "reason", reason)
		defer share.Survive(s.proxy.cfg.Log, "closing a session", nil)
		s.client.Closed(reason)
	}
}

// ended reports whether the session is closed.
func (s *Session) ended() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.closed
}

func (s *Session) teardown(lost bool) bool {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return false
	}
	s.closed = true
	s.dropEvents()
	s.endAppSession()
	for _, timer := range []*time.Timer{s.login, s.expiry} {
		if timer != nil {
			timer.Stop()
		}
	}
	s.mu.Unlock()
	s.proxy.mu.Lock()
	delete(s.proxy.sessions, s)
	s.proxy.mu.Unlock()
	s.proxy.owners.give(s.owner())
	s.release(lost)
	return true
}

// release stops the session's monitors and registrations; lost says that the client disconnected
// uncleanly.
func (s *Session) release(lost bool) {
	s.mu.Lock()
	monitors := make([]*clientMonitor, 0, len(s.monitors))
	for _, cm := range s.monitors {
		monitors = append(monitors, cm)
	}
	clear(s.monitors)
	s.unregister()
	s.mu.Unlock()
	s.endRouteing()
	s.endAssociations()
	for _, cm := range monitors {
		s.proxy.watches.give(cm.owner)
		cm.monitor.remove(cm, lost)
	}
}

// deliver appends a message to the client's queue. The caller has already translated it, so that the
// order is fixed here. An overflow closes the session: no event is dropped silently.
func (s *Session) deliver(d delivery) {
	if d.msg != nil {
		d.size = d.msg.Size()
	}
	bounds := s.proxy.bounds.Load()
	times := 1
	if s.reach == ReachOwn {
		times = ownRoom
	}
	s.mu.Lock()
	overflow := len(s.queue) >= times*bounds.QueueLength || len(s.queue) > 0 && s.queued+d.size > times*bounds.QueueOctets
	cut := overflow && s.cutOff()
	if d.reply == nil && (s.closed || s.full) {
		s.mu.Unlock()
		if cut {
			s.disconnectSlow()
		}
		return
	}
	s.queue = append(s.queue, d)
	s.charge(d.size)
	start := !s.draining
	s.draining = true
	owned := start && s.proxy.errands.begin()
	s.mu.Unlock()
	switch {
	case owned:
		go func() {
			defer s.proxy.errands.end()
			s.drain()
		}()
	case start: // Run has returned: the late caller delivers the response itself
		s.drain()
	}
	if cut {
		s.disconnectSlow()
	}
	if s.proxy.queued.Load() > int64(bounds.QueuesOctets) {
		s.proxy.relieve()
	}
}

// charge adds octets to the size of the queue; a negative number subtracts. The caller holds s.mu.
func (s *Session) charge(octets int) {
	s.queued += octets
	s.proxy.queued.Add(int64(octets))
}

// dropEvents removes events from the queue. The caller holds s.mu.
func (s *Session) dropEvents() {
	s.queue = slices.DeleteFunc(s.queue, func(d delivery) bool {
		if d.reply == nil {
			s.charge(-d.size)
		}
		return d.reply == nil
	})
}

// cutOff begins to close a session whose client is too slow and frees the memory of its events. It
// returns true the first time; the caller then calls disconnectSlow. The caller holds s.mu.
func (s *Session) cutOff() bool {
	if s.closed || s.full {
		return false
	}
	s.full = true
	s.dropEvents()
	return true
}

// disconnectSlow closes a session that is cut off. It does so in a goroutine, because the caller may
// hold a monitor's lock.
func (s *Session) disconnectSlow() {
	s.proxy.stats.Overflows.Add(1)
	s.proxy.spawn(func() { s.disconnect(ErrSlow) }) // if Run has ended, all sessions close anyway
}

// relieve cuts off the sessions with the longest queues until all queues together fit
// Config.QueuesOctets.
func (p *Proxy) relieve() {
	p.relief.Lock()
	defer p.relief.Unlock()
	for p.queued.Load() > int64(p.bounds.Load().QueuesOctets) {
		var largest *Session
		most := 0
		p.mu.Lock()
		for s := range p.sessions {
			s.mu.Lock()
			if !s.full && s.queued > most {
				largest, most = s, s.queued
			}
			s.mu.Unlock()
		}
		p.mu.Unlock()
		if largest == nil {
			return // only responses wait, which MaxOutstanding limits
		}
		largest.mu.Lock()
		cut := largest.cutOff()
		largest.mu.Unlock()
		if cut {
			largest.disconnectSlow()
		}
	}
}

// errands counts what Run waits for before it returns: calls of Request, and sessions that deliver.
// Run itself holds one and releases it last.
type errands struct {
	open atomic.Int64
	done chan struct{} // closed when the count reaches zero
}

// begin adds one; it returns false after Run has returned.
func (e *errands) begin() bool {
	for {
		n := e.open.Load()
		if n == 0 {
			return false
		}
		if e.open.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

func (e *errands) end() {
	if e.open.Add(-1) == 0 {
		close(e.done)
	}
}

// drain delivers until the queue is empty. It runs only that long: an idle session has no goroutine.
func (s *Session) drain() {
	for s.deliverNext() {
		continue
	}
}

// deliverNext delivers the first message of the queue and reports whether there was one. A panic of
// the front closes the session; later responses are delivered nevertheless.
func (s *Session) deliverNext() (more bool) {
	defer share.Survive(s.proxy.cfg.Log, "delivery to a client", func(err error) {
		more = true
		s.disconnect(err)
	})
	s.mu.Lock()
	if len(s.queue) == 0 {
		s.queue = nil
		s.draining = false
		s.mu.Unlock()
		return false
	}
	d := s.queue[0]
	s.queue = s.queue[1:]
	s.charge(-d.size)
	closed := s.closed
	s.mu.Unlock()
	switch {
	case d.reply != nil:
		_ = d.after.Wait() // the request was carried out even if the audit line could not be written, so the client gets the true response
		s.traced(true, d.msg)
		d.reply(d.msg)
	case !closed && d.msg != nil:
		s.traced(true, d.msg)
		s.client.Event(d.msg)
	}
	if d.last != nil {
		s.disconnect(d.last)
	}
	return true
}

// send sends the client a request of the switching function.
func (s *Session) send(message any) {
	msg := uacsta.Encode(message, uacsta.Edition3)
	s.translate(msg, "")
	s.deliver(delivery{msg: msg})
}

// uses reports whether the state of a link concerns the session.
func (s *Session) uses(t *managedLink) bool {
	if s.locked() {
		return false
	}
	if !s.line.IsZero() && s.proxy.route(s.line) == t {
		return true
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.registered != nil && s.line.IsZero() {
		return true // it registered for SystemStatus and has no line to select a link
	}
	for _, cm := range s.monitors {
		if cm.monitor.managed == t {
			return true
		}
	}
	return false
}

// texts returns the canonical forms of numbers, without zero ones.
func texts(numbers ...policy.Number) []string {
	var list []string
	for _, n := range numbers {
		if !n.IsZero() {
			list = append(list, n.String())
		}
	}
	return list
}

// owner returns what the session counts against: its identity, or the address of a client without one.
func (s *Session) owner() use {
	if s.own.Name == "" {
		return use{from: share.Of(s.addr)}
	}
	return use{who: s.own.Name}
}
