package sip

import (
	"fmt"
	"net"
	"strings"
	"testing"

	gosip "github.com/emiago/sipgo/sip"

	"github.com/tr87proxy/tr87proxy/internal/wait"
)

// Which part of a body reaches the handler, and what is refused instead (RFC 3261 8.2.2, 8.2.3, RFC 5621 3).
func TestBodies(t *testing.T) {
	_, rec, addr := serve(t, "TCP", func(c *Config) { c.Accepts = []string{"text/plain", "text/html"} })
	p := dialRaw(t, "TCP", addr)
	p.invite()
	part := func(headers, text string) string { return "--b\r\n" + headers + "\r\n\r\n" + text + "\r\n" }
	plain, html := part("Content-Type: text/plain", "plain"), part("Content-Type: text/html;charset=utf-8", "html")
	other := "Content-Type: image/png\r\nContent-Disposition: render;handling="
	for _, tt := range []struct {
		name, kind, body string
		code             int
		read             string
	}{
		{"mixed", "multipart/mixed;boundary=b", "preamble\r\n" + plain + part(other+"optional", "x") + "--b--\r\n", 200, "plain"},
		{"the first part that is read", "multipart/mixed; boundary=\"b\"", part("Content-Type: image/png", "x") + html + plain + "--b--", 200, "html"},
		{"the last alternative", "Multipart/Alternative;boundary=b", plain + html + part(other+"optional", "x") + "--b--", 200, "html"},
		{"a part that is required", "multipart/mixed;boundary=b", plain + part(other+"required", "x") + "--b--", 415, ""},
		{"no boundary", "multipart/mixed", plain + "--b--", 400, ""},
		{"no end", "multipart/mixed;boundary=b", plain + "--b\r\n", 200, "plain"},
		{"encoded", "text/plain\r\nContent-Encoding: gzip", "x", 415, ""},
		{"not encoded", "text/plain\r\ne: Identity", "x", 200, "x"},
	} {
		p.cseq++
		p.write(strings.Replace(p.request("INFO", p.cseq, tt.body), "Content-Type: text/plain", "Content-Type: "+tt.kind, 1))
		res := p.must()
		if res.code() != tt.code {
			t.Errorf("%s: %s, want %d", tt.name, res.start, tt.code)
		}
		if tt.code == 200 {
			if got := wait.Next(t, rec.requests, "the body"); got != tt.read {
				t.Errorf("%s: read %q, want %q", tt.name, got, tt.read)
			}
		}
		if tt.code == 415 && res.header("Accept") != "text/plain, text/html" && res.header("Accept-Encoding") != "identity" {
			t.Errorf("%s: the 415 does not say what is accepted", tt.name)
		}
	}
	if res := p.ask("OPTIONS", ""); res.header("Accept") != "text/plain, text/html" {
		t.Errorf("OPTIONS: Accept %q", res.header("Accept"))
	}
}

// A Request-URI whose scheme nobody knows gets 416 (RFC 3261 8.2.2.1).
func TestSchemes(t *testing.T) {
	_, _, addr := serve(t, "TCP", nil)
	for scheme, want := range map[string]int{"sip:x@h": 200, "SIPS:x@h": 200, "tel:+1": 200, "http://h": 416, "im:x@h": 416, "soap.beep://h": 416, "h323:x@h": 416, "a+b-1.c:x": 416} {
		p := dialRaw(t, "TCP", addr)
		p.write(strings.Replace(p.request("OPTIONS", 1, ""), "sip:ua@localhost", scheme, 1))
		if res := p.must(); res.code() != want {
			t.Errorf("%s: %s, want %d", scheme, res.start, want)
		}
	}
}

// ringing rings for every INVITE.
type ringing struct {
	*recorder
	cancelled chan struct{}
}

func (r ringing) Invite(in *Invitation) {
	in.OnCancel(func(Causes) { r.cancelled <- struct{}{} })
	if _, err := in.Progress(r, Answer{Code: 180}); err != nil {
		r.t.Error(err)
	}
}

// An INVITE whose caller sends BYE in the early dialog, or that expires, gets 487, and leaves no dialog (RFC 3261
// 15.1.2, 13.3.1).
func TestInviteIsWithdrawn(t *testing.T) {
	for name, withdraw := range map[string]func(p *rawPeer, invite string, ringing message){
		"BYE": func(p *rawPeer, _ string, ringing message) {
			p.toTag = parseAddress(ringing.header("To")).Tag()
			if res := p.ask("BYE", ""); res.code() != 200 {
				t.Errorf("BYE: %s", res.start)
			}
		},
		"CANCEL": func(p *rawPeer, invite string, _ message) {
			p.write(strings.ReplaceAll(invite, "INVITE", "CANCEL"))
			if res := p.must(); res.code() != 200 {
				t.Errorf("CANCEL: %s", res.start)
			}
		},
		"Expires": func(*rawPeer, string, message) {},
	} {
		rec := ringing{newRecorder(t), make(chan struct{}, 10)}
		ua, _, addr := serve(t, "TCP", func(c *Config) { c.Handler, c.Known = rec, func(Peer) bool { return true } })
		p := dialRaw(t, "TCP", addr)
		expires := "Expires: 1000"
		if name == "Expires" {
			expires = "Expires: 1"
		}
		p.cseq = 1
		invite := p.request("INVITE", 1, "", expires)
		p.write(invite)
		m := p.must()
		for m.code() == 100 {
			m = p.must()
		}
		withdraw(p, invite, m)
		if res := p.must(); res.code() != 487 || !strings.HasSuffix(res.header("CSeq"), "INVITE") {
			t.Errorf("%s: %s to %s", name, res.start, res.header("CSeq"))
		}
		wait.Next(t, rec.cancelled, "the word to the handler")
		wait.For(t, "the end of the dialog", func() bool { dialogs, _, _ := ua.Counts(); return dialogs == 0 })
	}
}

// A reliable provisional response gets its PRACK once, and only in order; others are not passed on (RFC 3262 4).
func TestOrderOfReliableResponses(t *testing.T) {
	ua := New(Config{})
	t.Cleanup(ua.Close)
	peer := udpPeer(t, "127.0.0.1")
	progress := make(chan string, 100)
	outcome := make(chan error, 1)
	go func() {
		_, _, err := ua.Invite(t.Context(), Invite{To: "sip:x@" + peer.LocalAddr().String(), From: "sip:u@h", Progress: func(_ *Dialog, res *Response) {
			progress <- res.Tag() + " " + res.Header("RSeq")
		}}, newRecorder(t))
		outcome <- err
	}()
	invite, at := hears(t, peer)
	say := func(pc *net.UDPConn, text string) {
		if _, err := pc.WriteToUDP([]byte(text), at); err != nil {
			t.Fatal(err)
		}
	}
	for _, r := range []struct {
		tag  string
		rseq int
		good bool
	}{{"a", 7, true}, {"a", 7, false}, {"a", 9, false}, {"b", 100, true}, {"a", 8, true}, {"b", 100, false}, {"a", 9, true}} {
		say(peer, replyTo(invite, 183, r.tag, "Require: x, 100REL", fmt.Sprintf("RSeq: %d", r.rseq)))
		if !r.good {
			continue
		}
		prack, _ := awaits(t, peer, "PRACK")
		if want := fmt.Sprintf("%d 1 INVITE", r.rseq); prack.header("RAck") != want || parseAddress(prack.header("To")).Tag() != r.tag {
			t.Errorf("PRACK %q to %s, want %q", prack.header("RAck"), prack.header("To"), want)
		}
		say(peer, replyTo(prack, 200, ""))
		if got, want := wait.Next(t, progress, "progress"), fmt.Sprint(r.tag, " ", r.rseq); got != want {
			t.Errorf("progress %q, want %q", got, want)
		}
	}
	say(peer, replyTo(invite, 486, "a"))
	wait.Next(t, outcome, "the outcome")
	if len(progress) > 0 {
		t.Errorf("more progress: %s", <-progress)
	}
}

// The targets of a redirection come by q, in one line or several.
func TestTargets(t *testing.T) {
	msg, err := parse([]byte("SIP/2.0 302 Moved\r\nContact: <sip:1@h>;q=0.2, \"a, b\" <sip:2@h>;q=1.0\r\nm: <sip:3@h;x=1,2>;q=0.5,sip:4@h\r\n\r\n"))
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Join((&Response{msg.(*gosip.Response)}).Targets(), " "); got != "sip:2@h sip:4@h sip:3@h;x=1,2 sip:1@h" {
		t.Error(got)
	}
}
