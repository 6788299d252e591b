package kind

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"time"

	"github.com/tr87proxy/tr87proxy/internal/gate"
	"github.com/tr87proxy/tr87proxy/internal/share"
	"github.com/tr87proxy/tr87proxy/proxy"
)

// Dialling says how a link connects to a switching function, and when it gives the connection up.
type Dialling struct {
	Addresses []string      // host:port, or host for the usual port; Dial uses the first that accepts the connection
	TLS       gate.TLS      // nil: TCP
	DialTime  time.Duration // timeout for connecting to one address, TLS included; default 10 s
	Heartbeat time.Duration // interval of the requests that check the connection; default 30 s
	Conn      gate.Limits   // limits of the connection; SetDefaults sets Log
	Log       *slog.Logger  // nil: no log
}

// Dialling returns how a link with these settings connects, and the password of its login. It reads the files that the
// settings name.
func (e *Env) Dialling(peer *Peer, secure *Secure, times *Times, login *Login) (d Dialling, password string, err error) {
	d = Dialling{Addresses: peer.Addresses, Heartbeat: times.Heartbeat, Conn: gate.Limits{Timeout: times.Timeout, Tap: e.Tap()}, Log: share.Quiet(e.Log)}
	password, d.TLS, err = Opening(login, secure, e.Log)
	return d, password, err
}

// SetDefaults replaces zero values by the defaults. Requests do not wait for room in the queue.
func (d *Dialling) SetDefaults() {
	if d.DialTime == 0 {
		d.DialTime = 10 * time.Second
	}
	if d.Heartbeat == 0 {
		d.Heartbeat = 30 * time.Second
	}
	if d.Log == nil {
		d.Log = slog.New(slog.DiscardHandler)
	}
	if d.Conn.QueueLength == 0 {
		d.Conn.QueueLength, d.Conn.QueueOctets = 4096, 4<<20
	}
	d.Conn.Log = d.Log
	d.Conn.SetDefaults()
}

// Dial connects. An address without a port has this one.
func (d *Dialling) Dial(ctx context.Context, port string) (net.Conn, error) {
	nc, err := gate.Dial(ctx, d.Addresses, port, d.TLS, d.DialTime)
	if err == nil {
		d.Log.Info("connected", "address", nc.RemoteAddr().String())
	}
	return nc, err
}

// Refusal returns the error of CSTA for a request of this service whose connection gave err. It logs a timeout.
func (d *Dialling) Refusal(service string, err error) error {
	if errors.Is(err, gate.ErrTimeout) {
		d.Log.Warn("no response within the timeout", "service", service)
	}
	return proxy.Refusal(err)
}
