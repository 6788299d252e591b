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

// Kit says how to start one front, and how to speak to it.
type Kit struct {
	// Start starts the front before a proxy. It listens by listen, or, where it cannot be given
	// a listener, on loopback. Every client that connects is [Somebody]. A front that can be told how
	// long it waits for a client is told 200 ms.
	Start func(p *proxy.Proxy, log *slog.Logger, listen Listen) (Front, error)
	// Bubble reports whether the front listens by what Start is given. Each check is then played
	// twice: over sockets, and under testing/synctest over pipes.
	Bubble bool
	// Wire makes the client's end of a connection, which the client of this device has dialled.
	Wire func(nc net.Conn, device string) Wire
	// Watched says that the protocol has no monitors: a client watches its device from the
	// beginning. Events and answers then need name no cross references and calls.
	Watched bool
	// Mark makes the nth event that the suite sends to a monitor of the device, and Marked finds n in
	// what a client got of it. The default is a DeliveredEvent of a call from number 5000+n.
	Mark   func(ref, device string, n int) any
	Marked func(ev *uacsta.Message) (n int, is bool)
	// Marks is how many marks there are: others come again from 0 on. 0: there is no end of them.
	Marks int
	// Patience is how long the suite waits for what must come; 20 s.
	Patience time.Duration
	// Without names the checks that are not played, each with what in the protocol forbids it.
	Without map[string]string
}

// Front is a front that serves.
type Front struct {
	// Dial connects the client of a device.
	Dial func(device string) (net.Conn, error)
	// Stop ends the front, and returns when nothing of it is left.
	Stop func()
}

// Wire is a client's end of one connection, in the words of the front's protocol. Read is called on
// one goroutine, the others on another one.
type Wire interface {
	// Open opens the association; it reads by itself what that needs.
	Open() error
	// Request sends a request, which is a message of CSTA edition 3, under a reference of the
	// client's that stands for n, from 1 on.
	Request(n int, req *uacsta.Message) error
	// Read returns the next answer or event. It answers by itself what the protocol wants answered.
	// Its error says that the association, or the connection, has ended.
	Read() (Heard, error)
	// Leave takes leave as the protocol has it. Read goes on until its error.
	Leave() error
}

// A DocumentWire is a Wire whose requests are documents of ECMA-323. Where the protocol has another
// notation, Kit.Without says of the check "an ambiguous request" that there is none.
type DocumentWire interface {
	Wire
	// Document sends a request as it stands, under the reference that stands for n.
	Document(n int, document []byte) error
}

// Heard is what a client has read.
type Heard struct {
	Answer  int // which request it answers; 0: it is an event, or a request of the switching function
	Message *uacsta.Message
}

// Somebody is every client of the suite.
var Somebody = policy.Identity{Name: "somebody", How: "fronttest"}

// Devices are those of the switching function. The clients of the suite have the first two.
var Devices = []string{"100", "101", "102"}

// poison is a device at whose name the proxy panics, on the goroutine that asks for something with it.
const poison = "666"

// Test plays all checks with a front, each with a new one.
func Test(t *testing.T, kit Kit) {
	t.Helper()
	for name := range kit.Without {
		if !slices.ContainsFunc(checks, func(c check) bool { return c.name == name }) {
			t.Errorf("there is no check %q to leave out", name)
		}
	}
	if !kit.Bubble {
		kit.play(t, false)
		return
	}
	t.Run("over sockets", func(t *testing.T) { kit.play(t, false) })
	t.Run("in a bubble", func(t *testing.T) { kit.play(t, true) })
}

// play plays all checks, in a bubble each or not.
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

// inside does something, in a bubble or not.
func inside(t *testing.T, bubble bool, what func() error) (err error) {
	if !bubble {
		return what()
	}
	synctest.Test(t, func(*testing.T) { err = what() })
	return err
}

// check is one of the suite.
type check struct {
	name   string
	run    func(b *bench)
	linger time.Duration // of monitors of lost clients
}

// play plays a check with a new front, and looks whether anything is left of it.
func (c check) play(kit Kit, bubble bool) error {
	b, err := newBench(kit, bubble, c.linger)
	if err != nil {
		return err
	}
	err = try(func() { c.run(b) })
	if left := try(b.end); err == nil { // what is left says nothing when the check broke off
		err = left
	}
	return err
}

// failure is what a check panics with when it fails.
type failure struct{ error }

// fail ends a check.
func fail(format string, args ...any) { panic(failure{fmt.Errorf(format, args...)}) }

// try runs a piece of a check, and returns why it failed.
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
