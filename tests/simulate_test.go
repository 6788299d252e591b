package tests

import (
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// A TR/87 client controls phones of simulated switches, over the links that real ones would
// have: every service that both phases can say. With --traffic events come by themselves.
func TestSimulated(t *testing.T) {
	t.Parallel()
	services := strings.NewReplacer("1000", "100", "1001", "101", "1002", "102", "1003", "103").Replace(inASN1)
	file := filepath.Join(t.TempDir(), "scenario")
	if err := os.WriteFile(file, []byte(services), 0o600); err != nil {
		t.Fatal(err)
	}
	for kind, dialect := range map[string]string{"hipath": "hipath", "md110": "phase1"} {
		t.Run(kind, func(t *testing.T) {
			session := ""
			if kind == "hipath" {
				session = ", session: {user: AMHOST, password: \"77777\"}"
			}
			_, at := simulator(t, kind, 1)
			front := beforeASN1(t, dialect, at[0], session)
			out, status := command(t, "script", file, fmt.Sprintf("--server=sip:x@127.0.0.1:%d;transport=tcp", front.port))
			if status != 0 {
				t.Errorf("%d %s", status, out)
			}
			front.stop()
			_, at = simulator(t, kind, 1, "--traffic")
			front = beforeASN1(t, dialect, at[0], session)
			c := front.xml()
			if c.monitor("100") == "" {
				t.Fatal("no monitor")
			}
			seen := map[string]bool{}
			for !seen["DeliveredEvent"] || !seen["ConnectionClearedEvent"] {
				seen[c.hear().Name()] = true
			}
			front.stop()
		})
	}
}

// The simulated MX-ONE answers TR/87, and CSTA-XML over TCP and TLS.
func TestSimulatedMXOne(t *testing.T) {
	t.Parallel()
	_, at := simulator(t, "mxone", 3)
	out, status := command(t, "snapshot", "100", fmt.Sprintf("--server=sip:x@127.0.0.1:%d;transport=tcp", at[0]))
	if status != 0 || !strings.Contains(out, "no calls") {
		t.Errorf("%d %s", status, out)
	}
	plain, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", at[1]))
	c := dialXML(t, plain, err)
	if c.monitor("100") == "" {
		t.Error("no monitor over TCP")
	}
	secure, err := tls.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", at[2]), &tls.Config{InsecureSkipVerify: true})
	c = dialXML(t, secure, err)
	if c.monitor("100") == "" {
		t.Error("no monitor over TLS")
	}
}

// What the simulators refuse on the command line says what to write instead.
func TestSimulateUsage(t *testing.T) {
	t.Parallel()
	for line, want := range map[string]string{
		"simulate hipath --listen 127.0.0.1:1,127.0.0.1:2": "write one, or 1",
		"simulate mxone --listen 127.0.0.1:5062":           "where 3 are needed",
		"simulate md110 --allow everybody":                 "such as 10.1.1.0/24",
		"simulate avaya":                                   "unknown command",
		"simulate hipath --listen 192.0.2.1":               "is a port taken",
	} {
		out, status := command(t, strings.Fields(line)...)
		if status == 0 || !strings.Contains(out, want) {
			t.Errorf("%s: %d %s", line, status, out)
		}
	}
}

// decode shows what is on the wire: as digits, as dumps of several programs, and out of IP
// packets; and says what it cannot read.
func TestDecode(t *testing.T) {
	t.Parallel()
	monitor := "<MonitorStop"
	dump := "0000  26 80 0e a1 0c 02 01 02 02 01 49 30 04 55 02 00   &.........I0.U..\n0010  01                                                .\n"
	packet := "12:00:00.000000 IP 127.0.0.1.18000 > 127.0.0.1.40000: Flags [P.]\n" +
		"\t0x0000:  4500 0039 0000 4000 4006 0000 7f00 0001\n\t0x0010:  7f00 0001 4650 9c40 0000 0001 0000 0001\n" +
		"\t0x0020:  5018 0200 0000 0000 2680 0ea1 0c02 0102\n\t0x0030:  0201 4930 0455 0200 01\n"
	for name, tt := range map[string]struct {
		in     string
		args   []string
		want   string
		status int
	}{
		"digits":       {"", []string{"26", "80", "0E", "A1", "0C", "02", "01", "02", "02", "01", "49", "30", "04", "55", "02", "00", "01"}, monitor, 0},
		"Phase I":      {"", []string{"000CA10A02010202014955020001"}, monitor, 0},
		"two PDUs":     {"", []string{"000CA10A02010202014955020001 000CA10A02010302014955020001"}, "Invoke 03", 0},
		"without one":  {"A10A02010202014955020001", nil, "Phase I,", 0},
		"a dump":       {dump, nil, monitor, 0},
		"IP packets":   {packet, nil, monitor, 0},
		"CSTA-XML":     {"", []string{"0000001A 30303031 3C4765744353544146656174757265732F3E"}, "<GetCSTAFeatures/>", 0},
		"a password":   {"", []string{"26803360", "31A10706052B0C00815A8A020680AC15A213A011A00F0406414D484F535404053737373737BE0B2809A007A0050303001000"}, "<password>***</password>", 0},
		"a refusal":    {"", []string{"000BA309020105020101 81010C"}, "invalidDeviceID", 0},
		"a rejection":  {"", []string{"0008A406020105810101"}, "serviceNotSupported", 0},
		"half a PDU":   {"", []string{"26800EA10C0201"}, "ends too early", 1},
		"no digits":    {"", []string{"hello"}, "neither hexadecimal digits nor a dump", 2},
		"nothing":      {"", nil, "nothing to decode", 2},
		"another file": {"", []string{"--file", "/nowhere"}, "no such file", 1},
	} {
		t.Run(name, func(t *testing.T) {
			cmd := exec.Command(program(t), append([]string{"decode"}, tt.args...)...)
			cmd.Stdin = strings.NewReader(tt.in)
			out, _ := cmd.CombinedOutput()
			if cmd.ProcessState.ExitCode() != tt.status || !strings.Contains(string(out), tt.want) || strings.Contains(string(out), "77777") {
				t.Errorf("%d\n%s", cmd.ProcessState.ExitCode(), out)
			}
		})
	}
}

// Who speaks Phase I has no name: an address that is not trusted gets nothing, a certificate
// does, and what it may do is what its name is granted.
func TestASN1Identity(t *testing.T) {
	t.Parallel()
	plain, secure := freePort(t), freePort(t)
	dir := t.TempDir()
	certificates(t, dir)
	r := serve(t, fmt.Sprintf(`asn1:
  listen:
  - {transport: tcp, address: "127.0.0.1:%d", dialect: phase1}
  - {transport: tls, address: "127.0.0.1:%d", dialect: phase1, certificate: %[3]s/cert.pem, key: %[3]s/key.pem, client-ca: %[3]s/cert.pem, client-auth: required}
trusted: [{certificate: fe1.contoso.com}]
grants: [{who: localhost, observe: ["1001"]}]
`, plain, secure, dir))
	stranger := dialASN1(t, plain)
	stranger.write(sample(t, "phase1", "MonitorStart"))
	_ = stranger.conn.SetReadDeadline(time.Now().Add(patience))
	if data, err := io.ReadAll(stranger.conn); len(data) > 0 || err != nil && !strings.Contains(err.Error(), "reset") {
		t.Errorf("a stranger gets %X, %v", data, err)
	}
	pair, err := tls.LoadX509KeyPair(filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem"))
	if err != nil {
		t.Fatal(err)
	}
	conn, err := tls.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", secure), &tls.Config{InsecureSkipVerify: true, Certificates: []tls.Certificate{pair}})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	known := &rawASN1{t, conn}
	known.write(sample(t, "phase1", "MonitorStart"))
	if got := known.read(0); got[2] != 0xA2 {
		t.Errorf("%X", got)
	}
	known.write([]byte("\x00\x17\xA1\x15\x02\x01\x05\x02\x01\x0A\x30\x0D\x80\x041001\x62\x05\x80\x03100"))
	if got := known.read(0); got[2] != 0xA3 {
		t.Errorf("it may only observe, and calls: %X", got)
	}
	// a link shows a certificate, too
	front := beforeASN1(t, "phase1", secure, fmt.Sprintf(", tls: true, ca: %[1]s/cert.pem, certificate: %[1]s/cert.pem, key: %[1]s/key.pem", dir))
	if c := front.xml(); c.monitor("1001") == "" {
		t.Error("no monitor over TLS")
	}
	front.stop()
	r.stop()
}

// Events of an MD110 come by UDP where it is configured so: the switch sends them there, and a
// link takes them from the switch alone.
func TestASN1Notifications(t *testing.T) {
	t.Parallel()
	udp := freePort(t)
	back, port := asn1Switch(t, "phase1", fmt.Sprintf(", notify: %d", udp))
	front := beforeASN1(t, "phase1", port, fmt.Sprintf(", notifications: \"127.0.0.1:%d\"", udp))
	c := front.xml()
	if c.monitor("1001") == "" {
		t.Fatal("no monitor")
	}
	garbage, err := net.Dial("udp", fmt.Sprintf("127.0.0.1:%d", udp))
	if err != nil {
		t.Fatal(err)
	}
	defer garbage.Close()
	for _, datagram := range []string{"", "\x30", "\xA1\x03\x02\x01\x05", strings.Repeat("\xA1\x80", 100)} {
		if _, err := garbage.Write([]byte(datagram)); err != nil {
			t.Fatal(err)
		}
	}
	c.ask(call("1000", "1001"))
	if m := c.hear(); m.Name() != "DeliveredEvent" {
		t.Errorf("%s", m)
	}
	front.stop()
	back.stop()
}

// An ASN.1 switch that is killed, and comes back: the monitors are started again, and clients
// are told what they missed.
func TestASN1Killed(t *testing.T) {
	t.Parallel()
	long(t)
	back, port := asn1Switch(t, "hipath", "")
	front := beforeASN1(t, "hipath", port, "")
	c := front.xml()
	ref := c.monitor("1001")
	c.ask(call("1000", "1001"))
	if ev := c.hear(); ev.Name() != "DeliveredEvent" {
		t.Errorf("%s", ev)
	}
	_ = back.cmd.Process.Kill()
	if m := c.hear(); m.Name() != "SystemStatus" || m.Text("systemStatus") != "disabled" {
		t.Errorf("%s", m)
	}
	if m := c.ask(call("1002", "1001")); m.Err() == nil || m.Err().Value != "resourceOutOfService" {
		t.Errorf("%s", m)
	}
	again := running{process: start(t, program(t), "serve", "-c", filepath.Join(back.dir, "config.yaml"))}
	for gone := false; !gone; {
		gone = c.hear().Name() == "ConnectionClearedEvent"
	}
	for m := c.ask(call("1002", "1001")); m.Err() != nil; m = c.ask(call("1002", "1001")) {
		if m.Err().Value != "resourceOutOfService" {
			t.Fatal(m)
		}
	}
	for {
		if ev := c.hear(); ev.Name() == "DeliveredEvent" {
			if ev.CrossRef() != ref {
				t.Errorf("%s", ev)
			}
			break
		}
	}
	front.stop()
	again.stop()
}
