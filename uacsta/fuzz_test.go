package uacsta_test

import (
	"testing"

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
