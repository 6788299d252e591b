package asn1

import (
	"context"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/tr87proxy/tr87proxy/internal/gate"
	"github.com/tr87proxy/tr87proxy/proxy/linktest"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

// exchange is a PBX that speaks ASN.1; it is the handler of each of its connections.
type exchange struct {
	conn *conn
	line *linktest.Line
}

func (e *exchange) associate(a *association) error {
	if a.kind != associateRequest {
		return errAborted
	}
	e.conn.open()
	e.conn.queueAssociation(&association{kind: associateResponse, result: accepted, stamp: make([]byte, 16), version: []byte("PBX")})
	e.conn.ask(uacsta.Encode(uacsta.SystemStatus{SystemStatus: uacsta.StatusNormal}, edition), func(*uacsta.Message, error) {})
	return nil
}

func (e *exchange) request(req *uacsta.Message, answer func(*uacsta.Message)) {
	e.line.Request(req, answer)
}

func (e *exchange) event(*uacsta.Message) error { return nil }

// serveExchange serves a PBX until the test ends, and returns its address.
func serveExchange(t testing.TB, pbx *linktest.PBX, flavour Flavour) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var group sync.WaitGroup
	group.Go(func() {
		for {
			nc, err := l.Accept()
			if err != nil {
				return
			}
			group.Go(func() {
				e := &exchange{}
				e.conn = newConn(nc, e, flavour, anyCallIDs, gate.Limits{QueueLength: 1 << 16, QueueOctets: 1 << 26})
				e.line = pbx.Connect(e.conn.send)
				defer e.line.Close()
				_ = e.conn.serve(ctx)
			})
		}
	})
	t.Cleanup(func() { cancel(); _ = l.Close(); group.Wait() })
	return l.Addr().String()
}

func TestLinkContract(t *testing.T) {
	for _, flavour := range []Flavour{Phase3, HiPath, Phase1} {
		t.Run(flavour.Name, func(t *testing.T) {
			linktest.Test(t, linktest.Kit{New: func(t testing.TB) *linktest.Rig {
				pbx := &linktest.PBX{}
				relay := linktest.NewRelay(t, serveExchange(t, pbx, flavour))
				return &linktest.Rig{
					Link: NewLink(LinkConfig{Addresses: []string{relay.Address()}, Flavour: flavour, Conn: gate.Limits{Timeout: 5 * time.Second}, Heartbeat: 2 * time.Second}), Device: "100", Called: "101",
					Tell: func() { pbx.Ring("100") }, Relay: relay, Heard: pbx.Heard,
				}
			}, Without: map[string]string{
				"NothingBeforeReady": "the SystemStatus of a switching function that speaks first is passed on before Ready",
			}})
		})
	}
}
