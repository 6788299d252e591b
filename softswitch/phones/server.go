package phones

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tr87proxy/tr87proxy/internal/accounts"
	"github.com/tr87proxy/tr87proxy/internal/share"
	"github.com/tr87proxy/tr87proxy/proxy"
	"github.com/tr87proxy/tr87proxy/sip"
	"github.com/tr87proxy/tr87proxy/softswitch"
	"github.com/tr87proxy/tr87proxy/softswitch/media"
)

// Server serves the telephones and trunks of a switch.
type Server struct {
	cfg       Config
	log       *slog.Logger
	sw        *softswitch.Switch
	ua        *sip.UA
	digest    *sip.Digest
	guard     *accounts.Guard
	paces     share.Meter[pace]
	strangers proxy.Strangers
	wrong     share.LogLimit[guess] // passwords that the log has told of
	hush      share.LogLimit[heard]
	engine    *media.Engine
	music     *media.Clip
	messages  *media.Directory
	disk      chan struct{} // holds a value for each message that is being read
	store     *store

	ctx   context.Context //nolint:containedctx // the life of the server, not of a call
	stop  context.CancelFunc
	group sync.WaitGroup

	inbox    inbox
	restored map[string][]kept // registrations of before
	desk     *deskLife         // nil: the telephones are the switch's

	mu       sync.Mutex
	closed   bool
	users    map[string]*user  // by number
	accounts map[string]*user  // by name of the account
	trunks   map[string]*trunk // by number
	parties  map[int]*party    // real and virtual ones, by key
	lines    map[string]*line  // by device
	leaving  map[int]bool      // connections that the switch has been told to end
	changed  map[string]bool   // devices whose connections have changed, for lamps
	calls    map[string]*call
	legs     map[int]*leg      // by key
	all      map[*leg]struct{} // legs that are open
	watchers map[*subscription]struct{}
	places   *share.Table // of watchers
	flows    flows
	// by name
	announcements map[string]*announcement
}

// user is an extension with its telephones.
type user struct {
	User      // without its password
	secret    atomic.Pointer[string]
	bindings  []*binding
	inUse     bool // it can be reached
	talks     bool
	physical  bool              // some telephone speaks uaCSTA
	monitored bool              // some client watches the extension
	watching  int               // subscriptions
	telling   sync.Mutex        // one at a time tells the switch how it stands
	asks      queue             // of what its telephones are asked, and of what the desk link says of them
	tried     chan struct{}     // closed when a session has been opened, or could not be; nil: nobody waits for it
	served    conversation      // that clients of the desk link know of; of the tasks of asks
	mute      map[string]bool   // the services that it has not answered of late, by name; of the tasks of asks
	stray     func()            // ends the wait for a late answer to MonitorStart; of the tasks of asks
	shown     map[string]string // the events that telephones were told last, by name
}

// party is a connection as the switch told of it last.
type party struct {
	softswitch.Party
	call string
}

// line is what a device has: connections, and legs to carry them.
type line struct {
	parties map[int]*party
	legs    map[*leg]struct{}
}

func (s *Server) line(device string) *line {
	l := s.lines[device]
	if l == nil {
		l = &line{parties: map[int]*party{}, legs: map[*leg]struct{}{}}
		s.lines[device] = l
	}
	return l
}

// New makes a server and attaches it to its switch, which must not run yet. It listens
// once it is told to.
func New(cfg Config) (*Server, error) {
	cfg.defaults()
	ctx, stop := context.WithCancel(context.Background())
	cfg.Media.Log = cfg.Log
	s := &Server{
		cfg: cfg, log: cfg.Log, guard: cfg.Guard, sw: cfg.Switch, ctx: ctx, stop: stop, engine: media.New(cfg.Media),
		users: map[string]*user{}, accounts: map[string]*user{}, trunks: map[string]*trunk{}, parties: map[int]*party{},
		lines: map[string]*line{}, changed: map[string]bool{}, leaving: map[int]bool{}, announcements: map[string]*announcement{}, disk: make(chan struct{}, maxReading), calls: map[string]*call{},
		legs: map[int]*leg{}, all: map[*leg]struct{}{}, watchers: map[*subscription]struct{}{},
		places: share.New(share.Limits{Most: maxSubscriptions, Peer: peerSubscriptions}), flows: flows{},
		hush: share.LogLimit[heard]{Most: 10000},
	}
	s.inbox.wake = make(chan struct{}, 1)
	for _, u := range cfg.Users {
		one := &user{User: u, talks: u.Talks}
		one.asks = s.queue("questions to a telephone", func(error) { s.hangUp(one, nil) })
		one.asks.pressed = make(chan struct{}, 1)
		one.setPassword(u.Password)
		one.Password = ""
		s.users[u.Number], s.accounts[u.Name] = one, one
	}
	s.digest = sip.NewDigest(cfg.Realm, cfg.Digest, s.guard, func(name string) (string, bool) {
		u := s.accounts[name] // never changes
		if u == nil || u.password() == "" {
			return "", false
		}
		return u.password(), true
	})
	s.digest.Knows = s.knows
	s.ua = sip.New(sip.Config{
		Front:   "telephones",
		Handler: s, Advertise: cfg.Advertise, Log: cfg.Log, TLSClient: cfg.TLSClient, Admits: cfg.Admits, Known: s.peers, Lost: s.lost, StayOnFlow: true,
		Requests: map[string]func(*sip.Request){"REGISTER": s.register, "SUBSCRIBE": s.subscribe, "NOTIFY": s.fromOutside, "INFO": s.fromOutside},
		InDialog: []string{"REFER", "NOTIFY", "SUBSCRIBE", "PRACK"}, Supports: []string{"100rel", "replaces"},
		MaxSession: 24 * time.Hour,
	})
	for _, t := range cfg.Trunks {
		s.trunks[t.Number] = &trunk{Trunk: t, server: s}
	}
	if err := s.open(); err != nil {
		s.Close()
		return nil, err
	}
	s.sw.Attach(s)
	return s, nil
}

// open opens the files.
func (s *Server) open() error {
	var err error
	if s.cfg.Music != "" {
		if s.music, err = media.LoadFile(s.cfg.Music); err != nil {
			return fmt.Errorf("music: %w", err)
		}
	}
	if s.cfg.Messages != "" {
		if s.messages, err = media.OpenDirectory(s.cfg.Messages); err != nil {
			return fmt.Errorf("messages: %w", err)
		}
		s.sw.SetLibrary(s.messages)
	}
	if s.cfg.State != "" {
		if s.store, err = openStore(s.cfg.State, s.log); err != nil {
			return fmt.Errorf("state: %w", err)
		}
		features, bindings := s.store.load()
		for _, f := range features {
			s.sw.Restore(f)
		}
		s.restored = bindings
	}
	return nil
}

// UA returns the user agent, for listening and its counters.
func (s *Server) UA() *sip.UA { return s.ua }

// Run serves until ctx ends.
func (s *Server) Run(ctx context.Context) {
	s.start()
	<-ctx.Done()
	s.Close()
}

// start begins to serve, until Close.
func (s *Server) start() {
	s.restore()
	s.spawn(s.work)
	s.spawn(s.tick)
	for _, t := range s.trunks {
		s.spawn(t.run)
	}
}

// goodbyes is how long closing waits for telephones that cannot be written to.
const goodbyes = 5 * time.Second

// Close ends every call at its telephone, and the server.
func (s *Server) Close() {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return
	}
	s.closed = true
	legs := slices.Collect(maps.Keys(s.all))
	all := map[*user][]*binding{}
	for _, u := range s.users {
		all[u], u.bindings = u.bindings, nil
	}
	s.mu.Unlock()
	for u, bindings := range all {
		s.left(u, bindings)
	}
	for _, l := range legs {
		l.end(endNormal)
	}
	enough, cancel := context.WithTimeout(context.Background(), goodbyes)
	defer cancel()
	for _, l := range legs {
		select {
		case <-l.over:
		case <-enough.Done(): // the rest ends with the user agent
		}
	}
	s.stop()
	s.ua.Close()
	s.group.Wait()
	s.mu.Lock()
	calls := slices.Collect(maps.Values(s.calls))
	s.calls = map[string]*call{}
	s.mu.Unlock()
	for _, c := range calls {
		c.close()
	}
	s.store.close()
	if s.messages != nil {
		_ = s.messages.Close()
	}
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

// queue makes a queue of tasks that the server waits for. Its lock must not be held where a task
// is put into it.
func (s *Server) queue(what string, failed func(error)) queue {
	return queue{log: s.log, what: what, start: s.spawn, failed: failed}
}

// inbox is what the switch has said and nobody has acted on: how each call and extension
// stands, the last word only, so that it cannot grow beyond what the switch has.
type inbox struct {
	mu       sync.Mutex
	order    []string
	calls    map[string]softswitch.View
	kicked   map[string]bool // calls that are to be looked at again
	features map[string]softswitch.Features
	voice    []softswitch.Voice
	wake     chan struct{}
}

// maxVoice bounds messages to play, and the like, that wait.
const maxVoice = 10000

// Changed implements softswitch.Phones.
func (s *Server) Changed(c softswitch.Change) {
	b := &s.inbox
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, v := range c.Calls {
		b.put(v)
	}
	for _, f := range c.Features {
		if b.features == nil {
			b.features = map[string]softswitch.Features{}
		}
		b.features[f.Device] = f
	}
	if b.voice = append(b.voice, c.Voice...); len(b.voice) > maxVoice {
		s.log.Error("too many messages to play or record at once: the oldest are left out")
		b.voice = b.voice[len(b.voice)-maxVoice:]
	}
	b.signal()
}

func (b *inbox) put(v softswitch.View) {
	if b.calls == nil {
		b.calls = map[string]softswitch.View{}
	}
	if _, there := b.calls[v.Call]; !there {
		b.order = append(b.order, v.Call)
	}
	b.calls[v.Call] = v
}

func (b *inbox) signal() {
	select {
	case b.wake <- struct{}{}:
	default: // it is awake
	}
}

// take empties the inbox.
func (b *inbox) take() (views []softswitch.View, kicked map[string]bool, features []softswitch.Features, voice []softswitch.Voice) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, id := range b.order {
		views = append(views, b.calls[id])
	}
	for _, number := range slices.Sorted(maps.Keys(b.features)) {
		features = append(features, b.features[number])
	}
	voice, kicked = b.voice, b.kicked
	b.order, b.calls, b.features, b.voice, b.kicked = nil, nil, nil, nil, nil
	return views, kicked, features, voice
}

// kick makes the worker look at a call again: something has changed at a telephone.
func (s *Server) kick(id string) {
	s.inbox.mu.Lock()
	defer s.inbox.mu.Unlock()
	if s.inbox.kicked == nil {
		s.inbox.kicked = map[string]bool{}
	}
	s.inbox.kicked[id] = true
	s.inbox.signal()
}

// kickKey is kick for the call of a connection.
func (s *Server) kickKey(key int) {
	s.mu.Lock()
	id := ""
	if p := s.parties[key]; p != nil {
		id = p.call
	}
	s.mu.Unlock()
	s.kick(id)
}

// work follows the switch until the server closes.
func (s *Server) work() {
	for {
		select {
		case <-s.ctx.Done():
			return
		case <-s.inbox.wake:
		}
		s.follow(s.inbox.take())
	}
}

// follow makes everything follow what the switch has said. A panic costs that alone.
func (s *Server) follow(views []softswitch.View, kicked map[string]bool, features []softswitch.Features, voice []softswitch.Voice) {
	defer share.Survive(s.log, "following the switch", nil)
	for _, then := range s.apply(views, kicked) {
		then()
	}
	for _, v := range voice {
		s.speak(v)
	}
	for _, f := range features {
		s.store.keepFeatures(f)
		s.watched(f)
		s.tellFeatures(f)
		s.showFeatures(f)
	}
	s.tellDialogs()
}

// watched notes whether an extension is monitored.
func (s *Server) watched(f softswitch.Features) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if u := s.users[f.Device]; u != nil {
		u.monitored = f.Monitored
	}
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

// look does what is to be done every second. A panic costs that second's.
func (s *Server) look(now time.Time) {
	defer share.Survive(s.log, "looking after registrations", nil)
	s.expire(now)
	s.expireSubscriptions(now)
	s.store.flush()
	s.converse(now)
}
