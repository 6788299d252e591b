package proxy_test

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tr87proxy/tr87proxy/internal/audit"
	"github.com/tr87proxy/tr87proxy/policy"
	"github.com/tr87proxy/tr87proxy/proxy"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

// A refusal by a limit names its key in the log and in the audit file, once a second for each identity
// and key.
func TestLimitsNameTheirKeys(t *testing.T) {
	monitors := func(t *testing.T, p *proxy.Proxy, _ *flaky) {
		s, _ := open(t, p, "a")
		for _, device := range []string{"101", "102", "103"} {
			request(s, monitorOf(device))
		}
	}
	sessions := func(t *testing.T, p *proxy.Proxy, _ *flaky) {
		open(t, p, "a")
		for range 3 {
			if _, err := p.Open(proxy.Opening{Identity: policy.Identity{Name: "a"}}, &listener{}); err == nil {
				t.Error("a session too many")
			}
		}
	}
	snapshot := uacsta.SnapshotDevice{SnapshotObject: uacsta.Dev("100")}
	for key, c := range map[string]struct {
		limit func(*proxy.Config)
		reach func(*testing.T, *proxy.Proxy, *flaky)
	}{
		"limits.monitors-per-session":  {func(c *proxy.Config) { c.MaxMonitors = 1 }, monitors},
		"limits.monitors-per-identity": {func(c *proxy.Config) { c.MaxWatches = 1 }, monitors},
		"limits.sessions":              {func(c *proxy.Config) { c.MaxSessions = 1 }, sessions},
		"limits.sessions-per-identity": {func(c *proxy.Config) { c.MaxIdentity = 1 }, sessions},
		"limits.requests-outstanding": {func(c *proxy.Config) { c.MaxOutstanding = 1 }, func(t *testing.T, p *proxy.Proxy, f *flaky) {
			s, _ := open(t, p, "a")
			f.hold = true
			for range 3 {
				s.Request(uacsta.Encode(snapshot, 3), func(*uacsta.Message) {})
			}
		}},
		"limits.requests-per-second": {func(c *proxy.Config) { c.MaxRequests = policy.Rate{Count: 1, Per: time.Hour} }, func(t *testing.T, p *proxy.Proxy, _ *flaky) {
			s, _ := open(t, p, "a")
			for range 3 {
				request(s, snapshot)
			}
		}},
	} {
		var out bytes.Buffer
		dir := t.TempDir()
		synctest.Test(t, func(t *testing.T) {
			cfg := audit.Config{Path: filepath.Join(dir, "audit.log")}
			log, err := audit.Open(cfg)
			if err != nil {
				t.Fatal(err)
			}
			strangers, err := audit.OpenTally(cfg)
			if err != nil {
				t.Fatal(err)
			}
			f := &flaky{lose: make(chan error)}
			p := start(t, f, demo, func(cfg *proxy.Config) {
				cfg.Log, cfg.Audit, cfg.Tally = slog.New(slog.NewTextHandler(&out, nil)), log, strangers
				c.limit(cfg)
			})
			c.reach(t, p, f)
			synctest.Wait()
			_, _ = log.Close(), strangers.Close()
		})
		if n := strings.Count(out.String(), "reason="+key+"\n"); n != 1 {
			t.Errorf("%s: %d lines:\n%s", key, n, out.String())
		}
		var lines string
		for _, name := range []string{"audit.log", "audit-strangers.log"} {
			data, err := os.ReadFile(filepath.Join(dir, name))
			if err != nil {
				t.Fatal(err)
			}
			lines += string(data)
		}
		if n := strings.Count(lines, `"reason":"`+key+`"`); n != 1 {
			t.Errorf("%s: %d audit entries:\n%s", key, n, lines)
		}
	}
}
