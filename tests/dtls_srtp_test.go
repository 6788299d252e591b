package tests

import (
	"fmt"
	"strings"
	"testing"
)

// dtlsExtension is YAML for an extension that is offered DTLS-SRTP.
func dtlsExtension(number string) string {
	return fmt.Sprintf("  - {number: %[1]q, sip: {password: secret%[1]s, srtp: dtls}}\n", number)
}

// A telephone with DTLS-SRTP calls one without any encryption, holds the call and takes it back, and is called itself.
func TestDTLSOfBaresip(t *testing.T) {
	long(t)
	t.Parallel()
	x := serveTelephones(t, dtlsExtension("104"), "")
	a, b := x.phone("104", "auto", "dtls_srtp"), x.phone("101", "auto")
	complete := func(n int) {
		t.Helper()
		waitFor(t, "the handshake", func() bool { return strings.Count(a.out.String(), "DTLS-SRTP complete (audio/RTP)") == n })
		waitFor(t, "the handshake for reports", func() bool { return strings.Count(a.out.String(), "DTLS-SRTP complete (audio/RTCP)") == n })
	}
	a.do("dial", "101")
	a.hears("101")
	b.hears("104")
	complete(1)
	for range 2 {
		a.do("hold", "")
		b.hears("music")
		a.do("resume", "")
		b.hears("104") // what baresip hears after a hold, it does not write into its file
	}
	complete(1)
	a.do("hangup", "")
	b.sees("CALL_CLOSED", 1)
	b.do("dial", "104")
	a.hears("101")
	b.hears("104")
	complete(2)
	b.do("hold", "")
	a.hears("music")
	b.do("resume", "")
	a.hears("101")
	complete(2)
	b.do("hangup", "")
	a.sees("CALL_CLOSED", 2)
	x.stop()
}
