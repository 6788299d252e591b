package gate

import (
	"fmt"
	"net"
	"time"
)

// Commands is a connection on which we command and the peer replies in the same order: a Conn with
// commands of type C, as the protocol above knows them, that wait for their replies.
type Commands[C any] struct {
	*Conn
	window int            // commands that are on their way at once; 0: all
	fail   func(C, error) // takes why a command has no reply

	// guarded by Conn.mu
	waiting []*given[C]
	sent    int       // of these, from the first on
	patient time.Time // until when the reply to the first may take, whatever its own time
}

// given is a command that waits for its reply.
type given[C any] struct {
	Command[C]
	until time.Time
}

// Command is one for the peer.
type Command[C any] struct {
	Is      C
	Name    string        // for the reason why the connection ends when there is no reply
	Frame   []byte        // what is written
	Timeout time.Duration // for the reply, from when it is written; the connection ends after it
	Probe   bool          // it keeps the connection, such as a sign of life: there is room for one, however many others wait
}

// NewCommands makes a connection to a peer that takes so many commands at once; 0: as many as there
// are. fail gets each command that has no reply, once, and ErrClosed. It writes once Serve is called.
func NewCommands[C any](nc net.Conn, cfg Limits, window int, fail func(C, error)) *Commands[C] {
	cfg.SetDefaults()
	c := &Commands[C]{window: window, fail: fail}
	c.Conn = newConn(nc, cfg, 64, c)
	return c
}

// Give gives the peer a command once those before it are far enough, and does not wait for that. With
// an error it is not given, and does not fail: ErrClosed, ErrTooManyWaiting or ErrSlow.
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

// proceed writes commands as far as the window goes; c.mu is held.
func (c *Commands[C]) proceed() {
	for c.sent < len(c.waiting) && (c.window == 0 || c.sent < c.window) {
		next := c.waiting[c.sent]
		c.sent++
		_ = c.enqueue(next.Frame) // fails when the connection has ended
		next.Frame, next.until = nil, time.Now().Add(next.Timeout)
		c.watch(next.until)
	}
}

// First returns the command whose reply is the next; false: there is none.
func (c *Commands[C]) First() (command C, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.sent == 0 {
		return command, false
	}
	return c.waiting[0].Is, true
}

// Replied takes the command whose reply has come off those that wait, and returns it; false: there
// is none.
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

// pop takes the first command off those that wait; c.mu is held.
func (c *Commands[C]) pop() C {
	command := c.waiting[0].Is
	c.waiting[0] = nil
	c.waiting = c.waiting[1:]
	c.sent = max(c.sent-1, 0)
	return command
}

// Wait gives the command whose reply is coming, and those behind it, so much time from now on.
func (c *Commands[C]) Wait(more time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.patient = time.Now().Add(more)
}

// Waiting returns how many commands wait for replies.
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

// overdue implements requests: a peer that does not reply to one cannot be told to forget it.
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
		command := c.pop()
		c.mu.Unlock()
		c.fail(command, ErrClosed)
	}
}
