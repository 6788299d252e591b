package tests

import (
	"strings"
	"testing"
)

// A telephone that wants reliable provisional responses gets the early media that comes before it has acknowledged the 180
// (RFC 3262 3: one after the other).
func TestReliableEarlyMedia(t *testing.T) {
	t.Parallel()
	x, list := handsets(t, "", "", "100", "101")
	a, b := list[0], list[1]
	from := a.dialog("101")
	calling := from.challenged([]string{sdpHeader, "Require: 100rel"}, description(5800, "sendrecv"))
	invite := b.expect("INVITE")
	provisional := func(code int) *sipText {
		for {
			if m := calling.next(); m.code() == code {
				return m
			}
		}
	}
	acknowledge := func(m *sipText) {
		t.Helper()
		number, _, _ := strings.Cut(m.header("CSeq"), " ")
		if m := from.ask("PRACK", []string{"RAck: " + m.header("RSeq") + " " + number + " INVITE"}, ""); m.code() != 200 {
			t.Error(m.start)
		}
	}
	b.reply(invite, 180, "b", "")
	rings := provisional(180)
	b.reply(invite, 183, "b", description(5802, "sendrecv"))
	for range 2 { // the 183 has come long before
		if m := calling.next(); m.code() != 180 || m.header("RSeq") != rings.header("RSeq") {
			t.Errorf("before the PRACK: %s", m.start)
		}
	}
	from.follow(rings)
	acknowledge(rings)
	early := provisional(183)
	if !strings.Contains(early.body, "m=audio") || early.header("RSeq") == rings.header("RSeq") {
		t.Errorf("%v\n%s", early.headers, early.body)
	}
	acknowledge(early)
	b.reply(invite, 200, "b", description(5802, "sendrecv"))
	b.expect("ACK")
	m, number := calling.final(), from.number
	from.number = 2 // that of the INVITE
	from.ack(m)
	from.number = number
	from.ask("BYE", nil, "")
	b.answer(b.expect("BYE"), 200, nil, "")
	x.stop()
}
