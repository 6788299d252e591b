package proxy_test

import (
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tr87proxy/tr87proxy/policy"
	"github.com/tr87proxy/tr87proxy/proxy"
)

// Lines of one kind about one peer are logged once a minute, and those about very many peers ten times a second.
func TestShouldLog(t *testing.T) {
	var s proxy.Strangers
	now := time.Now()
	for i, step := range []struct {
		addr, what string
		after      time.Duration
		news       bool
	}{
		{"192.0.2.1", "token", 0, true}, {"192.0.2.1", "token", 59 * time.Second, false}, {"192.0.2.1", "password", 59 * time.Second, true},
		{"192.0.2.2", "token", 59 * time.Second, true}, {"192.0.2.1", "token", time.Minute, true}, {"192.0.2.1", "password", time.Minute, false},
		{"2001:db8::1", "token", time.Minute, true}, {"2001:db8::2", "token", time.Minute, false}, {"2001:db8:0:1::1", "token", time.Minute, true},
	} {
		if news := s.ShouldLog(netip.MustParseAddr(step.addr), step.what, now.Add(step.after)); news != step.news {
			t.Errorf("step %d: %v", i, news)
		}
	}
	told := 0
	for i := range 10000 {
		if s.ShouldLog(netip.MustParseAddr(fmt.Sprintf("2001:db8:1:%x::1", i)), "token", now.Add(time.Hour)) {
			told++
		}
	}
	if told != 100 {
		t.Errorf("%d peers were told of", told)
	}
	for i := range 1000 {
		if s.ShouldLog(netip.MustParseAddr(fmt.Sprintf("2001:db8:2:%x::1", i)), "token", now.Add(time.Hour+time.Second)) {
			told++
		}
	}
	if told != 110 {
		t.Errorf("%d peers were told of in the next second", told-100)
	}
}

// Unidentified sessions do not fill the log; identified ones are logged each.
func TestSessionsOfNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log strings.Builder
		p := start(t, &flaky{lose: make(chan error)}, policy.FromGrants(nil, policy.Grant{Who: "crm", Control: []string{"100"}}), func(c *proxy.Config) {
			c.Log = slog.New(slog.NewTextHandler(&log, nil))
		})
		for _, tt := range []struct {
			opening proxy.Opening
			lines   int
		}{
			{proxy.Opening{Sessions: proxy.SessionsMandatory, Addr: netip.MustParseAddr("192.0.2.1"), Peer: "x"}, 4},
			{proxy.Opening{Identity: policy.Identity{Name: "crm"}, Peer: "y"}, 202},
		} {
			before := strings.Count(log.String(), "msg=\"session")
			open := func() {
				s, err := p.Open(tt.opening, &listener{})
				if err != nil {
					t.Fatal(err)
				}
				s.Close(nil)
			}
			for range 100 {
				open()
			}
			time.Sleep(time.Second)
			open()
			if lines := strings.Count(log.String(), "msg=\"session") - before; lines != tt.lines {
				t.Errorf("%d lines of %v", lines, tt.opening.Identity)
			}
		}
		if !strings.Contains(log.String(), "suppressed=99") || !strings.Contains(log.String(), `identity="crm ()" peer=y`) || !strings.Contains(log.String(), "identity=nobody peer=x") {
			t.Error(log.String())
		}
	})
}
