package fronttest

import (
	"fmt"
	"log/slog"
	"net"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tr87proxy/tr87proxy/policy"
	"github.com/tr87proxy/tr87proxy/proxy"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

// A Kit describes the front under test to [Test].
type Kit struct {
	// Start starts the front with a proxy behind it. The front listens with listen or, if it cannot be
	// given a listener, on loopback. Every client that connects is [Somebody]. A front with a
	// configurable wait for clients waits 200 ms.
	Start func(p *proxy.Proxy, log *slog.Logger, listen Listen) (Front, error)
	// Bubble reports whether the front listens only with what Start is given. Each check then runs
	// twice: over sockets, and over pipes under testing/synctest.
	Bubble bool
	// Wire returns the client's end of a connection that the client of this device has dialled.
	Wire func(nc net.Conn, device string) Wire
	// Watched says that the protocol has no monitors: a client monitors its device from the start.
	// Events and responses then need no cross references and calls.
	Watched bool
	// Mark makes the nth event that the suite sends to a monitor of the device, and Marked returns n
	// from the message that a client got. Default: a DeliveredEvent of a call from number 5000+n.
	Mark   func(ref, device string, n int) any
	Marked func(ev *uacsta.Message) (n int, is bool)
	// Marks is the number of different marks, which then repeat from 0. 0 means no limit.
	Marks int
	// Patience is the timeout of everything that must happen. Default: wait.Limit (1 min).
	Patience time.Duration
	// Without names the checks to skip, each with what in the protocol prevents it.
	Without map[string]string
}

// Front is a running front.
type Front struct {
	// Dial connects the client of a device.
	Dial func(device string) (net.Conn, error)
	// Stop stops the front and returns when nothing of it is left.
	Stop func()
}

// Wire is a client's end of one connection in the front's protocol. One goroutine calls Read, another
// one the other methods.
type Wire interface {
	// Open opens the association, and reads whatever that requires.
	Open() error
	// Request sends a request, a message of CSTA edition 3, under a client reference that stands for
	// n, from 1 on.
	Request(n int, req *uacsta.Message) error
	// Read returns the next response or event. It sends the responses that the protocol requires
	// itself. An error means that the association or the connection has ended.
	Read() (Heard, error)
	// Leave ends the association in the protocol's way. Read continues until its error.
	Leave() error
}

// A DocumentWire is a Wire whose requests are ECMA-323 documents. For a protocol with another
// notation, Kit.Without skips the check "an ambiguous request".
type DocumentWire interface {
	Wire
	// Document sends a request unchanged, under the reference that stands for n.
	Document(n int, document []byte) error
}

// Heard is a message that a client has read.
type Heard struct {
	Answer  int // the request that it answers; 0: an event, or a request of the switching function
	Message *uacsta.Message
}

// Somebody is the identity of every client of the suite.
var Somebody = policy.Identity{Name: "somebody", How: "fronttest"}

// Devices are the devices of the switching function. The suite's clients have the first two.
var Devices = []string{"100", "101", "102"}

// poison is a device at whose name the proxy panics, in the goroutine of the request.
const poison = "666"

// Test runs all checks with a front, each with a new one.
func Test(t *testing.T, kit Kit) {
	t.Helper()
	for name := range kit.Without {
		if !slices.ContainsFunc(checks, func(c check) bool { return c.name == name }) {
			t.Errorf("Kit.Without names %q, which is no check", name)
		}
	}
	if !kit.Bubble {
		kit.play(t, false)
		return
	}
	t.Run("over sockets", func(t *testing.T) { kit.play(t, false) })
	t.Run("in a bubble", func(t *testing.T) { kit.play(t, true) })
}

// play runs all checks, each in a bubble or not.
func (k Kit) play(t *testing.T, bubble bool) {
	for _, c := range checks {
		t.Run(c.name, func(t *testing.T) {
			switch why := k.Without[c.name]; {
			case why != "":
				t.Skip(why)
			case c.run == nil:
				histories(t, k, bubble)
			default:
				if err := inside(t, bubble, func() error { return c.play(k, bubble) }); err != nil {
					t.Error(err)
				}
			}
		})
	}
}

// inside calls a function, in a bubble or not.
func inside(t *testing.T, bubble bool, what func() error) (err error) {
	if !bubble {
		return what()
	}
	synctest.Test(t, func(*testing.T) { err = what() })
	return err
}

// check is one check of the suite.
type check struct {
	name   string
	run    func(b *bench)
	linger time.Duration // Config.Linger of the proxy
}

// play runs a check with a new front, and checks that nothing of it is left.
func (c check) play(kit Kit, bubble bool) error {
	b, err := newBench(kit, bubble, c.linger)
	if err != nil {
		return err
	}
	err = try(func() { c.run(b) })
	if left := try(b.end); err == nil { // after a failure, leftovers mean nothing
		err = left
	}
	return err
}

// failure is the panic of a check that fails.
type failure struct{ error }

// fail ends a check with a failure.
func fail(format string, args ...any) { panic(failure{fmt.Errorf(format, args...)}) }

// try runs a part of a check and returns why it failed.
func try(f func()) (err error) {
	defer func() {
		switch p := recover().(type) {
		case nil:
		case failure:
			err = p.error
		default:
			panic(p)
		}
	}()
	f()
	return nil
}
