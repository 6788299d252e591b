package media

import (
	"crypto/rand"
	"encoding/binary"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/pion/rtcp"
	"github.com/pion/rtp"
	"github.com/pion/srtp/v3"

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
	// Dead is called once: when the telephone should send and has sent nothing for
	// Config.Timeout, or when the leg cannot receive any more.
	Dead()
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
	encrypt   Encryption   // of our first offer
	ours      []format     // formats of our last description, and the payload types of its events
	prefer    []format     // formats that our first offer begins with
	wide      *codec       // agreed codec that only passes through; nil for G.711 alone
	flow      Direction    // agreed direction, as we see it
	to        netip.AddrPort
	heard     time.Time // time of the last packet
	began     time.Time // since when the telephone should send
	localKey  []byte
	ourEvents [2]uint8
	in, out   *srtp.Context
	keys      string // suite and key of in
	room      *Room
	closed    bool
	dead      bool
	relay     *Leg       // gets our fax; nil while there is voice
	far       netip.Addr // where the telephone's fax comes from, besides signals

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
	l.group.Go(func() { l.listen(control, share.Retries{}, l.reported) })
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

// Propose returns the first offer to a peer; secure is whether its signalling uses TLS. It returns
// [ErrPlainKeys] if the voice must be encrypted and cannot be.
func (l *Leg) Propose(dir Direction, secure bool) ([]byte, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.encrypt == Required && !secure {
		return nil, ErrPlainKeys
	}
	return l.offer(dir, secure), nil
}

// Offer returns an SDP offer that asks for a direction. It keeps the encryption that was agreed.
func (l *Leg) Offer(dir Direction) []byte {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.offer(dir, false)
}

// offer implements Propose and Offer. Callers hold l.mu.
func (l *Leg) offer(dir Direction, secure bool) []byte {
	l.offered, l.awaits = dir, true
	to := l.peer
	if to == nil {
		proto := "RTP/AVP"
		if l.encrypt == Required {
			proto = "RTP/SAVP"
		}
		to = &description{event: eventPayload, event48: eventPayload48, lines: []stream{{proto: proto}}}
		if to.secure = secure && l.encrypt != Accepted; to.secure {
			to.tag, to.suite = "1", suites[0]
		}
	}
	return l.write(dir, to, l.offers(to))
}

// Awaits reports whether our last offer has no answer yet.
func (l *Leg) Awaits() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.awaits
}

// Asks returns the direction that a peer's offer asks for, as the peer sees it, and whether the
// offer differs from its last description (RFC 3264 8: its o= line says so). It changes nothing.
// [Leg.Answer] accepts an offer that Asks accepts.
func (l *Leg) Asks(data []byte, from Peer) (asks Direction, differs bool, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	d, err := l.readOffer(data, from)
	if err != nil {
		return "", false, err
	}
	return d.direction, l.peer == nil || l.peer.origin != d.origin, nil
}

// Answered applies the peer's answer to our offer. It returns an error if the answer is
// unusable; the previous agreement then stays.
func (l *Leg) Answered(data []byte, from Peer) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.awaits = false
	noKeys := from.noKeys()
	if l.encrypt == Accepted && (l.peer == nil || !l.peer.secure) {
		noKeys = ErrNoCrypto // we offered none
	}
	d, err := l.read(data, from, noKeys)
	if err != nil {
		return err
	}
	if err := l.accept(d); err != nil {
		return err
	}
	return l.agree(d, both(l.offered, d.direction.reverse()), from)
}

// Answer applies the peer's offer. It returns our answer and the direction the offer asks for,
// as the peer sees it. want is the direction we would like.
func (l *Leg) Answer(data []byte, want Direction, from Peer) (answer []byte, asks Direction, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	d, err := l.readOffer(data, from)
	if err != nil {
		return nil, "", err
	}
	flow := both(want, d.direction.reverse())
	if err := l.agree(d, flow, from); err != nil {
		return nil, "", err
	}
	l.awaits = false
	return l.write(flow, d, l.chosen(d)), d.direction, nil
}

// agree makes a session description effective. Callers hold l.mu.
func (l *Leg) agree(d *description, flow Direction, from Peer) error {
	if d.secure {
		if err := l.crypt(d); err != nil {
			return err
		}
	} else if l.out != nil {
		l.in, l.out, l.keys = nil, nil, ""
		_, _ = rand.Read(l.localKey) // packet numbers go on, and must not meet the same key again (RFC 3711 9.1)
	}
	if l.peer == nil || l.peer.address != d.address || l.relay != nil {
		l.to = d.address
	}
	l.relay = nil
	if !l.flow.Hears() && flow.Hears() {
		l.began = time.Now()
	}
	l.peer, l.flow, l.signals = d, flow, from.Addr.Unmap()
	return nil
}

// read parses a peer's session description, and checks its address and encryption. Callers hold l.mu.
func (l *Leg) read(data []byte, from Peer, noKeys error) (*description, error) {
	d, err := read(data, from.Addr, noKeys)
	if err != nil {
		return nil, err
	}
	if !d.secure && l.encrypt == Required {
		return nil, ErrNoCrypto
	}
	return d, l.engine.permit(d, from.Addr)
}

// readOffer is read for an offer, which must have a codec that we mix, or the one that passes through by now. Callers
// hold l.mu.
func (l *Leg) readOffer(data []byte, from Peer) (*description, error) {
	d, err := l.read(data, from, from.noKeys())
	if err == nil && d.law() == nil && (l.wide == nil || withCodec(d.formats, l.wide) == nil) {
		err = ErrNoCodec
	}
	return d, err
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

// Secure reports whether the voice is encrypted.
func (l *Leg) Secure() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.out != nil
}

// listen reads packets from a socket and handles them until the leg is closed. A read error may
// report an earlier packet (ICMP); a persistent error, or a panic, ends the leg.
func (l *Leg) listen(conn *net.UDPConn, faults share.Retries, handle func(data []byte, from netip.AddrPort)) {
	defer share.Survive(l.engine.cfg.Log, "receiving voice", func(error) { l.die() })
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
			l.die()
			return
		}
	}
}

// die calls Watcher.Dead, once.
func (l *Leg) die() {
	l.mu.Lock()
	was := l.dead
	l.dead = true
	l.mu.Unlock()
	if !was {
		l.watcher.Dead()
	}
}

// packet handles one packet: voice goes to the room; events are reported and forwarded.
func (l *Leg) packet(data []byte, from netip.AddrPort) {
	if to, fax := l.relayed(from); fax {
		if to != nil {
			to.raw(data, l)
		}
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

// opened decrypts and parses one packet and updates the time of the last packet. It returns nil
// if the packet is not from the telephone or must not be heard. of is the codec of voice, nil for a
// telephone event.
func (l *Leg) opened(data []byte, from netip.AddrPort) (p *rtp.Packet, of *codec, room *Room) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.peer == nil || from.Addr() != l.peer.address.Addr() && from.Addr() != l.signals {
		return nil, nil, nil
	}
	if l.in != nil {
		plain, err := l.in.DecryptRTP(nil, data, nil)
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

// reported handles an RTCP packet, which shows that the peer is alive.
func (l *Leg) reported(data []byte, from netip.AddrPort) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.peer == nil || from.Addr() != l.peer.address.Addr() && from.Addr() != l.signals {
		return
	}
	if l.in != nil {
		plain, err := l.in.DecryptRTCP(nil, data, nil)
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
	defer share.Survive(l.engine.cfg.Log, "supervising voice", func(error) { l.die() })
	tick := time.NewTicker(min(reportEvery, l.engine.cfg.Timeout/4))
	defer tick.Stop()
	reported := time.Now()
	for {
		select {
		case <-l.done:
			return
		case now := <-tick.C:
			if l.silent(now) {
				l.die()
			}
			if now.Sub(reported) >= reportEvery {
				reported = now
				l.report(now)
			}
		}
	}
}

// silent reports whether the telephone should have been heard within Config.Timeout.
func (l *Leg) silent(now time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	last := l.heard
	if l.began.After(last) {
		last = l.began
	}
	return l.flow.Hears() && now.Sub(last) > l.engine.cfg.Timeout
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
	if err == nil && l.out != nil {
		data, err = l.out.EncryptRTCP(nil, data, nil)
	}
	if err == nil {
		_, _ = l.control.WriteToUDPAddrPort(data, netip.AddrPortFrom(l.to.Addr(), l.to.Port()+1))
	}
}
