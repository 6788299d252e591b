package uacsta_test

import (
	"strings"
	"testing"

	"github.com/tr87proxy/tr87proxy/tests/schema"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

// Every request and response has an example that is valid and is decoded.
func TestExamples(t *testing.T) {
	docs, sessions := map[string][]byte{}, map[string][]byte{}
	for _, name := range uacsta.Names() {
		m := uacsta.Example(name)
		if m == nil {
			if strings.HasSuffix(name, "Event") {
				continue
			}
			t.Errorf("%s has no example", name)
			continue
		}
		if err := m.Decode(uacsta.New(name)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		sameAfterJSON(t, m)
		switch {
		case strings.Contains(name, "ApplicationSession"):
			sessions[name] = m.Bytes()
		case name != uacsta.NameSnapshotCallData: // the schema gives the name to the bare list
			docs[name] = m.Bytes()
		}
	}
	if m := uacsta.Example("NoSuchThing"); m != nil {
		t.Errorf("%s", m)
	}
	if m := uacsta.Example("NoSuchResponse"); m != nil {
		t.Errorf("%s", m)
	}
	schema.Validate(t, 6, docs)
	schema.ValidateSessions(t, sessions)
}
