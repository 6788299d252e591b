package tests

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// twinkle starts a twinkle-console of a number. It has two lines, and says nothing but silence.
func (x *exchange) twinkle(number string) *console {
	t := x.t
	t.Helper()
	dir := t.TempDir()
	settings := map[string]string{
		"user.cfg": fmt.Sprintf(`user_name=%[1]s
user_domain=127.0.0.1:%[2]d
auth_realm=tr87proxy
auth_name=%[1]s
auth_pass=secret%[1]s
registrar=127.0.0.1:%[2]d
registration_time=600
register_at_startup=yes
outbound_proxy=127.0.0.1:%[2]d
codecs=g711a,g711u
sip_transport=udp
`, number, x.sip),
		"twinkle.sys": fmt.Sprintf(`dev_ringtone=alsa:null
dev_speaker=alsa:null
dev_mic=alsa:null
validate_audio_dev=no
play_ringtone=no
play_ringback=no
sip_port=%d
rtp_port=%d
`, twoPorts(t), 28000+40*(phoneCount()%110)),
	}
	if err := os.Mkdir(filepath.Join(dir, ".twinkle"), 0o700); err != nil {
		t.Fatal(err)
	}
	for name, text := range settings {
		if err := os.WriteFile(filepath.Join(dir, ".twinkle", name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return x.console(number, dir, tool(t, "twinkle-console"), "user.cfg")
}

func twinkled(t *testing.T) (x *exchange, a *console, b, c *softphone) {
	t.Helper()
	return withConsole(t, "twinkle-console", func(x *exchange) *console { return x.twinkle("100") })
}

// The user of a twinkle calls, holds the call and takes it back, again and again.
func TestTwinkleHold(t *testing.T) {
	x, a, b, _ := twinkled(t)
	a.says("Line 1: far end answered call", "call 101")
	for range 5 {
		a.says("Line 1: re-INVITE successful", "hold")
		b.hears("music")
		a.says("Line 1: re-INVITE successful", "retrieve")
		b.hears()
	}
	a.do("bye")
	b.sees("CALL_CLOSED", 1)
	x.stop()
}

// The user of a twinkle goes from line to line: the telephone holds the call of one and takes back that of the other in
// one burst.
func TestTwinkleSwap(t *testing.T) {
	x, a, b, c := twinkled(t)
	a.says("Line 1: far end answered call", "call 101")
	a.says("Line 2 is now active", "line 2")
	a.says("Line 2: far end answered call", "call 102")
	b.hears("music")
	for range rounds {
		a.says("Line 1 is now active", "line 1")
		c.hears("music")
		b.hears()
		a.says("Line 2 is now active", "line 2")
		b.hears("music")
		c.hears()
	}
	x.stop()
}

// A twinkle answers a second call: it holds the first and accepts the other at once.
func TestTwinkleWaiting(t *testing.T) {
	x, a, b, c := twinkled(t)
	a.says("Line 1: far end answered call", "call 101")
	for n := range rounds {
		before := len(a.out.String())
		c.do("dial", "100")
		a.writes("Line 2: incoming call", before)
		a.do("line 2", "answer")
		c.sees("CALL_ESTABLISHED", n+1)
		b.hears("music")
		c.hears()
		c.do("hangup", "")
		c.sees("CALL_CLOSED", n+1)
		a.says("Line 1 is now active", "line 1")
		b.hears()
	}
	x.stop()
}
