// Package tap keeps what passes on connections that tests have pass through it.
package tap

import (
	"bytes"
	"context"
	"io"
	"net"
	"sync"
	"testing"
)

// Tap keeps what was sent to an address. The zero value has nothing.
type Tap struct {
	mu   sync.Mutex
	sent bytes.Buffer
}

// Before passes connections on to an address until ctx ends, and keeps what is sent there. It returns the address to connect to. Its
// goroutines are those of ended.
func (t *Tap) Before(ctx context.Context, tb testing.TB, ended *sync.WaitGroup, address string) string {
	tb.Helper()
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	ended.Go(func() { <-ctx.Done(); _ = l.Close() })
	ended.Go(func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			server, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
			if err != nil {
				return
			}
			ended.Go(func() { _, _ = io.Copy(client, server); _ = client.Close() })
			ended.Go(func() { _, _ = io.Copy(io.MultiWriter(t, server), client); _ = server.Close() })
		}
	})
	return l.Addr().String()
}

// Write implements io.Writer: data was sent.
func (t *Tap) Write(data []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.sent.Write(data)
}

// Take returns what was sent since it was called last.
func (t *Tap) Take() []byte {
	t.mu.Lock()
	defer t.mu.Unlock()
	sent := bytes.Clone(t.sent.Bytes())
	t.sent.Reset()
	return sent
}
