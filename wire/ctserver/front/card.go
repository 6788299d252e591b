// Package front makes devices look like the ports of a card that Voicetronix ctserver drives, for programs that were
// written for ctserver and for those who write them. Ports hear what other ports of the card play in the same call, but no
// telephone. It knows no link.
package front

import (
	"cmp"
	"context"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/tr87proxy/tr87proxy/internal/audio"
	"github.com/tr87proxy/tr87proxy/internal/gate"
	"github.com/tr87proxy/tr87proxy/internal/kind"
	"github.com/tr87proxy/tr87proxy/uacsta"
	"github.com/tr87proxy/tr87proxy/wire/ctserver"
)

// name is the name of this front in rules, in the log and in the audit file.
const name = "ctserver"

// Config says which devices are the ports of a card, and who may use them.
type Config struct {
	kind.Access // only peers that Identify knows: the protocol has no login

	Devices []string         // port 1, port 2, ...
	Ring    time.Duration    // from one ring to the next; default 5 s
	Sounds  *audio.Directory // the files that programs play and record; nil: they cannot record
	Play    time.Duration    // how long a file outside Sounds seems to play; default 2 s
	Version string           // the reply to the command serversion
}

// Card is a card whose ports are devices.
type Card struct {
	cfg  Config
	gate *gate.Gate

	mu     sync.Mutex
	ports  map[int]*client // the connected ones, by handle
	words  map[int]string  // their status
	lifted map[int]bool    // ports that the last program has left off hook
	voices map[int]voice   // those that play a file
}

// New returns a card. It serves the listeners that [Card.Serve] is called with.
func New(cfg Config) *Card {
	if cfg.Ring == 0 {
		cfg.Ring = 5 * time.Second
	}
	if cfg.Play == 0 {
		cfg.Play = 2 * time.Second
	}
	c := &Card{cfg: cfg, ports: map[int]*client{}, words: map[int]string{}, lifted: map[int]bool{}, voices: map[int]voice{}}
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
		cl := &client{card: c, guest: guest, tap: c.cfg.Conn.Tap.On("ctserver", guest.Conn, nil), nc: guest.Conn, handle: port - 1, inbox: make(chan func(), clientInbox), ended: make(chan struct{}), quit: make(chan struct{})}
		if port == 0 {
			cl.handle = ctserver.Manager
		}
		cl.serve(ctx, opening)
	})
}

// claim makes a connection that of its port, in place of the one before. If the program of that has left, its commands end.
// The port is on hook or off as the last program has left it.
func (c *Card) claim(cl *client) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if old := c.ports[cl.handle]; old != nil {
		old.post(func() {
			if old.gone {
				old.close()
			}
		})
	}
	cl.offHook = c.lifted[cl.handle]
	c.ports[cl.handle], c.words[cl.handle] = cl, cl.status()
}

func (c *Card) release(cl *client) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ports[cl.handle] == cl {
		c.lifted[cl.handle] = cl.offHook
		delete(c.ports, cl.handle)
		delete(c.words, cl.handle)
		delete(c.voices, cl.handle)
	}
}

func (c *Card) port(handle int) *client {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.ports[handle]
}

// note notes the status of a port.
func (c *Card) note(cl *client, word string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ports[cl.handle] == cl {
		c.words[cl.handle] = word
	}
}

// status returns the status of a port in one word, or of all for the handle of the manager connection. It returns "" if
// there is no such port.
func (c *Card) status(handle int) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	of := func(handle int) string { return cmp.Or(c.words[handle], "free") }
	if handle != ctserver.Manager {
		if handle < 0 || handle >= len(c.cfg.Devices) {
			return ""
		}
		return of(handle)
	}
	all := make([]string, 0, len(c.cfg.Devices))
	for handle := range c.cfg.Devices {
		all = append(all, strconv.Itoa(handle+1)+":"+of(handle))
	}
	return strings.Join(all, ",")
}

// speak tells the other ports in its call what a port plays from now on.
func (c *Card) speak(v voice) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.voices[v.handle] = v
	for handle, other := range c.ports {
		if handle != v.handle {
			other.post(func() {
				if other.active != nil && other.active.CallID == v.call {
					other.hears(v)
				}
			})
		}
	}
}

// playing returns what ports other than this one play in a call.
func (c *Card) playing(handle int, call *uacsta.ConnectionID) (list []voice) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, v := range c.voices {
		if v.handle != handle && call != nil && v.call == call.CallID && time.Now().Before(v.until) {
			list = append(list, v)
		}
	}
	return list
}
