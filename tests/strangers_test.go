package tests

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tr87proxy/tr87proxy/sip"
	"github.com/tr87proxy/tr87proxy/tr87"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

// serveSmall starts tr87proxy with small tables, and telephones.
func serveSmall(t *testing.T, more string) (r *running, telephones int) {
	t.Helper()
	r, telephones = &running{port: freePort(t), ops: freePort(t), dir: t.TempDir()}, freePort(t)
	config := fmt.Sprintf(`
sip:
  listen: [{transport: udp, address: "127.0.0.1:%[1]d"}, {transport: tcp, address: "127.0.0.1:%[1]d"}]
  t1: 50ms
  max-transactions: 100
  max-connections: 100
  max-connections-per-peer: 25
operations: {address: "127.0.0.1:%[2]d"}
telephones: {listen: [{transport: udp, address: "127.0.0.1:%[3]d"}], realm: example.com, digest: [SHA-256, MD5]}
switch: {extensions: [{number: "100", sip: {password: secret}}, {number: "1000"}]}
grants: [{who: "*", control: ["*"]}]
%[4]s`, r.port, r.ops, telephones, more)
	file := filepath.Join(r.dir, "config.yaml")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	r.process = start(t, program(t), "serve", "-c", file)
	waitFor(t, "readiness", func() bool { return r.get("/readyz") == "ready\n" })
	return r, telephones
}

// socket opens a connection, or a UDP socket, from an address of loopback.
func socket(t *testing.T, network, from string, port int) net.Conn {
	t.Helper()
	to := fmt.Sprintf("127.0.0.1:%d", port)
	var nc net.Conn
	var err error
	if network == "udp" {
		nc, err = net.DialUDP("udp", &net.UDPAddr{IP: net.ParseIP(from)}, addressOf(t, to))
	} else {
		nc, err = (&net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}).Dial(network, to)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = nc.Close() })
	return nc
}

func addressOf(t *testing.T, to string) *net.UDPAddr {
	t.Helper()
	addr, err := net.ResolveUDPAddr("udp", to)
	if err != nil {
		t.Fatal(err)
	}
	return addr
}

// smallest is the shortest legal form of a request.
func smallest(id, method, to string, extra ...string) string {
	const form = "%s sip:a SIP/2.0\r\nv:SIP/2.0/UDP a;rport;branch=z9hG4bK%s\r\nf:<sip:a>;tag=1\r\nt:%s\r\ni:%s\r\nCSeq:1 %s\r\n%s\r\n"
	return fmt.Sprintf(form, method, id, to, id, method, strings.Join(append(extra, ""), "\r\n"))
}

// Before an address has proved that it gets what is sent to it, at most three times the octets
// are sent there that came from there, and nothing is repeated: by either front, whomever it
// believes.
func TestAmplification(t *testing.T) {
	t.Parallel()
	long(t)
	long := strings.Repeat("x", 600)
	requests := map[string]string{
		"Require":               smallest("a", "INVITE", "<sip:a>", "Require:a", "m:<sip:a>"),
		"no Contact":            smallest("b", "INVITE", "<sip:a>"),
		"To tag":                smallest("c", "INVITE", "<sip:a>;tag=1", "m:<sip:a>"),
		"bad Session-Expires":   smallest("d", "INVITE", "<sip:a>", "m:<sip:a>", "x:soon"),
		"small Session-Expires": smallest("e", "INVITE", "<sip:a>", "m:<sip:a>", "k:timer", "x:1"),
		"INVITE":                smallest("f", "INVITE", "<sip:a>", "m:<sip:a>"),
		"large INVITE":          smallest("g", "INVITE", "<sip:a>", "m:<sip:a>", "Subject:"+long),
		"no CSTA":               smallest("h", "INVITE", "<sip:a>", "m:<sip:a>", "c:text/plain") + "x",
		"bad CSTA":              smallest("i", "INVITE", "<sip:a>", "m:<sip:a>", "c:application/csta+xml") + "<x",
		"CSTA": smallest("j", "INVITE", "<sip:a>", "m:<sip:a>", "c:application/csta+xml", "Subject:"+long) +
			string(uacsta.Encode(uacsta.RequestSystemStatus{}, uacsta.Edition3).Bytes()),
		"OPTIONS":   smallest("k", "OPTIONS", "<sip:a>"),
		"REGISTER":  smallest("l", "REGISTER", "<sip:100@a>", "m:<sip:a>"),
		"SUBSCRIBE": smallest("m", "SUBSCRIBE", "<sip:100@a>", "m:<sip:a>", "Event:dialog"),
		"NOTIFY":    smallest("n", "NOTIFY", "<sip:100@a>", "Event:a"),
		"INFO":      smallest("o", "INFO", "<sip:a>"),
		"BYE":       smallest("p", "BYE", "<sip:a>"),
		"CANCEL":    smallest("q", "CANCEL", "<sip:a>"),
		"method":    smallest("r", "X", "<sip:a>"),
		"no From":   strings.Replace(smallest("s", "OPTIONS", "<sip:a>"), "f:", "g:", 1),
	}
	for name, more := range map[string]string{
		"nobody is trusted": "", "digest": "digest: {users: [{name: somebody, password: else}]}\n",
		"sessions are optional": "application-sessions: {sip: optional, accounts: ACCOUNTS, login-time: 1s}\n",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			file := t.TempDir() + "/accounts"
			if strings.Contains(more, "ACCOUNTS") {
				account(t, file, "crm", "pw")
			}
			r, telephones := serveSmall(t, strings.Replace(more, "ACCOUNTS", file, 1))
			type peer struct {
				net.Conn
				name           string
				sent, answered int
			}
			var peers []*peer
			for front, port := range map[string]int{"tr87": r.port, "telephones": telephones} {
				for name, data := range requests {
					p := &peer{Conn: socket(t, "udp", "127.0.0.1", port), name: front + ": " + name, sent: len(data)}
					if _, err := p.Write([]byte(data)); err != nil {
						t.Fatal(err)
					}
					peers = append(peers, p)
				}
			}
			began, buffer, prefix := time.Now(), make([]byte, 65536), "tr87proxy_telephones_sip_"
			waitFor(t, "the end of what strangers opened", func() bool {
				return time.Since(began) > 2*time.Second && r.metric("tr87proxy_sip_transactions")+r.metric("tr87proxy_sip_dialogs")+
					r.metric(prefix+"transactions")+r.metric(prefix+"dialogs") == 0
			})
			for _, p := range peers {
				octets := 0
				_ = p.SetReadDeadline(time.Now().Add(10 * time.Millisecond))
				for {
					n, err := p.Read(buffer)
					if err != nil {
						break
					}
					octets += n
					p.answered++
				}
				if octets > 3*p.sent || p.answered > 1 {
					t.Errorf("%s: %d octets sent, %d received in %d datagrams", p.name, p.sent, octets, p.answered)
				}
				if p.answered == 0 && (strings.Contains(p.name, "large") || strings.Contains(p.name, "Require")) {
					t.Errorf("%s: no answer", p.name)
				}
			}
			r.stop()
		})
	}
}

// Strangers fill every table there is of SIP: those who are trusted are served, in dialogs and
// outside, and a new peer gets in.
func TestStrangersFillTables(t *testing.T) {
	long(t)
	file := t.TempDir() + "/accounts"
	account(t, file, "crm", "pw")
	r, _ := serveSmall(t, "application-sessions: {sip: optional, accounts: "+file+"}\ntrusted: [{address: 127.0.0.1}]\n")
	ctx, cancel := context.WithTimeout(context.Background(), 3*patience)
	defer cancel()
	ua := sip.New(sip.Config{})
	defer ua.Close()
	open := func(transport string) *tr87.Client {
		t.Helper()
		c, err := tr87.Open(ctx, ua, tr87.Dial{To: fmt.Sprintf("sip:gw@127.0.0.1:%d;transport=%s", r.port, transport), From: "sip:crm@localhost"})
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	good := map[string]*tr87.Client{"udp": open("udp"), "tcp": open("tcp")}
	for i := range 8 * 30 {
		socket(t, "tcp", fmt.Sprintf("127.0.0.%d", 2+i%8), r.port)
	}
	for i := range 20 { // INVITEs whose dialogs nobody acknowledges
		nc := socket(t, "udp", fmt.Sprintf("127.0.0.%d", 20+i), r.port)
		for n := range 20 {
			if _, err := nc.Write([]byte(smallest(fmt.Sprintf("%d-%d", i, n), "INVITE", "<sip:a>", "m:<sip:a>", "Subject:"+strings.Repeat("x", 600)))); err != nil {
				t.Fatal(err)
			}
		}
	}
	waitFor(t, "transactions and connections that give way", func() bool {
		return r.metric("tr87proxy_sip_transactions_evicted_total") > 100 && r.metric("tr87proxy_sip_connections_evicted_total") > 100
	})
	for transport, c := range good {
		for range 5 {
			if m, err := c.Request(ctx, uacsta.Encode(uacsta.RequestSystemStatus{}, uacsta.Edition3)); err != nil || m.Text("systemStatus") != "normal" {
				t.Errorf("%s: %v", transport, err)
			}
		}
		open(transport).Close()
	}
	fresh := socket(t, "tcp", "127.0.0.99", r.port)
	if _, err := fresh.Write([]byte(message("OPTIONS", "fresh", "", "", ""))); err != nil {
		t.Fatal(err)
	}
	_ = fresh.SetReadDeadline(time.Now().Add(patience))
	buffer := make([]byte, 65536)
	if n, err := fresh.Read(buffer); err != nil || !strings.HasPrefix(string(buffer[:n]), "SIP/2.0 200") {
		t.Errorf("a new peer: %v %s", err, buffer[:n])
	}
	// Requests of ours, which the limit does not count, end with their responses.
	waitFor(t, "transactions within their limit", func() bool { return r.metric("tr87proxy_sip_transactions") <= 100 })
	for _, c := range good {
		c.Close()
	}
	r.stop()
}
