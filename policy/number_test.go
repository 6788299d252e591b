package policy

import (
	"errors"
	"regexp"
	"strings"
	"testing"
)

// num reads a canonical number.
func num(t testing.TB, text string) Number {
	t.Helper()
	if text == "" {
		return Number{}
	}
	n, err := (&Numbers{}).Parse(text, "")
	if err != nil || n.String() != text {
		t.Fatalf("%q: %v %v", text, n, err)
	}
	return n
}

// ours has the extensions 100 to 199, which stand under a main number.
func ours() *Numbers {
	return &Numbers{Main: "+14255550", Extensions: func(n string) bool {
		return len(n) == 3 && n[0] == '1' && strings.Trim(n, "0123456789") == "" || n == "lobby" || n == "0meet"
	}}
}

func TestNumbers(t *testing.T) {
	with, without := ours(), &Numbers{Extensions: ours().Extensions}
	for _, tt := range []struct {
		n               *Numbers
		written, device string
		client          string
	}{
		{with, "tel:+14255550100;ext=100", "100", "tel:+14255550100"},
		{with, "tel:+14255550100", "100", "tel:+14255550100"},
		{with, "TEL:+1 (425) 555-0100", "100", "tel:+14255550100"},
		{with, "100", "100", "tel:+14255550100"},
		{with, "\r\n 100\t", "100", "tel:+14255550100"},
		{with, "sip:100@pbx.example;user=phone", "100", "tel:+14255550100"},
		{with, "sip:+14255550100;ext=100@pbx.example;user=phone", "100", "tel:+14255550100"},
		{with, "SIP:(425)-555@PBX.example:5060;transport=tcp", "425555", "tel:425555;phone-context=dialstring"},
		{with, "tel:+14255559999", "+14255559999", "tel:+14255559999"},
		{with, "tel:+14255550999", "+14255550999", "tel:+14255550999"},
		{with, "tel:73124;phone-context=dialstring;device=SEP0002FD3BB5C5;partition=BE_BRS_INT", "73124", "tel:73124;phone-context=dialstring"},
		{with, "N<100>", "100", "tel:+14255550100"},
		{with, "N<302118840101>;displayNumber=302118840101;noa=nk", "302118840101", "tel:302118840101;phone-context=dialstring"},
		{with, "sip:Alice@Contoso.com", "sip:Alice@contoso.com", "sip:Alice@contoso.com"},
		{with, "lobby", "lobby", "lobby"},
		{with, "02sales", "02sales", "02sales"},
		{with, "deviceNumber:7", "deviceNumber:7", "deviceNumber:7"},
		{without, "tel:100", "100", "tel:100;phone-context=dialstring"},
		{without, "tel:+14255550100;ext=100", "100", "tel:100;phone-context=dialstring"},
		{without, "tel:+14255550100", "+14255550100", "tel:+14255550100"},
		{without, "*21#", "*21#", "tel:*21#;phone-context=dialstring"},
	} {
		device, err := tt.n.Parse(tt.written, "")
		if err != nil || device.String() != tt.device {
			t.Errorf("%q is %q %v, want %q", tt.written, device, err, tt.device)
			continue
		}
		shown := tt.n.Client(device.String())
		if shown != tt.client {
			t.Errorf("%q is shown as %q, want %q", device, shown, tt.client)
		}
		for _, again := range []string{shown, device.String()} {
			if n, err := tt.n.Parse(again, ""); err != nil || n != device {
				t.Errorf("%q does not come back from %q: %v %v", device, again, n, err)
			}
		}
	}
}

// What is not understood is refused, and never passed on as it came.
func TestNoNumbers(t *testing.T) {
	n := ours()
	for _, written := range []string{
		"", " ", "+", "-", "0123@127.0.0.66:5066?", "01@x SIP/2.0\r\nX-Evil: injected", "0%39%30%30123", "0/900123", "0;phone-context=+1900", "0123;transport=tcp",
		"N<0900", "N<+0900>x", "N<100>Line;x=y", "N<201!98>", "N<>", "tel:%30900", "tel:tel:100", "tel:", "tel:alice", "tel:100;ext=1;ext=2", "tel:100;isub=1", "tel:100;ext=1%30", "tel:100;phone-context=",
		"sip:", "sip:100", "sip:@x", "sip:100@", "sip:1%3000@x", "sip:100@x?Replaces=y", "sip:100@x;maddr=y", "sip:100@x;method=INVITE", "sip:sip:100@x", "sip:100@x y", "sip:a b@x", "sip:alice;ext=100@x",
		"\uff10\uff19\uff10\uff10", "0900\u00a0", "\u0660900", "09\x0000", "1+00", "++1", "100\n101", "J\u00fcrgen", "a b", "a,b", "a\"b", "{a}", "'a'", "$a", "a|b", "a@b",
		strings.Repeat("1", maxNumber+1), strings.Repeat("a", maxNumber+1), "sip:" + strings.Repeat("a", 300) + "@x", "deviceNumber:", "deviceNumber:a", "dynamic:", "dynamic:0G", "deviceNumber:+1", "_a", ".a",
	} {
		if got, err := n.Parse(written, ""); err == nil || !errors.Is(err, ErrNumber) || !got.IsZero() {
			t.Errorf("%q is taken for %q: %v", written, got, err)
		}
	}
}

// The kind of a number that XML and ASN.1 say is understood, or refused.
func TestTypes(t *testing.T) {
	for _, tt := range []struct{ written, kind, want string }{
		{"100", "dialingNumber", "100"}, {"100", "other", "100"}, {"100", "explicitPublic:subscriber", "100"}, {"14255550100", "explicitPublic:international", "100"},
		{"1900555", "explicitPublic:international", "+1900555"}, {"+1900555", "explicitPublic:international", "+1900555"}, {"7", "deviceNumber", "deviceNumber:7"}, {"02sales", "deviceNumber", "02sales"}, {"0A1F", "dynamic", "dynamic:0A1F"},
		{"900555", "explicitPublic:national", ""}, {"12", "explicitPublic:abbreviated", ""}, {"12", "explicitPrivate:level3RegionalNumber", ""}, {"12", "nonsense", ""},
	} {
		n, err := ours().Parse(tt.written, tt.kind)
		if (err == nil) != (tt.want != "") || n.String() != tt.want {
			t.Errorf("%s as %s is %q %v, want %q", tt.written, tt.kind, n, err, tt.want)
		}
	}
	if text, kind := Element("deviceNumber:7"); text != "7" || kind != "deviceNumber" {
		t.Error(text, kind)
	}
}

// Whole is no device: only patterns that fit everything fit it, and nobody can write it.
func TestWhole(t *testing.T) {
	star := num(t, "*")
	if star == Whole || !star.Dialable() {
		t.Error("a client can name the whole switch")
	}
	for pattern, want := range map[string]bool{"*": true, "?": false, "1*": false, "/.*/": false, "own": false, "100": false} {
		p := &Policy{Rules: []Rule{{Who: []string{"a"}, Devices: []string{pattern}}}, Lines: func(string) []string { return []string{"*"} }}
		if got := p.Decide(Ask{Who: Identity{Name: "a"}, Device: Whole}).Allowed; got != want {
			t.Errorf("%s: %v", pattern, got)
		}
	}
}

// canonicalForm is every form that a number may have.
var canonicalForm = regexp.MustCompile(`^(\+?[0-9*#]{1,64}|[A-Za-z0-9][A-Za-z0-9._-]{0,63}|sips?:[A-Za-z0-9][A-Za-z0-9._-]*@[a-z0-9.:\[\]-]+|deviceNumber:[0-9]+|dynamic:[0-9A-F]+)$`)

// FuzzNumbers: whatever is accepted has one of a few forms, reads back as itself, and is shown
// to clients as something that means it.
func FuzzNumbers(f *testing.F) {
	for _, s := range []string{"tel:+14255550100;ext=100", "sip:100@x", "tel:", ";;", "N<1>", "+", "TEL:+1 (425) 555-0100", "deviceNumber:7", "0900@x", "sips:a.b@[::1]:5061;user=phone"} {
		f.Add(s, "")
	}
	f.Add("1900", "explicitPublic:international")
	n := ours()
	f.Fuzz(func(t *testing.T, s, kind string) {
		_ = IdentityOf(s)
		c, err := n.Parse(s, kind)
		if err != nil {
			return
		}
		if !canonicalForm.MatchString(c.String()) {
			t.Fatalf("%q is %q", s, c)
		}
		for _, written := range []string{c.String(), n.Client(c.String())} {
			if again, err := n.Parse(written, ""); err != nil || again != c {
				t.Fatalf("%q -> %q -> %q -> %q %v", s, c, written, again, err)
			}
		}
		text, typ := Element(c.String())
		if again, err := n.Parse(text, typ); err != nil || again != c {
			t.Fatalf("%q is written as %q (%s), which is %q %v", c, text, typ, again, err)
		}
		match(s, c.String())
	})
}
