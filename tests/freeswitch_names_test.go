package tests

import (
	"context"
	"encoding/xml"
	"fmt"
	"strings"
	"testing"

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
	r, p1, p3 := forPrograms(t, toFreeSWITCH(played.Address))
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
