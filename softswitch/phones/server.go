package phones

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/tr87proxy/tr87proxy/internal/audio"
	"github.com/tr87proxy/tr87proxy/internal/share"
	"github.com/tr87proxy/tr87proxy/internal/state"
	"github.com/tr87proxy/tr87proxy/internal/tasks"
	"github.com/tr87proxy/tr87proxy/sip"
	"github.com/tr87proxy/tr87proxy/sip/registrar"
	"github.com/tr87proxy/tr87proxy/softswitch"
	"github.com/tr87proxy/tr87proxy/softswitch/media"
)

// Server serves the telephones and trunks of a switch.
type Server struct {
	cfg          Config
	log          *slog.Logger
	sw           *softswitch.Switch
	telephones   *registrar.Server
	ua           *sip.UA // of telephones
	engine       *media.Engine
	music        *audio.Clip            // music of the whole switch
	announcement *audio.Clip            // announcement of the whole switch
	sounds       map[string]*audio.Clip // of devices, by name
	messages     *audio.Directory
	disk         chan struct{} // has a value for each message that is being read
	state        *state.File

	ctx   context.Context //nolint:containedctx // the life of the server, not of a call
	stop  context.CancelFunc
	group sync.WaitGroup

	inbox inbox

	// mu is never held during calls to the switch or the registrar.
	mu        sync.Mutex
	closed    bool
	trunks    map[string]*trunk // by number
	parties   map[int]*party    // real and virtual ones, by key
	lines     map[string]*line  // by device
	leaving   map[int]bool      // connections that the switch was asked to clear
	changed   map[string]bool   // devices whose connections have changed, for lamps
	calls     map[string]*call
	referrals map[int]*referral // by the connection that was transferred
	legs      map[int]*leg      // by key
	all       map[*leg]struct{} // legs that are open
}

// party is the last state of a connection that the switch reported.
type party struct {
	softswitch.Party
	call string
}

// line has the connections of a device, and the legs that carry them.
type line struct {
	parties map[int]*party
	legs    map[*leg]struct{}
	tasks   *tasks.Queue // of the legs of an extension
}

func (s *Server) line(device string) *line {
	l := s.lines[device]
	if l == nil {
		l = &line{parties: map[int]*party{}, legs: map[*leg]struct{}{}, tasks: s.legTasks()}
		s.lines[device] = l
	}
	return l
}

// featuresBucket is the bucket of the state file for the features of extensions.
const featuresBucket = "features"

// New makes a server and attaches it to its switch, which must not run yet. It opens the files of cfg. The
// caller opens listeners with [Server.UA], and calls [Server.Run] or [Server.Close].
func New(cfg Config) (*Server, error) {
	cfg.defaults()
	ctx, stop := context.WithCancel(context.Background())
	s := &Server{
		cfg: cfg, log: cfg.Telephones.Log, sw: cfg.Switch, ctx: ctx, stop: stop, engine: media.New(cfg.Media),
		trunks: map[string]*trunk{}, parties: map[int]*party{}, lines: map[string]*line{}, changed: map[string]bool{}, leaving: map[int]bool{},
		sounds: map[string]*audio.Clip{}, disk: make(chan struct{}, maxReading), calls: map[string]*call{}, referrals: map[int]*referral{},
		legs: map[int]*leg{}, all: map[*leg]struct{}{},
	}
	s.inbox.wake = make(chan struct{}, 1)
	for _, t := range cfg.Trunks {
		s.trunks[t.Number] = &trunk{Trunk: t, server: s}
	}
	err := s.open()
	telephones := cfg.Telephones
	telephones.State, telephones.Calls, telephones.Known, telephones.Packages = s.state, s, s.peers, s.packages()
	s.telephones = registrar.New(telephones, upcalls{s})
	s.ua = s.telephones.UA()
	if err != nil {
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
		if s.music, err = audio.LoadFile(s.cfg.Music); err != nil {
			return fmt.Errorf("telephones.music: %w", err)
		}
	}
	if s.cfg.Announcement != "" {
		if s.announcement, err = audio.LoadFile(s.cfg.Announcement); err != nil {
			return fmt.Errorf("telephones.announcement: %w", err)
		}
	}
	if s.cfg.Messages != "" {
		if s.messages, err = audio.OpenDirectory(s.cfg.Messages); err != nil {
			return fmt.Errorf("telephones.messages: %w", err)
		}
		s.sw.SetLibrary(s.messages)
		for name, device := range s.sw.Sounds() {
			if s.sounds[name], err = s.messages.Load(name); err != nil {
				return fmt.Errorf("message %s, which is heard at device %s: %w", name, device, err)
			}
		}
	}
	if s.cfg.State != "" {
		if s.state, err = state.Open(s.cfg.State, s.log, featuresBucket, registrar.Bucket); err != nil {
			return fmt.Errorf("state: %w", err)
		}
		for _, f := range state.Load[softswitch.Features](s.state, featuresBucket) {
			s.sw.Restore(f)
		}
	}
	return nil
}

// UA returns the user agent, for listening and its counters.
func (s *Server) UA() *sip.UA { return s.ua }

// SetPasswords is SetPasswords of [registrar.Server]. Calls continue.
func (s *Server) SetPasswords(users []registrar.User) []string {
	return s.telephones.SetPasswords(users)
}

// OtherPasswords is OtherPasswords of [registrar.Server].
func (s *Server) OtherPasswords(users []registrar.User) []string {
	return s.telephones.OtherPasswords(users)
}

// Run serves until ctx ends. Open listeners before, so that telephones that registered before a restart are
// contacted from the ports that they know.
func (s *Server) Run(ctx context.Context) {
	s.start()
	<-ctx.Done()
	s.Close()
}

// start starts serving, until Close.
func (s *Server) start() {
	s.telephones.Start()
	s.spawn(s.work)
	for _, t := range s.trunks {
		s.spawn(t.run)
	}
}

// keep stores the features of an extension in the state file.
func (s *Server) keep(f softswitch.Features) { s.state.Keep(featuresBucket, f.Device, f, true) }

// goodbyes is how long Close waits for telephones that cannot be written to.
const goodbyes = 5 * time.Second

// Close ends every call at its telephone, and closes the server. Calling it again does nothing.
func (s *Server) Close() {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return
	}
	s.closed = true
	legs := slices.Collect(maps.Keys(s.all))
	s.mu.Unlock()
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
	s.telephones.Close()
	s.group.Wait()
	_, _, features, _ := s.inbox.take() // what the worker has not handled
	for _, f := range features {
		s.keep(f)
	}
	s.mu.Lock()
	calls := slices.Collect(maps.Values(s.calls))
	s.calls = map[string]*call{}
	s.mu.Unlock()
	for _, c := range calls {
		c.close()
	}
	s.state.Close()
	if s.messages != nil {
		_ = s.messages.Close()
	}
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

// legTasks makes a queue for the tasks of legs, which may be used under the server's lock. The legs keep Close
// waiting.
func (s *Server) legTasks() *tasks.Queue {
	return &tasks.Queue{Log: s.log, What: "a telephone's call", Start: func(run func()) bool { s.group.Go(run); return true }}
}

// queue makes a queue of tasks that Close waits for. Do not add tasks while holding the server's lock.
func (s *Server) queue(what string) tasks.Queue {
	return tasks.Queue{Log: s.log, What: what, Start: s.spawn}
}
