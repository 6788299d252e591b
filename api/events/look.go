package events

import (
	"context"
	"slices"
	"strings"
)

// look is how the wanted devices are at one moment.
type look struct {
	at       uint64 // the last event that the books have
	pictures []picture
	devices  []string
	waiting  []string // that are not live, as the subscriber writes them
}

// picture is the calls of a device at one moment.
type picture struct {
	device, link string
	calls        []Call
}

// look looks at the wanted devices. all says that those without calls which only a pattern matches count, too.
func (s *Subscription) look(ctx context.Context, all bool) (*look, error) {
	l := &look{}
	var err error
	l.at, err = s.recorder.picture(ctx, func(w *watch) {
		named := s.names(w.device)
		if !named && !s.matches(w.device) {
			return
		}
		l.devices = append(l.devices, w.device)
		switch {
		case w.state != live && named:
			l.waiting = append(l.waiting, s.spell(w.device))
		case w.state != live && len(w.calls) == 0: // a snapshot follows when the book is complete
		case s.want.Snapshot && (named || all || len(w.calls) > 0) && (s.want.Link == "" || s.want.Link == w.link):
			l.pictures = append(l.pictures, picture{w.device, w.link, w.list()})
		}
	})
	slices.Sort(l.waiting)
	slices.SortFunc(l.pictures, func(a, b picture) int { return strings.Compare(a.device, b.device) })
	return l, err
}

// snapshots has what is due delivered next.
func (s *Subscription) snapshots() {
	s.at = max(s.at, s.due.at)
	for _, p := range s.due.pictures {
		if s.rights.MayObserve(p.device) {
			s.first = append(s.first, s.own(Snapshot, func(h Head) any { return Calls{h, s.spell(p.device), p.link, s.spellCalls(p.calls)} }))
		}
	}
	s.due = nil
}

// picture calls f with each watch, and returns the number of the last event that the books have.
func (r *Recorder) picture(ctx context.Context, f func(*watch)) (at uint64, err error) {
	number := make(chan uint64, 1)
	var failed error
	if err := r.do(ctx, func() {
		for _, w := range r.watches {
			f(w)
		}
		failed = r.cfg.Events.Append(nil, func(next uint64, _ error) { number <- next - 1 })
	}); err != nil {
		return 0, err
	}
	if failed != nil {
		return 0, failed
	}
	select {
	case at = <-number:
		return at, nil
	case <-ctx.Done():
		return 0, ctx.Err()
	}
}
