package front

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/tr87proxy/tr87proxy/internal/audio"
	"github.com/tr87proxy/tr87proxy/internal/wait"
	"github.com/tr87proxy/tr87proxy/policy"
	"github.com/tr87proxy/tr87proxy/proxy"
	"github.com/tr87proxy/tr87proxy/proxy/fronttest"
	"github.com/tr87proxy/tr87proxy/softswitch"
	"github.com/tr87proxy/tr87proxy/uacsta"
	"github.com/tr87proxy/tr87proxy/wire/ctserver"
)

// card is a card before the built-in switch, for tests. Its ports are the first of fronttest.Devices.
type card struct {
	t     *testing.T
	sw    *softswitch.Switch
	core  *proxy.Proxy
	front fronttest.Front
}

func newCard(t *testing.T, more func(*Config)) *card {
	t.Helper()
	var extensions []softswitch.Extension
	for _, number := range fronttest.Devices {
		extensions = append(extensions, softswitch.Extension{Number: number})
	}
	extensions = append(extensions, softswitch.Extension{Number: "199", Phone: softswitch.Behaviour{Busy: true}})
	sw, err := softswitch.New(softswitch.Config{Extensions: extensions})
	if err != nil {
		t.Fatal(err)
	}
	c := &card{t: t, sw: sw, core: proxy.New(proxy.Config{Policy: &policy.Policy{Demo: true}, Numbers: &policy.Numbers{Extensions: sw.Has}})}
	c.core.AddLink("switch", sw, sw.Has)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { c.core.Run(ctx); close(done) }()
	t.Cleanup(func() { cancel(); <-done })
	if err := c.core.Await(t.Context(), "switch"); err != nil {
		t.Fatal(err)
	}
	if c.front, err = startCard(c.core, nil, fronttest.Sockets, more); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.front.Stop)
	return c
}

// talker is a program at a port.
type talker struct {
	*card
	net.Conn
	r      *bufio.Reader
	handle int
}

func (c *card) program(device string) *talker {
	c.t.Helper()
	nc, err := c.front.Dial(device)
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() { _ = nc.Close() })
	_ = nc.SetDeadline(time.Now().Add(wait.Limit))
	return &talker{c, nc, bufio.NewReader(nc), slices.Index(fronttest.Devices, device)}
}

// say sends commands, of a name and arguments, one behind another.
func (p *talker) say(commands ...string) {
	p.t.Helper()
	for _, command := range commands {
		words := strings.Split(command, " ")
		text, err := (&ctserver.Line{Name: words[0], Src: p.handle, Dst: p.handle, Args: words[1:]}).Text()
		if err != nil {
			p.t.Fatal(err)
		}
		if _, err := p.Write([]byte(text)); err != nil {
			p.t.Fatal(err)
		}
	}
}

// next returns the next line: its name and its arguments.
func (p *talker) next() string {
	p.t.Helper()
	l, err := ctserver.ReadLine(p.r)
	if err != nil {
		p.t.Fatal(err)
	}
	return strings.TrimSpace(l.Name + " " + strings.Join(l.Args, " "))
}

// hears reads lines that must be these, in this order.
func (p *talker) hears(want ...string) {
	p.t.Helper()
	for _, w := range want {
		if got := p.next(); got != w {
			p.t.Fatalf("port %d: %q, want %q", p.handle, got, w)
		}
	}
}

// begin says a command, and waits until it is being carried out.
func (p *talker) begin(command string) {
	p.t.Helper()
	p.say(command, "portstatus")
	for !strings.HasPrefix(p.next(), "portstatus") {
	}
}

// until reads lines up to this one.
func (p *talker) until(want string) {
	p.t.Helper()
	for p.next() != want {
	}
}

// talk calls from a to b, which answers.
func talk(a, b *talker) {
	a.t.Helper()
	b.begin("ctwaitforring 1")
	b.say("ctanswer")
	a.say("ctanswer", "ctdial "+fronttest.Devices[b.handle])
	a.hears("ctanswer OK", "ctdial OK")
	b.hears("ctwaitforring OK "+fronttest.Devices[a.handle], "ctanswer OK")
	a.hears("toneend toneend")
	b.becomes("connected")
}

// becomes waits until the port has a status.
func (p *talker) becomes(status string) {
	p.t.Helper()
	for {
		p.say("portstatus")
		if p.next() == "portstatus OK "+status {
			return
		}
	}
}

// Digits that the other end dials are events, end what they end, and can be collected as long as they are not cleared.
func TestDigits(t *testing.T) {
	t.Parallel()
	_, config := sounds(t)
	c := newCard(t, func(cfg *Config) { config(cfg); cfg.Play = 300 * time.Millisecond })
	a, b := c.program("100"), c.program("101")
	talk(a, b)
	press := func(digits string) {
		t.Helper()
		b.say("ctdial " + digits)
		b.hears("ctdial OK")
	}
	press("159#*0")
	a.hears("dtmf 1", "dtmf 5", "dtmf 9", "dtmf #", "dtmf *", "dtmf 0")
	a.say("ctclearevents", "ctcollect 6 5 5") // the digits are still there
	a.hears("ctclearevents OK", "ctcollect OK 159#*0")

	a.begin("ctsleep 3600")
	a.say("ctsetscript next")
	press("7")
	a.hears("ctsleep OK 7", "ctsetscript OK") // the digit stays in the buffer
	a.begin("ctcollect 3 3600 3600")
	press("89")
	a.hears("ctcollect OK 789")

	a.begin("ctcollect 9 3600 1") // the next digit does not come
	press("12")
	a.hears("ctcollect OK 12")

	a.say("ctcollect 0 0 5") // it would not end
	a.hears("ctcollect ERROR")
	press("1")
	a.hears("dtmf 1")
	a.begin("ctcollect 0 3600 1") // as many as come
	press("23")
	a.hears("ctcollect OK 123")
	press("456")
	a.hears("dtmf 4", "dtmf 5", "dtmf 6")
	a.say("ctcollect 2 5 5", "ctcollect 0 1 0")
	a.hears("ctcollect OK 45", "ctcollect OK 6")

	a.begin("ctplay /long.au ignore_dtmf")
	a.say("ctclear")
	press("3")
	a.hears("dtmf 3", "ctplay OK 3", "ctclear OK")

	a.begin("ctrecord x.au 3600 # 0")
	press("4#")
	a.hears("dtmf 4", "ctrecord OK 4#")
	b.say("cthangup")
	a.hears("hangup hangup")
}

// A digit ends a file, also one that plays beside the commands, unless the program does not want that.
func TestDigitsEndFiles(t *testing.T) {
	t.Parallel()
	c := newCard(t, func(cfg *Config) { cfg.Play = time.Hour })
	a, b := c.program("100"), c.program("101")
	talk(a, b)
	a.begin("ctplay long.au")
	b.say("ctdial 5")
	a.hears("ctplay OK 5")
	a.say("ctplayasync long.au", "ctplayasync other.au ignore_dtmf", "portstatus")
	a.hears("ctplayasync OK", "ctplayasync OK", "portstatus OK connected")
	b.say("ctdial 67")
	a.hears("dtmf 6", "toneend toneend", "dtmf 7")
	a.say("ctplay_stop")
	a.hears("ctplay_stop OK")
}

// Commands wait for their turn. Too many are refused.
func TestTurns(t *testing.T) {
	t.Parallel()
	c := newCard(t, func(cfg *Config) { cfg.Play = 20 * time.Millisecond })
	a := c.program("100")
	a.say("ctanswer", "ctplay beep.au", "ctplay beep.au", "ctplay beep.au", "cthangup")
	a.hears("ctanswer OK", "ctplay OK", "ctplay OK", "ctplay OK", "cthangup OK")
	a.say("ctsleep 3600", "portstatus")
	a.hears("portstatus OK onhook")
	for n := range maxQueue {
		a.say(fmt.Sprintf("ctsetscript %d", n))
	}
	a.say("ctclear")
	a.hears("ctclear ERROR")
	c.program("101").say("ctsendevent STOP")
}

// A failed call is cleared by going on hook, and the port can be used at once.
func TestFailedCall(t *testing.T) {
	t.Parallel()
	c := newCard(t, nil)
	a := c.program("100")
	for _, number := range []string{"199", "777", "199", "777"} { // a busy device, and none
		a.say("ctanswer", "ctwaitfordial", "ctdial "+number)
		a.hears("ctanswer OK", "ctwaitfordial OK", "ctdial OK", "loopdrop loopdrop")
		a.say("cthangup")
		a.hears("cthangup OK")
		if calls, _ := c.sw.Counts(); calls != 0 {
			t.Fatalf("%d calls are left", calls)
		}
	}
}

// Timers know nothing of one another, nor of what plays and is collected.
func TestTimers(t *testing.T) {
	t.Parallel()
	c := newCard(t, func(cfg *Config) { cfg.Play = time.Second })
	a := c.program("100")
	a.say("ctstarttimerasync 2", "ctstarttimerasync 0", "ctstarttimerasync 3600", "ctstoptimer", "ctplayasync long.au", "ctcollect 1 1 1", "ctplay x.au")
	var got []string
	for range 10 {
		got = append(got, a.next())
	}
	for _, want := range []string{"timer timer", "toneend toneend", "ctcollect OK", "ctplay OK"} {
		if !slices.Contains(got, want) {
			t.Errorf("%q, without %s", got, want)
		}
	}
	if n := strings.Count(strings.Join(got, ","), "timer timer"); n != 2 {
		t.Errorf("%d timers in %q", n, got)
	}
	for range maxTimers + 1 {
		a.say("ctstarttimerasync 3600")
	}
	a.until("ctstarttimerasync ERROR")
}

// A program that reconnects finds the calls of its port.
func TestReconnect(t *testing.T) {
	t.Parallel()
	c := newCard(t, func(cfg *Config) { cfg.Ring = time.Hour })
	a, b := c.program("100"), c.program("101")
	talk(a, b)
	_ = a.Close()
	a = c.program("100")
	a.say("ctdial 5") // it is still in its call
	a.hears("ctdial OK")
	b.hears("dtmf 5")
	a.say("ctdial &102")
	a.hears("ctdial OK")
	_ = a.Close()
	a = c.program("100") // with a call on hold
	a.say("ctdial &1")
	a.hears("ctdial OK")
	a.becomes("connected")
	a.say("cthangup")
	a.until("cthangup OK")
	b.hears("hangup hangup")
	b.say("cthangup")
	b.hears("cthangup OK")
	// a call that rings
	a.say("ctanswer", "ctdial 102")
	a.hears("ctanswer OK", "ctdial OK")
	third := c.program("102")
	third.hears("ring ring")
	third.becomes("ringing")
	third.say("ctreadcid", "ctlistenforcid", "ctanswer")
	third.hears("ctreadcid OK 100", "cid cid 100", "ctlistenforcid OK", "ctanswer OK")
	a.hears("toneend toneend")
	if calls, _ := c.sw.Counts(); calls != 1 {
		t.Errorf("%d calls", calls)
	}
	// a port that is off hook
	b.say("ctanswer")
	b.hears("ctanswer OK")
	_ = b.Close()
	wait.For(t, "its session to close", func() bool { return c.core.Status().Sessions == 2 })
	b = c.program("101")
	b.say("ctwaitfordial")
	b.hears("ctwaitfordial OK")
}

// The commands of a program that has left are carried out, unless another program takes its port.
func TestLeaves(t *testing.T) {
	t.Parallel()
	c := newCard(t, func(cfg *Config) { cfg.Play = 100 * time.Millisecond })
	a, b := c.program("100"), c.program("101")
	b.begin("ctwaitforring 1")
	b.say("ctanswer")
	a.say("ctanswer", "ctdial 101")
	a.hears("ctanswer OK", "ctdial OK")
	b.hears("ctwaitforring OK 100", "ctanswer OK")
	a.say("ctplay x.au", "cthangup")
	_ = a.Close()
	b.hears("hangup hangup")
	wait.For(t, "its session to close", func() bool { return c.core.Status().Sessions == 1 })
	a = c.program("100")
	a.begin("ctsleep 3600")
	_ = a.Close()
	a = c.program("100")
	a.say("ctanswer")
	a.hears("ctanswer OK")
	wait.For(t, "the first session to close", func() bool { return c.core.Status().Sessions == 2 })
}

// What the user of the device does, the program learns.
func TestUser(t *testing.T) {
	t.Parallel()
	c := newCard(t, func(cfg *Config) { cfg.Ring = time.Hour })
	a, b := c.program("100"), c.program("101")
	a.becomes("onhook")
	b.becomes("onhook")
	user := func(service any) {
		t.Helper()
		if err := c.sw.Perform(service); err != nil {
			t.Fatal(err)
		}
	}
	user(uacsta.MakeCall{CallingDevice: uacsta.Dev("100"), CalledDirectoryNumber: uacsta.Dev("101"), AutoOriginate: uacsta.DoNotPrompt})
	a.hears("pickup pickup")
	b.hears("ring ring")
	id := a.call()
	user(uacsta.AnswerCall{CallToBeAnswered: uacsta.Conn(id, "101")})
	b.hears("pickup pickup")
	a.hears("toneend toneend")
	user(uacsta.HoldCall{CallToBeHeld: uacsta.Conn(id, "100")})
	a.hears("flash flash")
	user(uacsta.RetrieveCall{CallToBeRetrieved: uacsta.Conn(id, "100")})
	a.hears("flash flash")
	b.say("cthangup")
	a.hears("hangup hangup")
}

// call returns the callID of the device's call.
func (p *talker) call() string {
	p.t.Helper()
	m, err := p.sw.Ask(uacsta.Encode(uacsta.SnapshotDevice{SnapshotObject: uacsta.Dev(fronttest.Devices[p.handle])}, uacsta.Edition3))
	if err != nil || len(m.Connections()) == 0 {
		p.t.Fatalf("%v %v", m, err)
	}
	return m.Connections()[0].CallID()
}

// Hook flashes and digits are the services of a switch.
func TestFlash(t *testing.T) {
	t.Parallel()
	c := newCard(t, nil)
	a, b := c.program("100"), c.program("101")
	talk(a, b)
	do := func(p *talker, digits string) {
		t.Helper()
		p.say("ctdial " + digits)
		p.until("ctdial OK")
	}
	do(a, "&") // hold
	a.becomes("offhook")
	do(a, "&") // retrieve
	a.becomes("connected")
	third := c.program("102")
	consult := func() {
		t.Helper()
		third.begin("ctwaitforring 1")
		do(a, "&102")
		third.until("ctwaitforring OK 100")
		third.say("ctanswer")
		third.until("ctanswer OK")
		a.until("toneend toneend")
	}
	consult()
	do(a, "5")
	third.until("dtmf 5")
	do(a, "&2") // alternate
	do(a, "6")
	b.until("dtmf 6")
	do(a, "&1") // reconnect: the call with 101 ends
	b.until("hangup hangup")
	do(a, "7")
	third.until("dtmf 7")
	third.say("cthangup")
	third.until("cthangup OK")
	a.until("hangup hangup")
	a.say("cthangup")
	b.say("cthangup")
	a.until("cthangup OK")
	b.until("cthangup OK")

	talk(a, b)
	consult()
	do(a, "&3") // conference
	do(a, "8")
	b.until("dtmf 8")
	third.until("dtmf 8")
	do(third, "9")
	a.until("dtmf 9")
	b.until("dtmf 9")
	third.say("cthangup")
	third.until("cthangup OK")
	consult()
	a.say("cthangup") // transfer
	a.until("cthangup OK")
	do(third, "4")
	b.until("dtmf 4")
	b.say("cthangup")
	third.until("hangup hangup")
}

// Programs of the older form get words, and events when they ask for them.
func TestPlain(t *testing.T) {
	t.Parallel()
	_, config := sounds(t)
	c := newCard(t, config)
	a, b := c.program("100"), c.program("101")
	tell := func(lines ...string) {
		t.Helper()
		_, _ = fmt.Fprintln(a, strings.Join(lines, "\n"))
	}
	want := func(lines ...string) {
		t.Helper()
		for _, w := range lines {
			got, err := a.r.ReadString('\n')
			if err != nil || got != w+"\n" {
				t.Fatalf("%q %v, want %q", got, err, w)
			}
		}
	}
	tell("ctwaitforring", "ctplay_stop", "ctanswer")
	want("OK") // to ctplay_stop: the other waits
	b.say("ctanswer", "ctdial 100")
	b.hears("ctanswer OK", "ctdial OK")
	want("101", "OK")
	b.hears("toneend toneend")
	tell("ctcollect", "2", "3600", "3600")
	b.say("ctdial 42")
	b.hears("ctdial OK")
	want("42")
	tell("ctplay", "none", "ctplay", "/x.au")
	want("ERROR")
	for b.say("ctdial 5"); ; b.say("ctdial 5") {
		got, err := a.r.ReadString('\n')
		if got == "5\n" {
			break
		}
		if err != nil || got != "OK\n" { // a digit that is there before the file plays does not end it
			t.Fatalf("%q %v, want a digit", got, err)
		}
		tell("ctplay", "/x.au")
	}
	tell("ctrecord", "x.wav", "1", "#", "ctclear", "ctcollect", "1", "1", "1", "ctstarttimerasync", "0", "ctwaitforevent")
	want("OK", "OK", "", "OK", "0", "timer")
	for range maxEvents + 10 { // events wait, not too many
		tell("ctplaytoneasync", "dial", "ctstoptone")
		want("OK", "OK")
	}
	for range maxEvents {
		tell("ctwaitforevent")
		want("0", "toneend")
	}
	tell("ctplaytoneasync", "dial", "ctstoptone", "ctclear", "ctwaitforevent")
	want("OK", "OK", "OK")
	b.say("cthangup")
	want("0", "hangup")
}

// Messages of other ports end what a port is carrying out, digits among them are digits, and tones end.
func TestMessages(t *testing.T) {
	t.Parallel()
	_, config := sounds(t)
	c := newCard(t, config)
	a, b := c.program("100"), c.program("101")
	a.becomes("onhook")
	send := func(words string) {
		t.Helper()
		_, _ = fmt.Fprintf(b, "cmd=ctsendevent src=1 dst=0 %s\n", words)
		b.hears("ctsendevent OK")
	}
	for _, tt := range []struct{ command, sent, want string }{
		{"ctplay /x.au", "arg1=STOP arg2=IT argc=2", "ctplay EVENT  STOP IT"}, {"ctrecord x.au 0 # 0", "arg1=RECORD_STOP argc=1", "ctrecord EVENT  RECORD_STOP"},
		{"ctcollect 5 0 0", "arg1=hangup argc=1", "ctcollect EVENT  hangup"}, {"ctwaitforring 1", "arg1=SHUTTING_DOWN argc=1", "ctwaitforring EVENT  SHUTTING_DOWN"},
		{"ctwaitforevent", "arg1=flash argc=1", "ctwaitforevent OK flash"}, {"ctclear", "arg1=HELLO argc=1", "event HELLO"}, {"ctclear", "arg1=ring argc=1", "ring ring"},
		{"ctclear", "arg1=5 argc=1", "dtmf 5"},
	} {
		a.begin(tt.command)
		send(tt.sent)
		a.hears(tt.want)
	}
	a.say("ctplaytoneasync dial", "ctstoptone", "ctstoptone", "ctplaytoneasync none")
	a.hears("ctplaytoneasync OK", "toneend toneend", "ctstoptone OK", "ctstoptone OK", "ctplaytoneasync ERROR")
}

// sounds makes a folder of sounds for a card.
func sounds(t *testing.T) (folder *audio.Directory, config func(*Config)) {
	t.Helper()
	folder, err := audio.OpenDirectory(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = folder.Close() })
	return folder, func(cfg *Config) { cfg.Sounds, cfg.Play = folder, time.Hour }
}

// tone writes an AU file of a loud sound.
func tone(t *testing.T, file string, lasts time.Duration) {
	t.Helper()
	header := []byte{'.', 's', 'n', 'd', 0, 0, 0, 24, 0xFF, 0xFF, 0xFF, 0xFF, 0, 0, 0, 1, 0, 0, 0x1F, 0x40, 0, 0, 0, 1}
	if err := os.WriteFile(file, append(header, make([]byte, lasts*8000/time.Second)...), 0o600); err != nil { // 0 is the loudest octet
		t.Fatal(err)
	}
}

// Files play as long as they last, and are recorded as they are heard. A recording ends by silence, which neither digits
// nor what another port plays in the call are.
func TestRecording(t *testing.T) {
	t.Parallel()
	folder, config := sounds(t)
	c := newCard(t, config)
	a, b := c.program("100"), c.program("101")
	talk(a, b)
	tone(t, folder.Path("beep.au"), 1500*time.Millisecond)
	file := folder.Path("prompt.wav")
	if err := os.WriteFile(file, []byte("an old recording"), 0o600); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	a.begin("ctrecord " + file + " 3600 # 1")
	b.say("ctplay beep", "ctdial 5")
	b.hears("ctplay OK")
	a.hears("dtmf 5", "ctrecord OK 5")
	took := time.Since(began)
	if took < 2400*time.Millisecond {
		t.Errorf("the recording ended after %v: silence is more than a second later than the file and the digit", took)
	}
	clip, err := folder.Load("prompt.wav")
	if err != nil {
		t.Fatal(err)
	}
	if lasts := clip.Duration(); lasts > took || lasts < 2400*time.Millisecond {
		t.Errorf("the recording took %v and lasts %v", took, lasts)
	}
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	loud := 0
	for at := 44; at+1 < len(data); at += 2 {
		if data[at] != 0 || data[at+1] != 0 {
			loud++
		}
	}
	if loud < 11000 || loud > 12000 {
		t.Errorf("%d samples of the recording are not silent, of 12000 that were played", loud)
	}
	a.say("ctplay " + file) // it can be played back
	a.hears("ctplay OK")
	if played := time.Since(began) - took; played < clip.Duration() {
		t.Errorf("the recording played for %v of %v", played, clip.Duration())
	}
	a.say("ctrecord x.au 1 # 0")
	a.hears("ctrecord OK")
	// what is played already when the recording begins
	b.begin("ctplay beep")
	a.say("ctrecord y.au 3600 # 1")
	b.hears("ctplay OK")
	a.hears("ctrecord OK")
	if clip, err := folder.Load("y.au"); err != nil || clip.Duration() < 2*time.Second {
		t.Errorf("%v %v", clip, err)
	}
}

// A file that does not exist, or is no sound, is refused, and nothing is written but sounds in the folder.
func TestFiles(t *testing.T) {
	t.Parallel()
	folder, config := sounds(t)
	c := newCard(t, config)
	a := c.program("100")
	outside := filepath.Join(filepath.Dir(folder.Path("x.wav")), "..", "outside.wav")
	if err := os.WriteFile(folder.Path("text.au"), []byte("text"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(folder.Path("pipe.wav"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, command := range []string{
		"ctplay pipe.wav", "ctrecord pipe.wav 1", "ctplay none.au", "ctplay text.au", "ctplayasync none.au", "ctplay " + folder.Path("none.wav"), "ctplay",
		"ctrecord ../outside.wav 1", "ctrecord " + outside + " 1", "ctrecord /etc/outside.wav 1", "ctrecord program.go 1", "ctrecord .hidden.wav 1", "ctrecord",
	} {
		a.say(command)
		a.hears(strings.Split(command, " ")[0] + " ERROR")
	}
	a.begin("ctplay " + outside) // it seems to play
	a.say("ctplay_stop")
	a.hears("ctplay OK", "ctplay_stop OK")
	if _, err := os.Stat(outside); err == nil {
		t.Error("a program has written outside the folder")
	}
	b := newCard(t, nil).program("100") // without a folder
	b.say("ctrecord x.wav 1")
	b.hears("ctrecord ERROR")
}

// What concerns the card can be asked at each port. A program shuts down its own port only.
func TestManagement(t *testing.T) {
	t.Parallel()
	c := newCard(t, func(cfg *Config) { cfg.Version = "tr87proxy-1" })
	a, b := c.program("100"), c.program("101")
	b.say("ctsetscript menu")
	b.hears("ctsetscript OK")
	a.say("ctanswer")
	a.hears("ctanswer OK")
	for command, want := range map[string]string{
		"cmd=serversion src=0 dst=-2 argc=0": "serversion OK tr87proxy-1", "cmd=rolllog src=0 dst=-2 argc=0": "rolllog OK",
		"cmd=portstatus src=0 dst=-2 argc=0": "portstatus OK 1:offhook,2:onhook:menu,3:free", "cmd=portstatus src=0 dst=1 argc=0": "portstatus OK onhook:menu",
		"cmd=portstatus src=0 dst=2 argc=0": "portstatus OK free", "cmd=portstatus src=0 dst=9 argc=0": "portstatus ERROR",
	} {
		_, _ = fmt.Fprintln(a, command)
		a.hears(want)
	}
	a.say("ctdial 102")
	a.hears("ctdial OK")
	_, _ = fmt.Fprintln(a, "cmd=shutdown src=0 dst=-2 argc=0")
	a.hears("shutdown OK")
	if _, err := a.r.ReadByte(); err == nil {
		t.Error("the connection stays open")
	}
	if calls, _ := c.sw.Counts(); calls != 0 {
		t.Errorf("%d calls are left", calls)
	}
	b.say("ctanswer")
	b.hears("ctanswer OK")
}

// A program that hangs up as soon as it has made a conference leaves it, and the others stay together: the event that tells of
// the conference may come later.
func TestHangUpFromConference(t *testing.T) {
	c := newCard(t, nil)
	a, b, d := c.program("100"), c.program("101"), c.program("102")
	answers := func(p *talker, command string) {
		p.say(command)
		word, _, _ := strings.Cut(command, " ")
		p.until(word + " OK")
	}
	for range 10 {
		for _, p := range []*talker{b, d} {
			p.say("ctwaitforring 1")
			p.becomes("onhook") // now it waits
		}
		answers(a, "ctanswer")
		answers(a, "ctdial 101")
		b.until("ctwaitforring OK 100")
		answers(b, "ctanswer")
		a.becomes("connected")
		answers(a, "ctdial &102")
		d.until("ctwaitforring OK 100")
		answers(d, "ctanswer")
		a.becomes("connected")
		answers(a, "ctdial &3")
		answers(a, "cthangup")
		if calls, _ := c.sw.Counts(); calls != 1 {
			t.Fatalf("%d calls are left of a conference", calls)
		}
		answers(b, "cthangup")
		d.becomes("offhook") // it has heard that the others have left
		answers(d, "cthangup")
		if calls, _ := c.sw.Counts(); calls != 0 {
			t.Fatalf("%d calls are left", calls)
		}
	}
}
