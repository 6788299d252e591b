package tests

import (
	"encoding/json"
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/tr87proxy/tr87proxy/internal/daemon"
)

// SIGHUP with a broken file changes nothing: clients go on, and the status, the metrics and the log say what is wrong
// and where, until a reload succeeds.
func TestHangUpWithBrokenFile(t *testing.T) {
	a := administer(t, everybody)
	c := a.xml()
	c.monitor("1000")
	loaded := a.metric("tr87proxy_config_last_reload_success_timestamp_seconds")
	if loaded == 0 || time.Since(time.UnixMilli(int64(loaded*1000))) > patience || a.metric("tr87proxy_config_last_reload_successful") != 1 {
		t.Errorf("loaded at %v", loaded)
	}
	a.edit("event-wait: 500ms", "event-wayt: 500ms")
	if err := a.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "the failure", func() bool { return a.metric("tr87proxy_config_reload_failures_total") == 1 })
	if a.metric("tr87proxy_config_last_reload_successful") != 0 || a.metric("tr87proxy_config_last_reload_success_timestamp_seconds") != loaded {
		t.Error("the metrics call it a success")
	}
	if out := a.admin(0, "status"); !strings.Contains(out, "the last reload failed ") || !strings.Contains(out, "sip.event-wayt: unknown key; did you mean event-wait?") {
		t.Error(out)
	}
	if out := a.out.String(); !strings.Contains(out, `level=ERROR msg="reload failed: nothing was changed" file=`) || !strings.Contains(out, "key=sip.event-wayt err=") || !strings.Contains(out, " line=") {
		t.Error(out)
	}
	if m := c.ask(call("1000", "1001")); m.Err() != nil {
		t.Errorf("%s", m)
	}
	a.edit("event-wayt: 500ms", "event-wait: 500ms")
	a.admin(0, "reload")
	if out := a.admin(0, "status"); strings.Contains(out, "reload failed") || a.metric("tr87proxy_config_last_reload_successful") != 1 || a.metric("tr87proxy_config_reload_failures_total") != 1 {
		t.Error(out)
	}
	a.stop()
}

// A dry run says what the reload then does: which sessions and monitors end, whose they are, and why.
func TestDryRunOfTheProgram(t *testing.T) {
	a := administer(t, "trusted: [{address: 127.0.0.1}]\ngrants: [{who: \"127.0.0.1\", control: [\"10??\"]}, {who: \"sip:alice@example.com\", control: [\"1000\"]}]\n")
	overXML := a.xml()
	overXML.monitor("1000")
	overXML.monitor("1010")
	overSIP := start(t, program(t), "monitor", "1000", "--from", "sip:alice@example.com", "--server", fmt.Sprintf("sip:x@127.0.0.1:%d;transport=tcp", a.port))
	waitFor(t, "both clients", func() bool { return a.metric("tr87proxy_sessions") == 2 && a.metric("tr87proxy_link_monitors") == 2 })
	a.edit("control: [\"10??\"]", "control: [\"100?\"]")
	a.edit("who: \"sip:alice@example.com\"", "who: \"sip:bob@example.com\"")
	a.edit("event-wait: 500ms", "event-wait: 600ms")
	report := func(args ...string) *daemon.ReloadReport {
		t.Helper()
		var r daemon.ReloadReport
		if err := json.Unmarshal([]byte(a.admin(0, append([]string{"reload", "--json"}, args...)...)), &r); err != nil {
			t.Fatal(err)
		}
		return &r
	}
	out := a.admin(0, "reload", "--dry-run")
	for _, want := range []string{
		"would change: grants\n", "needs a restart: sip.event-wait (", "would end: 1 sessions, 2 monitors, 0 registrations, 0 others\n", "  session: sip:alice@example.com (trusted-peer) tcp:127.0.0.1:",
		"  monitor of 1000: sip:alice@example.com (trusted-peer) ", "  monitor of 1010: 127.0.0.1 (address) xml:127.0.0.1:",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("the dry run does not say %q:\n%s", want, out)
		}
	}
	foreseen := report("--dry-run")
	if a.metric("tr87proxy_sessions") != 2 || a.metric("tr87proxy_link_monitors") != 2 {
		t.Error("a dry run has ended something")
	}
	done := report()
	if foreseen.DryRun = false; foreseen.String() != done.String() {
		t.Errorf("foreseen:\n%s\ndone:\n%s", foreseen, done)
	}
	if m := overXML.hear(); m.Name() != "MonitorStop" {
		t.Errorf("%s", m)
	}
	if err := overSIP.wait(patience); err == nil {
		t.Error("the client ended well, although its session was ended")
	}
	if n, m := a.metric("tr87proxy_sessions"), a.metric("tr87proxy_link_monitors"); n != 1 || m != 1 {
		t.Errorf("%v sessions and %v monitors are left", n, m)
	}
	a.stop()
}
