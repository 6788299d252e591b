package link

import (
	"context"
	"errors"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/tr87proxy/tr87proxy/internal/gate"
	"github.com/tr87proxy/tr87proxy/internal/kind"
	"github.com/tr87proxy/tr87proxy/proxy/linktest"
	"github.com/tr87proxy/tr87proxy/uacsta"
	"github.com/tr87proxy/tr87proxy/wire/asn1"
)

// silent takes what a link tells.
type silent struct{ ready chan struct{} }

func (s silent) Ready()                        { close(s.ready) }
func (s silent) Event(*uacsta.Message)         {}
func (s silent) Request(*uacsta.Message) error { return nil }

// slowCalls is a PBX that answers each heartbeat at once, and no MakeCall.
type slowCalls struct {
	exchange
	alive chan struct{}
}

func (e *slowCalls) Request(req *uacsta.Message, answer func(*uacsta.Message)) {
	if req.Name() != uacsta.NameSystemStatus {
		return
	}
	answer(uacsta.Accept(req, asn1.Edition))
	select {
	case e.alive <- struct{}{}:
	default: // it has been told
	}
}

// Requests of clients that wait for answers never take the room of the link's heartbeat.
func TestHeartbeatAmongRequests(t *testing.T) {
	e := &slowCalls{alive: make(chan struct{})}
	address := linktest.Listen(t, func(ctx context.Context, nc net.Conn) {
		e.conn = asn1.NewConn(nc, e, asn1.NewCodec(asn1.HiPath, asn1.AnyCallIDs), gate.Limits{})
		_ = e.conn.Serve(ctx)
	})
	ctx, cancel := context.WithCancel(context.Background())
	var group sync.WaitGroup
	defer group.Wait()
	defer cancel()
	link, up := New(Config{Dialling: kind.Dialling{Addresses: []string{address}, Heartbeat: 20 * time.Millisecond, Conn: gate.Limits{Timeout: time.Minute}}, Flavour: asn1.HiPath}), silent{make(chan struct{})}
	ended := make(chan error, 1)
	group.Go(func() { ended <- link.Run(ctx, up) })
	wait := func(what string, c <-chan struct{}) {
		t.Helper()
		select {
		case <-c:
		case err := <-ended:
			t.Fatalf("%s: the link ended: %v", what, err)
		case <-time.After(20 * time.Second):
			t.Fatal(what)
		}
	}
	wait("ready", up.ready)
	const many = 127 // invoke IDs
	full := make(chan struct{}, many)
	for range many {
		link.Request(uacsta.Encode(uacsta.MakeCall{CallingDevice: uacsta.Dev("200"), CalledDirectoryNumber: uacsta.Dev("900")}, asn1.Edition), func(_ *uacsta.Message, err error) {
			if errors.Is(err, uacsta.Refuse(uacsta.SubscribedResourceAvailability, uacsta.OutstandingReqLimitExceeded)) {
				full <- struct{}{}
			}
		})
	}
	wait("no request is refused", full)
	for range 3 { // one may have been asked before
		wait("no heartbeat", e.alive)
	}
}
