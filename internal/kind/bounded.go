package kind

import (
	"context"
	cryptotls "crypto/tls"
	"net"

	"github.com/tr87proxy/tr87proxy/internal/gate"
	"github.com/tr87proxy/tr87proxy/internal/share"
)

// bounded is a listener with a limited number of connections. At the limit, a new connection closes the oldest one of the
// peer with the most connections; a peer is an IPv4 address or an IPv6 /64. Those of clients that are identified are closed
// last.
type bounded struct {
	net.Listener

	places *share.Table
}

func bound(l net.Listener, b Bounds) net.Listener {
	return &bounded{l, share.New(share.Limits{Most: b.MaxConnections, Strange: max(b.MaxConnections/16, 1), Peer: b.MaxPeer})}
}

// Accept implements net.Listener.
func (b *bounded) Accept() (net.Conn, error) {
	for {
		nc, err := b.Listener.Accept()
		if err != nil {
			return nil, err
		}
		place, err := b.places.Enter(gate.AddrOf(nc), false, func(error) { _ = nc.Close() })
		if err != nil {
			_ = nc.Close()
			continue
		}
		return &placed{nc, place}, nil
	}
}

// placed is a connection that leaves the table when it is closed.
type placed struct {
	net.Conn

	place *share.Entry
}

// Close implements net.Conn.
func (c *placed) Close() error {
	c.place.Leave()
	return c.Conn.Close()
}

type placeKey struct{}

// withPlace returns a context from which Known finds the place of a connection.
func withPlace(ctx context.Context, nc net.Conn) context.Context {
	if secure, ok := nc.(*cryptotls.Conn); ok {
		nc = secure.NetConn()
	}
	if c, ok := nc.(*placed); ok {
		return context.WithValue(ctx, placeKey{}, c.place)
	}
	return ctx
}

// Known says that the client of a request is identified: strangers no longer have its connection closed.
func Known(ctx context.Context) {
	if v := visitOf(ctx); v != nil {
		v.guest.Prove()
	}
	place, _ := ctx.Value(placeKey{}).(*share.Entry)
	place.Raise(share.Known)
}
