package trace

import (
	"bufio"
	"crypto/tls"
	"io"
	"net"
	"net/netip"
)

// Flow is what octets pass through: a transport connection, or the datagrams between two addresses.
type Flow struct {
	Protocol  string         `json:"protocol"`  // sip, csta-xml, asn1, ctserver or event-socket
	Transport string         `json:"transport"` // udp, tcp, tls, dtls or websocket
	Local     netip.AddrPort `json:"local"`     // the proxy's
	Remote    netip.AddrPort `json:"remote"`    // the peer's
}

// Tap keeps the octets that pass at one place as records of kind Octets. Methods may be called from any goroutine; a nil Tap
// keeps nothing.
type Tap struct {
	trace   *Trace
	record  Record // what all records have
	conceal func([]byte) []byte
}

// Tap returns a tap of a front or link; nil if the trace is off. [Tap.On] makes it the tap of one connection.
func (t *Trace) Tap(lane Lane, front, link string) *Tap {
	if t == nil {
		return nil
	}
	return &Tap{trace: t, record: Record{Lane: lane, Kind: Octets, Front: front, Link: link}}
}

// On returns the tap of a connection. conceal gets a whole message, and returns it with its secrets overwritten, in as many
// octets; it does not change what it gets. nil: the protocol has no secrets.
func (t *Tap) On(protocol string, nc net.Conn, conceal func([]byte) []byte) *Tap {
	if t == nil {
		return nil
	}
	of := *t
	of.conceal = conceal
	of.record.Flow = &Flow{Protocol: protocol, Transport: transportOf(nc), Local: addressOf(nc.LocalAddr()), Remote: addressOf(nc.RemoteAddr())}
	return &of
}

// transportOf returns the transport of a connection, which other connections may lie around.
func transportOf(nc net.Conn) string {
	for {
		switch c := nc.(type) {
		case *tls.Conn:
			return "tls"
		case interface{ Transport() string }:
			return c.Transport()
		case interface{ NetConn() net.Conn }:
			nc = c.NetConn()
		default:
			return "tcp"
		}
	}
}

func addressOf(a net.Addr) netip.AddrPort {
	tcp, ok := a.(*net.TCPAddr)
	if !ok {
		return netip.AddrPort{}
	}
	at := tcp.AddrPort()
	return netip.AddrPortFrom(at.Addr().Unmap(), at.Port())
}

// Keep keeps a message that is whole. stranger says that its peer has no identity.
func (t *Tap) Keep(out, stranger bool, message []byte) {
	if t == nil {
		return
	}
	if t.conceal != nil {
		message = t.conceal(message)
	}
	t.keep(out, stranger, message, 0)
}

func (t *Tap) keep(out, stranger bool, message []byte, cut int) {
	r := t.record
	r.Out, r.Cut = out, cut
	t.trace.Add(r, stranger, message)
}

// Datagram keeps a message of a flow that has no tap of its own, without secrets. Of one that is not readable it keeps the
// length.
func (t *Tap) Datagram(flow Flow, out, stranger bool, message []byte, readable bool) {
	if t == nil {
		return
	}
	of := *t
	of.record.Flow = &flow
	if readable {
		of.keep(out, stranger, message, 0)
	} else {
		of.keep(out, stranger, nil, len(message))
	}
}

// Input is what a connection reads, noted until a whole message is there: so a secret is in one record.
type Input struct {
	from io.Reader
	tap  *Tap
	seen []byte // since the last message
	more int    // octets that are not in seen, because the message is too long
}

// longestSeen is how many octets of a message an Input notes.
const longestSeen = 64 << 10

// Input returns what a connection reads; without a tap it only passes it on.
func (t *Tap) Input(from io.Reader) *Input { return &Input{from: from, tap: t} }

// Read implements io.Reader.
func (i *Input) Read(p []byte) (int, error) {
	n, err := i.from.Read(p)
	if i.tap != nil {
		room := min(n, max(0, longestSeen-len(i.seen)))
		i.seen = append(i.seen, p[:room]...)
		i.more += n - room
	}
	return n, err
}

// Keep keeps what was read, but for what r, the reader of the Input, still holds: this is a whole message.
func (i *Input) Keep(r *bufio.Reader, stranger bool) { i.end(r, stranger, true) }

// Skip is Keep for what cannot be read as a message. It keeps the length of what strangers have sent, and no octets: nobody
// can say where a secret is in it.
func (i *Input) Skip(r *bufio.Reader, stranger bool) { i.end(r, stranger, !stranger) }

func (i *Input) end(r *bufio.Reader, stranger, readable bool) {
	if i.tap == nil {
		return
	}
	left := r.Buffered()
	rest, _ := r.Peek(left)
	whole := len(i.seen) + i.more - left
	message := i.seen[:min(whole, len(i.seen))]
	if !readable {
		message = nil
	} else if i.tap.conceal != nil {
		message = i.tap.conceal(message)
	}
	if whole > 0 {
		i.tap.keep(false, stranger, message, whole-len(message))
	}
	i.seen, i.more = append([]byte(nil), rest...), 0
}
