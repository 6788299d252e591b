package sip

import (
	"net/netip"
	"strings"
	"testing"

	gosip "github.com/emiago/sipgo/sip"

	"github.com/tr87proxy/tr87proxy/tests/samples"
)

// wire has SIP messages as peers send them, whole and broken.
var wire = []string{
	"INVITE sip:rcc@gw.contoso.com SIP/2.0\r\nVia: SIP/2.0/TLS 10.1.1.5:52100;branch=z9hG4bK4A5E;branched=FALSE;ms-internal-info=\"caA;b=1,cQAA\"\r\nVia: SIP/2.0/tls 10.1.2.3:49221\r\n" +
		"Record-Route: <sip:fe1.contoso.com:5061;transport=tls;lr>;tag=x\r\nFrom: <sip:alice@contoso.com>;tag=28;epid=abb2\r\nTo: <sip:rcc@gw.contoso.com>\r\nCSeq: 1 INVITE\r\nCall-ID: 528A\r\n" +
		"Contact: <sip:alice@contoso.com;gruu>\r\nSupported: timer\r\nSession-Expires: 1800;refresher=uac\r\nContent-Length: 2\r\n\r\nhi",
	"INFO sip:a@b SIP/2.0\r\nv: SIP/2.0/UDP [::1]:5060\r\nf: \"A \\\"x\\\"\" <sip:a@b>;tag=1\r\nt: sip:c@d;tag=2\r\ni: 1\r\nCSeq: 2 INFO\r\nl: 0\r\n\r\n",
	"SIP/2.0 200 OK\r\nVia: SIP/2.0/TCP 127.0.0.1;branch=z9hG4bK1\r\nFrom: <sip:a@b>;tag=1\r\nTo: <sip:c@d>;tag=2\r\nCall-ID: 1\r\nCSeq: 2 INFO\r\nContent-Length: 0\r\n\r\n",
	"OPTIONS sip:a SIP/2.0\r\nVia: SIP/2.0/UDP a;rport\r\n folded: yes\r\nContent-Length: 5\r\n\r\nab",
	"BYE tel:+1;x=y SIP/2.0\r\n\r\n",
	"\r\n\r\n", "x", "INVITE", ": \r\n\r\n",
}

// FuzzReceive feeds datagrams to a user agent.
func FuzzReceive(f *testing.F) {
	for _, w := range wire {
		f.Add([]byte(w))
	}
	for _, s := range samples.Messages {
		f.Add([]byte(s.Wire))
	}
	ua := New(Config{})
	f.Cleanup(ua.Close)
	f.Fuzz(func(t *testing.T, data []byte) {
		msg, err := parse(data)
		if err != nil || len(data) > 2000 {
			return
		}
		h := hop{&deadEnd{}, netip.MustParseAddrPort("127.0.0.1:5060")}
		if m, ok := msg.(*gosip.Request); ok {
			r := &Request{msg: m, hop: h, ua: ua}
			_, _ = ua.negotiate(r, true)
			_ = routes(r.Values("Record-Route"))
			_ = ParseURI(parseAddress(r.Header("Contact")).URI)
			if out := string(r.response(Answer{Code: 200}, whole)); strings.Count(out, "\r\n\r\n") != 1 {
				t.Fatalf("an answer with several ends of its head:\n%s", out)
			}
		}
		ua.receive(data, h)
	})
}

// FuzzFrame cuts streams into messages.
func FuzzFrame(f *testing.F) {
	for _, w := range wire {
		f.Add([]byte(w + w))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		for len(data) > 0 {
			skip, n, err := frame(data)
			if skip < 0 || n < 0 || skip > len(data) {
				t.Fatalf("skip %d, length %d of %d", skip, n, len(data))
			}
			if err != nil {
				return
			}
			if n == 0 || skip+n > len(data) {
				t.Fatalf("skip %d, length %d of %d", skip, n, len(data))
			}
			data = data[skip+n:]
		}
	})
}

// deadEnd is a hop without a peer.
type deadEnd struct{}

func (*deadEnd) close()                            {}
func (*deadEnd) send([]byte, netip.AddrPort) error { return nil }
func (*deadEnd) transport() string                 { return "TCP" }
func (*deadEnd) reliable() bool                    { return true }
func (*deadEnd) localAddr() netip.AddrPort         { return netip.MustParseAddrPort("127.0.0.1:5062") }
func (*deadEnd) dead() bool                        { return false }
func (*deadEnd) names() []string                   { return nil }
