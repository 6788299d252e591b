package events

import (
	"context"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/tr87proxy/tr87proxy/internal/eventlog"
	"github.com/tr87proxy/tr87proxy/internal/share"
)

// hub reads the log once, and gives new events to the subscriptions that have caught up.
type hub struct {
	log    *eventlog.Log
	roster *roster
	open   atomic.Int64 // subscriptions, also those that have not caught up
	over   atomic.Bool

	mu    sync.Mutex
	at    uint64                                // the last event that subscriptions have got
	all   map[*Subscription]struct{}            // that have caught up
	wide  map[*Subscription]struct{}            // of these, the ones with patterns
	exact map[string]map[*Subscription]struct{} // of these, by device
}

// readAtOnce is how many events are read from the log at a time.
const readAtOnce = 200

func (h *hub) init(log *eventlog.Log, devices *roster) {
	h.log, h.roster = log, devices
	_, h.at = log.Bounds()
	h.all, h.wide, h.exact = map[*Subscription]struct{}{}, map[*Subscription]struct{}{}, map[string]map[*Subscription]struct{}{}
}

// run hands out events until ctx ends.
func (h *hub) run(ctx context.Context, log *slog.Logger) {
	defer h.end(log)
	for {
		grown := h.log.Grown()
		entries, gap, err := h.log.Read(h.at, readAtOnce)
		if err != nil {
			return
		}
		if gap && len(entries) == 0 { // all that followed are gone
			first, _ := h.log.Bounds()
			h.skip(log, first-1)
			continue
		}
		if len(entries) == 0 {
			select {
			case <-ctx.Done():
				return
			case <-grown:
			}
			continue
		}
		if gap {
			h.skip(log, entries[0].Seq-1)
		}
		h.hand(log, entries)
	}
}

// skip tells all subscriptions that events up to a number are missing.
func (h *hub) skip(log *slog.Logger, to uint64) {
	h.mu.Lock()
	h.at = to
	subs := slices.Collect(maps.Keys(h.all))
	h.mu.Unlock()
	for _, s := range subs {
		s.lacks()
		wake(log, s)
	}
}

// hand gives events to those who want them.
func (h *hub) hand(log *slog.Logger, entries []eventlog.Entry) {
	woken := map[*Subscription]struct{}{}
	h.mu.Lock()
	for _, e := range entries {
		it := h.about(e)
		for _, subs := range h.to(e.Device) {
			for s := range subs {
				if s.offer(it) {
					woken[s] = struct{}{}
				}
			}
		}
		h.at = e.Seq
	}
	h.mu.Unlock()
	for s := range woken {
		wake(log, s)
	}
}

// about returns an event with what streams ask about it, which is found out once.
func (h *hub) about(e eventlog.Entry) *happened {
	it := &happened{Entry: e, link: sync.OnceValue(func() string { return linkOf(e.Data) })}
	if e.Device != "" {
		it.number = h.roster.number(e.Device)
	}
	return it
}

// happened is an entry of the log, the number of its device in the roster, and its link.
type happened struct {
	eventlog.Entry
	number int
	link   func() string
}

// to returns the subscriptions that may want events of a device: those of it, and those with patterns. Events that are
// about none are for all.
func (h *hub) to(device string) []map[*Subscription]struct{} {
	if device == "" {
		return []map[*Subscription]struct{}{h.all}
	}
	return []map[*Subscription]struct{}{h.exact[device], h.wide}
}

func wake(log *slog.Logger, s *Subscription) {
	defer share.Survive(log, "waking a subscriber", nil)
	s.want.Wake()
}

// caughtUp enters a subscription that has got all events so far. It returns false if there are new ones.
func (h *hub) caughtUp(s *Subscription) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if s.at < h.at {
		return false
	}
	if h.over.Load() {
		return true
	}
	s.from = s.at // the hub itself may not be there yet
	h.all[s] = struct{}{}
	if len(s.want.Patterns) > 0 {
		h.wide[s] = struct{}{}
		return true
	}
	for _, device := range s.want.Devices {
		if h.exact[device] == nil {
			h.exact[device] = map[*Subscription]struct{}{}
		}
		h.exact[device][s] = struct{}{}
	}
	return true
}

// leave removes a subscription.
func (h *hub) leave(s *Subscription) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.all, s)
	delete(h.wide, s)
	for _, device := range s.want.Devices {
		if subs := h.exact[device]; subs != nil {
			if delete(subs, s); len(subs) == 0 {
				delete(h.exact, device)
			}
		}
	}
}

// end wakes all subscriptions: no event will come.
func (h *hub) end(log *slog.Logger) {
	h.over.Store(true)
	h.wakeAll(log)
}

// wakeAll wakes all subscriptions that have caught up.
func (h *hub) wakeAll(log *slog.Logger) {
	h.mu.Lock()
	subs := slices.Collect(maps.Keys(h.all))
	h.mu.Unlock()
	for _, s := range subs {
		wake(log, s)
	}
}

// advance moves a subscription that nothing waits for to the last event that was handed out.
func (h *hub) advance(s *Subscription) {
	h.mu.Lock()
	defer h.mu.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.waiting) == 0 && s.caught {
		s.at = max(s.at, h.at)
	}
}
