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
	waiting  []string          // that are not live, as the subscriber writes them
	refused  map[string]string // of waiting, those whose monitors were refused, and why
}

// picture is the calls of a device at one moment.
type picture struct {
	device, link string
	calls        []Call
}

// look looks at the wanted devices, and takes pictures of those that rights let the subscriber observe. all says that
// those without calls which only a pattern matches count, too. What the patterns match and the rights allow is found out
// before the recorder is asked: that has one goroutine for all.
func (s *Subscription) look(ctx context.Context, rights Rights, all bool) (*look, error) {
	l := &look{}
	devices := s.recorder.roster.all()
	may := make([]bool, len(devices))
	if s.want.Snapshot {
		for n, device := range devices {
			may[n] = s.matches(device, n) && rights.MayObserve(device)
		}
	} else if s.patterns != nil {
		s.patterns.learn()
	}
	var err error
	l.at, err = s.recorder.picture(ctx, func(w *watch) {
		named := s.names(w.device)
		if !named && (s.patterns == nil || !s.patterns.has(w.device, w.number)) {
			return
		}
		l.devices = append(l.devices, w.device)
		switch {
		case w.state != live && named:
			l.waiting = append(l.waiting, s.spell(w.device))
			if w.state == refused {
				if l.refused == nil {
					l.refused = map[string]string{}
				}
				l.refused[s.spell(w.device)] = w.why
			}
		case w.state != live && len(w.calls) == 0: // a snapshot follows when the book is complete
		case w.number >= 0 && w.number < len(may) && !may[w.number]:
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
