package policy

import (
	"net/netip"
	"strings"
	"testing"
)

func TestAllows(t *testing.T) {
	p := &Policy{Grants: []Grant{
		{Who: "sip:alice@contoso.com", Control: []string{"100"}, Observe: []string{"10?"}},
		{Who: "sip:*@contact.center", Control: []string{"2*"}, Dial: []string{"+1*"}},
	}}
	for _, tt := range []struct {
		who    string
		action Action
		device string
		known  bool
		want   bool
	}{
		{"sip:alice@contoso.com", Control, "100", true, true},
		{"sip:alice@contoso.com", Observe, "100", true, true},
		{"sip:alice@contoso.com", Observe, "107", true, true},
		{"sip:alice@contoso.com", Observe, "1070", true, false},
		{"sip:alice@contoso.com", Control, "107", true, false},
		{"sip:alice@contoso.com", Dial, "555", true, true},
		{"sip:alice@contoso.com", Dial, "+19005550100", false, false},
		{"sip:bob@contact.center", Control, "217", true, true},
		{"sip:bob@contact.center", Dial, "+14255550100", false, true},
		{"sip:bob@contact.center", Dial, "217", true, false},
		{"sip:bob@contact.center.evil", Control, "217", true, false},
		{"sip:mallory@contoso.com", Observe, "100", true, false},
		{"", Observe, "100", true, false},
	} {
		d := p.Allows(Identity{Name: tt.who}, tt.action, tt.device, tt.known)
		if d.Allowed != tt.want || d.Reason == "" {
			t.Errorf("%s %s %s: %+v", tt.who, tt.action, tt.device, d)
		}
	}
	everybody := &Policy{Grants: []Grant{{Who: "*", Control: []string{"*"}}}}
	if everybody.Allows(Identity{}, Observe, "100", true).Allowed || everybody.Known(Identity{}) {
		t.Error("nobody is taken for somebody")
	}
	var nothing Policy
	if nothing.Allows(Identity{Name: "anybody"}, Observe, "100", true).Allowed || nothing.Known(Identity{Name: "anybody"}) {
		t.Error("the zero policy allows something")
	}
}

func TestTrusts(t *testing.T) {
	p := &Policy{Trusted: []Peer{{Network: netip.MustParsePrefix("10.1.0.0/16")}, {Certificate: "fe*.contoso.com"}}}
	for _, tt := range []struct {
		addr  string
		names []string
		want  bool
	}{
		{"10.1.2.3", nil, true},
		{"10.2.2.3", nil, false},
		{"192.0.2.1", []string{"fe1.contoso.com"}, true},
		{"192.0.2.1", []string{"FE1.CONTOSO.COM"}, true},
		{"192.0.2.1", []string{"www.contoso.com"}, false},
		{"192.0.2.1", nil, false},
	} {
		if got := p.Trusts(netip.MustParseAddr(tt.addr), tt.names); got != tt.want {
			t.Errorf("%s %v: %v", tt.addr, tt.names, got)
		}
	}
}

func TestIdentityOf(t *testing.T) {
	for uri, want := range map[string]string{
		"sip:Alice@Contoso.com;epid=1":  "sip:alice@contoso.com",
		"sips:alice@contoso.com:5061":   "sip:alice@contoso.com",
		"sip:alice@[2001:db8::1]:5060":  "sip:alice@[2001:db8::1]",
		"tel:+14255550100;ext=100":      "tel:+14255550100",
		"sip:alice@contoso.com?x=y":     "sip:alice@contoso.com",
		"sip:alice:secret@contoso.com":  "sip:alice:secret@contoso.com",
		" sip:alice@contoso.com:5060 ;": "sip:alice@contoso.com",
	} {
		if got := IdentityOf(uri); got != want {
			t.Errorf("%s: %s, want %s", uri, got, want)
		}
	}
}

func TestNumbers(t *testing.T) {
	with := &Numbers{Main: "+14255550", Extensions: func(n string) bool { return len(n) == 3 && n[0] == '1' }}
	without := &Numbers{Extensions: with.Extensions}
	for _, tt := range []struct {
		n               *Numbers
		written, device string
		client          string
	}{
		{with, "tel:+14255550100;ext=100", "100", "tel:+14255550100"},
		{with, "tel:+14255550100", "100", "tel:+14255550100"},
		{with, "TEL:+1 (425) 555-0100", "100", "tel:+14255550100"},
		{with, "100", "100", "tel:+14255550100"},
		{with, "sip:100@pbx.example;user=phone", "100", "tel:+14255550100"},
		{with, "tel:+14255559999", "+14255559999", "tel:+14255559999"},
		{with, "tel:+14255550999", "+14255550999", "tel:+14255550999"},
		{with, "tel:73124;phone-context=dialstring;partition=BE_BRS_INT", "73124", "tel:73124;phone-context=dialstring"},
		{with, "N<100>Line;x=y", "N<100>Line;x=y", "N<100>Line;x=y"},
		{with, "sip:alice@contoso.com", "sip:alice@contoso.com", "sip:alice@contoso.com"},
		{with, "", "", ""},
		{without, "tel:100", "100", "tel:100;phone-context=dialstring"},
		{without, "tel:+14255550100;ext=100", "100", "tel:100;phone-context=dialstring"},
		{without, "tel:+14255550100", "+14255550100", "tel:+14255550100"},
		{without, "*21#", "*21#", "tel:*21#;phone-context=dialstring"},
	} {
		device := tt.n.Canonical(tt.written)
		if device != tt.device {
			t.Errorf("%q is %q, want %q", tt.written, device, tt.device)
		}
		if got := tt.n.Client(device); got != tt.client {
			t.Errorf("%q is shown as %q, want %q", device, got, tt.client)
		}
		if again := tt.n.Canonical(tt.n.Client(device)); again != device {
			t.Errorf("%q does not come back: %q", device, again)
		}
		if tt.n.Canonical(device) != device {
			t.Errorf("%q is not stable", device)
		}
	}
}

// FuzzNumbers: translation is total and settles.
func FuzzNumbers(f *testing.F) {
	for _, s := range []string{"tel:+14255550100;ext=100", "sip:100@x", "tel:", ";;", "N<1>", "+", "TEL:+1 (425) 555-0100"} {
		f.Add(s)
	}
	n := &Numbers{Main: "+14255550", Extensions: func(n string) bool { return len(n) == 3 && strings.Trim(n, "0123456789") == "" }}
	f.Fuzz(func(t *testing.T, s string) {
		c := n.Canonical(s)
		if again := n.Canonical(c); n.Canonical(again) != again {
			t.Fatalf("%q -> %q -> %q", s, c, again)
		}
		_ = n.Client(c)
		_ = IdentityOf(s)
		match(s, c)
	})
}
