package softswitch

import (
	"slices"

	"github.com/tr87proxy/tr87proxy/uacsta"
)

// queue is the state of an ACD group.
type queue struct {
	Queue
	waiting []*connection
	agents  []*agent
}

// enter puts a call into a queue: it goes to an agent at once, or waits. A queue that has made the call (Make
// Predictive Call) is in it already.
func (c *call) enter(d *device) {
	q, x := d.queue, c.of(d)
	a := q.next(c)
	switch {
	case a == nil && len(q.waiting) >= q.MaxCalls:
		if x != nil {
			x.leave()
		}
		c.overflow(d, uacsta.CauseCapacityOverflow)
		return
	case x == nil:
		x = c.join(d, uacsta.Alerting)
		c.sw.emit(c, nil, uacsta.DeliveredEvent{Connection: x.id(), AlertingDevice: uacsta.Ext(d.number), Cause: uacsta.CauseEnteringDistribution})
	}
	if a != nil {
		a.serve(x)
		return
	}
	x.wait()
	x.limitWait()
}

// limitWait makes a call overflow after Queue.WaitTime.
func (x *connection) limitWait() {
	if c, d := x.call, x.device; d.queue.WaitTime > 0 {
		x.after(d.queue.WaitTime, func() {
			x.leave()
			c.overflow(d, uacsta.CauseQueueTimeOverflow)
		})
	}
}

// wait makes a call wait in the queue.
func (x *connection) wait() {
	q := x.device.queue
	x.become(uacsta.Queued)
	x.call.returning = nil // the queue has taken it, as the telephone that transferred it learns
	front := len(q.waiting)
	q.waiting = append(q.waiting, x)
	queued := front + 1
	x.call.sw.emit(x.call, nil, uacsta.QueuedEvent{
		QueuedConnection: x.id(), Queue: uacsta.Ext(x.device.number), NumberQueued: &queued, CallsInFront: &front, Cause: uacsta.CauseNoAvailableAgents,
	})
}

// overflow sends a call to the overflow destination. Without one, the call fails.
func (c *call) overflow(d *device, cause uacsta.EventCause) {
	if d.queue.Overflow == "" {
		c.refuse(d, uacsta.CauseACDSaturated)
		return
	}
	c.divert(d, d.queue.Overflow, cause)
	c.present(c.remaining(), d.queue.Overflow, cause)
}

// next returns the agent who has been ready longest and whose phone is free, or nil.
func (q *queue) next(c *call) *agent {
	var best *agent
	for _, a := range q.agents {
		if a.state == uacsta.AgentReady && !a.rung() && a.device.idle() && a.device.takes(c) && (best == nil || a.since < best.since) {
			best = a
		}
	}
	return best
}

// rung reports whether the agent's phone already rings for a queue.
func (a *agent) rung() bool {
	return slices.ContainsFunc(a.device.connections, func(x *connection) bool { return x.agent != nil && x.state == uacsta.Alerting })
}

// serve takes a call from the queue and rings the agent.
func (a *agent) serve(x *connection) {
	c := x.call
	x.leave()
	x.divert(a.device.number, uacsta.CauseDistributed)
	y := c.join(a.device, uacsta.Null)
	y.group, y.agent = a.group, a
	y.alert(uacsta.CauseDistributed)
}

// missed handles a call that an agent did not answer: the agent becomes not ready, and the call
// goes to the next agent or waits again.
func (q *queue) missed(x *connection) {
	a, c, group := x.agent, x.call, x.group
	a.become(uacsta.AgentNotReady, uacsta.CauseForcedPause)
	x.agent = nil
	if c.of(group) != nil { // the far end of a predictive call rang meanwhile, and has sent the call here
		x.clear(uacsta.CauseCallNotAnswered)
		return
	}
	x.leave()
	x.divert(group.number, uacsta.CauseRedirected)
	c.enter(group)
}

// settle gives a waiting call to an agent who has become free. It reports whether it did.
func (q *queue) settle() bool {
	for _, x := range q.waiting {
		if a := q.next(x.call); a != nil {
			a.serve(x)
			return true
		}
	}
	return false
}
