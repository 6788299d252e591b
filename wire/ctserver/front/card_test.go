package front

import (
	"bufio"
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tr87proxy/tr87proxy/internal/kind"
	"github.com/tr87proxy/tr87proxy/policy"
	"github.com/tr87proxy/tr87proxy/proxy"
	"github.com/tr87proxy/tr87proxy/proxy/fronttest"
	"github.com/tr87proxy/tr87proxy/softswitch"
	"github.com/tr87proxy/tr87proxy/uacsta"
	"github.com/tr87proxy/tr87proxy/wire/ctserver"
)

// The card keeps the contract of fronts. A mark is a digit that the other end has sent.
func TestFront(t *testing.T) {
	fronttest.Test(t, fronttest.Kit{
		Start: startFront,
		Wire: func(nc net.Conn, device string) fronttest.Wire {
			return &frontWire{nc: nc, r: bufio.NewReader(nc), device: device}
		},
		Bubble:  true,
		Watched: true,
		Mark: func(ref, device string, n int) any {
			return uacsta.DtmfDetectedEvent{MonitorCrossRefID: ref, OverConnection: uacsta.Conn("mark", device), DtmfChar: strconv.Itoa(n % 10)}
		},
		Marked: func(ev *uacsta.Message) (int, bool) {
			n, err := strconv.Atoi(ev.Text("dtmfChar"))
			return n, err == nil
		},
		Marks: 10,
		Without: map[string]string{
			"an ambiguous request":     "a command can be read in one way",
			"answers out of order":     "a port has one request at the switching function at a time",
			"own references":           "there are no references",
			"monitors come and go":     "there are no monitors",
			"a lost client comes back": "a program leaves by closing its connection, wherever that is",
		},
	})
}

func startFront(p *proxy.Proxy, log *slog.Logger, listen fronttest.Listen) (fronttest.Front, error) {
	return startCard(p, log, listen, nil)
}

// startCard starts a card. more changes its configuration; nil: not.
func startCard(p *proxy.Proxy, log *slog.Logger, listen fronttest.Listen, more func(*Config)) (fronttest.Front, error) {
	cfg := Config{Devices: fronttest.Devices, Access: kind.Access{
		Proxy: p, Log: log, Identify: func(netip.Addr, []string) (policy.Identity, bool) { return fronttest.Somebody, true },
	}}
	if more != nil {
		more(&cfg)
	}
	card := New(cfg)
	ctx, cancel := context.WithCancel(context.Background())
	var group sync.WaitGroup
	at := map[string]func() (net.Conn, error){}
	stop := func() { cancel(); group.Wait() }
	for i, device := range fronttest.Devices {
		l, dial, err := listen()
		if err != nil {
			stop()
			return fronttest.Front{}, err
		}
		at[device] = dial
		group.Go(func() { _ = card.Serve(ctx, l, i+1) })
	}
	return fronttest.Front{Dial: func(device string) (net.Conn, error) { return at[device]() }, Stop: stop}, nil
}

// frontWire is a program's end of a connection to a port. Requests of CSTA are said in commands.
type frontWire struct {
	nc     net.Conn
	r      *bufio.Reader
	device string

	mu    sync.Mutex
	asked []asked // commands that are not answered
}

// asked is a command, and what its answer means.
type asked struct {
	command string
	n       int // the request; 0: nobody waits for its answer
	service string
}

func (*frontWire) Open() error    { return nil }
func (w *frontWire) Leave() error { return w.nc.Close() }

func (w *frontWire) say(n int, service, command string, args ...string) error {
	text, err := (&ctserver.Line{Name: command, Args: args}).Text()
	if err != nil {
		return err
	}
	w.mu.Lock()
	w.asked = append(w.asked, asked{command, n, service})
	w.mu.Unlock()
	_, err = w.nc.Write([]byte(text))
	return err
}

func (w *frontWire) Request(n int, req *uacsta.Message) error {
	switch name := req.Name(); name {
	case "MonitorStart":
		return nil // the port watches its device
	case "MakeCall":
		if err := w.say(0, "", "ctanswer"); err != nil {
			return err
		}
		return w.say(n, name, "ctdial", req.Text("calledDirectoryNumber"))
	case "ClearConnection":
		return w.say(n, name, "cthangup")
	default:
		return w.say(n, name, "portstatus")
	}
}

func (w *frontWire) Read() (fronttest.Heard, error) {
	for {
		l, err := ctserver.ReadLine(w.r)
		if err != nil {
			return fronttest.Heard{}, err
		}
		if !strings.HasPrefix(l.Name, "ct") && l.Name != "portstatus" {
			if m := w.event(l.Arg(1)); m != nil {
				return fronttest.Heard{Message: m}, nil
			}
			continue
		}
		h, err := w.answer(l)
		if err != nil || h.Answer != 0 {
			return h, err
		}
	}
}

// event is what a word says has happened; nil for what the suite does not look at.
func (w *frontWire) event(word string) *uacsta.Message {
	at := uacsta.Conn("", w.device)
	switch {
	case word == "hangup":
		return uacsta.Encode(uacsta.ConnectionClearedEvent{DroppedConnection: at}, uacsta.Edition3)
	case strings.Trim(word, "0123456789") == "":
		return uacsta.Encode(uacsta.DtmfDetectedEvent{OverConnection: at, DtmfChar: word}, uacsta.Edition3)
	}
	return nil
}

// answer takes the answer to the first command of its name that waits.
func (w *frontWire) answer(l *ctserver.Line) (h fronttest.Heard, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for i, a := range w.asked {
		if a.command != l.Name {
			continue
		}
		w.asked = append(w.asked[:i], w.asked[i+1:]...)
		if h.Answer = a.n; a.n == 0 {
			return h, nil
		}
		if l.Arg(1) == "OK" {
			h.Message = uacsta.NewMessage(uacsta.NamespaceED3, a.service+"Response")
		} else {
			h.Message = uacsta.Refuse(uacsta.Operation, uacsta.Generic).Message(uacsta.Edition3)
		}
		return h, nil
	}
	return h, fmt.Errorf("an answer that nobody waits for: %s %v", l.Name, l.Args)
}

// A program that hangs up as soon as its command is answered ends its call: the events that tell of
// the call come later.
func TestHangUpAtOnce(t *testing.T) {
	sw, err := softswitch.New(softswitch.Config{Extensions: []softswitch.Extension{{Number: "100"}, {Number: "101"}, {Number: "102"}}})
	if err != nil {
		t.Fatal(err)
	}
	core := proxy.New(proxy.Config{Policy: &policy.Policy{Demo: true}, Numbers: &policy.Numbers{Extensions: sw.Has}})
	core.AddLink("switch", sw, sw.Has)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { core.Run(ctx); close(done) }()
	defer func() { cancel(); <-done }()
	if err := core.Await(t.Context(), "switch"); err != nil {
		t.Fatal(err)
	}
	front, err := startFront(core, nil, fronttest.Sockets)
	if err != nil {
		t.Fatal(err)
	}
	defer front.Stop()
	programs := map[string]*bufio.ReadWriter{}
	for _, device := range []string{"100", "101"} {
		nc, err := front.Dial(device)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = nc.Close() }()
		_ = nc.SetDeadline(time.Now().Add(20 * time.Second))
		programs[device] = bufio.NewReadWriter(bufio.NewReader(nc), bufio.NewWriter(nc))
	}
	say := func(device, command string, args ...string) {
		text, _ := (&ctserver.Line{Name: command, Args: args}).Text()
		_, _ = programs[device].WriteString(text)
		_ = programs[device].Flush()
	}
	answered := func(device, command string) {
		t.Helper()
		for {
			l, err := ctserver.ReadLine(programs[device].Reader)
			if err != nil {
				t.Fatal(err)
			}
			if l.Name == command {
				if l.Arg(1) != "OK" {
					t.Fatalf("%s of %s: %v", command, device, l.Args)
				}
				return
			}
		}
	}
	do := func(device, command string, args ...string) {
		t.Helper()
		say(device, command, args...)
		answered(device, command)
	}
	for core.Status().Monitors < 2 {
		time.Sleep(time.Millisecond)
	}
	gone := func() {
		t.Helper()
		if calls, _ := sw.Counts(); calls != 0 {
			t.Fatalf("%d calls are left", calls)
		}
	}
	becomes := func(device, status string) {
		t.Helper()
		for ready := false; !ready; {
			say(device, "portstatus")
			l, err := ctserver.ReadLine(programs[device].Reader)
			if err != nil {
				t.Fatal(err)
			}
			ready = l.Name == "portstatus" && l.Arg(2) == status
		}
	}
	for round := range 20 {
		do("100", "ctanswer")
		do("100", "ctdial", "102")
		do("100", "cthangup")
		gone()
		say("101", "ctwaitforring", "1")
		do("101", "portstatus") // now it waits
		do("100", "ctanswer")
		do("100", "ctdial", "101")
		answered("101", "ctwaitforring")
		do("101", "ctanswer")
		do("101", "cthangup")
		gone()
		becomes("100", "offhook") // the caller has heard so
		do("100", "cthangup")
		// A transfer moves the other's connection while it hangs up.
		say("101", "ctwaitforring", "1")
		do("101", "portstatus")
		do("100", "ctanswer")
		do("100", "ctdial", "101")
		answered("101", "ctwaitforring")
		do("101", "ctanswer")
		becomes("100", "connected")
		do("100", "ctdial", "&102")
		say("100", "cthangup")
		if round%2 == 0 {
			answered("100", "cthangup")
			do("101", "cthangup")
		} else { // the transfer may come too late
			do("101", "cthangup")
			answered("100", "cthangup")
		}
		gone()
	}
}

// program is the end of a connection to a port that keeps what is written.
type program struct {
	net.Conn
	written strings.Builder
}

func (p *program) Write(data []byte) (int, error) { return p.written.Write(data) }
func (*program) SetWriteDeadline(time.Time) error { return nil }
func (*program) Close() error                     { return nil }

// FuzzReply replies to a command with any text. The reply is one line, with question marks for what a line cannot hold.
func FuzzReply(f *testing.F) {
	for _, text := range []string{"0891", "", " ", "1 2", "1\n", "1\nrly=event src=0 dst=0 argc=0", "1 arg2=x", "=", "é", "\x00", "\x7f", "\xff", strings.Repeat("1", 300)} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		p := &program{}
		(&client{nc: p}).reply(&ctserver.Line{Name: "ctreadcid"}, "OK", text)
		word := ""
		for _, r := range text {
			if r <= ' ' || r >= 0x7F || r == '=' {
				r = '?'
			}
			word += string(r)
		}
		if got, want := p.written.String(), "rly=ctreadcid src=0 dst=0 arg1=OK arg2="+word[:min(len(word), 256)]+" argc=2 \n"; got != want {
			t.Fatalf("%q is written as %q, not %q", text, got, want)
		}
	})
}
