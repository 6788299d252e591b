package asn1

import (
	"bytes"
	"testing"

	ber "github.com/go-asn1-ber/asn1-ber"

	"github.com/tr87proxy/tr87proxy/tests/samples"
)

// reparse reads an element that we wrote.
func reparse(t *testing.T, data []byte) *ber.Packet {
	t.Helper()
	p, err := parse(data)
	if err != nil {
		t.Fatalf("%X: %v", data, err)
	}
	return p
}

// FuzzPDU reads PDUs of every kind in every flavour: nothing panics, and a message that was
// made of one can be written again, and is then always
// written so.
func FuzzPDU(f *testing.F) {
	for _, s := range samples.ASN1 {
		data := s.Octets()
		if data[0] == frameMark {
			data = data[1:]
		}
		f.Add(data[2:])
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		p, err := parse(data)
		if err != nil {
			return
		}
		if a, err := readAssociation(p); err == nil {
			_ = a
			return
		}
		m, err := readPDU(p)
		if err != nil {
			return
		}
		for _, flavour := range []string{"phase3", "hipath", "phase1"} {
			fuzzMessage(t, codecOf(flavour), m)
		}
	})
}

func fuzzMessage(t *testing.T, c *Codec, m *PDU) {
	t.Helper()
	switch {
	case m.Kind == Invoke && m.operation == eventReport:
		ev, _, err := c.takeEvent(m.body)
		if err != nil {
			return
		}
		again, err := c.putEvent(ev)
		if err != nil || c.flavour.exact {
			return
		}
		back, _, err := c.takeEvent(reparse(t, again.Bytes()))
		if err != nil {
			t.Fatalf("%v\n%X\n%v", ev, again.Bytes(), err)
		}
		if twice, err := c.putEvent(back); err != nil || !bytes.Equal(twice.Bytes(), again.Bytes()) {
			t.Fatalf("%v\n%v\n%v", ev, back, err)
		}
	case m.Kind == Invoke:
		req, _, err := c.takeRequest(m.operation, m.body)
		if err != nil || req == nil {
			return
		}
		operation, again, err := c.putRequest(req)
		if err != nil || c.flavour.exact {
			return
		}
		back, _, err := c.takeRequest(operation, reparse(t, again.Bytes()))
		if err != nil {
			t.Fatalf("%v\n%X\n%v", req, again.Bytes(), err)
		}
		if _, twice, err := c.putRequest(back); err != nil || !bytes.Equal(twice.Bytes(), again.Bytes()) {
			t.Fatalf("%v\n%v\n%v", req, back, err)
		}
	case m.Kind == ReturnResult:
		for name := range c.flavour.notation.requests {
			_, _, _ = c.takeResponse(name, m.body)
		}
	case m.Kind == ReturnError:
		_ = c.flavour.notation.refusal(m.body)
	}
}

// FuzzBounds compares what the bounds let through with what the library reads: no PDU that
// keeps them makes it fail for its structure.
func FuzzBounds(f *testing.F) {
	for _, s := range samples.ASN1 {
		f.Add(s.Octets())
	}
	f.Add(bytes.Repeat([]byte{0x30, 0x80}, 100))
	f.Add([]byte{0x30, 0x84, 0x7F, 0xFF, 0xFF, 0xFF})
	f.Fuzz(func(_ *testing.T, data []byte) {
		p, err := parse(data)
		if err == nil {
			_ = p.Bytes()
		}
	})
}
