package tests

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tr87proxy/tr87proxy/uacsta"
)

// A desk phone that has not registered yet can be monitored, by a second client too: it is out of service until it has a
// session.
func TestAbsentDeskPhone(t *testing.T) {
	t.Parallel()
	port := freePort(t)
	r := serve(t, fmt.Sprintf(`links:
- name: desk
  type: phones
  listen: [{transport: udp, address: "127.0.0.1:%d"}]
  accounts: [{number: "7001", password: secret7001}]
%s`, port, everybody))
	var clients []*overseer
	for range 2 {
		o := &overseer{xmlClient: r.xml(), refs: map[string]string{}}
		o.refs[o.monitor("7001")] = "7001"
		o.until("7001", "OutOfService")
		clients = append(clients, o)
	}
	phone := newHandset(t, "udp", port, "7001", "secret7001")
	if m := phone.register(600); m.code() != 200 {
		t.Fatal(m.start)
	}
	invite := phone.cstaRequest("RequestSystemStatus")
	phone.cstaAnswer(invite, "RequestSystemStatusResponse", "<systemStatus>normal</systemStatus>")
	phone.expect("ACK")
	phone.cstaAnswer(phone.cstaRequest("GetCSTAFeatures"), "CSTAErrorCode", "<operation>serviceNotSupported</operation>")
	start := phone.cstaRequest("MonitorStart")
	phone.cstaAnswer(start, "MonitorStartResponse", "<monitorCrossRefID>7</monitorCrossRefID>")
	for _, o := range clients {
		o.until("7001", "BackInService")
	}
	session := phone.answered(invite, "csta")
	body := `<DoNotDisturbEvent xmlns="` + uacsta.NamespaceED3 + `"><monitorCrossRefID>7</monitorCrossRefID><device><deviceIdentifier>sip:7001@phone</deviceIdentifier></device><doNotDisturbOn>true</doNotDisturbOn></DoNotDisturbEvent>`
	if m := session.ask("INFO", []string{cstaHeader}, body); m.code() != 200 {
		t.Error(m.start)
	}
	for _, o := range clients {
		o.until("7001", "DoNotDisturb")
	}
	r.stop()
}

// A telephone whose model may requests calls of its own extension outside a dialog, and controls them.
func TestRequestsOutsideDialogs(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "models.yaml")
	if err := os.WriteFile(file, []byte("models: [{name: Asker, agent: ^Asker, requests: [makeCall, clearConnection, snapshotDevice]}]"), 0o600); err != nil {
		t.Fatal(err)
	}
	x := serveTelephones(t, "", "  models: "+file+"\n")
	phone, other := newHandset(t, "udp", x.sip, "100", "secret100"), newHandset(t, "udp", x.sip, "101", "secret101")
	for _, h := range []*handset{phone, other} {
		if m := h.register(600); m.code() != 200 {
			t.Fatal(m.start)
		}
	}
	o := x.watch("100")
	request := func(h *handset, method, agent, root, content string) *uacsta.Message {
		t.Helper()
		headers := []string{cstaHeader, "User-Agent: " + agent}
		if method == "NOTIFY" {
			headers = append(headers, "Event: uaCSTA", "Subscription-State: active")
		}
		m := h.dialog(h.number).ask(method, headers, fmt.Sprintf(`<?xml version="1.0"?><%[1]s xmlns="%[2]s">%[3]s</%[1]s>`, root, uacsta.NamespaceED3, content))
		res, err := uacsta.Parse([]byte(m.body))
		if m.code() != 200 || err != nil {
			t.Fatalf("%s: %s %v %s", root, m.start, err, m.body)
		}
		return res
	}
	const dialling = "<callingDevice>sip:101@pbx</callingDevice><calledDirectoryNumber>sip:1-01@pbx</calledDirectoryNumber>"
	for _, tt := range []struct{ agent, root, content string }{
		{"Another 1.0", "MakeCall", dialling},
		{"Asker 1.0", "MonitorStart", "<monitorObject><deviceObject>100</deviceObject></monitorObject>"},
		{"Asker 1.0", "SetMessageWaitingIndicator", "<device>100</device><messageWaitingOn>true</messageWaitingOn>"},
	} {
		if m := request(phone, "INFO", tt.agent, tt.root, tt.content); m.Err() == nil || m.Err().Value != uacsta.ServiceNotSupported {
			t.Errorf("%s of %s: %s", tt.root, tt.agent, m)
		}
	}
	for _, method := range []string{"INFO", "NOTIFY"} {
		made := request(phone, method, "Asker 1.0", "MakeCall", dialling)
		id := made.Text("callingDevice/callID")
		if id == "" || made.Text("callingDevice/deviceID") != "100" {
			t.Fatal(made)
		}
		invite := phone.expect("INVITE") // it is called first
		phone.reply(invite, 180, "a", "")
		o.until("100", "ServiceInitiated")
		if m := request(phone, method, "Asker 1.0", "SnapshotDevice", "<snapshotObject>101</snapshotObject>"); !strings.Contains(m.String(), id) {
			t.Errorf("its own calls: %s", m)
		}
		clearing := fmt.Sprintf("<connectionToBeCleared><callID>%s</callID><deviceID>%%s</deviceID></connectionToBeCleared>", id)
		if m := request(other, method, "Asker 1.0", "ClearConnection", fmt.Sprintf(clearing, "100")); m.Err() == nil || m.Err().Value != uacsta.InvalidConnectionID {
			t.Errorf("another's call: %s", m)
		}
		if m := request(phone, method, "Asker 1.0", "ClearConnection", fmt.Sprintf(clearing, "sip:100@pbx")); m.Err() != nil {
			t.Errorf("its own: %s", m)
		}
		phone.answer(phone.expect("CANCEL"), 200, nil, "")
		phone.reply(invite, 487, "a", "")
		phone.expect("ACK")
		o.until("100", "ConnectionCleared")
	}
	x.stop()
}
