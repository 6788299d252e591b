package tests

import "testing"

// A telephone that registers over UDP places its call over TCP, because its INVITE is large (RFC 3261 18.1.1), and answers a
// second one over UDP: to the switch it is one telephone, whose first call is held and taken back.
func TestOneTelephoneOnTwoTransports(t *testing.T) {
	t.Parallel()
	x, list := handsets(t, "", "", "100", "101", "102")
	a, b, c := list[0], list[1], list[2]
	large := newHandset(t, "tcp", x.sip, "101", "secret101")
	large.contact = b.contact
	o := x.watch("100")
	between(large, a, 5300)
	second := c.dialog("101")
	calling := second.challenged([]string{sdpHeader}, description(5310, "sendrecv"))
	b.accept(b.expect("INVITE"), "second", 5312)
	m := calling.final()
	if m.code() != 200 {
		t.Fatal(m.start)
	}
	second.follow(m)
	second.ack(m)
	o.until("100", "Held")
	large.answer(large.expect("INVITE"), 200, []string{sdpHeader}, description(5300, "recvonly"))
	large.expect("ACK")
	second.ask("BYE", nil, "")
	b.answer(b.expect("BYE"), 200, nil, "")
	o.until("100", "Retrieved")
	large.answer(large.expect("INVITE"), 200, []string{sdpHeader}, description(5300, "sendrecv"))
	large.expect("ACK")
	x.stop()
}
