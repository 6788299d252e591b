package tests

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tr87proxy/tr87proxy/uacsta"
)

// library makes a directory of messages: a tone, one second of it, a file that is no WAV file, and one that is truncated.
func library(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	writeTone(t, filepath.Join(dir, "hello.wav"), tones["message"])
	whole, err := os.ReadFile(filepath.Join(dir, "hello.wav"))
	if err != nil {
		t.Fatal(err)
	}
	second := bytes.Clone(whole[:44+16000])
	copy(second[40:], []byte{0x80, 0x3e, 0, 0}) // octets of sound
	for name, data := range map[string][]byte{"second.wav": second, "broken.wav": []byte("no sound"), "truncated.wav": whole[:20000]} {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// stops waits for the end of a message at a device, and compares its cause.
func (o *overseer) stops(device string, want uacsta.EventCause) *uacsta.Message {
	o.t.Helper()
	m := o.until(device, "Stop")
	if got := m.Text("cause"); got != string(want) {
		o.t.Errorf("%s, want %s", m, want)
	}
	return m
}

// The maker of a program tries it with virtual phones: messages last their time, recordings are files, keys are heard, and
// the cause of Stop says why.
func TestVoiceOfVirtualPhones(t *testing.T) {
	t.Parallel()
	dir := library(t)
	r := serve(t, "telephones: {messages: "+dir+"}\n"+everybody)
	o := &overseer{xmlClient: r.xml(), refs: map[string]string{}}
	for _, device := range []string{"1000", "2000"} {
		o.refs[o.monitor(device)] = device
	}
	id := o.must(call("1000", "2000")).Text("callingDevice/callID")
	established := o.until("1000", "Established")
	for _, service := range []string{"playMessage", "recordMessage", "generateDigits"} {
		if path := "servicesPermitted/voiceServices/" + service; established.Text(path) != "true" && established.Text(strings.Replace(path, "voice", "callAssociated", 1)) != "true" {
			t.Errorf("%s is not permitted in %s", service, established)
		}
	}
	from := uacsta.Conn(id, "1000")
	for _, name := range []string{"none", "../hello", "/etc/passwd", dir + "/../hello", "a\tb"} {
		if res := o.ask(uacsta.PlayMessage{MessageToBePlayed: name, OverConnection: from}); res.Err() == nil || res.Err().Value != uacsta.InvalidMsgID {
			t.Errorf("%q: %s", name, res)
		}
		if res := o.ask(uacsta.RecordMessage{Resource: name, CallToBeRecorded: from}); name != "none" && (res.Err() == nil || res.Err().Value != uacsta.InvalidFile) {
			t.Errorf("%q: %s", name, res)
		} else if name == "none" {
			o.must(uacsta.Stop{Connection: from})
			o.stops("2000", uacsta.CauseMessageDurationExceeded)
		}
	}
	plays := func(name string, limit int) time.Duration {
		req := uacsta.PlayMessage{MessageToBePlayed: name, OverConnection: from}
		if limit > 0 {
			req.Duration = &limit
		}
		begun := time.Now()
		o.must(req)
		o.until("2000", "Play")
		return time.Since(begun)
	}
	begun := time.Now()
	plays("second", 0)
	o.stops("2000", uacsta.CauseEndOfMessageDetected)
	if took := time.Since(begun); took < 980*time.Millisecond {
		t.Errorf("a second took %s", took)
	}
	plays("hello", 200)
	o.stops("2000", uacsta.CauseMessageDurationExceeded)
	plays("hello", 0)
	if res := o.ask(uacsta.PlayMessage{MessageToBePlayed: "second", OverConnection: from}); res.Err() == nil || res.Err().Value != uacsta.ResourceBusy {
		t.Errorf("a second message: %s", res)
	}
	o.must(uacsta.Stop{Connection: from})
	o.stops("2000", uacsta.CauseNormal)
	for _, name := range []string{"broken", "truncated"} {
		plays(name, 0)
		o.stops("2000", uacsta.CauseBlocked)
	}
	until := &uacsta.TerminatingConditions{DTMFDigitDetected: true}
	o.must(uacsta.PlayMessage{MessageToBePlayed: "hello", OverConnection: from, Termination: until})
	o.must(uacsta.GenerateDigits{ConnectionToSendDigits: uacsta.Conn(id, "2000"), CharactersToSend: "7"})
	if m := o.until("1000", "DtmfDetected"); m.Text("dtmfChar") != "7" {
		t.Errorf("%s", m)
	}
	o.stops("2000", uacsta.CauseDTMFDigitDetected)
	limit := 1234
	record := uacsta.RecordMessage{CallToBeRecorded: from, Resource: "orders", MaxDuration: &limit}
	path := o.must(record).Text("resultingMessage")
	o.stops("2000", uacsta.CauseMessageDurationExceeded)
	if data, err := os.ReadFile(path); err != nil || path != filepath.Join(dir, "orders.wav") || len(data) != 44+2*8*limit || len(bytes.Trim(data[44:], "\x00")) > 0 {
		t.Errorf("%s has %d octets; %v", path, len(data), err)
	}
	if res := o.ask(record); res.Err() == nil || res.Err().Value != uacsta.InvalidFile {
		t.Errorf("a recording in place of another: %s", res)
	}
	plays(path, 0)
	o.stops("2000", uacsta.CauseEndOfMessageDetected)
	own := o.must(uacsta.RecordMessage{CallToBeRecorded: from}).Text("resultingMessage")
	o.until("2000", "Record")
	o.must(uacsta.ClearConnection{ConnectionToBeCleared: from})
	o.stops("2000", uacsta.CauseNormal)
	o.until("2000", "ConnectionCleared")
	waitFor(t, "the recording", func() bool {
		data, err := os.ReadFile(own)
		return err == nil && len(data) >= 44 && bytes.HasPrefix(data, []byte("RIFF"))
	})
	r.stop()
}

// A caller from the network hears messages, and is recorded: at a virtual phone, by either connection.
func TestVoiceOverATrunk(t *testing.T) {
	t.Parallel()
	port := freePort(t)
	x := serveTelephones(t, fmt.Sprintf(`  trunks:
  - {number: "900", prefixes: ["0"], inward: [{number: "5550100", to: "2000"}], sip: {uri: "sip:127.0.0.1:%d;transport=udp"}}
`, port), "")
	o := x.watch("2000", "900")
	isp := listenHandset(t, port, x.sip, "acme", "isp")
	o.until("900", "BackInService")
	conn, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	caller := &voice{conn: conn, port: conn.LocalAddr().(*net.UDPAddr).Port}
	d := isp.dialog("5550100")
	d.local = "<sip:0309876@127.0.0.1>;tag=" + random()
	m := d.begin("INVITE", []string{sdpHeader}, description(caller.port, "sendrecv")).final()
	if m.code() != 200 {
		t.Fatal(m.start)
	}
	d.follow(m)
	d.ack(m)
	const said = 500
	caller.speak(t.Context(), mediaOf(t, m), said)
	id := o.until("2000", "Established").Text("establishedConnection/callID")
	for _, device := range []string{"900", "2000"} {
		over := uacsta.Conn(id, device)
		o.must(uacsta.PlayMessage{MessageToBePlayed: "hello", OverConnection: over})
		waitFor(t, "the message", func() bool { return caller.hears(tones["message"]) })
		o.must(uacsta.Stop{Connection: over})
		o.stops("900", uacsta.CauseNormal)
		limit := 700
		path := o.must(uacsta.RecordMessage{CallToBeRecorded: over, Resource: "from-" + device, MaxDuration: &limit}).Text("resultingMessage")
		o.stops("900", uacsta.CauseMessageDurationExceeded)
		data, err := os.ReadFile(path)
		if err != nil || len(data) != 44+2*8*limit || share(pcm(data)[2000:], said) < 0.3 {
			t.Errorf("%s: %d octets, %v", path, len(data), err)
		}
	}
	d.ask("BYE", nil, "")
	o.until("2000", "ConnectionCleared")
	x.stop()
}
