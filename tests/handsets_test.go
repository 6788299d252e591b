package tests

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/tr87proxy/tr87proxy/uacsta"
)

// handsets starts a switch with handsets as telephones.
func handsets(t *testing.T, more, telephones string, numbers ...string) (*exchange, []*handset) {
	t.Helper()
	x := serveTelephones(t, more, telephones)
	var list []*handset
	for _, number := range numbers {
		h := newHandset(t, "udp", x.sip, number, "secret"+number)
		if m := h.register(600, "Allow-Events: talk, hold"); m.code() != 200 {
			t.Fatal(m.start)
		}
		list = append(list, h)
	}
	return x, list
}

// accept answers an INVITE with 200 and takes the ACK.
func (h *handset) accept(invite *sipText, tag string, port int) *sipDialog {
	h.t.Helper()
	h.reply(invite, 200, tag, description(port, "sendrecv"))
	h.expect("ACK")
	return h.answered(invite, tag)
}

// between makes a call from one handset to another.
func between(a, b *handset, ports int) (from, to *sipDialog) {
	a.t.Helper()
	from = a.dialog(b.number)
	calling := from.challenged([]string{sdpHeader}, description(ports, "sendrecv"))
	invite := b.expect("INVITE")
	b.reply(invite, 180, "t"+b.number, "")
	b.reply(invite, 200, "t"+b.number, description(ports+2, "sendrecv"))
	b.expect("ACK")
	m := calling.final()
	if m.code() != 200 || !strings.Contains(m.body, "m=audio") {
		a.t.Fatalf("%s\n%s", m.start, m.body)
	}
	from.follow(m)
	from.ack(m)
	return from, b.answered(invite, "t"+b.number)
}

// AnswerCall reaches telephones that obey NOTIFY talk; of others it is refused. MakeCall
// asks the caller's telephone to answer by itself, and calls when it has.
func TestTalk(t *testing.T) {
	t.Parallel()
	x, list := handsets(t, "", "", "100", "101")
	a, b := list[0], list[1]
	o := x.watch("100", "101")
	res := o.must(call("100", "101"))
	id := res.Text("callingDevice/callID")
	invite := a.expect("INVITE")
	if info := invite.header("Call-Info"); !strings.HasSuffix(info, ";answer-after=0") || !strings.Contains(invite.header("Alert-Info"), "alert-autoanswer") {
		t.Errorf("%v", invite.headers)
	}
	if m := o.until("100", "ServiceInitiated"); m.Text("initiatedConnection/callID") != id {
		t.Errorf("%s", m)
	}
	a.accept(invite, "a", 5000)
	ringing := b.expect("INVITE")
	if ringing.header("Call-Info") != "" || !strings.Contains(ringing.header("From"), "sip:100@") {
		t.Errorf("%v", ringing.headers)
	}
	b.reply(ringing, 180, "b", "", "Allow-Events: talk")
	o.until("101", "Delivered")
	o.must(uacsta.AnswerCall{CallToBeAnswered: uacsta.Conn(id, "101")})
	if m := b.expect("NOTIFY"); m.header("Event") != "talk" || m.tag("To") != "b" {
		t.Errorf("%v", m.headers)
	} else {
		b.answer(m, 200, nil, "")
	}
	b.accept(ringing, "b", 5002)
	o.until("101", "Established")
	o.must(uacsta.ClearConnection{ConnectionToBeCleared: uacsta.Conn(id, "101")})
	for _, h := range list {
		h.answer(h.expect("BYE"), 200, nil, "")
	}
	// a telephone that does not say so
	if m := b.register(600); m.code() != 200 {
		t.Fatal(m.start)
	}
	d := a.dialog("101")
	calling := d.challenged([]string{sdpHeader}, description(5000, "sendrecv"))
	ringing = b.expect("INVITE")
	b.reply(ringing, 180, "b2", "")
	id = o.until("101", "Delivered").Text("connection/callID")
	if res := o.ask(uacsta.AnswerCall{CallToBeAnswered: uacsta.Conn(id, "101")}); res.Err() == nil || res.Err().Value != "requestIncompatibleWithDevice" {
		t.Errorf("%s", res)
	}
	a.write(strings.Replace(strings.Replace(calling.text, "INVITE ", "CANCEL ", 1), " INVITE\r\n", " CANCEL\r\n", 1)) // with a body, which nobody reads
	cancel := b.expect("CANCEL")
	if reason := cancel.header("Reason"); reason != "" { // it was missed
		t.Error(reason)
	}
	b.answer(cancel, 200, nil, "")
	b.reply(ringing, 487, "b2", "")
	o.until("101", "ConnectionCleared")
	x.stop()
}

// The messages that real telephones rarely send: a redirection, keys by INFO, an offer
// that comes late, a provisional answer that must be acknowledged, both sides changing the
// voice at once, a refused offer.
func TestUnusualMessages(t *testing.T) {
	t.Parallel()
	x, list := handsets(t, "", "", "100", "101", "102")
	a, b, c := list[0], list[1], list[2]
	o := x.watch("100", "101", "102")
	// 302
	d := a.dialog("101")
	calling := d.challenged([]string{sdpHeader}, description(5100, "sendrecv"))
	invite := b.expect("INVITE")
	b.answer(invite, 302, []string{"To: " + invite.header("To") + ";tag=b", "Contact: <sip:102@elsewhere>"}, "")
	if m := o.until("101", "Diverted"); m.Text("newDestination/deviceIdentifier") != "102" {
		t.Errorf("%s", m)
	}
	c.accept(c.expect("INVITE"), "c", 5102)
	m := calling.final()
	d.follow(m)
	d.ack(m)
	o.until("102", "Established")
	// INFO
	for body, kind := range map[string]string{"Signal=5\r\nDuration=160\r\n": "application/dtmf-relay", "5": "application/dtmf"} {
		if m := d.ask("INFO", []string{"Content-Type: " + kind}, body); m.code() != 200 {
			t.Errorf("%s: %s", kind, m.start)
		}
		if m := o.until("102", "DtmfDetected"); m.Text("dtmfChar") != "5" {
			t.Errorf("%s", m)
		}
	}
	if m := d.ask("INFO", []string{"Content-Type: application/dtmf"}, "x"); m.code() != 400 {
		t.Errorf("a key that there is not: %s", m.start)
	}
	if m := d.ask("INFO", []string{"Content-Type: text/plain"}, "x"); m.code() != 415 {
		t.Errorf("something else: %s", m.start)
	}
	// a re-INVITE that is refused leaves the call as it was
	if m := d.ask("INVITE", []string{sdpHeader}, strings.Replace(description(5100, "sendrecv"), "AVP 8 101", "AVP 18", 1)); m.code() != 488 {
		t.Errorf("G.729: %s", m.start)
	} else {
		d.ack(m)
	}
	// hold as an UPDATE
	if m := d.ask("UPDATE", []string{sdpHeader}, description(5100, "sendonly")); m.code() != 200 || !strings.Contains(m.body, "a=recvonly") {
		t.Errorf("%s\n%s", m.start, m.body)
	}
	o.until("102", "Held")
	held := o.calls("100")[0]
	// a CSTA client and the user take it back at the same time: ours is answered with 491
	o.must(uacsta.RetrieveCall{CallToBeRetrieved: held})
	o.until("102", "Retrieved")
	ours := a.expect("INVITE")
	if m := d.ask("INVITE", []string{sdpHeader}, description(5100, "sendrecv")); m.code() != 491 {
		t.Errorf("both at once: %s", m.start)
	} else {
		d.ack(m)
	}
	a.answer(ours, 491, nil, "")
	a.expect("ACK")
	again := a.expect("INVITE") // after a while
	a.answer(again, 200, []string{sdpHeader}, description(5100, "sendrecv"))
	a.expect("ACK")
	d.ask("BYE", nil, "")
	c.answer(c.expect("BYE"), 200, nil, "")
	// an INVITE without an offer: ours is in the 200, the answer in the ACK
	late := a.dialog("101")
	calling = late.challenged([]string{"Require: 100rel"}, "")
	invite = b.expect("INVITE")
	b.reply(invite, 180, "b3", "", "Require: 100rel", "RSeq: 7")
	if prack := b.expect("PRACK"); prack.header("RAck") != "7 "+invite.header("CSeq") || prack.tag("To") != "b3" {
		t.Errorf("%v", prack.headers)
	} else {
		b.answer(prack, 200, nil, "")
	}
	for {
		m = calling.next()
		if m.code() == 180 && m.header("RSeq") != "" {
			break
		}
		if m.code() >= 200 {
			t.Fatalf("%s %v", m.start, m.headers)
		}
	}
	if repeated := calling.next(); repeated.code() != 180 || repeated.header("RSeq") != m.header("RSeq") {
		t.Errorf("it is not repeated: %s", repeated.start)
	}
	late.follow(m)
	if m := late.ask("PRACK", []string{"RAck: 999 1 INVITE"}, ""); m.code() != 481 {
		t.Errorf("a PRACK of nothing: %s", m.start)
	}
	number := strings.Fields(m.header("CSeq"))[0]
	if m := late.ask("PRACK", []string{"RAck: " + m.header("RSeq") + " " + number + " INVITE"}, ""); m.code() != 200 {
		t.Errorf("PRACK: %s", m.start)
	}
	b.accept(invite, "b3", 5104)
	m = calling.final()
	if m.code() != 200 || !strings.Contains(m.body, "a=sendrecv") {
		t.Fatalf("%s\n%s", m.start, m.body)
	}
	late.number = 2 // that of the INVITE
	late.ack(m, description(5106, "sendrecv"))
	late.number = 10
	o.until("101", "Established")
	late.ask("BYE", nil, "")
	b.answer(b.expect("BYE"), 200, nil, "")
	x.stop()
}

// The user holds, calls a third party, and leaves both to each other: REFER with Replaces.
func TestAttendedTransfer(t *testing.T) {
	t.Parallel()
	x, list := handsets(t, "", "", "100", "101", "102")
	a, b, c := list[0], list[1], list[2]
	o := x.watch("100", "101", "102")
	first, _ := between(a, b, 5200)
	if m := first.ask("INVITE", []string{sdpHeader}, description(5200, "sendonly")); m.code() != 200 {
		t.Fatal(m.start)
	} else {
		first.ack(m)
	}
	o.until("101", "Held")
	second, _ := between(a, c, 5210)
	o.until("102", "Established")
	if m := first.ask("REFER", []string{"Refer-To: <sip:102@" + a.server + "?Replaces=nonsense%3Bto-tag%3D1%3Bfrom-tag%3D2>"}, ""); m.code() != 202 {
		t.Errorf("%s", m.start)
	}
	for {
		m := a.notified("refer")
		if strings.Contains(m.body, "481") {
			break
		}
	}
	remote := tagParameter.FindStringSubmatch(second.remote)[1]
	local := tagParameter.FindStringSubmatch(second.local)[1]
	if m := first.ask("REFER", []string{fmt.Sprintf("Refer-To: <sip:102@%s?Replaces=%s%%3Bto-tag%%3D%s%%3Bfrom-tag%%3D%s>", a.server, second.callID, remote, local)}, ""); m.code() != 202 {
		t.Errorf("%s", m.start)
	}
	for {
		m := a.notified("refer")
		if strings.Contains(m.body, "200") && strings.HasPrefix(m.header("Subscription-State"), "terminated") {
			break
		}
	}
	if m := o.until("101", "Transfered"); m.Text("transferredToDevice/deviceIdentifier") != "102" {
		t.Errorf("%s", m)
	}
	for range 2 - a.passed["BYE"] { // both of its calls
		a.answer(a.expect("BYE"), 200, nil, "")
	}
	if calls := o.calls("100"); len(calls) != 0 {
		t.Errorf("%v", calls)
	}
	if calls := o.calls("101"); len(calls) != 1 {
		t.Errorf("%v", calls)
	}
	x.stop()
}

// Every contact of an extension rings, and the first to answer has the call; the others are
// told so.
func TestSeveralTelephones(t *testing.T) {
	t.Parallel()
	x, list := handsets(t, "", "voice: 3s\n", "100", "101")
	a, b := list[0], list[1]
	more := newHandset(t, "tcp", x.sip, "101", "secret101")
	more.register(600)
	o := x.watch("101")
	d := a.dialog("101")
	calling := d.challenged([]string{sdpHeader}, description(5300, "sendrecv"))
	one, two := b.expect("INVITE"), more.expect("INVITE")
	b.reply(one, 180, "b", "")
	more.reply(two, 180, "m", "")
	more.accept(two, "m", 5302)
	cancel := b.expect("CANCEL")
	if !strings.HasPrefix(cancel.header("Reason"), "SIP;cause=200") {
		t.Errorf("%v", cancel.headers)
	}
	b.answer(cancel, 200, nil, "")
	b.reply(one, 487, "b", "")
	o.until("101", "Established")
	m := calling.final()
	d.follow(m)
	d.ack(m)
	more.close() // its connection breaks, and with it the registration; the call is over when nothing is heard
	o.until("101", "ConnectionCleared")
	a.answer(a.expect("BYE"), 200, nil, "")
	x.stop()
}

// A telephone that answers no more is out of service, and is back when it does; keys go by
// INFO to one that knows no telephone events; a CSTA client transfers at once.
func TestHalfATelephone(t *testing.T) {
	t.Parallel()
	// 103 has no uaCSTA, whose INVITE could be taken for that of the call
	x, list := handsets(t, "", "  qualify: 1s\n", "100", "101", "103")
	a, b, c := list[0], list[1], list[2]
	o := x.watch("100", "101", "103")
	from, _ := between(a, b, 5600)
	id := o.until("101", "Established").Text("establishedConnection/callID")
	plain := strings.Replace(description(5600, "sendrecv"), " 101\r\na=rtpmap:101 telephone-event/8000", "", 1)
	if m := from.ask("INVITE", []string{sdpHeader}, plain); m.code() != 200 {
		t.Fatal(m.start)
	} else {
		from.ack(m)
	}
	o.must(uacsta.GenerateDigits{ConnectionToSendDigits: uacsta.Conn(id, "101"), CharactersToSend: "4#"})
	for _, want := range []string{"Signal=4\r\n", "Signal=#\r\n"} {
		m := a.expect("INFO")
		if !strings.HasPrefix(m.body, want) || m.header("Content-Type") != "application/dtmf-relay" {
			t.Errorf("%v %q", m.headers, m.body)
		}
		a.answer(m, 200, nil, "")
	}
	// one that presses keys without end does not drown those who watch
	pressed, began := 0, time.Now()
	waitFor(t, "the complaint", func() bool {
		var keys []*asking
		for range 200 {
			keys = append(keys, from.begin("INFO", []string{"Content-Type: application/dtmf"}, "1"))
		}
		for _, key := range keys {
			key.final()
		}
		pressed += len(keys)
		return strings.Contains(x.out.String(), "faster than anybody presses them")
	})
	from.ask("UPDATE", []string{sdpHeader}, strings.Replace(plain, "sendrecv", "sendonly", 1))
	most := 2 * 40 * (2 + int(time.Since(began)/time.Second)) // at two monitors, 40 in a second
	keys := 0
	for m := o.hear(); m.Name() != "HeldEvent"; m = o.hear() {
		if m.Name() == "DtmfDetectedEvent" {
			keys++
		}
	}
	if keys < 40 || keys > most || keys == 2*pressed {
		t.Errorf("%d events of %d keys, at most %d are right", keys, pressed, most)
	}
	from.ask("UPDATE", []string{sdpHeader}, plain)
	o.until("101", "Retrieved")
	o.must(uacsta.SingleStepTransferCall{ActiveCall: uacsta.Conn(id, "101"), TransferredTo: uacsta.Dev("103")})
	b.answer(b.expect("BYE"), 200, nil, "")
	c.accept(c.expect("INVITE"), "c", 5606)
	o.until("103", "Established")
	b.mute.Store(true)
	o.until("101", "OutOfService")
	b.mute.Store(false)
	o.until("101", "BackInService")
	x.stop()
}

// Voice is encrypted where the telephone offers it over TLS; over UDP its keys are refused.
func TestSecureVoice(t *testing.T) {
	t.Parallel()
	x, list := handsets(t, "", "", "100")
	key := "inline:" + strings.Repeat("QUJD", 10)
	offer := strings.Replace(description(5400, "sendrecv"), "RTP/AVP", "RTP/SAVP", 1) + "a=crypto:1 AES_CM_128_HMAC_SHA1_80 " + key + "\r\n"
	d := list[0].dialog("1000")
	if m := d.challenged([]string{sdpHeader}, offer).final(); m.code() != 488 {
		t.Errorf("keys over UDP: %s", m.start)
	} else {
		d.ack(m)
	}
	h := newHandset(t, "tls", x.sipTLS, "101", "secret101")
	h.register(600)
	d = h.dialog("2000") // answers by itself
	m := d.challenged([]string{sdpHeader}, offer).final()
	if m.code() != 200 || !strings.Contains(m.body, "RTP/SAVP 8") || !regexp.MustCompile(`a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:[A-Za-z0-9+/]{40}\r\n`).MatchString(m.body) {
		t.Fatalf("%s\n%s", m.start, m.body)
	}
	d.follow(m)
	d.ack(m)
	d.ask("BYE", nil, "")
	x.stop()
}

// Calls go out over a trunk and come in, by who has the right to; the peer is known by its
// address.
func TestTrunk(t *testing.T) {
	t.Parallel()
	port := freePort(t)
	x := serveTelephones(t, fmt.Sprintf(`  trunks:
  - {number: "900", prefixes: ["0"], inward: [{number: "5550100", to: "100"}], sip: {uri: "sip:127.0.0.1:%d;transport=udp", user: acme, password: isp, register: true}}
`, port), "")
	isp := listenHandset(t, port, x.sip, "acme", "isp")
	register := isp.expect("REGISTER")
	isp.answer(register, 401, []string{"To: " + register.header("To") + ";tag=x", `WWW-Authenticate: Digest realm="isp", nonce="abc", algorithm=MD5, qop="auth"`}, "")
	register = isp.expect("REGISTER")
	if !strings.Contains(register.header("Authorization"), `username="acme"`) || !strings.Contains(register.header("To"), "acme@127.0.0.1") {
		t.Errorf("%v", register.headers)
	}
	o := x.watch("100", "900")
	isp.answer(register, 200, []string{"To: " + register.header("To") + ";tag=x"}, "")
	o.until("900", "BackInService")
	h := newHandset(t, "udp", x.sip, "100", "secret100")
	h.register(600)
	d := h.dialog("0301234")
	calling := d.challenged([]string{sdpHeader}, description(5500, "sendrecv"))
	out := isp.expect("INVITE")
	if !strings.HasPrefix(out.start, "INVITE sip:0301234@127.0.0.1") || !strings.Contains(out.header("P-Asserted-Identity"), "sip:5550100@") {
		t.Errorf("%s %v", out.start, out.headers)
	}
	isp.reply(out, 183, "isp", description(5502, "sendrecv"))
	for {
		m := calling.next()
		if m.code() == 183 {
			if !strings.Contains(m.body, "m=audio") {
				t.Errorf("early media: %s", m.body)
			}
			break
		}
	}
	isp.accept(out, "isp", 5502)
	m := calling.final()
	d.follow(m)
	d.ack(m)
	if m := o.until("100", "Established"); m.Text("answeringDevice/deviceIdentifier") != "0301234" {
		t.Errorf("%s", m)
	}
	d.ask("BYE", nil, "")
	isp.answer(isp.expect("BYE"), 200, nil, "")
	// in
	in := isp.dialog("5550100")
	in.local = "<sip:0309876@127.0.0.1>;tag=in"
	calling = in.begin("INVITE", []string{sdpHeader}, description(5504, "sendrecv"))
	ringing := h.expect("INVITE")
	if !strings.Contains(ringing.header("From"), "sip:0309876@") {
		t.Errorf("%v", ringing.headers)
	}
	h.answer(ringing, 486, []string{"To: " + ringing.header("To") + ";tag=h"}, "")
	if m := calling.final(); m.code() != 486 {
		t.Errorf("%s", m.start)
	} else {
		in.ack(m)
	}
	in = isp.dialog("4711")
	if m := in.begin("INVITE", []string{sdpHeader}, description(5504, "sendrecv")).final(); m.code() != 404 {
		t.Errorf("a number that is not ours: %s", m.start)
	}
	for _, number := range []string{"101", "100", "0301234", "900"} { // ours, and known, but not listed
		in = isp.dialog(number)
		if m := in.begin("INVITE", []string{sdpHeader}, description(5504, "sendrecv")).final(); m.code() != 404 {
			t.Errorf("%s, which inward does not list: %s", number, m.start)
		}
	}
	if res := o.ask(uacsta.MakeCall{CallingDevice: uacsta.Dev("900"), CalledDirectoryNumber: uacsta.Dev("100")}); !strings.Contains(res.String(), uacsta.RequestIncompatibleWithCallingDevice) {
		t.Errorf("MakeCall from a real trunk: %s", res)
	}
	// who has no right to
	barred := newHandset(t, "udp", x.sip, "103", "secret103")
	barred.register(600)
	d = barred.dialog("0301234")
	if m := d.challenged([]string{sdpHeader}, description(5506, "sendrecv")).final(); m.code() != 403 {
		t.Errorf("without the right to: %s", m.start)
	} else {
		d.ack(m)
	}
	select {
	case m := <-isp.inbox:
		if m.method() == "INVITE" {
			t.Error("a call went out without right")
		}
	default:
	}
	x.stop()
}

// listenHandset returns a telephone that waits for requests.
func listenHandset(t *testing.T, port, server int, number, password string) *handset {
	t.Helper()
	local, remote := &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: port}, &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: server}
	conn, err := net.DialUDP("udp", local, remote)
	if err != nil {
		t.Fatal(err)
	}
	h := &handset{
		t: t, conn: conn, transport: "udp", number: number, password: password, server: remote.String(),
		contact: fmt.Sprintf("sip:%s@%s", number, local),
	}
	h.begins()
	return h
}

// Telephones that know no NOTIFY talk are made to answer by what their makers have: those of
// the table, and of a file of the administrator's.
func TestMakersCommands(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "models.yaml")
	own := `models: [{name: Acme, agent: "^Acme", answer: {event: acme, type: text/plain, body: "lift {call-id}"}}]`
	if err := os.WriteFile(file, []byte(own), 0o600); err != nil {
		t.Fatal(err)
	}
	x, list := handsets(t, "", "  models: "+file+"\n", "100")
	a := list[0]
	o := x.watch("101")
	for agent, want := range map[string][3]string{
		"Yealink SIP-T53W 96.86.0.70": {"ACTION-URI", "message/sipfrag", "key=OK"}, "Acme 9": {"acme", "text/plain", "lift "},
		"PolyEdge-E450/8.3.1": {"ACTION-URI", "application/JSON", `"Ref":"`}, "snomD785/10.1.82.9": {"xml", "application/snomxml", "ENTER"},
	} {
		b := newHandset(t, "udp", x.sip, "101", "secret101")
		if m := b.register(600, "User-Agent: "+agent); m.code() != 200 {
			t.Fatal(m.start)
		}
		d := a.dialog("101")
		calling := d.challenged([]string{sdpHeader}, description(5800, "sendrecv"))
		invite := b.expect("INVITE")
		b.reply(invite, 180, "b", "")
		id := o.until("101", "Delivered").Text("connection/callID")
		o.must(uacsta.AnswerCall{CallToBeAnswered: uacsta.Conn(id, "101")})
		m := b.expect("NOTIFY")
		if m.header("Event") != want[0] || m.header("Content-Type") != want[1] || !strings.Contains(m.body, want[2]) {
			t.Errorf("%s: %v %s", agent, m.headers, m.body)
		}
		if strings.Contains(m.body, "{") && !strings.Contains(m.body, invite.header("Call-ID")) && want[1] == "application/JSON" || m.tag("To") != "" {
			t.Errorf("%s: %v %s", agent, m.headers, m.body)
		}
		b.answer(m, 200, nil, "")
		b.accept(invite, "b", 5802)
		o.until("101", "Established")
		ok := calling.final()
		d.follow(ok)
		d.ack(ok)
		d.ask("BYE", nil, "")
		b.answer(b.expect("BYE"), 200, nil, "")
		o.until("101", "ConnectionCleared")
		b.registerAs("101", "Contact: *", "Expires: 0")
	}
	x.stop()
}
