package gate

import (
	"fmt"
	"net"
	"time"
)

// Commands is a [Conn] on which we send commands and the peer replies in the same order. C is
// the protocol's type of a command.
type Commands[C any] struct {
	*Conn
	window int            // commands sent and not replied to at once; 0 means no limit
	fail   func(C, error) // called for a command that gets no reply

	// Guarded by Conn.mu.
	waiting []*given[C]
	sent    int       // how many of waiting were sent; they come first
	patient time.Time // extends the timeout of the first command
}

// given is a command that awaits its reply.
type given[C any] struct {
	Command[C]
	until time.Time
}

// Command is a command for the peer.
type Command[C any] struct {
	Is      C
	Name    string        // names the command in the reason when its timeout closes the connection
	Frame   []byte        // what to send
	Timeout time.Duration // for the reply, from the time of sending; then the connection is closed
	Probe   bool          // keeps the connection alive; one is accepted however many others wait
}

// NewCommands returns a connection to a peer that accepts at most window commands before
// replying; 0 means any number. fail is called once for each command without reply, with
// [ErrClosed], or [ErrCut] once it was sent. Nothing is sent before Serve runs.
func NewCommands[C any](nc net.Conn, cfg Limits, window int, fail func(C, error)) *Commands[C] {
	cfg.SetDefaults()
	c := &Commands[C]{window: window, fail: fail}
	c.Conn = newConn(nc, cfg, 64, c)
	return c
}

// Give queues a command. It does not block. With an error ([ErrClosed], [ErrTooManyWaiting] or
// [ErrSlow]) the command is not queued, and fail is not called for it.
func (c *Commands[C]) Give(command Command[C]) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case !c.open():
		return ErrClosed
	case command.Probe && len(c.waiting) <= c.cfg.MaxOutstanding:
	case len(c.waiting) >= c.cfg.MaxOutstanding:
		return ErrTooManyWaiting
	case c.full(len(command.Frame)):
		return ErrSlow
	}
	c.waiting = append(c.waiting, &given[C]{Command: command})
	c.proceed()
	return nil
}

// proceed sends commands as far as the window permits. Callers hold c.mu.
func (c *Commands[C]) proceed() {
	for c.sent < len(c.waiting) && (c.window == 0 || c.sent < c.window) {
		next := c.waiting[c.sent]
		c.sent++
		_ = c.enqueue(next.Frame) // fails only after the connection was closed
		next.Frame, next.until = nil, time.Now().Add(next.Timeout)
		c.watch(next.until)
	}
}

// First returns the command whose reply is next. ok is false if there is none.
func (c *Commands[C]) First() (command C, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.sent == 0 {
		return command, false
	}
	return c.waiting[0].Is, true
}

// Replied removes and returns the command whose reply has arrived. ok is false if there is
// none.
func (c *Commands[C]) Replied() (command C, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.sent == 0 {
		return command, false
	}
	command = c.pop()
	c.proceed()
	return command, true
}

// pop removes the first command. Callers hold c.mu.
func (c *Commands[C]) pop() C {
	command := c.waiting[0].Is
	c.waiting[0] = nil
	c.waiting = c.waiting[1:]
	c.sent = max(c.sent-1, 0)
	return command
}

// Wait extends the timeouts of the command whose reply is arriving, and of those after it, to
// at least more from now.
func (c *Commands[C]) Wait(more time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.patient = time.Now().Add(more)
}

// Waiting returns the number of commands without reply.
func (c *Commands[C]) Waiting() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.waiting)
}

// nextDue implements requests.
func (c *Commands[C]) nextDue() time.Time {
	if c.sent == 0 {
		return time.Time{}
	}
	if until := c.waiting[0].until; until.After(c.patient) {
		return until
	}
	return c.patient
}

// overdue implements requests. It closes the connection, since a command cannot be withdrawn.
func (c *Commands[C]) overdue(now time.Time) {
	c.mu.Lock()
	due, name := c.nextDue(), ""
	if !due.IsZero() {
		name = c.waiting[0].Name
	}
	c.mu.Unlock()
	if !due.IsZero() && !due.After(now) {
		c.Close(fmt.Errorf("%s: %w", name, ErrTimeout))
	}
}

// abandon implements requests.
func (c *Commands[C]) abandon() {
	for c.Waiting() > 0 {
		c.mu.Lock()
		why := ErrClosed
		if c.sent > 0 {
			why = ErrCut
		}
		command := c.pop()
		c.mu.Unlock()
		c.fail(command, why)
	}
}
