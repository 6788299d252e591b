package link

import (
	"context"
	"net"
	"testing"
	"time"

	"github.com/tr87proxy/tr87proxy/internal/gate"
	"github.com/tr87proxy/tr87proxy/internal/kind"
	"github.com/tr87proxy/tr87proxy/proxy/linktest"
	"github.com/tr87proxy/tr87proxy/uacsta"
	"github.com/tr87proxy/tr87proxy/wire/cstaxml"
)

// exchange is a PBX that speaks CSTA-XML; it is the cstaxml.Handler of each of its connections.
type exchange struct {
	conn *cstaxml.Conn
	line *linktest.Line
}

func (e *exchange) Request(req *uacsta.Message, answer func(*uacsta.Message)) {
	e.line.Request(req, answer)
}

func (e *exchange) Unclear(u *uacsta.Unclear, answer func(*uacsta.Message)) {
	answer(u.Refusal.Message(uacsta.Edition3))
}

func (e *exchange) Event(*uacsta.Message) error { return nil }

func TestLinkContract(t *testing.T) {
	linktest.Test(t, linktest.Kit{New: func(t testing.TB) *linktest.Rig {
		pbx := &linktest.PBX{}
		relay := linktest.NewRelay(t, linktest.Listen(t, func(ctx context.Context, nc net.Conn) {
			e := &exchange{}
			e.conn = cstaxml.NewConn(nc, e, gate.Limits{QueueLength: 1 << 16, QueueOctets: 1 << 26})
			e.line = pbx.Connect(func(ev *uacsta.Message) { _ = e.conn.Send(ev) })
			defer e.line.Close()
			_ = e.conn.Serve(ctx)
		}))
		return &linktest.Rig{
			Link: New(Config{Dialling: kind.Dialling{Addresses: []string{relay.Address()}, Conn: gate.Limits{Timeout: 5 * time.Second}, Heartbeat: 2 * time.Second}}), Device: "100", Called: "101",
			Tell: func() { pbx.Ring("100") }, Relay: relay, Heard: pbx.Heard,
		}
	}, Without: map[string]string{}})
}
