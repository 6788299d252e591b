package tests

import (
	"strings"
	"testing"
	"time"
)

// roundTrip is how long an OPTIONS of the handset takes.
func (d *sipDialog) roundTrip() time.Duration {
	d.h.t.Helper()
	began := time.Now()
	if m := d.begin("OPTIONS", nil, "").final(); m.code() != 200 {
		d.h.t.Fatal(m.start)
	}
	return time.Since(began)
}

// Whatever a telephone sends over UDP, and however often, it does not delay another one by more than 100 ms. All
// datagrams go through one socket, so what another telephone sends is handled after it.
func TestNoPeerDelaysAnother(t *testing.T) {
	t.Parallel()
	const rounds, allowed = 20, 100 * time.Millisecond
	x, list := handsets(t, "", "", "100", "101", "102")
	a, b, c := list[0], list[1], list[2]
	other := c.dialog("102")
	undisturbed := time.Duration(0)
	for range 5 * rounds {
		undisturbed = max(undisturbed, other.roundTrip())
	}
	// called has a call ring at b, which sends what the test wants. end hangs up if that has answered the call.
	called := func() (invite *sipText, end func()) {
		calling := a.dialog("101")
		asking := calling.challenged([]string{sdpHeader}, description(6700, "sendrecv"))
		invite = b.expect("INVITE")
		b.reply(invite, 180, "b", "")
		return invite, func() {
			m := asking.final()
			calling.follow(m)
			calling.ack(m)
			if m.code() == 200 {
				calling.ask("BYE", nil, "")
			}
		}
	}
	nothing := func() {}
	for name, begin := range map[string]func() (disturb, end func()){
		"a refusal repeated": func() (disturb, end func()) {
			invite, end := called()
			return func() { b.reply(invite, 486, "b", "") }, end
		},
		"a redirection repeated": func() (disturb, end func()) {
			invite, end := called()
			return func() { b.reply(invite, 302, "b", "", "Contact: <sip:999@127.0.0.1>") }, end
		},
		"a 200 repeated": func() (disturb, end func()) {
			invite, end := called()
			return func() { b.reply(invite, 200, "b", description(6702, "sendrecv")) }, end
		},
		"200s of many forks": func() (disturb, end func()) {
			invite, end := called()
			return func() { b.reply(invite, 200, random(), description(6702, "sendrecv")) }, end
		},
		"an INVITE repeated": func() (disturb, end func()) {
			asking := b.dialog("103").begin("INVITE", []string{sdpHeader}, description(6704, "sendrecv"))
			return func() { b.write(asking.text) }, nothing
		},
		"a CANCEL of an INVITE that is answered": func() (disturb, end func()) {
			asking := b.dialog("103").begin("INVITE", []string{sdpHeader}, description(6704, "sendrecv"))
			asking.final()
			return func() { b.write(strings.ReplaceAll(asking.text, "INVITE", "CANCEL")) }, nothing
		},
		"what is not SIP": func() (disturb, end func()) {
			return func() { b.write(strings.Repeat("INVITE ", 1000) + "\r\n\r\n") }, nothing
		},
	} {
		// The machine may delay a round trip, too, but hardly each time.
		least := time.Hour
		for try := 0; try < 3 && least > undisturbed+allowed; try++ {
			disturb, end := begin()
			slowest := time.Duration(0)
			for range rounds {
				disturb()
				slowest = max(slowest, other.roundTrip())
			}
			end()
			least = min(least, slowest)
		}
		t.Logf("%s: %v, undisturbed %v", name, least, undisturbed)
		if least > undisturbed+allowed {
			t.Errorf("%s delays another telephone by %v", name, least-undisturbed)
		}
	}
	x.stop()
}
