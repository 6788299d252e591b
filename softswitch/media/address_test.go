package media

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
)

// Voice goes to the peer whose signalling a description came by, to any address of this host
// where the peer is on it, to the networks that are configured, and nowhere else.
func TestAddresses(t *testing.T) {
	e := New(Config{MinPort: 37400, MaxPort: 37500, Elsewhere: []netip.Prefix{netip.MustParsePrefix("203.0.113.0/24"), netip.MustParsePrefix("::/0")}})
	strict := New(Config{MinPort: 37502, MaxPort: 37600})
	const peer, here, linked = "192.0.2.1", "127.0.0.1", "fe80::1%lo"
	for _, tt := range []struct {
		from, session, stream, rtcp string
		want                        error
	}{
		{peer, "IN IP4 192.0.2.1", "", "", nil},
		{peer, "IN IP4 192.0.2.9", "IN IP4 192.0.2.1", "", nil}, // that of the stream counts
		{peer, "", "IN IP4 192.0.2.1", "4001", nil},
		{peer, "", "IN IP4 192.0.2.1", "4001 IN IP4 192.0.2.1", nil},
		{peer, "IN IP4 0.0.0.0", "", "", nil},
		{peer, "IN IP4 0.0.0.0", "", "4001 IN IP4 0.0.0.0", nil},
		{peer, "IN IP4 203.0.113.7", "", "4001 IN IP4 203.0.113.8", nil},
		{here, "IN IP4 127.0.0.9", "", "", nil},
		{here, "IN IP6 ::1", "", "", nil},
		{"::ffff:192.0.2.1", "IN IP4 192.0.2.1", "", "", nil},
		{peer, "IN IP6 ::ffff:192.0.2.1", "", "", nil},
		{"2001:db8::1", "IN IP6 2001:db8::1", "", "", nil},
		{linked, "IN IP6 fe80::1", "", "", nil},
		{peer, "", "", "", ErrAddress},
		{peer, "IN IP4 224.0.0.1/127", "", "", ErrAddress},
		{peer, "IN IP4 192.0.2.1", "IN IP4 239.1.2.3/1", "", ErrAddress},
		{peer, "IN IP4 255.255.255.255", "", "", ErrAddress},
		{peer, "IN IP6 ::", "", "", ErrAddress},
		{peer, "IN IP6 ff02::1", "", "", ErrAddress},
		{peer, "IN IP6 ::ffff:224.0.0.1", "", "", ErrAddress},
		{peer, "IN IP6 fe80::1", "", "", ErrAddress},
		{"2001:db8::1", "IN IP6 fe80::1", "", "", ErrAddress},
		{peer, "IN IP6 fe80::1%eth0", "", "", ErrAddress},
		{peer, "IN IP4 2001:db8::1", "", "", ErrAddress},
		{peer, "IN IP6 192.0.2.1", "", "", ErrAddress},
		{peer, "IN IP4 host.example", "", "", nil},
		{peer, "IN IP4 192.0.2.1", "", "4001 IN IP4 224.0.0.1", ErrAddress},
		{peer, "IN IP4 192.0.2.1", "", "4001 IN IP4 0.0.0.0", ErrAddress},
		{peer, "IN IP4 192.0.2.1", "", "0", ErrAddress},
		{peer, "IN IP4 192.0.2.1", "", "4001 IN IP4", ErrAddress},
		{peer, "IN IP4 192.0.2.2", "", "", ErrElsewhere},
		{peer, "IN IP4 192.0.2.1", "IN IP4 198.51.100.1", "", ErrElsewhere},
		{peer, "IN IP4 192.0.2.1", "", "4001 IN IP4 198.51.100.1", ErrElsewhere},
		{peer, "IN IP4 127.0.0.1", "", "", ErrElsewhere},
		{here, "IN IP4 198.51.100.1", "", "", ErrElsewhere},
		{"", "IN IP4 192.0.2.1", "", "", ErrElsewhere},
	} {
		text := "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\n"
		if tt.session != "" {
			text += "c=" + tt.session + "\r\n"
		}
		text += "t=0 0\r\nm=audio 4000 RTP/AVP 8\r\n"
		if tt.stream != "" {
			text += "c=" + tt.stream + "\r\n"
		}
		if tt.rtcp != "" {
			text += "a=rtcp:" + tt.rtcp + "\r\n"
		}
		from, _ := netip.ParseAddr(tt.from)
		for name, give := range map[string]func(*Leg) error{
			"offer": func(l *Leg) error { _, _, err := l.Answer([]byte(text), SendRecv, Peer{Addr: from}); return err },
			"answer": func(l *Leg) error {
				l.Offer(SendRecv)
				err := l.Answered([]byte(text), Peer{Addr: from})
				return err
			},
		} {
			l, err := e.Open(loopback, newEar())
			if err != nil {
				t.Fatal(err)
			}
			what := fmt.Sprintf("%s of %s: c=%s, c=%s, a=rtcp:%s", name, tt.from, tt.session, tt.stream, tt.rtcp)
			if err := give(l); !errors.Is(err, tt.want) {
				t.Errorf("%s: %v, want %v", what, err, tt.want)
			}
			if tt.want != nil && (l.peer != nil || l.to.IsValid()) || strings.Contains(tt.session, "0.0.0.0") && l.to.IsValid() {
				t.Errorf("%s: voice goes to %s", what, l.to)
			}
			l.Close()
		}
	}
	own, err := net.InterfaceAddrs() // softphones beside us name them
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range own {
		if ip := netip.MustParsePrefix(a.String()).Addr(); !onThisHost(ip) {
			t.Errorf("%s is not of this host", ip)
		}
	}
	l, err := strict.Open(loopback, newEar())
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	text := strings.Replace(offer, "c=IN IP4 192.0.2.1", "c=IN IP4 203.0.113.7", 1) + "m=audio 4000 RTP/AVP 8\r\n"
	if _, _, err := l.Answer([]byte(text), SendRecv, Peer{Addr: outside}); !errors.Is(err, ErrElsewhere) {
		t.Errorf("another address that nothing allows: %v", err)
	}
}
