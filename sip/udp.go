package sip

import (
	"errors"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tr87proxy/tr87proxy/internal/share"
)

// udpSocket is a listening UDP socket. One goroutine only reads, so that the kernel's buffer,
// which all peers share, does not overflow while a message is handled. Another goroutine
// handles the datagrams, those of known peers first.
type udpSocket struct {
	ua       *UA
	pc       *net.UDPConn
	local    netip.AddrPort
	closed   atomic.Bool
	known    datagrams
	strange  datagrams
	spare    share.Meter[struct{}] // what all strangers together may send beyond their own rates
	arrivals chan struct{}         // signals that a queue is not empty
	faults   share.Retries         // read errors
}

// datagrams is a bounded FIFO queue of received datagrams.
type datagrams struct {
	most int // limit in octets

	mu     sync.Mutex
	list   []datagram
	octets int
}

type datagram struct {
	data []byte
	from netip.AddrPort
}

const (
	knownQueue    = 16 << 20 // octets
	strangeQueue  = 2 << 20
	strangerRate  = 1000 // datagrams per second that each stranger may send in any case
	strangerBurst = 2000
	strangersRate = 2000  // for all strangers together beyond that: source addresses can be forged
	maxStrangers  = 10000 // strangers whose rate is tracked
	smallDatagram = 2048
)

// buffers recycles buffers for datagrams of the usual size.
var buffers = sync.Pool{New: func() any { return new([smallDatagram]byte) }}

// put appends a copy of a datagram. It returns false if the queue is full.
func (q *datagrams) put(data []byte, from netip.AddrPort) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	size := max(len(data), smallDatagram)
	if q.octets+size > q.most {
		return false
	}
	var room []byte
	if len(data) <= smallDatagram {
		room = buffers.Get().(*[smallDatagram]byte)[:]
	} else {
		room = make([]byte, len(data))
	}
	q.octets += size
	q.list = append(q.list, datagram{room[:copy(room, data)], from})
	return true
}

// take returns the queued datagrams and reuses list, which has been handled, for the next ones.
func (q *datagrams) take(list []datagram) []datagram {
	clear(list)
	q.mu.Lock()
	defer q.mu.Unlock()
	list, q.list = q.list, list[:0]
	q.octets = 0
	return list
}

// free recycles the datagram's buffer.
func (d *datagram) free() {
	if cap(d.data) == smallDatagram {
		buffers.Put((*[smallDatagram]byte)(d.data[:smallDatagram]))
	}
	d.data = nil
}

func newUDPSocket(ua *UA, pc *net.UDPConn) *udpSocket {
	s := &udpSocket{ua: ua, pc: pc, local: unmap(pc.LocalAddr().(*net.UDPAddr).AddrPort()), arrivals: make(chan struct{}, 1)}
	s.known.most, s.strange.most = knownQueue, strangeQueue
	return s
}

func (s *udpSocket) send(data []byte, to netip.AddrPort) error {
	s.ua.trace(true, hop{s, to}, data, true) // first: the response can be there before the write returns
	_, err := s.pc.WriteToUDPAddrPort(data, to)
	return err
}

func (s *udpSocket) transport() string         { return "UDP" }
func (s *udpSocket) reliable() bool            { return false }
func (s *udpSocket) localAddr() netip.AddrPort { return s.local }
func (s *udpSocket) dead() bool                { return s.closed.Load() }
func (s *udpSocket) names() []string           { return nil }

// read reads datagrams until the socket is closed. A read error may report an earlier datagram
// (ICMP), so only a persistent error closes the socket.
func (s *udpSocket) read() {
	defer close(s.arrivals)
	buf := make([]byte, maxMessage+1)
	for {
		n, from, err := s.pc.ReadFromUDPAddrPort(buf)
		if err != nil {
			if s.dead() || errors.Is(err, net.ErrClosed) {
				return
			}
			pause, again := s.faults.Next()
			if !again {
				s.ua.log.Error("UDP socket failed and was closed", "address", s.local.String(), "err", err)
				s.ua.drop(s)
				return
			}
			select {
			case <-s.ua.ctx.Done():
				return
			case <-time.After(pause):
			}
			continue
		}
		s.faults.Reset()
		from = unmap(from)
		data := buf[:n]
		for len(data) > 0 && (data[0] == '\r' || data[0] == '\n' || data[0] == 0) {
			data = data[1:] // keep-alive (RFC 5626 3.5.1)
		}
		if len(data) > 0 && (s.ua.cfg.Admits == nil || s.ua.cfg.Admits(from.Addr())) {
			s.sort(data, from)
		}
	}
}

// sort queues a datagram as that of a known peer or of a stranger.
func (s *udpSocket) sort(data []byte, from netip.AddrPort) {
	put := s.known.put
	if s.ua.standingOf(hop{s, from}) == stranger {
		put = s.putStrange
	}
	if !put(data, from) {
		s.ua.stats.Dropped.Add(1)
		return
	}
	select {
	case s.arrivals <- struct{}{}:
	default:
	}
}

// putStrange queues a stranger's datagram. It returns false if that exceeds the limits.
func (s *udpSocket) putStrange(data []byte, from netip.AddrPort) bool {
	now := time.Now()
	if !s.ua.strangers.Allow(from.Addr(), now) && !s.spare.Take(struct{}{}, strangersRate, strangersRate, now) {
		return false
	}
	return s.strange.put(data, from)
}

// handle handles the queued datagrams one at a time, in the order in which each peer's arrived.
func (s *udpSocket) handle() {
	var known, strange []datagram
	next := 0 // index into strange
	for range s.arrivals {
		for {
			known = s.known.take(known)
			for i := range known {
				s.receive(&known[i])
			}
			if next == len(strange) {
				strange, next = s.strange.take(strange), 0
			}
			if next < len(strange) {
				s.receive(&strange[next])
				next++
			} else if len(known) == 0 {
				break
			}
		}
	}
}

func (s *udpSocket) receive(d *datagram) {
	s.ua.receive(d.data, hop{s, d.from})
	d.free()
}

func (s *udpSocket) close() {
	s.closed.Store(true)
	_ = s.pc.Close()
}
