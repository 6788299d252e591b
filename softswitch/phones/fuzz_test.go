package phones

import (
	"encoding/xml"
	"io"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/tr87proxy/tr87proxy/policy"
	"github.com/tr87proxy/tr87proxy/sip"
	"github.com/tr87proxy/tr87proxy/sip/registrar"
	"github.com/tr87proxy/tr87proxy/softswitch"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

func TestReplacedBy(t *testing.T) {
	for uri, want := range map[string]sip.Replaces{
		"sip:1@x?Replaces=a%40b%3Bto-tag%3D1%3Bfrom-tag%3D2":            {CallID: "a@b", ToTag: "1", FromTag: "2"},
		"sip:1@x?A=b&re%70laces=c%3Bfrom-tag%3D2%3Bto-tag=1;early-only": {CallID: "c", ToTag: "1", FromTag: "2", EarlyOnly: true},
		"sip:1@x": {}, "sip:1@x?A=b": {},
	} {
		if got, has, ok := replacedBy(uri); got != want || has != (want.CallID != "") || !ok {
			t.Errorf("%q: %+v %v %v, want %+v", uri, got, has, ok, want)
		}
	}
	one := "Replaces=c%3Bfrom-tag%3D2%3Bto-tag%3D1"
	for _, uri := range []string{"sip:1@x?Replaces=%zz", "sip:1@x?Replaces=a%40b", "sip:1@x?Replaces=", "sip:1@x?" + one + "&" + one} {
		if got, has, ok := replacedBy(uri); !has || ok {
			t.Errorf("%q is read: %+v", uri, got)
		}
	}
}

func FuzzReplacedBy(f *testing.F) {
	f.Add("sip:%23100;x=1@h?Replaces=a%3Bto-tag%3D1%3Bfrom-tag%3D2")
	f.Fuzz(func(t *testing.T, uri string) {
		if r, has, ok := replacedBy(uri); has && ok && (r.CallID == "" || r.ToTag == "" || r.FromTag == "") {
			t.Errorf("%q: %+v", uri, r)
		}
	})
}

func FuzzFeatureRequest(f *testing.F) {
	f.Add([]byte(`<?xml version="1.0" encoding="ISO-8859-1"?><SetForwarding xmlns="http://www.ecmainternational.org/standards/ecma-323/csta/ed3"><device/><forwardingType>forwardNoAns</forwardingType><activateForward>true</activateForward><forwardDN>102</forwardDN><ringCount>3</ringCount></SetForwarding>`))
	f.Add([]byte(`<SetAgentState xmlns="http://www.ecma-international.org/standards/ecma-323/csta/ed3"><device/><requestedAgentState>ready</requestedAgentState></SetAgentState>`))
	f.Fuzz(func(t *testing.T, body []byte) {
		asked, service, err := featureRequest(body, "100", &policy.Numbers{})
		if err == nil && (asked == "" || service == nil) {
			t.Errorf("%q: %q %v", body, asked, service)
		}
	})
}

// FuzzDocuments: whatever texts come to the documents that telephones are shown, another reader
// finds each in its place, with U+FFFD for what XML has no characters for.
func FuzzDocuments(f *testing.F) {
	for _, text := range []string{"100", "Zoë", "a\x00b\x1b", "\ufffe", "\xed\xa0\x80", "a\r\nb\tc", `"]]>`, "</AgentNotReadyEvent>", "&#1;", "VERSION", "\U0001f600"} {
		f.Add(text)
	}
	telephones := registrar.New(registrar.Config{Realm: "pbx.test"}, upcalls{})
	defer telephones.Close()
	f.Fuzz(func(t *testing.T, text string) {
		var agent struct {
			Device string `xml:"device"`
			ID     string `xml:"agentID"`
			Reason string `xml:"extensions>privateData>private>AgentNotReadyReasonValue"`
		}
		read(t, agentDocument(text, softswitch.AgentState{ID: text, Group: text, State: uacsta.AgentNotReady, Reason: text}), &agent)
		if want := legible(text); agent.Device != want || agent.ID != want || agent.Reason != want {
			t.Errorf("%q is read as %+v", text, agent)
		}
		s := &Server{telephones: telephones, lines: map[string]*line{}, calls: map[string]*call{}, legs: map[int]*leg{1: {callID: text, localTag: text, remoteTag: text}}}
		own := softswitch.Party{Key: 1, Device: text, Number: text, State: uacsta.Alerting}
		s.line(text).parties[1] = &party{own, "c"}
		s.calls["c"] = &call{View: softswitch.View{Calling: uacsta.Ext("1"), Parties: []softswitch.Party{own, {Key: 2, Number: text}}}}
		var dialogs struct {
			Entity string `xml:"entity,attr"`
			Dialog []struct {
				CallID string `xml:"call-id,attr"`
				Local  string `xml:"local-tag,attr"`
				Remote string `xml:"remote-tag,attr"`
				State  string `xml:"state"`
				Other  string `xml:"remote>identity"`
			} `xml:"dialog"`
		}
		document := s.dialogDocument(text, text, false)
		read(t, document, &dialogs)
		if len(dialogs.Dialog) != 1 || dialogs.Entity != sip.UserURI(text, "pbx.test") {
			t.Fatalf("%q is read as %+v in %s", text, dialogs, document.Text)
		}
		d := dialogs.Dialog[0]
		if want := legible(text); text != "" && (d.CallID != want || d.Local != want || d.Remote != want || d.Other != sip.UserURI(text, "pbx.test")) || d.State != "early" {
			t.Errorf("%q is read as %+v", text, d)
		}
	})
}

// read reads a document, which is in ASCII whatever it says it is in.
func read(t *testing.T, doc registrar.Document, into any) {
	t.Helper()
	if i := strings.IndexFunc(doc.Text, func(r rune) bool { return r >= utf8.RuneSelf }); i >= 0 {
		t.Fatalf("no ASCII: %q", doc.Text)
	}
	d := xml.NewDecoder(strings.NewReader(doc.Text))
	d.CharsetReader = func(_ string, r io.Reader) (io.Reader, error) { return r, nil }
	if err := d.Decode(into); err != nil {
		t.Fatalf("%v: %s", err, doc.Text)
	}
}

// legible is a text with U+FFFD for what XML has no characters for, and for each octet that is no
// UTF-8.
func legible(text string) string {
	var b strings.Builder
	for _, r := range text {
		if r < ' ' && r != '\t' && r != '\n' && r != '\r' || r == 0xFFFE || r == 0xFFFF {
			r = utf8.RuneError
		}
		b.WriteRune(r)
	}
	return b.String()
}
