// Package capture writes the octets of a trace as a capture file, for Wireshark and sngrep: messages on connections become the
// segments of TCP, the others datagrams of UDP. It reads the files of anybody. It knows no protocol above these.
package capture

import (
	"io"
	"net/netip"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"

	"github.com/tr87proxy/tr87proxy/internal/trace"
)

// The sizes of packets.
const (
	snapLength     = 65535 // the longest packet
	longestSegment = 65000 // octets of a message in one packet, so that most messages are in one
	mostFlows      = 10000 // that a Writer remembers; then all of them begin anew
)

// Writer writes a capture file.
type Writer struct {
	file   *pcapgo.Writer
	flows  map[trace.Flow]*stream
	packet gopacket.SerializeBuffer
}

// stream has the next sequence numbers of a connection of TCP.
type stream struct{ local, remote uint32 }

// NewWriter begins a capture file of packets of IP without frames below.
func NewWriter(to io.Writer) (*Writer, error) {
	w := &Writer{file: pcapgo.NewWriterNanos(to), flows: map[trace.Flow]*stream{}, packet: gopacket.NewSerializeBuffer()}
	return w, w.file.WriteFileHeader(snapLength, layers.LinkTypeRaw)
}

// Write writes a record of kind trace.Octets. The first one of a connection has the handshake of TCP before it. Octets that the
// trace has not kept are missing from a connection, as packets that were not captured.
func (w *Writer) Write(r *trace.Record) error {
	f := *r.Flow
	if f.Transport == "udp" || f.Transport == "dtls" {
		if len(r.Octets) == 0 {
			return nil
		}
		from, to := ends(r)
		return w.write(r.Time, from, to, &layers.UDP{SrcPort: layers.UDPPort(from.Port()), DstPort: layers.UDPPort(to.Port())}, r.Octets[:min(len(r.Octets), longestSegment)])
	}
	s := w.flows[f]
	if s == nil {
		if len(w.flows) == mostFlows {
			clear(w.flows)
		}
		s = &stream{}
		w.flows[f] = s
		if err := w.shakeHands(r, s); err != nil {
			return err
		}
	}
	for rest := r.Octets; len(rest) > 0; {
		n := min(len(rest), longestSegment)
		if err := w.segment(r, s, r.Out, layers.TCP{PSH: true, ACK: true}, rest[:n]); err != nil {
			return err
		}
		rest = rest[n:]
	}
	s.advance(r.Out, r.Cut)
	return nil
}

// shakeHands writes how a connection begins: the proxy opens those to switches, its peers the others.
func (w *Writer) shakeHands(r *trace.Record, s *stream) error {
	opens := r.Lane == trace.Switch
	for _, step := range []struct {
		out   bool
		flags layers.TCP
	}{{opens, layers.TCP{SYN: true}}, {!opens, layers.TCP{SYN: true, ACK: true}}, {opens, layers.TCP{ACK: true}}} {
		if err := w.segment(r, s, step.out, step.flags, nil); err != nil {
			return err
		}
	}
	return nil
}

// advance moves the sequence number of one direction on.
func (s *stream) advance(out bool, octets int) {
	if out {
		s.local += uint32(octets)
	} else {
		s.remote += uint32(octets)
	}
}

// segment writes a segment of TCP in a direction.
func (w *Writer) segment(r *trace.Record, s *stream, out bool, tcp layers.TCP, octets []byte) error {
	way := trace.Record{Flow: r.Flow, Out: out}
	from, to := ends(&way)
	tcp.SrcPort, tcp.DstPort, tcp.Window = layers.TCPPort(from.Port()), layers.TCPPort(to.Port()), 65535
	tcp.Seq, tcp.Ack = s.remote, s.local
	if out {
		tcp.Seq, tcp.Ack = s.local, s.remote
	}
	if !tcp.ACK {
		tcp.Ack = 0
	}
	s.advance(out, len(octets))
	if tcp.SYN {
		s.advance(out, 1)
	}
	return w.write(r.Time, from, to, &tcp, octets)
}

// ends returns where a message came from and where it went, in addresses of one kind.
func ends(r *trace.Record) (from, to netip.AddrPort) {
	local, remote := r.Flow.Local, r.Flow.Remote
	if local.Addr().Is4() != remote.Addr().Is4() {
		if !local.IsValid() || local.Addr().IsUnspecified() && remote.Addr().Is4() { // a socket at all addresses
			local = netip.AddrPortFrom(netip.IPv4Unspecified(), local.Port())
		}
		if !local.Addr().Is4() || !remote.Addr().Is4() {
			local, remote = wide(local), wide(remote)
		}
	}
	if r.Out {
		return local, remote
	}
	return remote, local
}

// wide returns an address as one of IPv6.
func wide(a netip.AddrPort) netip.AddrPort {
	if !a.IsValid() {
		return netip.AddrPortFrom(netip.IPv6Unspecified(), a.Port())
	}
	return netip.AddrPortFrom(netip.AddrFrom16(a.Addr().As16()), a.Port())
}

// transport is a layer of TCP or UDP.
type transport interface {
	gopacket.SerializableLayer
	SetNetworkLayerForChecksum(l gopacket.NetworkLayer) error
}

// write writes a packet.
func (w *Writer) write(at time.Time, from, to netip.AddrPort, above transport, octets []byte) error {
	protocol := layers.IPProtocolTCP
	if above.LayerType() == layers.LayerTypeUDP {
		protocol = layers.IPProtocolUDP
	}
	var below interface {
		gopacket.SerializableLayer
		gopacket.NetworkLayer
	} = &layers.IPv6{Version: 6, HopLimit: 64, NextHeader: protocol, SrcIP: from.Addr().AsSlice(), DstIP: to.Addr().AsSlice()}
	if from.Addr().Is4() {
		below = &layers.IPv4{Version: 4, TTL: 64, Protocol: protocol, SrcIP: from.Addr().AsSlice(), DstIP: to.Addr().AsSlice()}
	}
	if err := above.SetNetworkLayerForChecksum(below); err != nil {
		return err
	}
	if err := gopacket.SerializeLayers(w.packet, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, below, above, gopacket.Payload(octets)); err != nil {
		return err
	}
	data := w.packet.Bytes()
	return w.file.WritePacket(gopacket.CaptureInfo{Timestamp: at, CaptureLength: len(data), Length: len(data)}, data)
}
