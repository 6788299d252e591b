package sip

import (
	"bytes"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/tr87proxy/tr87proxy/internal/wait"
)

// Whatever a stranger sends, all datagrams of known peers are handled, in order, and in the end
// none is waiting.
func TestKnownBeforeStrangers(t *testing.T) {
	order := make(chan string, 10000)
	_, _, addr := serve(t, "UDP", func(c *Config) {
		c.Known = func(p Peer) bool { return p.Addr.Addr() == netip.MustParseAddr("127.0.0.1") }
		c.Requests = map[string]func(*Request){"MESSAGE": func(r *Request) {
			order <- r.Header("Call-ID")
			r.Respond(Answer{})
		}}
	})
	dial := func(from string) net.Conn {
		conn, err := net.DialUDP("udp", &net.UDPAddr{IP: net.ParseIP(from)}, net.UDPAddrFromAddrPort(addr))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		return conn
	}
	send := func(conn net.Conn, id string) {
		_, err := fmt.Fprintf(conn, "MESSAGE sip:a SIP/2.0\r\nVia: SIP/2.0/UDP a;rport;branch=z9hG4bK%[1]s\r\nFrom: <sip:a>;tag=1\r\nTo: <sip:a>\r\nCall-ID: %[1]s\r\nCSeq: 1 MESSAGE\r\n\r\n", id)
		if err != nil {
			t.Fatal(err)
		}
	}
	friend, stranger := dial("127.0.0.1"), dial("127.0.0.2")
	for n := range 400 {
		for m := range 20 {
			send(stranger, fmt.Sprintf("s%d.%d", n, m))
		}
		send(friend, fmt.Sprint("k", n))
		for id := ""; id == "" || id[0] == 's'; { // so that no buffer of the kernel runs over
			if id = wait.Next(t, order, "a request"); id[0] == 'k' && id != fmt.Sprint("k", n) {
				t.Fatalf("%s came, not k%d", id, n)
			}
		}
	}
}

// A stranger has a rate, and beyond it what all strangers together have; another still has its own.
func TestStrangersRate(t *testing.T) {
	ua := New(Config{})
	t.Cleanup(ua.Close)
	s := &udpSocket{ua: ua}
	s.strange.most = 4 * strangerBurst * smallDatagram
	one, other := netip.MustParseAddrPort("192.0.2.1:5060"), netip.MustParseAddrPort("192.0.2.2:5060")
	began, taken := time.Now(), 0
	for range 3 * strangerBurst {
		if s.putStrange([]byte("x"), one) {
			taken++
		}
	}
	most := strangerBurst + strangersRate
	if late := int((strangerRate+strangersRate)*time.Since(began).Seconds()) + 2; taken < most || taken > most+late {
		t.Errorf("%d of one stranger are taken, not %d to %d", taken, most, most+late)
	}
	if !s.putStrange([]byte("x"), other) {
		t.Error("another stranger's datagram is dropped")
	}
}

// A queue gives back what was put in, in its order, and takes no more than its bound.
func TestDatagrams(t *testing.T) {
	q := datagrams{most: 3*smallDatagram + 5000}
	from := netip.MustParseAddrPort("192.0.2.1:5060")
	sizes := []int{1, 5000, smallDatagram, 0}
	for i, size := range sizes {
		if !q.put(bytes.Repeat([]byte{byte('a' + i)}, size), from) {
			t.Fatal("no room for", size)
		}
	}
	if q.put([]byte("x"), from) {
		t.Error("more than there is room for")
	}
	list := q.take(nil)
	if len(list) != len(sizes) {
		t.Fatalf("%d", len(list))
	}
	for i := range list {
		if want := strings.Repeat(string(rune('a'+i)), sizes[i]); string(list[i].data) != want || list[i].from != from {
			t.Errorf("%d is %q", i, list[i].data)
		}
		list[i].free()
	}
	if !q.put([]byte("y"), from) || len(q.take(list)) != 1 || len(q.take(nil)) != 0 {
		t.Error("the room did not come back")
	}
}
