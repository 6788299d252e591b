package policy

import (
	"errors"
	"regexp"
	"strings"
	"testing"
)

// num parses a canonical number.
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

// ours has the extensions 100 to 199 under a main number.
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
		{with, "N<100!98>", "100", "tel:+14255550100"},
		{with, "N<2001!98>;displayNumber=2001", "2001", "tel:2001;phone-context=dialstring"},
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

// Unknown forms are refused and never passed on.
func TestInvalidNumbers(t *testing.T) {
	n := ours()
	for _, written := range []string{
		"", " ", "+", "-", "0123@127.0.0.66:5066?", "01@x SIP/2.0\r\nX-Evil: injected", "0%39%30%30123", "0/900123", "0;phone-context=+1900", "0123;transport=tcp",
		"N<0900", "N<+0900>x", "N<100>Line;x=y", "N<201!>", "N<!98>", "N<201!98!1>", "N<201!+98>", "N<201!a>", "N<201!98&1>", "N<201&1>", "N<201/7>", "N<201%4>", "N<201!98>x", "N<>", "tel:%30900", "tel:tel:100", "tel:", "tel:alice", "tel:100;ext=1;ext=2", "http:alice@x", "im:alice@x", "N<lobby>", "N<*21#>", "tel:100;isub=1", "tel:100;ext=1%30", "tel:100;phone-context=",
		"sip:", "sip:100", "sip:@x", "sip:100@", "sip:1%3000@x", "sip:100@x?Replaces=y", "sip:100@x;maddr=y", "sip:100@x;method=INVITE", "sip:sip:100@x", "sip:100@x y", "sip:a b@x", "sip:alice;ext=100@x",
		"\uff10\uff19\uff10\uff10", "0900\u00a0", "\u0660900", "09\x0000", "1+00", "++1", "100\n101", "J\u00fcrgen", "a b", "a,b", "a\"b", "{a}", "'a'", "$a", "a|b", "a@b", "+49 (0) 89 4711", "+49(0)894711", "+49 ( 0 ) 89", "tel:+49(0)894711", "sip:+49(0)894711@x", "(+49) (0) 89",
		strings.Repeat("1", maxNumber+1), strings.Repeat("a", maxNumber+1), "sip:" + strings.Repeat("a", 300) + "@x", "deviceNumber:", "deviceNumber:a", "dynamic:", "dynamic:0G", "deviceNumber:+1", "_a", ".a",
	} {
		if got, err := n.Parse(written, ""); err == nil || !errors.Is(err, ErrNumber) || !got.IsZero() {
			t.Errorf("%q is taken for %q: %v", written, got, err)
		}
	}
}

// The typeOfNumber in XML and ASN.1 is applied or refused.
func TestTypes(t *testing.T) {
	for _, tt := range []struct{ written, kind, want string }{
		{"100", "dialingNumber", "100"}, {"100", "implicitPublic", "100"}, {"100", "implicitPrivate", "100"}, {"100", "explicitPublic:unknown", "100"}, {"100", "explicitPrivate:unknown", "100"}, {"100", "explicitPrivate:localNumber", "100"},
		{"0900555", "explicitPublic:international", "+0900555"}, {"1", "explicitPublic:international", "+1"}, {"9900555", "explicitPublic:international", "+9900555"}, {"*21#", "explicitPublic:international", "*21#"}, {"#21#", "explicitPublic:international", "#21#"}, {"alice", "explicitPublic:international", "alice"}, {"+7", "deviceNumber", "+7"},
		{"1 (900) 555", "explicitPublic:international", "+1900555"}, {"", "explicitPublic:international", ""}, {"100", "other", "100"}, {"100", "explicitPublic:subscriber", "100"}, {"14255550100", "explicitPublic:international", "100"},
		{"1900555", "explicitPublic:international", "+1900555"}, {"+1900555", "explicitPublic:international", "+1900555"}, {"7", "deviceNumber", "deviceNumber:7"}, {"02sales", "deviceNumber", "02sales"}, {"0A1F", "dynamic", "dynamic:0A1F"},
		{"900555", "explicitPublic:national", ""}, {"12", "explicitPublic:abbreviated", ""}, {"12", "explicitPrivate:level3RegionalNumber", ""}, {"12", "nonsense", ""},
	} {
		n, err := ours().Parse(tt.written, tt.kind)
		if (err == nil) != (tt.want != "") || n.String() != tt.want {
			t.Errorf("%s as %s is %q %v, want %q", tt.written, tt.kind, n, err, tt.want)
		}
	}
	for canonical, want := range map[string][2]string{
		"deviceNumber:7": {"7", "deviceNumber"}, "dynamic:0A1F": {"0A1F", "dynamic"}, "100": {"100", ""}, "sip:alice@contoso.com": {"sip:alice@contoso.com", ""}, "deviceNumber": {"deviceNumber", ""},
	} {
		if text, kind := Element(canonical); text != want[0] || kind != want[1] {
			t.Errorf("%s is written as %q of the kind %q", canonical, text, kind)
		}
	}
}

// Numbers and names have a limited length.
func TestLongNumbers(t *testing.T) {
	n := ours()
	for _, tt := range []struct {
		before, char, behind string
		most                 int
	}{
		{"", "2", "", 64}, {"tel:", "2", "", 64}, {"+", "2", "", 63}, {"", "a", "", 64}, {"deviceNumber:", "7", "", 64}, {"dynamic:", "A", "", 64},
		{"sip:", "a", "@x", 64}, {"sip:alice@", "x", "", 255 - len("sip:alice@")},
	} {
		if _, err := n.Parse(tt.before+strings.Repeat(tt.char, tt.most)+tt.behind, ""); err != nil {
			t.Errorf("%s%s...%s of %d is refused: %v", tt.before, tt.char, tt.behind, tt.most, err)
		}
		if got, err := n.Parse(tt.before+strings.Repeat(tt.char, tt.most+1)+tt.behind, ""); !errors.Is(err, ErrNumber) {
			t.Errorf("%s is taken", got)
		}
	}
}

// Every character that a form allows is accepted, and its neighbours are not.
func TestCharacters(t *testing.T) {
	n := &Numbers{}
	for _, tt := range []struct{ before, behind, taken, refused string }{
		{"a", "a", "azAZ09._-", "`{@[/:, &"},
		{"", "a", "azAZ09", "`{@[/:,&._-"},
		{"2", "", "09*# -.()", "/:,;$"},
		{"sip:alice@", "", "azAZ09.-:[]", "`{/,_&\\"},
		{"tel:2;ext=", "", "azAZ09+-.()*#_", "`{@[/:,&"}, // what the value is, is another question
		{"dynamic:", "", "09AF", "/:@Gaf"},
		{"deviceNumber:", "", "09", "/:aA"},
	} {
		for _, c := range tt.taken + tt.refused {
			written := tt.before + string(c) + tt.behind
			_, err := n.Parse(written, "")
			taken := err == nil || strings.HasSuffix(err.Error(), "its ext is no number")
			if want := strings.ContainsRune(tt.taken, c); taken != want {
				t.Errorf("%q is taken: %v (%v)", written, taken, err)
			}
		}
	}
}

// The error names what is wrong.
func TestReasonsForInvalidNumbers(t *testing.T) {
	rule, err := ParseNumberRule("/7(.*)/", 0, "", "x$1")
	if err != nil {
		t.Fatal(err)
	}
	n := ours()
	n.Rules = NumberRules{rule}
	for _, name := range []string{"tel", "sip", "sips", "dynamic", "N"} { // without a colon these are names
		if got, err := n.Parse(name, ""); err != nil || got.String() != name {
			t.Errorf("%q is %q: %v", name, got, err)
		}
	}
	for written, want := range map[string]string{
		"712":                            "the number rules turn it into something else",
		"tel:712":                        "the number rules turn it into something else",
		"N<712>":                         "the number rules turn it into something else",
		"tel:100;ext=x":                  "its ext is no number",
		"tel:4;phone-context=+":          "its phone-context is no number",
		"tel:4;phone-context=+x":         "its phone-context is no number",
		"tel:4;user":                     "the parameter user is given twice, or has no valid value",
		"tel:4;EXT=1;ext=2":              "the parameter ext is given twice, or has no valid value",
		"tel:4;isub=1":                   "it has an unknown parameter",
		"tel:;ext=100":                   "tel: without a number",
		"sip:100@x;user=phone;maddr=y":   "it has an unknown parameter",
		"sip:100;isub=1@x":               "it has an unknown parameter",
		"sip:100@x%20":                   "a SIP URI with headers or escapes",
		"sip:@x":                         "a SIP URI without a user or a host",
		"sip:alice;phone-context=+1@x":   "the user of a SIP URI is neither a number nor a name",
		"N<100":                          "N<> without a number, or with more than a subaddress",
		"N<100>displayNumber=1":          "text after N<>",
		"N<100>;x=1":                     "it has an unknown parameter",
		"deviceNumber:x":                 "a device number consists of digits",
		"dynamic:x":                      "a dynamic device identifier consists of hexadecimal digits",
		"a,b":                            `it has letters, and a name cannot have ','`,
		"abc def":                        `it has letters, and a name cannot have ' '`,
		"_a":                             `it has letters, and a name cannot begin with '_'`,
		"089/4711":                       `a number cannot have '/'`,
		"0900\u00a0":                     `a number cannot have '\u00a0'`,
		"1+2":                            "a number has + in front only",
		"-":                              "it has no digits",
		"":                               "it is empty",
		"+49 (0) 89 4711":                "(0) after + is dialled in some countries and not in others; write the number without it, or 0 without parentheses",
		strings.Repeat("a", maxNumber+1): "it is too long",
		strings.Repeat("2", maxNumber+1): "it is too long",
	} {
		if got, err := n.Parse(written, ""); err == nil || err.Error() != "cannot be read as a number: "+want {
			t.Errorf("%q is %q: %v", written, got, err)
		}
	}
	if _, err := n.Parse("1", "explicitPublic:national"); err == nil || !strings.Contains(err.Error(), `its typeOfNumber "explicitPublic:national" is not supported`) {
		t.Error(err)
	}
}

// A number reports whether it can be dialled, and whether there is one.
func TestKinds(t *testing.T) {
	n := ours()
	for written, dialable := range map[string]bool{
		"100": true, "+14255559999": true, "*21#": true, "tel:4711": true, "sip:4711@x": true, "tel:4711;ext=100": true, "N<4711>": true,
		"lobby": false, "lobby2": false, "sip:alice@x": false, "sips:alice@x": false, "deviceNumber:7": false, "dynamic:7": false, "0meet": false,
	} {
		number, err := n.Parse(written, "")
		if err != nil || number.Dialable() != dialable || number.IsZero() {
			t.Errorf("%s: %v can be dialled: %v (%v)", written, number, number.Dialable(), err)
		}
	}
	if !(Number{}).IsZero() || (Number{}).Dialable() || Whole.IsZero() || Whole.Dialable() {
		t.Error("the zero number, or the whole switch, is taken for something else")
	}
	for device, want := range map[string]bool{"100": true, "lobby": true, "200": false, "": false} {
		if n.Known(device) != want {
			t.Errorf("%q is a device of the switch: %v", device, !want)
		}
	}
	if (&Numbers{}).Known("100") || (&Numbers{Extensions: func(string) bool { return true }}).Known("") {
		t.Error("without extensions there is one, or nothing is one")
	}
}

// Whole is no device: only patterns that match everything match it, and no peer can write it.
func TestWhole(t *testing.T) {
	star := num(t, "*")
	if star == Whole || !star.Dialable() {
		t.Error("a client can name the whole switch")
	}
	for pattern, want := range map[string]bool{"*": true, "?": false, "1*": false, "/.*/": false, "own": false, "100": false} {
		p := &Policy{Rules: []Rule{{Who: []string{"a"}, Devices: []string{pattern}}}, Lines: func(string) []string { return []string{"*"} }}
		if got := p.Decide(Request{Who: Identity{Name: "a"}, Device: Whole}).Allowed; got != want {
			t.Errorf("%s: %v", pattern, got)
		}
	}
}

// canonicalForm matches every form that a number may have.
var canonicalForm = regexp.MustCompile(`^(\+?[0-9*#]{1,64}|[A-Za-z0-9][A-Za-z0-9._-]{0,63}|sips?:[A-Za-z0-9][A-Za-z0-9._-]*@[a-z0-9.:\[\]-]+|deviceNumber:[0-9]+|dynamic:[0-9A-F]+)$`)

// FuzzNumbers: an accepted number has one of a few forms, parses as itself, and is shown to clients in
// a form that parses as it.
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
