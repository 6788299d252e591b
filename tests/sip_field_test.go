package tests

import (
	"fmt"
	"strings"
	"testing"
)

// A telephone moves to another address in a call: its re-INVITE from there is challenged, and then followed; nobody
// else's is. What the switch sends goes to the new address.
func TestTelephoneMoves(t *testing.T) {
	t.Parallel()
	x, list := handsets(t, "", "", "100", "101")
	a, b := list[0], list[1]
	from, to := between(a, b, 6800)
	away := func(address, number string) *sipDialog {
		d := *from
		d.h = handsetFrom(t, address, "udp", x.sip, number, "secret"+number)
		return &d
	}
	if m := away("127.0.0.3", "102").ask("INVITE", []string{sdpHeader}, description(6810, "sendrecv")); m.code() != 403 {
		t.Errorf("another user: %s", m.start)
	}
	moved := away("127.0.0.2", "100")
	moved.number += 10
	m := moved.ask("INVITE", []string{sdpHeader}, description(6820, "sendrecv"))
	if m.code() != 200 {
		t.Fatalf("the telephone itself: %s", m.start)
	}
	moved.ack(m)
	if m := moved.ask("INFO", nil, ""); m.code() != 200 {
		t.Errorf("INFO without body, from the new address: %s", m.start)
	}
	if m := to.ask("BYE", nil, ""); m.code() != 200 {
		t.Errorf("BYE of the other: %s", m.start)
	}
	moved.h.answer(moved.h.expect("BYE"), 200, nil, "")
	x.stop()
}

// The answer of a telephone that comes in a reliable 183 counts when its 200 has none, and a telephone may write all
// headers in compact form (RFC 3262 5, RFC 3261 7.3.3).
func TestAnswerInReliableProgress(t *testing.T) {
	t.Parallel()
	x, list := handsets(t, "", "", "100", "101")
	a, b := list[0], list[1]
	calling := a.dialog("101")
	asking := calling.challenged([]string{sdpHeader}, description(6830, "sendrecv"))
	invite := b.expect("INVITE")
	b.reply(invite, 183, "b", description(6832, "sendrecv"), "Require: 100rel", "RSeq: 5")
	b.answer(b.expect("PRACK"), 200, nil, "")
	compact := []string{"SIP/2.0 200 OK"}
	for _, via := range invite.all("Via") {
		compact = append(compact, "v: "+via)
	}
	compact = append(compact, "f: "+invite.header("From"), "t: "+invite.header("To")+";tag=b", "i: "+invite.header("Call-ID"), "CSeq: "+invite.header("CSeq"),
		fmt.Sprintf("m: <%s>", b.contact), "l: 0", "", "")
	b.write(strings.Join(compact, "\r\n"))
	b.expect("ACK")
	m := asking.final()
	if m.code() != 200 || !strings.Contains(m.body, "m=audio") {
		t.Fatalf("%s\n%s", m.start, m.body)
	}
	calling.follow(m)
	calling.ack(m)
	if m := calling.ask("BYE", nil, ""); m.code() != 200 {
		t.Error(m.start)
	}
	b.answer(b.expect("BYE"), 200, nil, "")
	x.stop()
}
