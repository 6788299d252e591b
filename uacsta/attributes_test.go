package uacsta

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

const ed3Root, ed6Root = ` xmlns="http://www.ecma-international.org/standards/ecma-323/csta/ed3"`, ` xmlns="http://www.ecma-international.org/standards/ecma-323/csta/ed6"`

// A list of destinations has no attributes that another edition would make those of the device: the
// call would go elsewhere than policy decided, or the attributes would occur twice.
func TestListWithAttributesOfADevice(t *testing.T) {
	const doc = `<DeflectCall` + ed6Root + `><callToBeDiverted><callID>1</callID><deviceID>200</deviceID></callToBeDiverted><newDestination%s>%s</newDestination></DeflectCall>`
	_, err := Parse(fmt.Appendf(nil, doc, ` typeOfNumber="explicitPublic:international"`, `<device>301</device>`))
	if unclear := (*Unclear)(nil); !errors.As(err, &unclear) {
		t.Errorf("a list with the type of a number is read: %v", err)
	}
	m, err := Parse(fmt.Appendf(nil, doc, ` xmlns:v="urn:v" v:mark="1"`, `<device mediaClass="voice" xmlns:v="urn:v" v:mark="2">301</device><device>302</device>`))
	if err != nil {
		t.Fatal(err)
	}
	m.Convert(Edition3)
	if again, err := Parse(m.Bytes()); err != nil || again.Text("newDestination") != "301" {
		t.Errorf("%v: %s", err, m)
	}
}

// The type of a number is the standard's attribute, not a vendor's of the same name.
func TestTypeOfAVendor(t *testing.T) {
	for _, attributes := range []string{` typeOfNumber="dialingNumber" v:typeOfNumber="dynamic"`, ` v:typeOfNumber="dynamic" typeOfNumber="dialingNumber"`} {
		m, err := Parse([]byte(`<GetForwarding` + ed3Root + ` xmlns:v="urn:v"><device` + attributes + `>301</device></GetForwarding>`))
		if err != nil {
			t.Fatal(err)
		}
		d := m.Devices()[0]
		if d.Type() != "dialingNumber" {
			t.Errorf("%s: %q", attributes, d.Type())
		}
		if d.Set("301", ""); d.Type() != "" {
			t.Errorf("%s: %q is left", attributes, d.Type())
		}
		if d.SetType("deviceNumber"); d.Type() != "deviceNumber" {
			t.Errorf("%s: the vendor's type keeps ours out: %s", attributes, m)
		}
	}
}

// One declaration for many elements does not turn a small document into a large one, or into one that
// cannot be parsed again.
func TestDeclarationsDoNotMultiply(t *testing.T) {
	var many, used strings.Builder
	for i := range 31 {
		fmt.Fprintf(&many, ` xmlns:p%d="urn:%d"`, i, i)
		fmt.Fprintf(&used, ` p%d:a=""`, i)
	}
	long := ` xmlns:f="` + strings.Repeat("u", 30000) + `"`
	for name, doc := range map[string]string{
		"unknown elements":        `<MakeCall` + ed3Root + long + `><callingDevice>200</callingDevice>` + strings.Repeat(`<f:a/>`, 4000) + `</MakeCall>`,
		"attributes of known":     `<SendMessage` + ed3Root + long + `><destinationDevices>` + strings.Repeat(`<device f:a="">1</device>`, 1000) + `</destinationDevices></SendMessage>`,
		"in private data":         `<MakeCall` + ed3Root + long + `><extensions><privateData><private>` + strings.Repeat(`<f:a/>`, 4000) + `</private></privateData></extensions></MakeCall>`,
		"too many for one":        `<MakeCall` + ed3Root + many.String() + `><callingDevice` + used.String() + `>200</callingDevice></MakeCall>`,
		"too many for an unknown": `<MakeCall` + ed3Root + many.String() + `><unknown` + used.String() + `/></MakeCall>`,
	} {
		m, err := Parse([]byte(doc))
		if err != nil {
			if unclear := (*Unclear)(nil); !errors.As(err, &unclear) {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		if n := len(m.Bytes()); n > 3*MaxSize {
			t.Errorf("%s: %d octets became %d", name, len(doc), n)
		} else if _, err := Parse(m.Bytes()); err != nil {
			t.Errorf("%s: what was read is not read again: %v", name, err)
		}
	}
}

// A list of destinations is not one of them.
func TestFits(t *testing.T) {
	for list, fits := range map[string]bool{
		"301": true, "<device>301</device>": true, "<device>301</device><device>302</device>": false, "<device/><device>302</device>": false,
	} {
		m, err := Parse([]byte(`<DeflectCall` + ed6Root + `><newDestination>` + list + `</newDestination></DeflectCall>`))
		if err != nil {
			t.Fatal(err)
		}
		if m.Fits(Edition3) != fits || !m.Fits(Edition6) {
			t.Errorf("%s: %v", list, m.Fits(Edition3))
		}
	}
}

// A document of permitted size may still have too many elements.
func TestTooManyElements(t *testing.T) {
	if _, err := Parse([]byte(`<MakeCall` + ed3Root + `>` + strings.Repeat("<a/>", MaxElements) + `</MakeCall>`)); !errors.Is(err, ErrTooManyElements) {
		t.Error(err)
	}
	if _, err := Parse([]byte(`<MakeCall` + ed3Root + `>` + strings.Repeat("<a/>", MaxElements-1) + `</MakeCall>`)); err != nil {
		t.Error(err)
	}
}
