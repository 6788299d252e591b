package ctserver

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"
)

// Why a command has no reply.
var (
	errClosed  = errors.New("the connection to the port is closed")
	errTimeout = errors.New("ctserver gave no answer in time")
	errFull    = errors.New("too many commands wait")
)

// maxCommands is how many commands may wait for those before them.
const maxCommands = 32

// writeTime is how long ctserver may take to take a line.
const writeTime = 10 * time.Second

// wire is the connection to one port. Commands are sent one after the other: a reply says to
// which command it belongs by its name only.
type wire struct {
	nc     net.Conn
	handle int
	event  func(what, more string) // what happens on the line

	finished chan struct{} // closed when the connection is, and nobody is told anything more

	mu      sync.Mutex
	waiting []*command // the first has been sent
	timer   *time.Timer
	closed  error
}

// command is one that waits for its reply.
type command struct {
	text    string
	name    string
	timeout time.Duration
	done    func(reply *line, err error)
}

// send sends a command once those before it are answered. done is called with the reply,
// or with the reason why there is none; not when send itself fails.
func (w *wire) send(name string, timeout time.Duration, done func(*line, error), args ...string) error {
	return w.sendTo(w.handle, name, timeout, done, args...)
}

// sendTo sends a command that is for another port.
func (w *wire) sendTo(port int, name string, timeout time.Duration, done func(*line, error), args ...string) error {
	text, err := (&line{name: name, src: w.handle, dst: port, args: args}).text()
	if err != nil {
		return err
	}
	return w.queue(&command{text, name, timeout, done})
}

func (w *wire) queue(c *command) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case w.closed != nil:
		return errClosed
	case len(w.waiting) >= maxCommands:
		return errFull
	}
	w.waiting = append(w.waiting, c)
	if len(w.waiting) == 1 {
		w.begin()
	}
	return nil
}

// begin sends the first of the commands that wait; w.mu is held. What cannot be written ends
// the connection: reading fails then, too.
func (w *wire) begin() {
	c := w.waiting[0]
	w.timer = time.AfterFunc(c.timeout, func() { w.close(fmt.Errorf("%s: %w", c.name, errTimeout)) })
	_ = w.nc.SetWriteDeadline(time.Now().Add(writeTime))
	if _, err := w.nc.Write([]byte(c.text)); err != nil {
		_ = w.nc.Close()
	}
}

// serve reads until the connection fails or ctx ends, and returns why.
func (w *wire) serve(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() { w.close(ctx.Err()) })
	defer stop()
	r := bufio.NewReaderSize(w.nc, maxLine)
	for {
		l, err := readLine(r)
		if err != nil {
			w.close(err)
			<-w.finished
			w.mu.Lock()
			defer w.mu.Unlock()
			return w.closed
		}
		w.take(l)
	}
}

// take takes a line: the reply to the command that was sent, or what has happened.
func (w *wire) take(l *line) {
	w.mu.Lock()
	var c *command
	if len(w.waiting) > 0 && l.reply && l.name == w.waiting[0].name {
		c = w.waiting[0]
		w.timer.Stop()
		w.waiting = w.waiting[1:]
		if len(w.waiting) > 0 {
			w.begin()
		}
	}
	w.mu.Unlock()
	if c != nil {
		c.done(l, nil)
	}
	if what, more := l.event(); what != "" {
		w.event(what, more)
	}
}

// close ends the connection; the first reason counts. What waits has no reply.
func (w *wire) close(why error) {
	w.mu.Lock()
	if w.closed != nil {
		w.mu.Unlock()
		return
	}
	w.closed = why
	orphans := w.waiting
	w.waiting = nil
	if w.timer != nil {
		w.timer.Stop()
	}
	w.mu.Unlock()
	_ = w.nc.Close()
	for _, c := range orphans {
		c.done(nil, errClosed)
	}
	close(w.finished)
}
