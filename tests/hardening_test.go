package tests

import (
	"bufio"
	"crypto/tls"
	"flag"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tr87proxy/tr87proxy/uacsta"
)

// floodTime is for scripts/bench --flood.
var floodTime = flag.Duration("flood", 5*time.Second, "how long TestFlood floods")

// invite is an INVITE of a stranger, over UDP.
func invite(branch int, from string, extra string) string {
	return fmt.Sprintf("INVITE sip:x@127.0.0.1 SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1:9;branch=z9hG4bKflood%d;rport\r\nFrom: <%s>;tag=%d\r\nTo: <sip:x@127.0.0.1>\r\nCall-ID: flood%d\r\nCSeq: 1 INVITE\r\nContact: <sip:a@127.0.0.1:9>\r\nMax-Forwards: 70\r\n%sContent-Length: 0\r\n\r\n", branch, from, branch, branch, extra)
}

// While strangers open thousands of connections, say half a word, and flood it with
// INVITEs, a client that behaves well is served.
func TestFlood(t *testing.T) {
	file := t.TempDir() + "/accounts"
	account(t, file, "crm", "pw")
	r := serve(t, "application-sessions: {accounts: "+file+", login-time: 2s}\nlimits: {calls-per-minute: 1000000}\ndigest: {users: [{name: somebody, password: else}]}\ngrants: [{who: crm, control: [\"*\"]}]\n")
	good := r.xml()
	if m := good.login("crm", "pw", uacsta.LoginPlain, 600); m.Name() != "StartApplicationSessionPosResponse" {
		t.Fatalf("%s", m)
	}
	ref := good.monitor("1001")
	once := func() time.Duration {
		began := time.Now()
		id := good.ask(call("1000", "1001")).Text("callingDevice/callID")
		good.ask(uacsta.ClearConnection{ConnectionToBeCleared: uacsta.Conn(id, "1000")})
		for {
			if ev := good.hear(); ev.Name() == "ConnectionClearedEvent" && ev.CrossRef() == ref && ev.Text("droppedConnection/deviceID") == "1001" {
				return time.Since(began)
			}
		}
	}
	percentiles := func(took []time.Duration) string {
		slices.Sort(took)
		return fmt.Sprintf("half %v, 99 of 100 %v", took[len(took)/2].Round(10*time.Microsecond), took[len(took)*99/100].Round(10*time.Microsecond))
	}
	var before, during []time.Duration
	for range 200 {
		before = append(before, once())
	}
	var group sync.WaitGroup
	stop := make(chan struct{})
	for n := range 2000 { // half-open: nothing, half a TLS hello, half a frame, half a message
		port := []int{r.tlsPort, r.xmlTLSPort, r.xmlPort, r.port}[n%4]
		group.Go(func() {
			conn, err := net.DialTimeout("tcp", fmt.Sprintf("127.0.0.1:%d", port), patience)
			if err != nil {
				return // refused, which is all right
			}
			defer conn.Close()
			_, _ = io.WriteString(conn, []string{"\x16\x03\x01\x02", "", "\x00\x00\x01\x00", "INVITE sip:x"}[n%4])
			<-stop
		})
	}
	codes := map[string]int{}
	var mu sync.Mutex
	flood := func(conn net.Conn) {
		for n := 0; ; n++ {
			select {
			case <-stop:
				return
			default:
				_, _ = io.WriteString(conn, invite(n, "sip:mallory@x", ""))
			}
		}
	}
	answers, err := net.Dial("udp", fmt.Sprintf("127.0.0.1:%d", r.port))
	if err != nil {
		t.Fatal(err)
	}
	group.Go(func() { flood(answers) })
	group.Go(func() {
		buffer := make([]byte, 65536)
		for {
			_ = answers.SetReadDeadline(time.Now().Add(patience))
			n, err := answers.Read(buffer)
			if err != nil {
				return
			}
			mu.Lock()
			codes[strings.SplitN(string(buffer[:n]), " ", 3)[1]]++
			mu.Unlock()
		}
	})
	for until := time.Now().Add(*floodTime); time.Now().Before(until); {
		during = append(during, once())
	}
	close(stop)
	_ = answers.Close()
	group.Wait()
	t.Logf("%d calls meanwhile, answers to the flood: %v", len(during), codes)
	t.Logf("a call takes: %s; in the flood: %s", percentiles(before), percentiles(during))
	if len(during) < 5 {
		t.Errorf("only %d calls", len(during))
	}
	if codes["401"] == 0 {
		t.Errorf("the flood was answered with %v", codes)
	}
	waitFor(t, "the end of the strangers", func() bool { return r.metric("tr87proxy_sip_connections") == 0 && r.metric("tr87proxy_sessions") == 1 })
	r.stop()
}

// A trusted peer says who its user is by P-Asserted-Identity; who is not trusted says what
// it likes, and addresses that are forbidden get nothing.
func TestAsserted(t *testing.T) {
	r := serve(t, "trusted: [{address: 127.0.0.1}]\ngrants: [{who: \"sip:alice@contoso.com\", control: [\"1000\"]}]\n")
	ask := func(from, extra string) string {
		conn, err := net.Dial("udp", fmt.Sprintf("127.0.0.1:%d", r.port))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		_, _ = io.WriteString(conn, invite(len(from)*1000+len(extra), from, extra))
		buffer := make([]byte, 65536)
		for {
			_ = conn.SetReadDeadline(time.Now().Add(patience))
			n, err := conn.Read(buffer)
			if err != nil {
				t.Fatal(err)
			}
			if code := strings.SplitN(string(buffer[:n]), " ", 3)[1]; code != "100" {
				return code
			}
		}
	}
	for extra, want := range map[string]string{
		"": "403", "P-Asserted-Identity: \"Alice, A.\" <sip:Alice@contoso.com>, <tel:+1425>\r\n": "200", "P-Asserted-Identity: <sip:bob@contoso.com>, <sip:alice@contoso.com>\r\n": "403",
	} {
		if got := ask("sip:bob@contoso.com", extra); got != want {
			t.Errorf("%q: %s, want %s", extra, got, want)
		}
	}
	r.stop()
	a := administer(t, "addresses: {deny: [\"127.0.0.0/8\"]}\ntrusted: [{address: 127.0.0.1}]\ngrants: [{who: \"*\", control: [\"*\"]}]\n")
	if _, m, err := a.xml().read(); err == nil {
		t.Errorf("%s", m)
	}
	if out, status := command(t, "system-status", "--timeout", "1s", "--server", fmt.Sprintf("sip:x@127.0.0.1:%d;transport=tcp", a.port)); status == 0 {
		t.Error(out)
	}
	a.edit("127.0.0.0/8", "192.0.2.0/24")
	a.admin(0, "reload")
	if m := a.xml().ask(uacsta.RequestSystemStatus{}); m.Text("systemStatus") != "normal" {
		t.Errorf("%s", m)
	}
	a.stop()
}

// In somebody's dialog nobody else gets anything done who knows all about it: not from
// another address, not under another name over TLS, not in the name of another dialog.
func TestForged(t *testing.T) {
	folder := lab(t)
	port := freePort(t)
	a := administer(t, "trusted: [{certificate: \"sip:crm@contoso.com\"}]\ncertificate-names: [uri, dns]\ngrants: [{who: \"*\", control: [\"*\"]}]\n")
	a.edit("sip:\n  listen:\n", fmt.Sprintf("sip:\n  listen:\n  - {transport: tls, address: \"0.0.0.0:%d\", certificate: %[2]s/server.pem, key: %[2]s/server.key, client-ca: %[2]s/ca.pem, client-auth: optional}\n", port, folder))
	a.admin(0, "reload")
	dial := func(name, local string) *bufio.ReadWriter {
		cfg := &tls.Config{InsecureSkipVerify: true}
		if name != "" {
			pair, err := tls.LoadX509KeyPair(folder+"/"+name+".pem", folder+"/"+name+".key")
			if err != nil {
				t.Fatal(err)
			}
			cfg.Certificates = []tls.Certificate{pair}
		}
		d := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(local)}}
		conn, err := tls.DialWithDialer(d, "tcp", fmt.Sprintf("127.0.0.1:%d", port), cfg)
		if err != nil {
			t.Fatal(err)
		}
		_ = conn.SetDeadline(time.Now().Add(patience))
		t.Cleanup(func() { _ = conn.Close() })
		return bufio.NewReadWriter(bufio.NewReader(conn), bufio.NewWriter(conn))
	}
	ask := func(c *bufio.ReadWriter, request string) (status, tag string) {
		t.Helper()
		_, _ = c.WriteString(request)
		_ = c.Flush()
		for {
			l, err := c.ReadString('\n')
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
				_, _ = io.CopyN(io.Discard, c, n+2)
				return status, tag
			}
		}
	}
	const xml = "application/csta+xml"
	snapshot := "<SnapshotDevice><snapshotObject>1000</snapshotObject></SnapshotDevice>"
	mine := dial("good", "127.0.0.1")
	status, tag := ask(mine, message("INVITE", "mine", "", xml, "<RequestSystemStatus/>"))
	if status != "200" {
		t.Fatal(status)
	}
	_, _ = mine.WriteString(message("ACK", "mine", tag, "", ""))
	_ = mine.Flush()
	for name, thief := range map[string]*bufio.ReadWriter{"another name": dial("wrongname", "127.0.0.1"), "no name": dial("", "127.0.0.1"), "another address": dial("wrongname", "127.0.0.2")} {
		for _, method := range []string{"INFO", "BYE"} {
			body, kind := "", ""
			if method == "INFO" {
				body, kind = snapshot, xml
			}
			if got, _ := ask(thief, message(method, "mine", tag, kind, body)); got != "481" {
				t.Errorf("%s of %s: %s", method, name, got)
			}
		}
	}
	for name, request := range map[string]string{ // the right connection, but identifiers of two dialogs
		"another Call-ID": strings.Replace(message("BYE", "mine", tag, "", ""), "Call-ID: mine", "Call-ID: yours", 1),
		"another tag":     strings.Replace(message("BYE", "mine", tag, "", ""), ";tag=tmine", ";tag=tyours", 1),
		"another of ours": message("BYE", "mine", tag+"x", "", ""),
	} {
		if got, _ := ask(mine, strings.Replace(request, "branch=z9hG4bK", "branch=z9hG4bK"+strings.ReplaceAll(name, " ", ""), 1)); got != "481" {
			t.Errorf("%s: %s", name, got)
		}
	}
	if got, _ := ask(mine, message("INFO", "mine", tag, xml, snapshot)); got != "200" {
		t.Errorf("the dialog itself: %s", got)
	}
	a.stop()
}
