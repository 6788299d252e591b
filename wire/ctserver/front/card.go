// Package front makes devices look like the ports of a card that Voicetronix ctserver drives, for programs that were
// written for ctserver and for those who write them. It has no voice: files only seem to be played. It knows no link.
package front

import (
	"context"
	"net"
	"sync"
	"time"

	"github.com/tr87proxy/tr87proxy/internal/gate"
	"github.com/tr87proxy/tr87proxy/internal/kind"
	"github.com/tr87proxy/tr87proxy/wire/ctserver"
)

// name is the name of this front in rules, in the log and in the audit file.
const name = "ctserver"

// Config says which devices are the ports of a card, and who may use them.
type Config struct {
	kind.Access // only peers that Identify knows: the protocol has no login

	Devices  []string      // port 1, port 2, ...
	Ring     time.Duration // from one ring to the next; default 5 s
	Play     time.Duration // how long a file seems to play; default 2 s
	Shutdown func()        // carries out the command shutdown; nil: it is refused
}

// Card is a card whose ports are devices.
type Card struct {
	cfg  Config
	gate *gate.Gate

	mu    sync.Mutex
	ports map[int]*client // the connected ones, by handle
}

// New returns a card. It serves the listeners that [Card.Serve] is called with.
func New(cfg Config) *Card {
	if cfg.Ring == 0 {
		cfg.Ring = 5 * time.Second
	}
	if cfg.Play == 0 {
		cfg.Play = 2 * time.Second
	}
	c := &Card{cfg: cfg, ports: map[int]*client{}}
	c.gate = c.cfg.NewGate(name)
	return c
}

// Serve accepts the connections of one port, counted from 1, until ctx ends; port 0 is the manager connection. Then it
// closes them all, and returns once all of their goroutines have ended.
func (c *Card) Serve(ctx context.Context, l net.Listener, port int) error {
	return c.gate.Serve(ctx, l, func(ctx context.Context, guest *gate.Guest) {
		opening, ok := c.cfg.Admit(name, guest)
		if !ok {
			return
		}
		cl := &client{card: c, guest: guest, nc: guest.Conn, handle: port - 1, inbox: make(chan func(), clientInbox), ended: make(chan struct{})}
		if port == 0 {
			cl.handle = ctserver.Manager
		}
		cl.serve(ctx, opening)
	})
}

// claim makes a connection that of its port, in place of the one before.
func (c *Card) claim(cl *client) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ports[cl.handle] = cl
}

func (c *Card) release(cl *client) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ports[cl.handle] == cl {
		delete(c.ports, cl.handle)
	}
}

func (c *Card) port(handle int) *client {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.ports[handle]
}
