package link

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tr87proxy/tr87proxy/internal/wait"
	"github.com/tr87proxy/tr87proxy/uacsta"
	"github.com/tr87proxy/tr87proxy/wire/ctserver"
)

var patience = wait.Limit

// fake is a ctserver with one port, written from the description of its protocol.
type fake struct {
	t testing.TB
	l net.Listener

	mu      sync.Mutex
	conn    net.Conn
	answers map[string]string // the arguments of the reply to a command; "-": none; else OK
	got     []string
	changed chan struct{}
}

func newFake(t testing.TB) *fake {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f := &fake{t: t, l: l, answers: map[string]string{}, changed: make(chan struct{}, 1)}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			f.serve(conn)
		}
	}()
	t.Cleanup(func() { _ = l.Close(); f.drop(); <-done })
	return f
}

func (f *fake) serve(conn net.Conn) {
	f.mu.Lock()
	f.conn = conn
	f.mu.Unlock()
	r := bufio.NewReader(conn)
	for {
		text, err := r.ReadString('\n')
		if err != nil {
			return
		}
		words := strings.Fields(text)
		name := strings.TrimPrefix(words[0], "cmd=")
		f.mu.Lock()
		f.got = append(f.got, strings.TrimSpace(text))
		args, special := f.answers[name]
		f.mu.Unlock()
		select {
		case f.changed <- struct{}{}:
		default:
		}
		if !special {
			args = "arg1=OK argc=1"
		}
		if args != "-" {
			f.say(fmt.Sprintf("rly=%s src=0 dst=0 %s\x00", name, args))
		}
	}
}

// say writes a line.
func (f *fake) say(text string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.conn != nil {
		_, _ = f.conn.Write([]byte(text + "\n"))
	}
}

func (f *fake) drop() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.conn != nil {
		_ = f.conn.Close()
	}
}

func (f *fake) answer(command, args string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.answers[command] = args
}

// hears waits until a command has come.
func (f *fake) hears(command string) {
	f.t.Helper()
	deadline := time.After(patience)
	for {
		f.mu.Lock()
		for _, got := range f.got {
			if strings.HasPrefix(got, "cmd="+command) {
				f.got = nil
				f.mu.Unlock()
				return
			}
		}
		f.mu.Unlock()
		select {
		case <-f.changed:
		case <-deadline:
			f.t.Fatalf("no %s", command)
		}
	}
}

// core is what the link tells.
type core struct {
	ready  chan struct{}
	events chan *uacsta.Message
}

func (c *core) Ready()                        { close(c.ready) }
func (c *core) Event(ev *uacsta.Message)      { c.events <- ev }
func (c *core) Request(*uacsta.Message) error { return nil }

// bench is a link to a fake ctserver, with a monitor on its device.
type bench struct {
	*fake
	link *Link
	core *core
}

func newBench(t *testing.T, cfg Config) *bench {
	t.Helper()
	f := newFake(t)
	cfg.Ports = []Port{{Number: "201", Port: 1, Address: f.l.Addr().String()}}
	b := &bench{f, New(cfg), &core{make(chan struct{}), make(chan *uacsta.Message, 1000)}}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for ctx.Err() == nil { // as the core does
			_ = b.link.Run(ctx, b.core)
		}
	}()
	t.Cleanup(func() { cancel(); <-ended })
	select {
	case <-b.core.ready:
	case <-time.After(patience):
		t.Fatal("the link is not up")
	}
	device := uacsta.Dev("201")
	if _, err := b.ask(uacsta.MonitorStart{MonitorObject: uacsta.MonitorObject{DeviceObject: &device}}); err != nil {
		t.Fatal(err)
	}
	return b
}

func (b *bench) ask(service any) (*uacsta.Message, error) {
	b.t.Helper()
	return b.send(uacsta.Encode(service, uacsta.Edition6))
}

func (b *bench) send(req *uacsta.Message) (*uacsta.Message, error) {
	b.t.Helper()
	type answer struct {
		m   *uacsta.Message
		err error
	}
	answered := make(chan answer, 1)
	b.link.Request(req, func(m *uacsta.Message, err error) { answered <- answer{m, err} })
	select {
	case a := <-answered:
		return a.m, a.err
	case <-time.After(patience):
		b.t.Fatalf("no answer to %s", req.Name())
		return nil, nil
	}
}

// expect waits for the next events.
func (b *bench) expect(names ...string) (last *uacsta.Message) {
	b.t.Helper()
	for _, name := range names {
		select {
		case last = <-b.core.events:
			if last.Name() != name+"Event" {
				b.t.Fatalf("%s\nwant %s", last, name)
			}
		case <-time.After(patience):
			b.t.Fatalf("no %s", name)
		}
	}
	return last
}

func own(m *uacsta.Message) uacsta.ConnectionID {
	c := m.Connections()[0]
	return uacsta.Conn(c.CallID(), c.DeviceID())
}

// A call comes: the caller ID between the first ring and the second, digits in all forms, a
// file that ends by itself, and the other end hangs up.
func TestIncoming(t *testing.T) {
	b := newBench(t, Config{})
	b.answer("ctreadcid", "arg1=OK arg2=0891234 argc=2")
	b.say("ring")
	b.hears("ctlistenforcid")
	b.say("rly=event src=0 dst=0 arg1=ring argc=1")
	delivered := b.expect("Delivered")
	if delivered.Text("callingDevice/deviceIdentifier") != "0891234" {
		t.Errorf("%s", delivered)
	}
	at := own(delivered)
	if _, err := b.ask(uacsta.AnswerCall{CallToBeAnswered: at}); err != nil {
		t.Fatal(err)
	}
	b.expect("Established")
	b.say("dtmf 5")
	b.say("\x007\x00")
	b.say("evt=x src=0 arg1=# argc=1")
	for _, digit := range []string{"5", "7", "#"} {
		if m := b.expect("DtmfDetected"); m.Text("dtmfChar") != digit {
			t.Errorf("%s, want %s", m, digit)
		}
	}
	if _, err := b.ask(uacsta.PlayMessage{MessageToBePlayed: "hello", OverConnection: at}); err != nil {
		t.Fatal(err)
	}
	b.hears("ctplayasync src=0 dst=0 arg1=hello.au arg2=ignore_dtmf argc=2")
	b.expect("Play")
	b.say("toneend")
	b.expect("Stop")
	b.say("loopdrop")
	b.expect("ConnectionCleared", "ConnectionCleared")
	b.hears("cthangup")
}

// The caller ID comes as an event, or not at all.
func TestCallerID(t *testing.T) {
	b := newBench(t, Config{CallerTime: 50 * time.Millisecond, RingTime: 300 * time.Millisecond})
	b.say("ring")
	b.say("cid 0301")
	if m := b.expect("Delivered"); m.Text("callingDevice/deviceIdentifier") != "0301" {
		t.Errorf("%s", m)
	}
	if m := b.expect("ConnectionCleared"); m.Text("cause") != "callCancelled" { // it rings no more
		t.Errorf("%s", m)
	}
	b.answer("ctreadcid", "arg1=ERROR argc=1")
	b.say("ring")
	if m := b.expect("Delivered"); !m.Has("callingDevice/notKnown") {
		t.Errorf("%s", m)
	}
	b.say("hangup")
	b.expect("ConnectionCleared")
}

// A call is made: what can be known of it is told; then a line without dial tone, and a
// number that cannot be dialled.
func TestOutgoing(t *testing.T) {
	b := newBench(t, Config{AnswerTime: 20 * time.Millisecond})
	dial := uacsta.MakeCall{CallingDevice: uacsta.Dev("201"), CalledDirectoryNumber: uacsta.Dev("0,891")}
	m, err := b.ask(dial)
	if err != nil {
		t.Fatal(err)
	}
	b.hears("ctdial src=0 dst=0 arg1=0,891 argc=1")
	b.expect("ServiceInitiated", "Originated", "NetworkReached")
	if m := b.expect("Established"); m.Text("cause") != "networkSignal" {
		t.Errorf("%s", m)
	}
	if _, err := b.ask(dial); err == nil {
		t.Error("two calls on one line")
	}
	if _, err := b.ask(uacsta.ClearConnection{ConnectionToBeCleared: own(m)}); err != nil {
		t.Fatal(err)
	}
	b.expect("ConnectionCleared")
	b.answer("ctwaitfordial", "arg1=ERROR argc=1")
	if _, err := b.ask(dial); err != nil {
		t.Fatal(err)
	}
	b.expect("ServiceInitiated", "Failed", "ConnectionCleared")
	b.answer("ctanswer", "arg1=ERROR argc=1")
	if _, err := b.ask(dial); err == nil {
		t.Error("a line that cannot be had gives a call")
	}
}

// A file that ctserver cannot play is no message; a card that says nothing is busy.
func TestNotPlayed(t *testing.T) {
	b := newBench(t, Config{Timeout: 200 * time.Millisecond})
	b.say("ring")
	b.say("ring")
	at := own(b.expect("Delivered"))
	if _, err := b.ask(uacsta.AnswerCall{CallToBeAnswered: at}); err != nil {
		t.Fatal(err)
	}
	b.core.ready = make(chan struct{}) // for the connection after this one
	for _, tt := range []struct{ reply, want string }{{"arg1=ERROR argc=1", "operation/invalidMsgID"}, {"-", "systemResourceAvailibility/resourceBusy"}} {
		b.answer("ctplayasync", tt.reply)
		if _, err := b.ask(uacsta.PlayMessage{MessageToBePlayed: "hello", OverConnection: at}); err == nil || err.Error() != tt.want {
			t.Errorf("%s: %v, want %s", tt.reply, err, tt.want)
		}
	}
	wait.Next(t, b.core.ready, "the link after the silence")
}

// Garbage does nothing; a command without answer, a line without end and a lost connection end
// the connection: the port is out of service, its call ends, and it comes back.
func TestLost(t *testing.T) {
	b := newBench(t, Config{Timeout: 200 * time.Millisecond})
	for _, line := range []string{"", "=", "rly=", "rly=ctdial arg1=OK", "cmd=ctanswer src=x dst= arg99=1 arg-1=2 argc=7", "arg1=ring2 ringring", strings.Repeat("a=b ", 100), "\x00\xff\xfe"} {
		b.say(line)
	}
	for _, lose := range []func(){
		func() { b.drop() },
		func() { b.say(strings.Repeat("x", 2*ctserver.MaxLine)) },
		func() {
			b.answer("ctdial", "-")
			if _, err := b.ask(uacsta.MakeCall{CallingDevice: uacsta.Dev("201"), CalledDirectoryNumber: uacsta.Dev("1")}); err != nil {
				t.Error(err)
			}
		},
	} {
		b.core.ready = make(chan struct{})
		lose()
		for gone := false; !gone; {
			select {
			case m := <-b.core.events:
				gone = m.Name() == "OutOfServiceEvent"
			case <-time.After(patience):
				t.Fatal("it is not out of service")
			}
		}
		b.answer("ctdial", "arg1=OK argc=1")
		select {
		case <-b.core.ready:
		case <-time.After(patience):
			t.Fatal("it does not come back")
		}
		device := uacsta.Dev("201")
		if _, err := b.ask(uacsta.MonitorStart{MonitorObject: uacsta.MonitorObject{DeviceObject: &device}}); err != nil {
			t.Fatal(err)
		}
	}
}
