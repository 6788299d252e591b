package link

import (
	"context"
	"errors"
	"net"
	"testing"
	"time"

	"github.com/tr87proxy/tr87proxy/internal/gate"
	"github.com/tr87proxy/tr87proxy/internal/kind"
	"github.com/tr87proxy/tr87proxy/proxy/linktest"
	"github.com/tr87proxy/tr87proxy/uacsta"
	"github.com/tr87proxy/tr87proxy/wire/asn1"
)

// exchange is a PBX that speaks ASN.1; it is the asn1.Handler of each of its connections.
type exchange struct {
	conn *asn1.Conn
	line *linktest.Line
}

func (e *exchange) Associate(a *asn1.Association) error {
	if a.Kind != asn1.AARQ {
		return errors.New("the association has ended")
	}
	e.conn.Establish()
	e.conn.Associate(&asn1.Association{Kind: asn1.AARE, Stamp: make([]byte, 16), Version: []byte("PBX")})
	e.conn.Request(uacsta.Encode(uacsta.SystemStatus{SystemStatus: uacsta.StatusNormal}, asn1.Edition), func(*uacsta.Message, error) {})
	return nil
}

func (e *exchange) Request(req *uacsta.Message, answer func(*uacsta.Message)) {
	e.line.Request(req, answer)
}

func (e *exchange) Event(*uacsta.Message) error { return nil }

func TestLinkContract(t *testing.T) {
	for _, flavour := range []asn1.Flavour{asn1.Phase3, asn1.HiPath, asn1.Phase1} {
		t.Run(flavour.Name, func(t *testing.T) {
			linktest.Test(t, linktest.Kit{New: func(t testing.TB) *linktest.Rig {
				pbx := &linktest.PBX{}
				relay := linktest.NewRelay(t, linktest.Listen(t, func(ctx context.Context, nc net.Conn) {
					e := &exchange{}
					e.conn = asn1.NewConn(nc, e, asn1.NewCodec(flavour, asn1.AnyCallIDs), gate.Limits{QueueLength: 1 << 16, QueueOctets: 1 << 26})
					e.line = pbx.Connect(e.conn.Send)
					defer e.line.Close()
					_ = e.conn.Serve(ctx)
				}))
				return &linktest.Rig{
					Link: New(Config{Dialling: kind.Dialling{Addresses: []string{relay.Address()}, Conn: gate.Limits{Timeout: 5 * time.Second}, Heartbeat: 2 * time.Second}, Flavour: flavour}), Device: "100", Called: "101",
					Tell: func() { pbx.Ring("100") }, Relay: relay, Heard: pbx.Heard,
				}
			}, Without: map[string]string{
				"NothingBeforeReady": "the SystemStatus of a switching function that speaks first is passed on before Ready",
			}})
		})
	}
}
