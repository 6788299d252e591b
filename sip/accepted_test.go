package sip

import (
	"context"
	"errors"
	"net"
	"testing"

	"github.com/tr87proxy/tr87proxy/internal/wait"
)

// Accepted gets the 2xx of an INVITE, also of one that its caller has given up, and the dialog with it: nobody
// else ends it.
func TestAccepted(t *testing.T) {
	for _, givenUp := range []bool{false, true} {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer ln.Close()
		client := New(Config{})
		t.Cleanup(client.Close)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		returned, accepted := make(chan error, 1), make(chan *Dialog, 2)
		go func() {
			_, _, err := client.Invite(ctx, Invite{
				To: "sip:ua@" + ln.Addr().String() + ";transport=tcp", From: "sip:c@localhost", Accepted: func(d *Dialog, _ *Response) { accepted <- d },
			}, newRecorder(t))
			returned <- err
		}()
		nc, err := ln.Accept()
		if err != nil {
			t.Fatal(err)
		}
		p := &rawPeer{t: t, nc: nc, in: newReader(nc)}
		invite := p.must()
		if givenUp {
			cancel()
			if err := wait.Next(t, returned, "the failure"); !errors.Is(err, context.Canceled) {
				t.Errorf("%v", err)
			}
		}
		p.answer(invite, 200)
		d := wait.Next(t, accepted, "the dialog")
		if !givenUp {
			if err := wait.Next(t, returned, "the dialog"); err != nil {
				t.Error(err)
			}
		}
		d.Send("INFO", "text/plain", []byte("still open"), nil)
		for _, want := range []string{"ACK", "INFO"} {
			if m := p.must(); m.method != want {
				t.Errorf("given up: %v: got %s, want %s", givenUp, m.start, want)
			}
		}
	}
}
