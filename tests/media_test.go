package tests

import (
	"strings"
	"testing"
)

// Voice goes where signalling comes from, and nowhere else unless the configuration says so:
// a telephone that names another address is not called, and cannot call.
func TestVoiceElsewhere(t *testing.T) {
	long(t)
	x, list := handsets(t, "", "elsewhere: [198.51.100.0/24]\n", "100", "101")
	a, b := list[0], list[1]
	plain := description(6400, "sendrecv")
	at := func(address string) string { return strings.ReplaceAll(plain, "c=IN IP4 127.0.0.1", "c="+address) }
	refused := map[string]string{
		"multicast": at("IN IP4 224.0.0.1/127"), "multicast of IPv6": at("IN IP6 ff02::1"), "broadcast": at("IN IP4 255.255.255.255"), "unspecified": at("IN IP6 ::"),
		"link-local": at("IN IP6 fe80::1"), "another host": at("IN IP4 198.18.0.9"), "another host for a stream": plain + "c=IN IP4 198.18.0.9\r\n",
		"another host for reports": plain + "a=rtcp:6401 IN IP4 198.18.0.9\r\n", "none": at("IN IP4 127.0.0"),
	}
	for name, text := range refused {
		d := a.dialog("101")
		m := d.challenged([]string{sdpHeader}, text).final()
		if m.code() != 488 {
			t.Errorf("%s: %s", name, m.start)
		}
		d.ack(m)
	}
	from, _ := between(a, b, 6400)
	for name, text := range refused {
		if m := from.ask("INVITE", []string{sdpHeader}, text); m.code() != 488 {
			t.Errorf("%s, in a call: %s", name, m.start)
		} else {
			from.ack(m)
		}
	}
	for name, text := range map[string]string{"a network that is allowed": at("IN IP4 198.51.100.7"), "this host": at("IN IP4 127.0.0.77"), "hold of old": at("IN IP4 0.0.0.0"), "a name": at("IN IP4 host.example")} {
		if m := from.ask("INVITE", []string{sdpHeader}, text); m.code() != 200 {
			t.Errorf("%s: %s", name, m.start)
		} else {
			from.ack(m)
		}
	}
	from.ask("BYE", nil, "")
	b.answer(b.expect("BYE"), 200, nil, "")
	// answers
	for name, text := range refused {
		d := a.dialog("101")
		calling := d.challenged([]string{sdpHeader}, plain)
		invite := b.expect("INVITE")
		b.reply(invite, 200, "b"+random(), text)
		b.expect("ACK")
		b.answer(b.expect("BYE"), 200, nil, "")
		m := calling.final()
		if m.code()/100 == 2 {
			t.Errorf("an answer with %s: %s", name, m.start)
		}
		d.ack(m)
		waitFor(t, "the end of the call", func() bool { return x.metric("tr87proxy_telephone_legs") == 0 })
	}
	waitFor(t, "the reason in the log", func() bool {
		return strings.Contains(x.out.String(), "is not in media.elsewhere: 198.18.0.9 instead of 127.0.0.1")
	})
	x.stop()
}
