package tests

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/tr87proxy/tr87proxy/uacsta"
)

// invite is an INVITE of a stranger, over UDP.
func invite(branch int, from string, extra string) string {
	return fmt.Sprintf("INVITE sip:x@127.0.0.1 SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1:9;branch=z9hG4bKflood%d;rport\r\nFrom: <%s>;tag=%d\r\nTo: <sip:x@127.0.0.1>\r\nCall-ID: flood%d\r\nCSeq: 1 INVITE\r\nContact: <sip:a@127.0.0.1:9>\r\nMax-Forwards: 70\r\n%sContent-Length: 0\r\n\r\n", branch, from, branch, branch, extra)
}

// A trusted peer says who its user is by P-Asserted-Identity; who is not trusted says what
// it likes, and addresses that are forbidden get nothing.
func TestAsserted(t *testing.T) {
	t.Parallel()
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
	t.Parallel()
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
