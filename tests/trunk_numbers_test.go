package tests

import (
	"fmt"
	"strings"
	"testing"

	"github.com/tr87proxy/tr87proxy/uacsta"
)

// arrivals are calls of a carrier: what its INVITE says, and what a client and a telephone learn of it.
var arrivals = []struct {
	name    string
	user    string // in the Request-URI
	to      string
	headers []string
	device  string // that rings
	caller  string // at the client: in callingDevice
	shown   string // at the telephone: the user in From
	last    string // lastRedirectionDevice
}{
	{"the number in To", "acme", "5550101", nil, "101", "<deviceIdentifier>0309876<", "0309876", "<notRequired/>"},
	{"the number in P-Called-Party-ID", "acme", "acme", []string{"P-Called-Party-ID: <tel:555-0101>"}, "101", "<deviceIdentifier>0309876<", "0309876", "<notRequired/>"},
	{"an asserted caller", "5550100", "5550101", []string{"P-Asserted-Identity: <sip:4711@x>, <tel:+49-30-222>"}, "100", "<deviceIdentifier>+4930222<", "+4930222", "<notRequired/>"},
	{"Remote-Party-ID", "5550100", "5550100", []string{"Remote-Party-ID: <sip:030333@x>;party=calling;privacy=off"}, "100", "<deviceIdentifier>030333<", "030333", "<notRequired/>"},
	{"an extension's number", "5550100", "5550100", []string{"P-Asserted-Identity: <sip:101@x>"}, "100", "<deviceIdentifier>101<", "101", "<notRequired/>"},
	{"anonymous", "5550100", "5550100", []string{"P-Asserted-Identity: <sip:" + withheld + "@x>", "Privacy: id"}, "100", "<restricted/>", "anonymous", "<notRequired/>"},
	{"Remote-Party-ID, anonymous", "5550100", "5550100", []string{"Remote-Party-ID: <sip:" + withheld + "@x>;privacy=full"}, "100", "<restricted/>", "anonymous", "<notRequired/>"},
	{"contradictory", "5550100", "5550100", []string{"P-Asserted-Identity: <sip:030222@x>", "P-Asserted-Identity: <sip:030333@x>"}, "100", "<notKnown/>", "anonymous", "<notRequired/>"},
	{
		"diverted", "5550100", "5550100", []string{"Diversion: <sip:030444@x>;reason=user-busy", "Diversion: <sip:030445@x>;reason=unconditional"},
		"100", "<deviceIdentifier>0309876<", "0309876", "<numberDialed>030444<",
	},
	{
		"diverted, by History-Info", "5550100", "5550100", []string{"History-Info: <sip:030444@x>;index=1, <sip:5550100@x;cause=302>;index=1.1;mp=1"},
		"100", "<deviceIdentifier>0309876<", "0309876", "<numberDialed>030444<",
	},
	{
		"diverted by somebody anonymous", "5550100", "5550100", []string{"Diversion: <sip:" + withheld + "@x>;privacy=full"},
		"100", "<deviceIdentifier>0309876<", "0309876", "<notKnown/>",
	},
}

const withheld = "0307777777" // it reaches nobody

// What a carrier says of its calls reaches clients and telephones, and what callers withhold does not.
func TestNumbersOfArrivals(t *testing.T) {
	t.Parallel()
	port := freePort(t)
	x := serveTelephones(t, fmt.Sprintf(`  trunks:
  - {number: "900", prefixes: ["0"], inward: [{number: "5550100", to: "100"}, {number: "5550101", to: "101"}], sip: {uri: "sip:127.0.0.1:%d;transport=udp", user: acme}}
`, port), "")
	o := x.watch("100", "101", "900")
	isp := listenHandset(t, port, x.sip, "acme", "isp")
	o.until("900", "BackInService")
	telephones := map[string]*handset{}
	for _, number := range []string{"100", "101"} {
		telephones[number] = newHandset(t, "udp", x.sip, number, "secret"+number)
		telephones[number].register(600)
	}
	arrive := func(user, to string, headers ...string) (*sipDialog, *asking) {
		in := isp.dialog(user)
		in.local, in.remote = "<sip:0309876@127.0.0.1>;tag="+random(), "<sip:"+to+"@isp.example>"
		return in, in.begin("INVITE", append([]string{sdpHeader}, headers...), description(5504, "sendrecv"))
	}
	for _, tt := range arrivals {
		in, calling := arrive(tt.user, tt.to, tt.headers...)
		telephone := telephones[tt.device]
		ringing := telephone.expect("INVITE")
		if !strings.Contains(ringing.header("From"), "<sip:"+tt.shown+"@") || strings.Contains(strings.Join(ringing.headers, " "), withheld) {
			t.Errorf("%s: %v", tt.name, ringing.headers)
		}
		telephone.reply(ringing, 180, "h", "")
		m := o.until(tt.device, "Delivered")
		for _, want := range []string{
			"<callingDevice>" + tt.caller, "<lastRedirectionDevice>" + tt.last, "<associatedCallingDevice><deviceIdentifier>900<",
			"<calledDevice><deviceIdentifier>5550" + tt.device + "<",
		} {
			if text := m.String(); !strings.Contains(text, want) || strings.Contains(text, withheld) || strings.Contains(text, "callingDeviceName") {
				t.Errorf("%s: no %s in %s", tt.name, want, text)
			}
		}
		telephone.reply(ringing, 486, "h", "")
		final := calling.final()
		if final.code() != 486 {
			t.Errorf("%s: %s", tt.name, final.start)
		}
		in.ack(final)
	}
	in, calling := arrive("acme", "5550100", "P-Called-Party-ID: <sip:5550100@x>, <sip:5550101@x>")
	if m := calling.final(); m.code() != 400 {
		t.Errorf("two numbers were called: %s", m.start)
	} else {
		in.ack(m)
	}
	if log := x.out.String(); strings.Contains(log, withheld) {
		t.Errorf("the log has a number that was withheld: %s", log)
	}
	x.stop()
}

// Whoever calls from outside is the endpoint after a transfer, and the trunk its associated network interface.
func TestTransferOfArrival(t *testing.T) {
	t.Parallel()
	port := freePort(t)
	x := serveTelephones(t, fmt.Sprintf(`  trunks:
  - {number: "900", prefixes: ["0"], inward: [{number: "5550100", to: "100"}], sip: {uri: "sip:127.0.0.1:%d;transport=udp"}}
`, port), "")
	o := x.watch("100", "101", "900")
	isp := listenHandset(t, port, x.sip, "acme", "isp")
	o.until("900", "BackInService")
	a, b := newHandset(t, "udp", x.sip, "100", "secret100"), newHandset(t, "udp", x.sip, "101", "secret101")
	a.register(600)
	b.register(600)
	for _, tt := range []struct{ header, device, end string }{
		{"P-Asserted-Identity: <sip:030222@x>", "<deviceIdentifier>030222<", "<deviceID>030222</deviceID>"},
		{"P-Asserted-Identity: <sip:jane@x>", "<notKnown/>", "<notKnown/>"},
		{"Privacy: id", "<restricted/>", "<restricted/>"},
	} {
		in := isp.dialog("5550100")
		in.local = "<sip:jane@127.0.0.1>;tag=" + random()
		calling := in.begin("INVITE", []string{sdpHeader, tt.header}, description(5514, "sendrecv"))
		a.accept(a.expect("INVITE"), "a", 5516)
		m := calling.final()
		in.follow(m)
		in.ack(m)
		o.until("100", "Established")
		o.must(uacsta.SingleStepTransferCall{ActiveCall: o.calls("100")[0], TransferredTo: uacsta.Dev("101")})
		end := "<endpoint>" + tt.end + "</endpoint><associatedNID><deviceID>900</deviceID></associatedNID>"
		if text := o.until("100", "Transfered").String(); !strings.Contains(text, end) || !strings.Contains(text, "<endpoint><deviceID>101</deviceID></endpoint></connectionListItem>") {
			t.Errorf("%s: %s", tt.header, text)
		}
		ringing := b.expect("INVITE")
		b.reply(ringing, 180, "b", "")
		if m := o.until("101", "Delivered"); !strings.Contains(m.String(), "<callingDevice>"+tt.device) {
			t.Errorf("%s: %s", tt.header, m)
		}
		a.answer(a.expect("BYE"), 200, nil, "")
		in.ask("BYE", nil, "")
		b.answer(b.expect("CANCEL"), 200, nil, "")
		b.reply(ringing, 487, "b", "")
		o.until("101", "ConnectionCleared")
	}
	x.stop()
}

// What a carrier is shown of calls that go out, also of outside calls that are forwarded there.
func TestNumbersOfDepartures(t *testing.T) {
	t.Parallel()
	port, away := freePort(t), freePort(t)
	x := serveTelephones(t, fmt.Sprintf(`  trunks:
  - {number: "900", inward: [{number: "5550100", to: "100"}], sip: {uri: "sip:127.0.0.1:%d;transport=udp"}}
  - number: "901"
    prefixes: ["0"]
    inward: [{number: "+49305550100", to: "100"}, {number: "+49305550109", to: "100"}]
    sip: {uri: "sip:127.0.0.1:%d;transport=udp", user: acme, shows: [p-asserted-identity, remote-party-id, diversion], site-number: "+49305550"}
`, port, away), "trusted: [{address: 127.0.0.1}]\ngrants: [{who: \"*\", control: [\"*\"], dial: [\"0170123\"]}]\n")
	o := x.watch("100", "900", "901")
	in, out := listenHandset(t, port, x.sip, "acme", "isp"), listenHandset(t, away, x.sip, "acme", "isp")
	for in := 0; in < 2; { // in any order
		if o.hear().Name() == uacsta.NameBackInServiceEvent {
			in++
		}
	}
	telephones := map[string]*handset{}
	for _, number := range []string{"100", "101"} {
		telephones[number] = newHandset(t, "udp", x.sip, number, "secret"+number)
		telephones[number].register(600)
	}
	const site, anonymousFrom = "<sip:+49305550@127.0.0.1>", `"Anonymous" <sip:anonymous@anonymous.invalid>`
	sees := func(what string, want map[string]string) {
		t.Helper()
		m := out.expect("INVITE")
		for name, value := range want {
			if got := m.header(name); got != value && (value == "" || !strings.HasPrefix(got, value)) {
				t.Errorf("%s: %s is %q, want %q", what, name, got, value)
			}
		}
		if strings.Contains(strings.Join(m.headers, " ")+m.body, withheld) {
			t.Errorf("%s: a number that was withheld: %v", what, m.headers)
		}
		out.answer(m, 486, []string{"To: " + m.header("To") + ";tag=out"}, "")
	}
	for _, tt := range []struct {
		telephone, from string // "": its own
		headers         []string
		want            map[string]string
	}{
		{"100", "", []string{"P-Asserted-Identity: <sip:4711@x>", "Diversion: <sip:4711@x>"}, map[string]string{
			"From": `"Alice" ` + site, "P-Asserted-Identity": "<sip:+49305550100@127.0.0.1>", "Privacy": "", "Diversion": "",
			"Remote-Party-ID": "<sip:+49305550100@127.0.0.1>;party=calling;privacy=off",
		}},
		{"101", "", nil, map[string]string{"From": site, "P-Asserted-Identity": site, "Privacy": ""}},
		{"100", "", []string{"Privacy: id"}, map[string]string{"From": anonymousFrom, "P-Asserted-Identity": "<sip:+49305550100@127.0.0.1>", "Privacy": "id"}},
		{"100", anonymousFrom, nil, map[string]string{
			"From": anonymousFrom, "P-Asserted-Identity": "<sip:+49305550100@127.0.0.1>", "Privacy": "id",
			"Remote-Party-ID": "<sip:+49305550100@127.0.0.1>;party=calling;privacy=full",
		}},
	} {
		d := telephones[tt.telephone].dialog("0301234")
		if tt.from != "" {
			d.local = tt.from + ";tag=" + random()
		}
		calling := d.challenged(append([]string{sdpHeader}, tt.headers...), description(5520, "sendrecv"))
		sees(tt.telephone+tt.from, tt.want)
		d.ack(calling.final())
	}
	to := uacsta.Dev("0170123")
	o.must(uacsta.SetForwarding{Device: uacsta.Dev("100"), ForwardingType: uacsta.ForwardImmediate, ActivateForward: true, ForwardDN: &to})
	for _, tt := range []struct {
		peer   *handset // that the call comes from; it may go out to the same one
		called string
		header string
		want   map[string]string
	}{
		{in, "5550100", "P-Asserted-Identity: <sip:030222@x>", map[string]string{"From": site, "P-Asserted-Identity": "<sip:030222@127.0.0.1>", "Privacy": ""}},
		{in, "5550100", "P-Asserted-Identity: <sip:100@x>", map[string]string{"From": site, "P-Asserted-Identity": "<sip:100@127.0.0.1>", "Privacy": ""}},
		{out, "+49305550109", "P-Asserted-Identity: <tel:+49-30-222>", map[string]string{"From": site, "P-Asserted-Identity": "<sip:+4930222@127.0.0.1>", "Privacy": ""}},
		{out, "+49305550100", "Remote-Party-ID: <sip:" + withheld + "@x>;privacy=full", map[string]string{"From": anonymousFrom, "P-Asserted-Identity": site, "Privacy": "id"}},
		{in, "5550100", "Privacy: user;id", map[string]string{"From": anonymousFrom, "P-Asserted-Identity": site, "Privacy": "id"}},
	} {
		d := tt.peer.dialog(tt.called)
		d.local = "<sip:" + withheld + "@127.0.0.1>;tag=" + random()
		calling := d.begin("INVITE", []string{sdpHeader, tt.header}, description(5522, "sendrecv"))
		tt.want["Diversion"] = "<sip:+49305550100@127.0.0.1>;reason=unconditional"
		sees(tt.header, tt.want)
		d.ack(calling.final())
	}
	own := uacsta.Dev("100")
	o.must(uacsta.SetCallerIDStatus{Device: &own, CallerIDProvided: false})
	d := in.dialog("5550100")
	calling := d.begin("INVITE", []string{sdpHeader}, description(5522, "sendrecv"))
	sees("forwarded by somebody who withholds the number", map[string]string{"Privacy": "", "Diversion": "<sip:+49305550100@127.0.0.1>;reason=unconditional;privacy=full"})
	d.ack(calling.final())
	x.stop()
}
