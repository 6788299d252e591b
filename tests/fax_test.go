package tests

import (
	"fmt"
	"net"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/tr87proxy/tr87proxy/uacsta"
)

// faxes describes a T.38 stream.
func faxes(port int, attributes string) string {
	return strings.Split(description(port, "sendrecv"), "m=audio")[0] + fmt.Sprintf("m=image %d udptl t38\r\na=T38FaxVersion:0\r\n%s", port, attributes)
}

// A re-INVITE that replaces voice by fax is passed to the other telephone. Where it takes fax, packets go between
// the two as they are; where it does not, the call goes on.
func TestFax(t *testing.T) {
	t.Parallel()
	x, list := handsets(t, "", "", "100", "101", "102")
	a, b, c := list[0], list[1], list[2]
	listen := func() (*net.UDPConn, int) {
		conn, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		return conn, conn.LocalAddr().(*net.UDPAddr).Port
	}
	inA, portA := listen()
	inB, portB := listen()
	from, _ := between(a, b, 6600)
	o := x.watch("100", "101", "102")
	image := regexp.MustCompile(`m=image (\d+) udptl t38\r\n`)
	port := func(m *sipText) *net.UDPAddr {
		t.Helper()
		found := image.FindStringSubmatch(m.body)
		if found == nil || !strings.Contains(m.body, "a=T38FaxVersion:0\r\n") {
			t.Fatalf("no fax in %s\n%s", m.start, m.body)
		}
		n, _ := strconv.Atoi(found[1])
		return &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: n}
	}
	for _, refusal := range []struct {
		code int
		body string
	}{{488, ""}, {200, description(6602, "sendrecv")}} {
		asking := from.begin("INVITE", []string{sdpHeader}, faxes(portA, ""))
		b.answer(b.expect("INVITE"), refusal.code, []string{sdpHeader}, refusal.body)
		b.expect("ACK")
		m := asking.final()
		if m.code() != 488 {
			t.Errorf("refused with %d: %s", refusal.code, m.start)
		}
		from.ack(m)
		if refusal.code == 200 { // voice again
			again := b.expect("INVITE")
			if !strings.Contains(again.body, "m=audio") {
				t.Errorf("%s", again.body)
			}
			b.answer(again, 200, []string{sdpHeader}, description(6602, "sendrecv"))
			b.expect("ACK")
		}
	}
	asking := from.begin("INVITE", []string{sdpHeader}, faxes(portA, "a=T38FaxUdpEC:t38UDPRedundancy\r\na=T38FaxFillBitRemoval\r\n"))
	invite := b.expect("INVITE")
	if !strings.Contains(invite.body, "a=T38FaxUdpEC:t38UDPRedundancy\r\n") || !strings.Contains(invite.body, "a=T38FaxFillBitRemoval\r\n") || strings.Contains(invite.body, "m=audio") {
		t.Errorf("%s", invite.body)
	}
	toB := port(invite)
	b.answer(invite, 200, []string{sdpHeader}, faxes(portB, "a=T38FaxMaxBuffer:200\r\n"))
	b.expect("ACK")
	m := asking.final()
	from.ack(m)
	if m.code() != 200 || !strings.Contains(m.body, "a=T38FaxMaxBuffer:200\r\n") {
		t.Fatalf("%s\n%s", m.start, m.body)
	}
	toA := port(m)
	pass := func(out *net.UDPConn, to *net.UDPAddr, in *net.UDPConn, text string) {
		t.Helper()
		if _, err := out.WriteToUDP([]byte(text), to); err != nil {
			t.Fatal(err)
		}
		_ = in.SetReadDeadline(time.Now().Add(patience))
		buf := make([]byte, 2000)
		if n, err := in.Read(buf); err != nil || string(buf[:n]) != text {
			t.Errorf("%q instead of %q: %v", buf[:n], text, err)
		}
	}
	pass(inA, toA, inB, "a page")
	pass(inB, toB, inA, "confirmed")
	// voice again
	m = from.ask("INVITE", []string{sdpHeader}, description(6600, "sendrecv"))
	from.ack(m)
	if m.code() != 200 || !strings.Contains(m.body, "m=audio") {
		t.Errorf("%s\n%s", m.start, m.body)
	}
	invite = b.expect("INVITE")
	if !strings.Contains(invite.body, "m=audio") || strings.Contains(invite.body, "m=image") {
		t.Errorf("%s", invite.body)
	}
	b.answer(invite, 200, []string{sdpHeader}, description(6602, "sendrecv"))
	b.expect("ACK")
	calls := o.calls("100")
	if len(calls) != 1 {
		t.Fatalf("%v", calls)
	}
	// fax again, of which one telephone is transferred away: the other one talks with the target
	asking = from.begin("INVITE", []string{sdpHeader}, faxes(portA, ""))
	b.answer(b.expect("INVITE"), 200, []string{sdpHeader}, faxes(portB, ""))
	b.expect("ACK")
	from.ack(asking.final())
	o.must(uacsta.SingleStepTransferCall{ActiveCall: calls[0], TransferredTo: uacsta.Dev("102")})
	a.answer(a.expect("BYE"), 200, nil, "")
	c.reply(c.expect("INVITE"), 200, "c"+random(), description(6604, "sendrecv"))
	c.expect("ACK")
	invite = b.expect("INVITE")
	if !strings.Contains(invite.body, "m=audio") || strings.Contains(invite.body, "m=image") {
		t.Errorf("%s", invite.body)
	}
	b.answer(invite, 200, []string{sdpHeader}, description(6602, "sendrecv"))
	b.expect("ACK")
	o.must(uacsta.ClearConnection{ConnectionToBeCleared: o.calls("102")[0]})
	c.answer(c.expect("BYE"), 200, nil, "")
	b.answer(b.expect("BYE"), 200, nil, "")
	x.stop()
}
