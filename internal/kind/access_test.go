package kind_test

import (
	"context"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/tr87proxy/tr87proxy/internal/gate"
	"github.com/tr87proxy/tr87proxy/internal/kind"
	"github.com/tr87proxy/tr87proxy/policy"
	"github.com/tr87proxy/tr87proxy/proxy"
)

// A client with an identity is admitted and proved, one without only where it can log in; a session holds as long as the
// client would get the same identity.
func TestAccess(t *testing.T) {
	crm := policy.Identity{Name: "crm", How: "test"}
	for name, tt := range map[string]struct {
		who                     policy.Identity
		may                     bool
		sessions                proxy.SessionMode
		admitted, proved, still bool
	}{
		"known":                        {crm, true, proxy.SessionsOff, true, true, true},
		"nobody, who can log in":       {policy.Identity{}, true, proxy.SessionsOptional, true, false, true},
		"nobody, who cannot log in":    {policy.Identity{}, true, proxy.SessionsOff, false, false, false},
		"somebody who may not connect": {crm, false, proxy.SessionsMandatory, false, false, false},
	} {
		t.Run(name, func(t *testing.T) {
			var log strings.Builder
			var changed atomic.Bool
			access := kind.Access{
				Proxy: proxy.New(proxy.Config{Policy: &policy.Policy{}, Numbers: &policy.Numbers{}, Log: slog.New(slog.NewTextHandler(&log, nil))}), Sessions: tt.sessions,
				Identify: func(netip.Addr, []string) (policy.Identity, bool) {
					if changed.Load() {
						return policy.Identity{Name: "other"}, true
					}
					return tt.who, tt.may
				},
			}
			visit(t, access.NewGate("door"), func(guest *gate.Guest) {
				opening, admitted := access.Admit("door", guest)
				if admitted != tt.admitted || guest.Proved() != tt.proved || access.Limits(guest).Guest != guest {
					t.Errorf("admitted: %v, proved: %v", admitted, guest.Proved())
				}
				if !admitted {
					return
				}
				if opening.Identity != tt.who || opening.Front != "door" || opening.Sessions != tt.sessions || !strings.HasPrefix(opening.Peer, "door:127.0.0.1:") || !opening.Addr.IsLoopback() {
					t.Errorf("%+v", opening)
				}
				if opening.Valid() != tt.still {
					t.Error("the session does not hold")
				}
				changed.Store(true)
				if opening.Valid() {
					t.Error("the session holds although the client is another")
				}
			})
			if refused := strings.Contains(log.String(), `msg="connection refused"`); refused == tt.admitted {
				t.Error(log.String())
			}
		})
	}
}

// visit connects to a gate, and returns when serve has returned.
func visit(t *testing.T, g *gate.Gate, serve func(*gate.Guest)) {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() {
		served <- g.Serve(ctx, l, func(_ context.Context, guest *gate.Guest) {
			defer cancel()
			serve(guest)
		})
	}()
	nc, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", l.Addr().String())
	if err != nil {
		cancel()
		t.Error(err)
	}
	<-served
	if nc != nil {
		_ = nc.Close()
	}
}
