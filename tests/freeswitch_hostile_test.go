package tests

import (
	"bufio"
	"context"
	"encoding/xml"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tr87proxy/tr87proxy/sip"
	"github.com/tr87proxy/tr87proxy/tests/recordings"
	"github.com/tr87proxy/tr87proxy/tr87"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

// nasty are names and numbers as an event socket may write them: with what XML has no characters
// for, half a surrogate pair, the ends of lines, and the signs of several syntaxes.
const nasty = `%00a%01b%1Bc%EF%BF%BE%ED%A0%80%0D%0AX%3A y%22%27]]>&<c/>%C3%AB` + "\x80\x1b\xff"

// legible is what programs are told of it.
var legible = "\ufffda\ufffdb\ufffdc" + strings.Repeat("\ufffd", 6) + `X: y"']]>&<c/>ë` + strings.Repeat("\ufffd", 3)

// Whatever a caller is called, the programs of every protocol are told of the call.
func TestFreeSWITCHNames(t *testing.T) {
	t.Parallel()
	played := recordings.PlayEvents(t, strings.Split(strings.ReplaceAll(`Event-Name: CHANNEL_CREATE
Unique-ID: A
Call-Direction: inbound
Caller-Caller-ID-Name: NASTY
Caller-Caller-ID-Number: NASTY
Caller-RDNIS: NASTY
Caller-Destination-Number: 1002
variable_sip_gateway: NASTY

Event-Name: CHANNEL_CREATE
Unique-ID: B
Other-Leg-Unique-ID: A
Call-Direction: outbound
Channel-Presence-ID: 1002@pbx.test

Event-Name: CHANNEL_PROGRESS
Unique-ID: B

Event-Name: CHANNEL_ANSWER
Unique-ID: B

Event-Name: CHANNEL_ANSWER
Unique-ID: A

Event-Name: DTMF
Unique-ID: B
DTMF-Digit: NASTY

Event-Name: CHANNEL_HANGUP
Unique-ID: A
Hangup-Cause: NASTY

Event-Name: CHANNEL_HANGUP
Unique-ID: B
Hangup-Cause: NORMAL_CLEARING
`, "NASTY", nasty), "\n\n")...)
	r, p1, p3 := forPrograms(t, toFreeSWITCH(played.Listen()))
	r.linked("fs")
	hipath := perlClient(t, "phase3.pl", fmt.Sprint(p3), "1002", "cleared", "AMHOST", "77777")
	old := perlClient(t, "phase1.pl", fmt.Sprint(p1), "1002", "Cleared")
	device := uacsta.Dev("1002")
	monitor := uacsta.MonitorStart{MonitorObject: uacsta.MonitorObject{DeviceObject: &device}}
	documents, messages := make(chan string, 100), make(chan *uacsta.Message, 100)
	f, err := dialFrames(r.xmlPort, func(document string) { documents <- document })
	if err != nil {
		t.Fatal(err)
	}
	defer f.close()
	ua := sip.New(sip.Config{})
	defer ua.Close()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	client, err := tr87.Open(ctx, ua, tr87.Dial{
		To: fmt.Sprintf("sip:x@127.0.0.1:%d;transport=tcp", r.port), From: "sip:names@localhost", Event: func(m *uacsta.Message) { messages <- m }, Ended: func(error) {},
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []asker{f, dialogs{client}} {
		if m, err := c.ask(monitor); err != nil || m.CrossRef() == "" {
			t.Fatalf("%v %s", err, m)
		}
	}
	whileTheyWatch(t, played.Begin, old, hipath)
	for _, program := range []*process{old, hipath} {
		if events := strings.ToLower(program.out.String()); !strings.Contains(events, "established 1002") || !strings.HasSuffix(events, "stopped\n") {
			t.Errorf("a program says\n%s", events)
		}
	}
	for _, event := range []string{"DeliveredEvent", "EstablishedEvent", "ConnectionClearedEvent"} {
		var read struct {
			XMLName xml.Name
			Calling string `xml:"callingDevice>deviceIdentifier"`
		}
		for read.XMLName.Local != event {
			select {
			case document := <-documents:
				if err := xml.Unmarshal([]byte(document), &read); err != nil {
					t.Fatalf("%v: %q", err, document)
				}
			case <-ctx.Done():
				t.Fatalf("no %s in CSTA-XML", event)
			}
		}
		for name := ""; name != event; {
			select {
			case m := <-messages:
				name = m.Name()
			case <-ctx.Done():
				t.Fatalf("no %s in TR/87", event)
			}
		}
		if event != "ConnectionClearedEvent" && read.Calling != legible {
			t.Errorf("%s: %q calls", event, read.Calling)
		}
	}
	r.stop()
}

// floods is an event socket that lists 25000 channels and then sends what nobody has asked for, as
// fast as it is taken, until the test ends. It returns its address, and how often all was sent.
func floods(t *testing.T) (address string, rounds <-chan int) {
	t.Helper()
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	sent := make(chan int, 1000)
	var flood [1000]string
	for i := range flood {
		for _, lines := range []string{
			"Event-Name: CHANNEL_CREATE\nUnique-ID: new%d\nCall-Direction: inbound\nCaller-Caller-ID-Number: %[1]d\n", "Event-Name: CHANNEL_ANSWER\nUnique-ID: unknown%d\n",
			"Event-Name: BACKGROUND_JOB\nJob-UUID: unknown%d\n\n+OK\n", "no event %d\n", "Event-Name: CUSTOM\nEvent-Subclass: sofia%%3A%%3Aregister\nfrom-user: r%d\n",
			"Event-Name: PHONE_FEATURE_SUBSCRIBE\nuser: r%d\ncall-id: x\n", "Event-Name: CHANNEL_HOLD\nUnique-ID: c1\nX: %d" + strings.Repeat("x", 2000) + "\n",
		} {
			lines = fmt.Sprintf(lines, i)
			flood[i] += fmt.Sprintf("Content-Length: %d\nContent-Type: text/event-plain\n\n%s", len(lines), lines)
		}
	}
	var list strings.Builder
	list.WriteString(`{"rows":[`)
	for i := range 25000 {
		fmt.Fprintf(&list, `%s{"uuid":"c%d","direction":"inbound","dest":"9","callstate":"ACTIVE","presence_id":"%[2]d@pbx.test","x":"%s"}`, ","[:min(i, 1)], i, strings.Repeat("x", 800))
	}
	list.WriteString("]}")
	var group sync.WaitGroup
	group.Go(func() {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		defer context.AfterFunc(t.Context(), func() { _ = conn.Close() })()
		out, asked := bufio.NewWriter(conn), make(chan string, 10000)
		group.Go(func() {
			defer close(asked)
			for in := bufio.NewReader(conn); ; {
				text, err := in.ReadString('\n')
				if err != nil {
					return
				}
				if text = strings.TrimSpace(text); strings.Contains(text, " ") {
					asked <- text
				}
			}
		})
		answer := func(text string) {
			reply := "-ERR no"
			switch {
			case strings.HasPrefix(text, "api show channels"):
				reply = list.String()
			case strings.HasPrefix(text, "api show"):
				reply = `{"row_count":0}`
			case !strings.HasPrefix(text, "api "):
				_, _ = io.WriteString(out, "Content-Type: command/reply\nReply-Text: +OK\n\n")
				return
			}
			_, _ = fmt.Fprintf(out, "Content-Type: api/response\nContent-Length: %d\n\n%s", len(reply), reply)
		}
		_, _ = io.WriteString(out, "Content-Type: auth/request\n\n")
		for n := range 4 { // login, events, and the lists
			_ = out.Flush()
			text, open := <-asked
			if !open {
				return
			}
			if answer(text); n == 3 {
				_ = out.Flush()
			}
		}
		for n := 1; ; n++ {
			for _, events := range flood {
				if _, err := io.WriteString(out, events); err != nil {
					return
				}
				for len(asked) > 0 {
					answer(<-asked)
				}
			}
			select {
			case sent <- n:
			default:
			}
		}
	})
	t.Cleanup(func() { _ = listener.Close(); group.Wait() })
	return listener.Addr().String(), sent
}

// A FreeSWITCH that floods costs its own link, and nobody else: others are served, memory stays,
// and the log does not grow.
func TestFreeSWITCHFloods(t *testing.T) {
	long(t)
	address, rounds := floods(t)
	r := beforeFreeSWITCH(t, address)
	r.linked("fs")
	beside := serve(t, everybody) // nobody floods this one: how long it takes says how busy the machine is
	c, quiet := r.xml(), beside.xml()
	device := uacsta.Dev("1499") // of the built-in switch
	asked := func(c *xmlClient) time.Duration {
		begun := time.Now()
		if m := c.ask(uacsta.SnapshotDevice{SnapshotObject: device}); m.Name() != "SnapshotDeviceResponse" {
			t.Fatalf("%s", m)
		}
		return time.Since(begun)
	}
	var slowest, slow time.Duration
	for done, until := 0, time.Now().Add(patience); done < 5; {
		slowest, slow = max(slowest, asked(c)), max(slow, asked(quiet))
		select {
		case done = <-rounds:
		default:
			if time.Now().After(until) {
				t.Fatalf("the flood is taken %d times", done)
			}
		}
	}
	memory, lines := r.metric("process_resident_memory_bytes")/(1<<20), strings.Count(r.out.String(), "\n")
	t.Logf("%.0f MB, %d lines, the slowest answer in %s", memory, lines, slowest)
	if memory > 400 || lines > 200 || slowest > 2*time.Second+20*slow {
		t.Errorf("%.0f MB, %d lines, the slowest answer in %s", memory, lines, slowest)
	}
	if log := r.out.String(); !strings.Contains(log, "what=channels limit=") {
		t.Errorf("the log says\n%s", log)
	}
	r.stop()
}
