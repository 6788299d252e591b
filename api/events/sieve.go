package events

import (
	"context"
	"slices"
	"time"

	"github.com/tr87proxy/tr87proxy/internal/share"
	"github.com/tr87proxy/tr87proxy/policy"
)

// sieve finds out which listed devices are to be watched. With many devices and clients that takes a while, so it has a
// goroutine of its own.
type sieve struct {
	busy  bool
	again bool // something has changed since it began
}

// wish is what one client wants.
type wish struct {
	who      string
	patterns []*matches
	wanted   []bool // devices that match, by their number in the roster
}

// learn finds out which devices match.
func (w *wish) learn(devices []string) {
	w.wanted = make([]bool, len(devices))
	for _, m := range w.patterns {
		m.mark(w.wanted, devices)
	}
}

// wants reports whether a device matches.
func (w *wish) wants(device string, number int) bool {
	if number >= 0 && number < len(w.wanted) {
		return w.wanted[number]
	}
	return slices.ContainsFunc(w.patterns, func(m *matches) bool { return m.has(device, number) })
}

// apply watches the listed devices that patterns match, if a client that wants them may observe them, and no longer,
// those of which that is not so. It does not wait for that.
func (r *Recorder) apply() {
	if r.sieve.busy {
		r.sieve.again = true
		return
	}
	wants := map[string]*wish{}
	for _, p := range r.patterns {
		for who := range p.by {
			if wants[who] == nil {
				wants[who] = &wish{who: who}
			}
			wants[who].patterns = append(wants[who].patterns, p.devices)
		}
	}
	wishes := make([]*wish, 0, len(wants))
	for _, w := range wants {
		wishes = append(wishes, w)
	}
	listed, ctx := r.listed, r.ctx
	r.sieve = sieve{busy: true}
	r.group.Go(func() {
		var found map[string]bool
		defer func() { r.box.post(func() { r.sieved(found) }) }()
		defer share.Survive(r.log, "finding the devices to record", nil)
		found = r.sift(ctx, listed, wishes)
	})
}

// sift returns which devices are to be watched; nil if ctx ends before.
func (r *Recorder) sift(ctx context.Context, listed map[string]bool, wishes []*wish) map[string]bool {
	found := map[string]bool{}
	for device := range listed {
		r.roster.number(device)
	}
	devices := r.roster.all()
	for _, w := range wishes {
		w.learn(devices)
	}
	for device := range listed {
		number := r.roster.number(device)
		if ctx.Err() != nil {
			return nil
		}
		i := slices.IndexFunc(wishes, func(w *wish) bool {
			return w.wants(device, number) && (w.who == "" || r.cfg.Proxy.MayObserve(policy.Identity{Name: w.who}, r.cfg.Front, device))
		})
		if i >= 0 {
			found[device] = true
			wishes[0], wishes[i] = wishes[i], wishes[0] // it may want the others, too
		}
	}
	return found
}

// sieved takes over what was found; nil: nothing was.
func (r *Recorder) sieved(found map[string]bool) {
	again := r.sieve.again
	r.sieve = sieve{}
	if found != nil {
		for device := range found {
			if w := r.watching(device); w != nil {
				w.pattern = true
			}
		}
		now := time.Now()
		for device, w := range r.watches {
			if w.pattern && !found[device] {
				w.pattern, w.left = false, now
			}
		}
	}
	if again {
		r.apply()
	}
}
