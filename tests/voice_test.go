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
	writeSecond(t, filepath.Join(dir, "second.wav"), tones["message"])
	second, err := os.ReadFile(filepath.Join(dir, "second.wav"))
	if err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string][]byte{"broken.wav": []byte("no sound"), "truncated.wav": second[:8000]} {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// writeSecond writes a second of a tone.
func writeSecond(t *testing.T, file string, hertz float64) {
	t.Helper()
	writeTone(t, file, hertz)
	whole, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	copy(whole[40:], []byte{0x80, 0x3e, 0, 0}) // octets of sound
	if err := os.WriteFile(file, whole[:44+16000], 0o600); err != nil {
		t.Fatal(err)
	}
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

// The command line alone answers a caller at a queue, plays, records, and sends the caller on.
func TestVoiceCommands(t *testing.T) {
	t.Parallel()
	dir := library(t)
	r := serve(t, "  queues: [{number: \"300\"}]\ntelephones: {messages: "+dir+"}\n"+everybody)
	server := fmt.Sprintf("--server=sip:x@127.0.0.1:%d;transport=tcp", r.port)
	events := start(t, program(t), "monitor", "300", server)
	waitFor(t, "the monitor", func() bool { return strings.Contains(events.out.String(), "monitor ") })
	for _, tt := range []struct {
		line   string
		status int
		want   string
	}{
		{"call 1000 300", 0, "MakeCallResponse"},
		{"play 300 hello", 0, "PlayMessageResponse"},
		{"answer 300", 0, "AnswerCallResponse"},
		{"stop 300 hello", 0, "StopResponse"},
		{"play 300 none", 1, "the switch has no message of this name"},
		{"play 300 hello --limit 50ms --until-digit", 0, "PlayMessageResponse"},
		{"record 300 order-17", 0, "message " + filepath.Join(dir, "order-17.wav")},
		{"record 300 order-18", 1, "resourceBusy"},
		{"digits 1000 5", 0, "GenerateDigitsResponse"},
		{"stop 300 order-17", 0, "StopResponse"},
		{"record 300 order-17", 1, "there is one of this name already"},
		{"transfer 300 1001", 0, "SingleStepTransferCallResponse"},
		{"play 300 hello", 1, "300 has no call in state connected"},
	} {
		out, status := command(t, append(strings.Split(tt.line, " "), server)...)
		if status != tt.status || !strings.Contains(out, tt.want) {
			t.Errorf("%s: status %d, want %d with %q\n%s", tt.line, status, tt.status, tt.want, out)
		}
	}
	for _, want := range []string{"Play ", "message hello", "DtmfDetected ", "  5", "cause messageDurationExceeded"} {
		waitFor(t, want, func() bool { return strings.Contains(events.out.String(), want) })
	}
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

// newVoice opens the voice of a handset.
func newVoice(t *testing.T) *voice {
	t.Helper()
	conn, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return &voice{conn: conn, port: conn.LocalAddr().(*net.UDPAddr).Port}
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
	caller := newVoice(t)
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

// Music and announcements are those of the device where a party waits, is held, or fails to reach somebody.
func TestSoundsOfDevices(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	heard := map[string]float64{"music": 1400, "jazz": 1500, "parked": 1600, "waiting": 1700, "outside": 1800, "welcome": 2100}
	announced := map[string]float64{"failed": 1900, "sorry": 2000}
	for name, hertz := range heard {
		writeTone(t, filepath.Join(dir, name+".wav"), hertz)
	}
	for name, hertz := range announced {
		writeSecond(t, filepath.Join(dir, name+".wav"), hertz)
	}
	port, peer, first := freePort(t), freePort(t), 10000+200*(phoneCount()%74)
	r := serve(t, fmt.Sprintf(`  - {number: "100", sip: {password: secret100}}
  - {number: "104", answer-after: 20ms, music: jazz}
  - {number: "105", busy: true, announcement: sorry}
  - {number: "106", answer-after: 20ms}
  queues: [{number: "300", music: waiting}, {number: "301", music: waiting, announcement: welcome}]
  park: ["401", {number: "400", music: parked}]
  trunks: [{number: "900", music: outside, inward: [{number: "5550106", to: "106"}, {number: "5550104", to: "104"}], sip: {uri: "sip:127.0.0.1:%[5]d;transport=udp"}}]
telephones:
  listen: [{transport: udp, address: "127.0.0.1:%[1]d"}]
  music: %[2]s/music.wav
  announcement: %[2]s/failed.wav
  messages: %[2]s
  media: {ports: "%[3]d-%[4]d", timeout: 1h}
`, port, dir, first, first+190, peer)+everybody)
	x := &exchange{running: r, sip: port}
	o := x.watch("100", "104", "900")
	h, isp := newHandset(t, "udp", x.sip, "100", "secret100"), listenHandset(t, peer, x.sip, "acme", "isp")
	o.until("900", "BackInService")
	h.register(600)
	o.until("100", "BackInService")
	hears := func(v *voice, name string) {
		t.Helper()
		hertz := heard[name] + announced[name]
		waitFor(t, name, func() bool { return v.hears(hertz) })
	}
	// dials calls a number, and waits for a response with a description; it returns its dialog, the request and its voice.
	dials := func(from *handset, number string, code int) (*sipDialog, *asking, *voice) {
		t.Helper()
		v, d := newVoice(t), from.dialog(number)
		calling := d.challenged([]string{sdpHeader}, description(v.port, "sendrecv"))
		for {
			switch m := calling.next(); {
			case m.code() == code:
				v.speak(t.Context(), mediaOf(t, m), 300)
				if d.follow(m); code == 200 {
					d.ack(m)
				}
				return d, calling, v
			case m.code() >= 200:
				t.Fatalf("%s: %s", number, m.start)
			}
		}
	}
	d, _, v := dials(h, "104", 200)
	id := o.until("104", "Established").Text("establishedConnection/callID")
	o.must(uacsta.HoldCall{CallToBeHeld: uacsta.Conn(id, "104")})
	hears(v, "jazz")
	o.must(uacsta.RetrieveCall{CallToBeRetrieved: uacsta.Conn(id, "104")})
	o.must(uacsta.ParkCall{Parking: uacsta.Conn(id, "104"), ParkTo: uacsta.Dev("400")})
	hears(v, "parked")
	d.ask("BYE", nil, "")
	d, _, v = dials(h, "106", 200)
	o.must(uacsta.HoldCall{CallToBeHeld: uacsta.Conn(o.calls("100")[0].CallID, "106")})
	hears(v, "music")
	d.ask("BYE", nil, "")
	for queue, sound := range map[string]string{"300": "waiting", "301": "welcome"} {
		d, _, v = dials(h, queue, 200)
		hears(v, sound)
		d.ask("BYE", nil, "")
	}
	for number, want := range map[string]struct {
		sound string
		code  int
	}{"105": {"sorry", 486}, "199": {"failed", 404}} {
		d, calling, v := dials(h, number, 183)
		hears(v, want.sound)
		m := calling.final()
		if m.code() != want.code {
			t.Errorf("%s: %s", number, m.start)
		}
		d.ack(m)
	}
	for number, sound := range map[string]string{"106": "outside", "104": "jazz"} {
		in := isp.dialog("5550" + number)
		in.local = "<sip:0309876@127.0.0.1>;tag=" + random()
		v := newVoice(t)
		m := in.begin("INVITE", []string{sdpHeader}, description(v.port, "sendrecv")).final()
		in.follow(m)
		in.ack(m)
		v.speak(t.Context(), mediaOf(t, m), 300)
		o.must(uacsta.HoldCall{CallToBeHeld: uacsta.Conn(o.calls("900")[0].CallID, number)})
		hears(v, sound)
		in.ask("BYE", nil, "")
		waitFor(t, "the end of the call", func() bool { return len(o.calls("900")) == 0 })
	}
	r.stop()
}
