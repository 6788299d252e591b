package tests

import (
	"strings"
	"testing"
)

// Telephones that are registered over TLS are offered encrypted voice, as the key srtp says; without TLS no keys are
// offered, but DTLS where voice has to be encrypted, or where the key says so.
func TestOfferOfSRTP(t *testing.T) {
	t.Parallel()
	x, list := handsets(t, "  - {number: \"104\", sip: {password: secret104, srtp: required}}\n  - {number: \"105\", sip: {password: secret105, srtp: accepted}}\n"+dtlsExtension("106"), "", "100")
	a := list[0]
	const key = "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:"
	const keys = key + "d0RmdmcmVCspeEc3QGZiNWpVLFJhQX1cfHAwJSoj\r\n"
	plain := description(5900, "sendrecv")
	secret := strings.Replace(plain, "RTP/AVP", "RTP/SAVP", 1) + keys
	const printed = "a=setup:actpass\r\na=fingerprint:sha-256 "
	dtls := strings.Replace(plain, "RTP/AVP", "UDP/TLS/RTP/SAVP", 1) + "a=setup:active\r\na=fingerprint:sha-256 00" + strings.Repeat(":00", 31) + "\r\n"
	for _, tt := range []struct {
		number, transport, proto string // proto: of the offer
		keys                     bool
		answer                   string
		code                     int // that the caller gets
	}{
		{"101", "tls", "RTP/AVP", true, plain, 200},
		{"101", "tls", "RTP/AVP", true, plain + keys, 200},
		{"101", "udp", "RTP/AVP", false, plain, 200},
		{"104", "tls", "RTP/SAVP", true, secret, 200},
		{"104", "tls", "RTP/SAVP", true, plain, 488},
		{"104", "udp", "UDP/TLS/RTP/SAVP", false, dtls, 200},
		{"104", "udp", "UDP/TLS/RTP/SAVP", false, secret, 488},
		{"104", "udp", "UDP/TLS/RTP/SAVP", false, plain, 488},
		{"106", "tls", "UDP/TLS/RTP/SAVP", false, dtls, 200},
		{"106", "tls", "UDP/TLS/RTP/SAVP", false, secret, 488},
		{"106", "udp", "UDP/TLS/RTP/SAVP", false, plain, 488},
		{"105", "tls", "RTP/AVP", false, plain, 200},
	} {
		name := tt.number + " over " + tt.transport
		port := x.sip
		if tt.transport == "tls" {
			port = x.sipTLS
		}
		b := newHandset(t, tt.transport, port, tt.number, "secret"+tt.number)
		if m := b.register(600); m.code() != 200 {
			t.Fatal(m.start)
		}
		d := a.dialog(tt.number)
		calling := d.challenged([]string{sdpHeader}, plain)
		invite := b.expect("INVITE")
		if !strings.Contains(invite.body, " "+tt.proto+" ") || strings.Contains(invite.body, key) != tt.keys || strings.Contains(invite.body, printed) != strings.HasPrefix(tt.proto, "UDP/TLS/") {
			t.Errorf("%s:\n%s", name, invite.body)
		}
		b.reply(invite, 200, "b"+random(), tt.answer)
		m := calling.final()
		if m.code() != tt.code {
			t.Errorf("%s, answer %q: %s, want %d", name, tt.answer, m.start, tt.code)
		}
		d.follow(m)
		d.ack(m)
		if m.code() == 200 {
			d.ask("BYE", nil, "")
		}
		b.answer(b.expect("BYE"), 200, nil, "")
		waitFor(t, "the end of the call", func() bool { return x.metric("tr87proxy_telephone_legs") == 0 })
		b.register(0)
		b.close()
	}
	// a plain call of one that must not have any, and an encrypted one
	b := newHandset(t, "tls", x.sipTLS, "104", "secret104")
	b.register(600)
	for text, want := range map[string]int{plain: 488, secret: 480, dtls: 480} { // 103 is away
		d := b.dialog("103")
		m := d.challenged([]string{sdpHeader}, text).final()
		if m.code() != want {
			t.Errorf("%s\n%s, want %d", text, m.start, want)
		}
		d.ack(m)
	}
	x.stop()
}
