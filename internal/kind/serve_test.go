package kind_test

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/tr87proxy/tr87proxy/internal/config"
	"github.com/tr87proxy/tr87proxy/internal/kind"
	"github.com/tr87proxy/tr87proxy/sip"
)

// A listener of SIP that is stopped gives its address up, over every transport; one that cannot be served says why.
func TestServeSIP(t *testing.T) {
	ua := sip.New(sip.Config{})
	defer ua.Close()
	log := slog.New(slog.DiscardHandler)
	for _, transport := range []string{"udp", "tcp"} {
		address := "127.0.0.1:0"
		for range 2 { // at the same address once more
			ctx, stop := context.WithCancelCause(t.Context())
			ready, served := make(chan string, 1), make(chan error, 1)
			go func() {
				l := &config.Listener{Transport: transport, Address: address}
				served <- kind.ServeSIP(ctx, ua, l, log, time.Second, func(at netip.AddrPort) { ready <- at.String() })
			}()
			select {
			case address = <-ready:
			case err := <-served:
				t.Fatal(transport, err)
			}
			stop(kind.ErrStopped)
			if err := <-served; err != nil {
				t.Error(transport, err)
			}
		}
	}
	never := func(netip.AddrPort) { t.Error("it is ready") }
	for _, l := range []config.Listener{{Transport: "smoke"}, {Transport: "tls", Address: "127.0.0.1:0", Certificate: "none", Key: "none"}, {Transport: "tcp", Address: "nowhere"}} {
		if err := kind.ServeSIP(t.Context(), ua, &l, log, time.Second, never); err == nil {
			t.Errorf("%+v is served", l)
		}
	}
}

// ServeTCP passes on why its server ended, unless it was told to.
func TestServeTCP(t *testing.T) {
	ready := make(chan string, 1)
	l := &config.Listener{Transport: "tcp", Address: "127.0.0.1:0"}
	fault := errors.New("no more descriptors")
	err := kind.ServeTCP(t.Context(), l, slog.New(slog.DiscardHandler), func(at string) { ready <- at }, func(_ context.Context, l net.Listener) error {
		return errors.Join(fault, l.Close())
	})
	if !errors.Is(err, fault) || len(ready) != 1 {
		t.Error(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	err = kind.ServeTCP(ctx, l, slog.New(slog.DiscardHandler), func(string) { stop() }, func(ctx context.Context, l net.Listener) error {
		<-ctx.Done()
		return errors.Join(fault, l.Close())
	})
	if err != nil {
		t.Error(err)
	}
	if err := kind.ServeTCP(t.Context(), &config.Listener{Transport: "tls", Address: "127.0.0.1:0", Certificate: "none", Key: "none"}, slog.New(slog.DiscardHandler), func(string) { t.Error("it is ready") }, nil); err == nil {
		t.Error("there is no certificate, and it is served")
	}
}
