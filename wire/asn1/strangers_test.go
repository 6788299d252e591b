package asn1

import (
	"context"
	"net"
	"testing"

	"github.com/tr87proxy/tr87proxy/internal/gate"
)

// slow lets a login take as long as the test likes.
type slow struct {
	Handler
	associations chan *Association
}

func (s slow) Associate(a *Association) error {
	s.associations <- a
	return nil
}

// What a login takes counts for a stranger while it is looked at, what cannot be read does not.
func TestLoginsTakeMemory(t *testing.T) {
	strangers := gate.NewStrangers(0)
	g := gate.New(gate.Config{Strangers: strangers})
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	come, s := make(chan *gate.Guest, 1), slow{associations: make(chan *Association, 1)}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- g.Serve(ctx, l, func(ctx context.Context, guest *gate.Guest) {
			come <- guest
			_ = NewConn(guest.Conn, s, NewCodec(Phase3, AnyCallIDs), gate.Limits{Guest: guest}).Serve(ctx)
		})
	}()
	nc, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = nc.Close() }()
	guest := <-come
	_, before := strangers.Counts()
	request := (&Association{Kind: AARQ, Name: "crm", Password: "secret", Credentials: true}).octets()
	for _, pdu := range [][]byte{{0x30, 0x80}, request} {
		frame, _ := Phase3.frames.frame(pdu)
		if _, err := nc.Write(frame); err != nil {
			t.Fatal(err)
		}
	}
	<-s.associations
	if _, octets := strangers.Counts(); octets != before+requestCost*len(request) {
		t.Errorf("%d octets more, not %d", octets-before, requestCost*len(request))
	}
	guest.Prove()
	if _, octets := strangers.Counts(); octets != 0 {
		t.Error(octets, "octets are left")
	}
	cancel()
	<-done
}
