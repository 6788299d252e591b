package tests

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tr87proxy/tr87proxy/tests/samples"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

// asn1Switch starts a proxy whose built-in switch is a switching function in ASN.1.
func asn1Switch(t *testing.T, dialect, more string) (back *running, port int) {
	t.Helper()
	port = freePort(t)
	back = serve(t, everyKind+fmt.Sprintf("asn1:\n  listen:\n  - {transport: tcp, address: \"127.0.0.1:%d\", dialect: %s%s}\n", port, dialect, more))
	return back, port
}

// beforeASN1 starts a proxy whose devices are all on a link in ASN.1.
func beforeASN1(t *testing.T, dialect string, port int, more string) *running {
	t.Helper()
	front := serve(t, fmt.Sprintf(`links:
- {name: back, type: csta-asn1, dialect: %s, addresses: ["127.0.0.1:%d"], devices: ["*"], heartbeat: 1s, timeout: 2s%s}
trusted: [{address: 127.0.0.1}]
grants: [{who: "*", control: ["*"], dial: ["*"]}]
`, dialect, port, more))
	front.linked("back")
	return front
}

// inASN1 is what both phases can express.
const inASN1 = `monitor 1000 1001 1002
call 1000 1001
answer 1001
hold 1000
retrieve 1000
consult 1000 1002
answer 1002
alternate 1000
alternate 1000
reconnect 1000
consult 1000 1002
answer 1002
conference 1000
clear 1002
clear 1000
call 1000 1001
answer 1001
consult 1000 1002
answer 1002
transfer 1000
clear 1001
forward 1001 always 1002
forward 1001
forward 1001 always off
dnd 1001 on
dnd 1001
dnd 1001 off
mwi 1001 on
mwi 1001 off
call 1000 1001
deflect 1001 1003
answer 1003
clear 1000
call 1000 05550199
clear 1000
wait 100ms
`

// inPhase1 is what only Phase I can express, by CallCompletion, and a predictive call.
const inPhase1 = `call 1000 1001
answer 1001
call 1003 1001
call 1002 1001
campon 1002
clear 1002
call 1002 1001
callback 1002
call 1002 1001
intrude 1002
clear 1002
clear 1003
clear 1000
predict 1003 05550199
wait 200ms
clear 1003
wait 100ms
`

// inPhase3 is what only Phase III can express.
const inPhase3 = `call 1000 1001
answer 1001
transfer 1001 1002
clear 1000
agent 1001 login --id 7001 --agent-password-file PIN
agent 1001 ready
call 1000 300
answer 1001
clear 1001
agent 1001 logout
wait 100ms
`

// gist returns the content of an event, without references and without what not every phase has.
func gist(c *xmlClient, watched map[string]string, dialect string) []string {
	phase1 := dialect == "phase1"
	c.ask(uacsta.SnapshotDevice{SnapshotObject: uacsta.Dev("1000")})
	var all []string
	for _, m := range c.news {
		cause := m.Text("cause")
		if phase1 {
			cause = ""
		}
		line := fmt.Sprintf("%s %s %s %s %s", m.Name(), watched[m.CrossRef()], m.Text("localConnectionInfo"), cause, m.Text("forwardingType")+m.Text("forwardStatus")+m.Text("doNotDisturbOn"))
		for _, d := range m.Devices() {
			path := d.Path()
			left := strings.Contains(path, "network") || strings.Contains(path, "ssociated") ||
				phase1 && deviceNotIn1.MatchString(path) || dialect != "phase3" && deviceNotInHiPath.MatchString(path)
			if !left {
				line += " " + path + "=" + d.ID()
			}
		}
		all = append(all, line)
	}
	return all
}

// deviceNotIn1 lists devices that events of Phase I do not name.
var deviceNotIn1 = regexp.MustCompile(`^(callingDevice|lastRedirectionDevice|calledDevice|transferredConnections|conferenceConnections|initiatingDevice)`)

// deviceNotInHiPath lists devices that the shortest form of events does not name.
var deviceNotInHiPath = regexp.MustCompile(`^(deviceHistory|lastRedirectionDevice)`)

// Through a link in ASN.1, every service works that the protocol can carry, and a client sees
// the same events as one at the switch itself, in so far as the protocol can tell them.
func TestASN1Chain(t *testing.T) {
	t.Parallel()
	for _, dialect := range []string{"phase3", "hipath", "phase1"} {
		t.Run(dialect, func(t *testing.T) {
			t.Parallel()
			back, port := asn1Switch(t, dialect, "")
			front := beforeASN1(t, dialect, port, "")
			direct, through := back.xml(), front.xml()
			watched := map[string]string{}
			for _, c := range []*xmlClient{direct, through} {
				for _, device := range []string{"1000", "1001", "1002", "1003"} {
					ref := c.monitor(device)
					if ref == "" {
						t.Fatal("no monitor")
					}
					watched[ref] = device
				}
			}
			text := inASN1 + inPhase1
			if dialect != "phase1" {
				text = inASN1
				pin := filepath.Join(t.TempDir(), "pin")
				if err := os.WriteFile(pin, []byte("secret"), 0o600); err != nil {
					t.Fatal(err)
				}
				text += strings.ReplaceAll(inPhase3, "PIN", pin)
			}
			file := filepath.Join(t.TempDir(), "scenario")
			if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			out, status := command(t, "script", file, fmt.Sprintf("--server=sip:x@127.0.0.1:%d;transport=tcp", front.port))
			if status != 0 {
				t.Fatalf("status %d\n%s", status, out)
			}
			a, b := gist(direct, watched, dialect), gist(through, watched, dialect)
			if dialect == "phase1" { // which has no events for these
				a = slices.DeleteFunc(a, func(line string) bool {
					return strings.HasPrefix(line, "MessageWaiting") || strings.HasPrefix(line, "CallBack")
				})
			}
			if len(a) < 80 {
				t.Errorf("only %d events", len(a))
			}
			for _, wrong := range []any{
				uacsta.SnapshotDevice{SnapshotObject: uacsta.Dev("9999")}, call("9999", "1000"), uacsta.HoldCall{CallToBeHeld: uacsta.Conn("1234", "1000")},
				uacsta.AnswerCall{CallToBeAnswered: uacsta.Conn("1234", "1000")},
			} { // refusals come through, too
				here, there := direct.ask(wrong).Err(), through.ask(wrong).Err()
				if here == nil || there == nil || here.Category != there.Category || dialect != "phase1" && here.Value != there.Value {
					t.Errorf("%T: %v at the switch, %v behind the link", wrong, here, there)
				}
			}
			if !slices.Equal(a, b) {
				for i := range min(len(a), len(b)) {
					if a[i] != b[i] {
						t.Errorf("event %d of %d, %d:\n%s\n%s", i, len(a), len(b), a[i], b[i])
						break
					}
				}
			}
			front.stop()
			back.stop()
		})
	}
}

// Behind a switch of Phase I, which tells no endpoints, a program for HiPath gets them, here another proxy; and calls keep
// their identity through the chain.
func TestASN1Chained(t *testing.T) {
	t.Parallel()
	back, phase1 := asn1Switch(t, "phase1", "")
	hipath := freePort(t)
	middle := serve(t, fmt.Sprintf(`links:
- {name: back, type: csta-asn1, dialect: phase1, addresses: ["127.0.0.1:%d"], devices: ["*"], heartbeat: 1s, timeout: 2s}
asn1: {listen: [{transport: tcp, address: "127.0.0.1:%d", dialect: hipath}]}
trusted: [{address: 127.0.0.1}]
grants: [{who: "*", control: ["*"], dial: ["*"]}]
`, phase1, hipath))
	middle.linked("back")
	front := beforeASN1(t, "hipath", hipath, "")
	c := front.xml()
	c.monitor("1000")
	id := c.ask(call("1000", "1001")).Text("callingDevice/callID")
	if m := c.ask(uacsta.AnswerCall{CallToBeAnswered: uacsta.Conn(id, "1001")}); m.Err() != nil {
		t.Fatal(m)
	}
	second := c.ask(uacsta.ConsultationCall{ExistingCall: uacsta.Conn(id, "1000"), ConsultedDevice: uacsta.Dev("1002")}).Text("initiatedCall/callID")
	if m := c.ask(uacsta.AnswerCall{CallToBeAnswered: uacsta.Conn(second, "1002")}); m.Err() != nil {
		t.Fatal(m)
	}
	if m := c.ask(uacsta.TransferCall{HeldCall: uacsta.Conn(id, "1000"), ActiveCall: uacsta.Conn(second, "1000")}); m.Err() != nil {
		t.Fatal(m)
	}
	for {
		var ev uacsta.TransferedEvent
		m := c.hear()
		if m.Name() != uacsta.NameTransferedEvent {
			continue
		}
		if err := m.Decode(&ev); err != nil || ev.PrimaryOldCall.CallID != id || ev.SecondaryOldCall == nil || ev.SecondaryOldCall.CallID != second || len(ev.TransferredConnections) != 2 {
			t.Fatalf("%v %v", m, err)
		}
		for _, item := range ev.TransferredConnections {
			if item.Endpoint == nil || item.NewConnection == nil || item.Endpoint.DeviceID.ID != item.NewConnection.DeviceID.ID {
				t.Errorf("%s", m)
			}
		}
		break
	}
	front.stop()
	middle.stop()
	back.stop()
}

// perlClient starts a client in Perl, which shares no code with this project.
func perlClient(t *testing.T, script string, args ...string) *process {
	t.Helper()
	perl := tool(t, "perl")
	if err := exec.Command(perl, "-MConvert::ASN1", "-e1").Run(); err != nil {
		if os.Getenv("TR87_NO_SKIP") != "" {
			t.Fatal("libconvert-asn1-perl is not installed")
		}
		t.Skip("libconvert-asn1-perl is not installed")
	}
	file, err := filepath.Abs(filepath.Join("perl", script))
	if err != nil {
		t.Fatal(err)
	}
	return start(t, perl, append([]string{file}, args...)...)
}

// transferAway calls a monitored device, and transfers it to another one.
func transferAway(t *testing.T, r *running) {
	t.Helper()
	c := r.xml()
	c.monitor("1001")
	id := c.ask(call("1000", "1001")).Text("callingDevice/callID")
	c.ask(uacsta.AnswerCall{CallToBeAnswered: uacsta.Conn(id, "1001")})
	m := c.ask(uacsta.SingleStepTransferCall{ActiveCall: uacsta.Conn(id, "1000"), TransferredTo: uacsta.Dev("1002")})
	if m.Err() != nil {
		t.Fatal(m)
	}
	id = m.Text("transferredCall/callID")
	c.ask(uacsta.AnswerCall{CallToBeAnswered: uacsta.Conn(id, "1002")})
	c.ask(uacsta.ClearConnection{ConnectionToBeCleared: uacsta.Conn(id, "1001")})
}

// A program for MD110 and one for HiPath, written from the notation, monitor a device, see its
// call, stop the monitor and leave: at the switch itself, and before one that speaks CSTA-XML.
func TestASN1Programs(t *testing.T) {
	t.Parallel()
	long(t)
	t.Run("built-in", func(t *testing.T) {
		r, p1, p3 := forPrograms(t, everyKind)
		playPrograms(t, r, p1, p3)
		r.stop()
	})
	t.Run("CSTA-XML", func(t *testing.T) {
		back := serve(t, everyKind)
		r, p1, p3 := forPrograms(t, fmt.Sprintf(`links: [{name: back, addresses: ["127.0.0.1:%d"], devices: ["*"]}]
trusted: [{address: 127.0.0.1}]
grants: [{who: "*", control: ["*"], dial: ["*"]}]
`, back.xmlPort))
		r.linked("back")
		playPrograms(t, r, p1, p3)
		r.stop()
		back.stop()
	})
}

// forPrograms starts a proxy that serves programs of both kinds.
func forPrograms(t *testing.T, more string) (r *running, p1, p3 int) {
	t.Helper()
	accounts := filepath.Join(t.TempDir(), "accounts")
	account(t, accounts, "AMHOST", "77777")
	p1, p3 = freePort(t), freePort(t)
	return serve(t, more+fmt.Sprintf(`application-sessions: {asn1: mandatory, accounts: %s}
asn1:
  listen:
  - {transport: tcp, address: "127.0.0.1:%d", dialect: phase1}
  - {transport: tcp, address: "127.0.0.1:%d", dialect: hipath}
`, accounts, p1, p3)), p1, p3
}

// whileTheyWatch calls a function when the clients have started monitors, and waits until they end.
func whileTheyWatch(t *testing.T, happens func(), programs ...*process) {
	t.Helper()
	for _, p := range programs {
		waitFor(t, "the monitor", func() bool { return strings.Contains(p.out.String(), "monitoring\n") })
	}
	happens()
	for _, p := range programs {
		if err := p.wait(patience); err != nil {
			t.Fatalf("%v\n%s", err, p.out)
		}
	}
}

func playPrograms(t *testing.T, r *running, p1, p3 int) {
	t.Helper()
	wrong := perlClient(t, "phase3.pl", fmt.Sprint(p3), "1001", "cleared", "AMHOST", "wrong")
	waitFor(t, "the refusal", func() bool { return wrong.out.String() == "refused 1\n" })
	old := perlClient(t, "phase1.pl", fmt.Sprint(p1), "1001", "Cleared")
	hipath := perlClient(t, "phase3.pl", fmt.Sprint(p3), "1001", "cleared", "AMHOST", "77777")
	whileTheyWatch(t, func() { transferAway(t, r) }, old, hipath)
	if want := `monitoring
Delivered 1001 state=2 alerting=1001 calling=1000 called=1001
Established 1001 state=3 answering=1001 calling=1000 called=1001
Transferred 1000 state=3 transferring=1000 transferred=1002
Delivered 1002 state=3 alerting=1002 calling=1001 called=1002
Established 1002 state=3 answering=1002 calling=1001 called=1002
Cleared 1001 state=0 releasing=1001
stopped
`; old.out.String() != want {
		t.Errorf("the program for Phase I says\n%s", old.out)
	}
	if want := `status 2
monitoring
delivered 1001 state=2 cause=22 subject=1001 calling=1000 called=1001
established 1001 state=3 cause=22 subject=1001 calling=1000 called=1001
transferred 1000 state=3 cause=52 subject=1000 to=1002 new=1001,1002
delivered 1002 state=3 cause=52 subject=1002 calling=1001 called=1002
established 1002 state=3 cause=22 subject=1002 calling=1001 called=1002
cleared 1001 state=0 cause=48 subject=1001
stopped
`; hipath.out.String() != want {
		t.Errorf("the program for HiPath says\n%s", hipath.out)
	}
}

// rawASN1 is a connection on which PDUs are written octet by octet.
type rawASN1 struct {
	t    *testing.T
	conn net.Conn
}

func dialASN1(t *testing.T, port int) *rawASN1 {
	t.Helper()
	conn, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return &rawASN1{t, conn}
}

func (c *rawASN1) write(data []byte) {
	c.t.Helper()
	if _, err := c.conn.Write(data); err != nil {
		c.t.Fatal(err)
	}
}

// read reads one frame; header is how long what stands before the length is.
func (c *rawASN1) read(header int) []byte {
	c.t.Helper()
	_ = c.conn.SetReadDeadline(time.Now().Add(patience))
	head := make([]byte, header+2)
	if _, err := io.ReadFull(c.conn, head); err != nil {
		c.t.Fatal(err)
	}
	pdu := make([]byte, int(head[header]&0x7F)<<8|int(head[header+1]))
	if _, err := io.ReadFull(c.conn, pdu); err != nil {
		c.t.Fatal(err)
	}
	return append(head, pdu...)
}

// sample is a PDU of the table.
func sample(t *testing.T, flavour, name string) []byte {
	t.Helper()
	for _, s := range samples.ASN1 {
		if s.Flavour == flavour && s.Name == name {
			return s.Octets()
		}
	}
	t.Fatalf("no sample %s", name)
	return nil
}

var unberTag = regexp.MustCompile(`<[CPI] O="\d+" T="([^"]*)"`)

// structure returns the tags of a PDU, in the order in which another decoder finds them.
func structure(t *testing.T, pdu []byte) string {
	t.Helper()
	cmd := exec.Command(tool(t, "unber"), "-")
	cmd.Stdin = bytes.NewReader(pdu)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%X: %v\n%s", pdu, err, out)
	}
	var tags []string
	for _, m := range unberTag.FindAllStringSubmatch(string(out), -1) {
		tags = append(tags, m[1])
	}
	return strings.Join(tags, " ")
}

// What stands on the wire is built as the PDUs that programs of HiPath and MD110 take.
func TestASN1OnTheWire(t *testing.T) {
	t.Parallel()
	r, p1, p3 := forPrograms(t, everyKind)
	hipath := dialASN1(t, p3)
	hipath.write(sample(t, "hipath", "AARQ with name and password"))
	if got, want := structure(t, hipath.read(1)[3:]), structure(t, sample(t, "hipath", "AARE that accepts")[3:]); got != want {
		t.Errorf("AARE is %s, want %s", got, want)
	}
	if got, want := hipath.read(1), sample(t, "hipath", "SystemStatus"); !bytes.Equal(got, want) {
		t.Errorf("%X, want %X", got, want)
	}
	hipath.write(sample(t, "hipath", "result of SystemStatus"))
	monitor := bytes.Replace(sample(t, "hipath", "MonitorStart"), []byte("\x03100"), []byte("\x04100"), 1)
	// a device of four digits: all lengths before it are longer by one
	for _, at := range []int{2, 4, 12, 14} {
		monitor[at]++
	}
	monitor = slices.Insert(monitor, 20, '1')
	hipath.write(monitor)
	if got, want := hipath.read(1), sample(t, "hipath", "result of MonitorStart"); !bytes.Equal(got[:len(got)-1], want[:len(want)-1]) {
		t.Errorf("%X, want %X", got, want)
	}
	old := dialASN1(t, p1)
	old.write(sample(t, "phase1", "MonitorStart"))
	if got, want := old.read(0), sample(t, "phase1", "result of MonitorStart"); !bytes.Equal(got, want) {
		t.Errorf("%X, want %X", got, want)
	}
	c := r.xml()
	id := c.ask(call("1000", "1001")).Text("callingDevice/callID")
	at := uacsta.Conn(id, "1001")
	for _, step := range []struct {
		event string
		do    any
	}{
		{"delivered", uacsta.AnswerCall{CallToBeAnswered: at}},
		{"established", uacsta.ClearConnection{ConnectionToBeCleared: at}},
		{"connection cleared", nil},
	} {
		if got, want := structure(t, hipath.read(1)[3:]), structure(t, sample(t, "hipath", step.event)[3:]); got != want {
			t.Errorf("%s is %s, want %s", step.event, got, want)
		}
		event := old.read(0)
		if step.event == "delivered" {
			if got, want := structure(t, event[2:]), structure(t, sample(t, "phase1", step.event)[2:]); got != want {
				t.Errorf("%s is %s, want %s", step.event, got, want)
			}
		}
		if step.do != nil {
			c.ask(step.do)
		}
	}
	hipath.write(sample(t, "hipath", "MonitorStop"))
	if got, want := hipath.read(1), sample(t, "hipath", "result of MonitorStop"); !bytes.Equal(got, want) {
		t.Errorf("%X, want %X", got, want)
	}
	hipath.write(sample(t, "hipath", "ABRT"))
	waitFor(t, "the end of the session", func() bool { return strings.Contains(r.out.String(), "the client ended the association") })
	r.stop()
}

// Hostile and confused peers: each is refused in words of the protocol, and nothing else
// suffers.
func TestASN1Refuses(t *testing.T) {
	t.Parallel()
	p1, p3 := freePort(t), freePort(t)
	r := serve(t, everybody+fmt.Sprintf(`asn1:
  listen:
  - {transport: tcp, address: "127.0.0.1:%d", dialect: phase1}
  - {transport: tcp, address: "127.0.0.1:%d", dialect: phase3}
`, p1, p3))
	for name, tt := range map[string]struct {
		port, header int
		send, want   string // hexadecimal; want "" is that the connection ends
	}{
		"an operation that is not known": {p1, 0, "0008 A106 020105 020163", "0008 A406 020105 810101"},
		"an argument of another type":    {p1, 0, "000B A109 020105 02010A 3001 05", "0008 A406 020105 800102"},
		"an argument that is empty":      {p1, 0, "000A A108 020105 02010A 3000", "0008 A406 020105 810102"},
		"QueryDevice deviceInfo":         {p1, 0, "0012 A110 020105 02010C 3008 8003313030 0A0104", "000B A309 020105 020101 81010F"},
		"QueryDevice without a feature":  {p1, 0, "000F A10D 020105 02010C 3005 8003313030", "0008 A406 020105 810102"},
		"RouteRequest":                   {p1, 0, "0008 A106 020105 02011F", "000B A309 020105 020101 81010F"},
		"an event without its argument":  {p1, 0, "0008 A106 020107 020115", "0008 A406 020107 810102"},
		"an Invoke without operation":    {p1, 0, "0005 A103 020107", "0008 A406 020107 800101"},
		"an Invoke that is cut off":      {p1, 0, "0007 A120 02020107 02", "0009 A407 02020107 800102"},
		"an Invoke that is too long":     {p1, 0, "8001 A1827FFD 020107" + strings.Repeat("00", 32762), "0008 A406 020107 800102"},
		"octets that are no PDU":         {p1, 0, "0003 303030", "0007 A405 0500 800102"},
		"a PDU of another kind":          {p1, 0, "0002 3000", "0007 A405 0500 800100"},
		"nested too deeply":              {p1, 0, "0050 " + strings.Repeat("3080", 40), "0007 A405 0500 800102"},
		"Phase III where Phase I is":     {p1, 0, "2680 0E A10C", ""},
		"a device that there is not":     {p1, 0, "0010 A10E 020105 02014A 8006 393939393939", "000B A309 020105 020101 81010C"},
		"a request before AARQ":          {p3, 1, "26800E A10C 020102 020149 3004 5502 0001", ""},
		"a very long PDU before AARQ":    {p3, 1, "26FFFF", ""},
	} {
		t.Run(name, func(t *testing.T) {
			c := dialASN1(t, tt.port)
			data, err := hex.DecodeString(strings.ReplaceAll(tt.send, " ", ""))
			if err != nil {
				t.Fatal(err)
			}
			c.write(data)
			if tt.want == "" {
				_ = c.conn.SetReadDeadline(time.Now().Add(patience))
				if rest, err := io.ReadAll(c.conn); errors.Is(err, os.ErrDeadlineExceeded) || len(rest) > 0 && rest[2] != 0xA4 {
					t.Errorf("%X %v", rest, err)
				}
				return
			}
			if got := strings.ToUpper(hex.EncodeToString(c.read(tt.header))); got != strings.ReplaceAll(tt.want, " ", "") {
				t.Errorf("%s, want %s", got, tt.want)
			}
		})
	}
	r.stop()
}
