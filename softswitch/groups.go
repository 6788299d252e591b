package softswitch

import (
	"slices"

	"github.com/tr87proxy/tr87proxy/uacsta"
)

// hunt is the state of a hunt group.
type hunt struct {
	order   Order
	rings   int
	members []*device
	last    int // index of the member that rang last
}

// takes reports whether the call can ring at the device now.
func (d *device) takes(c *call) bool { return c.admits(d) && !d.busy() && !d.dnd.refuses(c) }

// huntIn rings a member of the group. If none is free, the call fails.
func (c *call) huntIn(group *device) {
	h := group.hunt
	start := 0
	if h.order == Cyclic {
		start = h.last + 1
	}
	i := h.free(c, start, len(h.members))
	if i < 0 {
		c.refuse(group, uacsta.CauseBusy)
		return
	}
	h.last = i
	c.divert(group, h.members[i].number, uacsta.CauseDistributed)
	c.ring(h.members[i], uacsta.CauseDistributed, group)
}

// free returns the index of the first member from start on that can ring, or -1. It wraps
// around and looks at among members.
func (h *hunt) free(c *call, start, among int) int {
	for n := range among {
		if i := (start + n) % len(h.members); h.members[i].takes(c) {
			return i
		}
	}
	return -1
}

// next rings another member after no answer: instead of x or, in a cascade, in addition.
func (h *hunt) next(x *connection) {
	if len(h.members) == 0 {
		return
	}
	at := slices.Index(h.members, x.device)
	i := h.free(x.call, at+1, len(h.members)-1)
	if i < 0 {
		x.after(x.call.ringTime(h.rings), func() { h.next(x) })
		return
	}
	c, group, member := x.call, x.group, h.members[i]
	h.last = i
	if h.order == Cascade {
		c.ring(member, uacsta.CauseMultipleAlerting, group)
		return
	}
	x.leave()
	x.divert(member.number, uacsta.CauseDistributed)
	c.ring(member, uacsta.CauseDistributed, group)
}
