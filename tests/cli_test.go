package tests

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// command runs the program to its end.
func command(t *testing.T, args ...string) (out string, status int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	data, err := exec.CommandContext(ctx, program(t), args...).CombinedOutput()
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit):
		status = exit.ExitCode()
	case err != nil:
		t.Fatal(err)
	}
	return string(data), status
}

func TestDemo(t *testing.T) {
	out, status := command(t, "demo", "--once")
	if status != 0 || !strings.Contains(out, "Every step came as the call model says.") || strings.Count(out, "\n") < 40 {
		t.Errorf("status %d\n%s", status, out)
	}
}

func TestDemoStaysUp(t *testing.T) {
	port := freePort(t)
	p := start(t, program(t), "demo", "--port", fmt.Sprint(port))
	waitFor(t, "the end of the call", func() bool { return strings.Contains(p.out.String(), "Press Ctrl-C") })
	server := fmt.Sprintf("--server=sip:x@127.0.0.1:%d;transport=udp", port)
	if out, status := command(t, "call", "100", "101", server); status != 0 || !strings.Contains(out, "MakeCallResponse") {
		t.Errorf("call: status %d\n%s", status, out)
	}
}

func TestCommands(t *testing.T) {
	r := serve(t, everybody)
	server := fmt.Sprintf("--server=sip:x@127.0.0.1:%d;transport=tcp", r.port)
	watch := start(t, program(t), "monitor", "1001", "--json", "--count", "5", server)
	waitFor(t, "the monitor", func() bool { return strings.Contains(watch.out.String(), "monitor ") })
	file := filepath.Join(t.TempDir(), "request.xml")
	if err := os.WriteFile(file, []byte("<GetForwarding><device>1000</device></GetForwarding>"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		args   []string
		status int
		want   string
	}{
		{[]string{"features", server}, 0, "service  makeCall"},
		{[]string{"features", server}, 0, "profile  minimalEndpointCallControlProfile"},
		{[]string{"snapshot", "1000", server}, 0, "no calls"},
		{[]string{"answer", "1001", server}, 1, "1001 has no call in state alerting"},
		{[]string{"call", "1000", "1001", server}, 0, "MakeCallResponse"},
		{[]string{"answer", "1001", server}, 0, "AnswerCallResponse"},
		{[]string{"snapshot", "1000", server}, 0, "[connected connected]  with 1001"},
		{[]string{"hold", "1000", server}, 0, "HoldCallResponse"},
		{[]string{"hold", "1000", server}, 1, "1000 has no call in state connected"},
		{[]string{"retrieve", "1000", server}, 0, "RetrieveCallResponse"},
		{[]string{"clear", "1000", "--json", server}, 0, `{"name":"ClearConnectionResponse","kind":"response","content":{}}`},
		{[]string{"clear", "1000", server}, 1, "1000 has no call"},
		{[]string{"call", "1002", "1003", server}, 0, "MakeCallResponse"},
		{[]string{"deflect", "1003", "1004", server}, 0, "DeflectCallResponse"},
		{[]string{"answer", "1004", server}, 0, "AnswerCallResponse"},
		{[]string{"digits", "1002", "12#", server}, 0, "GenerateDigitsResponse"},
		{[]string{"consult", "1002", "1005", server}, 0, "ConsultationCallResponse"},
		{[]string{"conference", "1002", server}, 1, "invalidActiveConnectionState"},
		{[]string{"reconnect", "1002", server}, 0, "ReconnectCallResponse"},
		{[]string{"consult", "1002", "1005", server}, 0, "ConsultationCallResponse"},
		{[]string{"answer", "1005", server}, 0, "AnswerCallResponse"},
		{[]string{"alternate", "1002", server}, 0, "AlternateCallResponse"},
		{[]string{"transfer", "1002", server}, 0, "1005)"},
		{[]string{"transfer", "1005", "1006", server}, 0, "SingleStepTransferCallResponse"},
		{[]string{"transfer", "1002", server}, 1, "1002 has no call in state hold"},
		{[]string{"pickup", "1006", "1007", server}, 0, "DirectedPickupCallResponse"},
		{[]string{"conference", "1007", "1008", "--silent", server}, 0, "SingleStepConferenceCallResponse"},
		{[]string{"clear-call", "1007", server}, 0, "ClearCallResponse"},
		{[]string{"clear", "1008", server}, 1, "1008 has no call"},
		{[]string{"features", server}, 0, "profile  conferencingEndpointCallControlProfile"},
		{[]string{"forward", "1002", "no-answer", "1003", "--rings", "4", server}, 0, "SetForwardingResponse"},
		{[]string{"forward", "1002", server}, 0, "forwardNoAns      to 1003  after 4 rings"},
		{[]string{"forward", "1002", "no-answer", "off", server}, 0, "SetForwardingResponse"},
		{[]string{"forward", "1002", "sometimes", "1003", server}, 2, "always, busy or no-answer"},
		{[]string{"dnd", "1002", "on", server}, 0, "SetDoNotDisturbResponse"},
		{[]string{"dnd", "1002", server}, 0, "on"},
		{[]string{"dnd", "1002", "perhaps", server}, 2, "on or off"},
		{[]string{"snapshot", "9999", server}, 1, "operation/invalidDeviceID"},
		{[]string{"send", file, server}, 0, "<forwardingType>forwardImmediate</forwardingType>"},
		{[]string{"send", file + "x", server}, 2, "no such file"},
		{[]string{"snapshot", "1000", "--trace", server}, 0, "CSeq: 2 INFO"},
		{[]string{"call", "1000", server}, 2, "usage: tr87proxy call FROM TO"},
		{[]string{"call", "1000", "1001", "--sever=x"}, 2, "unknown flag"},
		{[]string{"call", "1000", "1001", "--server=sip:x@127.0.0.1:1;transport=tcp"}, 1, "refused"},
		{[]string{"bogus"}, 2, "unknown command"},
		{[]string{"version"}, 0, "tr87proxy"},
		{[]string{"completion", "bash"}, 0, "tr87proxy"},
		{[]string{"check", "-c", r.dir + "/config.yaml"}, 0, "no faults"},
		{[]string{"check", "-c", file}, 2, "request.xml:1: "},
		{[]string{"serve", "-c", file + "x"}, 2, "no such file"},
	} {
		out, status := command(t, tt.args...)
		if status != tt.status || !strings.Contains(out, tt.want) {
			t.Errorf("%v: status %d, want %d with %q\n%s", tt.args, status, tt.status, tt.want, out)
		}
	}
	if err := watch.wait(patience); err != nil {
		t.Errorf("monitor: %v\n%s", err, watch.out)
	}
	var names []string
	for line := range strings.Lines(watch.out.String()) {
		var m struct{ Name string }
		if json.Unmarshal([]byte(line), &m) == nil {
			names = append(names, m.Name)
		}
	}
	if got := strings.Join(names, " "); got != "DeliveredEvent EstablishedEvent HeldEvent RetrievedEvent ConnectionClearedEvent" {
		t.Errorf("monitor saw %s", got)
	}
	r.stop()
}

// What is served twice, or cannot be served, is said at once.
func TestServeFails(t *testing.T) {
	r := serve(t, everybody)
	out, status := command(t, "serve", "-c", r.dir+"/config.yaml")
	if status != 1 || !strings.Contains(out, "address already in use") {
		t.Errorf("second server: status %d\n%s", status, out)
	}
	if s := r.get("/healthz"); s != "ok\n" {
		t.Errorf("healthz %q", s)
	}
	if s := r.get("/debug/pprof/"); strings.Contains(s, "goroutine") {
		t.Error("profiles are served although nobody asked for them")
	}
	if n := r.metric(`tr87proxy_link_up{link="switch"}`); n != 1 {
		t.Errorf("link_up %v", n)
	}
	r.stop()
}
