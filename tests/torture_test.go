package tests

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/tr87proxy/tr87proxy/sip"
	"github.com/tr87proxy/tr87proxy/tests/samples"
	"github.com/tr87proxy/tr87proxy/tr87"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

// message makes a request by hand.
func message(method, callID, toTag, contentType, body string, extra ...string) string {
	to := "<sip:gw@localhost>"
	if toTag != "" {
		to += ";tag=" + toTag
	}
	lines := append([]string{
		method + " sip:gw@localhost SIP/2.0", "Via: SIP/2.0/TCP 127.0.0.1:9;branch=z9hG4bK" + callID + method + ";rport",
		"From: <sip:torturer@localhost>;tag=t" + callID, "To: " + to, "Call-ID: " + callID, "CSeq: 1 " + method,
		"Contact: <sip:torturer@127.0.0.1:9;transport=tcp>", "Max-Forwards: 70",
	}, extra...)
	if contentType != "" {
		lines = append(lines, "Content-Type: "+contentType)
	}
	return strings.Join(append(lines, fmt.Sprintf("Content-Length: %d", len(body))), "\r\n") + "\r\n\r\n" + body
}

// torture lists what a hostile or broken peer may send. Where a final answer must
// come, code says which; 0 accepts any, and none.
func torture() map[string]struct {
	wire string
	code int
} {
	type c = struct {
		wire string
		code int
	}
	const xml = "application/csta+xml"
	cases := map[string]c{
		"nothing but blank lines":    {strings.Repeat("\r\n", 5000), 0},
		"zeros":                      {strings.Repeat("\x00", 3000), 0},
		"random letters":             {strings.Repeat("qwerty uiop\r\n", 300) + "\r\n", 0},
		"half a start line":          {"INVI", 0},
		"half a head":                {message("OPTIONS", "half", "", "", "")[:120], 0},
		"half a body":                {strings.Replace(message("INVITE", "body", "", xml, "<a/>"), "Content-Length: 4", "Content-Length: 4000", 1), 0},
		"a body longer than said":    {strings.Replace(message("OPTIONS", "long", "", xml, "<a/><b/>"), "Content-Length: 8", "Content-Length: 4", 1), 200},
		"Content-Length of 4 GB":     {strings.Replace(message("OPTIONS", "huge", "", "", ""), "Content-Length: 0", "Content-Length: 4294967296", 1), 0},
		"Content-Length of minus 1":  {strings.Replace(message("OPTIONS", "minus", "", "", ""), "Content-Length: 0", "Content-Length: -1", 1), 0},
		"a header of 60 KB":          {message("OPTIONS", "wide", "", "", "", "X: "+strings.Repeat("x", 60000)), 200},
		"a header of 70 KB":          {message("OPTIONS", "wider", "", "", "", "X: "+strings.Repeat("x", 70000)), 0},
		"a thousand headers":         {message("OPTIONS", "many", "", "", "", strings.TrimSuffix(strings.Repeat("X: y\r\n", 1000), "\r\n")), 400},
		"an unknown method":          {message("NEGOTIATE", "neg", "", "", ""), 405},
		"an unknown body type":       {message("INVITE", "type", "", "application/sdp", "v=0"), 415},
		"an unknown extension":       {message("INVITE", "ext", "", "", "", "Require: 100rel"), 420},
		"a dialog nobody has":        {message("INFO", "nobody", "wrong", xml, "<a/>"), 481},
		"BYE to a dialog nobody has": {message("BYE", "byebye", "wrong", "", ""), 481},
		"no XML":                     {message("INVITE", "noxml", "", xml, "hello"), 400},
		"a response to nothing":      {"SIP/2.0 200 OK\r\nVia: SIP/2.0/TCP x;branch=z9hG4bKno\r\nCSeq: 1 INFO\r\nContent-Length: 0\r\n\r\n", 0},
		"quotes without end":         {message("OPTIONS", "quote", "", "", "", `X: "`), 200},
		"a Via without end":          {strings.Replace(message("OPTIONS", "via", "", "", ""), ";rport", `;x="`, 1), 200},
		"a negative CSeq":            {strings.Replace(message("OPTIONS", "cseq", "", "", ""), "CSeq: 1", "CSeq: -1", 1), 400},
		"header injection":           {message("OPTIONS", "inj", "", "", "", "X: a\rEvil: b"), 0},
		"deep nesting":               {message("INVITE", "deep", "", xml, strings.Repeat("<a>", 5000)+strings.Repeat("</a>", 5000)), 400},
	}
	for _, s := range samples.All {
		if s.Root == "" && s.Wire != "" {
			cases["XML: "+s.Name] = c{message("INVITE", strings.ReplaceAll(s.Name, " ", ""), "", xml, s.Wire), 400}
		}
	}
	return cases
}

// works reports why the proxy does not work: OPTIONS, then a call over a session.
func works(r *running) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	nc, err := (&net.Dialer{}).DialContext(ctx, "tcp", fmt.Sprintf("127.0.0.1:%d", r.port))
	if err != nil {
		return err
	}
	defer nc.Close()
	_, _ = io.WriteString(nc, message("OPTIONS", fmt.Sprint(time.Now().UnixNano()), "", "", ""))
	_ = nc.SetReadDeadline(time.Now().Add(patience))
	if l, err := bufio.NewReader(nc).ReadString('\n'); err != nil || !strings.Contains(l, "200") {
		return fmt.Errorf("OPTIONS: %q %w", l, err)
	}
	ua := sip.New(sip.Config{})
	defer ua.Close()
	c, err := tr87.Open(ctx, ua, tr87.Dial{To: fmt.Sprintf("sip:gw@127.0.0.1:%d;transport=tcp", r.port), From: "sip:user@localhost"})
	if err != nil {
		return err
	}
	defer c.Close()
	res, err := c.Request(ctx, uacsta.Encode(uacsta.MakeCall{CallingDevice: uacsta.Dev("1000"), CalledDirectoryNumber: uacsta.Dev("1001"), AutoOriginate: uacsta.DoNotPrompt}, uacsta.Edition3))
	if err != nil {
		return err
	}
	_, err = c.Request(ctx, uacsta.Encode(uacsta.ClearConnection{ConnectionToBeCleared: uacsta.Conn(res.Text("callingDevice/callID"), "1000")}, uacsta.Edition3))
	return err
}

func TestTorture(t *testing.T) {
	t.Parallel()
	r := serve(t, everybody)
	for name, c := range torture() {
		for _, transport := range []string{"tcp", "udp"} {
			if transport == "udp" && len(c.wire) > 60000 {
				continue
			}
			nc, err := net.Dial(transport, fmt.Sprintf("127.0.0.1:%d", r.port))
			if err != nil {
				t.Fatal(err)
			}
			_, _ = io.WriteString(nc, c.wire)
			if c.code != 0 && (transport == "tcp" || name != "a Via without end") { // it names no port to answer to
				_ = nc.SetReadDeadline(time.Now().Add(patience))
				l, err := bufio.NewReader(nc).ReadString('\n')
				if want := fmt.Sprintf("SIP/2.0 %d ", c.code); err != nil || !strings.HasPrefix(l, want) {
					t.Errorf("%s over %s: %q %v, want %s", name, transport, l, err, want)
				}
			}
			_ = nc.Close() // and the peer vanishes
			if err := works(r); err != nil {
				t.Fatalf("after %s over %s: %v\n%s", name, transport, err, r.out)
			}
		}
	}
	// Octet by octet.
	nc, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", r.port))
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	for _, c := range []byte(message("OPTIONS", "slow", "", "", "")) {
		if _, err := nc.Write([]byte{c}); err != nil {
			t.Fatal(err)
		}
	}
	if l, err := bufio.NewReader(nc).ReadString('\n'); err != nil || !strings.Contains(l, "200") {
		t.Errorf("octet by octet: %q %v", l, err)
	}
	r.stop()
}

// A request and the end of its session in one breath: both are answered.
func TestRequestAndBye(t *testing.T) {
	t.Parallel()
	r := serve(t, everybody)
	for i := range 50 {
		nc, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", r.port))
		if err != nil {
			t.Fatal(err)
		}
		_ = nc.SetDeadline(time.Now().Add(patience))
		in := bufio.NewReader(nc)
		answer := func() (status, tag string) {
			for {
				l, err := in.ReadString('\n')
				if err != nil {
					t.Fatal(err)
				}
				switch {
				case strings.HasPrefix(l, "SIP/2.0 "):
					status = l[8:11]
				case strings.HasPrefix(l, "To: "):
					_, tag, _ = strings.Cut(strings.TrimSpace(l), ";tag=")
				case strings.HasPrefix(l, "Content-Length: "):
					var n int64
					_, _ = fmt.Sscan(l[16:], &n)
					_, _ = io.CopyN(io.Discard, in, n+2)
					return status, tag
				}
			}
		}
		id := fmt.Sprintf("breath%d", i)
		_, _ = io.WriteString(nc, message("INVITE", id, "", "application/csta+xml", "<RequestSystemStatus/>"))
		_, tag := answer()
		_, _ = io.WriteString(nc, message("ACK", id, tag, "", "")+
			message("INFO", id, tag, "application/csta+xml", "<MonitorStart><monitorObject><deviceObject>1000</deviceObject></monitorObject></MonitorStart>")+message("BYE", id, tag, "", ""))
		for range 2 {
			if status, _ := answer(); status != "200" {
				t.Errorf("answered with %s", status)
			}
		}
		_ = nc.Close()
	}
	waitFor(t, "the end of all transactions", func() bool { return r.metric("tr87proxy_sip_transactions") == 0 })
	if n := r.metric("tr87proxy_link_monitors"); n != 0 {
		t.Errorf("%v monitors are left", n)
	}
	r.stop()
}

// A client that vanishes in the middle of a call costs nothing after a while.
func TestClientThatVanishes(t *testing.T) {
	t.Parallel()
	r := serve(t, everybody)
	nc, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", r.port))
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.WriteString(nc, message("INVITE", "vanish", "", "application/csta+xml", `<RequestSystemStatus/>`))
	if _, err := bufio.NewReader(nc).ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	if n := r.metric("tr87proxy_sessions"); n != 1 {
		t.Errorf("%v sessions, want 1", n)
	}
	_ = nc.Close()
	waitFor(t, "the end of the session", func() bool { return r.metric("tr87proxy_sessions") == 0 })
	if err := works(r); err != nil {
		t.Error(err)
	}
	r.stop()
}

// Memory and goroutines are back at their start after 3000 sessions.
func TestNothingIsLeft(t *testing.T) {
	t.Parallel()
	long(t)
	r := serve(t, everybody, "pprof: true")
	round := func(n int) {
		ua := sip.New(sip.Config{})
		defer ua.Close()
		for i := range n {
			transport := []string{"tcp", "udp"}[i%2]
			ctx, cancel := context.WithTimeout(context.Background(), patience)
			c, err := tr87.Open(ctx, ua, tr87.Dial{To: fmt.Sprintf("sip:gw@127.0.0.1:%d;transport=%s", r.port, transport), From: "sip:user@localhost", Line: "1000"})
			if err != nil {
				t.Fatal(err)
			}
			object := uacsta.Dev("1000")
			if _, err := c.Request(ctx, uacsta.Encode(uacsta.MonitorStart{MonitorObject: uacsta.MonitorObject{DeviceObject: &object}}, uacsta.Edition3)); err != nil {
				t.Fatal(err)
			}
			if i%3 == 0 {
				if _, err := c.Request(ctx, uacsta.Encode(uacsta.SetDoNotDisturb{Device: object, DoNotDisturbOn: i%2 == 0}, uacsta.Edition3)); err != nil {
					t.Fatal(err)
				}
			}
			c.Close()
			cancel()
		}
	}
	settled := func() (goroutines, heap float64) {
		waitFor(t, "the end of all transactions", func() bool {
			return r.metric("tr87proxy_sip_transactions") == 0 && r.metric("tr87proxy_sessions") == 0 && r.metric("tr87proxy_sip_connections") == 0
		})
		for range 2 { // the second collects what the first has finalized
			_ = r.get("/debug/pprof/heap?gc=1")
		}
		heap = r.metric("go_memstats_heap_alloc_bytes")
		return r.metric("go_goroutines"), heap
	}
	round(1000) // what is made once, and what grows to its size, does so now
	goroutines, heap := settled()
	round(3000)
	_, heapAfter := settled()
	waitFor(t, fmt.Sprintf("as many goroutines as before, %v", goroutines), func() bool { return r.metric("go_goroutines") <= goroutines+2 })
	if heapAfter > heap+3*512<<10 { // half a kilobyte for each session; the heap of a quiet process wavers by that of a thousand
		t.Errorf("%.0f octets of heap, %.0f before", heapAfter, heap)
	}
	if n := r.metric("tr87proxy_link_monitors"); n != 0 {
		t.Errorf("%v monitors are left", n)
	}
	r.stop()
}

// A session that somebody without rights asks for is refused and logged once.
func TestStrangers(t *testing.T) {
	t.Parallel()
	r := serve(t, "digest: {users: [{name: crm, password: \"hunter2 secret\"}]}\ngrants: [{who: crm, control: [\"1000\"]}]\n")
	open := func(user, password string) error {
		ua := sip.New(sip.Config{})
		defer ua.Close()
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		c, err := tr87.Open(ctx, ua, tr87.Dial{To: fmt.Sprintf("sip:gw@127.0.0.1:%d;transport=udp", r.port), From: "sip:boss@contoso.com", Line: "1000", Username: user, Password: password})
		if err == nil {
			c.Close()
		}
		return err
	}
	if err := open("crm", "hunter2 secret"); err != nil {
		t.Errorf("the right password: %v", err)
	}
	var refusal *sip.Refusal
	for _, wrong := range [][2]string{{"crm", "wrong-password"}, {"", ""}, {"boss", "x"}} {
		if err := open(wrong[0], wrong[1]); !errors.As(err, &refusal) || refusal.Response.Code() != 401 {
			t.Errorf("%v: %v", wrong, err)
		}
	}
	r.stop()
	out := r.out.String()
	if n := strings.Count(out, "authentication failed"); n != 2 {
		t.Errorf("%d failures in the log, want 2:\n%s", n, out)
	}
	for _, secret := range []string{"hunter2", "wrong-password"} {
		if strings.Contains(out, secret) {
			t.Errorf("the log has a password")
		}
	}
}

// A front end that is killed under 200 sessions: all of them end, and shutting
// down with sessions open takes no time.
func TestKilledFrontEnd(t *testing.T) {
	long(t)
	r := serveSlow(t, everybody)
	sessions := func() *sippRun {
		s := &scenario{}
		s.WriteString("<?xml version=\"1.0\"?><scenario name=\"idle\">\n")
		s.request("INVITE", sippOpen)
		s.response("", "<systemStatus>normal</systemStatus>")
		s.ack()
		s.request("INFO", `<?xml version="1.0"?><MonitorStart `+csta+`><monitorObject><deviceObject>`+sippLine+`</deviceObject></monitorObject></MonitorStart>`)
		s.response("", "<monitorCrossRefID>")
		s.WriteString("<pause milliseconds=\"600000\"/><Reference variables=\"m0\"/></scenario>\n")
		p := startSipp(t, s.String(), fmt.Sprintf("127.0.0.1:%d", r.port), "t1", 200, 400)
		waitFor(t, "200 monitors", func() bool { return r.metric("tr87proxy_link_monitors") == 200 })
		return p
	}
	_ = sessions().cmd.Process.Kill()
	waitFor(t, "the end of the sessions", func() bool {
		return r.metric("tr87proxy_sessions") == 0 && r.metric("tr87proxy_link_monitors") == 0 && r.metric("tr87proxy_sip_connections") == 0
	})
	if err := works(r); err != nil {
		t.Error(err)
	}
	sessions()
	r.stop()
}
