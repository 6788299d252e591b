package events

import (
	"context"
	"slices"
)

// review compares what the subscriber may observe with what it might at the last look. It is told of devices that it has
// lost; of those that it has gained it gets snapshots, if it wants any.
func (s *Subscription) review() error {
	before, now := s.rights, s.want.Rights()
	if now == before {
		return nil
	}
	l, err := s.look(context.Background(), now, true)
	if err != nil {
		return ErrClosed
	}
	s.rights = now
	var lost []string
	for _, device := range l.devices {
		if before.MayObserve(device) && !now.MayObserve(device) {
			lost = append(lost, s.spell(device))
		}
	}
	if lost != nil {
		slices.Sort(lost)
		s.first = append(s.first, s.own(Revoked, func(h Head) any {
			return Loss{h, lost, "the configuration does not let this identity observe these devices any more"}
		}))
	}
	if s.due == nil {
		l.pictures = slices.DeleteFunc(l.pictures, func(p picture) bool { return before.MayObserve(p.device) })
	}
	if len(l.pictures) == 0 {
		return nil
	}
	s.due = l
	if s.caught {
		s.uncatch()
	}
	return nil
}
