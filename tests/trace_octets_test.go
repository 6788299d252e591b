package tests

import (
	"bytes"
	bigendian "encoding/binary"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/tr87proxy/tr87proxy/uacsta"
)

// onWire is a line of tr87proxy trace --octets --json.
type onWire struct {
	Lane, Kind, Front, Link string
	Out                     bool
	Octets                  []byte
	Cut                     int
	Flow                    struct{ Protocol, Transport, Local, Remote string }
}

// octets returns the records of octets that the flags select.
func (a *administered) octets(flags ...string) []onWire {
	a.t.Helper()
	return recordsOf[onWire](a, append([]string{"--octets"}, flags...)...)
}

// The octets of each protocol are kept as they were on the wire, with their true addresses: CSTA-XML, ASN.1 in both roles, SIP of
// clients and of telephones; but no password, neither in them nor in what the proxy could not read, and filters select them.
func TestOctets(t *testing.T) {
	t.Parallel()
	const password = "s3cret"
	accounts := filepath.Join(t.TempDir(), "accounts")
	account(t, accounts, "crm", password)
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte(password), 0o600); err != nil {
		t.Fatal(err)
	}
	port := freePort(t)
	keep := "trace: {octets-mib: 4}\napplication-sessions: {sip: optional, xml: mandatory, asn1: mandatory, accounts: " + accounts + "}\n"
	back := administer(t, fmt.Sprintf("asn1:\n  listen: [{transport: tcp, address: \"127.0.0.1:%d\", dialect: phase3}]\n", port)+
		keep+"grants: [{who: crm, control: [\"*\"], dial: [\"*\"]}]\n")
	front := administer(t, fmt.Sprintf("links: [{name: back, type: csta-asn1, dialect: phase3, addresses: [\"127.0.0.1:%d\"], devices: [\"*\"], session: {user: crm, password-file: %s}}]\n", port, secret)+
		keep+"grants: [{who: crm, control: [\"*\"], dial: [\"*\"]}]\n")
	front.linked("back")

	garbage, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", front.xmlPort))
	if err != nil {
		t.Fatal(err)
	}
	document := "<StartApplicationSession><password>" + password
	if _, err := garbage.Write(frameOf("0001", document)); err != nil {
		t.Fatal(err)
	}
	if _, err := garbage.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	_ = garbage.Close()

	c := front.xml()
	if m := c.login("crm", password, uacsta.LoginPlain, 60); m.Name() != "StartApplicationSessionPosResponse" {
		t.Fatalf("%s", m)
	}
	c.ask(uacsta.SetAgentState{Device: uacsta.Dev("1000"), RequestedAgentState: uacsta.RequestLoggedOn, AgentID: "7001", Password: "5a5a5a5a5a5a"}) // there is no such agent
	if m := c.ask(call("1000", "1001")); m.Err() != nil {
		t.Fatalf("%s", m)
	}
	if out, status := command(t, "dnd", "1002", "on", "--login", "crm", "--password-file", secret, "--server", fmt.Sprintf("sip:x@127.0.0.1:%d;transport=tcp", front.port)); status != 0 {
		t.Fatal(out)
	}

	for _, tt := range []struct {
		of                  *administered
		lane, protocol      string
		out                 bool
		pattern             string
		front, link, remote string
	}{
		{front, "client", "csta-xml", false, `(?s)^\x00\x00..\d{4}<.*<MakeCall .*1001.*</MakeCall>$`, "xml", "", c.conn.LocalAddr().String()},
		{front, "client", "csta-xml", false, `(?s)<StartApplicationSession .*[Pp]assword[^>]*>\*{6,}</.*</StartApplicationSession>$`, "xml", "", ""},
		{front, "client", "csta-xml", false, `(?s)<SetAgentState .*<password>\*{12}</password>`, "xml", "", ""},
		{front, "client", "csta-xml", true, `(?s)^\x00\x00..\d{4}<.*<MakeCallResponse .*</MakeCallResponse>$`, "xml", "", ""},
		{front, "switch", "asn1", true, `(?s)^\x26\x80.\x60.*crm\x04\x06\*{6}`, "", "back", fmt.Sprintf("127.0.0.1:%d", port)},
		{front, "switch", "asn1", true, `(?s)7001\x83\x06\*{6}`, "", "back", ""},
		{front, "switch", "asn1", false, `(?s)^\x26\x80.\x61`, "", "back", ""},
		{back, "client", "asn1", false, `(?s)^\x26\x80.\x60.*crm\x04\x06\*{6}`, "asn1", "", ""},
		{back, "client", "asn1", false, `(?s)7001\x83\x06\*{6}`, "asn1", "", ""},
		{front, "client", "sip", false, `(?s)^(INFO|INVITE) sip:.*\r\n\r\n.*<StartApplicationSession.*[Pp]assword[^>]*>\*{6,}</`, "sip", "", ""},
		{front, "client", "sip", true, `(?s)^SIP/2\.0 200 .*CSeq: \d+ INVITE\r\n`, "sip", "", ""},
	} {
		found := false
		for _, r := range tt.of.octets() {
			found = found || r.Lane == tt.lane && r.Kind == "octets" && r.Out == tt.out && r.Flow.Protocol == tt.protocol && r.Front == tt.front && r.Link == tt.link &&
				r.Flow.Transport == "tcp" && regexp.MustCompile(tt.pattern).Match(latin1(r.Octets)) && (tt.remote == "" || r.Flow.Remote == tt.remote)
		}
		if !found {
			t.Errorf("no %s in lane %s matches %s", tt.protocol, tt.lane, tt.pattern)
		}
	}
	for _, a := range []*administered{front, back} {
		for _, r := range a.octets() {
			for _, secret := range []string{password, "5a5a5a", "ZZZ"} {
				if bytes.Contains(r.Octets, []byte(secret)) {
					t.Errorf("a password is kept: %q", r.Octets)
				}
			}
		}
	}
	if list := front.octets("--peer", garbage.LocalAddr().String()); len(list) != 2 || len(list[0].Octets) != 0 || list[0].Cut != 8+len(document) || !list[1].Out {
		t.Errorf("of what cannot be read is kept: %+v", list)
	}
	for flags, lane := range map[string]string{"--lane switch": "switch", "--link back": "switch", "--front xml": "client", "--peer " + c.conn.LocalAddr().String(): "client"} {
		list := front.octets(strings.Fields(flags)...)
		for _, r := range list {
			if r.Lane != lane || strings.HasPrefix(flags, "--peer") && r.Flow.Remote != c.conn.LocalAddr().String() {
				t.Errorf("%s shows %+v", flags, r)
			}
		}
		if len(list) == 0 {
			t.Errorf("%s shows nothing", flags)
		}
	}
	text := front.admin(0, "trace", "--octets")
	for _, want := range []string{
		`client xml csta-xml, received over tcp: 127\.0\.0\.1:\d+ <- ` + regexp.QuoteMeta(c.conn.LocalAddr().String()) + `, \d+ octets\n    00 00 \w\w \w\w 3\d 3\d 3\d 3\d\n    <\?xml`,
		`switch back asn1, sent over tcp: .*\n    00000000  26 80 `, `\n    INFO sip:`, `octets that are not kept`,
	} {
		if !regexp.MustCompile(want).MatchString(text) {
			t.Errorf("the text does not match %s:\n%.4000s", want, text)
		}
	}
	if out, status := command(t, "trace", "--octets", "--device", "1000", "--socket", front.socket); status != 2 || !strings.Contains(out, "--device does not apply") {
		t.Errorf("a filter that has no meaning: status %d, %s", status, out)
	}
	front.stop()
	back.stop()
}

// latin1 returns octets as the text in which each is one character, for regular expressions.
func latin1(octets []byte) []byte {
	var text []byte
	for _, c := range octets {
		text = append(text, string(rune(c))...)
	}
	return text
}

// A telephone's messages are kept in a lane of their own, without the response to its challenge; and where octets are off, the
// command says how to turn them on.
func TestOctetsOfTelephones(t *testing.T) {
	t.Parallel()
	socket := filepath.Join(t.TempDir(), "admin.sock")
	x := serveTelephones(t, "", "admin: {socket: "+socket+"}\ntrace: {octets-mib: 4}\n")
	a := &administered{x.running, socket}
	h := newHandset(t, "udp", x.sip, "100", "secret100")
	if m := h.register(3600); m.code() != 200 {
		t.Fatal(m.start)
	}
	pattern := regexp.MustCompile(`(?s)^REGISTER .*\r\nAuthorization: Digest .*username="100".*response=\*+[,\r]`)
	found := false
	for _, r := range a.octets("--lane", "telephone") {
		found = found || r.Front == "telephones" && r.Flow.Protocol == "sip" && r.Flow.Transport == "udp" && pattern.Match(r.Octets)
	}
	if !found {
		t.Errorf("no REGISTER is shown:\n%s", a.admin(0, "trace", "--octets"))
	}
	x.stop()

	off := administer(t, everybody)
	if out := off.admin(1, "trace", "--octets"); !strings.Contains(out, "trace: {octets-mib: 8}") {
		t.Errorf("it says %s", out)
	}
	off.stop()
}

// tshark finds in a capture file the SIP dialog with its INFO and the CSTA in it, the call over CSTA-XML, and nothing wrong with
// the packets; with --follow the file goes on.
func TestPcap(t *testing.T) {
	t.Parallel()
	tshark := tool(t, "tshark")
	a := administer(t, everybody+"trace: {octets-mib: 4}\n")
	c := a.xml()
	if m := c.ask(call("1000", "1001")); m.Err() != nil {
		t.Fatalf("%s", m)
	}
	for _, transport := range []string{"tcp", "udp"} {
		if out, status := command(t, "dnd", "1002", "on", "--server", fmt.Sprintf("sip:x@127.0.0.1:%d;transport=%s", a.port, transport)); status != 0 {
			t.Fatal(out)
		}
	}
	file := filepath.Join(t.TempDir(), "calls.pcap")
	a.admin(0, "trace", "--pcap", file)
	find := func(file string, args ...string) string {
		out, err := exec.CommandContext(t.Context(), tshark, append([]string{
			"-r", file, "-d", fmt.Sprintf("tcp.port==%d,sip", a.port), "-d", fmt.Sprintf("udp.port==%d,sip", a.port), "-o", "tcp.check_checksum:TRUE", "-o", "udp.check_checksum:TRUE",
		}, args...)...).Output()
		if err != nil {
			t.Fatalf("tshark %q: %v", args, err)
		}
		return string(out)
	}
	dialogs := find(file, "-Y", "sip.Method", "-T", "fields", "-e", "sip.Call-ID", "-e", "sip.Method", "-e", "tcp.dstport", "-e", "udp.dstport")
	port := fmt.Sprint(a.port)
	for _, want := range []string{`(\S+)\tINVITE\t` + port + `\t\n`, `INFO\t` + port + `\t\n`, `BYE\t` + port + `\t\n`, `INVITE\t\t` + port + `\n`, `INFO\t\t` + port + `\n`} {
		if !regexp.MustCompile(want).MatchString(dialogs) {
			t.Errorf("tshark does not find %q in %q", want, dialogs)
		}
	}
	if got := find(file, "-Y", `sip.Method == "INFO" && frame contains "SetDoNotDisturb"`); strings.Count(got, "\n") != 2 {
		t.Errorf("the INFO with CSTA over two transports are %q", got)
	}
	if got := find(file, "-Y", fmt.Sprintf(`tcp.dstport == %d && tcp.payload contains "<calledDirectoryNumber>1001<"`, a.xmlPort)); strings.Count(got, "\n") != 1 {
		t.Errorf("the call over CSTA-XML is %q", got)
	}
	if got := find(file, "-Y", `tcp.analysis.flags || ip.checksum.status == 0 || tcp.checksum.status == 0 || udp.checksum.status == 0 || _ws.malformed`); got != "" {
		t.Errorf("packets are wrong: %s", got)
	}

	growing := filepath.Join(t.TempDir(), "growing.pcap")
	following := start(t, program(t), "trace", "--pcap", growing, "--follow", "--socket", a.socket)
	has := func(text string) bool {
		data, err := os.ReadFile(growing)
		return err == nil && bytes.Contains(data, []byte(text))
	}
	waitFor(t, "what was kept", func() bool { return has("SetDoNotDisturb") })
	if m := c.ask(call("1003", "1004")); m.Err() != nil {
		t.Fatalf("%s", m)
	}
	waitFor(t, "what came later", func() bool { return has("<calledDirectoryNumber>1004<") })
	_ = following.cmd.Process.Signal(syscall.SIGINT)
	if err := following.wait(patience); err != nil {
		t.Errorf("interrupted: %v\n%s", err, following.out)
	}
	if got := find(growing, "-Y", `tcp.payload contains "<calledDirectoryNumber>1004<"`); got == "" {
		t.Error("tshark does not find what came later")
	}
	a.stop()
}

// Homer gets what passes, SIP as SIP and CSTA-XML as log lines, by a decoder of HEP3 that knows the table of chunks; the key is in no
// log.
func TestHomer(t *testing.T) {
	t.Parallel()
	homer, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = homer.Close() }()
	key := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(key, []byte("h0mer key\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	a := serve(t, fmt.Sprintf("%slog: {level: debug}\ntrace: {octets-mib: 4, hep: {address: \"udp:%s\", id: 7, node: pbx1, password-file: %s}}\n", everybody, homer.LocalAddr(), key))
	c := a.xml()
	if m := c.ask(call("1000", "1001")); m.Err() != nil {
		t.Fatalf("%s", m)
	}
	if out, status := command(t, "dnd", "1002", "on", "--server", fmt.Sprintf("sip:x@127.0.0.1:%d;transport=udp", a.port)); status != 0 {
		t.Fatal(out)
	}
	found := map[string]bool{}
	for len(found) < 2 {
		p := make([]byte, 65536)
		_ = homer.SetReadDeadline(time.Now().Add(patience))
		n, _, err := homer.ReadFrom(p)
		if err != nil {
			t.Fatalf("Homer got %v only: %v", found, err)
		}
		if string(p[:4]) != "HEP3" || int(bigendian.BigEndian.Uint16(p[4:])) != n {
			t.Fatalf("not HEP3: %x", p[:n])
		}
		chunks := map[uint16]string{}
		for rest := p[6:n]; len(rest) > 0; rest = rest[bigendian.BigEndian.Uint16(rest[4:]):] {
			chunks[bigendian.BigEndian.Uint16(rest[2:])] = string(rest[6:bigendian.BigEndian.Uint16(rest[4:])])
		}
		if chunks[12] != "\x00\x00\x00\x07" || chunks[14] != "h0mer key" || chunks[19] != "pbx1" {
			t.Errorf("agent %x, key %q, node %q", chunks[12], chunks[14], chunks[19])
		}
		port := bigendian.BigEndian.Uint16([]byte(chunks[8]))
		switch {
		case chunks[11] == "\x01" && strings.HasPrefix(chunks[15], "INFO ") && strings.Contains(chunks[15], "SetDoNotDisturb"):
			found["sip"] = int(port) == a.port && chunks[2] == "\x11" && chunks[17] != "" && strings.Contains(chunks[15], "Call-ID: "+chunks[17]+"\r\n")
		case chunks[11] == "\x64" && strings.Contains(chunks[15], "<MakeCall "):
			found["log"] = int(port) == a.xmlPort && chunks[2] == "\x06" && strings.HasSuffix(chunks[17], " "+c.conn.LocalAddr().String())
		}
	}
	if !found["sip"] || !found["log"] {
		t.Errorf("the INFO and the call are as they should be: %v", found)
	}
	if got := a.get("/metrics"); !strings.Contains(got, "tr87proxy_homer_lost_total 0\n") {
		t.Error("the metrics do not count what Homer did not get")
	}
	a.stop()
	if strings.Contains(a.out.String(), "h0mer") {
		t.Error("the key is in the log")
	}
}
