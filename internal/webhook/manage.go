package webhook

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
)

// Set replaces the hooks of the configuration. A hook that stays goes on where it is; one that is not there any more
// loses its position and dead letters. If one cannot be used, nothing changes.
func (s *Sender) Set(hooks []Hook) error {
	wanted := map[string]bool{}
	var faults []error
	for i := range hooks {
		h := &hooks[i]
		if err := h.Usable(); err != nil {
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
			if err := s.remove("", d.target.hook.Name); err != nil {
				return err
			}
		}
	}
	for _, h := range hooks {
		h = h.clone()
		if old := before[h.id()]; old != nil && old.target.hook.same(&h) && h.SecretsFile == "" {
			continue
		}
		if err := s.replace(&h); err != nil {
			return fmt.Errorf("hook %q: %w", h.Name, err)
		}
	}
	return nil
}

// hold keeps others from changing a hook until release is called, and returns the hook; nil if there is none.
func (s *Sender) hold(owner, name string) (d *delivery, release func()) {
	for {
		d = s.find(owner, name)
		if d == nil {
			return nil, func() {}
		}
		d.change.Lock()
		if s.find(owner, name) == d {
			return d, d.change.Unlock
		}
		d.change.Unlock()
	}
}

// replace begins with a hook of the configuration, in place of one with the same name.
func (s *Sender) replace(h *Hook) error {
	_, release := s.hold(h.Owner, h.Name)
	defer release()
	return s.put(h)
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
	if err := h.Usable(); err != nil {
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
	err := s.store(&h)
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

// Remove removes a hook of an owner, with its position and dead letters, after what is under way has ended. Meanwhile there
// is no room for another of its name.
func (s *Sender) Remove(owner, name string) error {
	if owner == "" {
		return ErrNone
	}
	return s.remove(owner, name)
}

// remove is Remove for the configuration's hooks, too.
func (s *Sender) remove(owner, name string) error {
	d, release := s.hold(owner, name)
	defer release()
	if d == nil {
		return ErrNone
	}
	d.end()
	err := errors.Join(s.log.Delete(ownHooks, d.id), s.log.Delete(positions, d.id))
	var keys []string
	err = errors.Join(err, s.log.List(d.letters.bucket, func(key string, _ []byte) bool {
		keys = append(keys, key)
		return true
	}))
	for _, key := range keys {
		err = errors.Join(err, d.letters.drop(key))
	}
	s.mu.Lock()
	delete(s.hooks, d.id)
	s.mu.Unlock()
	return err
}

// Enable lets a hook go on that is disabled. It begins with the event that was not delivered. by says how the owner is
// identified now; nil: as before, which must still hold.
func (s *Sender) Enable(owner, name string, by json.RawMessage) error {
	d, release := s.hold(owner, name)
	defer release()
	if d == nil {
		return ErrNone
	}
	h := d.target.hook.clone()
	if by != nil && owner != "" {
		h.By = by
	}
	if err := s.lapsed(&h); err != nil {
		return fmt.Errorf("%w; the owner can enable the hook with other credentials", err)
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
	p.Gone, p.Off = "", ""
	if err := s.log.Put(positions, d.id, p.encode()); err != nil {
		return err
	}
	if owner != "" {
		if err := s.store(&h); err != nil {
			return err
		}
	}
	return s.put(&h)
}

// store stores a hook of an owner.
func (s *Sender) store(h *Hook) error {
	data, err := json.Marshal(h)
	if err != nil {
		return err
	}
	return s.log.Put(ownHooks, h.id(), data)
}
