package tests

import (
	"fmt"
	"net/url"
	"strings"
	"testing"

	"github.com/tr87proxy/tr87proxy/uacsta"
)

// replaces writes the header for a dialog of a handset, as the one who gets it sees it.
func (d *sipDialog) replaces(flags string) string {
	remote, local := tagParameter.FindStringSubmatch(d.remote), tagParameter.FindStringSubmatch(d.local)
	return fmt.Sprintf("Replaces: %s;to-tag=%s;from-tag=%s%s", d.callID, remote[1], local[1], flags)
}

// asksFor sends an INVITE with a header, and returns what is answered in the end.
func (h *handset) asksFor(number, header string, more ...string) (*sipDialog, *sipText) {
	h.t.Helper()
	d := h.dialog(number)
	m := d.begin("INVITE", append([]string{sdpHeader, header}, more...), description(6090, "sendrecv")).final()
	if m.code() == 401 {
		d.ack(m)
		credentials := h.credentials(m.header("WWW-Authenticate"), "INVITE", d.target)
		m = d.begin("INVITE", append([]string{sdpHeader, header, credentials}, more...), description(6090, "sendrecv")).final()
	}
	if m.code() == 200 {
		d.follow(m)
	}
	d.ack(m)
	return d, m
}

// INVITE with Replaces takes a call only where Call-ID and both tags fit, of one's own
// extension, or one that rings in one's pickup group (RFC 3891).
func TestReplaces(t *testing.T) {
	t.Parallel()
	x, list := handsets(t, "  pickup-groups: [{number: \"500\", members: [\"101\", \"102\"]}]\n", "", "100", "101", "102", "103")
	a, b, c, d := list[0], list[1], list[2], list[3]
	second := newHandset(t, "tcp", x.sip, "100", "secret100")
	o := x.watch("100", "101", "102")
	refused := func(h *handset, what, header string, want int, more ...string) {
		t.Helper()
		if _, m := h.asksFor("101", header, more...); m.code() != want {
			t.Errorf("%s: %s, want %d", what, m.start, want)
		}
	}
	// a call that rings
	calling := a.dialog("101")
	ringing := calling.challenged([]string{sdpHeader}, description(6000, "sendrecv"))
	invite := b.expect("INVITE")
	b.reply(invite, 180, "b", "")
	o.until("101", "Delivered")
	id, from := invite.header("Call-ID"), invite.tag("From")
	fit := fmt.Sprintf("Replaces: %s;to-tag=%s;from-tag=b", id, from)
	refused(c, "an unknown Call-ID", "Replaces: nosuch;to-tag=1;from-tag=2", 481)
	refused(c, "wrong tags", "Replaces: "+id+";to-tag=wrong;from-tag=wrong", 481)
	refused(c, "a wrong to-tag", "Replaces: "+id+";to-tag=wrong;from-tag=b", 481)
	refused(c, "a wrong from-tag", "Replaces: "+id+";to-tag="+from+";from-tag=wrong", 481)
	refused(c, "no tags", "Replaces: "+id, 400)
	refused(c, "one tag", "Replaces: "+id+";to-tag="+from, 400)
	refused(c, "a tag twice", fit+";to-tag="+from, 400)
	refused(c, "early-only with a value", fit+";early-only=1", 400)
	refused(c, "two", fit, 400, fit)
	refused(c, "two in one", fit+", "+id+";to-tag=1;from-tag=2", 400)
	refused(d, "one who shares no pickup group", fit, 403)
	if m := c.dialog("101").ask("OPTIONS", []string{fit}, ""); m.code() != 400 {
		t.Errorf("OPTIONS with Replaces: %s", m.start)
	}
	// the caller's own side of it, of which no dialog is begun here
	for {
		if m := ringing.next(); m.code() == 180 {
			calling.follow(m)
			break
		}
	}
	refused(second, "an early dialog that the telephone has begun", calling.replaces(""), 481)
	if got := len(o.calls("101")); got != 1 {
		t.Fatalf("%d calls at 101", got)
	}
	taking, m := c.asksFor("101", fit+";early-only")
	if m.code() != 200 {
		t.Fatalf("one who shares a pickup group: %s", m.start)
	}
	o.until("102", "Established")
	b.answer(b.expect("CANCEL"), 200, nil, "")
	b.reply(invite, 487, "b", "")
	m = ringing.final()
	calling.follow(m)
	calling.ack(m)
	// a confirmed one
	refused(b, "a call of others", taking.replaces(""), 403)
	refused(b, "an early dialog that is confirmed", taking.replaces(";early-only"), 486)
	refused(second, "one's own call, as an early dialog", calling.replaces(";early-only"), 486)
	if m := calling.ask("UPDATE", []string{sdpHeader}, description(6000, "sendonly")); m.code() != 200 {
		t.Fatal(m.start)
	}
	o.until("102", "Held")
	refused(c, "a call of others on hold", calling.replaces(""), 403)
	if m := calling.ask("INFO", []string{calling.replaces(""), "Content-Type: application/dtmf"}, "1"); m.code() != 400 {
		t.Errorf("INFO with Replaces: %s", m.start)
	}
	// one's own, from another telephone of the extension: it goes on there, and not on hold
	moved, m := second.asksFor("102", calling.replaces(""))
	if m.code() != 200 {
		t.Fatalf("one's own call: %s", m.start)
	}
	a.answer(a.expect("BYE"), 200, nil, "")
	o.until("102", "Retrieved")
	if calls := o.calls("100"); len(calls) != 1 {
		t.Errorf("%v", calls)
	}
	refused(second, "a dialog that has ended", calling.replaces(""), 481)
	moved.ask("BYE", nil, "")
	c.answer(c.expect("BYE"), 200, nil, "")
	o.until("102", "ConnectionCleared")
	x.stop()
}

// Of two telephones of an extension that ring, or of which one rings, another of its own
// takes the call.
func TestReplacesOwnRinging(t *testing.T) {
	t.Parallel()
	x, list := handsets(t, "", "", "100", "101")
	a, b := list[0], list[1]
	second := newHandset(t, "tcp", x.sip, "101", "secret101") // it has not registered
	o := x.watch("101")
	calling := a.dialog("101")
	ringing := calling.challenged([]string{sdpHeader}, description(6100, "sendrecv"))
	invite := b.expect("INVITE")
	b.reply(invite, 180, "b", "", "Require: 100rel", "RSeq: 1")
	b.answer(b.expect("PRACK"), 200, nil, "") // the early dialog is known: the switch's word comes earlier
	o.until("101", "Delivered")
	_, m := second.asksFor("101", fmt.Sprintf("Replaces: %s;to-tag=%s;from-tag=b;early-only", invite.header("Call-ID"), invite.tag("From")))
	if m.code() != 200 {
		t.Fatal(m.start)
	}
	o.until("101", "Established")
	cancel := b.expect("CANCEL")
	b.answer(cancel, 200, nil, "")
	b.reply(invite, 487, "b", "")
	if !strings.Contains(cancel.header("Reason"), "cause=200") {
		t.Errorf("%v", cancel.headers)
	}
	m = ringing.final()
	calling.follow(m)
	calling.ack(m)
	calling.ask("BYE", nil, "")
	second.answer(second.expect("BYE"), 200, nil, "")
	x.stop()
}

// A trunk's peer replaces nothing.
func TestReplacesOverTrunk(t *testing.T) {
	t.Parallel()
	port := freePort(t)
	x := serveTelephones(t, fmt.Sprintf(`  trunks:
  - {number: "900", prefixes: ["0"], inward: [{number: "5550100", to: "100"}], sip: {uri: "sip:127.0.0.1:%d;transport=udp"}}
`, port), "")
	o := x.watch("900")
	isp := listenHandset(t, port, x.sip, "acme", "isp")
	o.until("900", "BackInService")
	h := newHandset(t, "udp", x.sip, "100", "secret100")
	h.register(600)
	first := isp.dialog("5550100")
	first.local = "<sip:0309876@127.0.0.1>;tag=in"
	calling := first.begin("INVITE", []string{sdpHeader}, description(6200, "sendrecv"))
	h.accept(h.expect("INVITE"), "h", 6202)
	m := calling.final()
	first.follow(m)
	first.ack(m)
	for want, header := range map[int]string{403: first.replaces(""), 481: "Replaces: nosuch;to-tag=1;from-tag=2"} {
		other := isp.dialog("5550100")
		other.local = "<sip:0309876@127.0.0.1>;tag=again" + fmt.Sprint(want)
		m := other.begin("INVITE", []string{sdpHeader, header}, description(6204, "sendrecv")).final()
		if m.code() != want {
			t.Errorf("%s, want %d", m.start, want)
		}
		other.ack(m)
	}
	first.ask("BYE", nil, "")
	h.answer(h.expect("BYE"), 200, nil, "")
	x.stop()
}

// REFER with Replaces joins two calls of one telephone, and no others.
func TestReferWithReplaces(t *testing.T) {
	t.Parallel()
	x, list := handsets(t, "", "", "100", "101", "102", "103")
	a, b, c, d := list[0], list[1], list[2], list[3]
	o := x.watch("101", "102")
	first, _ := between(a, b, 6300)
	if m := first.ask("INVITE", []string{sdpHeader}, description(6300, "sendonly")); m.code() != 200 {
		t.Fatal(m.start)
	} else {
		first.ack(m)
	}
	o.until("101", "Held")
	second, _ := between(a, c, 6310)
	o.until("102", "Established")
	foreign := d.dialog("2000")
	calling := foreign.challenged([]string{sdpHeader}, description(6320, "sendrecv"))
	m := calling.final() // it answers by itself
	foreign.follow(m)
	foreign.ack(m)
	refer := func(headers string) int {
		t.Helper()
		return first.ask("REFER", []string{"Refer-To: <sip:102@" + a.server + "?" + headers + ">"}, "").code()
	}
	value := func(d *sipDialog, flags string) string {
		return "Replaces=" + url.PathEscape(strings.TrimPrefix(d.replaces(flags), "Replaces: "))
	}
	for headers, want := range map[string]int{
		"Replaces=" + second.callID: 400, "Replaces=%zz": 400, value(second, "") + "&" + value(second, ""): 400, value(second, ";to-tag=1"): 400,
	} {
		if got := refer(headers); got != want {
			t.Errorf("%s: %d, want %d", headers, got, want)
		}
	}
	if m := first.ask("REFER", []string{"Refer-To: <sip:102@x>", "Refer-To: <sip:103@x>"}, ""); m.code() != 400 {
		t.Errorf("two Refer-To: %s", m.start)
	}
	wrong := url.PathEscape(second.callID + ";to-tag=wrong;from-tag=wrong")
	for _, c := range [][2]string{{"Replaces=" + wrong, "481"}, {value(foreign, ""), "403"}, {value(second, ";early-only"), "486"}, {value(first, ""), "481"}} {
		if got := refer(c[0]); got != 202 {
			t.Errorf("%s: %d", c[0], got)
		}
		if m := a.notified("refer"); !strings.HasPrefix(m.body, "SIP/2.0 "+c[1]) {
			t.Errorf("%s: %s", c[0], m.body)
		}
	}
	if got := refer(value(second, "")); got != 202 {
		t.Fatal(got)
	}
	for _, want := range []string{"100", "200"} {
		if m := a.notified("refer"); !strings.HasPrefix(m.body, "SIP/2.0 "+want) {
			t.Error(m.body)
		}
	}
	if m := o.until("101", "Transfered"); m.Text("transferredToDevice/deviceIdentifier") != "102" {
		t.Errorf("%s", m)
	}
	o.must(uacsta.ClearConnection{ConnectionToBeCleared: o.calls("101")[0]})
	x.stop()
}
