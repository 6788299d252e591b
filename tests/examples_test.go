package tests

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tr87proxy/tr87proxy/uacsta"
)

const ivrQueues = "  queues: [{number: \"300\"}, {number: \"301\"}]\n"

// example builds a program of the folder examples and returns its path.
func example(t *testing.T, name string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), filepath.Base(name))
	if out, err := exec.Command("go", "build", "-o", file, "../examples/"+name).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return file
}

// carrier is the network beyond a trunk. What it does with a call depends on the number's third digit.
type carrier struct {
	*handset
	invites map[string]*sipText // that ring, by Call-ID
}

// outcomes is what a carrier responds, by the digit of a number; 0 means that the call rings for ever.
var outcomes = map[byte]int{'0': 200, '1': 486, '2': 404, '3': 0, '4': 503, '5': 403}

// serve handles the calls of the trunk until the test ends.
func (c *carrier) serve() {
	for {
		var m *sipText
		select {
		case m = <-c.inbox:
		case <-c.t.Context().Done():
			return
		}
		id := m.header("Call-ID")
		switch m.method() {
		case "INVITE":
			code := outcomes[strings.TrimPrefix(m.start, "INVITE sip:")[2]]
			c.reply(m, 180, "t"+id, "")
			switch code {
			case 0:
				c.invites[id] = m
			case 200:
				c.reply(m, code, "t"+id, description(5600, "sendrecv"))
				c.invites[id] = m
			default:
				c.reply(m, code, "t"+id, "")
			}
		case "CANCEL":
			c.answer(m, 200, nil, "")
			c.reply(c.invites[id], 487, "t"+id, "")
		case "ACK":
			if invite := c.invites[id]; invite != nil && outcomes[strings.TrimPrefix(invite.start, "INVITE sip:")[2]] == 200 {
				d := c.answered(invite, "t"+id)
				time.AfterFunc(300*time.Millisecond, func() { d.begin("BYE", nil, "") }) // it has talked
			}
		default:
			c.answer(m, 200, nil, "")
		}
	}
}

// The dialler calls two hundred numbers, and learns what comes of each. Nothing of its calls is left.
func TestDialler(t *testing.T) {
	t.Parallel()
	port := freePort(t)
	x := serveTelephones(t, fmt.Sprintf(`  queues: [{number: "300"}]
  trunks:
  - {number: "900", prefixes: ["00"], lines: 60, sip: {uri: "sip:127.0.0.1:%d;transport=udp"}}
  - {number: "901", prefixes: ["01"], lines: 1}
`, port), diallers)
	o := x.watch("300", "900", "2000")
	isp := &carrier{handset: listenHandset(t, port, x.sip, "acme", "isp"), invites: map[string]*sipText{}}
	o.until("900", "BackInService")
	go isp.serve()
	group := uacsta.Dev("300")
	agent := uacsta.SetAgentState{Device: uacsta.Dev("2000"), RequestedAgentState: uacsta.RequestLoggedOn, AgentID: "7", Group: &group}
	o.must(agent)
	agent.RequestedAgentState = uacsta.RequestReady
	o.must(agent)
	o.must(call("1000", "01")) // it takes the only line
	want := map[string]string{"000": "answered by", "001": "busy", "002": "numberUnallocated", "003": "callNotAnswered", "004": "networkCongestion", "005": "blocked", "01": "trunksBusy", "7": "destNotObtainable"}
	var numbers, lines []string
	for i := range 25 {
		for prefix, outcome := range want {
			number := fmt.Sprintf("%s%02d", prefix, i)
			numbers = append(numbers, number)
			if outcome == "answered by" {
				outcome += " " + number
			}
			lines = append(lines, number+" "+outcome)
		}
	}
	for _, outcome := range want {
		lines = append(lines, "25 "+strings.TrimSuffix(outcome, " by"))
	}
	dialler := exec.Command(example(t, "dialler"), "-server", fmt.Sprintf("127.0.0.1:%d", x.xmlPort), "-queue", "300", "-lines", "20", "-ring", "3")
	dialler.Stdin = strings.NewReader(strings.Join(numbers, "\n"))
	out, err := dialler.Output()
	got := strings.Split(strings.TrimSpace(string(out)), "\n")
	slices.Sort(got)
	slices.Sort(lines)
	if err != nil || !slices.Equal(got, lines) {
		t.Errorf("%v: got\n%s\nwant\n%s", err, strings.Join(got, "\n"), strings.Join(lines, "\n"))
	}
	o.until("2000", "Established") // an agent got a call
	waitFor(t, "the end of the calls", func() bool { return len(o.calls("300"))+len(o.calls("900")) == 0 })
	x.stop()
}

// A client that monitors no device learns from the response of MakePredictiveCall all that it needs to watch, look at and
// clear the call.
func TestPredictiveCall(t *testing.T) {
	t.Parallel()
	r := serve(t, ivrQueues+diallers)
	o := r.watch()
	predict := func() uacsta.ConnectionID {
		t.Helper()
		var response uacsta.MakePredictiveCallResponse
		if err := o.must(uacsta.MakePredictiveCall{CallingDevice: uacsta.Dev("300"), CalledDirectoryNumber: uacsta.Dev("1001")}).Decode(&response); err != nil {
			t.Fatal(err)
		}
		id := response.InitiatedCall
		o.refs[o.must(uacsta.MonitorStart{MonitorObject: uacsta.MonitorObject{CallObject: &id}}).CrossRef()] = "call"
		return id
	}
	id := predict()
	var snapshot uacsta.SnapshotCallResponse
	if err := o.must(uacsta.SnapshotCall{SnapshotObject: id}).Decode(&snapshot); err != nil {
		t.Fatal(err)
	}
	states := ""
	for _, party := range snapshot.CrossRefIDorSnapshotData.SnapshotData.SnapshotCallResponseInfo {
		states += party.CallIdentifier.DeviceID.ID + " " + string(party.LocalConnectionInfo) + " "
	}
	if states != "300 initiated 1001 alerting " {
		t.Error(states)
	}
	o.must(uacsta.AnswerCall{CallToBeAnswered: uacsta.Conn(id.CallID, "1001")})
	if m := o.until("call", "Established"); m.Text("answeringDevice/deviceIdentifier") != "1001" {
		t.Errorf("%s", m)
	}
	if m := o.until("call", "Established"); m.Text("cause") != "makePredictiveCall" || m.Text("establishedConnection/deviceID") != "300" {
		t.Errorf("%s", m)
	}
	o.until("call", "Queued")
	o.must(uacsta.ClearCall{CallToBeCleared: id})
	o.until("call", "CallCleared")
	o.must(uacsta.ClearConnection{ConnectionToBeCleared: predict()})
	for _, cause := range []string{"callCancelled", "callNotAnswered"} {
		if m := o.until("call", "ConnectionCleared"); m.Text("cause") != cause {
			t.Errorf("%s, want cause %s", m, cause)
		}
	}
	o.until("call", "CallCleared")
	r.stop()
}

// menu starts the IVR at the queue 300, where the extension 101 and the queue 301 can be chosen.
func (x *exchange) menu() *process {
	x.t.Helper()
	p := start(x.t, example(x.t, "ivr"), "-server", fmt.Sprintf("127.0.0.1:%d", x.xmlPort), "-menu", "hello")
	p.says("ready")
	return p
}

// says waits until a program has written a text.
func (p *process) says(text string) {
	p.t.Helper()
	waitFor(p.t, text, func() bool { return strings.Contains(p.out.String(), text) })
}

// Callers from a trunk hear the IVR, and their keys send them where they want to go.
func TestIVR(t *testing.T) {
	t.Parallel()
	port := freePort(t)
	x := serveTelephones(t, ivrQueues+fmt.Sprintf(`  trunks:
  - {number: "900", prefixes: ["0"], inward: [{number: "5550300", to: "300"}], sip: {uri: "sip:127.0.0.1:%d;transport=udp"}}
`, port), "")
	o := x.watch("300", "301", "101", "900")
	isp := listenHandset(t, port, x.sip, "acme", "isp")
	o.until("900", "BackInService")
	b := newHandset(t, "udp", x.sip, "101", "secret101")
	b.register(600)
	ivr := x.menu()
	voice, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer voice.Close()
	at := voice.LocalAddr().(*net.UDPAddr).Port
	arrive := func() *sipDialog {
		in := isp.dialog("5550300")
		in.local = "<sip:0309876@127.0.0.1>;tag=" + random()
		m := in.begin("INVITE", []string{sdpHeader}, description(at, "sendrecv")).final()
		in.follow(m)
		in.ack(m)
		if m := o.until("300", "Established"); m.Text("establishedConnection/deviceID") != "300" || m.Text("localConnectionInfo") != "connected" {
			t.Errorf("%s", m)
		}
		o.until("300", "Play")
		packet := make([]byte, 2000)
		for heard := 0; heard < 20; { // packets of 20 ms with the menu
			_ = voice.SetReadDeadline(time.Now().Add(patience))
			n, _, err := voice.ReadFrom(packet)
			if err != nil {
				t.Fatalf("the caller does not hear the menu: %v", err)
			}
			if n == 172 && bytes.Count(packet[12:n], packet[12:13]) < 100 {
				heard++
			}
		}
		return in
	}
	press := func(d *sipDialog, key string) {
		t.Helper()
		if m := d.ask("INFO", []string{"Content-Type: application/dtmf-relay"}, "Signal="+key+"\r\nDuration=100\r\n"); m.code() != 200 {
			t.Error(m.start)
		}
		if m := o.until("300", "DtmfDetected"); m.Text("dtmfChar") != key || m.Text("overConnection/deviceID") != "900" {
			t.Errorf("%s", m)
		}
		o.until("300", "Stop")
	}
	recorded := func() {
		t.Helper()
		file := o.until("300", "Record").Text("message")
		waitFor(t, "the recording", func() bool {
			info, err := os.Stat(file)
			return err == nil && info.Size() > 8000
		})
	}
	in := arrive() // whoever presses another key hears the menu again
	press(in, "9")
	o.until("300", "Play")
	press(in, "1")
	o.until("300", "Transfered")
	b.accept(b.expect("INVITE"), "b", 5620)
	o.until("101", "Established")
	in.ask("BYE", nil, "")
	b.answer(b.expect("BYE"), 200, nil, "")

	in = arrive()
	press(in, "0")
	o.until("300", "Diverted")
	o.until("301", "Queued")
	in.ask("BYE", nil, "")
	o.until("301", "ConnectionCleared")

	in = arrive()
	press(in, "2")
	recorded()
	press(in, "#")
	o.until("300", "Play") // what was recorded
	o.until("300", "Stop")
	o.until("300", "ConnectionCleared")
	isp.answer(isp.expect("BYE"), 200, nil, "")

	in = arrive()
	in.ask("BYE", nil, "")
	o.until("300", "ConnectionCleared")
	ivr.says("ConnectionClearedEvent")

	id := o.placed("1000", "300") // a virtual phone
	o.until("300", "Play")
	for _, key := range []string{"2", "#"} {
		o.must(uacsta.GenerateDigits{ConnectionToSendDigits: uacsta.Conn(id, "1000"), CharactersToSend: key})
		if m := o.until("300", "DtmfDetected"); m.Text("overConnection/deviceID") != "1000" {
			t.Errorf("%s", m)
		}
		if key == "2" {
			recorded()
		}
	}
	o.until("300", "Play")
	o.until("300", "ConnectionCleared")
	waitFor(t, "the end of the calls", func() bool { return len(o.calls("300"))+len(o.calls("900")) == 0 })
	x.stop()
}

// The IVR with telephones, and what they hear.
func TestIVRVoice(t *testing.T) {
	long(t)
	x := serveTelephones(t, ivrQueues, "")
	a, b := x.phone("100", "manual"), x.phone("101", "auto")
	o := x.watch("300", "101")
	ivr := x.menu()
	a.do("dial", "300")
	o.until("300", "Play")
	a.hears("message")
	a.do("sndcode", "1")
	o.until("101", "Established")
	a.hears("101")
	b.hears("100")
	a.do("hangup", "")
	o.until("101", "ConnectionCleared")

	a.do("dial", "300")
	o.until("300", "Play")
	a.hears("message")
	a.do("sndcode", "2")
	file := o.until("300", "Record").Text("message")
	waitFor(t, "a recording of two seconds", func() bool {
		info, err := os.Stat(file)
		return err == nil && info.Size() > 32000
	})
	a.do("sndcode", "5")
	o.until("300", "Play")
	a.hears("100") // its own voice
	o.until("300", "ConnectionCleared")
	a.sees("CALL_CLOSED", 2)
	data, err := os.ReadFile(file)
	if err != nil || share(pcm(data), tones["100"]) < 0.5 {
		t.Errorf("the caller is not in the recording: %v, %d octets", err, len(data))
	}
	ivr.says("key 2")
	x.stop()
}
