package sip

import (
	"net"
	"runtime"
	"sync"
)

// handshakes limits concurrent TLS handshake computation to half of the processors.
type handshakes chan struct{}

func newHandshakes() handshakes { return make(handshakes, max(runtime.GOMAXPROCS(0)/2, 1)) }

// shaking is the connection below a TLS handshake. It holds a slot while the handshake
// computes, between reads and writes, and none while it waits for the peer.
type shaking struct {
	net.Conn
	places handshakes

	mu   sync.Mutex
	has  bool // holds a slot
	done bool
}

func (s *shaking) Read(b []byte) (int, error) {
	s.pause()
	defer s.proceed()
	return s.Conn.Read(b)
}

func (s *shaking) Write(b []byte) (int, error) {
	s.pause()
	defer s.proceed()
	return s.Conn.Write(b)
}

func (s *shaking) pause() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.has {
		s.has = false
		<-s.places
	}
}

func (s *shaking) proceed() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.done && !s.has {
		s.places <- struct{}{}
		s.has = true
	}
}

// end releases the slot for good after the handshake.
func (s *shaking) end() {
	s.pause()
	s.mu.Lock()
	s.done = true
	s.mu.Unlock()
	s.pause()
}
