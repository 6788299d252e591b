package media

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/pion/rtcp"
	"github.com/pion/rtp"

	"github.com/tr87proxy/tr87proxy/internal/share"
)

const (
	keyLength   = 30 // key of 16 octets and salt of 14
	maxPacket   = 1500
	reportEvery = 5 * time.Second
	silence     = 2 * time.Second // after this silence a peer may send from another port
)

// Watcher receives what a telephone sends besides voice. The leg calls its methods on its own
// goroutines: they must not block, and must not close the leg.
type Watcher interface {
	// Digit is called for each key pressed: 0 to 9, *, #, A to D.
	Digit(digit rune)
	// Dead is called once, with the reason: the telephone should send and has sent nothing for Config.Timeout
	// ([ErrSilent]), there are no keys for its voice ([ErrHandshake]), or the leg cannot receive any more.
	Dead(reason error)
}

// Leg is the voice of one telephone. Its methods are safe for concurrent use.
type Leg struct {
	engine        *Engine
	conn, control *net.UDPConn
	port          int
	shown         netip.Addr // our address in session descriptions
	watcher       Watcher
	group         sync.WaitGroup
	done          chan struct{}

	mu        sync.Mutex
	ssrc      uint32
	version   uint64 // of our session descriptions
	signals   netip.Addr
	peer      *description // agreed description; nil before the first
	offered   Direction    // direction of our last offer
	awaits    bool         // it has no answer
	initial   bool         // our last offer was one before any agreement
	encrypt   Encryption   // of our first offer
	ours      []format     // formats of our last description, and the payload types of its events
	prefer    []format     // formats that our first offer begins with
	wide      *codec       // agreed codec that only passes through; nil for G.711 alone
	flow      Direction    // agreed direction, as we see it
	to        netip.AddrPort
	heard     time.Time // time of the last packet
	began     time.Time // since when the telephone should send; zero while it has no answer from us
	localKey  []byte
	ourEvents [2]uint8
	keys      string // suite and key of the telephone's description
	voice     ciphers
	reports   ciphers // unless reports go with the voice
	room      *Room
	closed    bool
	dead      bool
	relay     *Leg       // gets our fax; nil while there is voice
	far       netip.Addr // where the telephone's fax comes from, besides signals

	associations [2]*association // onVoice, onReports; nil without DTLS
	early        [2]datagram     // that came before the answer to our offer, or before Begin

	// Sending.
	sequence  uint16
	timestamp uint32
	sent      uint32
	octets    uint32
	lastSent  time.Time
	source    uint32 // SSRC of the stream being forwarded, and the offset of its timestamps
	shift     uint32
	event     eventOut

	eventIn uint32 // timestamp of the last event reported
	anyIn   bool
}

// Open opens a leg. signals is the address of the telephone's signalling. The leg accepts voice
// only from that address and from the one in the telephone's session description. It returns
// [ErrNoPort] if no port is free.
func (e *Engine) Open(signals netip.Addr, watcher Watcher) (*Leg, error) {
	if err := e.identify(); err != nil {
		return nil, err
	}
	conn, control, port, err := e.open()
	if err != nil {
		return nil, err
	}
	var random [10 + keyLength]byte
	_, _ = rand.Read(random[:])
	l := &Leg{
		engine: e, conn: conn, control: control, port: port, watcher: watcher, done: make(chan struct{}), signals: signals.Unmap(), shown: e.towards(signals),
		ssrc: binary.BigEndian.Uint32(random[:]), sequence: binary.BigEndian.Uint16(random[4:]) >> 1, timestamp: binary.BigEndian.Uint32(random[6:]),
		localKey: random[10:],
	}
	l.group.Go(func() { l.listen(conn, share.Retries{}, l.packet) })
	l.group.Go(func() { l.listen(control, share.Retries{}, l.controlled) })
	l.group.Go(l.watch)
	return l, nil
}

// Close closes the leg and waits for its goroutines.
func (l *Leg) Close() {
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return
	}
	l.closed = true
	l.uncrypt()
	room := l.room
	l.mu.Unlock()
	if room != nil {
		room.remove(l)
	}
	close(l.done)
	_ = l.conn.Close()
	_ = l.control.Close()
	l.group.Wait()
	l.engine.release(l.port)
}

// Flow returns the agreed direction, as we see it.
func (l *Leg) Flow() Direction {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.flow
}

// TakesEvents reports whether the telephone accepts telephone events.
func (l *Leg) TakesEvents() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.peer == nil || l.peer.event != 0 || l.peer.event48 != 0
}

// listen reads packets from a socket and handles them until the leg is closed. A read error may
// report an earlier packet (ICMP); a persistent error, or a panic, ends the leg.
func (l *Leg) listen(conn *net.UDPConn, faults share.Retries, handle func(data []byte, from netip.AddrPort)) {
	defer share.Survive(l.engine.cfg.Log, "receiving voice", l.die)
	buf := make([]byte, maxPacket)
	for {
		n, from, err := conn.ReadFromUDPAddrPort(buf)
		if err == nil {
			faults.Reset()
			handle(buf[:n], netip.AddrPortFrom(from.Addr().Unmap(), from.Port()))
			continue
		}
		pause, again := faults.Next()
		select {
		case <-l.done:
			return
		case <-time.After(pause):
		}
		if !again {
			l.engine.cfg.Log.Error("could not receive voice", "port", l.port, "err", err)
			l.die(err)
			return
		}
	}
}

// ErrSilent is given to [Watcher.Dead]: the telephone has sent nothing.
var ErrSilent = errors.New("no voice from the telephone")

// die calls Watcher.Dead, once.
func (l *Leg) die(reason error) {
	l.mu.Lock()
	was := l.dead
	l.dead = true
	l.mu.Unlock()
	if !was {
		l.watcher.Dead(reason)
	}
}

// packet handles one packet of the voice's socket: voice goes to the room; events are reported and forwarded.
func (l *Leg) packet(data []byte, from netip.AddrPort) {
	if to, fax := l.relayed(from); fax {
		if to != nil {
			to.raw(data, l)
		}
		return
	}
	if l.beside(data, from) {
		return
	}
	p, of, room := l.opened(data, from)
	switch {
	case p == nil:
	case of == nil:
		l.key(p, room)
	case room != nil:
		room.voice(l, p, of)
	}
}

// beside handles what comes beside voice: records of DTLS and, if they go with the voice, reports. It returns false for
// everything else.
func (l *Leg) beside(data []byte, from netip.AddrPort) bool {
	report := isReport(data)
	if !report && !isRecord(data) {
		return false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case !report:
		l.record(onVoice, data, from)
	case l.peer == nil || !l.peer.mux:
		return false
	default:
		l.reported(data, from, l.voice)
	}
	return true
}

// isReport reports whether a packet is one of RTCP where it may be one of RTP, too (RFC 5761 4).
func isReport(data []byte) bool { return len(data) > 1 && data[1] >= 192 && data[1] <= 223 }

// knows reports whether a packet may be the telephone's: it comes from the address of its signalling or of its session
// description. Callers hold l.mu.
func (l *Leg) knows(from netip.AddrPort) bool {
	return l.peer != nil && (from.Addr() == l.peer.address.Addr() || from.Addr() == l.signals)
}

// opened decrypts and parses one packet and updates the time of the last packet. It returns nil
// if the packet is not from the telephone or must not be heard. of is the codec of voice, nil for a
// telephone event.
func (l *Leg) opened(data []byte, from netip.AddrPort) (p *rtp.Packet, of *codec, room *Room) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.knows(from) {
		return nil, nil, nil
	}
	if l.peer.keying != inClear {
		if l.voice.in == nil { // no keys yet
			return nil, nil, nil
		}
		plain, err := l.voice.in.DecryptRTP(nil, data, nil)
		if err != nil {
			return nil, nil, nil
		}
		data = plain
	}
	p = &rtp.Packet{}
	if err := p.Unmarshal(data); err != nil {
		return nil, nil, nil
	}
	now := time.Now()
	l.learn(from, now)
	l.heard, l.anyIn = now, true
	if !l.flow.Hears() || len(p.Payload) == 0 {
		return nil, nil, nil
	}
	of, known := l.inward(p.PayloadType)
	if !known {
		return nil, nil, nil
	}
	return p, of, l.room
}

// learn follows a telephone that sends from elsewhere than its description says: symmetric RTP (RFC 4961).
func (l *Leg) learn(from netip.AddrPort, now time.Time) {
	if from != l.to && (!l.anyIn || now.Sub(l.heard) > silence) {
		l.to = from
	}
}

// inward returns the codec of a packet's payload type, or nil for telephone events. The types of our own last
// description count (RFC 3264 5.1), then the peer's, which some telephones use instead. Callers hold l.mu.
func (l *Leg) inward(number uint8) (of *codec, known bool) {
	for _, list := range [][]format{l.ours, l.peer.formats} {
		for _, f := range list {
			if f.number == number {
				return f.codec, true
			}
		}
		if number != 0 && (slices.Contains(l.ourEvents[:], number) || number == l.peer.event || number == l.peer.event48) {
			return nil, true
		}
	}
	return nil, false
}

// controlled handles a packet of the reports' socket.
func (l *Leg) controlled(data []byte, from netip.AddrPort) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if isRecord(data) {
		l.record(onReports, data, from)
	} else {
		l.reported(data, from, l.reports)
	}
}

// reported handles an RTCP packet, which shows that the peer is alive. Callers hold l.mu.
func (l *Leg) reported(data []byte, from netip.AddrPort, c ciphers) {
	if !l.knows(from) {
		return
	}
	if l.peer.keying != inClear {
		if c.in == nil { // no keys
			return
		}
		plain, err := c.in.DecryptRTCP(nil, data, nil)
		if err != nil {
			return
		}
		data = plain
	}
	if _, err := rtcp.Unmarshal(data); err == nil {
		l.heard = time.Now()
	}
}

// watch sends reports and detects a dead telephone.
func (l *Leg) watch() {
	defer share.Survive(l.engine.cfg.Log, "supervising voice", l.die)
	tick := time.NewTicker(min(reportEvery, l.engine.cfg.Timeout/4))
	defer tick.Stop()
	reported := time.Now()
	for {
		select {
		case <-l.done:
			return
		case now := <-tick.C:
			if reason := l.silent(now); reason != nil {
				l.die(reason)
			}
			if now.Sub(reported) >= reportEvery {
				reported = now
				l.report(now)
			}
		}
	}
}

// silent returns an error if the telephone should have been heard within Config.Timeout and was not.
func (l *Leg) silent(now time.Time) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	last := l.heard
	if l.began.After(last) {
		last = l.began
	}
	a := l.associations[onVoice]
	switch {
	case !l.flow.Hears() || l.began.IsZero() || now.Sub(last) <= l.engine.cfg.Timeout:
		return nil
	case a != nil && !a.client && !a.started:
		return fmt.Errorf("%w: %w", ErrHandshake, a.why)
	}
	return ErrSilent
}

// report sends a sender report (RFC 3550 6.4.1).
func (l *Leg) report(now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.peer == nil || l.relay != nil || l.sent == 0 || !l.to.IsValid() {
		return
	}
	const sinceNTP = 2208988800 // seconds from 1900 to 1970
	ntp := uint64(now.Unix()+sinceNTP)<<32 | uint64(now.Nanosecond())<<32/uint64(time.Second)
	data, err := rtcp.Marshal([]rtcp.Packet{
		&rtcp.SenderReport{SSRC: l.ssrc, NTPTime: ntp, RTPTime: l.timestamp, PacketCount: l.sent, OctetCount: l.octets},
		&rtcp.SourceDescription{Chunks: []rtcp.SourceDescriptionChunk{{Source: l.ssrc, Items: []rtcp.SourceDescriptionItem{{Type: rtcp.SDESCNAME, Text: "tr87proxy"}}}}},
	})
	conn, c, to := l.control, l.reports, netip.AddrPortFrom(l.to.Addr(), l.to.Port()+1)
	if l.peer.mux {
		conn, c, to = l.conn, l.voice, l.to
	} else if a := l.associations[onReports]; a != nil {
		to = a.to
	}
	if err == nil && l.peer.keying != inClear {
		if c.out == nil { // no keys
			return
		}
		data, err = c.out.EncryptRTCP(nil, data, nil)
	}
	if err == nil {
		_, _ = conn.WriteToUDPAddrPort(data, to)
	}
}
