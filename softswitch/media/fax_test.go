package media

import (
	"net"
	"testing"
	"time"
)

// Fax from a telephone that has had fax with another one does not enter what that one has with a third.
func TestFaxOfAnotherCall(t *testing.T) {
	e := New(Config{MinPort: 37000, MaxPort: 37100})
	var legs []*Leg
	var sockets []*net.UDPConn
	var faxes []*Fax
	for range 3 {
		l, err := e.Open(loopback, newEar())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(l.Close)
		conn, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		legs, sockets = append(legs, l), append(sockets, conn)
		faxes = append(faxes, &Fax{address: conn.LocalAddr().(*net.UDPAddr).AddrPort()})
	}
	Relay(legs[0], faxes[0], legs[1], faxes[1])
	Relay(legs[1], faxes[1], legs[2], faxes[2])
	for i, text := range []string{"of the first", "of the third"} {
		to := &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: legs[2*i].port}
		if _, err := sockets[2*i].WriteToUDP([]byte(text), to); err != nil {
			t.Fatal(err)
		}
		time.Sleep(20 * time.Millisecond) // two sockets keep no order
	}
	_ = sockets[1].SetReadDeadline(time.Now().Add(5 * time.Second))
	buf := make([]byte, 100)
	n, _, err := sockets[1].ReadFromUDP(buf)
	if err != nil || string(buf[:n]) != "of the third" {
		t.Errorf("%q %v", buf[:n], err)
	}
}
