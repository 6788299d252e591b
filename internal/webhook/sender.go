package webhook

import (
	"context"
	"crypto/rand"
	"encoding/base64"
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
	filter   func(owner string, e eventlog.Entry) bool
	logger   *slog.Logger
	instance string // identifies the log
	clients  map[bool]*http.Client

	changes sync.Mutex // held while hooks change
	mu      sync.Mutex
	hooks   map[string]*delivery // by id
	start   func(*delivery)      // nil while Run does not run
}

// New returns a sender with the hooks that were added at run time. filter reports whether an owner may observe the device
// of an entry now; nil: owners get nothing. Hooks of the configuration, which have no owner, are not filtered.
func New(log *eventlog.Log, filter func(owner string, e eventlog.Entry) bool, l *slog.Logger) (*Sender, error) {
	s := &Sender{log: log, filter: filter, logger: share.Quiet(l), clients: map[bool]*http.Client{false: NewClient(func(netip.Addr) bool { return false }), true: NewClient(func(netip.Addr) bool { return true })}, hooks: map[string]*delivery{}}
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
	s.changes.Lock()
	s.mu.Lock()
	s.start = func(d *delivery) {
		if d.gone.Load() {
			return
		}
		running, stop := context.WithCancel(ctx)
		d.stop, d.done = stop, make(chan struct{})
		go func() {
			defer close(d.done)
			d.run(running)
		}()
	}
	for _, d := range s.hooks {
		s.start(d)
	}
	s.mu.Unlock()
	s.changes.Unlock()
	<-ctx.Done()
	s.changes.Lock()
	defer s.changes.Unlock()
	s.mu.Lock()
	s.start = nil
	running := slices.Collect(maps.Values(s.hooks))
	s.mu.Unlock()
	for _, d := range running {
		d.end()
	}
	for _, c := range s.clients {
		c.CloseIdleConnections()
	}
}

// end stops a delivery and waits for its end.
func (d *delivery) end() {
	if d.stop != nil {
		d.stop()
		<-d.done
		d.stop = nil
	}
}

// may reports whether the owner of a hook may know an event.
func (s *Sender) may(owner string, e *eventlog.Entry) bool {
	return owner == "" || s.filter != nil && s.filter(owner, *e)
}

func (s *Sender) find(owner, name string) *delivery {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.hooks[id(owner, name)]
}

// check returns what is wrong with a hook; nil if nothing is.
func check(h *Hook) error {
	var faults Faults
	h.Check(func(key, text string) { faults = append(faults, Fault{key, text}) })
	if faults != nil {
		return faults
	}
	return nil
}

// put begins with a hook, in place of one with the same name. Callers hold changes, except New.
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
		replayed: make(chan struct{}, 1),
		target:   target{hook: h, client: s.clients[h.Private], keys: keys, format: made, instance: s.instance},
	}
	if len(h.Devices) > 0 {
		d.target.devices = policy.CompileDevices(h.Devices)
	}
	if old := s.find(h.Owner, h.Name); old != nil {
		old.end()
		d.counts, d.letters = old.counts, old.letters
	}
	if err := d.begin(); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hooks[d.id] = d
	if s.start != nil {
		s.start(d)
	}
	return nil
}

// Set replaces the hooks of the configuration. A hook that stays goes on where it is; one that is not there any more
// loses its position and dead letters. If one cannot be used, nothing changes.
func (s *Sender) Set(hooks []Hook) error {
	s.changes.Lock()
	defer s.changes.Unlock()
	wanted := map[string]bool{}
	var faults []error
	for i := range hooks {
		h := &hooks[i]
		if err := check(h); err != nil {
			faults = append(faults, fmt.Errorf("hook %q: %w", h.Name, err))
		}
		if wanted[h.id()] || h.Owner != "" {
			faults = append(faults, fmt.Errorf("hook %q: %w", h.Name, ErrExists))
		}
		wanted[h.id()] = true
	}
	if err := errors.Join(faults...); err != nil {
		return err
	}
	s.mu.Lock()
	before := maps.Clone(s.hooks)
	s.mu.Unlock()
	for key, d := range before {
		if d.target.hook.Owner == "" && !wanted[key] {
			if err := s.forget(d); err != nil {
				return err
			}
		}
	}
	for _, h := range hooks {
		h = h.clone()
		if old := before[h.id()]; old != nil && old.target.hook.same(&h) && h.SecretsFile == "" {
			continue
		}
		if err := s.put(&h); err != nil {
			return fmt.Errorf("hook %q: %w", h.Name, err)
		}
	}
	return nil
}

// forget ends with a hook.
func (s *Sender) forget(d *delivery) error {
	d.end()
	s.mu.Lock()
	delete(s.hooks, d.id)
	s.mu.Unlock()
	err := errors.Join(s.log.Delete(ownHooks, d.id), s.log.Delete(positions, d.id))
	var keys []string
	err = errors.Join(err, s.log.List(d.letters.bucket, func(key string, _ []byte) bool {
		keys = append(keys, key)
		return true
	}))
	for _, key := range keys {
		err = errors.Join(err, s.log.Delete(d.letters.bucket, key))
	}
	return err
}

// Add adds a hook of an owner, which survives the end of the program. A hook without secrets gets one: the hook that Add
// returns has it, and nothing else returns it. The errors are [Faults], [ErrExists], [ErrTooMany], and those of the log.
func (s *Sender) Add(h Hook) (Hook, error) {
	h = h.clone()
	if len(h.Secrets) == 0 {
		secret := make([]byte, secretSize)
		_, _ = rand.Read(secret)
		h.Secrets = []string{"whsec_" + base64.StdEncoding.EncodeToString(secret)}
	}
	if h.Owner == "" {
		return Hook{}, Faults{{"owner", "must be an identity"}}
	}
	if err := check(&h); err != nil {
		return Hook{}, err
	}
	s.changes.Lock()
	defer s.changes.Unlock()
	all, own := 0, 0
	for _, d := range s.all() {
		owner := d.target.hook.Owner
		if owner != "" {
			all++
		}
		if owner == h.Owner {
			own++
		}
	}
	switch {
	case s.find(h.Owner, h.Name) != nil:
		return Hook{}, ErrExists
	case own >= mostOfOne || all >= mostHooks:
		return Hook{}, ErrTooMany
	}
	data, err := json.Marshal(h)
	if err == nil {
		err = s.log.Put(ownHooks, h.id(), data)
	}
	if err == nil {
		stored := h.clone()
		err = s.put(&stored)
	}
	return h, err
}

// clone returns a copy that shares nothing with h.
func (h *Hook) clone() Hook {
	c := *h
	c.Devices, c.Types, c.Secrets, c.Users = slices.Clone(h.Devices), slices.Clone(h.Types), slices.Clone(h.Secrets), maps.Clone(h.Users)
	return c
}

// Remove removes a hook of an owner, with its dead letters.
func (s *Sender) Remove(owner, name string) error {
	s.changes.Lock()
	defer s.changes.Unlock()
	d := s.find(owner, name)
	if d == nil || owner == "" {
		return ErrNone
	}
	return s.forget(d)
}

// Enable lets a hook go on that a receiver has disabled. It begins with the event that was refused.
func (s *Sender) Enable(owner, name string) error {
	s.changes.Lock()
	defer s.changes.Unlock()
	d := s.find(owner, name)
	if d == nil {
		return ErrNone
	}
	d.end()
	data, err := s.log.Get(positions, d.id)
	if err != nil {
		return err
	}
	var p position
	if err := json.Unmarshal(data, &p); err != nil {
		return err
	}
	p.Gone = ""
	if err := s.log.Put(positions, d.id, p.encode()); err != nil {
		return err
	}
	return s.put(d.target.hook)
}

func (s *Sender) all() []*delivery {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Collect(maps.Values(s.hooks))
}
