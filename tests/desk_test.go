package tests

import (
	"fmt"
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
