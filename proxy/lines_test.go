package proxy_test

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tr87proxy/tr87proxy/policy"
	"github.com/tr87proxy/tr87proxy/proxy"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

// The log has a line for everything that an operator must know, with its attributes.
func TestLinesOfTheLog(t *testing.T) {
	type scene struct {
		*testing.T
		p *proxy.Proxy
		f *flaky
	}
	refuse := func(name string, why *uacsta.Error) func(*flaky) {
		return func(f *flaky) {
			f.mu.Lock()
			defer f.mu.Unlock()
			if f.answers == nil {
				f.answers = answers{}
			}
			f.answers[name] = func(*uacsta.Message) (*uacsta.Message, error) { return nil, why }
		}
	}
	busyNow := uacsta.Refuse(uacsta.SystemResourceAvailability, uacsta.Generic)
	for _, tt := range []struct {
		what string
		play func(scene)
		want []string // pieces of one line
	}{
		{"a link comes up", func(scene) {}, []string{"level=INFO", `msg="link up"`, "link=flaky", "monitors=0"}},
		{"a link is lost", func(s scene) { s.f.lose <- errors.New("wires are cut") }, []string{"level=ERROR", `msg="link down"`, "link=flaky", `err="wires are cut"`, "retry="}},
		{"a session", func(s scene) { open(s.T, s.p, "crm") }, []string{"level=INFO", `msg="session opened"`, `identity="crm ()"`}},
		{"a session's end", func(s scene) { c, _ := open(s.T, s.p, "crm"); c.Close(errors.New("good bye")) }, []string{"level=INFO", `msg="session closed"`, `identity="crm ()"`, `reason="good bye"`}},
		{"a session's end without a reason", func(s scene) { c, _ := open(s.T, s.p, "crm"); c.Close(nil) }, []string{"level=INFO", `msg="session closed" identity="crm ()" peer=""`}},
		{"a session that is ended", func(s scene) {
			open(s.T, s.p, "crm")
			s.p.SetRules(&policy.Policy{}, threeDigits)
		}, []string{"level=WARN", `msg="session ended"`, `identity="crm ()"`, "reason="}},
		{"a session that is refused", func(s scene) {
			_, _ = s.p.Open(proxy.Opening{Identity: policy.Identity{Name: "mallory"}, Line: "100"}, &listener{})
		}, []string{"level=WARN", `msg="session refused"`, "mallory", "line=100", "err="}},
		{"one too many", func(s scene) {
			for range 4 {
				_, _ = s.p.Open(proxy.Opening{Identity: policy.Identity{Name: "crm"}}, &listener{})
			}
		}, []string{"level=WARN", `msg="session refused"`, "crm", "reason=limits.sessions-per-identity"}},
		{"a session whose front has changed its mind", func(s scene) {
			_, _ = s.p.Open(proxy.Opening{Identity: policy.Identity{Name: "crm"}, Peer: "x", Valid: func() bool { return false }}, &listener{})
		}, []string{"level=WARN", `msg="session refused"`, "crm", "peer=x", "err="}},
		{"a login", func(s scene) { c, _ := bound(s.T, s.p); logIn(c, "crm", "right", 60) }, []string{"level=INFO", `msg="application session opened"`, `identity="crm (account)"`, "peer=test", "duration=1m0s"}},
		{"its end", func(s scene) {
			c, _ := bound(s.T, s.p)
			logIn(c, "crm", "right", 60)
			time.Sleep(2 * time.Minute)
		}, []string{"level=INFO", `msg="application session ended"`, `identity="crm (account)"`, "peer=test", "reason=sessionTimerExpired"}},
		{"a wrong password", func(s scene) { c, _ := bound(s.T, s.p); logIn(c, "crm", "wrong", 60) }, []string{"level=WARN", `msg="application session refused"`, "account=crm", "err=wrong"}},
		{"too many logins", func(s scene) {
			for range 2 {
				c, _ := bound(s.T, s.p)
				logIn(c, "crm", "right", 60)
			}
		}, []string{"level=WARN", `msg="application session refused"`, "crm", "too many"}},
		{"a request that is denied", func(s scene) {
			c, _ := open(s.T, s.p, "crm")
			request(c, uacsta.SetDoNotDisturb{Device: uacsta.Dev("105")})
		}, []string{"level=WARN", `msg="request denied"`, "service=SetDoNotDisturb", "crm", "devices=[105]", "reason="}},
		{"a request that a link refuses", func(s scene) {
			refuse("SetDoNotDisturb", busyNow)(s.f)
			c, _ := open(s.T, s.p, "crm")
			request(c, uacsta.SetDoNotDisturb{Device: uacsta.Dev("100")})
		}, []string{"level=DEBUG", `msg="request refused"`, "service=SetDoNotDisturb", "crm", "err="}},
		{"a monitor that is refused", func(s scene) {
			c, _ := open(s.T, s.p, "crm")
			request(c, monitorOf("100"))
			refuse("MonitorStart", busyNow)(s.f)
			s.f.loses()
		}, []string{"level=WARN", `msg="monitor refused"`, "device=100", "retrying=true"}},
		{"a monitor that is over", func(s scene) {
			c, _ := open(s.T, s.p, "crm")
			request(c, monitorOf("100"))
			refuse("MonitorStart", uacsta.Refuse(uacsta.Operation, uacsta.InvalidDeviceID))(s.f)
			s.f.loses()
		}, []string{"level=WARN", `msg="monitor refused"`, "device=100", "retrying=false"}},
		{"a monitor that stays", func(s scene) {
			c, _ := open(s.T, s.p, "crm")
			request(c, monitorOf("100"))
			refuse("MonitorStop", busyNow)(s.f)
			c.Close(nil)
			time.Sleep(time.Hour)
		}, []string{"level=WARN", "could not release an unused reference", "service=MonitorStop", "link=flaky"}},
		{"a snapshot that is refused", func(s scene) {
			c, _ := open(s.T, s.p, "crm")
			request(c, monitorOf("100"))
			refuse("SnapshotDevice", busyNow)(s.f)
			s.f.loses()
		}, []string{"level=WARN", "resynchronisation failed", "device=100", "retrying=true"}},
		{"more calls than are tracked", func(s scene) {
			c, _ := open(s.T, s.p, "crm")
			request(c, monitorOf("100"))
			for n := range 1001 {
				s.f.up.Event(uacsta.Encode(uacsta.HeldEvent{MonitorCrossRefID: "link1", HeldConnection: uacsta.Conn(fmt.Sprint(n), "100")}, uacsta.Edition3))
			}
		}, []string{"level=WARN", "too many calls on a device", "device=100"}},
		{"more events than are held back", func(s scene) {
			c, _ := open(s.T, s.p, "crm")
			request(c, monitorOf("100"))
			s.f.mute = "SnapshotDevice"
			s.f.loses()
			for range 1001 {
				s.f.up.Event(uacsta.Encode(uacsta.DoNotDisturbEvent{MonitorCrossRefID: "link2", Device: uacsta.Ext("100")}, uacsta.Edition3))
			}
		}, []string{"level=WARN", "too many events during resynchronisation", "device=100"}},
		{"one reference twice", func(s scene) {
			s.f.answers = answers{"MonitorStart": text(`<MonitorStartResponse><monitorCrossRefID>m</monitorCrossRefID></MonitorStartResponse>`)}
			c, _ := open(s.T, s.p, "crm")
			request(c, monitorOf("100"))
			request(c, monitorOf("101"))
		}, []string{"level=ERROR", "switch reused a monitor cross reference", "device=101"}},
		{"an answer that comes too late", func(s scene) {
			s.f.up.Event(uacsta.Encode(uacsta.MonitorStartResponse{MonitorCrossRefID: "m"}, uacsta.Edition3))
		}, []string{"level=INFO", "late response from the switch", "answer=MonitorStartResponse"}},
		{"messages that are lost", func(s scene) { says(s.T, s.f, "messagesLost") }, []string{"level=INFO", "switch reports lost messages", "link=flaky"}},
		{"a status", func(s scene) { says(s.T, s.f, "overloadReached") }, []string{"level=INFO", "status=overloadReached", "link=flaky"}},
		{"segments that do not come", func(s scene) {
			s.f.answers = answers{"SnapshotDevice": text(inSegments)}
			c, _ := open(s.T, s.p, "crm")
			request(c, uacsta.SnapshotDevice{SnapshotObject: uacsta.Dev("100")})
			time.Sleep(time.Minute)
		}, []string{"level=WARN", "segmented snapshot incomplete", "link=flaky"}},
	} {
		var log bytes.Buffer
		synctest.Test(t, func(t *testing.T) {
			f := &flaky{lose: make(chan error)}
			p := start(t, f, policy.FromGrants(nil, policy.Grant{Who: "crm", Control: []string{"100", "101"}}), func(c *proxy.Config) {
				c.Log, c.Accounts, c.MaxIdentity = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})), book{"crm": true}, 3
				c.Sessions.MaxAccount, c.QueueLength = 1, 2000
			})
			tt.play(scene{t, p, f})
			synctest.Wait()
		})
		if !slices.ContainsFunc(strings.Split(log.String(), "\n"), func(line string) bool {
			return !slices.ContainsFunc(tt.want, func(piece string) bool { return !strings.Contains(line, piece) })
		}) {
			t.Errorf("%s: no line with %q in\n%.3000s", tt.what, tt.want, log.String())
		}
		if strings.Contains(log.String(), "<nil>") {
			t.Errorf("%s: a line has no value\n%.3000s", tt.what, log.String())
		}
	}
}
