package webhook

import (
	"cmp"
	"slices"
)

// Status is a hook without its secrets, and how it is doing.
type Status struct {
	Hook

	Delivered int64  `json:"delivered"`         // events
	Failed    int64  `json:"failed"`            // attempts
	Retried   int64  `json:"retried"`           // attempts after which another follows
	Dead      int64  `json:"dead"`              // events that became dead letters
	Letters   int    `json:"letters"`           // dead letters, now
	Lost      int64  `json:"lost"`              // events that left the log, or the dead letters, before they were delivered
	Waiting   int64  `json:"waiting"`           // events, now
	Failure   string `json:"failure,omitempty"` // why the last attempt failed; "" after a success
	Disabled  bool   `json:"disabled"`          // it delivers nothing until it is enabled
	Why       string `json:"why,omitempty"`     // it is disabled
	NoRoom    bool   `json:"noRoom"`            // what the hook wants is not in the log (see [Sender.NoRoom])
}

// NoRoom notes whether there is no room to put into the log what a hook wants. [Status] tells it.
func (s *Sender) NoRoom(owner, name string, none bool) {
	if d := s.find(owner, name); d != nil {
		d.counts.noRoom.Store(none)
	}
}

// Has reports whether there is a hook.
func (s *Sender) Has(owner, name string) bool { return s.find(owner, name) != nil }

// List returns the hooks of an owner, in order of names.
func (s *Sender) List(owner string) []Status {
	return s.statuses(slices.DeleteFunc(s.all(), func(d *delivery) bool { return d.target.hook.Owner != owner }))
}

// All returns all hooks, in order of owners and names.
func (s *Sender) All() []Status { return s.statuses(s.all()) }

// statuses returns how hooks are doing, in order of owners and names.
func (s *Sender) statuses(hooks []*delivery) []Status {
	list := make([]Status, 0, len(hooks))
	for _, d := range hooks {
		c := d.counts
		status := Status{
			Hook: d.target.hook.shown(), Delivered: c.delivered.Load(), Failed: c.failed.Load(), Retried: c.retried.Load(), Dead: c.dead.Load(),
			Lost: c.lost.Load(), Letters: d.letters.count(), Waiting: c.waiting.Load(), NoRoom: c.noRoom.Load(),
		}
		if off := d.off.Load(); off != nil {
			status.Disabled, status.Why = true, *off
		} else if err := s.lapsed(d.target.hook); err != nil {
			status.Disabled, status.Why = true, err.Error()
		}
		if reason := d.reason.Load(); reason != nil {
			status.Failure = *reason
		}
		list = append(list, status)
	}
	slices.SortFunc(list, func(a, b Status) int { return cmp.Or(cmp.Compare(a.Owner, b.Owner), cmp.Compare(a.Name, b.Name)) })
	return list
}
