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
	wrong     share.LogLimit[guess] // wrong passwords that the log has told of
	hush      share.LogLimit[said]

	ctx   context.Context //nolint:containedctx // the life of the server, not of a call
	stop  context.CancelFunc
	group sync.WaitGroup

	users    map[string]*user // by number; it never changes
	accounts map[string]*user // by name of the account; it never changes

	// mu is never held while anybody else is called: up, packages, the user agent.
	mu       sync.Mutex
	closed   bool
	before   map[string][]Registration // that are to be restored
	watchers map[*subscription]struct{}
	places   *share.Table // of watchers
	flows    flows
}

// user is an extension with its telephones. Its bindings and flags are guarded by the server's lock.
type user struct {
	User      // without its password
	secret    atomic.Pointer[string]
	bindings  []*binding
	standing  Standing          // as the owner was told
	monitored bool              // some client monitors the extension
	watching  int               // subscriptions that it has
	sent      map[string]string // the events that telephones were sent last, by name
	tried     chan struct{}     // closed when a session has been opened, or could not be; nil: nobody waits for it

	telling sync.Mutex  // held while the owner is told the standing: one at a time
	asks    tasks.Queue // what its telephones are asked, and what they say

	// of the tasks of asks
	served *Session        // that the owner was told of
	mute   map[string]bool // the services that the telephone did not answer last time, by name
	stray  func()          // stops waiting for the late response to a MonitorStart
}

// New makes a server that tells up what its telephones do. It listens where the caller has its user agent
// listen, and serves from Start to Close.
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
		Handler: cfg.Calls, Advertise: cfg.Advertise, Log: cfg.Log, TLSClient: cfg.TLSClient, Admits: cfg.Admits, Known: cfg.Known, Lost: s.lost, StayOnFlow: true,
		Requests: map[string]func(*sip.Request){"REGISTER": s.register, "SUBSCRIBE": s.subscribe, "NOTIFY": s.outside, "INFO": s.outside},
		InDialog: []string{"REFER", "NOTIFY", "SUBSCRIBE", "PRACK"}, Supports: []string{"100rel", "replaces"},
		MaxSession: 24 * time.Hour,
	})
	return s
}

// UA returns the user agent, for listening, calls, and its counters.
func (s *Server) UA() *sip.UA { return s.ua }

// Realm returns the realm of digest, which documents name extensions in.
func (s *Server) Realm() string { return s.cfg.Realm }

// Start restores registrations, and looks after telephones until Close. It is called once, when the user
// agent listens: telephones that came by datagrams are spoken to from the ports that they know.
func (s *Server) Start() {
	s.restore()
	s.converse(time.Now())
	s.spawn(s.tick)
}

// Close closes uaCSTA sessions and the user agent; nothing of the server goes on when it returns. Later
// calls do nothing.
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

// spawn runs f on a goroutine that Close waits for; false when it is too late.
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

// queue makes a queue of tasks that Close waits for. No task is put into it with the server's lock held.
func (s *Server) queue(what string, failed func(error)) tasks.Queue {
	return tasks.Queue{Log: s.log, What: what, Start: s.spawn, Failed: failed}
}

// tick looks after registrations and subscriptions every second.
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

// look does the work of one second. A panic ends that alone.
func (s *Server) look(now time.Time) {
	defer share.Survive(s.log, "looking after registrations", nil)
	s.expire(now)
	s.expireSubscriptions(now)
	s.cfg.State.Flush()
	s.converse(now)
}

// said is a kind of line that a device makes us log.
type said struct{ device, what string }

// Report logs what a device did: of each kind one line a second for each device, with how many were left
// out.
func (s *Server) Report(level slog.Level, device, what string, args ...any) {
	s.hush.Log(s.log, level, said{device, what}, what, append([]any{"device", device}, args...)...)
}

// Monitor says whether some client monitors an extension: sessions with its telephones are opened and
// closed by it, where User.UACSTA is Monitored.
func (s *Server) Monitor(number string, monitored bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if u := s.users[number]; u != nil {
		u.monitored = monitored
	}
}

// Talks reports whether a telephone of an extension can be told to answer or to retrieve a call.
func (s *Server) Talks(number string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	u := s.users[number]
	return u != nil && u.standing.Talks
}

// ObeysTalk reports whether a telephone of an extension takes NOTIFY talk in the dialog of a call.
func (s *Server) ObeysTalk(number string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	u := s.users[number]
	return u != nil && (u.Talks || slices.ContainsFunc(u.bindings, func(b *binding) bool { return b.talks }))
}
