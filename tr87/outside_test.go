package tr87_test

import (
	"bufio"
	"net"
	"net/netip"
	"net/textproto"
	"strings"
	"testing"
	"time"

	"github.com/tr87proxy/tr87proxy/policy"
	"github.com/tr87proxy/tr87proxy/sip"
	"github.com/tr87proxy/tr87proxy/tr87"
)

// outsideDialogs makes a server take requests outside dialogs.
func outsideDialogs(front *tr87.ServerConfig, wire *sip.Config) {
	h := tr87.NewServer(*front)
	wire.Requests = map[string]func(*sip.Request){"INFO": h.Outside, "NOTIFY": h.Outside}
}

// A trusted peer may send a request in an INFO or NOTIFY outside a dialog over TCP, with its own rights; the response is in the
// 200. What needs a dialog, forged datagrams, strangers and listeners without the setting are refused.
func TestOutsideDialogs(t *testing.T) {
	const (
		doNotDisturb = `<SetDoNotDisturb xmlns="http://www.ecma-international.org/standards/ecma-323/csta/ed3"><device>100</device><doNotDisturbOn>true</doNotDisturbOn></SetDoNotDisturb>`
		asked        = `<GetDoNotDisturb xmlns="http://www.ecma-international.org/standards/ecma-323/csta/ed3"><device>100</device></GetDoNotDisturb>`
	)
	nobody := policy.FromGrants(nil, policy.Grant{Who: "crm", Control: []string{"*"}})
	talk := func(ua *sip.UA, network string, requests ...[4]string) {
		t.Helper()
		var addr netip.AddrPort
		var err error
		if network == "udp" {
			addr, err = ua.ListenUDP("127.0.0.1:0")
		} else {
			addr, err = ua.ListenTCP("127.0.0.1:0", nil)
		}
		if err != nil {
			t.Fatal(err)
		}
		nc, err := net.Dial(network, addr.String())
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		_ = nc.SetDeadline(time.Now().Add(patience))
		w := &sipWire{nc: nc, r: textproto.NewReader(bufio.NewReader(nc)), callID: network + "-outside"}
		for i, q := range requests { // method, body, code, what is in the response's body
			if err := w.ask(q[0], i+1, []byte(q[1])); err != nil {
				t.Fatal(err)
			}
			m, err := w.read()
			if err != nil {
				t.Fatal(err)
			}
			if strings.Fields(m.first)[1] != q[2] || !strings.Contains(string(m.body), q[3]) {
				t.Errorf("%s %s over %s: %s %s", q[0], q[1], network, m.first, m.body)
			}
		}
	}
	talk(start(t, alice, outsideDialogs), "tcp",
		[4]string{"INFO", doNotDisturb, "200", "<SetDoNotDisturbResponse"}, [4]string{"NOTIFY", asked, "200", ">true</doNotDisturbOn>"},
		[4]string{"INFO", strings.Replace(doNotDisturb, "100", "101", 1), "200", "privilegeViolationSpecifiedDevice"},
		[4]string{"INFO", `<MonitorStart><monitorObject><deviceObject>100</deviceObject></monitorObject></MonitorStart>`, "200", "serviceNotSupported"},
		[4]string{"NOTIFY", `<SystemRegister/>`, "200", "serviceNotSupported"}, [4]string{"NOTIFY", "<a", "400", ""}, [4]string{"INFO", "", "481", ""}, [4]string{"INFO", "<HeldEvent/>", "481", ""})
	talk(start(t, alice, outsideDialogs), "udp", [4]string{"INFO", doNotDisturb, "403", ""})
	talk(start(t, nobody, outsideDialogs), "tcp", [4]string{"NOTIFY", doNotDisturb, "403", ""})
	talk(start(t, alice, nil), "tcp", [4]string{"INFO", doNotDisturb, "481", ""})
}
