package tests

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tr87proxy/tr87proxy/uacsta"
)

// network is the network beyond a trunk: sipp calls, and another sipp is called. Both stand behind one address, because
// the proxy knows the trunk by it. The voice of each call has a mark of its own: the calling side sends it, and the called
// side sends it back.
type network struct {
	t            *testing.T
	outer, inner *net.UDPConn
	proxy        *net.UDPAddr
	voices       []*net.UDPConn // of the callers
	far          *net.UDPConn   // of everyone who is called

	mu             sync.Mutex
	calling        *net.UDPAddr         // of the sipp that calls
	called         *net.UDPAddr         // of the other one
	calls          map[string]int       // caller by Call-ID
	legs           map[int]*net.UDPAddr // the proxy's voice for each caller
	forth          []map[int]int        // packets that the called side has heard: by mark, and by port of the proxy
	back           []int                // packets that each caller has heard
	wrong, invites int
}

const (
	carried = 50
	wide    = 9 // payload type of G.722, which the proxy cannot decode
)

func newNetwork(t *testing.T, port, proxy int) *network {
	t.Helper()
	local := func(port int) *net.UDPAddr { return &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: port} }
	listen := func(port int) *net.UDPConn {
		conn, err := net.ListenUDP("udp", local(port))
		if err != nil {
			t.Fatal(err)
		}
		_ = conn.SetReadBuffer(4 << 20)
		t.Cleanup(func() { conn.Close() })
		return conn
	}
	c := &network{t: t, outer: listen(port), inner: listen(0), proxy: local(proxy), far: listen(0), calls: map[string]int{}, legs: map[int]*net.UDPAddr{}, back: make([]int, carried)}
	for range carried {
		c.voices, c.forth = append(c.voices, listen(0)), append(c.forth, map[int]int{})
	}
	var readers sync.WaitGroup
	read := func(conn *net.UDPConn, take func(data []byte, from *net.UDPAddr)) {
		readers.Go(func() {
			for data := make([]byte, 65536); ; {
				n, from, err := conn.ReadFromUDP(data)
				if err != nil {
					return
				}
				if n < 2 || data[1] < 192 || data[1] > 223 { // else it is a report, for the port below
					take(data[:n], from)
				}
			}
		})
	}
	t.Cleanup(func() { // before the sockets are closed, which are closed in reverse
		for _, conn := range append([]*net.UDPConn{c.outer, c.inner, c.far}, c.voices...) {
			conn.Close()
		}
		readers.Wait()
	})
	read(c.outer, c.fromProxy)
	read(c.inner, c.fromSipp)
	read(c.far, c.hears)
	for i, conn := range c.voices {
		read(conn, func(data []byte, _ *net.UDPAddr) { c.hearsBack(i, data) })
	}
	return c
}

var (
	callIDLine = regexp.MustCompile(`(?im)^Call-ID: *(.+?)\r?$`)
	mediaPort  = regexp.MustCompile(`m=audio (\d+) `)
	kept       = regexp.MustCompile(`(?im)^(?:Via|From|To|Call-ID|CSeq):.*\r\n`)
)

func number(found [][]byte) (n int) {
	if len(found) > 1 {
		_, _ = fmt.Sscan(string(found[1]), &n)
	}
	return n
}

// fromProxy passes a message of the proxy to the sipp that it is for, and answers OPTIONS.
func (c *network) fromProxy(data []byte, _ *net.UDPAddr) {
	if bytes.HasPrefix(data, []byte("OPTIONS ")) {
		answer := []byte("SIP/2.0 200 OK\r\n" + string(bytes.Join(kept.FindAll(data, -1), nil)) + "Content-Length: 0\r\n\r\n")
		_, _ = c.outer.WriteToUDP(answer, c.proxy)
		return
	}
	id := callIDLine.FindSubmatch(data)
	if id == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	caller, ours := c.calls[string(id[1])]
	to := c.called
	if ours {
		to = c.calling
		if port := number(mediaPort.FindSubmatch(data)); port != 0 {
			c.legs[caller] = &net.UDPAddr{IP: c.proxy.IP, Port: port}
		}
	}
	_, _ = c.inner.WriteToUDP(data, to)
}

// fromSipp passes a message of a sipp to the proxy.
func (c *network) fromSipp(data []byte, from *net.UDPAddr) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if id := callIDLine.FindSubmatch(data); from.Port == c.calling.Port && bytes.HasPrefix(data, []byte("INVITE ")) {
		port := number(mediaPort.FindSubmatch(data))
		c.calls[string(id[1])] = slices.IndexFunc(c.voices, func(v *net.UDPConn) bool { return v.LocalAddr().(*net.UDPAddr).Port == port })
		c.invites++
	}
	_, _ = c.outer.WriteToUDP(data, c.proxy)
}

// mark is what the voice of a call sounds like.
func mark(caller int) []byte {
	return bytes.Repeat([]byte(fmt.Sprintf("caller %2d!", caller)), 16)
}

// marked returns the caller whose voice a packet is, or -1.
func marked(data []byte) (caller int) {
	if len(data) < 12 || data[1]&0x7f != wide {
		return -1
	}
	if _, err := fmt.Sscanf(string(data[12:]), "caller %2d!", &caller); err != nil || !bytes.Equal(data[12:], mark(caller)) {
		return -1
	}
	return caller
}

// hears takes a packet at the called side, and sends the same voice back where it came from.
func (c *network) hears(data []byte, from *net.UDPAddr) {
	caller := marked(data)
	c.mu.Lock()
	if caller < 0 || caller >= carried {
		c.wrong++
		c.mu.Unlock()
		return
	}
	c.forth[caller][from.Port]++
	c.mu.Unlock()
	_, _ = c.far.WriteToUDP(data, from)
}

// hearsBack takes a packet at a caller, who may hear it ring before.
func (c *network) hearsBack(own int, data []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch caller := marked(data); {
	case caller == own:
		c.back[own]++
	case caller >= 0 || c.back[own] > 0:
		c.wrong++
	}
}

// talk has all callers say something, a packet each.
func (c *network) talk(sequence int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for caller, to := range c.legs {
		head := []byte{0x80, wide, byte(sequence >> 8), byte(sequence), 0, 0, byte(sequence * 160 >> 8), byte(sequence * 160), 0, 0, 1, byte(caller)}
		_, _ = c.voices[caller].WriteToUDP(append(head, mark(caller)...), to)
	}
}

// heard reports whether both sides of every call have heard so many packets.
func (c *network) heard(packets int) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for caller, back := range c.back {
		forth := 0
		for _, n := range c.forth[caller] {
			forth += n
		}
		if back < packets || forth < packets {
			return false
		}
	}
	return true
}

const (
	sippCalls = `<?xml version="1.0" encoding="ISO-8859-1"?>
<scenario name="calls">
<send retrans="500"><![CDATA[
INVITE sip:5551000@[remote_ip]:[remote_port] SIP/2.0
Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch];rport
Max-Forwards: 70
From: <sip:0309876@[local_ip]>;tag=[pid]x[call_number]
To: <sip:5551000@[remote_ip]>
Call-ID: [call_id]
CSeq: 1 INVITE
Contact: <sip:carrier@[local_ip]:[local_port]>
Content-Type: application/sdp
Content-Length: [len]

v=0
o=- 1 1 IN IP4 [local_ip]
s=-
c=IN IP4 [local_ip]
t=0 0
m=audio [field0] RTP/AVP 9 8
]]></send>
<recv response="100" optional="true"/><recv response="180" optional="true"/><recv response="183" optional="true"/><recv response="200" rrs="true"/>
<send><![CDATA[
ACK [next_url] SIP/2.0
Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch];rport
Max-Forwards: 70
[last_From:]
[last_To:]
Call-ID: [call_id]
CSeq: 1 ACK
Content-Length: 0

]]></send>
<recv request="BYE"/>` + sippOK + `
</scenario>`
	sippAnswers = `<?xml version="1.0" encoding="ISO-8859-1"?>
<scenario name="answers">
<recv request="INVITE"/>
<send><![CDATA[
SIP/2.0 180 Ringing
[last_Via:]
[last_From:]
[last_To:];tag=[pid]y[call_number]
[last_Call-ID:]
[last_CSeq:]
Contact: <sip:carrier@[local_ip]:[local_port]>
Content-Length: 0

]]></send>
<send retrans="500"><![CDATA[
SIP/2.0 200 OK
[last_Via:]
[last_From:]
[last_To:];tag=[pid]y[call_number]
[last_Call-ID:]
[last_CSeq:]
Contact: <sip:carrier@[local_ip]:[local_port]>
Content-Type: application/sdp
Content-Length: [len]

v=0
o=- 1 1 IN IP4 [local_ip]
s=-
c=IN IP4 [local_ip]
t=0 0
m=audio %d RTP/AVP 9
]]></send>
<recv request="ACK"/>
<recv request="BYE"/>` + sippOK + `
</scenario>`
)

// Fifty calls come in over a trunk and go out over it again, forwarded by an extension that may, all at once. Each side
// hears the other in a codec that the proxy cannot decode, and nobody else; a client that watches the trunk is told of
// each call in order.
func TestSippHairpins(t *testing.T) {
	long(t)
	peer, phones := freePort(t), freePort(t)
	x := serveSlow(t, fmt.Sprintf(`  trunks:
  - {number: "900", prefixes: ["0"], lines: %d, inward: [{number: "5551000", to: "1000"}], sip: {uri: "sip:127.0.0.1:%d;transport=udp"}}
telephones:
  listen: [{transport: udp, address: "127.0.0.1:%d"}]
  media: {ports: "25000-25990"}
trusted: [{address: 127.0.0.0/8}]
grants:
- {who: "127.0.0.1", control: ["*"], dial: ["*"]}
`, 2*carried, peer, phones))
	c := newNetwork(t, peer, phones)
	calling, called := freePort(t), freePort(t)
	c.mu.Lock()
	c.calling, c.called = &net.UDPAddr{IP: c.proxy.IP, Port: calling}, &net.UDPAddr{IP: c.proxy.IP, Port: called}
	c.mu.Unlock()
	ports := "SEQUENTIAL\n"
	for _, conn := range c.voices {
		ports += fmt.Sprintln(conn.LocalAddr().(*net.UDPAddr).Port)
	}
	dir := t.TempDir()
	for file, content := range map[string]string{
		"calls.xml": sippCalls, "answers.xml": fmt.Sprintf(sippAnswers, c.far.LocalAddr().(*net.UDPAddr).Port), "ports.csv": ports,
	} {
		if err := os.WriteFile(filepath.Join(dir, file), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	o := x.watch("900")
	to := uacsta.Dev("0170123")
	o.must(uacsta.SetForwarding{Device: uacsta.Dev("1000"), ForwardingType: uacsta.ForwardImmediate, ActivateForward: true, ForwardDN: &to})
	waitFor(t, "the trunk", func() bool { return strings.Contains(x.out.String(), "trunk in service") })
	sipp := func(file string, port int, more ...string) *process {
		return start(t, tool(t, "sipp"), append([]string{
			c.inner.LocalAddr().String(), "-sf", filepath.Join(dir, file), "-i", "127.0.0.1", "-p", fmt.Sprint(port), "-m", fmt.Sprint(carried),
			"-l", fmt.Sprint(carried), "-nostdin", "-trace_err", "-error_file", filepath.Join(dir, "errors-"+file),
		}, more...)...)
	}
	answers := sipp("answers.xml", called)
	calls := sipp("calls.xml", calling, "-inf", filepath.Join(dir, "ports.csv"), "-r", "25")
	told := map[string][]string{}
	hear := func(until string, times int) {
		t.Helper()
		for times > 0 {
			m := o.hear()
			connections := m.Connections()
			if len(connections) == 0 {
				continue
			}
			x := connections[0]
			name := strings.TrimSuffix(m.Name(), "Event") + map[string]string{"": " " + x.DeviceID(), uacsta.Dynamic: " second"}[x.DeviceType()] + " " + m.Text("localConnectionInfo") + " " + m.Text("cause")
			told[x.CallID()] = append(told[x.CallID()], name)
			if m.Name() == until && x.DeviceType() == uacsta.Dynamic {
				times--
				if id := m.Text("associatedCallingDevice/deviceIdentifier") + m.Text("associatedCalledDevice/deviceIdentifier") + m.Text("networkCallingDevice/deviceIdentifier") + m.Text("networkCalledDevice/deviceIdentifier"); until == uacsta.NameEstablishedEvent && id != "90090003098760170123" {
					t.Errorf("of both ends: %s", m)
				}
			}
		}
	}
	hear(uacsta.NameEstablishedEvent, carried)
	defer func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		if t.Failed() {
			t.Logf("callers heard %v; of callers is heard %v; they send to %v", c.back, c.forth, c.legs)
		}
	}()
	waitFor(t, "the voice of all calls", func() bool {
		for sequence := range 10 {
			c.talk(sequence)
			time.Sleep(2 * time.Millisecond) // as packets of voice come
		}
		return c.heard(100)
	})
	for call := range told {
		o.must(uacsta.ClearCall{CallToBeCleared: uacsta.Conn(call, "900")})
	}
	hear(uacsta.NameConnectionClearedEvent, carried)
	for _, p := range []*process{calls, answers} {
		if err := p.wait(patience); err != nil {
			errors, _ := filepath.Glob(filepath.Join(dir, "errors*"))
			for _, file := range errors {
				text, _ := os.ReadFile(file)
				t.Logf("%s: %s", file, text[:min(len(text), 2000)])
			}
			t.Fatalf("sipp: %v", err)
		}
	}
	want := []string{
		"ServiceInitiated 900 initiated newCall", "Originated 900 connected newCall", "Diverted 1000 connected callForwardImmediate", "NetworkReached second connected callForwardImmediate",
		"Delivered second connected networkSignal", "Established second connected networkSignal", "ConnectionCleared 900 connected normalClearing", "ConnectionCleared second null normalClearing",
	}
	for call, got := range told {
		if !slices.Equal(got, want) {
			t.Errorf("of call %s is told\n%s\nwant\n%s", call, strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(told) != carried || c.wrong > 0 {
		t.Errorf("%d calls, %d packets that are nobody's", len(told), c.wrong)
	}
	legs := map[int]bool{}
	for caller, ports := range c.forth {
		for port := range ports {
			if len(ports) != 1 || legs[port] {
				t.Errorf("the voice of caller %d is heard in %v", caller, ports)
			}
			legs[port] = true
		}
	}
	waitFor(t, "the end of the legs", func() bool { return x.metric("tr87proxy_telephone_legs") == 0 })
	x.stop()
}
