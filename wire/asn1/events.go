package asn1

import (
	"errors"
	"log/slog"
	"slices"
	"strings"

	"github.com/tr87proxy/tr87proxy/internal/gate"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

// heldEvent is the frame of an event that waits, and the cross reference of its monitor.
type heldEvent struct {
	ref  string
	data []byte
}

// Send sends an event. While the queue is full it blocks, for gate.Limits.WriteTime at most; then the connection closes.
// Some peers take the next PDU for the answer to their request: events to them wait until their requests are answered.
func (c *Conn) Send(ev *uacsta.Message) {
	m, err := c.eventPDU(ev)
	if err != nil {
		return
	}
	data, err := c.codec.Frame(m)
	if err != nil {
		c.Report(slog.LevelError, "could not send PDU", "event", ev.Name(), "err", err)
		return
	}
	if c.hold(heldEvent{strings.Clone(ev.CrossRef()), data}) {
		return
	}
	_ = c.Push(data) // fails once the connection has ended
}

// eventPDU returns the PDU of an event. Its error is in the log.
func (c *Conn) eventPDU(ev *uacsta.Message) (*PDU, error) {
	m, err := c.codec.Event(ev)
	if err != nil {
		level := slog.LevelWarn
		if errors.Is(err, errUnknownService) { // nothing is wrong: the phase does not have it
			level = slog.LevelDebug
		}
		c.Report(level, "could not encode event", "flavour", c.codec.flavour.Name, "event", ev.Name(), "err", err)
		return nil, err
	}
	c.mu.Lock()
	c.lastEvent = c.lastEvent%maxID + 1
	m.SetInvokeID(c.lastEvent)
	c.mu.Unlock()
	return m, nil
}

// hold keeps an event while a request of the peer waits for its answer, where the flavour needs that.
func (c *Conn) hold(ev heldEvent) bool {
	if c.codec.flavour.notation == phase3 && !c.codec.flavour.exact {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.unanswered == 0 {
		return false
	}
	if c.heldOctets += len(ev.data); len(c.held) >= c.limits.QueueLength || c.heldOctets > c.limits.QueueOctets {
		c.Close(gate.ErrSlow)
		return true
	}
	c.held = append(c.held, ev)
	return true
}

// dropHeld drops the waiting events of a monitor; c.mu is held.
func (c *Conn) dropHeld(ref string) {
	c.held = slices.DeleteFunc(c.held, func(ev heldEvent) bool {
		if ev.ref == ref {
			c.heldOctets -= len(ev.data)
		}
		return ev.ref == ref
	})
}

// Notification returns an event as the datagram in which a switching function of Phase I sends it: a PDU without a frame.
// It returns an error, and logs it, if the phase does not have the event.
func (c *Conn) Notification(ev *uacsta.Message) ([]byte, error) {
	m, err := c.eventPDU(ev)
	if err != nil {
		return nil, err
	}
	return m.octets(), nil
}

// errNoEvent is the error of a datagram with another PDU.
var errNoEvent = errors.New("the PDU is not an event report")

// ReadNotification reads an event from a datagram, which has its length before it or not.
func (c *Conn) ReadNotification(data []byte) (*uacsta.Message, error) {
	if len(data) > 2 && int(data[0])<<8|int(data[1]) == len(data)-2 {
		data = data[2:]
	}
	m, err := c.codec.Parse(data, MaxElements)
	if err != nil {
		return nil, err
	}
	if !m.IsEvent() {
		return nil, errNoEvent
	}
	ev, _, err := c.codec.ReadEvent(m)
	return ev, err
}
