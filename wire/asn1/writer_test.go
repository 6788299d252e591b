package asn1

import (
	"encoding/hex"
	"errors"
	"math/big"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	ber "github.com/go-asn1-ber/asn1-ber"

	"github.com/tr87proxy/tr87proxy/uacsta"
)

// element is the content of an element that the library reads, found by the places of the
// elements that hold it.
func element(t *testing.T, octets []byte, places ...int) *ber.Packet {
	t.Helper()
	p, err := ber.DecodePacketErr(octets)
	if err != nil {
		t.Fatalf("%X: %v", octets, err)
	}
	for _, place := range places {
		if place >= len(p.Children) {
			t.Fatalf("%X has no element %v", octets, places)
		}
		p = p.Children[place]
	}
	return p
}

// A device number is an INTEGER only where that is the same number.
func TestDeviceNumbers(t *testing.T) {
	for id, want := range map[string]ber.Tag{
		"100": 1, "0": 1, "-5": 1, "2147483647": 1, "2147483648": 0, "99999999999999999999": 0, "0100": 0, "+49": 0, "1_000": 0, "0x10": 0, "10*": 0, "１００": 99, "1 0": 0, "1\x002": 99, strings.Repeat("1", 256): 99,
	} {
		p, err := putNumber(uacsta.Typed(id, "deviceNumber"))
		if err != nil {
			if want != 99 {
				t.Errorf("%s: %v", id, err)
			}
			continue
		}
		back, err := takeNumber(reparse(t, p.Bytes()))
		if p.Tag != want || err != nil || back.ID != id {
			t.Errorf("%s is written with the tag %d, and read as %q: %v", id, p.Tag, back.ID, err)
		}
	}
}

// FuzzIdentifiers writes any text as callID and as device, of any kind, in every flavour, for a
// switching function and for a client. What is written, the library reads as exactly that text;
// it comes back from us as the same identifier.
func FuzzIdentifiers(f *testing.F) {
	for _, text := range []string{"", "100", "0100", "+4989123", "2147483648", "-1", "1A2B", "1a2b", "FF", "FF31", "é", "1\x002", "a\nb", " 1", "\x7f", "\ufffe", "1\ud7ff", strings.Repeat("9", 300), "sip:a@b;c=d", "?"} {
		for _, kind := range []string{"", "deviceNumber", "dynamic", "implicitPublic", "explicitPublic:international", "explicitPrivate:nonsense", "other"} {
			f.Add(text, "12", kind)
			f.Add("100", text, kind)
		}
	}
	f.Fuzz(func(t *testing.T, device, call, kind string) {
		id := uacsta.ConnectionID{CallID: call, DeviceID: uacsta.Typed(device, kind)}
		for _, flavour := range []string{"phase3", "hipath", "phase1"} {
			for _, ids := range []CallIDs{HexCallIDs, AnyCallIDs} {
				c := codecOf(flavour)
				c.callIDs = ids
				writesConnection(t, c, id)
				writesDevice(t, c, device, kind)
			}
		}
	})
}

// writesConnection writes a connection as the argument of ClearConnection.
func writesConnection(t *testing.T, c *Codec, id uacsta.ConnectionID) {
	if id.CallID == "" || id.DeviceID.ID == "" {
		return
	}
	whole := sequence()
	under := &coder{callIDs: c.callIDs}
	typ := c.flavour.notation.types["Connection"]
	p, err := typ.put(under, reflect.ValueOf(id))
	if err != nil {
		return
	}
	whole.AppendChild(p)
	octets := whole.Bytes()
	var callAt, deviceAt []int
	if c.flavour.notation == phase1 {
		callAt, deviceAt = []int{0, 0}, []int{0, 1}
	} else {
		callAt, deviceAt = []int{0, 0, 0}, []int{0, 0, 1, 0}
	}
	call := element(t, octets, callAt...).Data.String()
	forms := []string{strings.ToUpper(hex.EncodeToString([]byte(call)))}
	if c.callIDs == AnyCallIDs {
		forms = append(forms, strings.TrimPrefix(call, "\xFF"), new(big.Int).SetBytes([]byte(call)).String())
	}
	if !slices.Contains(forms, id.CallID) {
		t.Fatalf("%s: callID %q is written as %q", c.flavour.Name, id.CallID, call)
	}
	device := id.DeviceID.ID
	if c.flavour.notation == phase1 && id.DeviceID.Type() == uacsta.Dynamic {
		device = "dynamic:" + device
	}
	if got := deviceOf(t, element(t, octets, deviceAt...)); got != device {
		t.Fatalf("%s: device %q is written as %q", c.flavour.Name, id.DeviceID.ID, got)
	}
	var back uacsta.ConnectionID
	if err := typ.take(under, reparse(t, octets).Children[0], reflect.ValueOf(&back).Elem()); err != nil || back.CallID != id.CallID || back.DeviceID.ID != device {
		t.Fatalf("%s: %+v comes back as %+v: %v", c.flavour.Name, id, back, err)
	}
}

// writesDevice writes a device as the one that MakeCall calls.
func writesDevice(t *testing.T, c *Codec, device, kind string) {
	typ := c.flavour.notation.types["Device"]
	p, err := typ.put(&coder{callIDs: c.callIDs}, reflect.ValueOf(uacsta.Typed(device, kind)))
	if err != nil {
		return
	}
	if got := deviceOf(t, element(t, p.Bytes())); got != device {
		t.Fatalf("%s: %q, %s, is written as %q", c.flavour.Name, device, kind, got)
	}
}

// deviceOf reads a DeviceID, a LocalDeviceID, or the IA5String that one is in Phase I.
func deviceOf(t *testing.T, p *ber.Packet) string {
	t.Helper()
	if p.ClassType == ber.ClassUniversal && p.Tag == ber.TagSequence && len(p.Children) == 1 {
		p = p.Children[0]
	}
	switch {
	case p.ClassType != ber.ClassContext:
	case p.Tag == 1:
		n, err := ber.ParseInt64(p.Data.Bytes())
		if err == nil && p.Data.Len() > 0 {
			return strconv.FormatInt(n, 10)
		}
	case p.Tag == 3 && p.TagType == ber.TypePrimitive: // dynamic
		return strings.ToUpper(hex.EncodeToString(p.Data.Bytes()))
	case (p.Tag == 3 || p.Tag == 5) && len(p.Children) == 1:
		return p.Children[0].Data.String()
	case p.TagType == ber.TypePrimitive:
		return p.Data.String()
	}
	t.Fatalf("%X is no device", p.Bytes())
	return ""
}

// A party of an event whose number the notation cannot carry is not known to the peer; a request
// that names one is refused.
func TestInexpressibleParty(t *testing.T) {
	ev := uacsta.DeliveredEvent{
		MonitorCrossRefID: "0007", Connection: uacsta.Conn("1234", "100"), AlertingDevice: uacsta.Ext("100"), CallingDevice: uacsta.Ext("Zoë"), CalledDevice: uacsta.Ext("1\uFFFD0"),
		LastRedirectionDevice: uacsta.RedirectionDeviceID{NumberDialed: uacsta.Dev(strings.Repeat("9", 300))}, Cause: uacsta.CauseNewCall,
	}
	for _, flavour := range []string{"phase3", "phase1"} {
		c := codecOf(flavour)
		p, err := c.putEvent(uacsta.Encode(ev, Edition))
		if err != nil {
			t.Fatal(err)
		}
		m, _, err := c.takeEvent(reparse(t, p.Bytes()))
		if err != nil || !m.Has("callingDevice/notKnown") || !m.Has("calledDevice/notKnown") || !m.Has("lastRedirectionDevice/notKnown") || m.Text("connection/deviceID") != "100" {
			t.Errorf("%s: %s, %v", flavour, m, err)
		}
		for _, number := range []string{"Zoë", "1\n2", strings.Repeat("9", 300)} {
			if _, _, err := c.putRequest(uacsta.Encode(uacsta.MakeCall{CallingDevice: uacsta.Dev("100"), CalledDirectoryNumber: uacsta.Dev(number)}, Edition)); err == nil {
				t.Errorf("%s: %q is called", flavour, number)
			}
		}
	}
}

// FuzzForeignText puts a text from elsewhere in every place of an event that text can come to. The
// event is told nevertheless, the library reads it, and each text is in its place: with question
// marks for characters that IA5String does not have, or as what is not known.
func FuzzForeignText(f *testing.F) {
	for _, text := range []string{"100", "Zoë", "a\x00b", "\x1b\x7f", "\ufffe", "\xed\xa0\x80", "a\r\nb\tc", `"]]>`, strings.Repeat("9", 300), "2026-11-20T12:00:00Z", "2026-11-20T12:00:00.5+01:00", "2026-11-20T2:00:00+01:00", "0102"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if len(text) > 1000 {
			return
		}
		ev := uacsta.DeliveredEvent{
			MonitorCrossRefID: "0007", Connection: uacsta.Conn("1234", text), AlertingDevice: uacsta.Ext("100"), CallingDevice: uacsta.Ext(text), CalledDevice: uacsta.Ext("100"),
			LastRedirectionDevice: uacsta.RedirectionDeviceID{NumberDialed: uacsta.Dev(text)}, SubjectOfCall: text, LanguagePreferences: text, Cause: uacsta.CauseNewCall,
			CorrelatorData: uacsta.Data{String: text},
			CallLinkageData: &uacsta.CallLinkageData{GlobalCallData: uacsta.GlobalCallData{
				GlobalCallSwitchingSubDomainName: text, CallLinkageIDTimestamp: text,
				GlobalCallLinkageID: uacsta.GlobalCallLinkageID{SubDomainCallLinkageID: "0102"},
			}},
		}
		ev.Extensions = uacsta.Arguments{Security: &uacsta.SecurityData{TimeStamp: text}, PrivateData: []uacsta.Data{{String: "0102"}}}.Extensions()
		for _, flavour := range []string{"phase3", "hipath", "phase1"} {
			c := codecOf(flavour)
			p, err := c.putEvent(uacsta.Encode(ev, Edition))
			if err != nil {
				t.Fatalf("%s: %q cannot be said: %v", flavour, text, err)
			}
			octets := p.Bytes()
			if _, err := time.Parse("2006-01-02T15:04:05", text); err != nil && flavour != "hipath" { // the library reads no times without zone
				element(t, octets)
			}
			m, unknown, err := c.takeEvent(reparse(t, octets))
			if err != nil || len(unknown) > 0 {
				t.Fatalf("%s: %q is read as %v: %v", flavour, text, unknown, err)
			}
			var back uacsta.DeliveredEvent
			if err := m.Decode(&back); err != nil {
				t.Fatalf("%s: %s: %v", flavour, m, err)
			}
			text := strings.Trim(text, " \t\r\n") // blanks around mean nothing
			if _, err := identifierText(text); err != nil && flavour == "hipath" {
				text = cleanText([]byte(text))
				text = strings.TrimSpace(text[:min(len(text), longestID)])
			}
			if got := back.Connection.DeviceID.ID; back.Connection.CallID != "1234" || got != text && got != "" {
				t.Fatalf("%s: the connection of %q is %+v", flavour, text, back.Connection)
			}
			if got := back.CallingDevice.Device.ID; got != text && got != "" {
				t.Fatalf("%s: %q calls as %q", flavour, text, got)
			}
			if flavour == "hipath" && text != "" && (back.Connection.DeviceID.ID == "" || back.CallingDevice.Device.ID == "") {
				t.Fatalf("%q is not known", text)
			}
			if flavour != "phase3" {
				continue
			}
			if want := strings.TrimSpace(asked(text)); back.SubjectOfCall != want || back.LanguagePreferences != want {
				t.Fatalf("%q is written as %q", text, back.SubjectOfCall)
			}
		}
	})
}

// asked is a text with question marks for what is no printable ASCII.
func asked(text string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '?'
		}
		return r
	}, text)
}

// A GeneralizedTime is one, or is left out.
func TestTimes(t *testing.T) {
	for text, want := range map[string]string{
		"2026-11-20T12:00:00": "20261120120000", "2026-11-20T12:00:00Z": "20261120120000Z", "2026-11-20T12:00:00.25-05:30": "20261120120000.25-0530",
		"": "", "now": "", "2026-13-20T12:00:00": "", "2026-11-20": "", "2026-11-20T12:00:00\n": "", "2026-11-20T12:00:00,5Z": "", "2026-11-20T12:00:00+1": "", "12026-11-20T12:00:00": "",
		"2026-11-20T2:00:00": "", "2026-11-20T2:00:00+01:00": "",
	} {
		if got, err := generalizedTime(text); string(got) != want || (err != nil) != (want == "") {
			t.Errorf("%q is written as %q, %v", text, got, err)
		}
	}
	for text, want := range map[string]string{
		"20261120120000": "2026-11-20T12:00:00", "20261120120000.250Z": "2026-11-20T12:00:00.25Z", "20261120120000,5-0530": "2026-11-20T12:00:00.5-05:30",
		"202611201200": "2026-11-20T12:00:00", "20261120120000+01": "2026-11-20T12:00:00+01:00", "20261120120000+0000": "2026-11-20T12:00:00Z",
		"": "", "0000000000TT00": "", "00000000000000": "", "20261320120000": "", "20261120120060": "", "20261120120000+2300": "", "2026112012000": "", "20261120120000ZZ": "",
	} {
		got, err := longTime(primitive(universal(ber.TagGeneralizedTime), []byte(text)))
		if got != want || errors.Is(err, errNoName) != (want == "") {
			t.Errorf("%q is read as %q, %v", text, got, err)
		}
		if back, err := generalizedTime(got); want != "" && err != nil {
			t.Errorf("%q comes back as %q, %v", text, back, err)
		}
	}
}
