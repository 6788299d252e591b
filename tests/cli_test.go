package tests

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/tr87proxy/tr87proxy/uacsta"
)

// command runs the program until it ends.
func command(t *testing.T, args ...string) (out string, status int) {
	t.Helper()
	file := program(t) // its build takes no time of the command's
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	data, err := exec.CommandContext(ctx, file, args...).CombinedOutput()
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
	t.Parallel()
	out, status := command(t, "demo", "--once")
	if status != 0 || !strings.Contains(out, "Every step followed the call model.") || strings.Count(out, "\n") < 40 {
		t.Errorf("status %d\n%s", status, out)
	}
}

func TestDemoStaysUp(t *testing.T) {
	t.Parallel()
	port := freePort(t)
	p := start(t, program(t), "demo", "--console", "127.0.0.1:0", "--api", "127.0.0.1:0", "--port", fmt.Sprint(port))
	waitFor(t, "the end of the call", func() bool { return strings.Contains(p.out.String(), "Press Ctrl-C") })
	server := fmt.Sprintf("--server=sip:x@127.0.0.1:%d;transport=udp", port)
	if out, status := command(t, "call", "100", "101", server); status != 0 || !strings.Contains(out, "MakeCallResponse") {
		t.Errorf("call: status %d\n%s", status, out)
	}
}

func TestCommands(t *testing.T) {
	t.Parallel()
	r := serve(t, everybody)
	server := fmt.Sprintf("--server=sip:x@127.0.0.1:%d;transport=tcp", r.port)
	watch := start(t, program(t), "monitor", "1001", "--json", "--count", "4", "--without", "Held", server)
	waitFor(t, "the monitor", func() bool { return strings.Contains(watch.out.String(), "monitor ") })
	file := filepath.Join(t.TempDir(), "request.xml")
	if err := os.WriteFile(file, []byte("<GetForwarding><device>1000</device></GetForwarding>"), 0o600); err != nil {
		t.Fatal(err)
	}
	asJSON := filepath.Join(t.TempDir(), "request.json")
	if err := os.WriteFile(asJSON, []byte(`{"GetForwarding":{"device":"1000"}}`), 0o600); err != nil {
		t.Fatal(err)
	}
	oneWay := filepath.Join(t.TempDir(), "oneway.xml")
	if err := os.WriteFile(oneWay, []byte("<RouteEnd><crossRefIdentifier>1</crossRefIdentifier></RouteEnd>"), 0o600); err != nil {
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
		{[]string{"clear", "1000", "--json", server}, 0, `{"ClearConnectionResponse":{}}`},
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
		{[]string{"forward", "1002", "sometimes", "1003", server}, 2, "after the device write always"},
		{[]string{"dnd", "1002", "on", server}, 0, "SetDoNotDisturbResponse"},
		{[]string{"dnd", "1002", server}, 0, "on"},
		{[]string{"dnd", "1002", "perhaps", server}, 2, "on or off"},
		{[]string{"snapshot", "9999", server}, 1, "operation/invalidDeviceID"},
		{[]string{"send", file, server}, 0, "<forwardingType>forwardImmediate</forwardingType>"},
		{[]string{"send", asJSON, "--json", server}, 0, `{"GetForwardingResponse":{"forwardingList":[{"forwardingType":"forwardImmediate","forwardStatus":false`},
		{[]string{"send", oneWay, server}, 1, "operation/invalidRouteingCrossRefID"},
		{[]string{"send", file + "x", server}, 2, "no such file"},
		{[]string{"snapshot", "1000", "--trace", server}, 0, "CSeq: 2 INFO"},
		{[]string{"call", "1000", server}, 2, "usage: tr87proxy call FROM TO"},
		{[]string{"call", "1000", "1001", "--sever=x"}, 2, "unknown flag"},
		{[]string{"call", "1000", "1001", "--server=sip:x@127.0.0.1:1;transport=tcp"}, 1, "refused"},
		{[]string{"monitor", "1000", "--without", "Dancing", server}, 2, "no event"},
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
		var about struct {
			Time   time.Time
			Device string
		}
		event := map[string]json.RawMessage{}
		if json.Unmarshal([]byte(line), &event) != nil {
			t.Errorf("%q is no JSON", line)
		}
		if event["note"] != nil { // that the monitor has started, on the standard error
			continue
		}
		if err := json.Unmarshal([]byte(line), &about); err != nil || about.Device != "1001" || time.Since(about.Time) > patience {
			t.Errorf("%s: device %q at %s, %v", line, about.Device, about.Time, err)
		}
		delete(event, "time")
		delete(event, "device")
		rest, err := json.Marshal(event)
		if err != nil {
			t.Fatal(err)
		}
		m, err := uacsta.ParseJSON(rest)
		if err != nil {
			t.Fatalf("%s: %v", rest, err)
		}
		names = append(names, m.Name())
	}
	if got := strings.Join(names, " "); got != "DeliveredEvent EstablishedEvent RetrievedEvent ConnectionClearedEvent" {
		t.Errorf("monitor saw %s", got)
	}
	r.stop()
}

const everyKind = `  park: ["400"]
  park-time: 1h
  queues: [{number: "300", agents: [{id: "7001", password: secret}], wrap-up: 1h}]
  pickup-groups: [{number: "500", members: ["1000", "1001", "1002"]}]
  trunks: [{number: "900", prefixes: ["0"], answer-after: 50ms}]
  routeing: [{number: "600", default: "1009", time: 1h}]
trusted: [{address: 127.0.0.1}]
grants: [{who: "*", control: ["*"], dial: ["*"]}]
`

// Each command for a service, against the built-in switch.
func TestServiceCommands(t *testing.T) {
	t.Parallel()
	r := serve(t, everyKind)
	r.everyService()
	r.stop()
}

// everyService uses every service from the command line.
func (r *running) everyService() {
	t := r.t
	t.Helper()
	server := fmt.Sprintf("--server=sip:x@127.0.0.1:%d;transport=tcp", r.port)
	pin := filepath.Join(t.TempDir(), "pin")
	if err := os.WriteFile(pin, []byte("secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		line   string
		status int
		want   string
	}{
		{"call 1000 1001", 0, "MakeCallResponse"},
		{"group-pickup 1002", 0, "GroupPickupCallResponse"},
		{"associate 1002 --correlator c0ffee --subject Order", 0, "AssociateDataResponse"},
		{"user-info 1002 0102", 0, "SendUserInformationResponse"},
		{"join 1002 1003 --silent", 0, "JoinCallResponse"},
		{"clear 1003", 0, "ClearConnectionResponse"},
		{"park 1002 400", 0, "ParkCallResponse"},
		{"pickup 400 1003", 0, "DirectedPickupCallResponse"},
		{"call 1004 1003", 0, "MakeCallResponse"},
		{"call 1005 1003", 0, "MakeCallResponse"},
		{"intrude 1005", 0, "IntrudeCallResponse"},
		{"clear 1005", 0, "ClearConnectionResponse"},
		{"call 1005 1003", 0, "MakeCallResponse"},
		{"campon 1005", 0, "CamponCallResponse"},
		{"clear 1005", 0, "ClearConnectionResponse"},
		{"call 1005 1003", 0, "MakeCallResponse"},
		{"callback 1005", 0, "CallBackResponse"},
		{"callback 1005 --list", 0, "1003"},
		{"callback 1005 1003 --cancel", 0, "CancelCallBackResponse"},
		{"callback 1005 --list", 0, "no call backs"},
		{"clear 1000", 0, "ClearConnectionResponse"},
		{"clear 1004", 0, "ClearConnectionResponse"},
		{"mwi 1000 on --message-from 300", 0, "SetMessageWaitingIndicatorResponse"},
		{"mwi 1000", 0, "on  from 300"},
		{"auto-answer 1001 on --rings 1", 0, "SetAutoAnswerResponse"},
		{"auto-answer 1001", 0, "on  after 1 rings"},
		{"auto-answer 1001 off", 0, "SetAutoAnswerResponse"},
		{"auto-work 1001 on --interval 30s", 0, "SetAutoWorkModeResponse"},
		{"auto-work 1001", 0, "on  for 30 s"},
		{"forward 1000 busy-external 1001", 0, "SetForwardingResponse"},
		{"forward 1000", 0, "forwardBusyExt    to 1001"},
		{"agent 1001", 0, "nobody is logged on"},
		{"agent 1001 login --id 7001", 1, "invalidAgentPassword"},
		{"agent 1001 login --id 7001 --agent-password-file " + pin, 0, "SetAgentStateResponse"},
		{"agent 1001 login --id 7001 --trace --agent-password-file " + pin, 1, "<password>************</password>"},
		{"agent 1001 ready", 0, "SetAgentStateResponse"},
		{"agent 1001", 0, "7001         agentReady  in 300"},
		{"predict 300 05550199 --alert-time 20s", 0, "MakePredictiveCallResponse"},
		{"agent 1001 sleeping", 2, "after the device write login"},
		{"last-number 1000", 0, "1001"},
		{"device 300", 0, "acdGroup"},
		{"devices --category acd", 0, "300          acd"},
		{"devices --json --category park", 0, `"deviceList":[{"deviceID":"400","deviceCategory":"park"`},
		{"capabilities", 0, "<manufacturerName>tr87proxy</manufacturerName>"},
		{"system-status", 0, "normal"},
		{"route 600", 2, "use either --to or --reject"},
		{"join 1000 1003", 1, "1000 has no call in state connected"},
		{"__complete call 10", 0, "1000\tstation sip"},
		{"__complete agent 1000 ", 0, "not-ready"},
		{"__complete forward 1000 ", 0, "no-answer-external"},
		{"__complete script ", 0, "ShellCompDirectiveDefault"},
	} {
		args := strings.Split(tt.line, " ")
		if args[0] == "__complete" {
			args = append([]string{"__complete", args[1], server}, args[2:]...)
		} else {
			args = append(args, server)
		}
		out, status := command(t, args...)
		if status != tt.status || !strings.Contains(out, tt.want) {
			t.Errorf("%s: status %d, want %d with %q\n%s", tt.line, status, tt.status, tt.want, out)
		}
	}
	router := start(t, program(t), "route", "600", "--to", "9999,1008", "--count", "3", server)
	waitFor(t, "the registration", func() bool { return strings.Contains(router.out.String(), "routeing 600") })
	command(t, "call", "1007", "600", server)
	if err := router.wait(patience); err != nil {
		t.Errorf("route: %v\n%s", err, router.out)
	}
	if out, _ := command(t, "snapshot", "1008", server); !strings.Contains(out, "[alerting connected]  with 1007") {
		t.Errorf("routed to: %s", out)
	}
}

// Scripts say whether a scenario went as written, and where it did not.
func TestScript(t *testing.T) {
	t.Parallel()
	r := serve(t, everyKind)
	server := fmt.Sprintf("--server=sip:x@127.0.0.1:%d;transport=tcp", r.port)
	for _, tt := range []struct {
		script string
		status int
		want   string
	}{
		{"# a transfer\nmonitor 1000 1001 1002\ncall 1000 1001\nexpect 1001 Delivered state=alerting cause=newCall within 2s\nanswer 1001\nexpect 1000 Established\n" +
			"refused noHeldCall retrieve 1000\nconsult 1000 1002\nnever 1001 ConnectionCleared within 50ms\nanswer 1002\ntransfer 1000\nexpect 1001 Transferred\n" +
			"clear 1001\nexpect 1002 ConnectionCleared releasingDevice=1002 state=null\nwait 1ms", 0, "  15  "},
		{"monitor 1006 1007\nfilter 1006 Delivered ServiceInitiated\ncall 1006 1007\nexpect 1007 Delivered\nnever 1006 Delivered within 20ms\nfilter 1006\n" +
			"answer 1007\nexpect 1006 Established\nclear 1006", 0, "   9  "},
		{"monitor 300 1009\ncall 1009 300\nexpect 300 Queued\nanswer 300\nexpect 300 Established state=connected\ndigits 1009 5\nexpect 300 DtmfDetected dtmfChar=5\n" +
			"deflect 300 1008\nexpect 300 Diverted\nanswer 1008\nclear 1009", 0, "  11  "},
		{"filter 1006 Held", 2, "name a device that a line above monitors"},
		{"monitor 1006\nfilter 1006 Hold", 2, "no event Hold to filter out"},
		{"monitor 1003\nexpect 1003 Held within 50ms", 1, ":2: it did not come within 50ms; at 1003 came: nothing"},
		{"monitor 1003\ncall 1003 1004\nnever 1003 Originated within 10s", 1, ":3: OriginatedEvent came"},
		{"refused noActiveCall hold 1005", 1, ":1: refused with another error: operation/invalidConnectionID"},
		{"refused noActiveCall dnd 1005", 1, ":1: the request was not refused"},
		{"call 1003 1004\n", 1, ":1: stateIncompatibility/connectedCallExists"},
		{"expect 1003 Held", 2, ":1: expect 1003 Held: no line above monitors 1003"},
		{"monitor 1003\nexpect 1003 Hold", 2, "no event Hold"},
		{"monitor 1003\nnever 1003 Held", 2, "add a time"},
		{"dance 1003", 2, "no such request"},
		{"call 1003", 2, "usage: tr87proxy call FROM TO"},
		{"refused noSuchError hold 1000", 2, "no error \"noSuchError\""},
		{"wait soon", 2, "invalid duration"},
		{"# nothing", 2, "the file is empty"},
	} {
		file := filepath.Join(t.TempDir(), "scenario")
		if err := os.WriteFile(file, []byte(tt.script), 0o600); err != nil {
			t.Fatal(err)
		}
		out, status := command(t, "script", file, server)
		if status != tt.status || !strings.Contains(out, tt.want) {
			t.Errorf("%s\nstatus %d, want %d with %q\n%s", tt.script, status, tt.status, tt.want, out)
		}
	}
	r.stop()
}

// The screen: lines where nobody looks, a table that is drawn anew on a terminal.
func TestWatch(t *testing.T) {
	t.Parallel()
	r := serve(t, everyKind)
	server := fmt.Sprintf("--server=sip:x@127.0.0.1:%d;transport=tcp", r.port)
	command(t, "dnd", "1003", "on", server)
	lines := start(t, program(t), "watch", "1000", "1001", "1003", server)
	table := onTerminal(t, program(t), "watch", "1000", "1001", "1003", server)
	waitFor(t, "the first picture", func() bool {
		return strings.Contains(lines.out.String(), "1003         idle  dnd") && regexp.MustCompile(`(?m)^1003 +idle +dnd$`).MatchString(table.shows())
	})
	command(t, "call", "1000", "1001", server)
	waitFor(t, "the call", func() bool {
		picture := table.shows()
		return strings.Contains(lines.out.String(), "1001         alerting from 1000") &&
			regexp.MustCompile(`(?m)^1000 +connected +to 1001 \(alerting\) +\d+s$`).MatchString(picture) && regexp.MustCompile(`(?m)^1001 +alerting +from 1000 +\d+s$`).MatchString(picture)
	})
	table.keys("/", "dnd", "Enter")
	waitFor(t, "the filtered row", func() bool {
		picture := table.shows()
		return strings.Contains(picture, "1 of 3 devices") && strings.Contains(picture, "1003") && !strings.Contains(picture, "1001")
	})
	table.keys("Escape") // with a key right behind it, it would be Alt and that key
	waitFor(t, "all devices", func() bool { return strings.Contains(table.shows(), "/ filter") })
	table.keys("s", "a")
	waitFor(t, "the devices with calls", func() bool {
		picture := table.shows()
		return strings.Contains(picture, "2 of 3 devices by state") && !strings.Contains(picture, "1003")
	})
	table.resize(40, 5)
	waitFor(t, "the small picture", func() bool {
		picture := table.shows()
		return strings.Contains(picture, "1000") && !slices.ContainsFunc(strings.Split(picture, "\n"), func(line string) bool { return utf8.RuneCountInString(line) > 40 })
	})
	table.resize(100, 20)
	command(t, "forward", "1001", "always", "1002", server)
	waitFor(t, "the forwarding", func() bool {
		return strings.Contains(lines.out.String(), "1001         alerting from 1000  forwardImmediate to 1002")
	})
	// the proxy is killed and comes back: both notice, and connect again
	_ = r.cmd.Process.Kill()
	waitFor(t, "that the connection is lost", func() bool {
		return strings.Contains(lines.out.String(), "not connected, trying again in") && strings.Contains(table.shows(), "not connected, trying again in")
	})
	r.process = start(t, program(t), "serve", "-c", filepath.Join(r.dir, "config.yaml"))
	waitFor(t, "the new connections", func() bool {
		picture := table.shows()
		return strings.HasSuffix(strings.TrimSpace(lines.out.String()), "1003         idle") && !strings.Contains(picture, "not connected") && strings.Contains(picture, "0 of 3 devices")
	})
	table.keys("q")
	waitFor(t, "the end", func() bool { return table.shows() == "" })
	r.stop()
}

// What is served twice, or cannot be served, is said at once.
func TestServeFails(t *testing.T) {
	t.Parallel()
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

// The configuration of mod_csta_socket becomes one of ours, with its network lists: addresses with masks, and denials.
func TestImport(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for name, text := range map[string]string{
		"csta_socket.conf.xml": `<configuration name="csta_socket.conf"><settings><param name="listen-ip" value="0.0.0.0"/><param name="apply-inbound-acl" value="csta"/></settings></configuration>`,
		"acl.conf.xml": `<configuration name="acl.conf"><network-lists><list name="csta" default="deny"><node type="allow" host="192.168.42.7" mask="255.255.255.0"/>
			<node type="deny" host="192.168.42.42" mask="255.255.255.255"/><node type="allow" host="10.0.0.1" mask="255.255.254.255"/></list></network-lists></configuration>`,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	out, status := command(t, "import", filepath.Join(dir, "csta_socket.conf.xml"))
	if status != 0 {
		t.Fatalf("status %d\n%s", status, out)
	}
	for _, want := range []string{
		"deny:\n    - \"192.168.42.42/32\"\n", "trusted:\n  - address: \"10.0.0.1/32\"\n  - address: \"10.0.1.1/32\"\n  - address: \"192.168.42.0/24\"\n",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
}
