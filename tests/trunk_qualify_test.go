package tests

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/tr87proxy/tr87proxy/uacsta"
)

// A trunk whose peer stops responding to OPTIONS is out of service within its qualify, calls over it fail at once, and it
// is back when the peer responds. The log says who was asked what; the end of the program is no fault of the peer.
func TestTrunkQualify(t *testing.T) {
	t.Parallel()
	port := freePort(t)
	x := serveTelephones(t, fmt.Sprintf(`  trunks:
  - {number: "900", prefixes: ["0"], inward: [], sip: {uri: "sip:127.0.0.1:%d;transport=udp", qualify: 2s}}
`, port), "")
	o := x.watch("100", "900")
	isp := listenHandset(t, port, x.sip, "acme", "isp")
	o.until("900", "BackInService")
	h := newHandset(t, "udp", x.sip, "100", "secret100")
	h.register(600)
	o.until("100", "BackInService")
	isp.mute.Store(true)
	began := time.Now()
	o.until("900", "OutOfService")
	if took := time.Since(began); took > 10*time.Second { // the default would take 27 s
		t.Errorf("out of service after %s", took)
	}
	d := h.dialog("0301234")
	d.challenged([]string{sdpHeader}, description(5700, "sendrecv"))
	if m := o.until("100", "Failed"); m.Text("cause") != string(uacsta.CauseNetworkNotObtainable) {
		t.Errorf("%s", m)
	}
	isp.mute.Store(false)
	o.until("900", "BackInService")
	calling := h.dialog("0301234").challenged([]string{sdpHeader}, description(5702, "sendrecv"))
	isp.answer(isp.expect("INVITE"), 486, nil, "")
	if m := calling.final(); m.code() != 486 {
		t.Errorf("%s", m.start)
	}
	for _, part := range []string{"trunk out of service", "method=OPTIONS", "no response in time", fmt.Sprintf("127.0.0.1:%d", port)} {
		if !strings.Contains(x.out.String(), part) {
			t.Errorf("the log has no %q", part)
		}
	}
	isp.mute.Store(true)
	x.stop()
	for line := range strings.Lines(x.out.String()) {
		if strings.Contains(line, "trunk=") && strings.Contains(line, "context canceled") {
			t.Error(line)
		}
	}
}
