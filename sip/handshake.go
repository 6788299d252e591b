package sip

import (
	"net"
	"runtime"
	"sync"
)

// handshakes are the places of TLS handshakes that compute at the same time: those of strangers
// leave half of the processors to others.
type handshakes chan struct{}

func newHandshakes() handshakes { return make(handshakes, max(runtime.GOMAXPROCS(0)/2, 1)) }

// shaking is the connection below a TLS handshake. It has a place among the handshakes between the
// octets that it reads and writes, and none while it waits for the peer, which may do nothing.
type shaking struct {
	net.Conn
	places handshakes

	mu   sync.Mutex
	has  bool // a place
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

// end gives the place back for good: the handshake is over.
func (s *shaking) end() {
	s.pause()
	s.mu.Lock()
	s.done = true
	s.mu.Unlock()
	s.pause()
}
