package tests

import (
	"strings"
	"testing"

	"github.com/tr87proxy/tr87proxy/uacsta"
)

// onHold are descriptions by which a user holds a call: those of RFC 3264 8.4, and that of RFC 2543.
func onHold(port int) map[string]string {
	return map[string]string{
		"sendonly": description(port, "sendonly"), "inactive": description(port, "inactive"),
		"0.0.0.0": strings.Replace(description(port, "sendrecv"), "c=IN IP4 127.0.0.1", "c=IN IP4 0.0.0.0", 1),
	}
}

// A user holds and retrieves by re-INVITEs without an offer: ours is in the 200, and the answer in the ACK has the
// direction (RFC 3261 14.2).
func TestHoldByAnswer(t *testing.T) {
	t.Parallel()
	x, list := handsets(t, "", "", "100", "101")
	a, b := list[0], list[1]
	o := x.watch("100", "101")
	from, _ := between(a, b, 5400)
	o.until("101", "Established")
	late := func(direction, body string) {
		t.Helper()
		m := from.ask("INVITE", nil, "")
		if m.code() != 200 || !strings.Contains(m.body, "a="+direction) {
			t.Fatalf("%s\n%s", m.start, m.body)
		}
		from.ack(m, body)
	}
	for name, hold := range onHold(5400) {
		late("sendrecv", hold)
		o.until("100", "Held")
		if calls := o.calls("100"); len(calls) != 1 {
			t.Errorf("%s: %v", name, calls)
		}
		late("sendrecv", description(5400, "sendrecv"))
		o.until("100", "Retrieved")
		m := from.ask("INVITE", []string{sdpHeader}, hold)
		from.ack(m)
		o.until("100", "Held")
		late("sendrecv", description(5400, "sendrecv"))
		o.until("100", "Retrieved")
	}
	// the switch holds: its offer keeps to that, and says nothing about the user
	id := o.calls("100")[0]
	o.must(uacsta.HoldCall{CallToBeHeld: id})
	o.until("100", "Held")
	a.answer(a.expect("INVITE"), 200, []string{sdpHeader}, description(5400, "recvonly"))
	a.expect("ACK")
	late("sendonly", description(5400, "recvonly"))
	o.must(uacsta.RetrieveCall{CallToBeRetrieved: id})
	o.until("100", "Retrieved")
	a.answer(a.expect("INVITE"), 200, []string{sdpHeader}, description(5400, "sendrecv"))
	a.expect("ACK")
	x.stop()
}

// A call that is on hold from its first offer or answer is told so, and retrieved later.
func TestHoldFromTheBeginning(t *testing.T) {
	t.Parallel()
	x, list := handsets(t, "", "", "100", "101")
	a, b := list[0], list[1]
	o := x.watch("100", "101")
	for name, hold := range onHold(5500) {
		for _, callee := range []bool{false, true} {
			texts := []string{hold, description(5502, "sendrecv")}
			if callee {
				texts = []string{description(5500, "sendrecv"), hold}
			}
			from := a.dialog("101")
			calling := from.challenged([]string{sdpHeader}, texts[0])
			invite := b.expect("INVITE")
			tag := "b" + random()
			b.reply(invite, 200, tag, texts[1])
			b.expect("ACK")
			m := calling.final()
			if m.code() != 200 {
				t.Fatalf("%s: %s", name, m.start)
			}
			from.follow(m)
			from.ack(m)
			holder, number := from, "100"
			if callee {
				holder, number = b.answered(invite, tag), "101"
			}
			o.until(number, "Established")
			o.until(number, "Held")
			m = holder.ask("INVITE", []string{sdpHeader}, description(5500, "sendrecv"))
			holder.ack(m)
			o.until(number, "Retrieved")
			from.ask("BYE", nil, "")
			b.answer(b.expect("BYE"), 200, nil, "")
			o.until("100", "ConnectionCleared")
		}
	}
	x.stop()
}
