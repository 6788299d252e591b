package link

import (
	"bufio"
	"net"
	"time"

	"github.com/tr87proxy/tr87proxy/internal/gate"
	"github.com/tr87proxy/tr87proxy/internal/trace"
	"github.com/tr87proxy/tr87proxy/wire/ctserver"
)

// maxCommands is how many commands may wait for a reply.
const maxCommands = 32

// wire is the connection to one port. It sends one command at a time, for a reply only has the name of its command.
type wire struct {
	*gate.Commands[*command]
	input  *trace.Input
	in     *bufio.Reader // of input
	handle int
	event  func(what, more string) // takes events on the telephone line
}

// command is a command without its reply.
type command struct {
	name string
	done func(reply *ctserver.Line, err error)
}

func newWire(nc net.Conn, handle int, cfg *Config, event func(what, more string)) *wire {
	limits := gate.Limits{Log: cfg.Log, MaxOutstanding: maxCommands, Tap: cfg.Tap.On("ctserver", nc, nil)}
	input := limits.Tap.Input(nc)
	return &wire{
		Commands: gate.NewCommands(nc, limits, 1, func(c *command, err error) { c.done(nil, err) }),
		input:    input, in: bufio.NewReaderSize(input, ctserver.MaxLine), handle: handle, event: event,
	}
}

// send sends a command once those before it have their replies. It calls done with the reply, or with an error of package
// gate if there is none. If send returns an error, it does not call done.
func (w *wire) send(name string, timeout time.Duration, done func(*ctserver.Line, error), args ...string) error {
	return w.sendTo(w.handle, name, timeout, done, args...)
}

// sendTo is send for a command to another port.
func (w *wire) sendTo(port int, name string, timeout time.Duration, done func(*ctserver.Line, error), args ...string) error {
	return w.give(port, name, gate.Command[*command]{Is: &command{name, done}, Timeout: timeout}, args...)
}

// probe is send for the heartbeat of the connection: other commands always leave room for it.
func (w *wire) probe(name string, timeout time.Duration, done func(*ctserver.Line, error)) error {
	return w.give(w.handle, name, gate.Command[*command]{Is: &command{name, done}, Timeout: timeout, Probe: true})
}

func (w *wire) give(port int, name string, c gate.Command[*command], args ...string) error {
	text, err := (&ctserver.Line{Name: name, Src: w.handle, Dst: port, Args: args}).Text()
	if err != nil {
		return err
	}
	c.Name, c.Frame = name, []byte(text)
	return w.Give(c)
}

// read reads lines until the connection fails, and returns the reason.
func (w *wire) read() error {
	for {
		l, err := ctserver.ReadLine(w.in)
		w.input.Keep(w.in, false)
		if err != nil {
			return err
		}
		w.take(l)
	}
}

// take takes a line: the reply to the command, an event, or both.
func (w *wire) take(l *ctserver.Line) {
	if c, waits := w.First(); waits && l.Reply && l.Name == c.name {
		_, _ = w.Replied()
		c.done(l, nil)
	}
	if what, more := l.Event(); what != "" {
		w.event(what, more)
	}
}
