package events

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tr87proxy/tr87proxy/internal/eventlog"
	"github.com/tr87proxy/tr87proxy/internal/share"
	"github.com/tr87proxy/tr87proxy/policy"
	"github.com/tr87proxy/tr87proxy/proxy"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

// Config configures a [Recorder].
type Config struct {
	Proxy   *proxy.Proxy
	Log     *slog.Logger
	Events  *eventlog.Log
	Front   string        // of the recorder's session
	Devices []string      // patterns of the devices that are always watched
	Age     time.Duration // how long a device is watched after nobody wants it any more; 24 h
}

// Recorder monitors devices and keeps their events. [New] makes one.
type Recorder struct {
	cfg  Config
	log  *slog.Logger
	box  mailbox
	hub  hub
	over chan struct{} // closed when Run returns

	turns  turns
	roster roster
	begun  share.Meter[string] // streams, by client

	watched atomic.Int64  // devices, for the status
	steps   atomic.Uint64 // pieces of the log that subscriptions have read

	// The rest belongs to the goroutine of Run.
	session  *proxy.Session // nil: not open
	epoch    int            // counts the sessions
	asked    asked
	watches  map[string]*watch // by device
	refs     map[string]*watch // by cross reference
	patterns map[string]*pattern
	fresh    bool                      // some of them are new
	shares   map[string]map[string]int // those that clients want, by client and pattern: how often
	listed   map[string]bool           // devices that the links have, if there are patterns
	listing  bool                      // the links are being asked
	sieve    sieve
	ctx      context.Context     //nolint:containedctx // of Run
	group    sync.WaitGroup      // its goroutines
	large    share.Meter[string] // octets of CSTA that are recorded, by device
	segments map[string]func(*uacsta.Message)
	links    map[string]proxy.LinkStatus
	rights   proxy.Rights // of the session: they change with the rules
	looks    *time.Ticker
	every    time.Duration // its interval
	kept     keeper
	keptAt   time.Time // when it last got what to write
	unkept   bool      // it gets more soon
	broken   bool      // the session was closed: a gap is to be told
}

// identity is the recorder's in logs and statistics. No account and no certificate has this name.
var identity = policy.Identity{Name: "proxy: events", How: "proxy"}

// New returns a recorder. Run makes it work.
func New(cfg Config) *Recorder {
	if cfg.Age <= 0 {
		cfg.Age = 24 * time.Hour
	}
	r := &Recorder{
		cfg: cfg, log: share.Quiet(cfg.Log), over: make(chan struct{}),
		watches: map[string]*watch{}, refs: map[string]*watch{}, patterns: map[string]*pattern{}, shares: map[string]map[string]int{}, segments: map[string]func(*uacsta.Message){},
	}
	r.box.wake, r.kept.dirty = make(chan struct{}, 1), make(chan struct{}, 1)
	r.turns.of = map[string][]*Subscription{}
	r.roster.numbers = map[string]int{}
	r.hub.init(cfg.Events, &r.roster)
	return r
}

// Intervals of Run.
const (
	lookInterval  = time.Second           // between looks at the links
	soonInterval  = 20 * time.Millisecond // the same while no link is up for what is to be watched
	listInterval  = 5 * time.Minute       // between two lists of the links' devices
	idleInterval  = time.Minute           // between looks for devices that nobody wants any more
	firstRetry    = time.Second
	longestRetry  = time.Minute
	gatheringTime = 15 * time.Second // that the segments of a list or snapshot may take
)

// Run records until ctx ends. It is called once, before or after [proxy.Proxy.Run].
func (r *Recorder) Run(ctx context.Context) {
	defer close(r.over)
	defer r.box.close()
	defer func() {
		r.group.Wait()
		r.guard("keeping the list of recorded devices", r.keepNow)
		r.kept.write(r.cfg.Events, r.log)
	}()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	r.ctx = ctx
	r.group.Go(func() { r.hub.run(ctx, r.log) })
	r.group.Go(func() { r.kept.run(ctx, r.cfg.Events, r.log) })
	r.guard("beginning", r.restore)
	list, idle := time.NewTicker(listInterval), time.NewTicker(idleInterval)
	r.looks, r.every = time.NewTicker(lookInterval), lookInterval
	defer r.looks.Stop()
	defer list.Stop()
	defer idle.Stop()
	r.guard("links", r.look)
	for {
		select {
		case <-ctx.Done():
			if r.session != nil {
				r.session.Close(nil)
			}
			return
		case <-r.box.wake:
			r.work()
		case <-r.looks.C:
			r.guard("links", r.look)
		case <-list.C:
			r.guard("list", r.list)
		case <-idle.C:
			r.guard("expiry", r.expire)
		}
	}
}

// guard carries out a piece of work. After a panic the session begins anew.
func (r *Recorder) guard(what string, work func()) {
	defer share.Survive(r.cfg.Log, "recording events: "+what, func(error) { r.reopen("internal error") })
	work()
}

// work handles what has come.
func (r *Recorder) work() {
	items, overflow := r.box.take()
	if overflow {
		r.log.Error("dropped events: recorder does not keep up")
		r.reopen("the proxy did not keep up with the events")
	}
	for _, i := range items {
		r.guard("event", func() {
			if i.do != nil {
				i.do()
			} else if i.epoch == r.epoch {
				r.message(i.ev)
			}
		})
	}
}

// do calls f on the goroutine of Run, and waits for it. It returns an error if ctx or the recorder ends before.
func (r *Recorder) do(ctx context.Context, f func()) error {
	done := make(chan struct{})
	r.box.post(func() {
		defer close(done)
		f()
	})
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-r.over:
		return ErrClosed
	}
}

// ear is a session of the recorder as the core uses it: a proxy.Client.
type ear struct {
	recorder *Recorder
	epoch    int
}

// Event implements proxy.Client.
func (e ear) Event(ev *uacsta.Message) { e.recorder.box.event(e.epoch, ev) }

// Closed implements proxy.Client.
func (e ear) Closed(reason error) {
	r := e.recorder
	r.box.post(func() {
		if r.epoch == e.epoch {
			r.reopen(reason.Error())
		}
	})
}

// look compares the links with what they were, and opens the session once a link is up. After a change of the rules it
// wakes all subscriptions, and finds out again what is to be watched.
func (r *Recorder) look() {
	if r.session != nil && r.session.Rights() != r.rights {
		r.rights = r.session.Rights()
		r.hub.wakeAll(r.log)
		r.apply()
	}
	now, up := map[string]proxy.LinkStatus{}, false
	var risen bool
	for _, l := range r.cfg.Proxy.Status().Links {
		was, known := r.links[l.Name]
		if r.links == nil {
			known, was = true, l
		}
		if known && was.Up && (!l.Up || l.Since.After(was.Since)) {
			r.append(LinkChange{Head: Head{Type: LinkDown, Time: stamp(l.Since)}, Link: l.Name}, "", LinkDown, l.Since)
		}
		if l.Up && (!known || !was.Up || l.Since.After(was.Since)) {
			risen = true
			r.append(LinkChange{Head: Head{Type: LinkUp, Time: stamp(l.Since)}, Link: l.Name}, "", LinkUp, l.Since)
		}
		now[l.Name], up = l, up || l.Up
	}
	r.links = now
	if up {
		r.open()
	}
	if interval := r.interval(); interval != r.every {
		r.every = interval
		r.looks.Reset(interval)
	}
	if risen {
		r.retryAll()
		r.list()
	}
}

// interval returns the time between two looks at the links.
func (r *Recorder) interval() time.Duration {
	if r.session == nil && r.wants() {
		return soonInterval
	}
	return lookInterval
}

// wants reports whether something is to be watched.
func (r *Recorder) wants() bool { return len(r.watches)+len(r.patterns) > 0 }

// begin opens the session for the first that is to be watched.
func (r *Recorder) begin() {
	if r.session == nil && r.looks != nil {
		r.look()
	}
}

// open opens the session, once something is to be watched, and starts all monitors. A link is up.
func (r *Recorder) open() {
	if r.session != nil || !r.wants() {
		return
	}
	session, err := r.cfg.Proxy.Open(proxy.Opening{
		Identity: identity, Peer: "events", Front: r.cfg.Front, Sessions: proxy.SessionsOff, NoLogin: true, Reach: proxy.ReachOwn,
	}, ear{r, r.epoch})
	if err != nil {
		return // the core has logged it; the next look tries again
	}
	r.session = session
	if r.broken {
		r.broken = false
		r.gap("the proxy did not hear all events")
	}
	for _, w := range r.watches {
		r.start(w)
	}
	r.list()
}

// reopen closes the session, and has the next look open another.
func (r *Recorder) reopen(reason string) {
	if r.session == nil {
		return
	}
	r.log.Warn("recorder of events begins anew", "reason", reason)
	r.session.Close(nil)
	r.session, r.broken = nil, true
	r.epoch++
	r.asked = asked{}
	r.listing = false
	clear(r.refs)
	clear(r.segments)
	for _, w := range r.watches {
		w.reset()
	}
}

// gap tells subscribers that the proxy itself has missed something.
func (r *Recorder) gap(reason string) {
	now := time.Now()
	r.append(Missing{Head: Head{Type: Gap, Time: stamp(now)}, Reason: reason}, "", Gap, now)
}

// append appends an event to the log.
func (r *Recorder) append(event any, device, kind string, at time.Time) {
	err := r.cfg.Events.Append([]eventlog.Entry{{Time: at, Device: device, Kind: kind, Data: encode(event)}}, nil)
	if err != nil {
		r.log.With("device", device).Error("could not record an event", "type", kind, "err", err)
	}
}

// message handles a message of the core.
func (r *Recorder) message(m *uacsta.Message) {
	switch {
	case m.Kind() == uacsta.Event:
		if w := r.refs[m.CrossRef()]; w != nil {
			w.event(r, m)
		}
	case m.Name() == uacsta.NameMonitorStop:
		if w := r.refs[m.CrossRef()]; w != nil { // the device has another link now, or none
			r.restart(w)
		}
	case m.Name() == uacsta.NameSystemStatus:
		r.look()
	default:
		if take := r.segments[m.Text("serviceCrossRefID")]; take != nil {
			take(m)
		}
	}
}

// Status is how a recorder is doing.
type Status struct {
	Watched     int // devices
	Subscribers int
}

// Status returns how the recorder is doing.
func (r *Recorder) Status() Status {
	return Status{Watched: int(r.watched.Load()), Subscribers: int(r.hub.open.Load())}
}
