package uacsta_test

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/tr87proxy/tr87proxy/tests/samples"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

// FuzzParse looks for documents that crash the parser, that it writes in a form
// it cannot read, or whose meaning changes on the way.
func FuzzParse(f *testing.F) {
	for _, s := range samples.All {
		f.Add([]byte(s.Wire))
	}
	f.Add([]byte("<MakeCall><calledDirectoryNumber> </calledDirectoryNumber></MakeCall>"))
	f.Add([]byte("<MakeCall><!-- a --><extensions><privateData><private><![CDATA[<b>&amp;]]><?c d?><e f='&#9;'/></private></privateData></extensions></MakeCall>"))
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := uacsta.Parse(data)
		if err != nil {
			return
		}
		again, err := uacsta.Parse(m.Bytes())
		if err != nil {
			if len(m.Bytes()) > uacsta.MaxSize {
				return // escapes made it longer than it came
			}
			t.Fatalf("written but not readable: %v\n%s", err, m)
		}
		if again.String() != m.String() {
			t.Fatalf("changed on the way:\n%s\n%s", m, again)
		}
		for d := xml.NewDecoder(bytes.NewReader(m.Bytes())); ; { // comments, CDATA sections and private data, too
			if _, err := d.Token(); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				t.Fatalf("another reader: %v\n%s", err, m)
			}
		}
		for _, d := range m.Devices() {
			d.SetID("100")
		}
		for _, c := range m.Connections() {
			c.SetDeviceID("100")
		}
	})
}

// FuzzDecode looks for documents that crash the typed structs or the conversion
// between editions.
func FuzzDecode(f *testing.F) {
	for _, s := range samples.All {
		f.Add([]byte(s.Wire))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := uacsta.Parse(data)
		if err != nil {
			return
		}
		if v := uacsta.New(m.Name()); v != nil && m.Decode(v) == nil {
			uacsta.Encode(v, uacsta.Edition3)
			uacsta.Encode(v, uacsta.Edition6)
		}
		_ = m.Err()
		_ = m.Features()
		for _, edition := range []uacsta.Edition{uacsta.Edition6, uacsta.Edition3, uacsta.Edition6} {
			m.Convert(edition)
			if _, err := uacsta.Parse(m.Bytes()); err != nil && len(m.Bytes()) <= uacsta.MaxSize {
				t.Fatalf("converted to %d it cannot be read: %v\n%s", edition, err, m)
			}
		}
	})
}

// FuzzWriter: whatever a device and a text of data are, another reader finds each in its place and
// nothing else: characters of XML unchanged, and U+FFFD for others.
func FuzzWriter(f *testing.F) {
	for _, s := range []string{"100", "+4989", "a<b>&\"'", "]]>", "\r\n\t", "\x00\x1b", "\xff\xfe", "\ufffe", "J\u00fcrgen", "</calledDirectoryNumber>", "\U0001f600"} {
		f.Add(s, s)
	}
	f.Fuzz(func(t *testing.T, device, text string) {
		call := uacsta.MakeCall{
			CallingDevice: uacsta.Typed("100", device), CalledDirectoryNumber: uacsta.Dev(device), SubjectOfCall: text, CorrelatorData: uacsta.Data{String: text},
		}
		if call.Extensions = (uacsta.Arguments{PrivateData: []uacsta.Data{{String: text}}}).Extensions(); text == "" {
			call.Extensions = uacsta.Raw{}
		}
		wire := uacsta.Encode(call, uacsta.Edition3).Bytes()
		var read struct {
			XMLName xml.Name
			Calling struct {
				Type string `xml:"typeOfNumber,attr"`
				Text string `xml:",chardata"`
			} `xml:"callingDevice"`
			Called  []string `xml:"calledDirectoryNumber"`
			Subject string   `xml:"subjectOfCall"`
			Data    string   `xml:"correlatorData>string"`
			Private string   `xml:"extensions>privateData>string"`
			Other   []struct {
				XMLName xml.Name
			} `xml:",any"`
		}
		if err := xml.Unmarshal(wire, &read); err != nil {
			t.Fatalf("%v: %s", err, wire)
		}
		if read.XMLName.Local != "MakeCall" || read.Calling.Text != "100" || read.Calling.Type != legible(device) || len(read.Called) != 1 ||
			read.Called[0] != legible(device) || read.Subject != legible(text) || read.Data != legible(text) || read.Private != legible(text) || len(read.Other) > 0 {
			t.Fatalf("%q and %q are read as %+v in %s", device, text, read, wire)
		}
	})
}

// legible replaces what is no character of XML by U+FFFD.
func legible(text string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' && r != '\t' && r != '\n' && r != '\r' || r == 0xFFFE || r == 0xFFFF {
			return utf8.RuneError
		}
		return r
	}, spread(text))
}

// spread replaces each octet that is not UTF-8 by U+FFFD.
func spread(text string) string {
	var b strings.Builder
	for len(text) > 0 {
		r, size := utf8.DecodeRuneInString(text)
		b.WriteRune(r)
		text = text[size:]
	}
	return b.String()
}
