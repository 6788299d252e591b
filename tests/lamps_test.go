package tests

import (
	"encoding/xml"
	"strings"
	"testing"

	"github.com/tr87proxy/tr87proxy/uacsta"
)

// status is a document of RFC 3863 as another reader finds it, with what RFC 4480 adds.
type status struct {
	XMLName xml.Name  `xml:"urn:ietf:params:xml:ns:pidf presence"`
	Entity  string    `xml:"entity,attr"`
	Basic   []string  `xml:"tuple>status>basic"`
	Phone   *struct{} `xml:"person>activities>on-the-phone"`
	Busy    *struct{} `xml:"person>activities>busy"`
}

func (s status) String() string {
	text := s.Entity[:strings.Index(s.Entity, "@")] + " " + strings.Join(s.Basic, ",")
	if s.Phone != nil {
		text += " on-the-phone"
	}
	if s.Busy != nil {
		text += " busy"
	}
	return text
}

// lamp subscribes to the state of a number, and returns a function that waits for a NOTIFY of this state, or, for
// dialog-info, with this text in its body.
func (h *handset) lamp(event, number string, headers ...string) (until func(text string)) {
	h.t.Helper()
	d := h.dialog(number)
	m := d.ask("SUBSCRIBE", append([]string{"Event: " + event, "Expires: 600"}, headers...), "")
	if m.code() != 200 {
		h.t.Fatalf("%s of %s: %s", event, number, m.start)
	}
	d.follow(m)
	return func(text string) {
		h.t.Helper()
		for {
			m := h.expect("NOTIFY")
			h.answer(m, 200, nil, "")
			body := m.body
			if event == "presence" {
				var s status
				if err := xml.Unmarshal([]byte(body), &s); err != nil || m.header("Content-Type") != "application/pidf+xml" {
					h.t.Fatalf("%v: %s", err, body)
				}
				if s.String() == text {
					return
				}
			} else if strings.Contains(body, text) {
				return
			}
		}
	}
}

// Lamps show virtual and remote extensions, too. A telephone whose model wants it gets a dialog in state terminated of an
// extension without calls; one that knows no dialog-info gets PIDF.
func TestLampsOfAnyExtension(t *testing.T) {
	t.Parallel()
	x := serveTelephones(t, "  - {number: \"110\"}\n  - {number: \"111\", kind: remote}\n  - {number: \"112\", answer-after: 100ms}\n  park: [\"400\"]\n", "")
	open := func(number string) *handset {
		h := newHandset(t, "udp", x.sip, number, "secret"+number)
		if m := h.register(600); m.code() != 200 {
			t.Fatal(m.start)
		}
		return h
	}
	// one telephone for each lamp
	yealink, other, remote, reader, late := open("100"), open("100"), open("100"), open("100"), open("100")
	o := x.watch("110")
	idle := yealink.lamp("dialog", "110", "User-Agent: Yealink SIP-T46S 66.86.0.15")
	idle("<state>terminated</state>")
	empty := other.lamp("dialog", "110", "User-Agent: Another 1.0")
	empty("></dialog-info>")
	remote.lamp("dialog", "111", "User-Agent: Another 1.0")("></dialog-info>")
	present := reader.lamp("presence", "110")
	present("sip:110 open")
	made := o.must(call("110", "111"))
	idle("<state>confirmed</state>")
	empty("<state>confirmed</state>")
	present("sip:110 open on-the-phone")
	o.must(uacsta.ClearConnection{ConnectionToBeCleared: uacsta.Conn(made.Text("callingDevice/callID"), "110")})
	idle("<state>terminated</state>")
	empty("></dialog-info>")
	present("sip:110 open")
	parked := remote.lamp("dialog", "400", "User-Agent: Another 1.0")
	parked("></dialog-info>")
	made = o.must(call("110", "112"))
	o.until("110", "Established")
	o.must(uacsta.ParkCall{Parking: uacsta.Conn(made.Text("callingDevice/callID"), "110"), ParkTo: uacsta.Dev("400")})
	parked("<state>early</state>")
	present("sip:110 open on-the-phone")
	present("sip:110 open")
	o.must(uacsta.SetDoNotDisturb{Device: uacsta.Dev("110"), DoNotDisturbOn: true})
	present("sip:110 open busy")

	away := late.lamp("presence", "101")
	away("sip:101 closed")
	phone := open("101")
	away("sip:101 open")
	if m := phone.registerAs("101", "Contact: *", "Expires: 0"); m.code() != 200 {
		t.Error(m.start)
	}
	away("sip:101 closed")
	if m := other.dialog("999").ask("SUBSCRIBE", []string{"Event: presence"}, ""); m.code() != 404 {
		t.Errorf("the presence of nobody: %s", m.start)
	}
	x.stop()
}
