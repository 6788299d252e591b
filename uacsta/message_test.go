package uacsta_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/tr87proxy/tr87proxy/tests/samples"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

func TestSamples(t *testing.T) {
	for _, s := range samples.All {
		t.Run(s.Name, func(t *testing.T) {
			m, err := uacsta.Parse([]byte(s.Wire))
			if s.Root == "" {
				if err == nil || !strings.Contains(err.Error(), s.Refusal) {
					t.Fatalf("error %v, want one that says %q", err, s.Refusal)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if m.Name() != s.Root {
				t.Errorf("name %q, want %q", m.Name(), s.Root)
			}
			var devices []string
			for _, d := range m.Devices() {
				devices = append(devices, d.Path()+"="+d.ID())
			}
			if got := strings.Join(devices, " "); got != s.Devices {
				t.Errorf("devices\n%s\nwant\n%s", got, s.Devices)
			}
			again, err := uacsta.Parse(m.Bytes())
			if err != nil {
				t.Fatalf("what was written cannot be read: %v", err)
			}
			if again.String() != m.String() {
				t.Errorf("not stable:\n%s\n%s", m, again)
			}
		})
	}
}

// A document is parsed into one form, and a document in this form is written back octet by octet.
func TestOneForm(t *testing.T) {
	for _, s := range samples.All {
		if s.Root == "" || strings.Contains(s.Wire, "encoding=") {
			continue
		}
		want := s.Read
		if want == "" {
			want = s.Wire
			if strings.HasPrefix(want, "<?xml") {
				want = want[strings.Index(want, "?>")+len("?>"):]
			}
		}
		if m := parse(t, s.Wire); m.String() != want {
			t.Errorf("%s:\n got %s\nwant %s", s.Name, m, want)
		}
	}
}

// A document that can be read in two ways is refused with the standard's errors.
func TestUnclear(t *testing.T) {
	_, err := uacsta.Parse([]byte(`<GetForwarding><device>100<x/></device><device>200</device></GetForwarding>`))
	var u *uacsta.Unclear
	var refusal *uacsta.Error
	if !errors.As(err, &u) || u.Name != "GetForwarding" || u.Kind() != uacsta.Request || !errors.As(err, &refusal) || !refusal.Known() {
		t.Errorf("%v", err)
	}
}

func TestBounds(t *testing.T) {
	nested := func(n int) string { return strings.Repeat("<a>", n) + strings.Repeat("</a>", n) }
	attributes := func(n int) string {
		var b strings.Builder
		b.WriteString("<a")
		for i := range n {
			b.WriteString(" a" + strings.Repeat("x", i) + `="1"`)
		}
		return b.String() + "/>"
	}
	sized := func(n int) string { return "<a>" + strings.Repeat("x", n-7) + "</a>" }
	for _, tt := range []struct {
		name, doc string
		want      error
	}{
		{"depth at the bound", nested(uacsta.MaxDepth), nil},
		{"depth over the bound", nested(uacsta.MaxDepth + 1), uacsta.ErrTooDeep},
		{"attributes at the bound", attributes(uacsta.MaxAttributes), nil},
		{"attributes over the bound", attributes(uacsta.MaxAttributes + 1), uacsta.ErrTooManyAttributes},
		{"size at the bound", sized(uacsta.MaxSize), nil},
		{"size over the bound", sized(uacsta.MaxSize + 1), uacsta.ErrTooLarge},
		{"document type", "<!DOCTYPE a><a/>", uacsta.ErrDocType},
		{"entity", "<a>&x;</a>", uacsta.ErrEntity},
		{"encoding", "<?xml version='1.0' encoding='koi8-r'?><a/>", uacsta.ErrEncoding},
		{"syntax", "<a>", uacsta.ErrSyntax},
	} {
		if _, err := uacsta.Parse([]byte(tt.doc)); !errors.Is(err, tt.want) {
			t.Errorf("%s: %v, want %v", tt.name, err, tt.want)
		}
	}
}

func TestRewriteIdentifiers(t *testing.T) {
	m := parse(t, `<ns:HoldCall xmlns:ns="urn:x"><ns:callToBeHeld><ns:callID>9</ns:callID></ns:callToBeHeld></ns:HoldCall>`)
	c := m.Connections()[0]
	if c.CallID() != "9" || c.DeviceID() != "" {
		t.Fatalf("connection %q %q", c.CallID(), c.DeviceID())
	}
	c.SetDeviceID("a<b")
	want := `<HoldCall xmlns="urn:x"><callToBeHeld><callID>9</callID><deviceID>a&lt;b</deviceID></callToBeHeld></HoldCall>`
	if m.String() != want {
		t.Errorf("%s", m)
	}
	m = parse(t, samples.All[2].Wire)
	m.Devices()[0].SetID("100")
	if got := m.Text("monitorObject/deviceObject"); got != "100" {
		t.Errorf("device %q", got)
	}
	if m.Kind() != uacsta.Request || m.Edition() != uacsta.Edition3 {
		t.Errorf("kind %v edition %d", m.Kind(), m.Edition())
	}
	m.SetNamespace(uacsta.Edition6.Namespace())
	if m.Edition() != uacsta.Edition6 {
		t.Errorf("edition %d after SetNamespace", m.Edition())
	}
}

func TestCrossRef(t *testing.T) {
	m := parse(t, `<HeldEvent><monitorCrossRefID> 7 </monitorCrossRefID><heldConnection><callID>1</callID></heldConnection></HeldEvent>`)
	if m.CrossRef() != "7" || m.Kind() != uacsta.Event {
		t.Errorf("%q %v", m.CrossRef(), m.Kind())
	}
	m.SetCrossRef("99fda87c")
	if m.CrossRef() != "99fda87c" {
		t.Errorf("%q", m.CrossRef())
	}
}

func TestEditions(t *testing.T) {
	for ns, want := range map[string]uacsta.Edition{
		"http://www.ecma-international.org/standards/ecma-323/csta/ed3":       3,
		"http://www.ecma-international.org/standards/ecma-323/csta/ed3/priv5": 3,
		"http://www.ecma-international.org/standards/ecma-323/csta/ed7":       7,
		"http://www.ecma.ch/standards/ecma-323/csta/ed2":                      2,
		"http://www.ecma-international.org/standards/ecma-323/csta/ed":        0,
		"http://www.ecma-international.org/standards/ecma-323/csta/ed33":      0,
		uacsta.NamespaceApplSession:                                           0,
		"":                                                                    0,
	} {
		if got := uacsta.EditionOf(ns); got != want {
			t.Errorf("%s: edition %d, want %d", ns, got, want)
		}
		if want == 2 && want.Namespace() != ns {
			t.Errorf("edition 2 is written as %s", want.Namespace())
		}
	}
	for e, want := range map[uacsta.Edition]uacsta.Edition{0: 3, 2: 3, 3: 3, 4: 3, 5: 3, 6: 6, 7: 6} {
		if e.Written() != want {
			t.Errorf("edition %d is written as %d", e, e.Written())
		}
	}
}

func TestErrors(t *testing.T) {
	refusal := uacsta.Refuse(uacsta.StateIncompatibility, uacsta.NoCallToAnswer)
	m := uacsta.ErrorMessage(refusal, uacsta.Edition3)
	want := `<CSTAErrorCode xmlns="http://www.ecma-international.org/standards/ecma-323/csta/ed3"><stateIncompatibility>noCallToAnswer</stateIncompatibility></CSTAErrorCode>`
	if m.String() != want {
		t.Errorf("%s", m)
	}
	if !errors.Is(m.Err(), refusal) || !m.Err().Known() {
		t.Errorf("read back as %v", m.Err())
	}
	if m := uacsta.ErrorMessage(errors.New("secret detail"), uacsta.Edition3); strings.Contains(m.String(), "secret") || m.Err().Category != uacsta.Unspecified {
		t.Errorf("an inner error shows: %s", m)
	}
	if uacsta.Refuse(uacsta.Operation, uacsta.NoCallToAnswer).Known() {
		t.Error("a value of another category passes as known")
	}
	sane := parse(t, `<CSTAErrorCode><systemResourceAvailability>generic</systemResourceAvailability></CSTAErrorCode>`).Err()
	if sane.Category != uacsta.SystemResourceAvailability {
		t.Errorf("the sane spelling is read as %s", sane.Category)
	}
	var e uacsta.MakeCall
	err := parse(t, `<MakeCall><callingDevice>1</callingDevice></MakeCall>`).Decode(&e)
	if !errors.Is(err, uacsta.Refuse(uacsta.Operation, uacsta.InvalidParameterValue)) {
		t.Errorf("missing child: %v", err)
	}
}

func parse(t *testing.T, doc string) *uacsta.Message {
	t.Helper()
	m, err := uacsta.Parse([]byte(doc))
	if err != nil {
		t.Fatalf("%v in %s", err, doc)
	}
	return m
}

// Every event that a filter can suppress can be put into one by its name.
func TestSuppress(t *testing.T) {
	for _, name := range uacsta.Names() {
		var f uacsta.MonitorFilter
		if f.Suppress(name) && (len(f.Suppressed()) != 1 || !f.Suppressed()[name]) {
			t.Errorf("%s: %v", name, f.Suppressed())
		}
	}
	var f uacsta.MonitorFilter
	if !f.Suppress("TransferedEvent") || !f.Suppress("AgentReadyEvent") || f.Suppress("MakeCall") || len(f.Suppressed()) != 2 {
		t.Errorf("%v", f.Suppressed())
	}
}
