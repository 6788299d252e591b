package capture

import (
	"bytes"
	"errors"
	"io"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"

	"github.com/tr87proxy/tr87proxy/internal/trace"
)

// packets reads a capture file.
func packets(t *testing.T, file io.Reader) (list []gopacket.Packet) {
	t.Helper()
	r, err := pcapgo.NewReader(file)
	if err != nil {
		t.Fatal(err)
	}
	for {
		data, info, err := r.ReadPacketData()
		if errors.Is(err, io.EOF) {
			return list
		}
		if err != nil {
			t.Fatal(err)
		}
		first := gopacket.Decoder(layers.LayerTypeIPv4)
		if data[0]>>4 == 6 {
			first = layers.LayerTypeIPv6
		}
		p := gopacket.NewPacket(data, first, gopacket.Default)
		p.Metadata().Timestamp = info.Timestamp
		if p.ErrorLayer() != nil {
			t.Fatal(p.ErrorLayer().Error())
		}
		list = append(list, p)
	}
}

func record(lane trace.Lane, transport, local, remote string, out bool, octets string, cut int) *trace.Record {
	return &trace.Record{
		Time: time.Unix(1700000000, 123456789), Lane: lane, Kind: trace.Octets, Out: out, Octets: []byte(octets), Cut: cut,
		Flow: &trace.Flow{Protocol: "sip", Transport: transport, Local: netip.MustParseAddrPort(local), Remote: netip.MustParseAddrPort(remote)},
	}
}

// A connection begins with a handshake by the side that opens it, and its sequence numbers follow: the octets of each direction
// put together are the messages, and what is not kept is a gap.
func TestConnections(t *testing.T) {
	for _, tt := range []struct {
		lane          trace.Lane
		local, remote string
		opens         string // port
	}{
		{trace.Client, "192.0.2.1:8882", "198.51.100.7:4000", "4000"},
		{trace.Switch, "192.0.2.1:4001", "198.51.100.9:8882", "4001"},
		{trace.Telephone, "[2001:db8::1]:5060", "[2001:db8::2]:4002", "4002"},
	} {
		var file bytes.Buffer
		w, err := NewWriter(&file)
		if err != nil {
			t.Fatal(err)
		}
		long := strings.Repeat("x", longestSegment+10)
		for _, r := range []*trace.Record{
			record(tt.lane, "tls", tt.local, tt.remote, false, "one", 0), record(tt.lane, "tls", tt.local, tt.remote, true, "reply", 0),
			record(tt.lane, "tls", tt.local, tt.remote, false, "two", 5), record(tt.lane, "tls", tt.local, tt.remote, false, long, 0),
		} {
			if err := w.Write(r); err != nil {
				t.Fatal(err)
			}
		}
		list := packets(t, &file)
		if len(list) != 3+5 {
			t.Fatalf("%d packets", len(list))
		}
		next := map[string]uint32{}
		streams := map[string]string{}
		for i, p := range list {
			tcp := p.TransportLayer().(*layers.TCP)
			src, dst := p.NetworkLayer().NetworkFlow().Endpoints()
			from, to := netip.MustParseAddr(src.String()), netip.MustParseAddr(dst.String())
			port, other := tcp.TransportFlow().Endpoints()
			ends := netip.AddrPortFrom(from, uint16(tcp.SrcPort)).String() + " " + netip.AddrPortFrom(to, uint16(tcp.DstPort)).String()
			if ends != tt.local+" "+tt.remote && ends != tt.remote+" "+tt.local {
				t.Errorf("packet %d goes from %s", i, ends)
			}
			if i == 0 && (port.String() != tt.opens || !tcp.SYN || tcp.ACK) || i == 1 && (other.String() != tt.opens || !tcp.SYN || !tcp.ACK) || i > 1 && (tcp.SYN || !tcp.ACK) {
				t.Errorf("packet %d of the handshake comes from %s, SYN %t, ACK %t", i, port, tcp.SYN, tcp.ACK)
			}
			if gap := tcp.Seq - next[port.String()]; gap != 0 && gap != 5 || gap == 5 && !strings.HasPrefix(string(tcp.Payload), "x") {
				t.Errorf("packet %d begins %d octets too late", i, gap)
			}
			if tcp.ACK && tcp.Ack != next[other.String()] {
				t.Errorf("packet %d confirms %d of %d octets", i, tcp.Ack, next[other.String()])
			}
			next[port.String()] = tcp.Seq + uint32(len(tcp.Payload))
			if tcp.SYN {
				next[port.String()]++
			}
			streams[port.String()] += string(tcp.Payload)
			if !p.Metadata().Timestamp.Equal(time.Unix(1700000000, 123456789)) {
				t.Errorf("packet %d has the time %s", i, p.Metadata().Timestamp)
			}
		}
		local, remote := netip.MustParseAddrPort(tt.local), netip.MustParseAddrPort(tt.remote)
		if got := streams[portOf(remote)]; got != "onetwo"+long {
			t.Errorf("the peer sent %.20q", got)
		}
		if got := streams[portOf(local)]; got != "reply" {
			t.Errorf("the proxy sent %q", got)
		}
	}
}

func portOf(a netip.AddrPort) string {
	return layers.NewTCPPortEndpoint(layers.TCPPort(a.Port())).String()
}

// A message over UDP is a datagram; that of a socket at all addresses has addresses of one kind.
func TestDatagrams(t *testing.T) {
	for _, tt := range []struct{ local, remote, from string }{
		{"192.0.2.1:5060", "198.51.100.7:4000", "192.0.2.1"},
		{"[::]:5060", "198.51.100.7:4000", "0.0.0.0"},
		{"[2001:db8::1]:5060", "[2001:db8::2]:4000", "2001:db8::1"},
	} {
		var file bytes.Buffer
		w, err := NewWriter(&file)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range []*trace.Record{record(trace.Client, "udp", tt.local, tt.remote, true, "OPTIONS", 0), record(trace.Client, "udp", tt.local, tt.remote, false, "", 20)} {
			if err := w.Write(r); err != nil {
				t.Fatal(err)
			}
		}
		list := packets(t, &file)
		if len(list) != 1 {
			t.Fatalf("%d packets", len(list))
		}
		udp := list[0].TransportLayer().(*layers.UDP)
		if from := list[0].NetworkLayer().NetworkFlow().Src().String(); from != tt.from || udp.SrcPort != 5060 || udp.DstPort != 4000 || string(udp.Payload) != "OPTIONS" {
			t.Errorf("%s:%d to %d: %q", from, udp.SrcPort, udp.DstPort, udp.Payload)
		}
	}
}
