package kind

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/tr87proxy/tr87proxy/internal/config"
	"github.com/tr87proxy/tr87proxy/internal/gate"
	"github.com/tr87proxy/tr87proxy/internal/wait"
)

// many returns headers of so many octets, each with a name of its own.
func many(octets int) string {
	var b strings.Builder
	for i := 0; b.Len() < octets; i++ {
		fmt.Fprintf(&b, "%x:\r\n", i)
	}
	return b.String()
}

// The head of a request is limited: what it becomes takes many times the memory, and anybody can send one.
func TestHead(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	ready, served := make(chan string, 1), make(chan error, 1)
	go func() {
		served <- ServeHTTP(ctx, &config.Listener{Transport: "tcp", Address: "127.0.0.1:0"}, slog.New(slog.DiscardHandler), 0, DefaultBounds, func(at string) { ready <- at }, http.NotFoundHandler())
	}()
	nc, err := net.Dial("tcp", wait.Next(t, ready, "the address"))
	if err != nil {
		t.Fatal(err)
	}
	go func() { _, _ = io.WriteString(nc, "GET / HTTP/1.1\r\nHost: x\r\n"+many(64<<10)) }()
	answer := make([]byte, 12)
	if _, err := io.ReadFull(nc, answer); err != nil || string(answer) != "HTTP/1.1 431" {
		t.Errorf("%q, %v", answer, err)
	}
	_ = nc.Close()
	stop()
	if err := wait.Next(t, served, "the end"); err != nil {
		t.Error(err)
	}
}

// What a stranger sends over HTTP counts as its memory until it is answered: beyond the limit of all strangers, the one with the
// most gives way.
func TestWebCountsStrangers(t *testing.T) {
	log := slog.New(slog.DiscardHandler)
	strangers := gate.NewStrangers(1 << 20)
	g := gate.New(gate.Config{Strangers: strangers, Log: log})
	entered, leave := make(chan struct{}), make(chan struct{})
	web, waits := NewWeb(log), http.HandlerFunc(func(http.ResponseWriter, *http.Request) { entered <- struct{}{}; <-leave })
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() {
		served <- g.Serve(ctx, l, func(life context.Context, guest *gate.Guest) { web.Serve(life, ctx, guest, guest.Conn, waits) })
	}()
	dial := func() net.Conn {
		nc, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = nc.Close() })
		return nc
	}
	taken := func() int { _, octets := strangers.Counts(); return octets }

	first := dial()
	wait.For(t, "the connection", func() bool { return taken() > 0 })
	idle := taken()
	head := many(8 << 10)
	_, _ = io.WriteString(first, "GET / HTTP/1.1\r\nHost: x\r\n"+head+"\r\n")
	wait.Next(t, entered, "the request")
	if got := taken() - idle; got < requestCost*len(head) {
		t.Errorf("%d octets count for a head of %d", got, len(head))
	}
	leave <- struct{}{}
	wait.For(t, "the memory of the request", func() bool { return taken() == idle })
	for range 10 { // heads without end
		_, _ = io.WriteString(dial(), "GET / HTTP/1.1\r\nHost: x\r\n"+head)
	}
	wait.For(t, "a stranger that gives way", func() bool { return strangers.Evicted.Load() > 0 })
	if got := taken(); got > 1<<20 {
		t.Errorf("strangers have %d octets", got)
	}
	stop()
	<-served
	web.Shutdown(context.Background())
}
