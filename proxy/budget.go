package proxy

import "sync/atomic"

// budget is how many octets of memory may be taken of something, by all that take of it.
type budget struct {
	most  int64
	taken atomic.Int64
}

// claim is what one thing has taken of a budget. Its owner guards it.
type claim struct {
	budget *budget
	octets int64
}

// take takes octets, unless there are not as many left.
func (c *claim) take(octets int) bool {
	n := int64(octets)
	if c.budget.taken.Add(n) > c.budget.most {
		c.budget.taken.Add(-n)
		return false
	}
	c.octets += n
	return true
}

// give gives octets back.
func (c *claim) give(octets int) {
	c.octets -= int64(octets)
	c.budget.taken.Add(-int64(octets))
}

// release gives back all.
func (c *claim) release() { c.give(int(c.octets)) }
