package proxy

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tr87proxy/tr87proxy/policy"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

// Config says how the core behaves. Zero limits take defaults.
type Config struct {
	Policy  *policy.Policy
	Numbers *policy.Numbers
	Log     *slog.Logger

	Accounts Accounts            // nil: no application session is authenticated
	Sessions ApplicationSessions // what they are granted

	MaxSessions    int           // 20000
	MaxMonitors    int           // of one session; 500
	MaxOutstanding int           // requests of one session; 64
	QueueLength    int           // messages waiting for one client; 1024
	Heartbeat      time.Duration // SystemStatus to who registered for it; 1 min
	BackOff        time.Duration // first pause before a lost link is tried again; 500 ms
	Retry          time.Duration // first pause before a monitor that a link did not take again is tried; 1 s
}

// Stats counts what the core does, for metrics.
type Stats struct {
	Sessions, Requests, Refusals, Denials, Events, Overflows, StrayEvents atomic.Int64
}

// Proxy is the core.
type Proxy struct {
	cfg   Config
	stats Stats
	rules atomic.Pointer[rules]

	ctx        context.Context //nolint:containedctx // ends with the proxy
	stop       context.CancelFunc
	background sync.WaitGroup // monitors that catch up, passwords that are looked at

	mu       sync.Mutex
	trunks   []*trunk
	sessions map[*Session]struct{}
	apps     map[string]int // application sessions, by the account's name
	closed   bool
}

// rules is what can change while the proxy runs.
type rules struct {
	policy  *policy.Policy
	numbers *policy.Numbers
}

func (p *Proxy) policy() *policy.Policy   { return p.rules.Load().policy }
func (p *Proxy) numbers() *policy.Numbers { return p.rules.Load().numbers }

// New makes a core without links.
func New(cfg Config) *Proxy {
	def := func(p *int, n int) {
		if *p == 0 {
			*p = n
		}
	}
	def(&cfg.MaxSessions, 20000)
	def(&cfg.MaxMonitors, 500)
	def(&cfg.MaxOutstanding, 64)
	def(&cfg.QueueLength, 1024)
	if cfg.Heartbeat == 0 {
		cfg.Heartbeat = time.Minute
	}
	if cfg.BackOff == 0 {
		cfg.BackOff = 500 * time.Millisecond
	}
	if cfg.Retry == 0 {
		cfg.Retry = time.Second
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	cfg.Sessions.setDefaults()
	p := &Proxy{cfg: cfg, sessions: map[*Session]struct{}{}, apps: map[string]int{}}
	p.ctx, p.stop = context.WithCancel(context.Background())
	p.rules.Store(&rules{cfg.Policy, cfg.Numbers})
	return p
}

// spawn runs f on a goroutine that Run waits for; false when it is too late.
func (p *Proxy) spawn(f func()) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return false
	}
	p.background.Go(f)
	return true
}

// AddLink registers a link for the devices that the function accepts; of several
// the first that accepts a device gets it. Call it before Run.
func (p *Proxy) AddLink(name string, link Link, devices func(device string) bool) {
	p.trunks = append(p.trunks, &trunk{
		proxy: p, name: name, link: link, devices: devices,
		monitors: map[string]*monitor{}, byRef: map[string]*monitor{}, lists: map[string]*listing{},
		routers: map[string]*router{}, dialogues: map[string]*routeDialogue{}, associations: map[string]*association{}, ready: make(chan struct{}),
	})
}

// Await waits until a link has been up, or ctx ends.
func (p *Proxy) Await(ctx context.Context, link string) error {
	for _, t := range p.trunks {
		if t.name == link {
			select {
			case <-t.ready:
			case <-ctx.Done():
			}
		}
	}
	return ctx.Err()
}

// Run keeps the links running until ctx ends, then closes every session.
func (p *Proxy) Run(ctx context.Context) {
	var group sync.WaitGroup
	for _, t := range p.trunks {
		group.Go(func() { t.supervise(ctx) })
	}
	group.Wait()
	p.stop()
	p.mu.Lock()
	p.closed = true
	sessions := make([]*Session, 0, len(p.sessions))
	for s := range p.sessions {
		sessions = append(sessions, s)
	}
	p.mu.Unlock()
	for _, s := range sessions {
		s.end(errors.New("shutting down"))
	}
	p.background.Wait()
}

// Stats returns the counters.
func (p *Proxy) Stats() *Stats { return &p.stats }

// Status is the state of the core, for metrics and readiness.
type Status struct {
	Sessions, Monitors int
	Links              map[string]bool // by name: up or not
}

// Status returns the state of the core.
func (p *Proxy) Status() Status {
	p.mu.Lock()
	defer p.mu.Unlock()
	st := Status{Sessions: len(p.sessions), Links: map[string]bool{}}
	for _, t := range p.trunks {
		st.Links[t.name] = t.up
		st.Monitors += len(t.monitors)
	}
	return st
}

// route finds the link of a canonical device.
func (p *Proxy) route(device string) *trunk {
	for _, t := range p.trunks {
		if t.devices(device) {
			return t
		}
	}
	return nil
}

// tellStatus sends SystemStatus to the sessions that a link concerns.
func (p *Proxy) tellStatus(t *trunk, status uacsta.SystemStatusValue) {
	p.mu.Lock()
	var concerned []*Session
	for s := range p.sessions {
		if s.uses(t) {
			concerned = append(concerned, s)
		}
	}
	p.mu.Unlock()
	for _, s := range concerned {
		s.status(status)
	}
}
