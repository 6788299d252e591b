package sip

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tr87proxy/tr87proxy/internal/wait"
)

func TestRefusals(t *testing.T) {
	for _, transport := range []string{"TCP", "UDP"} {
		_, _, addr := serve(t, transport, nil)
		for _, tt := range []struct {
			name   string
			change func(p *rawPeer) string
			code   int
			header string // that must be there
		}{
			{"OPTIONS", func(p *rawPeer) string { return p.request("OPTIONS", 1, "") }, 200, "Allow"},
			{"unknown method", func(p *rawPeer) string { return p.request("NEGOTIATE", 1, "") }, 405, "Allow"},
			{"SUBSCRIBE", func(p *rawPeer) string { return p.request("SUBSCRIBE", 1, "") }, 405, "Allow"},
			{"unknown Require", func(p *rawPeer) string { return p.request("INVITE", 1, "", "Require: timer, 100rel") }, 420, "Unsupported"},
			{"no dialog", func(p *rawPeer) string { p.toTag = "nobody"; return p.request("INFO", 7, "x") }, 481, ""},
			{"no tag", func(p *rawPeer) string { return p.request("BYE", 7, "") }, 481, ""},
			{"interval too small", func(p *rawPeer) string {
				return p.request("INVITE", 1, "", "Supported: timer", "Session-Expires: 30")
			}, 422, "Min-SE"},
			{"malformed interval", func(p *rawPeer) string { return p.request("INVITE", 1, "", "Session-Expires: soon") }, 400, ""},
			{"version", func(p *rawPeer) string {
				return strings.Replace(p.request("OPTIONS", 1, ""), "SIP/2.0\r\n", "SIP/3.0\r\n", 1)
			}, 505, ""},
			{"CSeq of another method", func(p *rawPeer) string { return strings.Replace(p.request("OPTIONS", 1, ""), "1 OPTIONS", "1 INFO", 1) }, 400, ""},
			{"no From", func(p *rawPeer) string { return strings.Replace(p.request("OPTIONS", 1, ""), "From:", "X-From:", 1) }, 400, ""},
			{"no Contact", func(p *rawPeer) string {
				return strings.Replace(p.request("INVITE", 1, ""), "Contact:", "X-Contact:", 1)
			}, 400, ""},
			{"a header without colon", func(p *rawPeer) string {
				return strings.Replace(p.request("OPTIONS", 1, ""), "Max-Forwards: 70", "Max-Forwards", 1)
			}, 400, ""},
			{"too many headers", func(p *rawPeer) string { return p.request("OPTIONS", 1, "", strings.Repeat("X: 1\r\n", 200)+"Y: 1") }, 400, ""},
		} {
			t.Run(transport+" "+tt.name, func(t *testing.T) {
				p := dialRaw(t, transport, addr)
				p.write(tt.change(p))
				res := p.must()
				if res.code() != tt.code || tt.header != "" && res.header(tt.header) == "" {
					t.Errorf("%s\n%s", res.start, strings.Join(res.lines, "\n"))
				}
				p.toTag = ""
				p.tag = newTag()
				p.write(p.request("OPTIONS", 1, ""))
				if res := p.must(); res.code() != 200 {
					t.Errorf("OPTIONS after it: %s", res.start)
				}
			})
		}
	}
}

func TestSessionTimerInAnswer(t *testing.T) {
	_, _, addr := serve(t, "TCP", nil)
	for _, tt := range []struct {
		headers                  []string
		expires, require, absent string
	}{
		{[]string{"Supported: timer"}, "1800;refresher=uac", "timer", ""},
		{[]string{"Supported: timer", "Session-Expires: 600"}, "600;refresher=uac", "timer", ""},
		{[]string{"Supported: timer", "Session-Expires: 7200"}, "1800;refresher=uac", "timer", ""},
		{[]string{"Supported: timer", "Session-Expires: 600;refresher=uas"}, "600;refresher=uas", "", "Require"},
		{[]string{"Supported: timer", "Min-SE: 3600"}, "3600;refresher=uac", "timer", ""},
		{[]string{"Session-Expires: 600"}, "600;refresher=uas", "", "Require"},
		{nil, "", "", "Session-Expires"},
	} {
		res := dialRaw(t, "TCP", addr).invite(tt.headers...)
		if res.code() != 200 || res.header("Session-Expires") != tt.expires || res.header("Require") != tt.require || tt.absent != "" && res.header(tt.absent) != "" {
			t.Errorf("%v:\n%s\n%s", tt.headers, res.start, strings.Join(res.lines, "\n"))
		}
	}
}

func TestExpiryAndRefresh(t *testing.T) {
	_, rec, addr := serve(t, "TCP", func(c *Config) { c.SessionExpires, c.MinSE = 3*time.Second, time.Second })
	p := dialRaw(t, "TCP", addr)
	res := p.invite("Supported: timer")
	if got := res.header("Session-Expires"); got != "3;refresher=uac" {
		t.Fatalf("Session-Expires %s", got)
	}
	// A refresh with a body is answered like the INVITE, with Contact and timer.
	res = p.ask("INVITE", "again", "Supported: timer")
	p.write(p.request("ACK", 1, "")) // an ACK with another CSeq confirms all the same
	if res.code() != 200 || res.body != "re again" || res.header("Contact") == "" || res.header("Require") != "timer" {
		t.Errorf("refresh: %s\n%s", res.start, strings.Join(res.lines, "\n"))
	}
	if res := p.ask("UPDATE", "", "Supported: timer"); res.code() != 200 || res.header("Session-Expires") == "" {
		t.Errorf("UPDATE: %s", res.start)
	}
	if m := p.must(); m.method != "BYE" { // no refreshes from here on
		t.Errorf("got %s, want BYE", m.start)
	}
	if reason := wait.Next(t, rec.ended, "end"); !errors.Is(reason, ErrExpired) {
		t.Errorf("ended: %v", reason)
	}
}

// Where the client cannot refresh we do, and end the session when that fails.
func TestRefreshOfOurs(t *testing.T) {
	_, rec, addr := serve(t, "TCP", func(c *Config) { c.SessionExpires, c.MinSE = 2*time.Second, time.Second })
	rec.refresh = func() (string, []byte) { return "text/plain", []byte("still there?") }
	p := dialRaw(t, "TCP", addr)
	p.invite("Session-Expires: 2")
	m := p.must()
	if m.method != "INVITE" || m.body != "still there?" || m.header("Session-Expires") != "2;refresher=uac" {
		t.Fatalf("refresh: %s\n%s", m.start, strings.Join(m.lines, "\n"))
	}
	p.answer(m, 200)
	if ack := p.must(); ack.method != "ACK" {
		t.Errorf("got %s, want ACK", ack.start)
	}
}

func TestCSeqStartsOver(t *testing.T) {
	for _, transport := range []string{"TCP", "UDP"} {
		_, rec, addr := serve(t, transport, nil)
		p := dialRaw(t, transport, addr)
		p.invite("Supported: timer")
		for _, number := range []int{2, 3, 4} {
			p.cseq = number - 1
			p.ask("INFO", fmt.Sprint(number))
		}
		p.cseq = 1
		p.ask("INVITE", "refresh", "Supported: timer")
		p.write(p.request("ACK", 1, ""))
		for _, number := range []int{2, 3} {
			p.cseq = number - 1
			if res := p.ask("INFO", fmt.Sprintf("again %d", number)); res.code() != 200 {
				t.Errorf("%s: INFO %d: %s", transport, number, res.start)
			}
		}
		for _, want := range []string{"2", "3", "4", "refresh", "again 2", "again 3"} {
			if got := wait.Next(t, rec.requests, want); got != want {
				t.Errorf("%s: %q, want %q", transport, got, want)
			}
		}
	}
}

func TestReorderedDatagrams(t *testing.T) {
	_, rec, addr := serve(t, "UDP", nil)
	p := dialRaw(t, "UDP", addr)
	p.invite()
	for _, number := range []int{4, 3, 2} {
		p.write(p.request("INFO", number, fmt.Sprint(number)))
	}
	for _, want := range []string{"2", "3", "4"} {
		if got := wait.Next(t, rec.requests, "INFO"); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
	p.write(p.request("INFO", 7, "7")) // 5 and 6 are lost: it is not waited for long
	if got := wait.Next(t, rec.requests, "INFO"); got != "7" {
		t.Errorf("%s, want 7", got)
	}
}

func TestRetransmissions(t *testing.T) {
	_, rec, addr := serve(t, "UDP", nil)
	p := dialRaw(t, "UDP", addr)
	p.invite()
	p.cseq++
	info := p.request("INFO", p.cseq, "once")
	for range 3 {
		p.write(info)
		if res := p.must(); res.body != "re once" {
			t.Fatalf("%s %q", res.start, res.body)
		}
	}
	p.ask("INFO", "twice")
	if a, b := wait.Next(t, rec.requests, "INFO"), wait.Next(t, rec.requests, "INFO"); a != "once" || b != "twice" {
		t.Errorf("handled %q, %q", a, b)
	}
}

// Two users behind one program that starts in the same second send the same
// Call-ID and From tag: both get a session.
func TestEqualCallIDs(t *testing.T) {
	ua, rec, addr := serve(t, "TCP", nil)
	a, b := dialRaw(t, "TCP", addr), dialRaw(t, "TCP", addr)
	b.callID, b.tag = a.callID, a.tag
	noBranch := func(p *rawPeer, user string) string {
		s := p.request("INVITE", 1, "hello")
		s = strings.Replace(s, ";branch=z9hG4bK"+p.tag+"1;rport", "", 1)
		return strings.Replace(s, "sip:peer@", "sip:"+user+"@", 1)
	}
	a.write(noBranch(a, "alice"))
	b.write(noBranch(b, "bob"))
	ra, rb := a.must(), b.must()
	if ra.code() != 200 || rb.code() != 200 || ra.header("To") == rb.header("To") {
		t.Fatalf("%s %s / %s %s", ra.start, ra.header("To"), rb.start, rb.header("To"))
	}
	wait.Next(t, rec.dialogs, "dialog")
	wait.Next(t, rec.dialogs, "dialog")
	if n, _, _ := ua.Counts(); n != 2 {
		t.Errorf("%d dialogs", n)
	}
}

// Events never wait for an answer that never comes.
func TestPeerThatNeverAnswers(t *testing.T) {
	for _, transport := range []string{"TCP", "UDP"} {
		_, rec, addr := serve(t, transport, func(c *Config) { c.EventWait = 10 * time.Millisecond })
		p := dialRaw(t, transport, addr)
		p.invite()
		d := wait.Next(t, rec.dialogs, "dialog")
		const n = 100
		for i := range n {
			d.Send("INFO", "text/plain", []byte(fmt.Sprint(i)), nil)
		}
		seen := map[string]bool{}
		for len(seen) < n {
			m := p.must()
			if !seen[m.body] && m.body != fmt.Sprint(len(seen)) {
				t.Fatalf("%s: %s as number %d", transport, m.body, len(seen))
			}
			seen[m.body] = true
		}
		d.mu.Lock()
		if transport == "UDP" && d.mute < 3 {
			t.Errorf("the peer counts as mute only %d times", d.mute)
		}
		d.mu.Unlock()
		if res := p.ask("OPTIONS", ""); transport == "TCP" && res.code() != 200 {
			t.Errorf("the dialog is gone: %s", res.start)
		}
	}
}

func TestPeerThatLostTheDialog(t *testing.T) {
	_, rec, addr := serve(t, "TCP", nil)
	p := dialRaw(t, "TCP", addr)
	p.invite()
	wait.Next(t, rec.dialogs, "dialog").Send("INFO", "text/plain", []byte("x"), nil)
	p.answer(p.must(), 481)
	if reason := wait.Next(t, rec.ended, "end"); !errors.Is(reason, ErrPeerLost) {
		t.Errorf("ended: %v", reason)
	}
}

func TestRouteSet(t *testing.T) {
	for _, tt := range []struct {
		name, recordRoute, uri, route string
	}{
		{"loose", "<sip:a.example;lr>, <sip:b.example;lr;x=\"1,2\">", "sip:peer@127.0.0.1:1;transport=tcp", "<sip:a.example;lr>|<sip:b.example;lr;x=\"1,2\">"},
		{"strict", "<sip:a.example>, <sip:b.example;lr>", "sip:a.example", "<sip:b.example;lr>|<sip:peer@127.0.0.1:1;transport=tcp>"},
	} {
		_, rec, addr := serve(t, "TCP", nil)
		p := dialRaw(t, "TCP", addr)
		req := p.request("INVITE", 1, "", "Record-Route: "+tt.recordRoute)
		req = strings.Replace(req, "<sip:peer@"+p.nc.LocalAddr().String()+";transport=TCP>", "<sip:peer@127.0.0.1:1;transport=tcp>", 1)
		p.write(req)
		p.must()
		wait.Next(t, rec.dialogs, "dialog").Send("INFO", "text/plain", []byte("x"), nil)
		m := p.must()
		var routes []string
		for _, l := range m.lines {
			if v, ok := strings.CutPrefix(l, "Route: "); ok {
				routes = append(routes, v)
			}
		}
		if got := strings.Fields(m.start)[1]; got != tt.uri || strings.Join(routes, "|") != tt.route {
			t.Errorf("%s: %s, routes %s", tt.name, got, strings.Join(routes, "|"))
		}
	}
}

// The connection's loss gives a dialog some time; a request on a new connection
// takes it up, silence ends it.
func TestLostConnection(t *testing.T) {
	_, rec, addr := serve(t, "TCP", func(c *Config) { c.Grace = 500 * time.Millisecond })
	p := dialRaw(t, "TCP", addr)
	p.invite()
	_ = p.nc.Close()
	q := dialRaw(t, "TCP", addr)
	q.callID, q.tag, q.toTag, q.cseq, q.branches = p.callID, p.tag, p.toTag, p.cseq, 1000
	if res := q.ask("INFO", "back"); res.code() != 200 {
		t.Fatalf("after the connection changed: %s", res.start)
	}
	wait.Next(t, rec.dialogs, "dialog").Send("INFO", "text/plain", []byte("hello"), nil)
	if m := q.must(); m.body != "hello" {
		t.Errorf("event on the new connection: %s", m.start)
	}
	_ = q.nc.Close()
	if reason := wait.Next(t, rec.ended, "end"); !errors.Is(reason, ErrConnectionLost) {
		t.Errorf("ended: %v", reason)
	}
}

// Where peers are to come by themselves, nothing is dialled that they have written into Contact.
func TestStayOnFlow(t *testing.T) {
	_, rec, addr := serve(t, "TCP", func(c *Config) { c.StayOnFlow = true })
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	p := dialRaw(t, "TCP", addr)
	req := strings.Replace(p.request("INVITE", 1, ""), "<sip:peer@"+p.nc.LocalAddr().String(), "<sip:peer@"+l.Addr().String(), 1)
	p.write(req)
	p.must()
	d := wait.Next(t, rec.dialogs, "dialog")
	_ = p.nc.Close()
	done := make(chan Result, 1)
	for range 3 { // the first may still find the connection open
		d.Send("INFO", "text/plain", []byte("x"), func(res Result) { done <- res })
		if res := wait.Next(t, done, "result"); res.Err == nil {
			t.Errorf("answered: %v", res.Code())
		}
	}
	dialled := make(chan net.Conn, 1)
	go func() {
		if c, err := l.Accept(); err == nil {
			dialled <- c
		}
	}()
	d.Send("INFO", "text/plain", []byte("x"), func(res Result) { done <- res })
	if res := wait.Next(t, done, "result"); !errors.Is(res.Err, ErrConnectionLost) || len(dialled) > 0 {
		t.Errorf("%v, dialled %d times", res.Err, len(dialled))
	}
}

func TestStrangerInDialog(t *testing.T) {
	trusted := false
	_, _, addr := serve(t, "UDP", func(c *Config) { c.Trusts = func(Peer) bool { return trusted } })
	p := dialRaw(t, "UDP", addr)
	p.invite()
	// Another address of this machine that knows every identifier of the dialog.
	q := dialRaw(t, "UDP", addr)
	_ = q.nc.Close()
	nc, err := dialFrom("UDP", "127.0.0.2", addr)
	if err != nil {
		t.Skip("no second loopback address")
	}
	defer nc.Close()
	q.nc, q.in = nc, newReader(nc)
	q.callID, q.tag, q.toTag, q.cseq, q.branches = p.callID, p.tag, p.toTag, 1, 1000
	if res := q.ask("BYE", ""); res.code() != 481 {
		t.Errorf("a stranger's BYE: %s", res.start)
	}
	if res := p.ask("INFO", "still here"); res.code() != 200 {
		t.Errorf("the dialog after it: %s", res.start)
	}
}

// A request without TLS that names a dialog over TLS is not of that dialog, also from the same address.
func TestDialogKeepsTLS(t *testing.T) {
	cert, pool := certificate(t, "gw.example")
	ua, _, addr := serve(t, "UDP", func(c *Config) {
		c.Follows = func(*Dialog, *Request) bool { return true }
	})
	secure, err := ua.ListenTCP("127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12})
	if err != nil {
		t.Fatal(err)
	}
	p := dialRaw(t, "TCP", secure)
	nc := tls.Client(p.nc, &tls.Config{RootCAs: pool, ServerName: "gw.example", MinVersion: tls.VersionTLS12})
	p.nc, p.in, p.transport = nc, newReader(nc), "TLS"
	p.invite()
	for _, local := range []string{"127.0.0.1", "127.0.0.2"} {
		q := dialRawFrom(t, "UDP", local, addr)
		q.callID, q.tag, q.toTag, q.cseq, q.branches = p.callID, p.tag, p.toTag, 1, 1000
		if res := q.ask("INFO", "in clear"); res.code() != 481 {
			t.Errorf("over UDP from %s: %s", local, res.start)
		}
	}
	if res := p.ask("INFO", "still here"); res.code() != 200 {
		t.Errorf("the dialog after it: %s", res.start)
	}
}

func TestLimits(t *testing.T) {
	_, _, addr := serve(t, "TCP", func(c *Config) {
		c.MaxDialogs, c.MaxDialogsPerPeer, c.Known = 3, 2, func(Peer) bool { return true }
	})
	for i, want := range []int{200, 200, 486} {
		if res := dialRaw(t, "TCP", addr).invite(); res.code() != want || want != 200 && res.header("Retry-After") == "" {
			t.Errorf("INVITE %d: %s", i, res.start)
		}
	}
}

// shortTimers runs a test in a process of its own, and reports whether it is that one: the
// timers' length belongs to the whole process and is set before the first transaction.
func shortTimers(t *testing.T) bool {
	t.Helper()
	if os.Getenv("TR87_SHORT_TIMERS") != "" {
		SetT1(20 * time.Millisecond)
		return true
	}
	ctx, cancel := context.WithTimeout(t.Context(), 6*patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v")
	cmd.Env = append(os.Environ(), "TR87_SHORT_TIMERS=1")
	out, err := cmd.CombinedOutput()
	if err != nil || !bytes.Contains(out, []byte("--- PASS: "+t.Name())) {
		t.Fatalf("%v\n%s", err, out)
	}
	return false
}

func TestNoACK(t *testing.T) {
	if !shortTimers(t) {
		return
	}
	_, rec, addr := serve(t, "UDP", func(c *Config) { c.Known = func(Peer) bool { return true } })
	p := dialRaw(t, "UDP", addr)
	p.write(p.request("INVITE", 1, "hello"))
	repeated := 0
	for {
		m := p.must()
		if m.method == "BYE" {
			break
		}
		repeated++
	}
	if repeated < 4 {
		t.Errorf("the 200 came %d times", repeated)
	}
	if reason := wait.Next(t, rec.ended, "end"); !errors.Is(reason, ErrNoAck) {
		t.Errorf("ended: %v", reason)
	}
}

func TestShutdownSaysGoodbye(t *testing.T) {
	ua, rec, addr := serve(t, "TCP", nil)
	p := dialRaw(t, "TCP", addr)
	p.invite()
	wait.Next(t, rec.dialogs, "dialog")
	done := make(chan struct{})
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		ua.Shutdown(ctx)
		close(done)
	}()
	m := p.must()
	if m.method != "BYE" {
		t.Fatalf("got %s, want BYE", m.start)
	}
	p.answer(m, 200)
	wait.Next(t, done, "end of the shutdown")
	if n, _, _ := ua.Counts(); n != 0 {
		t.Errorf("%d dialogs left", n)
	}
}

// Nothing is left of a goodbye that is given up: a peer may never answer it.
func TestGoodbyeThatNobodyAnswers(t *testing.T) {
	ua, rec, addr := serve(t, "TCP", nil)
	p := dialRaw(t, "TCP", addr)
	p.invite()
	d := wait.Next(t, rec.dialogs, "dialog")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	ua.byeAll(ctx, []*Dialog{d})
	if m := p.must(); m.method != "BYE" {
		t.Fatalf("got %s, want BYE", m.start)
	}
	stacks := make([]byte, 1<<20)
	if stacks = stacks[:runtime.Stack(stacks, true)]; bytes.Contains(stacks, []byte(".byeAll")) {
		t.Errorf("somebody waits still:\n%s", stacks)
	}
}

func TestBlankLinesAndKeepAlive(t *testing.T) {
	_, _, addr := serve(t, "TCP", nil)
	p := dialRaw(t, "TCP", addr)
	p.write("\r\n\r\n")
	p.write("\r\n" + p.request("OPTIONS", 1, ""))
	if res := p.must(); res.code() != 200 {
		t.Errorf("%s", res.start)
	}
}

func TestStreamWithoutBorders(t *testing.T) {
	_, _, addr := serve(t, "TCP", nil)
	for name, change := range map[string]func(string) string{
		"no Content-Length":            func(s string) string { return strings.Replace(s, "Content-Length", "X-Length", 1) },
		"two different Content-Length": func(s string) string { return strings.Replace(s, "Max-Forwards: 70", "Content-Length: 7", 1) },
		"huge Content-Length":          func(s string) string { return strings.Replace(s, "Content-Length: 0", "Content-Length: 99999999", 1) },
		"negative Content-Length":      func(s string) string { return strings.Replace(s, "Content-Length: 0", "Content-Length: -1", 1) },
		"endless header":               func(string) string { return "X: " + strings.Repeat("x", 70000) },
	} {
		p := dialRaw(t, "TCP", addr)
		p.write(change(p.request("OPTIONS", 1, "")))
		for {
			m, err := p.read()
			if err != nil {
				break // closed
			}
			if m.code() < 400 {
				t.Errorf("%s: %s", name, m.start)
			}
		}
	}
	p := dialRaw(t, "TCP", addr)
	for _, c := range []byte(p.request("OPTIONS", 1, "octet by octet")) {
		p.write(string(c))
	}
	if res := p.must(); res.code() != 200 {
		t.Errorf("octet by octet: %s", res.start)
	}
}

// Nothing follows the response to a BYE, also before the handler knows of it.
func TestNothingFollowsBye(t *testing.T) {
	outcome := make(chan error, 1)
	var d atomic.Pointer[Dialog]
	_, rec, addr := serve(t, "UDP", func(c *Config) {
		c.Trace = func(m Traced) {
			out, data := m.Out, m.Data
			if out && strings.HasPrefix(string(data), "SIP/2.0 200") && strings.Contains(string(data), " BYE\r\n") {
				d.Load().Send("INFO", "", nil, func(res Result) { outcome <- res.Err })
			}
		}
	})
	p := dialRaw(t, "UDP", addr)
	p.invite()
	d.Store(wait.Next(t, rec.dialogs, "dialog"))
	if m := p.ask("BYE", ""); m.code() != 200 {
		t.Error(m.start)
	}
	if err := wait.Next(t, outcome, "the outcome"); !errors.Is(err, ErrLocalBye) {
		t.Errorf("outcome %v", err)
	}
}
