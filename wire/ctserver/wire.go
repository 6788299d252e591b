package ctserver

import (
	"bufio"
	"log/slog"
	"net"
	"time"

	"github.com/tr87proxy/tr87proxy/internal/gate"
)

// maxCommands is how many commands may wait for those before them.
const maxCommands = 32

// wire is the connection to one port. Commands are sent one after the other: a reply says to
// which command it belongs by its name only.
type wire struct {
	*gate.Commands[*command]
	in     *bufio.Reader
	handle int
	event  func(what, more string) // what happens on the line
}

// command is one that waits for its reply.
type command struct {
	name string
	done func(reply *line, err error)
}

func newWire(nc net.Conn, handle int, log *slog.Logger, event func(what, more string)) *wire {
	return &wire{
		Commands: gate.NewCommands(nc, gate.Limits{Log: log, MaxOutstanding: maxCommands}, 1, func(c *command, err error) { c.done(nil, err) }),
		in:       bufio.NewReaderSize(nc, maxLine), handle: handle, event: event,
	}
}

// send sends a command once those before it are answered. done is called with the reply,
// or with the reason why there is none; not when send itself fails.
func (w *wire) send(name string, timeout time.Duration, done func(*line, error), args ...string) error {
	return w.sendTo(w.handle, name, timeout, done, args...)
}

// sendTo sends a command that is for another port.
func (w *wire) sendTo(port int, name string, timeout time.Duration, done func(*line, error), args ...string) error {
	return w.give(port, name, gate.Command[*command]{Is: &command{name, done}, Timeout: timeout}, args...)
}

// probe sends the command that keeps the connection.
func (w *wire) probe(name string, timeout time.Duration, done func(*line, error)) error {
	return w.give(w.handle, name, gate.Command[*command]{Is: &command{name, done}, Timeout: timeout, Probe: true})
}

func (w *wire) give(port int, name string, c gate.Command[*command], args ...string) error {
	text, err := (&line{name: name, src: w.handle, dst: port, args: args}).text()
	if err != nil {
		return err
	}
	c.Name, c.Frame = name, []byte(text)
	return w.Give(c)
}

// read reads until the connection fails, and returns why.
func (w *wire) read() error {
	for {
		l, err := readLine(w.in)
		if err != nil {
			return err
		}
		w.take(l)
	}
}

// take takes a line: the reply to the command that was sent, or what has happened.
func (w *wire) take(l *line) {
	if c, waits := w.First(); waits && l.reply && l.name == c.name {
		_, _ = w.Replied()
		c.done(l, nil)
	}
	if what, more := l.event(); what != "" {
		w.event(what, more)
	}
}
