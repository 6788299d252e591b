package tests

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tr87proxy/tr87proxy/uacsta"
)

// A trusted peer sends single requests outside a dialog, over TCP. Nobody else does, whatever its headers say, and nothing that
// lasts opens; without the setting nobody at all.
func TestCSTAOutsideDialogs(t *testing.T) {
	t.Parallel()
	begin := func(setting string) (port int, p *process, o *scriptedClient) {
		port, xml := freePort(t), fmt.Sprintf("127.0.0.1:%d", freePort(t))
		config := fmt.Sprintf(`
sip: {listen: [{transport: tcp, address: "127.0.0.1:%[1]d"}, {transport: udp, address: "127.0.0.1:%[1]d"}]%[2]s}
operations: {address: ""}
xml: {listen: [{transport: tcp, address: %[3]q}]}
trusted: [{address: 127.0.0.1}]
grants: [{who: "sip:100@*", control: ["100"]}, {who: "127.0.0.1", control: ["*"]}]
switch: {extensions: [{number: "100"}, {number: "101"}, {number: "102"}]}
`, port, setting, xml)
		file := filepath.Join(t.TempDir(), "config.yaml")
		if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
			t.Fatal(err)
		}
		p = start(t, program(t), "serve", "-c", file)
		waitFor(t, "the program", func() bool { return strings.Contains(p.out.String(), "msg=ready") })
		return port, p, dialScripted(t, xml)
	}
	const space = ` xmlns="http://www.ecma-international.org/standards/ecma-323/csta/ed3"`
	call := func(device string) string {
		return "<MakeCall" + space + "><callingDevice>" + device + "</callingDevice><calledDirectoryNumber>101</calledDirectoryNumber><autoOriginate>doNotPrompt</autoOriginate></MakeCall>"
	}
	port, p, o := begin(", outside-dialogs: true")
	send := func(h *handset, method, contentType, body string, more ...string) *sipText {
		t.Helper()
		if contentType != "" {
			more = append(more, "Content-Type: "+contentType)
		}
		return h.dialog("csta").ask(method, more, body)
	}
	const csta = "application/csta+xml"
	good, datagrams, stranger := newHandset(t, "tcp", port, "100", ""), newHandset(t, "udp", port, "100", ""), handsetFrom(t, "127.0.0.2", "tcp", port, "100", "")
	for _, h := range []*handset{datagrams, stranger} {
		for _, contentType := range []string{csta, "text/plain"} {
			if m := send(h, "INFO", contentType, call("100"), "P-Asserted-Identity: <sip:100@contoso.com>"); m.code() != 403 || m.body != "" {
				t.Errorf("%s %s: %s", h.transport, contentType, m.start)
			}
		}
	}
	calls := func(id int, device string) int { // nothing was done for those
		t.Helper()
		return len(o.ask(id, "<SnapshotDevice"+space+"><snapshotObject>"+device+"</snapshotObject></SnapshotDevice>", "SnapshotDeviceResponse").Connections())
	}
	if n := calls(1, "100"); n != 0 {
		t.Errorf("%d calls for peers that are not trusted", n)
	}
	for method, headers := range map[string][]string{"INFO": nil, "NOTIFY": {"Event: uaCSTA", "Subscription-State: active"}} {
		m := send(good, method, csta, call("100"), headers...)
		made, err := uacsta.Parse([]byte(m.body))
		if m.code() != 200 || err != nil || made.Name() != uacsta.NameMakeCallResponse {
			t.Fatalf("%s: %s %s", method, m.start, m.body)
		}
		if n := calls(2, "100"); n != 1 {
			t.Errorf("%s: %d calls", method, n)
		}
		x := made.Connections()[0]
		if m := send(good, method, csta, "<ClearConnection"+space+"><connectionToBeCleared><callID>"+x.CallID()+"</callID><deviceID>100</deviceID></connectionToBeCleared></ClearConnection>", headers...); !strings.Contains(m.body, "ClearConnectionResponse") {
			t.Errorf("%s: %s %s", method, m.start, m.body)
		}
	}
	for _, tt := range []struct {
		contentType, body, want string // want is in the start line or in the body
	}{
		{csta, call("102"), "privilegeViolation"},
		{csta, "<MonitorStart" + space + "><monitorObject><deviceObject>100</deviceObject></monitorObject></MonitorStart>", "serviceNotSupported"},
		{csta, "<SystemRegister" + space + "><requestTypes><systemStatus>true</systemStatus></requestTypes></SystemRegister>", "serviceNotSupported"},
		{csta, "<StartApplicationSession><applicationInfo><applicationID>x</applicationID></applicationInfo></StartApplicationSession>", "serviceNotSupported"},
		{csta, "<HeldEvent" + space + "/>", "481"},
		{csta, "<MakeCall", "400"},
		{"text/plain", call("100"), "415"},
		{"", "", "481"},
		{csta, "<MakeCall><!--" + strings.Repeat("x", 70000) + "--></MakeCall>", "513"},
	} {
		if m := send(good, "INFO", tt.contentType, tt.body); !strings.Contains(m.start+m.body, tt.want) {
			t.Errorf("%.80s: %s %s", tt.body, m.start, m.body)
		}
	}
	for range 300 { // many in a row leave nothing, and nothing in the log
		if m := send(stranger, "NOTIFY", csta, call("100")); m.code() != 403 {
			t.Fatal(m.start)
		}
	}
	if n := calls(3, "100"); n != 0 {
		t.Errorf("%d calls are left", n)
	}
	if out := p.out.String(); strings.Count(out, "session opened") != 1 || strings.Count(out, "request outside a dialog refused") > 20 {
		t.Errorf("the log:\n%s", out)
	}
	port, _, o = begin("")
	if m := send(newHandset(t, "tcp", port, "100", ""), "INFO", csta, call("100")); m.code() < 400 {
		t.Errorf("without the setting: %s %s", m.start, m.body)
	}
	if n := calls(1, "100"); n != 0 {
		t.Errorf("%d calls without the setting", n)
	}
}
