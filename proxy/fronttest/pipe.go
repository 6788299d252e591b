package fronttest

import (
	"context"
	"net"
	"sync"
	"sync/atomic"
)

// A Listen opens a listener for a front and returns the function that connects a client to it.
type Listen func() (l net.Listener, dial func() (net.Conn, error), err error)

// listenBuffer is small so that a client that does not read is noticed soon.
const listenBuffer = 4 << 10

// Sockets is a Listen on a free loopback port. Its connections buffer little.
func Sockets() (net.Listener, func() (net.Conn, error), error) {
	l, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		return nil, nil, err
	}
	return listener{l}, func() (net.Conn, error) {
		return (&net.Dialer{}).DialContext(context.Background(), "tcp", l.Addr().String())
	}, nil
}

type listener struct{ *net.TCPListener }

func (l listener) Accept() (net.Conn, error) {
	nc, err := l.AcceptTCP()
	if err != nil {
		return nil, err
	}
	return nc, nc.SetWriteBuffer(listenBuffer)
}

// pipes is a Listen within this process. Its connections buffer nothing.
type pipes struct {
	addr   *net.TCPAddr
	taken  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

// ports numbers the ends of pipes.
var ports atomic.Int64

func loopback() *net.TCPAddr {
	return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: int(ports.Add(1)%(1<<15)) + 1<<15}
}

// inProcess is a Listen over pipes.
func inProcess() (net.Listener, func() (net.Conn, error), error) {
	p := &pipes{addr: loopback(), taken: make(chan net.Conn), closed: make(chan struct{})}
	return p, p.dial, nil
}

func (p *pipes) dial() (net.Conn, error) {
	near, far := net.Pipe()
	from := loopback()
	select {
	case p.taken <- newEnd(far, p.addr, from):
		return newEnd(near, from, p.addr), nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

// Accept implements net.Listener.
func (p *pipes) Accept() (net.Conn, error) {
	select {
	case nc := <-p.taken:
		return nc, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (p *pipes) Close() error { p.once.Do(func() { close(p.closed) }); return nil }

// Addr implements net.Listener.
func (p *pipes) Addr() net.Addr { return p.addr }

// end is one end of a pipe, with addresses like those of a socket.
type end struct {
	net.Conn
	local, remote *net.TCPAddr
	writing       chan struct{} // full during a Write; the mutex of net.Pipe would stop the time of a bubble for a second writer
}

func newEnd(nc net.Conn, local, remote *net.TCPAddr) *end {
	return &end{nc, local, remote, make(chan struct{}, 1)}
}

// Write implements net.Conn.
func (e *end) Write(p []byte) (int, error) {
	e.writing <- struct{}{}
	defer func() { <-e.writing }()
	return e.Conn.Write(p)
}

// LocalAddr implements net.Conn.
func (e *end) LocalAddr() net.Addr { return e.local }

// RemoteAddr implements net.Conn.
func (e *end) RemoteAddr() net.Addr { return e.remote }
