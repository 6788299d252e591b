package api

import (
	"bytes"
	"encoding/binary"
	"errors"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tr87proxy/tr87proxy/internal/wait"
)

// frame returns a masked text frame of a client.
func frame(text string) []byte {
	b := binary.BigEndian.AppendUint16([]byte{0x81, 0x80 | 126}, uint16(len(text)))
	return append(append(b, 0, 0, 0, 0), text...)
}

// A client may send messages with the request for the WebSocket, without waiting for the response.
func TestEarlyMessages(t *testing.T) {
	o := newOffice(t)
	conn, err := net.Dial("tcp", o.http.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(wait.Limit))
	early := []byte("GET " + eventsPath + " HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
	want := []string{`"id":"first"`, `"id":"second"`, `"id":"third"`}
	early = append(early, frame(`{"id":"first","method":"GET","path":"/v1/devices/100"}`)...)
	early = append(early, frame(`{"id":"second","method":"GET","path":"/v1/devices/100","headers":{"Accept":"`+strings.Repeat("x", 2*readBuffer)+`"}}`)...)
	third := frame(`{"id":"third","method":"GET","path":"/v1/devices/100"}`)
	early = append(early, third[:20]...)
	if _, err := conn.Write(early); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Write(third[20:]); err != nil {
		t.Fatal(err)
	}
	var got []byte
	for buffer := make([]byte, 4096); slices.ContainsFunc(want, func(id string) bool { return !bytes.Contains(got, []byte(id)) }); {
		n, err := conn.Read(buffer)
		if err != nil {
			t.Fatalf("%v: there are no responses with %s: %s", err, want, got)
		}
		got = append(got, buffer[:n]...)
	}
}

// writes is a connection that keeps what is written to it.
type writes struct {
	net.Conn
	all []string
	err error
}

func (w *writes) Write(p []byte) (int, error) {
	w.all = append(w.all, string(p))
	return len(p), w.err
}

// What is written between hold and release leaves in one write, unless it is much.
func TestWire(t *testing.T) {
	below := &writes{}
	w := &wire{Conn: below}
	put := func(text string) {
		t.Helper()
		if n, err := w.Write([]byte(text)); n != len(text) || err != nil {
			t.Error(n, err)
		}
	}
	release := func(want ...string) {
		t.Helper()
		if err := w.release(); err != nil || strings.Join(below.all, "|") != strings.Join(want, "|") {
			t.Errorf("%v, %.100q", err, below.all)
		}
		below.all = nil
	}
	put("at once")
	w.hold()
	put("one ")
	put("two")
	if len(below.all) != 1 {
		t.Errorf("%q", below.all)
	}
	release("at once", "one two")
	w.hold()
	release()
	w.hold()
	much := strings.Repeat("x", maxHeld)
	put(much)
	put("y")
	put("z")
	release(much+"y", "z")
	put("at once again")
	w.hold()
	release("at once again")

	below.err = errors.New("broken")
	w.hold()
	if _, err := w.Write([]byte(much + "y")); !errors.Is(err, below.err) {
		t.Error(err)
	}
	put("z")
	if err := w.release(); !errors.Is(err, below.err) {
		t.Error(err)
	}
	var none *wire
	none.hold()
	if none.release() != nil {
		t.Error("a wire that is not there fails")
	}
}
