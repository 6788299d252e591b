package kind

import (
	cryptotls "crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"time"
)

// A listener has as many connections as its bounds say: the oldest gives way, and one that is closed leaves room.
func TestBounded(t *testing.T) {
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := bound(inner, Bounds{MaxConnections: 3, MaxPeer: 2})
	t.Cleanup(func() { _ = l.Close() })
	connect := func() (client, server net.Conn) {
		t.Helper()
		client, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		if server, err = l.Accept(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _, _ = client.Close(), server.Close() })
		return client, server
	}
	ends := func(client net.Conn, limit time.Duration) bool {
		_ = client.SetReadDeadline(time.Now().Add(limit))
		_, err := client.Read(make([]byte, 1))
		return errors.Is(err, io.EOF) || !errors.Is(err, os.ErrDeadlineExceeded)
	}
	first, _ := connect()
	second, served := connect()
	third, _ := connect()
	if !ends(first, 10*time.Second) {
		t.Error("the oldest connection does not give way")
	}
	if err := served.Close(); err != nil || !ends(second, 10*time.Second) {
		t.Error(err)
	}
	fourth, _ := connect()
	for _, client := range []net.Conn{third, fourth} {
		if ends(client, time.Millisecond) {
			t.Error("a connection gives way although there is room")
		}
	}
}

// Strangers do not close the connections of clients that are identified; but a newcomer gets in.
func TestBoundedKnown(t *testing.T) {
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := bound(inner, Bounds{MaxConnections: 3, MaxPeer: 10})
	t.Cleanup(func() { _ = l.Close() })
	closed := func(client net.Conn) bool {
		_ = client.SetReadDeadline(time.Now().Add(10 * time.Millisecond))
		_, err := client.Read(make([]byte, 1))
		return !errors.Is(err, os.ErrDeadlineExceeded)
	}
	connect := func(known bool) net.Conn {
		t.Helper()
		client, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		server, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _, _ = client.Close(), server.Close() })
		if known {
			Known(withPlace(t.Context(), cryptotls.Server(server, &cryptotls.Config{})))
		}
		return client
	}
	first := connect(true)
	for range 10 {
		connect(false)
	}
	if closed(first) {
		t.Error("strangers have closed the connection of a known client")
	}
	connect(true)
	connect(true)
	if newcomer := connect(false); closed(newcomer) || !closed(first) {
		t.Error("known clients have taken all room")
	}
}
