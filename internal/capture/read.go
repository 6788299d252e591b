package capture

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/ip4defrag"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"
)

// Piece is octets of a capture file that somebody has sent: a datagram of UDP, or the next octets of one direction of a
// connection of TCP.
type Piece struct {
	Time     time.Time // of the packet
	From, To netip.AddrPort
	UDP      bool
	Gap      bool // octets before these are missing in the capture
	Octets   []byte
}

// The limits of what is read of a capture file.
const (
	longestFile = 256 << 20
	mostWays    = 20000 // directions of connections that are remembered; then all of them begin anew
	mostHeld    = 64    // segments of one direction that wait for one before them
)

// errLong means that a capture file has more than longestFile octets.
var errLong = errors.New("the capture is longer than 256 MiB; cut it into pieces, for example with editcap -c 100000")

// Captured reports whether octets are the beginning of a capture file: pcap or pcapng.
func Captured(begin []byte) bool {
	for _, magic := range []string{"\xa1\xb2\xc3\xd4", "\xd4\xc3\xb2\xa1", "\xa1\xb2\x3c\x4d", "\x4d\x3c\xb2\xa1", "\x0a\x0d\x0d\x0a"} {
		if bytes.HasPrefix(begin, []byte(magic)) {
			return true
		}
	}
	return false
}

// source is where packets come from.
type source interface {
	ReadPacketData() ([]byte, gopacket.CaptureInfo, error)
	LinkType() layers.LinkType
}

// Read calls each with what a capture file has, in the order in which it was sent: repeated segments once, and those in another
// order in the right one. A file that ends in a packet is read up to there. It returns the first error of each, or an error if
// the file cannot be read.
func Read(from io.Reader, each func(Piece) error) error {
	limited := &io.LimitedReader{R: from, N: longestFile + 1}
	file := bufio.NewReader(limited)
	var packets source
	begin, err := file.Peek(4)
	if err == nil && bytes.Equal(begin, []byte("\x0a\x0d\x0d\x0a")) {
		packets, err = pcapgo.NewNgReader(file, pcapgo.NgReaderOptions{WantMixedLinkType: true, SkipUnknownVersion: true})
	} else if err == nil {
		packets, err = pcapgo.NewReader(file)
	}
	if err != nil {
		return fmt.Errorf("not a capture file: %w", err)
	}
	r := &reader{each: each, ways: map[way]*half{}, fragments: ip4defrag.NewIPv4Defragmenter()}
	for {
		data, info, err := packets.ReadPacketData()
		switch {
		case limited.N == 0:
			return errLong
		case errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF):
			return r.end()
		case err != nil:
			return errors.Join(r.end(), fmt.Errorf("the capture cannot be read on: %w", err))
		}
		link := packets.LinkType()
		if len(info.AncillaryData) > 0 {
			link, _ = info.AncillaryData[0].(layers.LinkType)
		}
		if err := r.packet(gopacket.NewPacket(data, link, gopacket.DecodeOptions{NoCopy: true}), info.Timestamp); err != nil {
			return err
		}
	}
}

// reader puts the segments of a capture in order.
type reader struct {
	each      func(Piece) error
	ways      map[way]*half
	fragments *ip4defrag.IPv4Defragmenter
}

// way is a direction of a connection.
type way struct{ from, to netip.AddrPort }

// half is what is known of a direction.
type half struct {
	next uint32    // sequence number of the octet that comes next
	held []segment // after a gap, in the order in which they came
}

type segment struct {
	at     time.Time
	seq    uint32
	octets []byte
}

// packet reads a packet.
func (r *reader) packet(p gopacket.Packet, at time.Time) error {
	if ip, _ := p.Layer(layers.LayerTypeIPv4).(*layers.IPv4); ip != nil && (ip.FragOffset > 0 || ip.Flags&layers.IPv4MoreFragments != 0) {
		whole, err := r.fragments.DefragIPv4WithTimestamp(ip, at)
		if err != nil || whole == nil {
			return nil //nolint:nilerr // a fragment that fits nowhere is no message
		}
		p = gopacket.NewPacket(append(headerOf(whole), whole.Payload...), layers.LayerTypeIPv4, gopacket.DecodeOptions{NoCopy: true})
	}
	network := p.NetworkLayer()
	if network == nil {
		return nil
	}
	source, destination := network.NetworkFlow().Endpoints()
	address := func(e gopacket.Endpoint, port uint16) netip.AddrPort {
		a, _ := netip.AddrFromSlice(e.Raw())
		return netip.AddrPortFrom(a.Unmap(), port)
	}
	switch t := p.TransportLayer().(type) {
	case *layers.UDP:
		return r.each(Piece{Time: at, From: address(source, uint16(t.SrcPort)), To: address(destination, uint16(t.DstPort)), UDP: true, Octets: t.Payload})
	case *layers.TCP:
		return r.segment(way{address(source, uint16(t.SrcPort)), address(destination, uint16(t.DstPort))}, t, at)
	}
	return nil
}

// headerOf returns the header of a packet that was put together.
func headerOf(ip *layers.IPv4) []byte {
	b := gopacket.NewSerializeBuffer()
	whole := *ip
	whole.Flags, whole.FragOffset, whole.Options = 0, 0, nil
	if err := gopacket.SerializeLayers(b, gopacket.SerializeOptions{FixLengths: true}, &whole, gopacket.Payload(ip.Payload)); err != nil {
		return nil
	}
	return bytes.Clone(b.Bytes()[:len(b.Bytes())-len(ip.Payload)])
}

// segment takes a segment of TCP.
func (r *reader) segment(w way, t *layers.TCP, at time.Time) error {
	if other := r.ways[way{w.to, w.from}]; other != nil && t.ACK && len(other.held) > 0 && int32(t.Ack-other.next) > 0 {
		if err := r.skip(way{w.to, w.from}, other); err != nil { // the peer has what the capture has not
			return err
		}
	}
	h := r.ways[w]
	if h == nil || t.SYN {
		if len(r.ways) >= mostWays {
			clear(r.ways)
		}
		h = &half{next: t.Seq}
		if t.SYN {
			h.next++
		}
		r.ways[w] = h
	}
	if len(t.Payload) == 0 {
		return nil
	}
	h.held = append(h.held, segment{at, t.Seq, t.Payload})
	if err := r.release(w, h, false); err != nil || len(h.held) <= mostHeld {
		return err
	}
	return r.skip(w, h)
}

// release passes on what has become next.
func (r *reader) release(w way, h *half, gap bool) error {
	for i := 0; i < len(h.held); {
		s := h.held[i]
		before := int(int32(h.next - s.seq)) // octets that have come already
		if before < 0 {
			i++
			continue
		}
		h.held = append(h.held[:i], h.held[i+1:]...)
		i = 0
		if before >= len(s.octets) {
			continue
		}
		h.next = s.seq + uint32(len(s.octets))
		if err := r.each(Piece{Time: s.at, From: w.from, To: w.to, Gap: gap, Octets: s.octets[before:]}); err != nil {
			return err
		}
		gap = false
	}
	return nil
}

// skip gives up the octets that are missing before the first segment that is held.
func (r *reader) skip(w way, h *half) error {
	first := h.held[0].seq
	for _, s := range h.held {
		if int32(s.seq-first) < 0 {
			first = s.seq
		}
	}
	h.next = first
	return r.release(w, h, true)
}

// end passes on what is held at the end of the capture.
func (r *reader) end() error {
	for w, h := range r.ways {
		for len(h.held) > 0 {
			if err := r.skip(w, h); err != nil {
				return err
			}
		}
	}
	return nil
}
