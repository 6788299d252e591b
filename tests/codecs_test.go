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

var audioLine = regexp.MustCompile(`m=audio (\d+) RTP/AVP ([\d ]+)\r\n`)

// formats returns the port and the payload types of a description.
func formats(t *testing.T, body string) (port int, types string) {
	t.Helper()
	found := audioLine.FindStringSubmatch(body)
	if found == nil {
		t.Fatalf("no voice in %s", body)
	}
	port, _ = strconv.Atoi(found[1])
	return port, found[2]
}

// Telephones that share G.722 or Opus use it with each other, and their packets are passed as they are; where
// voice is mixed, both are asked for G.711.
func TestCodecsPassThrough(t *testing.T) {
	t.Parallel()
	x, list := handsets(t, "", "", "100", "101")
	a, b := list[0], list[1]
	o := x.watch("100", "101")
	var sockets []*net.UDPConn
	var ports []int
	for range 2 {
		conn, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		sockets, ports = append(sockets, conn), append(ports, conn.LocalAddr().(*net.UDPAddr).Port)
	}
	describe := func(port int, types string) string {
		return fmt.Sprintf("v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio %d RTP/AVP %s\r\na=rtpmap:107 opus/48000/2\r\na=fmtp:107 useinbandfec=1\r\na=rtpmap:101 telephone-event/8000\r\na=rtpmap:102 telephone-event/48000\r\n", port, types)
	}
	send := func(from *net.UDPConn, port int, number byte, to *net.UDPConn, want byte) {
		t.Helper()
		payload := strings.Repeat("voice", 8)
		buf := make([]byte, 2000)
		for n := byte(1); ; n++ { // until the room has both
			packet := append([]byte{0x80, number, 0, n, 0, 0, 1, n, 0, 0, 0, 9}, payload...)
			if _, err := from.WriteToUDP(packet, &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: port}); err != nil {
				t.Fatal(err)
			}
			_ = to.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
			size, err := to.Read(buf)
			if err == nil && size > 12 && buf[1]&0x7f == want && string(buf[12:size]) == payload {
				return
			}
			if n == 100 {
				t.Fatalf("payload type %d does not arrive as %d: %v % x", number, want, err, buf[:20])
			}
		}
	}
	for _, tt := range []struct {
		offered, toCallee, answered, toCaller string
		from, to                              byte // payload types that are passed from the caller; 0 for none
	}{
		{"9 8 101", "9 8 0 101", "9 8 101", "9 8 101", 9, 9},
		{"107 9 0 101 102", "96 9 0 8 101 102", "96 0 101 102", "107 0 101 102", 107, 96},
		{"107 9 0 101 102", "96 9 0 8 101 102", "9 0 101", "9 0 101", 9, 9},
		{"9 8 101", "9 8 0 101", "8 101", "8 101", 0, 0},
		{"8 101", "8 0 101", "8 101", "8 101", 0, 0},
		{"0 8 101", "0 8 101", "0 101", "0 101", 0, 0}, // both would take either
		{"107 8 101", "96 8 0 101 102", "0", "8 101", 0, 0},
	} {
		from := a.dialog("101")
		calling := from.challenged([]string{sdpHeader}, describe(ports[0], tt.offered))
		invite := b.expect("INVITE")
		_, types := formats(t, invite.body)
		if types != tt.toCallee || strings.HasPrefix(types, "96") && !strings.Contains(invite.body, "a=rtpmap:96 opus/48000/2\r\na=fmtp:96 useinbandfec=1\r\n") {
			t.Errorf("of %s the callee is offered %s\n%s", tt.offered, types, invite.body)
		}
		b.reply(invite, 200, "b"+random(), strings.ReplaceAll(describe(ports[1], tt.answered), ":107", ":96"))
		b.expect("ACK")
		m := calling.final()
		port, types := formats(t, m.body)
		if types != tt.toCaller {
			t.Errorf("of %s, answered by %s, the caller gets %s", tt.offered, tt.answered, types)
		}
		from.follow(m)
		from.ack(m)
		id := o.until("101", "Established").Text("establishedConnection/callID")
		if tt.from != 0 {
			send(sockets[0], port, tt.from, sockets[1], tt.to)
			o.must(uacsta.PlayMessage{MessageToBePlayed: "hello", OverConnection: uacsta.Conn(id, "101")})
			for _, h := range list {
				again := h.expect("INVITE")
				_, types := formats(t, again.body)
				if strings.Contains(" "+types, " 9 ") || strings.Contains(again.body, "opus") {
					t.Errorf("%s is offered %s for mixing", h.number, types)
				}
				h.answer(again, 200, []string{sdpHeader}, describe(ports[0], "8 101"))
				h.expect("ACK")
			}
		}
		from.ask("BYE", nil, "")
		b.answer(b.expect("BYE"), 200, nil, "")
		o.until("101", "ConnectionCleared")
	}
	x.stop()
}

// A telephone that offers the agreed codec alone, as some do once they have the answer, keeps it; it is still asked for
// G.711 where voice is mixed.
func TestAgreedCodecAlone(t *testing.T) {
	t.Parallel()
	x, list := handsets(t, "", "", "100", "101")
	a, b := list[0], list[1]
	o := x.watch("101")
	with := func(port int, types string) string {
		return strings.Replace(description(port, "sendrecv"), "AVP 8", "AVP "+types, 1)
	}
	from := a.dialog("101")
	calling := from.challenged([]string{sdpHeader}, with(5600, "9 8"))
	b.reply(b.expect("INVITE"), 200, "b", with(5602, "9"))
	b.expect("ACK")
	m := calling.final()
	from.follow(m)
	from.ack(m)
	id := o.until("101", "Established").Text("establishedConnection/callID")
	for types, want := range map[string]int{"9": 200, "18": 488} {
		m := from.ask("UPDATE", []string{sdpHeader}, with(5600, types))
		if m.code() != want {
			t.Errorf("%s: %s, want %d", types, m.start, want)
		}
		if want == 200 && !strings.Contains(m.body, "RTP/AVP "+types+" 101\r\n") {
			t.Errorf("%s is answered by\n%s", types, m.body)
		}
	}
	o.must(uacsta.PlayMessage{MessageToBePlayed: "hello", OverConnection: uacsta.Conn(id, "101")})
	for _, h := range list {
		again := h.expect("INVITE")
		if _, types := formats(t, again.body); strings.Contains(" "+types, " 9 ") {
			t.Errorf("%s is offered %s for mixing", h.number, types)
		}
		h.answer(again, 200, []string{sdpHeader}, with(5604, "8"))
		h.expect("ACK")
	}
	x.stop()
}

// Early media comes in the codec that the called telephone has chosen: the caller's 183 says so, and the 200 repeats it.
func TestEarlyMediaPassesThrough(t *testing.T) {
	t.Parallel()
	x, list := handsets(t, "", "", "100", "101")
	a, b := list[0], list[1]
	with := func(port int, types string) string {
		return strings.Replace(description(port, "sendrecv"), "AVP 8", "AVP "+types, 1)
	}
	from := a.dialog("101")
	calling := from.challenged([]string{sdpHeader}, with(5700, "9 8"))
	invite := b.expect("INVITE")
	b.reply(invite, 183, "b", with(5702, "9"))
	early := calling.next()
	for early.code() != 183 {
		early = calling.next()
	}
	if _, types := formats(t, early.body); types != "9 8 101" {
		t.Errorf("183 with %s", types)
	}
	b.reply(invite, 200, "b", with(5702, "9"))
	b.expect("ACK")
	m := calling.final()
	if m.body != early.body {
		t.Errorf("200 with\n%s183 with\n%s", m.body, early.body)
	}
	from.follow(m)
	from.ack(m)
	from.ask("BYE", nil, "")
	b.answer(b.expect("BYE"), 200, nil, "")
	x.stop()
}
