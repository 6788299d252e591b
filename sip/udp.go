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

// udpSocket is a listening UDP socket. One goroutine does nothing but read it, so that the
// kernel's buffer, which makes no difference between peers, does not run over while a message is
// handled; another handles what was read, what known peers sent before what strangers did.
type udpSocket struct {
	ua       *UA
	pc       *net.UDPConn
	local    netip.AddrPort
	closed   atomic.Bool
	known    datagrams
	strange  datagrams
	spare    share.Meter[struct{}] // what all strangers may send beyond their rates
	arrivals chan struct{}         // there is something in a queue
	faults   share.Faults          // of reading
}

// datagrams is a bounded queue of what was read, in the order in which it came.
type datagrams struct {
	most int // octets

	mu     sync.Mutex
	list   []datagram
	octets int
}

type datagram struct {
	data []byte
	from netip.AddrPort
}

const (
	knownQueue    = 16 << 20 // octets of datagrams that wait
	strangeQueue  = 2 << 20
	strangerRate  = 1000 // datagrams in a second of one stranger that are looked at in any case
	strangerBurst = 2000
	strangersRate = 2000  // and of all strangers, beyond that: anybody can write an address into a datagram
	maxStrangers  = 10000 // whose datagrams are counted
	smallDatagram = 2048
)

// buffers are for datagrams of the usual size.
var buffers = sync.Pool{New: func() any { return new([smallDatagram]byte) }}

// put takes a copy of a datagram in; false when there is no room.
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

// take empties the queue into list, which has been handled.
func (q *datagrams) take(list []datagram) []datagram {
	clear(list)
	q.mu.Lock()
	defer q.mu.Unlock()
	list, q.list = q.list, list[:0]
	q.octets = 0
	return list
}

// free gives the room of a datagram to the next.
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
	if _, err := s.pc.WriteToUDPAddrPort(data, to); err != nil {
		return err
	}
	s.ua.trace(true, hop{s, to}, data)
	return nil
}

func (s *udpSocket) transport() string         { return "UDP" }
func (s *udpSocket) reliable() bool            { return false }
func (s *udpSocket) localAddr() netip.AddrPort { return s.local }
func (s *udpSocket) dead() bool                { return s.closed.Load() }
func (s *udpSocket) names() []string           { return nil }

// read reads datagrams until the socket closes. An error may be about an earlier datagram (ICMP):
// one that stays ends the socket.
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
				s.ua.log.Error("UDP socket failed: it is closed", "address", s.local.String(), "err", err)
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
		s.faults.Worked()
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

// sort puts a datagram into the queue of those that we know, or of strangers. A stranger's rate is
// of no matter while hardly any wait: what is too much may be forged, and the address that of a peer
// with something to say.
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

// putStrange takes a copy of a stranger's datagram in; false when it is too much.
func (s *udpSocket) putStrange(data []byte, from netip.AddrPort) bool {
	now := time.Now()
	if !s.ua.strangers.Allow(from.Addr(), now) && !s.spare.Take(struct{}{}, strangersRate, strangersRate, now) {
		return false
	}
	return s.strange.put(data, from)
}

// handle handles what was read, one datagram after the other: that keeps the order in which those
// of a peer came.
func (s *udpSocket) handle() {
	var known, strange []datagram
	next := 0 // of strange
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
