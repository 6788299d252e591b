package tests

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// linphone is a linphonec that plays a tone.
type linphone struct {
	*console
	calls int // made and received; linphonec numbers them from 1
}

// linphone starts a linphonec of a number.
func (x *exchange) linphone(number string) *linphone { return x.linphoneWith(number, "none") }

// linphoneWith starts a linphonec that encrypts its voice in a way.
func (x *exchange) linphoneWith(number, encryption string) *linphone {
	t := x.t
	t.Helper()
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, ".local/share/linphone"), 0o700); err != nil {
		t.Fatal(err)
	}
	writeTone(t, filepath.Join(dir, "tone.wav"), tones[number])
	settings := fmt.Sprintf(`[sip]
sip_port=%[1]d
sip_tcp_port=0
sip_tls_port=0
auto_net_state_mon=0
default_proxy=0
register_only_when_network_is_up=0
guess_hostname=0
contact=<sip:%[2]s@127.0.0.1>
media_encryption=%[5]s
zrtp_available=0
[net]
mtu=1300
[rtp]
audio_rtp_port=%[4]d
[sound]
local_ring=
remote_ring=
echocancellation=0
[auth_info_0]
username=%[2]s
passwd=secret%[2]s
domain=127.0.0.1
realm=tr87proxy
[proxy_0]
reg_proxy=<sip:127.0.0.1:%[3]d>
reg_identity=sip:%[2]s@127.0.0.1:%[3]d
reg_expires=600
reg_sendregister=1
publish=0
`, twoPorts(t), number, x.sip, 28000+40*(phoneCount()%110), encryption)
	file := filepath.Join(dir, "linphonerc")
	if err := os.WriteFile(file, []byte(settings), 0o600); err != nil {
		t.Fatal(err)
	}
	p := &linphone{console: x.console(number, dir, tool(t, "linphonec"), "-c", file, "-l", filepath.Join(dir, "log"), "-d", "6")}
	p.do("soundcard use files", "play "+filepath.Join(dir, "tone.wav"))
	return p
}

// dial makes a call and returns its number at linphonec.
func (p *linphone) dial(number string) int {
	p.t.Helper()
	p.calls++
	p.says(fmt.Sprintf(`Media streams established with .* for call %d `, p.calls), "call "+number)
	return p.calls
}

var state = regexp.MustCompile(`(?m)^\d+ *\| .*\| (\w+) *\|`)

// states waits until the calls of a telephone have these states, in the order of their numbers.
func (p *linphone) states(want ...string) {
	p.t.Helper()
	var got []string
	waitFor(p.t, fmt.Sprintf("calls %v at %s", want, p.number), func() bool {
		before := len(p.out.String())
		p.do("calls")
		waitFor(p.t, "the list of calls", func() bool { return strings.Contains(p.out.String()[before:], "linphonec> ") })
		got = nil
		for _, m := range state.FindAllStringSubmatch(p.out.String()[before:], -1) {
			got = append(got, m[1])
		}
		return slices.Equal(got, want)
	})
}

// The user of a linphonec holds a call and takes it back, again and again.
func TestLinphoneHold(t *testing.T) {
	x, a, b, _ := withConsole(t, "linphonec", func(x *exchange) *linphone { return x.linphone("100") })
	a.dial("101")
	b.hears("100")
	for range 5 {
		a.says("is now paused", "pause")
		b.hears("music")
		a.says("Media streams established", "resume 1")
		b.hears("100")
	}
	a.says("ended", "terminate")
	b.sees("CALL_CLOSED", 1)
	x.stop()
}

// The user of a linphonec has two calls and swaps them: it holds one and takes the other back in one burst.
func TestLinphoneSwap(t *testing.T) {
	x, a, b, c := withConsole(t, "linphonec", func(x *exchange) *linphone { return x.linphone("100") })
	a.dial("101")
	a.says("is now paused", "pause")
	a.dial("102")
	for range rounds {
		a.do("pause", "resume 1")
		a.states("StreamsRunning", "Paused")
		b.hears("100")
		c.hears("music")
		a.do("pause", "resume 2")
		a.states("Paused", "StreamsRunning")
		c.hears("100")
		b.hears("music")
	}
	x.stop()
}

// A linphonec answers a second call: it holds the first and accepts the other at once.
func TestLinphoneWaiting(t *testing.T) {
	x, a, b, c := withConsole(t, "linphonec", func(x *exchange) *linphone { return x.linphone("100") })
	a.dial("101")
	b.hears("100")
	for n := range rounds {
		a.calls++
		c.do("dial", "100")
		a.writes(fmt.Sprintf(`assigned id %d\b`, a.calls), 0)
		a.do(fmt.Sprintf("answer %d", a.calls))
		c.hears("100")
		b.hears("music")
		c.do("hangup", "")
		c.sees("CALL_CLOSED", n+1)
		a.states("Paused")
		a.says("Media streams established", "resume 1")
		b.hears("100")
	}
	x.stop()
}

// The user of a linphonec transfers a call to another telephone, at once or after having spoken with it.
func TestLinphoneTransfer(t *testing.T) {
	x, a, b, c := withConsole(t, "linphonec", func(x *exchange) *linphone { return x.linphone("100") })
	for n := range 6 {
		first := a.dial("101")
		if n%2 == 0 {
			a.do(fmt.Sprintf("transfer %d sip:102@127.0.0.1:%d", first, x.sip))
		} else {
			a.says("is now paused", "pause")
			second := a.dial("102")
			c.hears("100")
			a.do(fmt.Sprintf("transfer %d --to-call %d", first, second))
		}
		b.hears("102")
		c.hears("101")
		a.states()
		b.do("hangup", "")
		b.sees("CALL_CLOSED", n+1)
		c.sees("CALL_CLOSED", n+1)
	}
	x.stop()
}

// The user of a linphonec joins two calls at the telephone, which mixes them: it takes the first call back
// without holding the second.
func TestLinphoneConference(t *testing.T) {
	x, a, b, c := withConsole(t, "linphonec", func(x *exchange) *linphone { return x.linphone("100") })
	for n := range rounds {
		first := a.dial("101")
		a.says("is now paused", "pause")
		second := a.dial("102")
		a.do(fmt.Sprintf("conference add %d", first), fmt.Sprintf("conference add %d", second))
		b.hears("100", "102")
		c.hears("100", "101")
		a.do("terminate all")
		b.hears("102")
		c.hears("101")
		b.do("hangup", "")
		b.sees("CALL_CLOSED", n+1)
		c.sees("CALL_CLOSED", n+1)
	}
	x.stop()
}
