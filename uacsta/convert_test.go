package uacsta_test

import (
	"reflect"
	"testing"

	"github.com/tr87proxy/tr87proxy/tests/schema"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

// Every message of one edition must be valid in the other after conversion.
func TestConvertedIsValid(t *testing.T) {
	for _, way := range [][2]uacsta.Edition{{uacsta.Edition6, uacsta.Edition3}, {uacsta.Edition3, uacsta.Edition6}} {
		from, to := way[0], way[1]
		docs := map[string][]byte{}
		for _, name := range uacsta.Names() {
			if uacsta.Since(name) > from {
				continue
			}
			for how, full := range map[string]bool{"least": false, "full": true} {
				filled := uacsta.New(name)
				fill(reflect.ValueOf(filled).Elem(), full)
				m := uacsta.Encode(filled, from)
				before := m.String()
				ok := m.Convert(to)
				if known := uacsta.Since(name) <= to; ok != known {
					t.Errorf("%s: converted %v, known %v", name, ok, known)
				}
				switch {
				case !ok && m.String() != before:
					t.Errorf("changed although it cannot be: %s", m)
				case !ok, m.Namespace() == uacsta.NamespaceApplSession, name == "SnapshotCallData" && to == uacsta.Edition6:
				default:
					docs[name+"-"+how] = m.Bytes()
				}
			}
		}
		schema.Validate(t, int(to), docs)
	}
}

func TestConvert(t *testing.T) {
	const ed3, ed6 = `xmlns="http://www.ecma-international.org/standards/ecma-323/csta/ed3"`, `xmlns="http://www.ecma-international.org/standards/ecma-323/csta/ed6"`
	for _, tt := range []struct {
		name, doc string
		to        uacsta.Edition
		want      string
	}{
		{"a device becomes a list", `<DeflectCall ` + ed3 + `><callToBeDiverted><callID>1</callID></callToBeDiverted><newDestination typeOfNumber="dialingNumber">12</newDestination></DeflectCall>`, 6,
			`<DeflectCall ` + ed6 + `><callToBeDiverted><callID>1</callID></callToBeDiverted><newDestination><device typeOfNumber="dialingNumber">12</device></newDestination></DeflectCall>`},
		{"of a list the first", `<DeflectCall ` + ed6 + `><callToBeDiverted><callID>1</callID></callToBeDiverted><newDestination><device privateName="true" typeOfNumber="other">12</device><device>13</device></newDestination></DeflectCall>`, 3,
			`<DeflectCall ` + ed3 + `><callToBeDiverted><callID>1</callID></callToBeDiverted><newDestination typeOfNumber="other">12</newDestination></DeflectCall>`},
		{"the same content: only the namespace changes", `<x:HeldEvent xmlns:x="http://www.ecma.ch/standards/ecma-323/csta/ed2"><x:cause>normal</x:cause></x:HeldEvent>`, 4,
			`<HeldEvent xmlns="http://www.ecma-international.org/standards/ecma-323/csta/ed4"><cause>normal</cause></HeldEvent>`},
		{"a later cause, and later children", `<ServiceInitiatedEvent ` + ed6 + `><monitorCrossRefID>1</monitorCrossRefID><initiatedConnection><callID>1</callID></initiatedConnection><initiatingDevice><notKnown/></initiatingDevice><calledDevice><notKnown/></calledDevice><cause>makeConnection</cause><vendorThing/></ServiceInitiatedEvent>`, 3,
			`<ServiceInitiatedEvent ` + ed3 + `><monitorCrossRefID>1</monitorCrossRefID><initiatedConnection><callID>1</callID></initiatedConnection><initiatingDevice><notKnown/></initiatingDevice><cause>makeCall</cause><vendorThing/></ServiceInitiatedEvent>`},
		{"what is missing is supplied", `<EstablishedEvent ` + ed3 + `><monitorCrossRefID>1</monitorCrossRefID><establishedConnection><callID>1</callID></establishedConnection></EstablishedEvent>`, 6,
			`<EstablishedEvent ` + ed6 + `><monitorCrossRefID>1</monitorCrossRefID><establishedConnection><callID>1</callID></establishedConnection><answeringDevice><notKnown/></answeringDevice><callingDevice><notKnown/></callingDevice><calledDevice><notKnown/></calledDevice><lastRedirectionDevice><notSpecified/></lastRedirectionDevice><cause>normal</cause></EstablishedEvent>`},
		{"a capital letter", `<SetLampMode ` + ed3 + `><device>1</device><lamp>2</lamp><LampMode>3</LampMode></SetLampMode>`, 6, `<SetLampMode ` + ed6 + `><device>1</device><lamp>2</lamp><lampMode>3</lampMode></SetLampMode>`},
		{"a later error", `<CSTAErrorCode ` + ed6 + `><systemResourceAvailibility>maxDevicesExceeded</systemResourceAvailibility></CSTAErrorCode>`, 3,
			`<CSTAErrorCode ` + ed3 + `><systemResourceAvailibility>generic</systemResourceAvailibility></CSTAErrorCode>`},
		{"an unknown message", `<WashDishes ` + ed6 + `><soap/></WashDishes>`, 3, `<WashDishes ` + ed3 + `><soap/></WashDishes>`},
	} {
		m := parse(t, tt.doc)
		if !m.Convert(tt.to) {
			t.Errorf("%s: not converted", tt.name)
		}
		if m.String() != tt.want {
			t.Errorf("%s:\n got %s\nwant %s", tt.name, m, tt.want)
		}
	}
	if m := parse(t, `<GetMonitors `+ed6+`/>`); m.Convert(3) {
		t.Error("edition 3 has no GetMonitors")
	}
}
