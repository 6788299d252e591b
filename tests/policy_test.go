package tests

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tr87proxy/tr87proxy/internal/audit"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

// waysToName are the ways in which a client may write another's line.
var waysToName = []string{
	"1001", " 1001 ", "10-01", "(10)01", "10.01", "tel:1001", "TEL:1001", "tel:10-01", "tel:1001;phone-context=dialstring", "tel:1001;phone-context=x;isub=1000",
	"tel:+14255551001", "tel:+1-425-555-1001", "tel:+1425555;ext=1001", "tel:+14255559999;ext=1001", "Tel:+14255551001;EXT=1001", "sip:1001@contoso.com", "SIP:1001@CONTOSO.COM",
	"sips:1001@contoso.com;user=phone", "sip:1001;phone-context=x@contoso.com", "sip:%31%30%30%31@contoso.com", "sip:+14255551001@contoso.com;ext=1000", "1001;ext=1000", "%31001", "1001\u200b",
}

// services have another's line in the place of DEVICE, as what something is done to.
var services = strings.Fields(`
MonitorStart:monitorObject/deviceObject SnapshotDevice:snapshotObject MakeCall:callingDevice GetForwarding:device SetForwarding:device GetDoNotDisturb:device
SetDoNotDisturb:device GetMessageWaitingIndicator:device SetMessageWaitingIndicator:device GetAgentState:device SetAgentState:device GetAutoAnswer:device SetAutoAnswer:device
AnswerCall:callToBeAnswered/deviceID ClearConnection:connectionToBeCleared/deviceID HoldCall:callToBeHeld/deviceID RetrieveCall:callToBeRetrieved/deviceID
DeflectCall:callToBeDiverted/deviceID ConsultationCall:existingCall/deviceID ReconnectCall:activeCall/deviceID TransferCall:heldCall/deviceID ConferenceCall:heldCall/deviceID
SingleStepTransferCall:activeCall/deviceID AlternateCall:heldCall/deviceID ParkCall:parking/deviceID DirectedPickupCall:callToBePickedUp/deviceID GenerateDigits:connectionToSendDigits/deviceID
AssociateData:existingCall/deviceID SendUserInformation:existingCall/deviceID ClearCall:callToBeCleared/deviceID GroupPickupCall:newDestination RouteRegister:routeingDevice
MakePredictiveCall:callingDevice CamponCall:camponConnection/deviceID IntrudeCall:intrude/deviceID GetLastNumberDialed:device GetLogicalDeviceInformation:device
`)

// A user tries another's line, by each service and each way of naming it: everything is
// refused, and written down.
func TestAnothersLine(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "audit.log")
	r := serve(t, `audit: {file: `+file+`}
numbers: {main: "+1425555"}
trusted: [{address: 127.0.0.1}]
lines: {own: [{who: "127.0.0.1", devices: ["1000"]}]}
rules: [{name: own, who: ["*"], may: [control], devices: [own], destinations: [internal]}]
`)
	c := r.xml()
	if m := c.ask(call("1000", "1001")); m.Name() != "MakeCallResponse" {
		t.Fatalf("%s", m)
	}
	id := 0
	for _, service := range services {
		name, path, _ := strings.Cut(service, ":")
		if !uacsta.IsRequest(name) {
			t.Errorf("%s is no service", name)
		}
		for _, way := range waysToName {
			document := strings.ReplaceAll(strings.ReplaceAll(way, "&", "&amp;"), "<", "&lt;")
			for i, parts := len(strings.Split(path, "/"))-1, strings.Split(path, "/"); i >= 0; i-- {
				if parts[i] == "deviceID" {
					document = "<callID>1</callID>" + "<deviceID>" + document + "</deviceID>"
					continue
				}
				document = "<" + parts[i] + ">" + document + "</" + parts[i] + ">"
			}
			id++
			c.write(id, `<`+name+` xmlns="`+uacsta.NamespaceED3+`">`+document+`</`+name+`>`)
			_, m, err := c.read()
			if err != nil {
				t.Fatal(err)
			}
			if refusal := m.Err(); refusal == nil || !strings.HasPrefix(refusal.Value, "privilegeViolation") && !strings.HasPrefix(refusal.Value, "invalid") {
				t.Errorf("%s of %q: %s", name, way, m)
			}
		}
	}
	// toll fraud: by each service that sends a call somewhere
	for _, req := range []any{
		uacsta.MakeCall{CallingDevice: uacsta.Dev("1000"), CalledDirectoryNumber: uacsta.Dev("+19005550199")},
		uacsta.ConsultationCall{ExistingCall: uacsta.Conn("1", "1000"), ConsultedDevice: uacsta.Dev("tel:09005550199")},
		uacsta.DeflectCall{CallToBeDiverted: uacsta.Conn("1", "1000"), NewDestination: []uacsta.DeviceID{uacsta.Dev("1002"), uacsta.Dev("+19005550199")}},
		uacsta.SingleStepTransferCall{ActiveCall: uacsta.Conn("1", "1000"), TransferredTo: uacsta.Dev("sip:+19005550199@x")},
		uacsta.SingleStepConferenceCall{ActiveCall: uacsta.Conn("1", "1000"), DeviceToJoin: uacsta.Dev("+19005550199"), ParticipationType: uacsta.ParticipationActive},
		uacsta.SetForwarding{Device: uacsta.Dev("1000"), ActivateForward: true, ForwardDN: ptr(uacsta.Dev("+19005550199"))},
		uacsta.CallBackNonCallRelated{OriginatingDevice: ptr(uacsta.Dev("1000")), TargetDevice: ptr(uacsta.Dev("+19005550199"))},
	} {
		id++
		if m := c.ask(req); m.Err() == nil || !strings.HasPrefix(m.Err().Value, "privilegeViolation") {
			t.Errorf("%T: %s", req, m)
		}
	}
	r.stop()
	if end, err := audit.Verify(nil, []string{file}); err != nil || end.Lines < int64(id) {
		t.Errorf("%+v, %v", end, err)
	}
	kinds := map[string]int{}
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		var e audit.Entry
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			t.Fatal(err)
		}
		kinds[e.Kind]++
		if e.Kind != "stopped" && (e.Who != "127.0.0.1" || e.Front != "xml" || e.Session == "") {
			t.Errorf("%+v", e)
		}
	}
	if kinds["refused"] != id || kinds["opened"] != 1 || kinds["closed"] != 1 || kinds["asked"] != 1 || kinds["done"] != 1 {
		t.Errorf("%d refusals, written down are %v", id, kinds)
	}
	if out, status := command(t, "audit", "verify", "--file", file); status != 0 || !strings.Contains(out, "nothing has been changed") {
		t.Error(status, out)
	}
	data, _ := os.ReadFile(file)
	if err := os.WriteFile(file, []byte(strings.Replace(string(data), "HoldCall", "HeldCall", 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, status := command(t, "audit", "verify", "--file", file); status != 1 || !strings.Contains(out, "has been changed") {
		t.Error(status, out)
	}
}

func ptr[T any](v T) *T { return &v }

// Who does something too often is refused for a while; others are not.
func TestRate(t *testing.T) {
	r := serve(t, `trusted: [{address: 127.0.0.1}]
rules:
- {name: few calls, may: [MakeCall], destinations: [internal], rate: 3/hour}
- {name: everything else, may: [control]}
`)
	c := r.xml()
	for n := range 5 {
		m := c.ask(call(fmt.Sprint(1000+n), "1010"))
		if refused := m.Err() != nil && m.Err().Value == uacsta.PerformanceLimitExceeded; refused != (n >= 3) {
			t.Errorf("call %d: %s", n, m)
		}
	}
	if m := c.ask(uacsta.SnapshotDevice{SnapshotObject: uacsta.Dev("1000")}); m.Err() != nil {
		t.Errorf("%s", m)
	}
	r.stop()
}

// What the policy command says is what the proxy does.
func TestPolicyCommand(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "config.yaml")
	if err := os.WriteFile(file, []byte(`
lines: {own: [{who: "sip:alice@contoso.com", devices: ["tel:+14255550100"]}], file: `+filepath.Join(filepath.Dir(file), "lines.csv")+`}
destinations: [{name: abroad, devices: ["+44*"]}]
rules:
- {name: nothing abroad, deny: true, destinations: ["class:abroad"]}
- {name: own, who: ["sip:*@contoso.com"], may: [control], devices: [own], destinations: ["*"]}
numbers:
  main: "+14255550"
  rules: [{match: "00x.", strip: 2, add: "+"}]
  examples: [{written: "004420123", canonical: "+4420123", link: pbx, sent: "90114420123"}]
links: [{name: pbx, addresses: [pbx.contoso.com], devices: ["+*"], numbers: {out: [{match: "/\\+(\\d+)/", replace: "9011$1"}]}}]
switch: {extensions: [{number: "100"}, {number: "101"}]}
`), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(filepath.Dir(file), "lines.csv"), []byte("# who, devices\nsip:Bob@contoso.com, 101, 102\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		args   string
		status int
		want   string
	}{
		{"check", 0, "no faults"},
		{"policy explain --as alice@contoso.com MakeCall 100 004420123", 1, "no: denied by nothing abroad"},
		{"policy explain --as alice@contoso.com MakeCall tel:+14255550100 00339", 0, "yes: allowed by own"},
		{"policy explain --as sip:alice@contoso.com MakeCall 101", 1, "own                      does not decide: it names other devices"},
		{"policy explain --as bob@contoso.com MakeCall 101 100", 0, "yes: allowed by own"},
		{"policy explain --as mallory@contoso.com.evil MakeCall 101", 1, "no: no rule allows sip:mallory@contoso.com.evil to use MakeCall on 101"},
		{"policy explain --as alice@contoso.com WashDishes 101", 2, "is not a service"},
		{"policy explain --as alice@contoso.com --at noon MakeCall 101", 2, "write for example"},
		{"policy explain --as alice@contoso.com --front api call tel:+14255550100 00339", 0, "by api, "},
		{"policy explain --as alice@contoso.com --front api call tel:+14255550100 00339", 0, ": MakeCall 100 to +339\n  nothing abroad           does not decide: it names other destinations\nyes: allowed by own"},
		{"policy explain --as alice@contoso.com --front api answer 101", 1, "no: no rule allows sip:alice@contoso.com to use AnswerCall on 101"},
		{"policy explain --as alice@contoso.com --front api --scope observe answer tel:+14255550100", 1, "no: this client may only observe"},
		{"policy explain --as alice@contoso.com --front api --scope observe get-forwarding tel:+14255550100", 0, "yes: allowed by own"},
		{"policy explain --as alice@contoso.com --front api --scope admin answer 101", 2, "write observe or control"},
		{"policy explain --as alice@contoso.com --scope observe answer 101", 2, "only tokens have one; write --front api"},
		{"policy explain --as 2001:db8::1 --front api call 101", 1, "no: no rule allows 2001:db8::1 to use MakeCall on 101"},
		{"policy translate 0044-20-123", 0, "sent       90114420123"},
		{"policy translate tel:+14255550101", 0, "canonical  101\nlink       switch"},
		{"policy translate --link nowhere 1", 2, "no link"},
	} {
		out, status := command(t, append(strings.Fields(tt.args), "-c", file)...)
		if status != tt.status || !strings.Contains(out, tt.want) {
			t.Errorf("%s: %d\n%s", tt.args, status, out)
		}
	}
	data, _ := os.ReadFile(file)
	if err := os.WriteFile(file, []byte(strings.Replace(string(data), "sent: \"9011", "sent: \"8011", 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, status := command(t, "check", "-c", file); status != 2 || !strings.Contains(out, "004420123 is sent to pbx as 90114420123, not 80114420123") {
		t.Error(status, out)
	}
}
