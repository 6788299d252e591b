package sip

import (
	"net/netip"
	"sync/atomic"
	"testing"

	"github.com/tr87proxy/tr87proxy/internal/wait"
)

// A flow that is not set has no peer.
func TestZeroFlow(t *testing.T) {
	if p := (Flow{}).Peer(); (Flow{}).Alive() || p.Transport != "" || p.Addr.IsValid() {
		t.Errorf("%+v", p)
	}
}

// A connection closes when its peer's address is denied and it sends something: what was accepted before stays no way in.
func TestAddressDeniedLater(t *testing.T) {
	var denied atomic.Bool
	_, rec, addr := serve(t, "TCP", func(c *Config) { c.Admits = func(netip.Addr) bool { return !denied.Load() } })
	p := dialRaw(t, "TCP", addr)
	p.invite()
	wait.Next(t, rec.dialogs, "dialog")
	denied.Store(true)
	p.cseq++
	p.write(p.request("INFO", p.cseq, "late"))
	if m, err := p.read(); err == nil {
		t.Errorf("%+v", m)
	}
	if len(rec.requests) > 0 {
		t.Error("the request is delivered")
	}
}
