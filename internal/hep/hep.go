// Package hep sends the octets of a trace to Homer, in version 3 of the Homer encapsulation protocol over UDP. It knows no CSTA.
package hep

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"log/slog"
	"net"
	"sync/atomic"
	"time"

	"github.com/tr87proxy/tr87proxy/internal/trace"
)

// Config configures an [Exporter].
type Config struct {
	Address  string // of Homer: host:port of UDP
	ID       uint32 // capture agent
	Node     string // name of the node; "": none
	Password string // authentication key; "": none
	Trace    *trace.Trace
	Call     func(message []byte) string // the call that a message of CSTA-XML is about, by which Homer finds what belongs together; "": none
	Log      *slog.Logger
}

// Exporter sends every record of a trace. The trace is its queue: what is pushed out of it before it was sent is lost.
type Exporter struct {
	cfg  Config
	lost atomic.Uint64
}

// New returns an exporter. It sends once [Exporter.Run] is called.
func New(cfg Config) *Exporter { return &Exporter{cfg: cfg} }

// Lost returns how many records were not sent.
func (e *Exporter) Lost() uint64 { return e.lost.Load() }

const (
	batch     = 500         // records that are read at once
	logPause  = time.Minute // between two log lines about lost records
	dialPause = 10 * time.Second
)

// Run sends until ctx ends. It resolves the name in the address again when sending fails.
func (e *Exporter) Run(ctx context.Context) {
	var conn net.Conn
	defer func() {
		if conn != nil {
			_ = conn.Close()
		}
	}()
	var last, told uint64
	var logged, dialled time.Time
	for {
		e.cfg.Trace.Wait(ctx, last)
		if ctx.Err() != nil {
			return
		}
		answer := e.cfg.Trace.Read(last, trace.Filter{Oldest: true}, batch)
		var fault error
		for i := range answer.Records {
			r := &answer.Records[i]
			e.lost.Add(r.Number - last - 1)
			last = r.Number
			if conn == nil && time.Since(dialled) > dialPause {
				dialled = time.Now()
				conn, fault = (&net.Dialer{Timeout: time.Second}).DialContext(ctx, "udp", e.cfg.Address)
			}
			if conn == nil {
				e.lost.Add(1)
				continue
			}
			_ = conn.SetWriteDeadline(time.Now().Add(time.Second))
			if _, err := conn.Write(e.packet(r)); err != nil {
				e.lost.Add(1)
				fault = err
				_ = conn.Close()
				conn = nil
			}
		}
		if lost := e.lost.Load(); lost > told && time.Since(logged) > logPause {
			e.cfg.Log.Warn("messages not sent to Homer", "count", lost-told, "address", e.cfg.Address, "err", fault)
			told, logged = lost, time.Now()
		}
	}
}

// The chunks of HEP3, and the values in them.
const (
	chunkFamily      = 1
	chunkTransport   = 2
	chunkSource4     = 3
	chunkSource6     = 5
	chunkSourcePort  = 7
	chunkPort        = 8
	chunkSeconds     = 9
	chunkMicros      = 10
	chunkProtocol    = 11
	chunkID          = 12
	chunkKey         = 14
	chunkPayload     = 15
	chunkCorrelation = 17
	chunkNode        = 19

	familyIPv4, familyIPv6   = 2, 10
	transportTCP, transportU = 6, 17
	protocolSIP, protocolLog = 1, 100

	longestPayload = 60000 // a datagram holds no more, with the other chunks
)

// packet returns the packet of a record: SIP as SIP, the others as log lines.
func (e *Exporter) packet(r *trace.Record) []byte {
	p := []byte("HEP3\x00\x00")
	chunk := func(kind uint16, data []byte) {
		p = binary.BigEndian.AppendUint16(p, 0) // no vendor
		p = binary.BigEndian.AppendUint16(p, kind)
		p = binary.BigEndian.AppendUint16(p, uint16(6+len(data)))
		p = append(p, data...)
	}
	from, to := r.Flow.Remote, r.Flow.Local
	if r.Out {
		from, to = to, from
	}
	family, first := byte(familyIPv4), uint16(chunkSource4)
	source, destination := from.Addr().Unmap().AsSlice(), to.Addr().Unmap().AsSlice()
	if len(source) != 4 || len(destination) != 4 {
		family, first = familyIPv6, chunkSource6
		wideFrom, wideTo := from.Addr().As16(), to.Addr().As16()
		source, destination = wideFrom[:], wideTo[:]
	}
	transport := byte(transportTCP)
	if r.Flow.Transport == "udp" || r.Flow.Transport == "dtls" {
		transport = transportU
	}
	protocol, payload, correlation := byte(protocolLog), text(r), r.Flow.Local.String()+" "+r.Flow.Remote.String()
	if r.Flow.Protocol == "sip" {
		protocol, payload, correlation = protocolSIP, r.Octets, cmp.Or(callID(r.Octets), correlation)
	} else if r.Flow.Protocol == "csta-xml" && e.cfg.Call != nil {
		correlation = cmp.Or(e.cfg.Call(payload), correlation)
	}
	chunk(chunkFamily, []byte{family})
	chunk(chunkTransport, []byte{transport})
	chunk(first, source)
	chunk(first+1, destination)
	chunk(chunkSourcePort, binary.BigEndian.AppendUint16(nil, from.Port()))
	chunk(chunkPort, binary.BigEndian.AppendUint16(nil, to.Port()))
	chunk(chunkSeconds, binary.BigEndian.AppendUint32(nil, uint32(r.Time.Unix())))
	chunk(chunkMicros, binary.BigEndian.AppendUint32(nil, uint32(r.Time.Nanosecond()/1000)))
	chunk(chunkProtocol, []byte{protocol})
	chunk(chunkID, binary.BigEndian.AppendUint32(nil, e.cfg.ID))
	if e.cfg.Password != "" {
		chunk(chunkKey, []byte(e.cfg.Password))
	}
	if e.cfg.Node != "" {
		chunk(chunkNode, []byte(e.cfg.Node))
	}
	chunk(chunkCorrelation, []byte(correlation[:min(len(correlation), 512)]))
	chunk(chunkPayload, payload[:min(len(payload), longestPayload)])
	binary.BigEndian.PutUint16(p[4:], uint16(len(p)))
	return p
}

// text returns octets as a log line: without the header of CSTA-XML, and ASN.1 in hexadecimal digits.
func text(r *trace.Record) []byte {
	switch {
	case len(r.Octets) == 0:
		return fmt.Appendf(nil, "%d octets that are not kept", r.Cut)
	case r.Flow.Protocol == "csta-xml" && len(r.Octets) > 8 && r.Octets[0] == 0:
		return r.Octets[8:]
	case r.Flow.Protocol == "asn1":
		return []byte(hex.EncodeToString(r.Octets))
	}
	return r.Octets
}

// callID returns the Call-ID of a SIP message; "" if it has none.
func callID(message []byte) string {
	for line := range bytes.Lines(message) {
		line = bytes.TrimRight(line, "\r\n")
		if len(line) == 0 {
			break
		}
		name, value, found := bytes.Cut(line, []byte(":"))
		if name = bytes.TrimSpace(name); found && (bytes.EqualFold(name, []byte("Call-ID")) || bytes.EqualFold(name, []byte("i"))) {
			return string(bytes.TrimSpace(value))
		}
	}
	return ""
}
