package link

import (
	"context"
	"errors"
	"net"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tr87proxy/tr87proxy/internal/gate"
	"github.com/tr87proxy/tr87proxy/uacsta"
	"github.com/tr87proxy/tr87proxy/wire/ctserver"
)

var (
	lineForm     = regexp.MustCompile(`^(cmd|rly)=([!-<>-~]+) src=-?\d+ dst=-?\d+((?: arg\d+=[!-<>-~]*)*) argc=(\d+) \n$`)
	argumentForm = regexp.MustCompile(` arg(\d+)=([!-<>-~]*)`)
)

var errLine = errors.New("no line of the protocol")

// words reads one line strictly: the name of its command, and its arguments, which are numbered
// from 1 on.
func words(text string) ([]string, error) {
	found := lineForm.FindStringSubmatch(text)
	if found == nil || len(text) > 1024 {
		return nil, errLine
	}
	list := []string{found[2]}
	for i, arg := range argumentForm.FindAllStringSubmatch(found[3], -1) {
		if arg[1] != strconv.Itoa(i+1) {
			return nil, errLine
		}
		list = append(list, arg[2])
	}
	if found[4] != strconv.Itoa(len(list)-1) {
		return nil, errLine
	}
	return list, nil
}

// card is a port whose card does all that it is told.
type card struct {
	net.Conn
	mu      sync.Mutex
	lines   []string
	written chan string
}

func (c *card) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lines = append(c.lines, string(p))
	c.written <- string(p)
	return len(p), nil
}
func (c *card) SetWriteDeadline(time.Time) error { return nil }
func (c *card) Close() error                     { return nil }

// dials are services, and the command that carries each out, for a text.
var dials = []struct {
	service func(text string, own uacsta.ConnectionID) any
	means   func(text string) []string
}{
	{
		func(text string, _ uacsta.ConnectionID) any {
			return uacsta.MakeCall{CallingDevice: uacsta.Dev("201"), CalledDirectoryNumber: uacsta.Dev(text)}
		},
		func(text string) []string { return []string{"ctdial", text} },
	},
	{
		func(text string, own uacsta.ConnectionID) any {
			return uacsta.ConsultationCall{ExistingCall: own, ConsultedDevice: uacsta.Dev(text)}
		},
		func(text string) []string { return []string{"ctdial", "&," + text} },
	},
	{
		func(text string, own uacsta.ConnectionID) any {
			return uacsta.GenerateDigits{ConnectionToSendDigits: own, CharactersToSend: text}
		},
		func(text string) []string { return []string{"ctdial", text} },
	},
	{
		func(text string, own uacsta.ConnectionID) any {
			return uacsta.PlayMessage{OverConnection: own, MessageToBePlayed: text}
		},
		func(text string) []string {
			if !strings.Contains(text, ".") {
				text += ".au"
			}
			return []string{"ctplayasync", text}
		},
	},
}

// FuzzCommandLine has a port carry out services with any text in them. Each command that it
// writes is one line, to a reader of its own; what is accepted is exactly what was asked for.
func FuzzCommandLine(f *testing.F) {
	for which := range dials {
		for _, text := range []string{"0,891*#", "", " ", "1 2", "1\n", "1\ncmd=shutdown src=-2 dst=-2 argc=0", "1 arg2=x", "arg1=", "&1", "=", "é", "\x00", "\x7f", "hello", "a/b.au", "../etc/passwd", "-x", strings.Repeat("1", 65), strings.Repeat("a", 300)} {
			f.Add(uint8(which), text)
		}
	}
	f.Fuzz(func(t *testing.T, which uint8, text string) {
		asked := dials[int(which)%len(dials)]
		own := uacsta.Conn("C", "201")
		m, err := uacsta.Parse(uacsta.Encode(asked.service(text, own), uacsta.Edition6).Bytes())
		if err != nil {
			return // no XML can say so
		}
		given, err := carriedOut(m, own, which%uint8(len(dials)) == 0)
		for _, one := range given {
			if _, err := words(one); err != nil {
				t.Fatalf("%q: %v", one, err)
			}
		}
		if err == nil && len(given) == 0 {
			t.Fatal("nothing was done")
		}
		if want := asked.means(strings.TrimSpace(text)); err == nil {
			if got, _ := words(given[len(given)-1]); !slices.Equal(got, want) {
				t.Fatalf("%q is taken as %q, not %q", text, given, want)
			}
		}
	})
}

// carriedOut has a port carry out a service, idle or while it talks, and returns its commands.
func carriedOut(m *uacsta.Message, own uacsta.ConnectionID, idle bool) ([]string, error) {
	link := New(Config{AnswerTime: time.Hour, Ports: []Port{{Number: "201", Port: 1}}})
	p := link.ports["201"]
	if !idle {
		p.active = p.newCall(false)
		p.active.ID, p.active.own.State = own.CallID, uacsta.Connected
		p.active.add("1")
	}
	c := &card{written: make(chan string, 100)}
	p.wire = newWire(c, 0, &link.cfg, func(string, string) {})
	p.inbox.Open()
	ended := make(chan error, 1)
	var group sync.WaitGroup
	group.Go(func() { _ = p.inbox.Run(ended) })
	group.Go(func() { ended <- p.wire.Serve(context.Background(), func() error { <-p.wire.Ended(); return nil }) })
	answered := make(chan error, 1)
	link.Request(m, func(_ *uacsta.Message, err error) { answered <- err })
	for {
		select {
		case text := <-c.written:
			name, _, _ := strings.Cut(strings.TrimPrefix(text, "cmd="), " ")
			p.wire.take(&ctserver.Line{Name: name, Reply: true, Args: []string{"OK"}})
		case err := <-answered:
			answered <- err
			if err == nil && !c.gave("ctdial") && !c.gave("ctplayasync") {
				continue // a call is made before it is dialled
			}
			done := make(chan struct{})
			p.inbox.Post(func() { close(done) })
			<-done
			p.wire.Finish(gate.ErrClosed)
			group.Wait()
			return c.lines, err
		}
	}
}

// gave reports whether the card was given a command.
func (c *card) gave(name string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.ContainsFunc(c.lines, func(text string) bool { return strings.HasPrefix(text, "cmd="+name+" ") })
}

// What a card says may hold anything; nothing of it reaches the core that XML cannot carry.
func TestForeignDigits(t *testing.T) {
	b := newBench(t, Config{})
	b.answer("ctreadcid", "arg1=OK arg2=0\x1b1 argc=2")
	b.say("ring")
	b.hears("ctlistenforcid")
	b.say("ring")
	at := own(b.expect("Delivered"))
	if _, err := b.ask(uacsta.AnswerCall{CallToBeAnswered: at}); err != nil {
		t.Fatal(err)
	}
	b.expect("Established")
	for _, digit := range []string{"\x01", "\xff", "<", "5"} {
		b.say("dtmf " + digit)
	}
	if m := b.expect("DtmfDetected"); m.Text("dtmfChar") != "5" {
		t.Errorf("%s", m)
	}
}
