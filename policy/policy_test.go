package policy

import (
	"net/netip"
	"strings"
	"testing"
)

func TestGrants(t *testing.T) {
	p := FromGrants(func(number string) bool { return len(number) == 3 },
		Grant{Who: "sip:alice@contoso.com", Control: []string{"100"}, Observe: []string{"10?"}},
		Grant{Who: "sip:*@contact.center", Control: []string{"2*"}, Dial: []string{"+1*"}},
	)
	for _, tt := range []struct {
		who          string
		action       Action
		device, dest string
		want         bool
	}{
		{"sip:alice@contoso.com", Control, "100", "", true},
		{"sip:alice@contoso.com", Observe, "100", "", true},
		{"sip:alice@contoso.com", Observe, "107", "", true},
		{"sip:alice@contoso.com", Observe, "1070", "", false},
		{"sip:alice@contoso.com", Control, "107", "", false},
		{"sip:alice@contoso.com", Control, "100", "555", true},
		{"sip:alice@contoso.com", Control, "100", "+19005550100", false},
		{"sip:bob@contact.center", Control, "217", "", true},
		{"sip:bob@contact.center", Control, "217", "+14255550100", true},
		{"sip:bob@contact.center", Control, "217", "217", false},
		{"sip:bob@contact.center.evil", Control, "217", "", false},
		{"sip:mallory@contoso.com", Observe, "100", "", false},
		{"", Observe, "100", "", false},
	} {
		ask := Ask{Who: Identity{Name: tt.who}, Action: tt.action, Device: tt.device}
		if tt.dest != "" {
			ask.Destinations = []string{tt.dest}
		}
		d := p.Decide(ask)
		if d.Allowed != tt.want || d.Reason == "" || d.Destination != "" && d.Destination != tt.dest {
			t.Errorf("%s %s %s %s: %+v", tt.who, tt.action, tt.device, tt.dest, d)
		}
	}
	everybody := FromGrants(nil, Grant{Who: "*", Control: []string{"*"}})
	if everybody.Decide(Ask{Device: "100"}).Allowed || everybody.Known(Identity{}) {
		t.Error("nobody is taken for somebody")
	}
	var nothing Policy
	if nothing.Decide(Ask{Who: Identity{Name: "anybody"}, Device: "100"}).Allowed || nothing.Known(Identity{Name: "anybody"}) {
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
