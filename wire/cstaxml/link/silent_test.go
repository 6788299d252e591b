package link

import (
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/tr87proxy/tr87proxy/internal/gate"
	"github.com/tr87proxy/tr87proxy/internal/kind"
	"github.com/tr87proxy/tr87proxy/internal/wait"
)

// A link to a switch that leaves RequestSystemStatus or GetCSTAFeatures without a response comes up, and takes as heartbeat what
// the switch answers; when it falls silent there, too, the link ends.
func TestSilentSwitch(t *testing.T) {
	const prolonged = `<ResetApplicationSessionTimerPosResponse><actualSessionDuration>600</actualSessionDuration></ResetApplicationSessionTimerPosResponse>`
	registered := `<SystemRegisterResponse><sysStatRegisterID>1</sysStatRegisterID></SystemRegisterResponse>`
	session := strings.Replace(granted, ">1<", ">600<", 1)
	for name, tt := range map[string]struct {
		answers map[string]string
		beat    string // "": the transport alone
	}{
		"a session and registrations":    {map[string]string{"StartApplicationSession": session, "ResetApplicationSessionTimer": prolonged, "SystemRegister": registered}, "ResetApplicationSessionTimer"},
		"features without status":        {map[string]string{"GetCSTAFeatures": refused}, "GetCSTAFeatures"},
		"status without features":        {map[string]string{"RequestSystemStatus": status}, "RequestSystemStatus"},
		"registrations and nothing else": {map[string]string{"SystemRegister": registered}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPBX(t, tt.answers)
			var log lockedBuilder
			dialling := kind.Dialling{
				Addresses: []string{p.l.Addr().String()}, Heartbeat: 50 * time.Millisecond, Conn: gate.Limits{Timeout: 300 * time.Millisecond},
				Log: slog.New(slog.NewTextHandler(&log, nil)),
			}
			cfg := Config{Dialling: dialling}
			if tt.answers["StartApplicationSession"] != "" {
				cfg.Session.Application = "app"
			}
			l, c, ended, cancel := runLink(t, cfg)
			wait.Next(t, c.ready, "the link")
			if len(l.Features("").Services) == 0 {
				t.Error("no features")
			}
			if tt.beat == "" {
				if !strings.Contains(log.String(), "only the transport") {
					t.Error(log.String())
				}
				cancel()
				wait.Next(t, ended, "the end")
				return
			}
			p.mu.Lock()
			p.got = nil
			p.mu.Unlock()
			p.await("<" + tt.beat)
			p.mu.Lock()
			p.answers = nil
			p.mu.Unlock()
			if err := wait.Next(t, ended, "the end"); !errors.Is(err, gate.ErrTimeout) {
				t.Error(err)
			}
		})
	}
}
