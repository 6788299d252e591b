package hep

import (
	"context"
	"encoding/binary"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tr87proxy/tr87proxy/internal/trace"
)

// read reads a packet by the table of chunks of HEP3: vendor, type, length with its own six octets.
func read(t *testing.T, p []byte) map[uint16]string {
	t.Helper()
	if len(p) < 6 || string(p[:4]) != "HEP3" || int(binary.BigEndian.Uint16(p[4:])) != len(p) {
		t.Fatalf("not HEP3: %x", p)
	}
	chunks := map[uint16]string{}
	for p = p[6:]; len(p) > 0; {
		vendor, kind, length := binary.BigEndian.Uint16(p), binary.BigEndian.Uint16(p[2:]), int(binary.BigEndian.Uint16(p[4:]))
		if vendor != 0 || length < 6 || length > len(p) {
			t.Fatalf("a chunk of vendor %d and %d octets in %x", vendor, length, p)
		}
		if _, twice := chunks[kind]; twice {
			t.Fatalf("chunk %d is there twice", kind)
		}
		chunks[kind], p = string(p[6:length]), p[length:]
	}
	return chunks
}

// Homer gets each message once: SIP as SIP with its Call-ID, the others as log lines, those about a call with that, with true addresses, agent, node and key.
func TestExport(t *testing.T) {
	homer, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = homer.Close() }()
	tr := trace.New(trace.Limits{Records: 100, Octets: 1 << 20}, nil)
	call := func(message []byte) string { return map[string]string{"<b>7</b>": "call 7"}[string(message)] }
	e := New(Config{Address: homer.LocalAddr().String(), ID: 2001, Node: "tr87", Password: "key", Trace: tr, Call: call, Log: slog.New(slog.DiscardHandler)})
	ctx, cancel := context.WithCancel(t.Context())
	var group sync.WaitGroup
	defer group.Wait()
	defer cancel()
	flow := func(protocol, transport, local, remote string) trace.Flow {
		return trace.Flow{Protocol: protocol, Transport: transport, Local: netip.MustParseAddrPort(local), Remote: netip.MustParseAddrPort(remote)}
	}
	tap := tr.Tap(trace.Client, "sip", "")
	sip := "INFO sip:a SIP/2.0\r\nVia: x\r\ncall-id: abc@host\r\n\r\nCall-ID: no"
	tap.Datagram(flow("sip", "udp", "192.0.2.1:5062", "198.51.100.7:4000"), false, false, []byte(sip), true)
	tap.Datagram(flow("csta-xml", "tcp", "[2001:db8::1]:8882", "[2001:db8::2]:4001"), true, false, []byte("\x00\x00\x00\x0c9999<a/>"), true)
	tap.Datagram(flow("asn1", "tls", "192.0.2.1:18000", "198.51.100.7:4002"), true, false, []byte{0x26, 0x80}, true)
	tap.Datagram(flow("csta-xml", "tcp", "192.0.2.1:8882", "198.51.100.7:4003"), false, true, []byte("garbage"), false)
	tap.Datagram(flow("csta-xml", "tcp", "192.0.2.1:8882", "198.51.100.7:4003"), true, false, []byte("\x00\x00\x00\x109999<b>7</b>"), true)
	group.Go(func() { e.Run(ctx) })
	for _, want := range []map[uint16]string{
		{
			1: "\x02", 2: "\x11", 3: "\xc6\x33\x64\x07", 4: "\xc0\x00\x02\x01", 7: "\x0f\xa0", 8: "\x13\xc6", 11: "\x01", 12: "\x00\x00\x07\xd1", 14: "key",
			15: sip, 17: "abc@host", 19: "tr87",
		},
		{
			1: "\x0a", 2: "\x06", 5: "\x20\x01\x0d\xb8" + strings.Repeat("\x00", 11) + "\x01", 6: "\x20\x01\x0d\xb8" + strings.Repeat("\x00", 11) + "\x02", 7: "\x22\xb2", 8: "\x0f\xa1",
			11: "\x64", 12: "\x00\x00\x07\xd1", 14: "key", 15: "<a/>", 17: "[2001:db8::1]:8882 [2001:db8::2]:4001", 19: "tr87",
		},
		{2: "\x06", 11: "\x64", 15: "2680"},
		{15: "7 octets that are not kept"},
		{15: "<b>7</b>", 17: "call 7"},
	} {
		_ = homer.SetReadDeadline(time.Now().Add(time.Minute))
		p := make([]byte, 65536)
		n, _, err := homer.ReadFrom(p)
		if err != nil {
			t.Fatal(err)
		}
		got := read(t, p[:n])
		for kind, value := range want {
			if got[kind] != value {
				t.Errorf("chunk %d is %q, want %q", kind, got[kind], value)
			}
		}
		at := time.Unix(int64(binary.BigEndian.Uint32([]byte(got[9]))), int64(binary.BigEndian.Uint32([]byte(got[10])))*1000)
		if since := time.Since(at); since < 0 || since > time.Minute {
			t.Errorf("it has the time %s", at)
		}
	}
	if e.Lost() != 0 {
		t.Errorf("%d are lost", e.Lost())
	}
}

// What is pushed out of the trace before it was sent is counted, and nobody waits for Homer.
func TestLost(t *testing.T) {
	homer, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = homer.Close() }()
	tr := trace.New(trace.Limits{Records: 80, Octets: 1 << 20}, nil)
	for range 100 {
		tr.Tap(trace.Client, "sip", "").Datagram(trace.Flow{Protocol: "sip", Transport: "udp", Local: netip.MustParseAddrPort("192.0.2.1:5062"), Remote: netip.MustParseAddrPort("192.0.2.2:1")}, false, false, []byte("x"), true)
	}
	e := New(Config{Address: homer.LocalAddr().String(), Trace: tr, Log: slog.New(slog.DiscardHandler)})
	ctx, cancel := context.WithCancel(t.Context())
	var group sync.WaitGroup
	defer group.Wait()
	defer cancel()
	group.Go(func() { e.Run(ctx) })
	p := make([]byte, 65536)
	for range 70 {
		_ = homer.SetReadDeadline(time.Now().Add(time.Minute))
		n, _, err := homer.ReadFrom(p)
		if err != nil {
			t.Fatal(err)
		}
		if chunks := read(t, p[:n]); chunks[14] != "" || chunks[19] != "" {
			t.Errorf("chunks that nobody wants: %v", chunks)
		}
	}
	if e.Lost() != 30 {
		t.Errorf("%d are lost", e.Lost())
	}
}
