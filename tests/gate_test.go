package tests

import (
	"crypto/tls"
	octets "encoding/binary"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tr87proxy/tr87proxy/uacsta"
)

// plainBinary is the program without the race detector, which takes many times the memory.
var plainBinary = sync.OnceValues(func() (string, error) {
	file := filepath.Join(os.TempDir(), fmt.Sprintf("tr87proxy-plain-%d", os.Getpid()))
	out, err := exec.Command("go", "build", "-o", file, "../cmd/tr87proxy").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%w: %s", err, out)
	}
	return file, nil
})

// memory is what a program takes now, or has taken at most, in octets; key is VmRSS or VmHWM.
func (p *process) memory(key string) int {
	p.t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		p.t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(status), key+":")
	kilobytes, err := strconv.Atoi(strings.Fields(rest)[0])
	if err != nil {
		p.t.Fatal(err)
	}
	return kilobytes << 10
}

// from connects to a port from an address of this machine.
func from(address string, port int) (net.Conn, error) {
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(address)}, Timeout: patience}
	return d.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
}

// strangers connect from many addresses, so many times from each, and each does something at once.
// The connections are closed at the end of the test.
func strangers(t *testing.T, port, addresses, each int, do func(n int, conn net.Conn)) {
	t.Helper()
	var group sync.WaitGroup
	for a := range addresses {
		group.Go(func() {
			for n := range each {
				conn, err := from(fmt.Sprintf("127.0.1.%d", a+1), port)
				if err != nil {
					t.Error(err)
					return
				}
				t.Cleanup(func() { _ = conn.Close() })
				_ = conn.SetDeadline(time.Now().Add(patience))
				do(n, conn)
			}
		})
	}
	group.Wait()
}

// framed puts a document into a frame, or the beginning of one into the frame of a longer one.
func framed(id, document string, length int) string {
	var header [4]byte
	octets.BigEndian.PutUint16(header[2:], uint16(8+length))
	return string(header[:]) + id + document
}

// Strangers who hold all places, with idle connections and half handshakes, shut nobody out: those
// who have logged in stay, and newcomers get in.
func TestStrangersHoldAllPlaces(t *testing.T) {
	long(t)
	file := t.TempDir() + "/accounts"
	account(t, file, "crm", "pw")
	r := serve(t, "application-sessions: {xml: mandatory, accounts: "+file+", login-time: 1m}\ngrants: [{who: crm, control: [\"*\"]}]\n")
	login := func(c *xmlClient) *xmlClient {
		t.Helper()
		if m := c.login("crm", "pw", uacsta.LoginPlain, 600); m.Name() != "StartApplicationSessionPosResponse" {
			t.Fatalf("%s", m)
		}
		return c
	}
	before := login(r.xml())
	early := r.xml() // who asks before it has an answer is served in its order, and may write much once it is known
	early.write(0, string(uacsta.Encode(uacsta.Login{User: "crm", Password: "pw"}.Opening("x", uacsta.LoginPlain, time.Minute, uacsta.Edition6), uacsta.Edition6).Bytes()))
	early.write(1, "<RequestSystemStatus>"+strings.Repeat(" ", 60000)+"</RequestSystemStatus>")
	for _, want := range []string{"StartApplicationSessionPosResponse", "RequestSystemStatusResponse"} {
		if _, m, err := early.read(); err != nil || m.Name() != want {
			t.Errorf("%v, not %s: %v", m, want, err)
		}
	}
	late := r.xml()
	late.write(0, "<RequestSystemStatus>"+strings.Repeat(" ", 5000)+"</RequestSystemStatus>")
	if _, m, err := late.read(); err == nil {
		t.Errorf("a stranger may write much: %s", m)
	}
	half := func(_ int, conn net.Conn) { _, _ = io.WriteString(conn, "\x16\x03\x01\x02") }
	strangers(t, r.xmlTLSPort, 4, 250, half)
	strangers(t, r.xmlPort, 12, 150, func(int, net.Conn) {})
	waitFor(t, "strangers everywhere", func() bool { return r.metric("tr87proxy_connections_evicted_total") > 0 })
	after := login(r.xml())
	conn, err := tls.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", r.xmlTLSPort), &tls.Config{InsecureSkipVerify: true})
	secure := login(dialXML(t, conn, err))
	for _, c := range []*xmlClient{before, after, secure} {
		if m := c.ask(uacsta.SnapshotDevice{SnapshotObject: uacsta.Dev("1000")}); m.Name() != "SnapshotDeviceResponse" {
			t.Errorf("%s", m)
		}
	}
	if n := r.metric("tr87proxy_connections_refused_total"); n == 0 {
		t.Error("no peer was too fast")
	}
	r.stop()
}

// What strangers send costs little memory, how many they may be: tags without end, frames that are
// never whole, and handshakes.
func TestStrangersMemory(t *testing.T) {
	long(t)
	file, err := plainBinary()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.Remove(file) })
	accounts := t.TempDir() + "/accounts"
	account(t, accounts, "crm", "pw")
	r := serveBy(t, file, "application-sessions: {xml: mandatory, accounts: "+accounts+"}\ngrants: [{who: crm, control: [\"*\"]}]\n")
	before := r.memory("VmRSS")
	bounded := func(what string) {
		t.Helper()
		grown := r.memory("VmHWM") - before
		t.Logf("%s: %d MiB more than %d MiB; %v connections of strangers, %v octets counted", what, grown>>20, before>>20,
			r.metric("tr87proxy_unproved_connections"), r.metric("tr87proxy_unproved_octets"))
		if grown > 150<<20 {
			t.Errorf("%s: %d MiB", what, grown>>20)
		}
	}
	tags := strings.Repeat("<", 65500)
	strangers(t, r.xmlPort, 8, 50, func(n int, conn net.Conn) {
		flood := framed("0001", tags, len(tags))
		if n%2 == 0 { // as much as is looked at
			flood = strings.Repeat(framed("0001", tags[:4000], 4000), 16)
		}
		_, _ = io.WriteString(conn, flood) // it may be cut off
	})
	bounded("tags")
	strangers(t, r.xmlPort, 40, 50, func(_ int, conn net.Conn) {
		_, _ = io.WriteString(conn, framed("0001", tags[:3900], 4000))
	})
	bounded("frames that are never whole")
	strangers(t, r.xmlTLSPort, 20, 25, func(_ int, conn net.Conn) {
		secure := tls.Client(conn, &tls.Config{InsecureSkipVerify: true})
		_, _ = io.WriteString(secure, framed("0001", tags[:3900], 4000)) // it may be cut off
	})
	bounded("over TLS")
	c := r.xml()
	if m := c.login("crm", "pw", uacsta.LoginPlain, 600); m.Name() != "StartApplicationSessionPosResponse" {
		t.Errorf("%s", m)
	}
	r.stop()
}

// Whoever sends documents that are none, events, and answers that nobody waits for is cut off, a
// stranger soon and a peer that is trusted later; neither fills the log, however often it comes.
func TestStrikes(t *testing.T) {
	t.Parallel()
	long(t)
	p1 := freePort(t)
	file := t.TempDir() + "/accounts"
	account(t, file, "crm", "pw")
	r := serve(t, fmt.Sprintf("application-sessions: {xml: optional, asn1: \"off\", accounts: %s}\nasn1: {listen: [{transport: tcp, address: \"127.0.0.1:%d\", dialect: phase1}]}\n", file, p1)+
		"trusted: [{address: 127.0.0.9}]\ngrants: [{who: \"*\", control: [\"*\"]}]\n")
	documents := ""
	for _, d := range []string{"<HeldEvent/>", "<HeldEvent><monitorCrossRefID/><monitorCrossRefID/></HeldEvent>", "<HoldCallResponse/>", "<HoldCallResponse>x</HoldCallResponse>"} {
		documents += framed("0001", d, len(d))
	}
	answer := "\x00\x0C\xA2\x0A\x02\x01\x02\x30\x05\x02\x01\x49\x05\x00"
	for name, tt := range map[string]struct {
		address, nonsense string
		port              int
	}{
		"a stranger":          {"127.0.0.8", documents, r.xmlPort},
		"a trusted peer":      {"127.0.0.9", documents, r.xmlPort},
		"a trusted peer, BER": {"127.0.0.9", answer, p1},
	} {
		lines, struck := strings.Count(r.out.String(), "\n"), r.metric("tr87proxy_connections_struck_total")
		times := 0
		for until := time.Now().Add(time.Second); time.Now().Before(until); times++ {
			conn, err := from(tt.address, tt.port)
			if err != nil {
				t.Fatal(err)
			}
			_ = conn.SetDeadline(time.Now().Add(patience))
			go func() { _, _ = io.WriteString(conn, strings.Repeat(tt.nonsense, 1000)) }()
			if _, err := io.Copy(io.Discard, conn); err != nil && os.IsTimeout(err) {
				t.Errorf("%s is not cut off", name)
			}
			_ = conn.Close()
		}
		lines = strings.Count(r.out.String(), "\n") - lines
		struck = r.metric("tr87proxy_connections_struck_total") - struck
		t.Logf("%s: %d connections, %v cut off, %d lines", name, times, struck, lines)
		most := 50
		if name != "a stranger" { // whose connections are known to be somebody's
			most += 2 * times
		}
		if struck == 0 || lines > most {
			t.Errorf("%s: %v cut off, %d lines", name, struck, lines)
		}
	}
	if log := r.out.String(); !strings.Contains(log, "count=") {
		t.Error("the log counts nothing")
	}
	r.stop()
}
