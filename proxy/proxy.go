package proxy

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tr87proxy/tr87proxy/internal/audit"
	"github.com/tr87proxy/tr87proxy/internal/share"
	"github.com/tr87proxy/tr87proxy/internal/trace"
	"github.com/tr87proxy/tr87proxy/policy"
)

// Config configures a [Proxy]. Zero limits and durations take the defaults given here.
type Config struct {
	Policy  *policy.Policy
	Numbers *policy.Numbers
	Log     *slog.Logger

	Audit    *audit.Log   // nil: nothing is written down
	Tally    *audit.Tally // of those who have not said who they are; nil: nothing is written down
	Accounts Accounts     // nil: no application session is authenticated
	Trace    *trace.Trace // nil: none

	Secrets map[string]Secret      // of digest users, by identity; nil: their passwords do not change
	Modes   map[string]SessionMode // whether clients open application sessions, by front; one that is missing says it itself

	Limits // as the proxy starts; [Proxy.Change] changes them

	BackOff   time.Duration // first pause before a lost link is tried again; 500 ms
	MaxAtLink int           // requests that one link has to answer at a time; 256. Others wait for their turn
	Turn      time.Duration // that a client's request waits for its turn; 5 s
	Pace      int           // questions in a second that the core asks a link of itself, after it came back; 1000
	Retry     time.Duration // first pause before a monitor that a link did not take again is tried; 1 s
}

// Limits are the bounds and times that can change while the proxy runs. What is above a lower bound stays until
// it ends by itself; nothing more is added to it. Zero values take defaults.
type Limits struct {
	Sessions ApplicationSessions // what application sessions are granted

	MaxSessions    int           // open sessions of all clients; 20000
	MaxIdentity    int           // open sessions of one identity; 2000
	MaxRequests    policy.Rate   // requests of one identity; 5000 in a second
	MaxWatches     int           // monitors of one identity; 20000
	MaxCalls       policy.Rate   // that one identity makes; 3000 in a minute
	MaxMonitors    int           // of one session; 500
	MaxOutstanding int           // requests of one session; 64
	QueueLength    int           // messages waiting for one client; 1024
	QueueOctets    int           // that these take in memory; 4 MiB
	QueuesOctets   int           // that the messages waiting for all clients take; 256 MiB
	Linger         time.Duration // how long a monitor is kept after its last client disconnects uncleanly, so that a reconnecting client can reuse it; 0
	Heartbeat      time.Duration // between two SystemStatus to clients that registered for it; 1 min
}

func (l *Limits) setDefaults() {
	def := func(p *int, n int) {
		if *p == 0 {
			*p = n
		}
	}
	def(&l.MaxSessions, 20000)
	def(&l.MaxMonitors, 500)
	def(&l.MaxIdentity, 2000)
	def(&l.MaxWatches, 20000)
	if l.MaxRequests.Count == 0 {
		l.MaxRequests = policy.Rate{Count: 5000, Per: time.Second}
	}
	if l.MaxCalls.Count == 0 {
		l.MaxCalls = policy.Rate{Count: 3000, Per: time.Minute}
	}
	def(&l.MaxOutstanding, 64)
	def(&l.QueueLength, 1024)
	def(&l.QueueOctets, 4<<20)
	def(&l.QueuesOctets, 256<<20)
	if l.Heartbeat == 0 {
		l.Heartbeat = time.Minute
	}
	l.Sessions.setDefaults()
}

// Stats holds counters for metrics. They only grow.
type Stats struct {
	Sessions, Requests, Refusals, Denials, TurnsRefused, Events, Overflows, StrayEvents atomic.Int64
}

// Proxy is the core. [New] makes one; [Proxy.AddLink] or [Proxy.SetLinks] adds links, [Proxy.Run] runs
// them, and fronts call [Proxy.Open].
type Proxy struct {
	cfg     Config // its Limits are those of the start: see bounds
	stats   Stats
	meter   policy.Meter[use] // for the rates of rules and of identities
	watches tally[string]     // monitors, by the identity's name
	owners  tally[use]        // sessions, by identity or, without one, by peer
	apps    tally[string]     // application sessions, by the account's name

	refs *references // for the references that clients see

	strangers Strangers              // limits log lines about refused connections
	nobodies  share.LogLimit[nobody] // limits log lines about unidentified sessions
	limits    share.LogLimit[limited]
	rules     atomic.Pointer[rules]
	bounds    atomic.Pointer[Limits] // that hold now

	ctx        context.Context //nolint:containedctx // ends with the proxy
	stop       context.CancelFunc
	background sync.WaitGroup // goroutines of spawn
	errands    errands

	links       atomic.Pointer[[]*managedLink] // in the order in which they are asked for a device
	supervisors sync.WaitGroup
	running     context.Context //nolint:containedctx // of the links; nil before and after; guarded by mu

	queued atomic.Int64 // octets in all queues
	relief lock         // serialises relieve

	mu       lock
	sessions map[*Session]struct{}
	closed   bool
}

func (p *Proxy) policy() *policy.Policy   { return p.rules.Load().policy }
func (p *Proxy) numbers() *policy.Numbers { return p.rules.Load().numbers }

// New makes a core without links. Run starts it.
func New(cfg Config) *Proxy {
	def := func(p *int, n int) {
		if *p == 0 {
			*p = n
		}
	}
	def(&cfg.MaxAtLink, 256)
	def(&cfg.Pace, 1000)
	if cfg.BackOff == 0 {
		cfg.BackOff = 500 * time.Millisecond
	}
	if cfg.Turn == 0 {
		cfg.Turn = 5 * time.Second
	}
	if cfg.Retry == 0 {
		cfg.Retry = time.Second
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	cfg.setDefaults()
	p := &Proxy{mu: lock{rank: ofProxy}, relief: lock{rank: ofRelief}, cfg: cfg, refs: newReferences(), sessions: map[*Session]struct{}{}}
	p.errands.done = make(chan struct{})
	p.errands.open.Store(1) // Run's own
	p.ctx, p.stop = context.WithCancel(context.Background())
	p.rules.Store(&rules{policy: cfg.Policy, numbers: cfg.Numbers, secrets: cfg.Secrets, modes: cfg.Modes})
	p.bounds.Store(&cfg.Limits)
	cfg.Trace.Aliases(p.otherCallID)
	return p
}

// spawn runs f in a goroutine that Run waits for. It returns false if Run has already closed the
// proxy.
func (p *Proxy) spawn(f func()) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return false
	}
	p.background.Go(f)
	return true
}

// NamedLink is a link, its name in logs and status, and its devices.
type NamedLink struct {
	Name    string
	Link    Link // nil in SetLinks: keep the one that runs under this name
	Devices func(device string) bool
	Numbers Translation // between canonical numbers and those of the link
}

// AddLink adds a link for the devices that the function accepts. Of several links, the first that
// accepts a device gets it.
func (p *Proxy) AddLink(name string, link Link, devices func(device string) bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.put(append(slices.Clone(p.list()), p.launch(NamedLink{Name: name, Link: link, Devices: devices})))
}

func (p *Proxy) list() []*managedLink {
	if l := p.links.Load(); l != nil {
		return *l
	}
	return nil
}

func (p *Proxy) put(links []*managedLink) { p.links.Store(&links) }

// launch makes a managedLink and runs it if the proxy runs. The caller holds p.mu.
func (p *Proxy) launch(l NamedLink) *managedLink {
	t := &managedLink{
		mu: lock{rank: ofManaged}, condition: condition{publishing: lock{rank: ofPublishing}},
		proxy: p, name: l.Name, link: l.Link, monitors: map[string]*monitor{}, routers: map[*router]struct{}{},
		log: share.Quiet(p.cfg.Log.With("link", l.Name)), memory: budget{most: linkMemory}, pictures: budget{most: linkPictures}, resyncSlots: make(chan struct{}, maxResyncs),
		ready: make(chan struct{}),
	}
	t.calls = newCalls(p.refs, t.static)
	t.life = endedLife(t)
	t.devices.Store(&l.Devices)
	t.numbers.Store(&l.Numbers)
	if p.running != nil {
		t.run(p.running)
	}
	return t
}

// SetLinks replaces the links. They are asked for a device in the given order. Links that are not
// named stop; the monitors, registrations and associations that clients have there end, and the
// clients are notified. At the links that stay, the same happens to devices that now belong to another
// link.
func (p *Proxy) SetLinks(links []NamedLink) {
	p.mu.Lock()
	old := p.list()
	var now, gone []*managedLink
	for _, l := range links {
		t := stays(old, l)
		if t == nil {
			now = append(now, p.launch(l))
			continue
		}
		t.devices.Store(&l.Devices)
		t.numbers.Store(&l.Numbers)
		now = append(now, t)
	}
	for _, t := range old {
		if !slices.Contains(now, t) {
			gone = append(gone, t)
		}
	}
	p.put(now)
	p.mu.Unlock()
	for _, t := range gone {
		t.stop()
		t.stopMonitors(func(*monitor) bool { return true })
		t.cancelRouters(func(*router) bool { return true })
	}
	for _, t := range now {
		t.stopMonitors(func(m *monitor) bool { return p.route(m.device) != t })
		t.cancelRouters(func(r *router) bool { return r.session.moved(t, r.device) })
		t.endMoved()
	}
}

// Await waits until the link has come up for the first time. It returns ctx.Err() if ctx ends first.
func (p *Proxy) Await(ctx context.Context, link string) error {
	for _, t := range p.list() {
		if t.name == link {
			select {
			case <-t.ready:
			case <-ctx.Done():
			}
		}
	}
	return ctx.Err()
}

// Run runs the links until ctx ends, then closes every session. After it has returned, the proxy calls
// no client, and refuses requests.
func (p *Proxy) Run(ctx context.Context) {
	p.mu.Lock()
	p.running = ctx
	for _, t := range p.list() {
		t.run(ctx)
	}
	p.mu.Unlock()
	<-ctx.Done()
	p.mu.Lock()
	p.running = nil
	p.mu.Unlock()
	p.supervisors.Wait()
	p.stop()
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	for _, s := range p.sessionList() {
		s.disconnect(errors.New("shutting down"))
	}
	p.background.Wait()
	p.errands.end()
	<-p.errands.done
}

// sessionList returns the open sessions.
func (p *Proxy) sessionList() []*Session {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Collect(maps.Keys(p.sessions))
}

// SetAudit sets the audit file and the tally of unidentified peers; see Config. Call it before Run.
func (p *Proxy) SetAudit(log *audit.Log, strangers *audit.Tally) {
	p.cfg.Audit, p.cfg.Tally = log, strangers
}

// Stats returns the counters.
func (p *Proxy) Stats() *Stats { return &p.stats }

// route returns the link of a device, or nil.
func (p *Proxy) route(device policy.Number) *managedLink {
	for _, t := range p.list() {
		if t.has(device.String()) {
			return t
		}
	}
	return nil
}
