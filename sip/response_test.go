package sip

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"testing"

	"github.com/tr87proxy/tr87proxy/internal/wait"
)

// strays is a logger that tells of each stray response.
type strays chan struct{}

func (strays) Enabled(context.Context, slog.Level) bool { return true }
func (s strays) Handle(_ context.Context, r slog.Record) error {
	if r.Message == "stray response ignored" {
		s <- struct{}{}
	}
	return nil
}
func (s strays) WithAttrs([]slog.Attr) slog.Handler { return s }
func (s strays) WithGroup(string) slog.Handler      { return s }

// udpPeer is a peer with a socket of its own.
func udpPeer(t *testing.T, address string) *net.UDPConn {
	t.Helper()
	pc, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.ParseIP(address)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = pc.Close() })
	return pc
}

// hears returns the next request that reaches a peer.
func hears(t *testing.T, pc *net.UDPConn) (message, *net.UDPAddr) {
	t.Helper()
	buf := make([]byte, 65536)
	n, from, err := pc.ReadFromUDP(buf)
	if err != nil {
		t.Fatal(err)
	}
	head, body, _ := strings.Cut(string(buf[:n]), "\r\n\r\n")
	lines := strings.Split(head, "\r\n")
	method, _, _ := strings.Cut(lines[0], " ")
	return message{start: lines[0], lines: lines[1:], body: body, method: method}, from
}

// replyTo writes a response to a request; the To tag is ours.
func replyTo(m message, code int, tag string, extra ...string) string {
	to := m.header("To")
	if tag != "" {
		to += ";tag=" + tag
	}
	lines := append([]string{
		fmt.Sprintf("SIP/2.0 %d Said", code), "Via: " + m.header("Via"), "From: " + m.header("From"), "To: " + to,
		"Call-ID: " + m.header("Call-ID"), "CSeq: " + m.header("CSeq"), "Contact: <sip:peer@127.0.0.1:9>",
	}, extra...)
	return strings.Join(append(lines, "Content-Length: 0", "", ""), "\r\n")
}

// A response from an address that nothing was sent to, or that does not repeat the names of
// the request, makes no dialog, is not acknowledged, and ends nothing (RFC 3261 17.1.3,
// 18.1.2). Another port of the same address is good, and each fork may have its own To tag.
func TestStrayResponses(t *testing.T) {
	seen := make(strays, 100)
	ua := New(Config{Log: slog.New(seen)})
	t.Cleanup(ua.Close)
	if _, err := ua.ListenUDP("127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	peer, port, stranger := udpPeer(t, "127.0.0.1"), udpPeer(t, "127.0.0.1"), udpPeer(t, "127.0.0.2")
	type opened struct {
		d   *Dialog
		err error
	}
	result := make(chan opened, 1)
	rec := newRecorder(t)
	go func() {
		d, _, err := ua.Invite(t.Context(), Invite{To: "sip:x@" + peer.LocalAddr().String(), From: "sip:u@h", Username: "u", Password: "secret"}, rec)
		result <- opened{d, err}
	}()
	invite, at := hears(t, peer)
	say := func(pc *net.UDPConn, text string) {
		t.Helper()
		if _, err := pc.WriteToUDP([]byte(text), at); err != nil {
			t.Fatal(err)
		}
	}
	other := func(m message, old, replacement string) message {
		m.lines = strings.Split(strings.Replace(strings.Join(m.lines, "\n"), old, replacement, 1), "\n")
		return m
	}
	ignored := func(name string, pc *net.UDPConn, text string) {
		t.Helper()
		say(pc, text)
		wait.Next(t, seen, name+": ignored")
	}
	challenge := `WWW-Authenticate: Digest realm="r", nonce="n", algorithm=MD5, qop="auth"`
	fromTag := parseAddress(invite.header("From")).Tag()
	for _, code := range []int{180, 200, 401, 486} {
		ignored("another address", stranger, replyTo(invite, code, "evil", challenge))
		ignored("another From tag", peer, replyTo(other(invite, "tag="+fromTag, "tag=guessed"), code, "evil", challenge))
		ignored("another Call-ID", peer, replyTo(other(invite, invite.header("Call-ID"), "guessed"), code, "evil", challenge))
		ignored("another CSeq", peer, replyTo(other(invite, "CSeq: 1 ", "CSeq: 2 "), code, "evil", challenge))
	}
	if dialogs, _, _ := ua.Counts(); dialogs != 0 {
		t.Errorf("%d dialogs made by strays", dialogs)
	}
	say(peer, replyTo(invite, 180, "one"))
	say(port, replyTo(invite, 180, "two")) // another fork, from another port
	say(port, replyTo(invite, 200, "three"))
	ack, _ := awaits(t, peer, "ACK")
	if tag := parseAddress(ack.header("To")).Tag(); tag != "three" || ack.header("Authorization") != "" {
		t.Errorf("ACK %v", ack.lines)
	}
	got := wait.Next(t, result, "dialog")
	if got.err != nil {
		t.Fatal(got.err)
	}
	// repetitions of the 2xx: the dialog's own is acknowledged again, no other
	ignored("a late 2xx from another address", stranger, replyTo(invite, 200, "three"))
	for range 2 { // another fork: each 2xx gets an ACK, the first BYE, too (RFC 3261 13.2.2.4)
		say(peer, replyTo(invite, 200, "four"))
		if ack, _ := awaits(t, peer, "ACK"); parseAddress(ack.header("To")).Tag() != "four" || ack.header("CSeq") != "1 ACK" {
			t.Errorf("ACK of another fork %v", ack.lines)
		}
	}
	bye, _ := awaits(t, peer, "BYE")
	if parseAddress(bye.header("To")).Tag() != "four" || bye.header("CSeq") != "2 BYE" || parseAddress(bye.header("From")).Tag() != fromTag {
		t.Errorf("BYE of another fork %v", bye.lines)
	}
	say(peer, replyTo(bye, 200, ""))
	say(peer, replyTo(invite, 200, "three"))
	if ack, _ := awaits(t, peer, "ACK"); parseAddress(ack.header("To")).Tag() != "three" {
		t.Errorf("ACK %v", ack.lines)
	}
	// in the dialog
	answer := make(chan Result, 1)
	got.d.Send("INFO", "", nil, func(r Result) { answer <- r })
	info, _ := awaits(t, peer, "INFO")
	ignored("481 from another address", stranger, replyTo(info, 481, ""))
	ignored("481 with another To tag", peer, replyTo(other(info, "tag=three", "tag=four"), 481, ""))
	ignored("a late 481 with another Call-ID", peer, replyTo(other(other(info, "branch=", "branch=z9hG4bKlost"), info.header("Call-ID"), "guessed"), 481, ""))
	ignored("a late 481 from another address", stranger, replyTo(other(info, "branch=", "branch=z9hG4bKlost"), 481, ""))
	ignored("a late 481 to what was never sent", peer, replyTo(other(other(info, "branch=", "branch=z9hG4bKlost"), "CSeq: 2", "CSeq: 99"), 481, ""))
	say(port, replyTo(info, 200, ""))
	if r := wait.Next(t, answer, "answer"); r.Code() != 200 {
		t.Errorf("%+v", r)
	}
	if len(rec.ended) > 0 {
		t.Error("a stray response ended the dialog")
	}
	say(port, replyTo(other(info, "branch=", "branch=z9hG4bKlost"), 481, ""))
	wait.Next(t, rec.ended, "end by the peer's own 481")
}

// awaits returns the next request of a method.
func awaits(t *testing.T, pc *net.UDPConn, method string) (message, *net.UDPAddr) {
	t.Helper()
	for {
		if m, from := hears(t, pc); m.method == method {
			return m, from
		}
	}
}

// A response to a request that went out on a connection counts when it comes on it, or on
// another one of the same peer; over UDP, or from another address, it does not.
func TestResponseOnItsConnection(t *testing.T) {
	seen := make(strays, 100)
	ua := New(Config{Log: slog.New(seen)})
	t.Cleanup(ua.Close)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	own, err := ua.ListenTCP("127.0.0.1:0", nil)
	if err != nil {
		t.Fatal(err)
	}
	udp, err := ua.ListenUDP("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	answer := make(chan *Response, 1)
	go func() {
		res, _ := ua.Request(t.Context(), "OPTIONS", Invite{To: "sip:x@" + listener.Addr().String() + ";transport=tcp", From: "sip:u@h"})
		answer <- res
	}()
	nc, err := listener.Accept()
	if err != nil {
		t.Fatal(err)
	}
	peer := &rawPeer{t: t, nc: nc, in: newReader(nc), transport: "TCP"}
	m := peer.must()
	datagram, err := dialFrom("UDP", "127.0.0.1", udp)
	if err != nil {
		t.Fatal(err)
	}
	far := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 2)}}
	elsewhere, err := far.DialContext(t.Context(), "tcp", own.String())
	if err != nil {
		t.Fatal(err)
	}
	for _, nc := range []net.Conn{datagram, elsewhere} {
		if _, err := io.WriteString(nc, replyTo(m, 200, "evil")); err != nil {
			t.Fatal(err)
		}
		wait.Next(t, seen, "ignored")
		_ = nc.Close()
	}
	again, err := net.Dial("tcp", own.String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = again.Close() }()
	if _, err := io.WriteString(again, replyTo(m, 200, "peer")); err != nil {
		t.Fatal(err)
	}
	if res := wait.Next(t, answer, "answer"); res == nil || res.Code() != 200 {
		t.Errorf("%+v", res)
	}
}
