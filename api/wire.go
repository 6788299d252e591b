package api

import (
	"bufio"
	"net"
	"net/http"
	"sync"
)

// wire is the transport connection of a WebSocket that a client has opened. Messages that are ready together leave in one
// write, and an idle WebSocket has small buffers.
type wire struct {
	net.Conn

	early []byte // read before the connection was taken over; of the reading goroutine

	mu   sync.Mutex
	held *[]byte // what waits for release; nil: writes are passed on
}

// Sizes of the buffers of a wire.
const (
	readBuffer  = 512      // a longer message is read without it
	writeBuffer = 256      // for control frames; messages are held
	maxHeld     = 64 << 10 // more is written before release
)

// heldBuffers are the buffers of wires and streams that write.
var heldBuffers = sync.Pool{New: func() any { return new([]byte) }}

// takeOver is a response writer whose connection becomes a wire.
type takeOver struct {
	http.ResponseWriter
	wire *wire
}

// Hijack implements http.Hijacker.
func (t takeOver) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, buffers, err := http.NewResponseController(t.ResponseWriter).Hijack()
	if err != nil {
		return nil, nil, err
	}
	t.wire.Conn = conn
	t.wire.early = make([]byte, buffers.Reader.Buffered())
	_, _ = buffers.Read(t.wire.early) // they are there
	return t.wire, bufio.NewReadWriter(bufio.NewReaderSize(t.wire, readBuffer), bufio.NewWriterSize(t.wire, writeBuffer)), nil
}

// Read implements net.Conn.
func (w *wire) Read(p []byte) (int, error) {
	if len(w.early) > 0 {
		n := copy(p, w.early)
		w.early = w.early[n:]
		return n, nil
	}
	w.early = nil
	return w.Conn.Read(p)
}

// Write implements net.Conn.
func (w *wire) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.held == nil {
		return w.Conn.Write(p)
	}
	*w.held = append(*w.held, p...)
	if len(*w.held) <= maxHeld {
		return len(p), nil
	}
	_, err := w.Conn.Write(*w.held)
	*w.held = (*w.held)[:0]
	if err != nil {
		return 0, err
	}
	return len(p), nil
}

// hold has writes wait for release. A nil wire does not wait.
func (w *wire) hold() {
	if w == nil {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.held == nil {
		w.held = heldBuffers.Get().(*[]byte)
	}
}

// release writes what waits.
func (w *wire) release() error {
	if w == nil {
		return nil
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	held := w.held
	w.held = nil
	var err error
	if len(*held) > 0 {
		_, err = w.Conn.Write(*held)
	}
	giveBuffer(held)
	return err
}

// giveBuffer gives a buffer back to heldBuffers.
func giveBuffer(held *[]byte) {
	if *held = (*held)[:0]; cap(*held) <= 2*maxHeld {
		heldBuffers.Put(held)
	}
}
