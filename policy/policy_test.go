package policy

import (
	"net/netip"
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
		ask := Ask{Who: Identity{Name: tt.who}, Action: tt.action, Device: num(t, tt.device)}
		if tt.dest != "" {
			ask.Destinations = []Number{num(t, tt.dest)}
		}
		d := p.Decide(ask)
		if d.Allowed != tt.want || d.Reason == "" || d.Destination != "" && d.Destination != tt.dest {
			t.Errorf("%s %s %s %s: %+v", tt.who, tt.action, tt.device, tt.dest, d)
		}
	}
	everybody := FromGrants(nil, Grant{Who: "*", Control: []string{"*"}})
	if everybody.Decide(Ask{Device: num(t, "100")}).Allowed || everybody.Known(Identity{}) {
		t.Error("nobody is taken for somebody")
	}
	var nothing Policy
	if nothing.Decide(Ask{Who: Identity{Name: "anybody"}, Device: num(t, "100")}).Allowed || nothing.Known(Identity{Name: "anybody"}) {
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
