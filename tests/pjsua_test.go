package tests

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// pjsua is a pjsua that plays a tone, and writes what it hears into a file. There is no Debian package of it.
type pjsua struct {
	*console
	ear *softphone
	at  string // completes numbers to URIs
}

// pjsua starts a pjsua of a number, with further options.
func (x *exchange) pjsua(number string, options ...string) *pjsua {
	x.t.Helper()
	return x.pjsuaAt(fmt.Sprintf("@127.0.0.1:%d", x.sip), number, options)
}

// securePjsua starts a pjsua that registers over TLS.
func (x *exchange) securePjsua(number string, options ...string) *pjsua {
	x.t.Helper()
	return x.pjsuaAt(fmt.Sprintf("@127.0.0.1:%d;transport=tls", x.sipTLS), number, append(options, "--use-tls"))
}

// pjsuaAt starts a pjsua; stdbuf has it write each line of its log at once.
func (x *exchange) pjsuaAt(at, number string, options []string) *pjsua {
	t := x.t
	t.Helper()
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "voice"), 0o700); err != nil {
		t.Fatal(err)
	}
	writeTone(t, filepath.Join(dir, "tone.wav"), tones[number])
	p := &pjsua{at: at, console: x.console(number, dir, "stdbuf", append(append([]string{"-oL", "pjsua"}, options...),
		"--id=sip:"+number+"@127.0.0.1", "--registrar=sip:"+at[1:], "--realm=*", "--username="+number, "--password=secret"+number,
		"--bound-addr=127.0.0.1", fmt.Sprintf("--local-port=%d", twoPorts(t)), fmt.Sprintf("--rtp-port=%d", 28000+40*(phoneCount()%110)),
		"--null-audio", "--no-tones", "--no-vad", "--clock-rate=8000", "--log-level=5", "--app-log-level=5",
		"--play-file="+filepath.Join(dir, "tone.wav"), "--auto-play", "--rec-file="+filepath.Join(dir, "voice", "all-dec.wav"), "--auto-rec")...)}
	p.ear = &softphone{process: p.process, number: number, dir: dir}
	return p
}

// uri completes a number.
func (p *pjsua) uri(number string) string { return "sip:" + number + p.at }

// dial makes a call, which becomes the current one, waits for the answer and returns the number of the call at pjsua.
func (p *pjsua) dial(number string) string {
	p.t.Helper()
	before := len(p.out.String())
	p.do("m", p.uri(number))
	return p.writes(`Call (\d+) state changed to CONFIRMED`, before)[0]
}

// current makes the call with a number the current one. There are two.
func (p *pjsua) current(number string) {
	p.t.Helper()
	p.says("Current dialog: .*sip:"+number+"@", "]")
}

// hears waits until a pjsua hears these tones in all its calls together, and no others.
func (p *pjsua) hears(names ...string) {
	p.t.Helper()
	p.ear.hears(names...)
}

func withPjsua(t *testing.T) (x *exchange, a *pjsua, b, c *softphone) {
	t.Helper()
	optional(t, "pjsua")
	return withConsole(t, "pjsua", func(x *exchange) *pjsua { return x.pjsua("100") })
}

// The user of a pjsua holds a call and takes it back, again and again.
func TestPjsuaHold(t *testing.T) {
	x, a, b, _ := withPjsua(t)
	a.dial("101")
	b.hears("100")
	for range rounds {
		a.says("status is Local hold", "H")
		b.hears("music")
		a.says("status is Active", "v")
		b.hears("100")
	}
	a.hears("101")
	a.says("is DISCONNECTED", "h")
	b.sees("CALL_CLOSED", 1)
	x.stop()
}

// The user of a pjsua has two calls and swaps them: it holds one and takes the other back in one burst.
func TestPjsuaSwap(t *testing.T) {
	x, a, b, c := withPjsua(t)
	a.dial("101")
	a.says("status is Local hold", "H")
	a.dial("102")
	for range rounds {
		a.do("H", "]", "v")
		b.hears("100")
		c.hears("music")
		a.do("H", "]", "v")
		c.hears("100")
		b.hears("music")
	}
	a.hears("102")
	x.stop()
}

// A pjsua answers a second call. It holds the first in the same burst, or leaves that to the switch, which then takes the
// first back when the second ends.
func TestPjsuaWaiting(t *testing.T) {
	x, a, b, c := withPjsua(t)
	a.dial("101")
	b.hears("100")
	for n := range rounds {
		before := len(a.out.String())
		c.do("dial", "100")
		a.writes("Incoming call for account", before)
		if n%2 == 0 {
			a.do("H")
		}
		a.do("]", "a", "200")
		c.hears("100")
		b.hears("music")
		before = len(a.out.String())
		c.do("hangup", "")
		a.writes("is DISCONNECTED", before)
		if n%2 == 0 {
			a.do("v")
		}
		b.hears("100")
	}
	a.hears("101")
	x.stop()
}

// The user of a pjsua transfers a call to another telephone, at once or after having spoken with it. Then the REFER may
// go in either call.
func TestPjsuaTransfer(t *testing.T) {
	x, a, b, c := withPjsua(t)
	for n := range rounds {
		first := a.dial("101")
		before := len(a.out.String())
		if n%3 == 0 {
			a.do("x", a.uri("102"))
		} else {
			a.says("status is Local hold", "H")
			second := a.dial("102")
			c.hears("100")
			before = len(a.out.String())
			if n%3 == 1 {
				a.do("X", first)
			} else {
				a.current("101")
				a.do("X", second)
			}
			a.writes("Call "+second+" is DISCONNECTED", before)
		}
		a.writes("Call "+first+" is DISCONNECTED", before)
		b.hears("102")
		c.hears("101")
		b.do("hangup", "")
		b.sees("CALL_CLOSED", n+1)
		c.sees("CALL_CLOSED", n+1)
	}
	x.stop()
}

// The user of a pjsua joins two calls at the telephone: it takes the first call back, which it has held or left to the
// switch to hold, without holding the second. The switch mixes.
func TestPjsuaConference(t *testing.T) {
	x, a, b, c := withPjsua(t)
	for n := range rounds {
		first := a.dial("101")
		if n%2 == 0 {
			a.says("status is Local hold", "H")
		}
		second := a.dial("102")
		b.hears("music")
		a.current("101")
		before := len(a.out.String())
		a.do("v")
		a.writes("Call "+first+" is DISCONNECTED", before)
		b.hears("100", "102")
		c.hears("100", "101")
		a.hears("101", "102")
		a.says("Call "+second+" is DISCONNECTED", "h")
		b.hears("102")
		c.hears("101")
		b.do("hangup", "")
		b.sees("CALL_CLOSED", n+1)
		c.sees("CALL_CLOSED", n+1)
	}
	x.stop()
}

// pjsuas starts an exchange for pjsuas, with more extensions.
func pjsuas(t *testing.T, more string) *exchange {
	t.Helper()
	optional(t, "pjsua")
	long(t)
	t.Parallel()
	return serveTelephones(t, more, "")
}

// Two pjsuas agree on a codec that passes through, and tell the switch by UPDATE that they use no other. On hold, the switch
// plays music in G.711.
func TestPjsuaCodecs(t *testing.T) {
	x := pjsuas(t, "")
	for _, tt := range []struct{ from, to, codec, other string }{{"100", "101", "G722", "opus"}, {"102", "103", "opus", "G722"}} {
		a, b := x.pjsua(tt.from, "--dis-codec="+tt.other), x.pjsua(tt.to, "--dis-codec="+tt.other, "--auto-answer=200")
		agreed := "audio updated, stream #0: " + tt.codec + " .sendrecv"
		a.dial(tt.to)
		a.writes(agreed, 0)
		b.writes(agreed, 0)
		a.writes("Response msg 200/UPDATE", 0)
		a.hears(tt.to)
		b.hears(tt.from)
		a.says("status is Local hold", "H")
		b.hears("music")
		a.says("status is Active", "v")
		a.hears(tt.to)
		b.hears(tt.from)
		a.says("is DISCONNECTED", "h")
	}
	x.stop()
}

// A pjsua that has registered over TLS encrypts its voice, whoever calls, and hears and is heard.
func TestPjsuaSRTP(t *testing.T) {
	x := pjsuas(t, "  - {number: \"104\", sip: {password: secret104, srtp: required}}\n")
	b := x.phone("101", "auto")
	n := 0
	for _, tt := range []struct{ number, use string }{{"100", "1"}, {"104", "2"}} {
		a := x.securePjsua(tt.number, "--use-srtp="+tt.use, "--auto-answer=200")
		call := a.dial("101")
		a.writes("SRTP started, keying=SDES", 0)
		b.hears(tt.number)
		a.hears("101")
		a.says("Call "+call+" is DISCONNECTED", "h")
		n++
		b.sees("CALL_CLOSED", n)
		before := len(a.out.String())
		b.do("dial", tt.number)
		a.writes("SRTP started, keying=SDES", before)
		b.hears(tt.number)
		a.hears("101")
		b.do("hangup", "")
		n++
		b.sees("CALL_CLOSED", n)
	}
	x.stop()
}

// A pjsua that insists on reliable provisional responses calls one that does too: each 180 and 183 has its PRACK, and the
// caller hears the voice in the 183.
func TestPjsuaReliable(t *testing.T) {
	x := pjsuas(t, "")
	a, b := x.pjsua("100", "--use-100rel"), x.pjsua("101", "--use-100rel")
	for range 5 {
		before, rings := len(a.out.String()), len(b.out.String())
		a.do("m", a.uri("101"))
		b.writes("Incoming call for account", rings)
		b.do("a", "180")
		a.writes("Response msg 200/PRACK", before)
		b.do("a", "183")
		a.hears("101")
		b.do("a", "200")
		a.writes("state changed to CONFIRMED", before)
		b.hears("100")
		a.hears("101")
		b.says("is DISCONNECTED", "h")
		a.writes("is DISCONNECTED", before)
	}
	x.stop()
}

// A pjsua that insists on a session timer refreshes its call, and the call goes on.
func TestPjsuaTimer(t *testing.T) {
	x := pjsuas(t, "")
	a, b := x.pjsua("100", "--use-timer=3", "--timer-se=90"), x.phone("101", "auto")
	a.dial("101")
	b.hears("100")
	a.writes(`Response msg 200/(UPDATE|INVITE)(?s:.*)Session-Expires: 90;refresher=uac`, len(a.out.String()))
	b.hears("100")
	a.hears("101")
	a.says("is DISCONNECTED", "h")
	x.stop()
}
