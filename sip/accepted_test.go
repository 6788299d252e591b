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

// No re-INVITE and no BYE overtakes the ACK of our 2xx (RFC 3261 14.1 and 15), and nothing follows a BYE that waits.
func TestAfterAck(t *testing.T) {
	for _, acks := range []bool{true, false} {
		_, rec, addr := serve(t, "TCP", func(c *Config) { c.Known = func(Peer) bool { return true } })
		p := dialRaw(t, "TCP", addr)
		p.write(p.request("INVITE", 1, "hello"))
		accepted := p.must()
		p.toTag = ParseAddress(accepted.header("To")).Tag()
		d := wait.Next(t, rec.dialogs, "dialog")
		done := make(chan Result, 1)
		d.Reinvite("text/plain", []byte("again"), func(res Result) { done <- res })
		d.Send("INFO", "text/plain", []byte("after it"), nil)
		next := func() message {
			for {
				if m := p.must(); m.method != "" { // else the 200 is repeated
					return m
				}
			}
		}
		if m := next(); m.method != "INFO" {
			t.Errorf("%s before the ACK", m.start)
		}
		if !acks {
			d.Bye()
			d.Bye() // changes nothing
			if res := wait.Next(t, done, "the failure"); !errors.Is(res.Err, ErrLocalBye) {
				t.Errorf("%v", res.Err)
			}
			d.Send("INFO", "text/plain", []byte("too late"), nil)
			p.write(p.request("INFO", 2, "too late"))
			for m := p.must(); m.code() != 481; m = p.must() { // else the 200 is repeated
				if m.method != "" {
					t.Errorf("%s before the ACK", m.start)
				}
			}
		}
		p.write(p.request("ACK", 1, ""))
		m := next()
		if !acks {
			if m.method != "BYE" {
				t.Errorf("%s after the ACK", m.start)
			}
			if reason := wait.Next(t, rec.ended, "the end"); !errors.Is(reason, ErrLocalBye) {
				t.Error(reason)
			}
			continue
		}
		if m.method != "INVITE" {
			t.Errorf("%s after the ACK", m.start)
		}
		p.answer(m, 200)
		if res := wait.Next(t, done, "the answer"); res.Code() != 200 {
			t.Error(res.Code(), res.Err)
		}
	}
}
