package sip

import (
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"

	"github.com/tr87proxy/tr87proxy/internal/wait"
)

// invites starts an INVITE of a user agent to a UDP peer. It returns the INVITE, its source and the outcome.
func invites(t *testing.T, ua *UA, to *net.UDPConn, h DialogHandler) (message, *net.UDPAddr, chan error) {
	t.Helper()
	outcome := make(chan error, 1)
	go func() {
		_, _, err := ua.Invite(t.Context(), Invite{To: "sip:x@" + to.LocalAddr().String(), From: "sip:u@h"}, h)
		outcome <- err
	}()
	m, from := hears(t, to)
	return m, from, outcome
}

// Each repetition of a refusal gets its ACK at once (RFC 3261 17.1.1.2), and what other peers send meanwhile is not
// delayed by it.
func TestRepeatedRefusals(t *testing.T) {
	ua := New(Config{})
	t.Cleanup(ua.Close)
	addr, err := ua.ListenUDP("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	peer := udpPeer(t, "127.0.0.1")
	invite, at, outcome := invites(t, ua, peer, newRecorder(t))
	const repetitions = 20 // with sipgo's transaction each takes T2, more than a minute in all
	for i := range repetitions {
		if _, err := peer.WriteToUDP([]byte(replyTo(invite, 486, "busy")), at); err != nil {
			t.Fatal(err)
		}
		ack, _ := awaits(t, peer, "ACK")
		if ack.header("Via") != invite.header("Via") || parseAddress(ack.header("To")).Tag() != "busy" || ack.header("CSeq") != "1 ACK" {
			t.Fatalf("ACK %d: %v", i, ack.lines)
		}
	}
	var refused *Refusal
	if err := wait.Next(t, outcome, "the outcome"); !errors.As(err, &refused) || refused.Response.Code() != 486 {
		t.Errorf("outcome %v", err)
	}
	other := dialRaw(t, "UDP", addr)
	if res := other.ask("OPTIONS", ""); res.code() != 200 {
		t.Errorf("another peer got %s", res.start)
	}
}

// An INVITE is repeated over UDP until there is a provisional response, other requests until the final one (RFC 3261
// 17.1.1.2, 17.1.2.2).
func TestRequestsAreRepeated(t *testing.T) {
	t.Parallel()
	ua := New(Config{})
	t.Cleanup(ua.Close)
	peer := udpPeer(t, "127.0.0.1")
	invite, at, outcome := invites(t, ua, peer, newRecorder(t))
	for range 2 {
		if again, _ := hears(t, peer); again.header("Via") != invite.header("Via") || again.method != "INVITE" {
			t.Fatalf("instead of a repetition: %v", again)
		}
	}
	for _, code := range []int{100, 200} {
		if _, err := peer.WriteToUDP([]byte(replyTo(invite, code, "x")), at); err != nil {
			t.Fatal(err)
		}
	}
	if ack, _ := hears(t, peer); ack.method != "ACK" {
		t.Fatalf("after the 200: %v", ack)
	}
	if err := wait.Next(t, outcome, "the dialog"); err != nil {
		t.Fatal(err)
	}
	answer := make(chan int, 1)
	go func() {
		res, err := ua.Request(t.Context(), "OPTIONS", Invite{To: "sip:x@" + peer.LocalAddr().String(), From: "sip:u@h"})
		if err != nil {
			t.Error(err)
			answer <- 0
			return
		}
		answer <- res.Code()
	}()
	first, at := hears(t, peer)
	if _, err := peer.WriteToUDP([]byte(replyTo(first, 100, "")), at); err != nil {
		t.Fatal(err)
	}
	if again, _ := hears(t, peer); again.header("Via") != first.header("Via") {
		t.Fatalf("instead of a repetition: %v", again)
	}
	if _, err := peer.WriteToUDP([]byte(replyTo(first, 200, "")), at); err != nil {
		t.Fatal(err)
	}
	if code := wait.Next(t, answer, "the answer"); code != 200 {
		t.Errorf("code %d", code)
	}
}

// early answers INVITEs with 180, then 486, and keeps the early dialog.
type early struct {
	*recorder
	t *testing.T
}

func (e early) Invite(in *Invitation) {
	d, err := in.Progress(e, Answer{Code: 180})
	if err != nil {
		e.t.Error(err)
	}
	in.Respond(Answer{Code: 486})
	e.dialogs <- d
}

// The ACK of a refusal ends its repetitions also when a dialog has the tags of the ACK: an early one, or that of a
// re-INVITE, and when its peer writes no branch of RFC 3261 (17.2.3).
func TestAckOfRefusalInDialog(t *testing.T) {
	t.Run("RFC 3261", func(t *testing.T) { acksInDialog(t, func(_ *rawPeer, invite string) string { return invite }) })
	t.Run("RFC 2543", func(t *testing.T) {
		acksInDialog(t, func(p *rawPeer, invite string) string {
			return strings.Replace(invite, fmt.Sprintf(";branch=z9hG4bK%s%d;rport", p.tag, p.branches), "", 1)
		})
	})
}

func acksInDialog(t *testing.T, write func(p *rawPeer, invite string) string) {
	t.Parallel()
	settled := func(t *testing.T, p *rawPeer, d *Dialog) {
		t.Helper()
		d.Send("INFO", "", nil, nil) // repeated for the second time after 3 T1, long after the refusal would be
		for range 3 {
			if m := p.must(); m.method != "INFO" {
				t.Fatalf("after the ACK: %s", m.start)
			}
		}
	}
	t.Run("early dialog", func(t *testing.T) {
		rec := early{newRecorder(t), t}
		_, _, addr := serve(t, "UDP", func(c *Config) { c.Handler, c.Known = rec, func(Peer) bool { return true } })
		p := dialRaw(t, "UDP", addr)
		invite := write(p, p.request("INVITE", 1, ""))
		p.write(invite)
		if m := p.must(); m.code() != 180 {
			t.Fatal(m.start)
		}
		res := p.must()
		ack := strings.Replace(strings.Replace(invite, "INVITE", "ACK", 1), "1 INVITE", "1 ACK", 1)
		p.write(strings.Replace(ack, "To: <sip:ua@localhost>", "To: "+res.header("To"), 1))
		settled(t, p, wait.Next(t, rec.dialogs, "dialog"))
	})
	t.Run("re-INVITE", func(t *testing.T) {
		_, rec, addr := serve(t, "UDP", func(c *Config) {
			c.Known = func(Peer) bool { return true }
			c.Handler.(*recorder).onInfo = func(_ *Dialog, r *Request) { r.Respond(Answer{Code: 488}) }
		})
		p := dialRaw(t, "UDP", addr)
		p.invite()
		invite := write(p, p.request("INVITE", 2, ""))
		p.write(invite)
		if m := p.must(); m.code() != 488 {
			t.Fatal(m.start)
		}
		p.write(strings.Replace(strings.Replace(invite, "INVITE", "ACK", 1), "2 INVITE", "2 ACK", 1))
		settled(t, p, wait.Next(t, rec.dialogs, "dialog"))
	})
}

// A user agent that closes ends every request.
func TestRequestsEndWithTheUserAgent(t *testing.T) {
	ua := New(Config{})
	peer := udpPeer(t, "127.0.0.1")
	results := make(chan error, 10)
	for i := range cap(results) {
		go func() {
			_, err := ua.Request(t.Context(), "OPTIONS", Invite{To: fmt.Sprintf("sip:%d@%s", i, peer.LocalAddr()), From: "sip:u@h"})
			results <- err
		}()
		hears(t, peer)
	}
	ua.Close()
	for range cap(results) {
		if err := wait.Next(t, results, "the outcome"); !errors.Is(err, ErrUnanswered) {
			t.Errorf("outcome %v", err)
		}
	}
	if _, err := ua.Request(t.Context(), "OPTIONS", Invite{To: "sip:x@" + peer.LocalAddr().String(), From: "sip:u@h"}); err == nil {
		t.Error("a closed user agent sends")
	}
	if _, _, transactions := ua.Counts(); transactions != 0 {
		t.Errorf("%d transactions are left", transactions)
	}
}
