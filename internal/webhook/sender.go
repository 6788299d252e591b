package webhook

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"

	"github.com/tr87proxy/tr87proxy/internal/eventlog"
	"github.com/tr87proxy/tr87proxy/internal/share"
	"github.com/tr87proxy/tr87proxy/policy"
)

// The limits of hooks that are made at run time.
const (
	mostHooks  = 1000
	mostOfOne  = 20 // of an owner
	secretSize = 32
)

// Errors of [Sender.Add].
var (
	ErrExists  = errors.New("there is a hook of this name")
	ErrTooMany = errors.New("there are too many hooks")
)

// Fault is what is wrong with a hook.
type Fault struct{ Key, Text string }

// Faults is the error for a hook that cannot be used.
type Faults []Fault

// Error implements error.
func (f Faults) Error() string {
	texts := make([]string, 0, len(f))
	for _, one := range f {
		texts = append(texts, strings.TrimSpace(one.Key+" "+one.Text))
	}
	return strings.Join(texts, "; ")
}

// Sender delivers the entries of a log to hooks. Its methods may be called before, during and after Run.
type Sender struct {
	log      *eventlog.Log
	rights   Rights
	logger   *slog.Logger
	instance string // identifies the log
	clients  map[bool]*http.Client

	changes  sync.Mutex // held while hooks are added; nobody waits with it
	trimming sync.Mutex // held while dead letters are dropped for others of the owner, or of all
	mu       sync.Mutex
	hooks    map[string]*delivery // by id
	start    func(*delivery)      // nil while Run does not run
}

// Rights says what the owners of hooks may do. Hooks of the configuration, which have no owner, may everything.
type Rights struct {
	// Observe reports whether an owner may observe the device of an entry now; nil: owners get nothing.
	Observe func(owner string, e eventlog.Entry) bool
	// Holds returns nil while an owner would still be identified as by says; otherwise what has changed. Then the hook is
	// disabled. It must not block. nil: owners are always identified.
	Holds func(owner string, by json.RawMessage) error
}

// New returns a sender with the hooks that were added at run time.
func New(log *eventlog.Log, rights Rights, l *slog.Logger) (*Sender, error) {
	s := &Sender{log: log, rights: rights, logger: share.Quiet(l), clients: map[bool]*http.Client{false: NewClient(func(netip.Addr) bool { return false }), true: NewClient(func(netip.Addr) bool { return true })}, hooks: map[string]*delivery{}}
	instance, err := log.Get(about, "instance")
	if err == nil && len(instance) == 0 {
		instance = make([]byte, 8)
		_, _ = rand.Read(instance)
		err = log.Put(about, "instance", instance)
	}
	if err != nil {
		return nil, err
	}
	s.instance = hex.EncodeToString(instance)
	var hooks []Hook
	err = log.List(ownHooks, func(key string, value []byte) bool {
		var h Hook
		if err := json.Unmarshal(value, &h); err != nil || h.id() != key {
			s.logger.Error("could not read the state of a webhook; it begins with the newest event", "hook", key, "err", err)
			return true
		}
		hooks = append(hooks, h)
		return true
	})
	for _, h := range hooks {
		if err == nil {
			err = s.put(&h)
		}
	}
	return s, err
}

// Run delivers events until ctx ends.
func (s *Sender) Run(ctx context.Context) {
	s.mu.Lock()
	s.start = func(d *delivery) {
		if d.off.Load() != nil {
			return
		}
		running, stop := context.WithCancel(ctx)
		d.stop, d.done = stop, make(chan struct{})
		go func() {
			defer close(d.done)
			d.run(running)
		}()
	}
	before := slices.Collect(maps.Values(s.hooks))
	s.mu.Unlock()
	for _, d := range before {
		d.change.Lock()
		s.mu.Lock()
		if s.hooks[d.id] == d && d.stop == nil {
			s.start(d)
		}
		s.mu.Unlock()
		d.change.Unlock()
	}
	<-ctx.Done()
	s.mu.Lock()
	s.start = nil
	running := slices.Collect(maps.Values(s.hooks))
	s.mu.Unlock()
	for _, d := range running {
		d.change.Lock()
		d.end()
		d.change.Unlock()
	}
	for _, c := range s.clients {
		c.CloseIdleConnections()
	}
}

// end stops a delivery and waits for its end. Callers hold change.
func (d *delivery) end() {
	if d.stop != nil {
		d.stop()
		<-d.done
		d.stop = nil
	}
}

// may reports whether the owner of a hook may know an event.
func (s *Sender) may(owner string, e *eventlog.Entry) bool {
	return owner == "" || s.rights.Observe != nil && s.rights.Observe(owner, *e)
}

// lapsed returns why the owner of a hook is not identified any more as when it was added.
func (s *Sender) lapsed(h *Hook) error {
	if h.Owner == "" || s.rights.Holds == nil {
		return nil
	}
	return s.rights.Holds(h.Owner, h.By)
}

func (s *Sender) find(owner, name string) *delivery {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.hooks[id(owner, name)]
}

// Usable returns [Faults], what is wrong with the hook; nil if nothing is.
func (h *Hook) Usable() error {
	var faults Faults
	h.Check(func(key, text string) { faults = append(faults, Fault{key, text}) })
	if faults != nil {
		return faults
	}
	return nil
}

// put begins with a hook, in place of one with the same name, whose change callers hold. Those that add one hold changes.
func (s *Sender) put(h *Hook) error {
	keys, err := h.keys()
	if err != nil {
		return fmt.Errorf("secrets: %w", err)
	}
	made, err := h.format("urn:tr87proxy:" + s.instance)
	if err != nil {
		return err
	}
	d := &delivery{
		sender: s, id: h.id(), log: s.logger.With("hook", h.Name, "owner", h.Owner), counts: &counts{}, letters: &letters{log: s.log, bucket: dead + h.id()},
		replayed: make(chan struct{}, 1), making: make(chan struct{}, 1), change: &sync.Mutex{},
		target: target{hook: h, client: s.clients[h.Private], keys: keys, format: made, instance: s.instance},
	}
	if len(h.Devices) > 0 {
		d.target.devices = policy.CompileDevices(h.Devices)
	}
	if old := s.find(h.Owner, h.Name); old != nil {
		old.end()
		d.counts, d.letters, d.change = old.counts, old.letters, old.change
	}
	if err := d.begin(); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, other := range s.hooks {
		if other.target.hook.Owner == h.Owner {
			d.making = other.making
		}
	}
	s.hooks[d.id] = d
	if s.start != nil {
		s.start(d)
	}
	return nil
}

func (s *Sender) all() []*delivery {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Collect(maps.Values(s.hooks))
}
