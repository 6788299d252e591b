package kind

import (
	"context"
	cryptotls "crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"

	"github.com/tr87proxy/tr87proxy/internal/gate"
	"github.com/tr87proxy/tr87proxy/internal/share"
)

// Web serves HTTP on connections that a gate has accepted, for a front whose listeners have another protocol, too.
type Web struct {
	server *http.Server
	conns  chan net.Conn
	over   chan struct{}
	once   sync.Once
	group  sync.WaitGroup
}

// NewWeb returns what serves connections. Shutdown ends it.
func NewWeb(log *slog.Logger) *Web {
	w := &Web{conns: make(chan net.Conn), over: make(chan struct{})}
	w.server = newHTTPServer(log, http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		v := visitOf(r.Context())
		if secure, ok := v.guest.Conn.(*cryptotls.Conn); ok {
			state := secure.ConnectionState()
			r.TLS = &state
		}
		v.handler.ServeHTTP(rw, r)
	}))
	w.server.ConnContext = func(ctx context.Context, nc net.Conn) context.Context {
		v := nc.(*visit)
		return context.WithValue(context.WithValue(ctx, visitKey{}, v), listenerKey{}, v.listener)
	}
	w.server.ConnState = func(nc net.Conn, state http.ConnState) {
		if state == http.StateIdle || state == http.StateHijacked {
			nc.(*visit).answered(state == http.StateHijacked)
		}
	}
	w.group.Go(func() {
		defer share.Survive(log, "HTTP", nil)
		if err := w.server.Serve(w); err != nil && !errors.Is(err, http.ErrServerClosed) {
			log.Error("HTTP ended", "err", err)
		}
	})
	return w
}

// Serve serves a connection by a handler until it ends, ctx ends or the Web is closed. nc is what is read of the guest's
// connection, and listener the context of its listener, for [Serving]. If the handler takes the connection over, Serve serves it
// as [TakeOver] says.
func (w *Web) Serve(ctx, listener context.Context, guest *gate.Guest, nc net.Conn, handler http.Handler) {
	v := &visit{Conn: nc, guest: guest, listener: listener, handler: handler, closed: make(chan struct{}), next: make(chan func(context.Context), 1)}
	defer func() { _ = v.Close() }()
	select {
	case w.conns <- v:
	case <-w.over:
		return
	case <-ctx.Done():
		return
	}
	select {
	case serve := <-v.next:
		serve(ctx)
	case <-v.closed:
	case <-w.over:
	case <-ctx.Done():
	}
}

// TakeOver has the connection of a request, which the handler has hijacked, served by a function: on the goroutine of
// [Web.Serve], whose context it gets. When the function returns, the connection is closed. TakeOver does not wait.
func TakeOver(r *http.Request, serve func(ctx context.Context)) { visitOf(r.Context()).next <- serve }

// Shutdown closes connections, those with a request after it, as long as ctx holds.
func (w *Web) Shutdown(ctx context.Context) {
	if w.server.Shutdown(ctx) != nil {
		_ = w.server.Close()
	}
	_ = w.Close()
	w.group.Wait()
}

// Accept implements net.Listener.
func (w *Web) Accept() (net.Conn, error) {
	select {
	case nc := <-w.conns:
		return nc, nil
	case <-w.over:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (w *Web) Close() error {
	w.once.Do(func() { close(w.over) })
	return nil
}

// Addr implements net.Listener.
func (*Web) Addr() net.Addr { return &net.TCPAddr{} }

// requestCost is how many octets of memory a request takes for each of its own, until it is answered.
const requestCost = 20

// visit is a connection that says when it is closed. What is read from a stranger counts as memory of its guest.
type visit struct {
	net.Conn

	guest    *gate.Guest
	listener context.Context //nolint:containedctx // what [Serving] returns
	handler  http.Handler
	once     sync.Once
	closed   chan struct{}
	next     chan func(context.Context) // what serves the connection on; at most one comes
	taken    atomic.Int64               // octets counted for the request that is being read or answered
	hijacked atomic.Bool                // who reads it now counts by himself
}

// Read implements net.Conn.
func (v *visit) Read(p []byte) (int, error) {
	n, err := v.Conn.Read(p)
	if n > 0 && !v.hijacked.Load() {
		v.taken.Add(int64(n))
		v.guest.Take(requestCost * n)
	}
	return n, err
}

// answered returns the memory of a request.
func (v *visit) answered(hijacked bool) {
	v.hijacked.Store(hijacked)
	v.guest.Give(requestCost * int(v.taken.Swap(0)))
}

// Close implements net.Conn.
func (v *visit) Close() error {
	v.once.Do(func() { close(v.closed) })
	return v.Conn.Close()
}

type visitKey struct{}

// visitOf returns the visit of a request that came by a Web, or nil.
func visitOf(ctx context.Context) *visit {
	v, _ := ctx.Value(visitKey{}).(*visit)
	return v
}
