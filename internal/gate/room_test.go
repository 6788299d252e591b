package gate_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tr87proxy/tr87proxy/internal/gate"
)

// A sender that waits for room continues when a frame is being written, however slowly the peer
// reads it.
func TestRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		defer func() { _ = far.Close() }()
		p := gate.NewPeer[string](near, gate.Limits{QueueLength: 1, WriteTime: time.Hour}, gate.Numbering{LastID: 9, Batch: 1})
		if err := p.Push([]byte("a")); err != nil {
			t.Fatal(err)
		}
		pushed := make(chan error, 1)
		go func() { pushed <- p.Push([]byte("b")) }()
		synctest.Wait()
		select {
		case err := <-pushed:
			t.Fatalf("there was room for two: %v", err)
		default:
		}
		served := make(chan error, 1)
		go func() { served <- p.Serve(context.Background(), func() error { <-p.Ended(); return nil }) }()
		synctest.Wait()
		select {
		case err := <-pushed:
			if err != nil {
				t.Error(err)
			}
		default:
			t.Error("it waits until the peer has read")
		}
		p.Close(io.EOF)
		<-served
	})
}

// A connection is lost if neither the peer closed it between two frames nor we did.
func TestLost(t *testing.T) {
	for _, tt := range []struct {
		reason error
		want   bool
	}{
		{&net.OpError{Op: "read", Err: syscall.ECONNRESET}, true},
		{fmt.Errorf("a frame: %w", io.ErrUnexpectedEOF), true},
		{os.ErrDeadlineExceeded, true},
		{io.EOF, false},
		{context.Canceled, false},
		{gate.ErrClosed, false},
		{fmt.Errorf("%w: 20 times", gate.ErrStrikes), false},
		{errors.New("panic: mine"), false},
	} {
		if got := gate.Lost(tt.reason); got != tt.want {
			t.Errorf("%v: %v", tt.reason, got)
		}
	}
}

// lastOne is a listener at which a connection comes just when all is to end.
type lastOne struct {
	end    func()
	nc     net.Conn
	closed chan struct{}
}

func (l *lastOne) Accept() (net.Conn, error) { l.end(); return l.nc, nil }
func (l *lastOne) Close() error              { close(l.closed); return nil }
func (l *lastOne) Addr() net.Addr            { return &net.TCPAddr{} }

// A connection that comes at the last moment is closed, and the listener, too.
func TestLastConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		ctx, cancel := context.WithCancel(t.Context())
		l := &lastOne{cancel, near, make(chan struct{})}
		if err := gate.New(gate.Config{}).Serve(ctx, l, func(context.Context, *gate.Guest) { t.Error("it is served") }); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		if _, err := far.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
			t.Error(err)
		}
		<-l.closed
	})
}
