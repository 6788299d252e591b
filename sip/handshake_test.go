package sip

import (
	"net"
	"testing"
	"testing/synctest"
)

// Of two handshakes with one place, one waits while the other computes, and neither while the other
// waits for its peer; after a handshake nothing waits.
func TestHandshakesTakeTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		places := make(handshakes, 1)
		begin := func() (*shaking, net.Conn) {
			near, far := net.Pipe()
			t.Cleanup(func() { _, _ = near.Close(), far.Close() })
			return &shaking{Conn: near, places: places}, far
		}
		read := func(s *shaking) chan struct{} {
			came := make(chan struct{})
			go func() {
				defer close(came)
				_, _ = s.Read(make([]byte, 1))
			}()
			return came
		}
		is := func(what string, ch chan struct{}, want bool) {
			t.Helper()
			synctest.Wait()
			select {
			case <-ch:
				if !want {
					t.Error(what, "did not wait")
				}
			default:
				if want {
					t.Error(what, "waits")
				}
			}
		}
		one, onePeer := begin()
		two, twoPeer := begin()
		first := read(one)
		_, _ = onePeer.Write([]byte("x"))
		is("the first", first, true)
		second := read(two)
		_, _ = twoPeer.Write([]byte("x"))
		is("the second", second, false)
		again := read(one)
		is("the second", second, true)
		_, _ = onePeer.Write([]byte("x"))
		is("the first", again, false)
		two.end()
		is("the first", again, true)
		last := read(two)
		_, _ = twoPeer.Write([]byte("x"))
		is("what comes after the handshake", last, true)
		one.end()
		if len(places) != 0 {
			t.Error("a place was not given back")
		}
	})
}
