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

// A linphonec with DTLS-SRTP calls, holds and takes back, and is called.
func TestDTLSOfLinphone(t *testing.T) {
	long(t)
	t.Parallel()
	tool(t, "linphonec")
	x := serveTelephones(t, dtlsExtension("104"), "")
	a, b := x.linphoneWith("104", "dtls"), x.phone("101", "auto")
	a.dial("101")
	a.writes("Call 1 is fully encrypted", 0)
	b.hears("104")
	for range 3 {
		a.says("is now paused", "pause")
		b.hears("music")
		a.says("Media streams established", "resume 1")
		b.hears("104")
	}
	a.says("ended", "terminate")
	b.sees("CALL_CLOSED", 1)
	b.do("dial", "104")
	a.writes(`assigned id 2\b`, 0)
	before := len(a.out.String())
	a.says("Media streams established", "answer 2")
	a.writes("Call 2 is fully encrypted", before)
	b.hears("104")
	x.stop()
}

// A pjsua with DTLS-SRTP calls, holds and takes back, and is called.
func TestDTLSOfPjsua(t *testing.T) {
	long(t)
	t.Parallel()
	optional(t, "pjsua")
	x := serveTelephones(t, dtlsExtension("104"), "")
	a := x.pjsua("104", "--use-srtp=2", "--srtp-secure=0", "--srtp-keying=1")
	b := x.phone("101", "auto")
	a.dial("101")
	b.hears("104")
	a.hears("101")
	for range 3 {
		a.says("status is Local hold", "H")
		b.hears("music")
		a.says("status is Active", "v")
		b.hears("104")
	}
	a.hears("101")
	a.says("is DISCONNECTED", "h")
	b.sees("CALL_CLOSED", 1)
	before := len(a.out.String())
	b.do("dial", "104")
	a.writes("Incoming call for account", before)
	a.says("changed to CONFIRMED", "a\n200")
	b.hears("104")
	a.hears("101")
	x.stop()
}
