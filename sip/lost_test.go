package sip

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tr87proxy/tr87proxy/internal/share"
	"github.com/tr87proxy/tr87proxy/internal/wait"
)

// A peer that accepts a connection and never completes TLS delays no other peer.
func TestDialsDoNotWaitForEachOther(t *testing.T) {
	mute, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer mute.Close()
	_, _, addr := serve(t, "TCP", nil)
	ua := New(Config{TLSClient: &tls.Config{MinVersion: tls.VersionTLS12}})
	t.Cleanup(ua.Close)
	stuck := make(chan error, 1)
	ctx, giveUp := context.WithCancel(t.Context())
	go func() {
		_, err := ua.Request(ctx, "OPTIONS", Invite{To: "sips:x@" + mute.Addr().String(), From: "sip:a@b"})
		stuck <- err
	}()
	accepted := make(chan net.Conn, 1)
	go func() {
		if nc, err := mute.Accept(); err == nil {
			accepted <- nc
		}
	}()
	defer wait.Next(t, accepted, "the connection").Close()
	soon, cancel := context.WithTimeout(t.Context(), patience/2)
	defer cancel()
	if _, err := ua.Request(soon, "OPTIONS", Invite{To: "sip:x@" + addr.String() + ";transport=tcp", From: "sip:a@b"}); err != nil {
		t.Errorf("a peer that is there: %v", err)
	}
	giveUp()
	if err := wait.Next(t, stuck, "the end of the request"); !errors.Is(err, context.Canceled) {
		t.Errorf("a peer that is mute: %v", err)
	}
}

// All senders to one peer share one connection attempt, even if the first stops waiting.
func TestDialsAreShared(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	ua := New(Config{})
	t.Cleanup(ua.Close)
	addr := listener.Addr().(*net.TCPAddr).AddrPort()
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if c, err := ua.dialStream(gone, "TCP", addr, ""); err == nil && c.dead() {
		t.Error("a dead connection")
	}
	var group sync.WaitGroup
	conns := make([]*streamConn, 50)
	for i := range conns {
		group.Go(func() {
			c, err := ua.dialStream(t.Context(), "TCP", addr, "")
			if err != nil {
				t.Error(err)
			}
			conns[i] = c
		})
	}
	group.Wait()
	for _, c := range conns {
		if c != conns[0] {
			t.Fatal("two connections to one peer")
		}
	}
	if len(ua.dialing) != 0 {
		t.Errorf("%d connections are still being opened", len(ua.dialing))
	}
}

// Messages of a peer are handled in the order in which they arrive: a response before the request after it. A busy kernel
// can deliver datagrams in another order than that in which they were sent.
func TestAnswerBeforeWhatFollows(t *testing.T) {
	for _, transport := range []string{"TCP", "UDP"} {
		t.Run(transport, func(t *testing.T) {
			arrived := make(chan bool, 1000) // whether it is a response
			_, rec, addr := serve(t, transport, func(cfg *Config) {
				cfg.Trace = func(m Traced) {
					out, data := m.Out, m.Data
					if answer := bytes.HasPrefix(data, []byte("SIP/2.0")); !out && (answer || bytes.HasPrefix(data, []byte("INFO"))) {
						arrived <- answer
					}
				}
			})
			p := dialRaw(t, transport, addr)
			p.invite()
			d := wait.Next(t, rec.dialogs, "dialog")
			for n := range 200 {
				d.Send("INFO", "text/plain", []byte("question"), func(res Result) { rec.requests <- fmt.Sprint("answer ", res.Code()) })
				question := p.must()
				for question.method != "INFO" { // it answered the last event
					question = p.must()
				}
				p.cseq++
				event := p.request("INFO", p.cseq, fmt.Sprint("event ", n))
				p.answer(question, 200)
				p.write(event)
				for i := range 2 {
					want, got := fmt.Sprint("event ", n), wait.Next(t, rec.requests, "the answer or the event")
					answer := <-arrived
					if answer {
						want = "answer 200"
					}
					if got != want || transport == "TCP" && answer != (i == 0) {
						t.Fatalf("round %d: %q, want %q", n, got, want)
					}
				}
			}
		})
	}
}

// A panic in what takes an answer, or the end of a dialog, ends no more than that.
func TestPanicAtAnAnswer(t *testing.T) {
	_, rec, addr := serve(t, "TCP", nil)
	p := dialRaw(t, "TCP", addr)
	p.invite()
	d := wait.Next(t, rec.dialogs, "dialog")
	d.Send("INFO", "text/plain", []byte("x"), func(Result) { panic("as told") })
	p.answer(p.must(), 200)
	d.Send("INFO", "text/plain", []byte("y"), func(res Result) { rec.requests <- fmt.Sprint(res.Code()) })
	p.answer(p.must(), 200)
	if got := wait.Next(t, rec.requests, "the next answer"); got != "200" {
		t.Error(got)
	}
}

// lose makes a user agent with n connections, each with a dialog, and returns what loses them all.
func lose(tb testing.TB, n int, handler DialogHandler) (ua *UA, all func()) {
	tb.Helper()
	ua = New(Config{MaxDialogs: 2 * n, MaxConnections: 2 * n, Grace: time.Hour})
	tb.Cleanup(ua.Close)
	conns := make([]*streamConn, n)
	for i := range conns {
		near, far := net.Pipe()
		tb.Cleanup(func() { _ = far.Close() })
		c := &streamConn{ua: ua, nc: near, kind: "TCP", remote: netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), 5060)}
		if err := c.enter(); err != nil {
			tb.Fatal(err)
		}
		ua.streams[c] = struct{}{}
		d := &Dialog{ua: ua, handler: handler, localTag: newTag(), hop: hop{c, c.remote}, peer: c.remote.Addr()}
		if err := ua.add(d); err != nil {
			tb.Fatal(err)
		}
		conns[i] = c
	}
	return ua, func() {
		for _, c := range conns {
			ua.gone(c)
		}
	}
}

// Each lost connection gives its dialogs their time of grace, and no others; a dialog that comes to
// a connection that has gone already has it, too.
func TestLostConnections(t *testing.T) {
	ua, all := lose(t, 20, newRecorder(t))
	var spared *Dialog
	for _, d := range ua.dialogs {
		spared = d
		break
	}
	lost := spared.hop.conn.(*streamConn)
	spared.mu.Lock()
	spared.moved(hop{&streamConn{ua: ua, kind: "TCP", entry: new(share.Entry)}, netip.AddrPort{}})
	spared.mu.Unlock()
	all()
	for _, d := range ua.dialogs {
		d.mu.Lock()
		if waits := d.grace != nil; waits != (d != spared) {
			t.Errorf("time of grace: %v", waits)
		}
		d.mu.Unlock()
	}
	spared.mu.Lock()
	spared.moved(hop{lost, netip.AddrPort{}})
	if spared.grace == nil {
		t.Error("a dialog on a connection that has gone has no time of grace")
	}
	spared.mu.Unlock()
}

func BenchmarkMassDisconnect(b *testing.B) {
	for b.Loop() {
		b.StopTimer()
		ua, all := lose(b, 2000, &recorder{ended: make(chan error, 2000)})
		b.StartTimer()
		all()
		b.StopTimer()
		ua.Close()
		b.StartTimer()
	}
}

// A socket that can be read no more closes, and says so.
func TestPersistentReadError(t *testing.T) {
	var out bytes.Buffer
	ua := New(Config{Log: slog.New(slog.NewTextHandler(&out, nil))})
	t.Cleanup(ua.Close)
	pc, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	if err := pc.SetReadDeadline(time.Unix(1, 0)); err != nil { // each read fails at once
		t.Fatal(err)
	}
	s := newUDPSocket(ua, pc)
	s.faults.Most = 12
	ua.sockets = append(ua.sockets, s)
	over := make(chan struct{})
	go func() {
		defer close(over)
		s.read()
	}()
	wait.Next(t, over, "the end")
	if !s.dead() || len(ua.sockets) > 0 || !strings.Contains(out.String(), "UDP socket failed") {
		t.Errorf("dead: %v, sockets: %d, log: %s", s.dead(), len(ua.sockets), out.String())
	}
}
