package registrar

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tr87proxy/tr87proxy/internal/accounts"
	"github.com/tr87proxy/tr87proxy/internal/share"
	"github.com/tr87proxy/tr87proxy/internal/tasks"
	"github.com/tr87proxy/tr87proxy/proxy"
	"github.com/tr87proxy/tr87proxy/sip"
)

// Server serves the telephones of users.
type Server struct {
	cfg       Config
	log       *slog.Logger
	up        Upcalls
	ua        *sip.UA
	digest    *sip.Digest
	guard     *accounts.Guard
	paces     share.Meter[pace]
	strangers proxy.Strangers
	wrong     share.LogLimit[guess] // limits log lines about wrong passwords
	hush      share.LogLimit[said]

	ctx   context.Context //nolint:containedctx // the life of the server, not of a call
	stop  context.CancelFunc
	group sync.WaitGroup

	users    map[string]*user // by number; the map never changes
	accounts map[string]*user // by name of the account; the map never changes

	// mu is never held during calls to up, packages and the user agent.
	mu       sync.Mutex
	closed   bool
	before   map[string][]Registration // registrations to restore
	watchers map[*subscription]struct{}
	places   *share.Table // of watchers
	flows    flows
	outsides share.Meter[string] // CSTA outside dialogs, by number
}

// user is an extension with its telephones. Its bindings and flags are guarded by the server's lock.
type user struct {
	User      // without its password
	secret    atomic.Pointer[string]
	bindings  []*binding
	standing  Standing          // last standing reported to the owner
	monitored bool              // whether a client monitors the extension
	watching  int               // number of its subscriptions
	sent      map[string]string // last events sent to telephones, by name
	tried     chan struct{}     // closed when opening a session has succeeded or failed; nil if nothing waits for it

	telling sync.Mutex  // held while the standing is reported, so that reports are in order
	asks    tasks.Queue // requests to its telephones, and their events

	// used by tasks of asks only
	served *Session        // last session reported to the owner
	mute   map[string]bool // services to which the telephone did not respond last time, by name
	stray  func()          // stops waiting for the late response to a MonitorStart
}

// New makes a server that reports to up what its telephones do. The caller opens listeners with [Server.UA]. The
// server serves from Start to Close.
func New(cfg Config, up Upcalls) *Server {
	cfg.defaults()
	ctx, stop := context.WithCancel(context.Background())
	s := &Server{
		cfg: cfg, log: cfg.Log, up: up, guard: cfg.Guard, ctx: ctx, stop: stop,
		users: map[string]*user{}, accounts: map[string]*user{}, before: cfg.Before, watchers: map[*subscription]struct{}{},
		places: share.New(share.Limits{Most: maxSubscriptions, Peer: peerSubscriptions}), flows: flows{},
		hush: share.LogLimit[said]{Most: 10000},
	}
	for _, u := range cfg.Users {
		if u.Name == "" {
			u.Name = u.Number
		}
		one := &user{User: u, standing: Standing{Talks: u.Talks}}
		one.asks = s.queue("asking a telephone", func(error) { s.hangUp(one, nil) })
		one.asks.Pressed = make(chan struct{}, 1)
		one.setPassword(u.Password)
		one.Password = ""
		s.users[u.Number], s.accounts[u.Name] = one, one
	}
	s.digest = sip.NewDigest(cfg.Realm, cfg.Digest, s.guard, func(name string) (string, bool) {
		u := s.accounts[name]
		if u == nil || u.password() == "" {
			return "", false
		}
		return u.password(), true
	})
	s.digest.Knows = s.knows
	s.ua = sip.New(sip.Config{
		Front:   "telephones",
		Handler: cfg.Calls, Advertise: cfg.Advertise, Log: cfg.Log, TLSClient: cfg.TLSClient, Admits: cfg.Admits, Known: cfg.Known, Lost: s.lost, Follows: s.follows, StayOnFlow: true,
		Requests: map[string]func(*sip.Request){"REGISTER": s.register, "SUBSCRIBE": s.subscribe, "NOTIFY": s.outside, "INFO": s.outside},
		InDialog: []string{"REFER", "NOTIFY", "SUBSCRIBE", "PRACK"}, Supports: []string{"100rel", "replaces"},
		Accepts:    []string{"application/sdp", "application/csta+xml", "application/dtmf-relay", "application/dtmf", "application/x-as-feature-event+xml", "message/sipfrag"},
		MaxSession: 24 * time.Hour, Trace: cfg.Trace,
	})
	return s
}

// UA returns the user agent, for listening, calls, and its counters.
func (s *Server) UA() *sip.UA { return s.ua }

// Realm returns the realm of digest, in which documents name extensions.
func (s *Server) Realm() string { return s.cfg.Realm }

// Start restores registrations, and supervises telephones until Close. Call it once, after opening listeners, so
// that telephones that came over UDP are contacted from the ports that they know.
func (s *Server) Start() {
	s.restore()
	s.converse(time.Now())
	s.spawn(s.tick)
}

// Close closes uaCSTA sessions and the user agent, and waits for all goroutines of the server. Calling it again does
// nothing.
func (s *Server) Close() {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return
	}
	s.closed = true
	all := map[*user][]*binding{}
	for _, u := range s.users {
		all[u], u.bindings = u.bindings, nil
	}
	s.mu.Unlock()
	for u, bindings := range all {
		s.left(u, bindings)
	}
	s.stop()
	s.ua.Close()
	s.group.Wait()
}

// spawn runs f on a goroutine that Close waits for. It returns false if the server is closing.
func (s *Server) spawn(f func()) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed {
		s.group.Go(func() {
			defer share.Survive(s.log, "work for telephones", nil)
			f()
		})
	}
	return !s.closed
}

// queue makes a queue of tasks that Close waits for. Do not add tasks while holding the server's lock.
func (s *Server) queue(what string, failed func(error)) tasks.Queue {
	return tasks.Queue{Log: s.log, What: what, Start: s.spawn, Failed: failed}
}

// tick maintains registrations and subscriptions every second.
func (s *Server) tick() {
	every := time.NewTicker(time.Second)
	defer every.Stop()
	next := time.Now().Add(s.cfg.Qualify)
	for {
		select {
		case <-s.ctx.Done():
			return
		case now := <-every.C:
			s.look(now)
			if s.cfg.Qualify > 0 && now.After(next) {
				next = now.Add(s.cfg.Qualify)
				s.qualify()
			}
		}
	}
}

// look does the work of tick once. It recovers from a panic.
func (s *Server) look(now time.Time) {
	defer share.Survive(s.log, "looking after registrations", nil)
	s.expire(now)
	s.expireSubscriptions(now)
	s.cfg.State.Flush()
	s.converse(now)
}

// said identifies the log lines of one kind about one device.
type said struct{ device, what string }

// Report logs what a device did. It logs at most one line of each kind per second and device, with the number of
// suppressed lines.
func (s *Server) Report(level slog.Level, device, what string, args ...any) {
	s.hush.Log(s.log, level, said{device, what}, what, append([]any{"device", device}, args...)...)
}

// Monitor sets whether a client monitors an extension. If User.UACSTA is Monitored, that opens and closes sessions
// with its telephones.
func (s *Server) Monitor(number string, monitored bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if u := s.users[number]; u != nil {
		u.monitored = monitored
	}
}

// Talks reports whether a telephone of an extension can be commanded to answer or retrieve a call.
func (s *Server) Talks(number string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	u := s.users[number]
	return u != nil && u.standing.Talks
}

// ObeysTalk reports whether a telephone of an extension obeys NOTIFY talk in the dialog of a call.
func (s *Server) ObeysTalk(number string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	u := s.users[number]
	return u != nil && (u.Talks || slices.ContainsFunc(u.bindings, func(b *binding) bool { return b.talks }))
}
