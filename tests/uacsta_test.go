package tests

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/tr87proxy/tr87proxy/sip"
	"github.com/tr87proxy/tr87proxy/tests/connections"
	"github.com/tr87proxy/tr87proxy/tr87"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

const cstaHeader = "Content-Type: application/csta+xml"

// cstaRequest waits for a CSTA request at a telephone: an INFO, or the INVITE of a session.
func (h *handset) cstaRequest(name string) *sipText {
	h.t.Helper()
	method := "INFO"
	if name == "RequestSystemStatus" {
		method = "INVITE"
	}
	for {
		m := h.expect(method)
		if strings.Contains(m.body, "<"+name) {
			return m
		}
		h.t.Fatalf("%s gets %s, want %s", h.number, m.body, name)
	}
}

// cstaAnswer answers it with a document.
func (h *handset) cstaAnswer(m *sipText, root, content string) {
	to := m.header("To")
	if m.tag("To") == "" {
		to += ";tag=csta"
	}
	h.answer(m, 200, []string{"To: " + to, cstaHeader}, "<?xml version=\"1.0\"?><"+root+" xmlns=\"http://www.ecma-international.org/standards/ecma-323/csta/ed3\">"+content+"</"+root+">")
}

// A desk phone that speaks uaCSTA gets a session while some client watches its extension:
// it answers by it, is muted, and says so; when it loses the session, it gets another.
func TestUACSTA(t *testing.T) {
	t.Parallel()
	x, list := handsets(t, "", "uacsta: monitored\n", "100", "102")
	a, phone := list[0], list[1]
	other := x.xml()
	if m := other.ask(uacsta.GetMicrophoneMute{Device: uacsta.Dev("102")}); m.Err() == nil || m.Err().Value != "requestIncompatibleWithDevice" {
		t.Errorf("without session: %s", m)
	}
	o := x.watch("102")
	invite := phone.cstaRequest("RequestSystemStatus")
	if !strings.Contains(invite.header("Content-Disposition"), "signal") {
		t.Errorf("%v", invite.headers)
	}
	// the telephone asks for the account's password
	phone.answer(invite, 401, []string{"To: " + invite.header("To") + ";tag=x", `WWW-Authenticate: Digest realm="phone", nonce="n1", algorithm=MD5, qop="auth"`}, "")
	invite = phone.cstaRequest("RequestSystemStatus")
	if !strings.Contains(invite.header("Authorization"), `username="102"`) {
		t.Errorf("%v", invite.headers)
	}
	phone.cstaAnswer(invite, "RequestSystemStatusResponse", "<systemStatus>normal</systemStatus>")
	phone.expect("ACK")
	start := phone.cstaRequest("MonitorStart")
	if !regexp.MustCompile(`<deviceObject>sip:102@127\.0\.0\.1</deviceObject>`).MatchString(start.body) {
		t.Errorf("%s", start.body)
	}
	phone.cstaAnswer(start, "MonitorStartResponse", "<monitorCrossRefID>7</monitorCrossRefID>")
	session := phone.answered(invite, "csta")

	for line, can := range map[string]bool{"102": true, "100": false} { // GetCSTAFeatures tells the truth for each telephone
		ua := sip.New(sip.Config{})
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		c, err := tr87.Open(ctx, ua, tr87.Dial{To: fmt.Sprintf("sip:gw@127.0.0.1:%d;transport=tcp", x.port), From: "sip:user@localhost", Line: line})
		if err != nil {
			t.Fatal(err)
		}
		m, err := c.Request(ctx, uacsta.Encode(uacsta.GetCSTAFeatures{}, uacsta.Edition3))
		if err != nil || strings.Contains(m.String(), "setMicrophoneMute") != can {
			t.Errorf("%s: %v %s", line, err, m)
		}
		cancel()
		ua.Close()
	}
	// a service on the telephone itself, and its event
	done := make(chan *uacsta.Message, 1)
	go func() {
		done <- other.ask(uacsta.SetMicrophoneMute{Device: uacsta.Dev("102"), AuditoryApparatus: "1", MicrophoneMuteOn: true})
	}()
	mute := phone.cstaRequest("SetMicrophoneMute")
	if !strings.Contains(mute.body, "<device>sip:102@127.0.0.1</device>") || !strings.Contains(mute.body, "<microphoneMuteOn>true</microphoneMuteOn>") {
		t.Errorf("%s", mute.body)
	}
	phone.cstaAnswer(mute, "SetMicrophoneMuteResponse", "")
	if m := <-done; m.Name() != "SetMicrophoneMuteResponse" {
		t.Errorf("%s", m)
	}
	tell := func(root, content string) {
		t.Helper()
		body := fmt.Sprintf(`<?xml version="1.0"?><%[1]s xmlns="http://www.ecma-international.org/standards/ecma-323/csta/ed3"><monitorCrossRefID>7</monitorCrossRefID>%[2]s</%[1]s>`, root, content)
		if m := session.ask("INFO", []string{cstaHeader}, body); m.code() != 200 {
			t.Errorf("%s: %s", root, m.start)
		}
	}
	own := "<deviceIdentifier>sip:102@phone</deviceIdentifier>"
	tell("MicrophoneMuteEvent", "<invokingDevice>"+own+"</invokingDevice><auditoryApparatus>1</auditoryApparatus><microphoneMuteOn>true</microphoneMuteOn>")
	if m := o.until("102", "MicrophoneMute"); m.Text("invokingDevice/deviceIdentifier") != "102" || m.Text("microphoneMuteOn") != "true" {
		t.Errorf("%s", m)
	}
	tell("DoNotDisturbEvent", "<device>"+own+"</device><doNotDisturbOn>true</doNotDisturbOn>")
	o.until("102", "DoNotDisturb")
	tell("DoNotDisturbEvent", "<device>"+own+"</device><doNotDisturbOn>false</doNotDisturbOn>")
	o.until("102", "DoNotDisturb")

	// a call rings, and is answered by uaCSTA although the telephone knows no NOTIFY talk
	d := a.dialog("102")
	calling := d.challenged([]string{sdpHeader}, description(5700, "sendrecv"))
	ringing := phone.expect("INVITE")
	phone.reply(ringing, 180, "p", "")
	id := o.until("102", "Delivered").Text("connection/callID")
	go func() { done <- other.ask(uacsta.AnswerCall{CallToBeAnswered: uacsta.Conn(id, "102")}) }()
	snapshot := phone.cstaRequest("SnapshotDevice")
	connection := "<connectionIdentifier><callID>-3</callID><deviceID>sip:102@phone</deviceID></connectionIdentifier>"
	phone.cstaAnswer(snapshot, "SnapshotDeviceResponse", "<crossRefIDorSnapshotData><snapshotData><snapshotDeviceResponseInfo>"+connection+
		"<localCallState><compoundCallState><localConnectionState>alerting</localConnectionState></compoundCallState></localCallState></snapshotDeviceResponseInfo></snapshotData></crossRefIDorSnapshotData>")
	answer := phone.cstaRequest("AnswerCall")
	if !strings.Contains(answer.body, "<callID>-3</callID>") {
		t.Errorf("%s", answer.body)
	}
	phone.cstaAnswer(answer, "AnswerCallResponse", "")
	phone.accept(ringing, "p", 5702)
	if m := <-done; m.Name() != "AnswerCallResponse" {
		t.Errorf("%s", m)
	}
	tell("EstablishedEvent", "<establishedConnection><callID>-3</callID></establishedConnection><answeringDevice>"+own+"</answeringDevice><callingDevice>"+own+"</callingDevice><calledDevice>"+own+"</calledDevice><lastRedirectionDevice><notRequired/></lastRedirectionDevice><localConnectionInfo>connected</localConnectionInfo><cause>normal</cause>")
	if m := o.until("102", "Established"); m.Text("establishedConnection/callID") != id {
		t.Errorf("%s", m)
	}
	m := calling.final()
	d.follow(m)
	d.ack(m)
	d.ask("BYE", nil, "")
	phone.answer(phone.expect("BYE"), 200, nil, "")
	o.until("102", "ConnectionCleared")
	for _, m := range o.news {
		if m.Name() == "EstablishedEvent" {
			t.Errorf("an event came twice: %s", m)
		}
	}
	// the telephone restarts: it knows the session no more, and gets another
	go func() { done <- other.ask(uacsta.GetSpeakerVolume{Device: uacsta.Dev("102")}) }()
	lost := phone.cstaRequest("GetSpeakerVolume")
	phone.answer(lost, 481, nil, "")
	if m := <-done; m.Err() == nil || m.Err().Value != "resourceOutOfService" {
		t.Errorf("%s", m)
	}
	phone.cseq += 100
	phone.contact = strings.Replace(phone.contact, "sip:102@", "sip:102x@", 1)
	phone.registerAs("102", "Contact: <"+phone.contact+">")
	invite = phone.cstaRequest("RequestSystemStatus")
	phone.answer(invite, 415, []string{"To: " + invite.header("To") + ";tag=y"}, "") // new firmware: it cannot any more
	phone.expect("ACK")
	if m := other.ask(uacsta.GetSpeakerVolume{Device: uacsta.Dev("102")}); m.Err() == nil || m.Err().Value != "requestIncompatibleWithDevice" {
		t.Errorf("%s", m)
	}
	x.stop()
}

// Desk phones of another switch register a CSTA account of their own: each is a switching
// function, whose calls clients make and see under its number; after it was away, its monitor
// stands again.
func TestDeskPhones(t *testing.T) {
	t.Parallel()
	port := freePort(t)
	r := serve(t, fmt.Sprintf(`links:
- name: desk
  type: phones
  listen: [{transport: udp, address: "127.0.0.1:%d"}]
  accounts: [{number: "7001", password: secret7001}, {number: "7002", password: secret7002}]
%s`, port, everybody))
	o := &overseer{xmlClient: r.xml(), refs: map[string]string{}}
	if m := o.ask(call("7001", "7002")); m.Err() == nil || m.Err().Value != "resourceOutOfService" {
		t.Errorf("nobody has registered: %s", m)
	}
	phone := newHandset(t, "udp", port, "7001", "secret7001")
	if m := newHandset(t, "udp", port, "7001", "x").register(600); m.code() != 401 {
		t.Errorf("a wrong password: %s", m.start)
	}
	if m := phone.register(600); m.code() != 200 {
		t.Fatal(m.start)
	}
	invite := phone.cstaRequest("RequestSystemStatus")
	phone.answer(invite, 403, []string{"To: " + invite.header("To") + ";tag=no"}, "") // it is not ready yet, and is asked again
	phone.expect("ACK")
	invite = phone.cstaRequest("RequestSystemStatus")
	phone.cstaAnswer(invite, "RequestSystemStatusResponse", "<systemStatus>normal</systemStatus>")
	phone.expect("ACK")
	features := phone.cstaRequest("GetCSTAFeatures")
	phone.cstaAnswer(features, "CSTAErrorCode", "<operation>serviceNotSupported</operation>")
	session := phone.answered(invite, "csta")
	tell := func(d *sipDialog, ref, root, content string) {
		body := fmt.Sprintf(`<?xml version="1.0"?><%[1]s xmlns="http://www.ecma-international.org/standards/ecma-323/csta/ed3"><monitorCrossRefID>%[3]s</monitorCrossRefID>%[2]s</%[1]s>`, root, content, ref)
		d.begin("INFO", []string{cstaHeader}, body)
	}
	own, other := "<deviceIdentifier>sip:7001@127.0.0.1</deviceIdentifier>", "<deviceIdentifier>sip:4711@pbx.example</deviceIdentifier>"
	delivered := "<connection><callID>-3</callID><deviceID>sip:7001@127.0.0.1</deviceID></connection><alertingDevice>" + own + "</alertingDevice><callingDevice>" + other +
		"</callingDevice><calledDevice>" + own + "</calledDevice><lastRedirectionDevice><notRequired/></lastRedirectionDevice><localConnectionInfo>alerting</localConnectionInfo><cause>newCall</cause>"
	asked := make(chan string, 1)
	go func() { asked <- o.monitor("7001") }()
	start := phone.cstaRequest("MonitorStart")
	phone.cstaAnswer(start, "MonitorStartResponse", "<monitorCrossRefID>7</monitorCrossRefID>")
	tell(session, "7", "DeliveredEvent", delivered) // at once
	o.refs[<-asked] = "7001"
	told := o.until("7001", "Delivered")
	id := told.Text("connection/callID")
	if told.Text("connection/deviceID") != "7001" || told.Text("callingDevice/deviceIdentifier") != "4711" || id == "-3" || id == "" {
		t.Errorf("%s", told)
	}
	done := make(chan *uacsta.Message, 1)
	go func() { done <- o.ask(uacsta.AnswerCall{CallToBeAnswered: uacsta.Conn(id, "7001")}) }()
	answer := phone.cstaRequest("AnswerCall")
	if !strings.Contains(answer.body, "<deviceID>sip:7001@127.0.0.1</deviceID>") {
		t.Errorf("%s", answer.body)
	}
	phone.cstaAnswer(answer, "AnswerCallResponse", "")
	if m := <-done; m.Name() != "AnswerCallResponse" {
		t.Errorf("%s", m)
	}
	// what is no connection of its own does not reach it
	for service, n := range map[string]connections.Named{
		"JoinCall":           {Active: uacsta.ConnectionID{CallID: "-3"}, To: "7001"},
		"DirectedPickupCall": {Active: uacsta.ConnectionID{CallID: "-3"}, To: "7001"},
		"TransferCall":       {Held: uacsta.Conn("-3", "7001"), Active: uacsta.Conn("-4", "7002")},
	} {
		if m := o.send(connections.Request(t, service, n)); m.Err() == nil || m.Err().Value != uacsta.InvalidConnectionID {
			t.Errorf("%s: %s", service, m)
		}
	}
	// it refuses in its own words
	go func() { done <- o.ask(call("7001", "7002")) }()
	phone.cstaAnswer(phone.cstaRequest("MakeCall"), "CSTAErrorCode", "<stateIncompatibility>connectedCallExists</stateIncompatibility>")
	if m := <-done; m.Err() == nil || m.Err().Value != "connectedCallExists" {
		t.Errorf("%s", m)
	}
	// it restarts
	go func() { done <- o.ask(uacsta.SnapshotDevice{SnapshotObject: uacsta.Dev("7001")}) }()
	phone.answer(phone.cstaRequest("SnapshotDevice"), 481, nil, "")
	if m := <-done; m.Err() == nil || m.Err().Value != "resourceOutOfService" {
		t.Errorf("%s", m)
	}
	o.until("7001", "OutOfService")
	invite = phone.cstaRequest("RequestSystemStatus")
	phone.cstaAnswer(invite, "RequestSystemStatusResponse", "<systemStatus>normal</systemStatus>")
	phone.expect("ACK")
	phone.cstaAnswer(phone.cstaRequest("GetCSTAFeatures"), "CSTAErrorCode", "<operation>serviceNotSupported</operation>")
	phone.cstaAnswer(phone.cstaRequest("MonitorStart"), "MonitorStartResponse", "<monitorCrossRefID>1</monitorCrossRefID>")
	o.until("7001", "BackInService")
	tell(phone.answered(invite, "csta"), "1", "DeliveredEvent", delivered)
	o.until("7001", "Delivered")
	r.stop()
}

// Another tr87proxy, in a process of its own, is the telephone: our client side and our server
// side agree on what a telephone is. When the telephone's process is killed and started again,
// its monitor stands once more.
func TestTelephoneInAnotherProcess(t *testing.T) {
	t.Parallel()
	back := serve(t, everybody)
	r := serve(t, fmt.Sprintf(`links:
- name: desk
  type: phones
  listen: [{transport: udp, address: "127.0.0.1:0"}]
  accounts: [{number: "1000", contact: "sip:1000@127.0.0.1:%d;transport=tcp"}]
  devices: ["1000"]
numbers: {main: "+1425555"}
%s`, back.port, everybody))
	waitFor(t, "the session with the telephone", func() bool { return strings.Contains(r.out.String(), "uaCSTA session open") })
	o := &overseer{xmlClient: r.xml(), refs: map[string]string{}}
	o.refs[o.monitor("1000")] = "1000"
	made := o.ask(call("1000", "2000")) // 2000 of the telephone's own switch answers by itself
	id := made.Text("callingDevice/callID")
	if id == "" || made.Text("callingDevice/deviceID") != "1000" {
		t.Fatalf("%s", made)
	}
	if m := o.until("1000", "Established"); m.Text("establishedConnection/callID") != id || m.Text("answeringDevice/deviceIdentifier") != "2000" {
		t.Errorf("%s", m)
	}
	o.must(uacsta.HoldCall{CallToBeHeld: uacsta.Conn(id, "1000")})
	o.until("1000", "Held")
	o.must(uacsta.ClearConnection{ConnectionToBeCleared: uacsta.Conn(id, "1000")})
	o.until("1000", "ConnectionCleared")
	_ = back.cmd.Process.Kill()
	_ = back.wait(patience)
	waitFor(t, "the loss", func() bool {
		m := o.ask(uacsta.SnapshotDevice{SnapshotObject: uacsta.Dev("1000")})
		return m.Err() != nil && m.Err().Value == "resourceOutOfService"
	})
	again := back.again()
	o.until("1000", "BackInService")
	o.must(call("1000", "2000"))
	o.until("1000", "Established")
	r.stop()
	again.stop()
}

// OpenStage: each request is a NOTIFY outside a dialog, both ways; events of features go to the
// telephone.
func TestOpenStage(t *testing.T) {
	t.Parallel()
	x, list := handsets(t, "", "uacsta: monitored\n", "100")
	phone := newHandset(t, "udp", x.sip, "102", "secret102")
	if m := phone.register(600, "User-Agent: OpenStage_60_V3 R5"); m.code() != 200 {
		t.Fatal(m.start)
	}
	o, other := x.watch("102"), x.xml()
	cstaNotify := func(name string) *sipText {
		t.Helper()
		for {
			m := phone.expect("NOTIFY")
			if strings.Contains(m.body, "<"+name) && m.header("Event") == "uaCSTA" && m.header("Content-Type") == "application/csta+xml" && m.tag("To") == "" {
				return m
			}
			phone.answer(m, 200, nil, "")
		}
	}
	done := make(chan *uacsta.Message, 1)
	waitFor(t, "the conversation", func() bool {
		go func() {
			done <- other.ask(uacsta.SetMicrophoneMute{Device: uacsta.Dev("102"), AuditoryApparatus: "1", MicrophoneMuteOn: true})
		}()
		for {
			select {
			case m := <-done:
				return m.Name() == "SetMicrophoneMuteResponse"
			case m := <-phone.inbox: // this request, or what is set now
				phone.answer(m, 200, nil, "")
			}
		}
	})
	// an answer with content, and a call
	go func() { done <- other.ask(uacsta.GetMicrophoneMute{Device: uacsta.Dev("102")}) }()
	phone.cstaAnswer(cstaNotify("GetMicrophoneMute"), "CSTAErrorCode", "<operation>generic</operation>")
	if m := <-done; m.Err() == nil || m.Err().Value != "generic" {
		t.Errorf("%s", m)
	}
	d := list[0].dialog("102")
	calling := d.challenged([]string{sdpHeader}, description(5900, "sendrecv"))
	ringing := phone.expect("INVITE")
	phone.reply(ringing, 180, "p", "")
	id := o.until("102", "Delivered").Text("connection/callID")
	o.must(uacsta.AnswerCall{CallToBeAnswered: uacsta.Conn(id, "102")})
	phone.answer(cstaNotify("AnswerCall"), 200, nil, "")
	phone.accept(ringing, "p", 5902)
	o.until("102", "Established")
	ok := calling.final()
	d.follow(ok)
	d.ack(ok)
	// the telephone asks, and sets
	send := func(body string) *sipText {
		return phone.dialog("102").ask("NOTIFY", []string{cstaHeader, "Event: uaCSTA", "Subscription-State: active"}, body)
	}
	const space = ` xmlns="http://www.ecma-international.org/standards/ecma-323/csta/ed3"`
	if m := send("<GetDoNotDisturb" + space + "><device>anything</device></GetDoNotDisturb>"); m.code() != 200 || !strings.Contains(m.body, "<doNotDisturbOn>false</doNotDisturbOn>") {
		t.Errorf("%s %s", m.start, m.body)
	}
	if m := send("<SetDoNotDisturb" + space + "><device>101</device><doNotDisturbOn>true</doNotDisturbOn></SetDoNotDisturb>"); m.code() != 200 || !strings.Contains(m.body, "SetDoNotDisturbResponse") {
		t.Errorf("%s %s", m.start, m.body)
	}
	if m := o.until("102", "DoNotDisturb"); m.Text("doNotDisturbOn") != "true" {
		t.Errorf("%s", m)
	}
	told := cstaNotify("DoNotDisturbEvent")
	if !strings.Contains(told.body, "<doNotDisturbOn>true</doNotDisturbOn>") {
		t.Errorf("%s", told.body)
	}
	phone.answer(told, 200, nil, "")
	if m := send("<MakeCall" + space + "/>"); m.code() != 200 || !strings.Contains(m.body, "serviceNotSupported") {
		t.Errorf("%s %s", m.start, m.body)
	}
	if m := send("nonsense"); m.code() != 400 {
		t.Errorf("%s", m.start)
	}
	stranger := newHandset(t, "udp", x.sip, "102", "guess")
	if m := stranger.dialog("102").ask("NOTIFY", []string{cstaHeader, "Event: uaCSTA"}, "<SetDoNotDisturb"+space+"/>"); m.code() != 401 {
		t.Errorf("%s", m.start)
	}
	d.ask("BYE", nil, "")
	x.stop()
}

// sippDesk is a desk phone by sipp, which does not register: a session, a call, and the loss of
// the session by 481.
const sippDesk = `<?xml version="1.0" encoding="ISO-8859-1"?>
<scenario name="desk phone">
<recv request="INVITE"/>
` + "%s" + `
<recv request="ACK"/>
<recv request="INFO"/>
` + "%s" + `
<recv request="INFO"/>
` + "%s" + `
<recv request="INFO"/>
<send><![CDATA[
SIP/2.0 481 Call/Transaction Does Not Exist
[last_Via:]
[last_From:]
[last_To:]
[last_Call-ID:]
[last_CSeq:]
Content-Length: 0

]]></send>
</scenario>
`

// sippSays is a 200 with a document; the first in a dialog gives it a tag.
func sippSays(first bool, document string) string {
	tag := ""
	if first {
		tag = ";tag=[pid]x[call_number]"
	}
	return fmt.Sprintf(`<send><![CDATA[
SIP/2.0 200 OK
[last_Via:]
[last_From:]
[last_To:]%s
[last_Call-ID:]
[last_CSeq:]
Contact: <sip:7001@[local_ip]:[local_port]>
Content-Type: application/csta+xml
Content-Length: [len]

%s
]]></send>`, tag, document)
}

func TestSippDeskPhone(t *testing.T) {
	t.Parallel()
	long(t)
	port := freePort(t)
	space := ` xmlns="http://www.ecma-international.org/standards/ecma-323/csta/ed3"`
	scenario := fmt.Sprintf(sippDesk,
		sippSays(true, "<RequestSystemStatusResponse"+space+"><systemStatus>normal</systemStatus></RequestSystemStatusResponse>"),
		sippSays(false, "<CSTAErrorCode"+space+"><operation>serviceNotSupported</operation></CSTAErrorCode>"),
		sippSays(false, "<MakeCallResponse"+space+"><callingDevice><callID>2</callID><deviceID>sip:7001@127.0.0.1</deviceID></callingDevice></MakeCallResponse>"))
	file := filepath.Join(t.TempDir(), "desk.xml")
	if err := os.WriteFile(file, []byte(scenario), 0o600); err != nil {
		t.Fatal(err)
	}
	p := start(t, tool(t, "sipp"), "-sf", file, "-i", "127.0.0.1", "-p", fmt.Sprint(port), "-m", "1", "-nostdin", "-trace_err", "-error_file", filepath.Join(filepath.Dir(file), "errors"))
	r := serve(t, fmt.Sprintf(`links:
- name: desk
  type: phones
  listen: [{transport: udp, address: "127.0.0.1:0"}]
  accounts: [{number: "7001", contact: "sip:7001@127.0.0.1:%d;transport=udp"}, {number: "7002", password: x}]
%s`, port, everybody))
	waitFor(t, "the session", func() bool { return strings.Contains(r.out.String(), "uaCSTA session open") })
	o := r.xml()
	var m *uacsta.Message
	waitFor(t, "the call", func() bool { m = o.ask(call("7001", "7002")); return m.Err() == nil })
	if m.Text("callingDevice/deviceID") != "7001" {
		t.Errorf("%s", m)
	}
	if m := o.ask(uacsta.ClearConnection{ConnectionToBeCleared: uacsta.Conn(m.Text("callingDevice/callID"), "7001")}); m.Err() == nil || m.Err().Value != "resourceOutOfService" {
		t.Errorf("after 481: %s", m)
	}
	if err := p.wait(patience); err != nil {
		t.Error(err)
	}
	r.stop()
}
