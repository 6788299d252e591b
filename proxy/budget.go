package proxy

import "sync/atomic"

// budget limits how many octets of memory all its claims may take together.
type budget struct {
	most  int64
	taken atomic.Int64
}

// claim is the share of a budget that one owner has taken. The owner guards it.
type claim struct {
	budget *budget
	octets int64
}

// take takes octets. It returns false, and takes none, if the budget has not that many left.
func (c *claim) take(octets int) bool {
	n := int64(octets)
	if c.budget.taken.Add(n) > c.budget.most {
		c.budget.taken.Add(-n)
		return false
	}
	c.octets += n
	return true
}

// give returns octets to the budget.
func (c *claim) give(octets int) {
	c.octets -= int64(octets)
	c.budget.taken.Add(-int64(octets))
}

// release returns all octets of the claim.
func (c *claim) release() { c.give(int(c.octets)) }
