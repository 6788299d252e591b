package front

import (
	"context"
	"io"
	"net"
	"time"

	"github.com/tr87proxy/tr87proxy/internal/gate"
)

// protocol is what a client speaks.
type protocol int

const (
	framed    protocol = iota // documents of CSTA-XML, each after a header
	web                       // HTTP
	encrypted                 // TLS, without TLS
	foreign                   // none of these
)

// silence is how long a client may say nothing before it counts as one that waits for the server to speak.
const silence = 2 * time.Second

// protocolOf reads the first octet of a connection, which tells what the client speaks, and returns the connection from that
// octet on. The error is the reason why ctx has ended.
func protocolOf(ctx context.Context, guest *gate.Guest) (protocol, net.Conn, error) {
	nc := guest.Conn
	first := make([]byte, 1)
	_ = nc.SetReadDeadline(time.Now().Add(silence))
	stop := context.AfterFunc(ctx, func() { _ = nc.SetReadDeadline(time.Now()) })
	_, err := io.ReadFull(nc, first)
	if !stop() {
		return 0, nil, context.Cause(ctx)
	}
	_ = nc.SetReadDeadline(time.Time{})
	if err != nil {
		return framed, nc, nil //nolint:nilerr // it waits for the server to speak, or has left: its visit is on record as any other
	}
	begun := &begun{nc, first}
	switch c := first[0]; {
	case c == 0:
		return framed, begun, nil
	case c >= 'A' && c <= 'Z':
		return web, begun, nil
	case c == 0x16:
		return encrypted, begun, nil
	}
	return foreign, begun, nil
}

// begun is a connection of which the first octets have been read.
type begun struct {
	net.Conn

	first []byte
}

// NetConn returns the connection below.
func (b *begun) NetConn() net.Conn { return b.Conn }

// Read implements net.Conn.
func (b *begun) Read(p []byte) (int, error) {
	if len(b.first) > 0 {
		n := copy(p, b.first)
		b.first = b.first[n:]
		return n, nil
	}
	return b.Conn.Read(p)
}

// alert is the answer to a ClientHello on a listener without TLS: a fatal alert, unexpected_message (RFC 8446 section 6).
var alert = []byte{0x15, 0x03, 0x01, 0x00, 0x02, 0x02, 0x0a}

// wrong responds to a client in the protocol that it speaks and that this listener does not serve, and says so in the log.
func (s *Server) wrong(p protocol, guest *gate.Guest, nc net.Conn) {
	_ = nc.SetDeadline(time.Now().Add(time.Second))
	why := "it speaks no protocol of this listener"
	switch p {
	case encrypted:
		why = "it speaks TLS, and this listener has none"
		_, _ = nc.Write(alert)
	case web:
		why = "it speaks HTTP, and xml.protocols has neither soap nor websocket"
		_, _ = io.WriteString(nc, "HTTP/1.1 403 Forbidden\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n\r\nThe configuration of this proxy has neither soap nor websocket in xml.protocols.\n")
	case framed:
		why = "it speaks CSTA-XML with headers, and xml.protocols has no csta-xml"
	}
	s.access.Proxy.RefuseConnection(s.name, guest.Conn, why)
}
