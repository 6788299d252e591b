package capture

import (
	"bytes"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"
)

// sent is a segment of TCP in a test: a client at port 4000, a server at 8882.
type sent struct {
	out      bool // from the server
	seq, ack uint32
	syn      bool
	octets   string
}

// captureOf returns a capture file, pcap or pcapng, of frames of Ethernet.
func captureOf(t *testing.T, ng bool, list ...sent) []byte {
	t.Helper()
	var file bytes.Buffer
	var write func(gopacket.CaptureInfo, []byte) error
	if ng {
		w, err := pcapgo.NewNgWriter(&file, layers.LinkTypeEthernet)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = w.Flush() }()
		write = func(i gopacket.CaptureInfo, b []byte) error {
			if err := w.WritePacket(i, b); err != nil {
				return err
			}
			return w.Flush()
		}
	} else {
		w := pcapgo.NewWriter(&file)
		if err := w.WriteFileHeader(65535, layers.LinkTypeEthernet); err != nil {
			t.Fatal(err)
		}
		write = w.WritePacket
	}
	for i, s := range list {
		client, server := []byte{192, 0, 2, 1}, []byte{192, 0, 2, 2}
		ip := &layers.IPv4{Version: 4, TTL: 64, Protocol: layers.IPProtocolTCP, SrcIP: client, DstIP: server}
		tcp := &layers.TCP{SrcPort: 4000, DstPort: 8882, Seq: s.seq, Ack: s.ack, ACK: s.ack != 0, SYN: s.syn}
		if s.out {
			ip.SrcIP, ip.DstIP, tcp.SrcPort, tcp.DstPort = server, client, 8882, 4000
		}
		_ = tcp.SetNetworkLayerForChecksum(ip)
		b := gopacket.NewSerializeBuffer()
		ethernet := &layers.Ethernet{SrcMAC: make([]byte, 6), DstMAC: make([]byte, 6), EthernetType: layers.EthernetTypeIPv4}
		if err := gopacket.SerializeLayers(b, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, ethernet, ip, tcp, gopacket.Payload(s.octets)); err != nil {
			t.Fatal(err)
		}
		info := gopacket.CaptureInfo{Timestamp: time.Unix(1700000000+int64(i), 0), CaptureLength: len(b.Bytes()), Length: len(b.Bytes())}
		if err := write(info, b.Bytes()); err != nil {
			t.Fatal(err)
		}
	}
	return file.Bytes()
}

// pieces returns what Read finds, in short.
func pieces(t *testing.T, file []byte) (list []string) {
	t.Helper()
	if err := Read(bytes.NewReader(file), func(p Piece) error {
		text := map[bool]string{true: "gap ", false: ""}[p.Gap] + "< "
		if p.From.Port() == 8882 {
			text = strings.Replace(text, "<", ">", 1)
		}
		list = append(list, text+string(p.Octets))
		if p.UDP || p.From.Addr() == p.To.Addr() || p.Time.Unix() < 1700000000 {
			t.Errorf("%+v", p)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return list
}

// Segments that are repeated, overlap, come in another order, or are missing in the capture, are read in order; sequence numbers
// begin again at 0.
func TestReadSegments(t *testing.T) {
	for name, tt := range map[string]struct {
		sent []sent
		want []string
	}{
		"in order":          {[]sent{{seq: 9, syn: true}, {seq: 10, octets: "ab"}, {out: true, seq: 100, octets: "xy"}, {seq: 12, octets: "cd"}}, []string{"< ab", "> xy", "< cd"}},
		"repeated":          {[]sent{{seq: 10, octets: "ab"}, {seq: 10, octets: "ab"}, {seq: 11, octets: "bcd"}}, []string{"< ab", "< cd"}},
		"another order":     {[]sent{{seq: 9, syn: true}, {seq: 14, octets: "ef"}, {seq: 12, octets: "cd"}, {seq: 10, octets: "ab"}}, []string{"< ab", "< cd", "< ef"}},
		"not captured":      {[]sent{{seq: 9, syn: true}, {seq: 12, octets: "cd"}, {out: true, seq: 1, ack: 14, octets: "ok"}, {seq: 14, octets: "ef"}}, []string{"gap < cd", "> ok", "< ef"}},
		"missing at end":    {[]sent{{seq: 9, syn: true}, {seq: 12, octets: "cd"}}, []string{"gap < cd"}},
		"round the numbers": {[]sent{{seq: 0xFFFFFFFF, octets: "ab"}, {seq: 3, octets: "ef"}, {seq: 1, octets: "cd"}}, []string{"< ab", "< cd", "< ef"}},
		"a new connection":  {[]sent{{seq: 9, syn: true}, {seq: 10, octets: "ab"}, {seq: 500, syn: true}, {seq: 501, octets: "cd"}}, []string{"< ab", "< cd"}},
	} {
		for _, ng := range []bool{false, true} {
			if got := pieces(t, captureOf(t, ng, tt.sent...)); !slices.Equal(got, tt.want) {
				t.Errorf("%s, pcapng %v: %q, want %q", name, ng, got, tt.want)
			}
		}
	}
	held := []sent{{seq: 9, syn: true}}
	for i := range uint32(mostHeld + 1) {
		held = append(held, sent{seq: 100 + i, octets: "x"})
	}
	if got := pieces(t, captureOf(t, false, append(held, sent{out: true, seq: 1, octets: "y"})...)); len(got) != mostHeld+2 || got[0] != "gap < x" || got[len(got)-1] != "> y" {
		t.Errorf("more segments than are held: %q", got)
	}
}

// What Writer writes is read as it was, but for octets that were not kept.
func TestReadWritten(t *testing.T) {
	var file bytes.Buffer
	w, err := NewWriter(&file)
	if err != nil {
		t.Fatal(err)
	}
	long := strings.Repeat("y", longestSegment+10)
	for _, r := range []struct {
		transport string
		out       bool
		octets    string
		cut       int
	}{{"tcp", false, "one", 0}, {"tcp", true, "two", 5}, {"udp", false, "three", 0}, {"tcp", true, "four", 0}, {"tcp", false, long, 0}} {
		if err := w.Write(record("client", r.transport, "192.0.2.1:5060", "198.51.100.7:4000", r.out, r.octets, r.cut)); err != nil {
			t.Fatal(err)
		}
	}
	local, remote := netip.MustParseAddrPort("192.0.2.1:5060"), netip.MustParseAddrPort("198.51.100.7:4000")
	var got []string
	if err := Read(&file, func(p Piece) error {
		if p.From == local && p.To == remote {
			got = append(got, ">"+string(p.Octets))
		} else if p.From == remote && p.To == local {
			got = append(got, "<"+string(p.Octets))
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if want := []string{"<one", ">two", "<three", ">four", "<" + long[:longestSegment], "<" + long[longestSegment:]}; !slices.Equal(got, want) {
		t.Errorf("%.80q", got)
	}
}

// A datagram in fragments is one piece.
func TestReadFragments(t *testing.T) {
	var file bytes.Buffer
	w := pcapgo.NewWriter(&file)
	if err := w.WriteFileHeader(65535, layers.LinkTypeRaw); err != nil {
		t.Fatal(err)
	}
	datagram := append([]byte{0x13, 0xC4, 0x13, 0xC4, 0, 24, 0, 0}, "INFO sip:a SIP/2"...)
	for _, f := range []struct {
		from, to int
		flags    layers.IPv4Flag
	}{{0, 16, layers.IPv4MoreFragments}, {16, 24, 0}} {
		b := gopacket.NewSerializeBuffer()
		ip := &layers.IPv4{Version: 4, TTL: 64, Id: 7, Protocol: layers.IPProtocolUDP, SrcIP: []byte{192, 0, 2, 1}, DstIP: []byte{192, 0, 2, 2}, Flags: f.flags, FragOffset: uint16(f.from / 8)}
		if err := gopacket.SerializeLayers(b, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, ip, gopacket.Payload(datagram[f.from:f.to])); err != nil {
			t.Fatal(err)
		}
		if err := w.WritePacket(gopacket.CaptureInfo{Timestamp: time.Unix(1700000000, 0), CaptureLength: len(b.Bytes()), Length: len(b.Bytes())}, b.Bytes()); err != nil {
			t.Fatal(err)
		}
	}
	var got []string
	if err := Read(&file, func(p Piece) error { got = append(got, string(p.Octets)); return nil }); err != nil || len(got) != 1 || got[0] != "INFO sip:a SIP/2" {
		t.Errorf("%q, %v", got, err)
	}
}

// No file ends the program, or takes more memory than it has octets.
func FuzzRead(f *testing.F) {
	f.Add([]byte("\xd4\xc3\xb2\xa1"))
	f.Add([]byte("\x0a\x0d\x0d\x0a\x1c\x00\x00\x00\x4d\x3c\x2b\x1a\x01\x00\x00\x00\xff\xff\xff\xff\xff\xff\xff\xff\x1c\x00\x00\x00"))
	var file bytes.Buffer
	if w, err := NewWriter(&file); err == nil {
		_ = w.Write(record("client", "tcp", "192.0.2.1:5060", "198.51.100.7:4000", false, "one", 0))
		f.Add(file.Bytes())
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		total := 0
		_ = Read(bytes.NewReader(data), func(p Piece) error {
			total += len(p.Octets)
			return nil
		})
		if total > len(data) {
			t.Errorf("%d octets of %d", total, len(data))
		}
	})
}
