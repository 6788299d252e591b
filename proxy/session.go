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

// A Client is one computing function, as the core sees it: what its front must be
// able to do. Package fronttest has the whole contract, and checks it.
type Client interface {
	// Event delivers an event, or a request of the switching function such as
	// SystemStatus: in order, one at a time. It may block for a while; what comes
	// meanwhile waits in the session's queue.
	Event(ev *uacsta.Message)
	// Closed says that the session is over, once, unless the front closed it.
	Closed(reason error)
}

// Why a session is not opened or is ended by the core.
var (
	ErrForbidden   = errors.New("this identity may not use this line")
	ErrUnknownLine = errors.New("no link serves this line")
	ErrLinkDown    = errors.New("the link of this line is down")
	ErrTooMany     = errors.New("too many sessions")
	ErrSlow        = errors.New("the client does not take its events: its queue is full")
)

// Opening says what a session is opened with.
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
	Still    func() bool     // whether the front would take it for the same still; nil: always
}

// Session is one client's use of the proxy.
type Session struct {
	proxy  *Proxy
	id     string // for logs
	client Client
	own    policy.Identity // who it is without application session
	who    atomic.Pointer[policy.Identity]
	line   policy.Number // zero when none was named
	named  bool
	peer   string
	front  string
	addr   netip.Addr
	names  []string
	mode   SessionMode
	fixed  bool // the mode holds, whatever the rules say
	place  func() Place
	since  time.Time
	still  func() bool
	noted  atomic.Pointer[audit.Receipt] // of the last line about it in the audit file

	mu         lock
	namespace  string            // of the client's last message
	tel        bool              // the client writes tel: URIs
	spelling   map[string]string // canonical device -> as the client wrote it
	monitors   map[string]*clientMonitor
	registered *registration // for SystemStatus
	app        *appSession   // nil while there is none
	busy       bool          // a password is looked at, or a link asked who is in a call: what comes meanwhile is held
	held       []heldRequest
	strikes    int                       // logins and requests refused for want of an application session
	login      *time.Timer               // ends who has to open one and does not
	routers    map[string]*router        // registrations for routeing, by the client's reference
	dialogues  map[string]*routeDialogue // by the client's cross reference
	// by the client's reference
	associations map[string]*association
	listings     int // device lists that are on their way
	outstanding  int
	queue        []delivery
	queued       int // octets of what waits in it
	draining     bool
	full         bool // it has been: the session ends
	introduced   bool // the audit file has that it was opened
	closed       bool
}

// delivery is one message on its way to the client: an answer, or an event.
type delivery struct {
	msg   *uacsta.Message
	reply func(*uacsta.Message) // nil for events
	after *audit.Receipt        // what it waits for
	last  error                 // why the session ends after it; nil: it goes on
	size  int                   // octets of msg
}

const maxSpellings = 256

// Open begins a session. The errors are the Err values above.
func (p *Proxy) Open(o Opening, client Client) (*Session, error) {
	s := &Session{
		mu:    lock{rank: ofSession},
		proxy: p, id: p.refs.next(), client: client, own: o.Identity, named: o.Named, peer: o.Peer, front: o.Front, addr: o.Addr, names: o.Names, mode: o.Sessions, fixed: o.NoLogin, place: o.Place,
		since: time.Now(), still: o.Still,
		namespace: uacsta.NamespaceED3, spelling: map[string]string{}, monitors: map[string]*clientMonitor{},
		routers: map[string]*router{}, dialogues: map[string]*routeDialogue{}, associations: map[string]*association{},
	}
	s.who.Store(&s.own)
	if err := s.admit(o.Line); err != nil {
		p.stats.Denials.Add(1)
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
	if s.still != nil && !s.still() { // a reload came between: whoever comes later finds the session in the table
		s.finish(false)
		p.cfg.Log.Warn("session refused", "identity", o.Identity.String(), "peer", o.Peer, "err", errRights)
		return nil, ErrForbidden
	}
	s.expectLogin()
	p.stats.Sessions.Add(1)
	s.log(slog.LevelInfo, "session opened", o.Identity, "line", o.Line)
	return s, nil
}

// admit checks the line a session is opened for.
func (s *Session) admit(line string) error {
	p := s.proxy
	if line != "" {
		var err error
		if s.line, err = p.numbers().Parse(line, ""); err != nil {
			return fmt.Errorf("%w: %w", ErrUnknownLine, err)
		}
		s.learn(s.line, line)
	}
	if s.locked() {
		return nil // it may do nothing yet but open an application session
	}
	if !p.policy().Known(s.Identity()) {
		return ErrForbidden
	}
	if line == "" {
		if s.systemStatus() == uacsta.StatusDisabled {
			return ErrLinkDown
		}
		return nil
	}
	if d := p.policy().Decide(s.wish(policy.Observe, s.line)); !d.Allowed {
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

// wish is what the client wants to do with a device, for policy.
func (s *Session) wish(action policy.Action, device policy.Number) policy.Ask {
	return policy.Ask{Who: s.Identity(), Front: s.front, Action: action, Device: device, At: time.Now()}
}

// may reports whether the client may do anything of the kind with a canonical device.
func (s *Session) may(action policy.Action, device policy.Number) bool {
	return s.mayBy(s.proxy.rules.Load(), action, device)
}

// mayBy is may by rules that need not hold.
func (s *Session) mayBy(r *rules, action policy.Action, device policy.Number) bool {
	return r.policy.Decide(s.wish(action, device)).Allowed
}

// learn remembers how the client writes a device of its own: it gets it back character by
// character.
func (s *Session) learn(device policy.Number, written string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	before, known := s.spelling[device.String()]
	if known && before == written {
		return // as mostly
	}
	if known || len(s.spelling) < maxSpellings {
		s.spelling[strings.Clone(device.String())] = strings.Clone(written) // not the whole message
	}
	s.tel = s.tel || strings.HasPrefix(strings.ToLower(written), "tel:")
}

// written returns a canonical device as this client shall see it.
func (s *Session) written(device string) string {
	if w, ok := s.spelling[device]; ok {
		return w
	}
	if s.tel {
		return s.proxy.numbers().Client(device)
	}
	return device
}

// Identity returns who the client is: the account of its application session, or else
// who its front found it to be. The zero value is nobody.
func (s *Session) Identity() policy.Identity { return *s.who.Load() }

// Close ends the session from the front's side: its monitors go, events that wait
// for the client are dropped, requests are still answered. Closed is not called.
func (s *Session) Close(reason error) { s.close(reason, false) }

// Lose is Close for a client that has not taken leave: it may be back in a moment.
func (s *Session) Lose(reason error) { s.close(reason, true) }

func (s *Session) close(reason error, lost bool) {
	entry := s.entry("closed")
	if who := s.Identity(); s.finish(lost) {
		s.noteEnd(entry, reason)
		s.log(slog.LevelInfo, "session closed", who, "reason", reason)
	}
}

// end ends the session from the core's side.
func (s *Session) end(reason error) {
	entry := s.entry("closed")
	if who := s.Identity(); s.finish(false) {
		s.noteEnd(entry, reason)
		s.log(slog.LevelWarn, "session ended", who, "reason", reason)
		defer share.Survive(s.proxy.cfg.Log, "the end of a session", nil)
		s.client.Closed(reason)
	}
}

// ended reports whether the session is over.
func (s *Session) ended() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.closed
}

func (s *Session) finish(lost bool) bool {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return false
	}
	s.closed = true
	s.dropEvents()
	s.endAppSession()
	if s.login != nil {
		s.login.Stop()
	}
	s.mu.Unlock()
	s.proxy.mu.Lock()
	delete(s.proxy.sessions, s)
	s.proxy.mu.Unlock()
	s.proxy.owners.give(s.owner())
	s.release(lost)
	return true
}

// release ends the session's monitors and registrations; lost is whether the client has not
// taken leave.
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

// deliver puts a message into the client's queue; translate makes it the client's
// own while the order is fixed. An overflow ends the session: no event is dropped
// silently.
func (s *Session) deliver(d delivery) {
	if d.msg != nil {
		d.size = d.msg.Size()
	}
	bounds := s.proxy.bounds.Load()
	s.mu.Lock()
	overflow := len(s.queue) >= bounds.QueueLength || len(s.queue) > 0 && s.queued+d.size > bounds.QueueOctets
	cut := overflow && s.cutOff()
	if d.reply == nil && (s.closed || s.full) {
		s.mu.Unlock()
		if cut {
			s.endSlow()
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
	case start: // Run has returned: whoever answers so late passes it on
		s.drain()
	}
	if cut {
		s.endSlow()
	}
	if s.proxy.queued.Load() > int64(bounds.QueuesOctets) {
		s.proxy.relieve()
	}
}

// charge counts octets that wait for the client, or, below 0, wait no more; s.mu is held.
func (s *Session) charge(octets int) {
	s.queued += octets
	s.proxy.queued.Add(int64(octets))
}

// dropEvents takes events out of the queue; s.mu is held.
func (s *Session) dropEvents() {
	s.queue = slices.DeleteFunc(s.queue, func(d delivery) bool {
		if d.reply == nil {
			s.charge(-d.size)
		}
		return d.reply == nil
	})
}

// cutOff begins to end a session whose client does not take its events, and reports whether it had
// not begun before: endSlow must follow. What waits gives its room back at once. s.mu is held.
func (s *Session) cutOff() bool {
	if s.closed || s.full {
		return false
	}
	s.full = true
	s.dropEvents()
	return true
}

// endSlow ends a session that is cut off; not at once, for the caller may hold a monitor's lock.
func (s *Session) endSlow() {
	s.proxy.stats.Overflows.Add(1)
	s.proxy.spawn(func() { s.end(ErrSlow) }) // where it is too late, all sessions end
}

// relieve cuts off sessions until what waits for all of them fits, those first for which most
// waits.
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
			return // only answers wait, which the limit of outstanding requests bounds
		}
		largest.mu.Lock()
		cut := largest.cutOff()
		largest.mu.Unlock()
		if cut {
			largest.endSlow()
		}
	}
}

// errands counts what Run waits for before it returns: calls of Request, and sessions that deliver.
// Run has one of its own, which it ends last.
type errands struct {
	open atomic.Int64
	done chan struct{} // closed when none is open
}

// begin begins an errand; false when Run has returned.
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

// drain delivers until the queue is empty. It lives only that long: an idle
// session has no goroutine.
func (s *Session) drain() {
	for s.deliverNext() {
		continue
	}
}

// deliverNext gives the client the first of what waits, and reports whether there was something. A
// panic of the front ends the session; the replies that wait are called nevertheless.
func (s *Session) deliverNext() (more bool) {
	defer share.Survive(s.proxy.cfg.Log, "a message to a client", func(err error) {
		more = true
		s.end(err)
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
		_ = d.after.Wait() // what cannot be written has happened nevertheless: the client is told the truth
		d.reply(d.msg)
	case !closed && d.msg != nil:
		s.client.Event(d.msg)
	}
	if d.last != nil {
		s.end(d.last)
	}
	return true
}

// send gives the client a request of the switching function.
func (s *Session) send(message any) {
	msg := uacsta.Encode(message, uacsta.Edition3)
	s.translate(msg, "")
	s.deliver(delivery{msg: msg})
}

// uses reports whether a link concerns the session.
func (s *Session) uses(t *trunk) bool {
	if s.locked() {
		return false
	}
	if !s.line.IsZero() && s.proxy.route(s.line) == t {
		return true
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.registered != nil && s.line.IsZero() {
		return true // it asked to be told, and names no line that would say of which link
	}
	for _, cm := range s.monitors {
		if cm.monitor.trunk == t {
			return true
		}
	}
	return false
}

// texts returns numbers as they are written down.
func texts(numbers ...policy.Number) []string {
	var list []string
	for _, n := range numbers {
		if !n.IsZero() {
			list = append(list, n.String())
		}
	}
	return list
}

// owner is whom the session is counted for: its identity, or, of who has none yet, the
// address.
func (s *Session) owner() use {
	if s.own.Name == "" {
		return use{from: share.Of(s.addr)}
	}
	return use{who: s.own.Name}
}
