package tests

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/tr87proxy/tr87proxy/uacsta"
)

// sequence collects the events of a device up to one, by name.
func (o *overseer) sequence(device, last string) (names []string, m *uacsta.Message) {
	o.t.Helper()
	for {
		m := o.hear()
		if o.refs[m.CrossRef()] != device {
			continue
		}
		names = append(names, strings.TrimSuffix(m.Name(), "Event"))
		if m.Name() == last+"Event" {
			return names, m
		}
	}
}

// A call alerts when the telephone, or the network, says so: not for 100, not if it is refused. Before that it can be
// deflected and cleared, and snapshots show what the events have said.
func TestAlertingBySignal(t *testing.T) {
	t.Parallel()
	port := freePort(t)
	x, list := handsets(t, fmt.Sprintf(`  trunks:
  - {number: "900", prefixes: ["0"], inward: [], sip: {uri: "sip:127.0.0.1:%d;transport=udp"}}
`, port), "", "100", "101", "102")
	o := x.watch("100", "101", "102", "900")
	isp := listenHandset(t, port, x.sip, "acme", "isp")
	o.until("900", "BackInService")
	a, b, c := list[0], list[1], list[2]
	check := func(what string, got []string, want ...string) {
		t.Helper()
		if !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", what, got, want)
		}
	}

	d := a.dialog("101")
	calling := d.challenged([]string{sdpHeader}, description(5800, "sendrecv"))
	invite := b.expect("INVITE")
	b.answer(invite, 100, nil, "")
	id := o.until("100", "Originated").Text("originatedConnection/callID")
	if got := o.calls("101"); len(got) > 0 {
		t.Errorf("a telephone that does not ring has calls: %v", got)
	}
	b.reply(invite, 488, "b", "")
	if m := calling.final(); m.code() != 488 || m.header("Reason") != "Q.850;cause=88" {
		t.Errorf("%s %s", m.start, m.header("Reason"))
	} else {
		d.ack(m)
	}
	names, m := o.sequence("100", "Failed")
	check("refused", names, "Failed")
	if m.Text("failedConnection/callID") != id || m.Text("cause") != "incompatibleDestination" {
		t.Errorf("%s", m)
	}

	// deflected before it rings
	d = a.dialog("101")
	calling = d.challenged([]string{sdpHeader}, description(5802, "sendrecv"))
	invite = b.expect("INVITE")
	b.answer(invite, 100, nil, "")
	id = o.until("100", "Originated").Text("originatedConnection/callID")
	o.must(uacsta.DeflectCall{CallToBeDiverted: uacsta.Conn(id, "101"), NewDestination: []uacsta.DeviceID{uacsta.Dev("102")}})
	b.answer(b.expect("CANCEL"), 200, nil, "")
	b.reply(invite, 487, "b", "")
	ringing := c.expect("INVITE")
	c.reply(ringing, 180, "c", "")
	names, _ = o.sequence("100", "Delivered")
	check("deflected", names, "Diverted", "Delivered")
	c.accept(ringing, "c", 5804)
	ok := calling.final()
	d.follow(ok)
	d.ack(ok)
	names, _ = o.sequence("102", "Established")
	check("answered", names, "Delivered", "Established")
	o.must(uacsta.ClearConnection{ConnectionToBeCleared: uacsta.Conn(id, "100")})
	for _, h := range []*handset{a, c} {
		h.answer(h.expect("BYE"), 200, nil, "")
	}
	o.until("102", "ConnectionCleared")

	// the network, as it says
	d = a.dialog("0301234")
	calling = d.challenged([]string{sdpHeader}, description(5806, "sendrecv"))
	out := isp.expect("INVITE")
	isp.answer(out, 100, nil, "")
	o.until("100", "Originated")
	if got := o.calls("900"); len(got) > 0 {
		t.Errorf("a network that has not got the call has calls: %v", got)
	}
	isp.reply(out, 181, "isp", "")
	names, _ = o.sequence("100", "NetworkReached")
	check("in the network", names, "NetworkReached")
	isp.reply(out, 183, "isp", description(5808, "sendrecv"))
	names, _ = o.sequence("100", "Delivered")
	check("the network has voice", names, "Delivered")
	isp.reply(out, 480, "isp", "", `Reason: Q.850;cause=1;text="unallocated"`)
	if m := calling.final(); m.code() != 404 {
		t.Errorf("%s", m.start)
	} else {
		d.ack(m)
	}
	if m := o.until("100", "Failed"); m.Text("cause") != "numberUnallocated" {
		t.Errorf("%s", m)
	}
	x.stop()
}
