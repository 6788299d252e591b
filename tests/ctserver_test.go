package tests

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/tr87proxy/tr87proxy/uacsta"
)

// simulator starts a simulated switch on free ports; as many as it needs.
func simulator(t *testing.T, kind string, ports int, more ...string) (p *process, at []int) {
	t.Helper()
	var addresses []string
	for range ports {
		at = append(at, freePort(t))
		addresses = append(addresses, fmt.Sprintf("127.0.0.1:%d", at[len(at)-1]))
	}
	p = start(t, program(t), append([]string{"simulate", kind, "--verbose", "--api", "", "--console", "", "--listen", strings.Join(addresses, ",")}, more...)...)
	waitFor(t, "the simulator", func() bool { return strings.Contains(p.out.String(), "Press Ctrl-C") })
	return p, at
}

// tone writes an AU file of a loud sound, and returns its path.
func tone(t *testing.T, folder, name string, lasts time.Duration) string {
	t.Helper()
	header := []byte{'.', 's', 'n', 'd', 0, 0, 0, 24, 0xFF, 0xFF, 0xFF, 0xFF, 0, 0, 0, 1, 0, 0, 0x1F, 0x40, 0, 0, 0, 1}
	file := filepath.Join(folder, name)
	if err := os.WriteFile(file, append(header, make([]byte, lasts*8000/time.Second)...), 0o600); err != nil { // 0 is the loudest octet
		t.Fatal(err)
	}
	return file
}

// beforeCards starts a proxy with the ports of a simulated card.
func beforeCards(t *testing.T, at []int, more string) *running {
	t.Helper()
	front := serve(t, fmt.Sprintf(`links:
- name: cards
  type: ctserver
  addresses: ["127.0.0.1"]
  ports:
  - {number: "201", port: 1, address: "127.0.0.1:%d"}
  - {number: "202", port: 2, address: "127.0.0.1:%d"}
  - {number: "203", port: 3, address: "127.0.0.1:%d"}
  manager: "127.0.0.1:%d"
  answer-time: 1h
  caller-id-time: 500ms
  ring-time: 3s
%strusted: [{address: 127.0.0.1}]
grants: [{who: "*", control: ["*"], dial: ["*"]}]
`, at[0], at[1], at[2], at[4], more))
	front.linked("cards")
	return front
}

// cardTalk is a program that controls the ports of a card.
type cardTalk struct {
	*xmlClient
	watched map[string]string // cross reference -> device
	early   []*uacsta.Message // events that came before they were waited for: ports know no order among them
}

// await waits for an event at a device, and returns its first connection.
func (c *cardTalk) await(device, event string) uacsta.ConnectionID {
	c.t.Helper()
	list := c.event(device, event).Connections()
	if len(list) == 0 {
		return uacsta.ConnectionID{}
	}
	return uacsta.Conn(list[0].CallID(), list[0].DeviceID())
}

// event waits for an event at a device.
func (c *cardTalk) event(device, event string) *uacsta.Message {
	c.t.Helper()
	for i := 0; ; i++ {
		if i == len(c.early) {
			c.early = append(c.early, c.hear())
		}
		m := c.early[i]
		if m.Name() == event+"Event" && c.watched[m.CrossRef()] == device {
			c.early = slices.Delete(c.early, i, i+1)
			return m
		}
	}
}

// must asks for a service that is to be granted.
func (c *cardTalk) must(service any) *uacsta.Message {
	c.t.Helper()
	m := c.ask(service)
	if m.Err() != nil {
		c.t.Fatalf("%T: %v", service, m.Err())
	}
	return m
}

func watchCards(front *running) *cardTalk {
	c := &cardTalk{xmlClient: front.xml(), watched: map[string]string{}}
	for _, device := range []string{"201", "202", "203"} {
		c.watched[c.monitor(device)] = device
	}
	return c
}

// dialUp calls from one port to another, which answers.
func (c *cardTalk) dialUp(from, number, to string) (own, other uacsta.ConnectionID) {
	c.t.Helper()
	id := c.must(call(from, number)).Text("callingDevice/callID")
	own = uacsta.Conn(id, from)
	other = c.await(to, "Delivered")
	c.must(uacsta.AnswerCall{CallToBeAnswered: other})
	c.await(from, "Established")
	return own, other
}

// consults places a consultation call of a device, and returns the device's connection in it.
func (c *cardTalk) consults(own uacsta.ConnectionID, to string) uacsta.ConnectionID {
	c.t.Helper()
	m := c.must(uacsta.ConsultationCall{ExistingCall: own, ConsultedDevice: uacsta.Dev(to)})
	return uacsta.Conn(m.Text("initiatedCall/callID"), own.DeviceID.ID)
}

// consult calls a third port beside the call.
func (c *cardTalk) consult(own uacsta.ConnectionID) (second, third uacsta.ConnectionID) {
	c.t.Helper()
	second = c.consults(own, "102")
	c.await("201", "Held")
	third = c.await("203", "Delivered")
	c.must(uacsta.AnswerCall{CallToBeAnswered: third})
	c.await("201", "Established")
	return second, third
}

// TR/87 or XML in front, ctserver behind: every service that a card can carry, and what it
// tells. 201 to 203 are the phones 100 to 102 behind it.
func TestCards(t *testing.T) {
	t.Parallel()
	card, at := simulator(t, "ctserver", 5)
	tone(t, card.cmd.Dir, "beep.au", 10*time.Minute)
	front := beforeCards(t, at, "")
	c := watchCards(front)
	own, other := c.dialUp("201", "101", "202")
	c.must(uacsta.HoldCall{CallToBeHeld: own})
	c.await("201", "Held")
	c.must(uacsta.RetrieveCall{CallToBeRetrieved: own})
	c.await("201", "Retrieved")
	c.must(uacsta.GenerateDigits{ConnectionToSendDigits: own, CharactersToSend: "12#"})
	second, _ := c.consult(own)
	c.must(uacsta.AlternateCall{HeldCall: own, ActiveCall: second})
	c.await("201", "Retrieved")
	c.must(uacsta.AlternateCall{HeldCall: second, ActiveCall: own})
	c.await("201", "Retrieved")
	c.must(uacsta.ReconnectCall{HeldCall: own, ActiveCall: second})
	c.await("201", "ConnectionCleared")
	c.await("203", "ConnectionCleared") // the caller has hung up
	c.must(uacsta.PlayMessage{MessageToBePlayed: "beep", OverConnection: own})
	c.await("201", "Play")
	c.must(uacsta.Stop{Connection: own})
	c.await("201", "Stop")
	if name := c.must(uacsta.RecordMessage{CallToBeRecorded: own}).Text("resultingMessage"); name == "" {
		t.Error("a recording without a name")
	}
	c.await("201", "Record")
	c.must(uacsta.Stop{Connection: own})
	c.await("201", "Stop")
	second, _ = c.consult(own)
	c.must(uacsta.TransferCall{HeldCall: own, ActiveCall: second})
	c.await("201", "Transfered")
	c.must(uacsta.ClearConnection{ConnectionToBeCleared: other})
	c.await("202", "ConnectionCleared")
	c.await("203", "ConnectionCleared")
	own, other = c.dialUp("201", "101", "202")
	second, _ = c.consult(own)
	c.must(uacsta.ConferenceCall{HeldCall: own, ActiveCall: second})
	c.await("201", "Conferenced")
	c.must(uacsta.ClearConnection{ConnectionToBeCleared: second})
	c.await("201", "ConnectionCleared")
	c.must(uacsta.ClearConnection{ConnectionToBeCleared: other})
	c.await("202", "ConnectionCleared")
	// a call that nobody answers: it rings, and falls silent
	id := c.must(call("201", "101")).Text("callingDevice/callID")
	ringing := c.await("202", "Delivered")
	c.must(uacsta.ClearConnection{ConnectionToBeCleared: uacsta.Conn(id, "201")})
	if gone := c.await("202", "ConnectionCleared"); gone.CallID != ringing.CallID {
		t.Errorf("%v rang, %v is gone", ringing, gone)
	}
	front.stop()
}

// The same over TR/87.
func TestCardsOverTR87(t *testing.T) {
	t.Parallel()
	_, at := simulator(t, "ctserver", 5)
	front := beforeCards(t, at, "")
	file := filepath.Join(t.TempDir(), "scenario")
	if err := os.WriteFile(file, []byte(`monitor 201 202
call 201 101
expect 202 Delivered state=alerting within 10s
answer 202
expect 201 Established within 10s
hold 201
expect 201 Held within 10s
retrieve 201
expect 201 Retrieved within 10s
digits 201 12#
clear 201
expect 201 ConnectionCleared within 10s
expect 202 ConnectionCleared within 10s
`), 0o600); err != nil {
		t.Fatal(err)
	}
	out, status := command(t, "script", file, fmt.Sprintf("--server=sip:x@127.0.0.1:%d;transport=tcp", front.port))
	if status != 0 {
		t.Errorf("status %d\n%s", status, out)
	}
	front.stop()
}

// The simulated card answers every command that ctserver knows, and refuses what it does not.
func TestCardCommands(t *testing.T) {
	t.Parallel()
	card, at := simulator(t, "ctserver", 5)
	tone(t, card.cmd.Dir, "hello.au", time.Second)
	port, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", at[0]))
	if err != nil {
		t.Fatal(err)
	}
	defer port.Close()
	manager, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", at[4]))
	if err != nil {
		t.Fatal(err)
	}
	defer manager.Close()
	lines := map[net.Conn]*bufio.Reader{port: bufio.NewReader(port), manager: bufio.NewReader(manager)}
	say := func(conn net.Conn, command string, handle int) string {
		t.Helper()
		name, args, _ := strings.Cut(command, " ")
		fmt.Fprintf(conn, "cmd=%s src=%d dst=%d %s \n", name, handle, max(handle, 0), args)
		_ = conn.SetReadDeadline(time.Now().Add(patience))
		for {
			text, err := lines[conn].ReadString('\n')
			if err != nil {
				t.Fatalf("%s: %v", command, err)
			}
			if rest, ok := strings.CutPrefix(text, "rly="+name+" "); ok {
				return rest
			}
		}
	}
	for _, command := range []string{
		"ctanswer", "ctwaitfordial", "ctplaytoneasync arg1=dial argc=1", "ctstoptone", "ctdial arg1=101 argc=1", "ctclear", "ctclearevents", "cthangup",
		"ctplayasync arg1=hello.au argc=1", "ctplay_stop", "ctplay arg1=hello.au argc=1", "ctrecord arg1=x.au arg2=1 arg3=# arg4=0 argc=4", "ctcollect arg1=1 arg2=1 arg3=1 argc=3",
		"ctsleep arg1=0 argc=1", "ctstarttimerasync arg1=3600 argc=1", "ctstoptimer", "ctsendevent arg1=HELLO argc=1", "ctjoin arg1=1 arg2=2 argc=2", "ctbridge arg1=2 argc=1",
		"ctunbridge arg1=2 argc=1", "ctjoinconference arg1=1 argc=1", "ctleaveconference arg1=1 argc=1", "ctstartringasync", "ctstopring", "ctstartringonceasync", "ctgrunton",
		"ctgruntoff", "ctlistenforcid", "ctlistenforjpcid", "ctsetscript arg1=menu argc=1", "portstatus",
	} {
		if reply := say(port, command, 0); !strings.Contains(reply, "arg1=OK") {
			t.Errorf("%s: %s", command, reply)
		}
	}
	for _, command := range []string{"ctreadcid", "ctwaitfordial", "ctdial arg1=101 argc=1", "ctunknown"} { // nobody called, on hook
		if reply := say(port, command, 0); !strings.Contains(reply, "arg1=ERROR") {
			t.Errorf("%s: %s", command, reply)
		}
	}
	fmt.Fprintf(port, "cmd=ctwaitforevent src=0 dst=0 argc=0 \n")
	for _, command := range []string{"portstatus", "rolllog", "serversion", "ctsendevent arg1=ring argc=1"} {
		if reply := say(manager, command, -2); !strings.Contains(reply, "arg1=OK") {
			t.Errorf("%s: %s", command, reply)
		}
	}
	if text, err := lines[port].ReadString('\n'); err != nil || !strings.HasPrefix(text, "rly=ctwaitforevent") || !strings.Contains(text, "arg2=ring") {
		t.Errorf("%q %v", text, err)
	}
	fmt.Fprintf(port, "cmd=ctwaitforring src=0 dst=0 arg1=1 argc=1 \n")
	other, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", at[1]))
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	lines[other] = bufio.NewReader(other)
	say(other, "ctanswer", 1)
	say(other, "ctdial arg1=100 argc=1", 1)
	if text, err := lines[port].ReadString('\n'); err != nil || !strings.Contains(text, "arg1=OK arg2=101") {
		t.Errorf("no ring with the caller: %q %v", text, err)
	}
	for _, conn := range []net.Conn{port, manager} { // a program shuts down its own connection only
		say(conn, "shutdown", -2)
		if text, err := lines[conn].ReadString('\n'); err == nil {
			t.Errorf("%q after the reply to shutdown", text)
		}
	}
	if reply := say(other, "portstatus", -2); !strings.Contains(reply, "arg1=OK") {
		t.Error(reply)
	}
}

// A program in Perl that answers, plays, records until the caller presses #, plays back, beeps three times and hangs up, as
// programs for ctserver do. All its commands are on the way at once; each waits for its turn.
func TestCardProgram(t *testing.T) {
	t.Parallel()
	perl := tool(t, "perl")
	script, err := filepath.Abs(filepath.Join("perl", "ctport.pl"))
	if err != nil {
		t.Fatal(err)
	}
	card, at := simulator(t, "ctserver", 5)
	folder := card.cmd.Dir
	tone(t, folder, "beep.au", 400*time.Millisecond)
	program := start(t, perl, script, fmt.Sprint(at[0]), folder)
	waitFor(t, "the program", func() bool { return strings.Contains(program.out.String(), "waiting") })

	nc, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", at[1]))
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	_ = nc.SetDeadline(time.Now().Add(patience))
	lines := bufio.NewReader(nc)
	say := func(command string, until string) {
		t.Helper()
		fmt.Fprintf(nc, "cmd=%s \n", command)
		for {
			text, err := lines.ReadString('\n')
			if err != nil {
				t.Fatalf("%s: %v", command, err)
			}
			if strings.HasPrefix(text, "rly="+until+" ") {
				return
			}
		}
	}
	spoken := tone(t, folder, "name.au", time.Second)
	say("ctanswer src=1 dst=1 argc=0", "ctanswer")
	say("ctdial src=1 dst=1 arg1=100 argc=1", "toneend") // the program answers
	waitFor(t, "the recording", func() bool { return strings.Contains(program.out.String(), "ctplay OK") })
	say("ctplay src=1 dst=1 arg1="+spoken+" argc=1", "ctplay")
	say("ctdial src=1 dst=1 arg1=5# argc=1", "hangup")
	if err := program.wait(patience); err != nil {
		t.Error(err)
	}

	var heard []string
	times := []int{}
	for line := range strings.Lines(program.out.String()) {
		if when, what, found := strings.Cut(strings.TrimSpace(line), ": "); found && what != "ring ring" {
			n, _ := strconv.Atoi(when)
			heard, times = append(heard, what), append(times, n)
		}
	}
	want := []string{
		"ctanswer OK", "ctplay OK", "dtmf 5", "ctrecord OK 5#", "ctplay OK", "ctplay OK", "ctplay OK", "ctplay OK", "cthangup OK", "shutdown OK",
	}
	if !slices.Equal(heard, want) {
		t.Fatalf("the program heard %q, not %q", heard, want)
	}
	data, err := os.ReadFile(filepath.Join(folder, "prompt.wav"))
	if err != nil || len(data) < 44+2*8000 {
		t.Fatalf("a recording of %d octets %v", len(data), err)
	}
	length := (len(data) - 44) * 10 / 16000 // in tenths of a second
	if took := times[3] - times[1]; length > took+1 || length < took-3 {
		t.Errorf("the recording took %d tenths of a second and lasts %d", took, length)
	}
	if loud := len(data[44:]) - bytes.Count(data[44:], []byte{0}); loud < 12000 || loud > 20000 {
		t.Errorf("%d octets of the recording are not silent, of 16000 that were played", loud)
	}
	if played := times[4] - times[3]; played < length-1 {
		t.Errorf("the recording of %d tenths of a second was played back in %d", length, played)
	}
	for n := 5; n < 8; n++ {
		if beeped := times[n] - times[n-1]; beeped < 3 {
			t.Errorf("a beep of 4 tenths of a second took %d", beeped)
		}
	}
}

// POE's component for ctserver starts the simulated card itself, waits until it has started, and works with it.
func TestCardOfPOE(t *testing.T) {
	perl := tool(t, "perl")
	if err := exec.Command(perl, "-MPOE::Component::Telephony::CTPort", "-e1").Run(); err != nil {
		t.Skip("POE::Component::Telephony::CTPort is not installed; it has no Debian package")
	}
	for _, port := range []int{1198, 1200, 1201, 1202, 1203} { // it knows no others
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			t.Skip(err)
		}
		_ = l.Close()
	}
	script, err := filepath.Abs(filepath.Join("perl", "poe.pl"))
	if err != nil {
		t.Fatal(err)
	}
	folder := t.TempDir()
	tone(t, folder, "beep.au", 400*time.Millisecond)
	poe := start(t, "env", "PWD="+folder, perl, script, program(t)+" simulate ctserver --sounds "+folder)
	waitFor(t, "the component to connect", func() bool { return strings.Count(poe.out.String(), "connected") == 2 }) // to the manager, too
	nc, err := net.Dial("tcp", "127.0.0.1:1201")
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	fmt.Fprint(nc, "cmd=ctanswer src=1 dst=1 argc=0 \ncmd=ctdial src=1 dst=1 arg1=100 argc=1 \n")
	waitFor(t, "the beep", func() bool { return strings.Contains(poe.out.String(), "ctplay") })
	fmt.Fprint(nc, "cmd=ctdial src=1 dst=1 arg1=42 argc=1 \n")
	if err := poe.wait(patience); err != nil {
		t.Error(err)
	}
	for _, line := range []string{"ring ring", "ctanswer OK", "ctplay OK", "ctcollect OK 42", "cthangup OK", "portstatus OK 1:onhook,2:", "shutdown OK"} {
		if !strings.Contains(poe.out.String(), line) {
			t.Errorf("no %q", line)
		}
	}
}

// What would be more than one command, or a hook flash that nobody asked for, is refused.
func TestCardsRefuse(t *testing.T) {
	t.Parallel()
	_, at := simulator(t, "ctserver", 5)
	front := beforeCards(t, at, "")
	c := watchCards(front)
	for _, number := range []string{"101 arg2=1", "101\ncmd=cthangup", "101&900", "abc", "1=2"} {
		if m := c.ask(call("201", number)); m.Err() == nil || m.Err().Value != "invalidCalledDeviceID" {
			t.Errorf("%q: %v", number, m)
		}
	}
	own, _ := c.dialUp("201", "101", "202")
	for _, name := range []string{"../secret", "/etc/passwd", "a b", "a\nb", ".hidden"} {
		if m := c.ask(uacsta.PlayMessage{MessageToBePlayed: name, OverConnection: own}); m.Err() == nil || m.Err().Value != "invalidMsgID" {
			t.Errorf("%q: %v", name, m)
		}
	}
	if m := c.ask(uacsta.GenerateDigits{ConnectionToSendDigits: own, CharactersToSend: "&1"}); m.Err() == nil {
		t.Errorf("a hook flash among digits: %v", m)
	}
	front.stop()
	program, err := from("127.0.0.1", at[0])
	if err != nil {
		t.Fatal(err)
	}
	_ = program.SetDeadline(time.Now().Add(patience))
	_, _ = io.WriteString(program, strings.Repeat("rly=nonsense argc=0\n", 1000)) // it may be cut off
	if _, err := io.Copy(io.Discard, program); err != nil && os.IsTimeout(err) {
		t.Error("a program that sends no commands is not cut off")
	}
	_ = program.Close()
}

// When the card is gone, its ports are out of service, their calls end, and requests fail at
// once; when it is back, so are they.
func TestCardsKilled(t *testing.T) {
	t.Parallel()
	long(t)
	card, at := simulator(t, "ctserver", 5)
	front := beforeCards(t, at, "")
	c := watchCards(front)
	c.dialUp("201", "101", "202")
	_ = card.cmd.Process.Kill()
	c.await("201", "OutOfService")
	waitFor(t, "the link to be down", func() bool { return strings.Contains(front.get("/metrics"), `tr87proxy_link_up{link="cards"} 0`) })
	if m := c.ask(call("201", "101")); m.Err() == nil || m.Err().Value != "resourceOutOfService" {
		t.Errorf("%v", m)
	}
	addresses := make([]string, 0, len(at))
	for _, port := range at {
		addresses = append(addresses, fmt.Sprintf("127.0.0.1:%d", port))
	}
	start(t, program(t), "simulate", "ctserver", "--api", "", "--console", "", "--listen", strings.Join(addresses, ","))
	front.linked("cards")
	c.dialUp("201", "101", "202")
	front.stop()
}
