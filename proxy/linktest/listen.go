package linktest

import (
	"context"
	"net"
	"sync"
	"testing"
)

// Listen listens for a link, and serves each connection by serve until the test ends, on a goroutine each. It returns the
// address. At the end of the test the context ends, and Listen waits for serve.
func Listen(t testing.TB, serve func(ctx context.Context, nc net.Conn)) (address string) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		cancel()
		t.Fatal(err)
	}
	var group sync.WaitGroup
	group.Go(func() {
		for {
			nc, err := l.Accept()
			if err != nil {
				return
			}
			group.Go(func() { serve(ctx, nc) })
		}
	})
	t.Cleanup(func() { cancel(); _ = l.Close(); group.Wait() })
	return l.Addr().String()
}
