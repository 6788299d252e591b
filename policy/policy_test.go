package policy

import (
	"net/netip"
	"slices"
	"testing"
)

func TestGrants(t *testing.T) {
	p := FromGrants(func(number string) bool { return len(number) == 3 },
		Grant{Who: "sip:alice@contoso.com", Control: []string{"100"}, Observe: []string{"10?"}},
		Grant{Who: "sip:*@contact.center", Control: []string{"2*"}, Dial: []string{"+1*"}},
		Grant{Who: "wallboard", Observe: []string{"1*"}},
		Grant{Who: "nothing"},
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
		{"sip:bob@contact.center", Observe, "217", "", true},
		{"sip:bob@contact.center", Observe, "100", "", false},
		{"sip:bob@contact.center", Control, "100", "", false},
		{"wallboard", Observe, "100", "", true},
		{"wallboard", Observe, "217", "", false},
		{"wallboard", Control, "100", "", false},
		{"nothing", Observe, "100", "", false},
		{"nothing", Control, "100", "", false},
		{"sip:bob@contact.center.evil", Control, "217", "", false},
		{"sip:mallory@contoso.com", Observe, "100", "", false},
		{"", Observe, "100", "", false},
	} {
		ask := Request{Who: Identity{Name: tt.who}, Action: tt.action, Device: num(t, tt.device)}
		if tt.dest != "" {
			ask.Destinations = []Number{num(t, tt.dest)}
		}
		d := p.Decide(ask)
		if d.Allowed != tt.want || d.Reason == "" || d.Destination != "" && d.Destination != tt.dest {
			t.Errorf("%s %s %s %s: %+v", tt.who, tt.action, tt.device, tt.dest, d)
		}
	}
	everybody := FromGrants(nil, Grant{Who: "*", Control: []string{"*"}})
	if everybody.Decide(Request{Device: num(t, "100")}).Allowed || everybody.Known(Identity{}) {
		t.Error("nobody is taken for somebody")
	}
	var nothing Policy
	if nothing.Decide(Request{Who: Identity{Name: "anybody"}, Device: num(t, "100")}).Allowed || nothing.Known(Identity{Name: "anybody"}) {
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
		{"192.0.2.1", []string{"www.contoso.com", "fe2.contoso.com"}, true},
		{"192.0.2.1", []string{""}, false},
		{"192.0.2.1", nil, false},
	} {
		if got := p.Trusts(netip.MustParseAddr(tt.addr), tt.names); got != tt.want {
			t.Errorf("%s %v: %v", tt.addr, tt.names, got)
		}
	}
}

// A peer that is trusted by certificate is not trusted by its address, and an empty Peer trusts
// nobody.
func TestTrustsOneOfTwo(t *testing.T) {
	addr := netip.MustParseAddr("10.1.2.3")
	for _, peer := range []Peer{{}, {Network: netip.MustParsePrefix("10.0.0.0/8"), Certificate: "fe.contoso.com"}} {
		if (&Policy{Trusted: []Peer{peer}}).Trusts(addr, nil) {
			t.Errorf("%+v is believed", peer)
		}
	}
}

// An address may connect if it is allowed and not denied; without Allow, if it is not denied.
func TestAdmits(t *testing.T) {
	networks := func(list ...string) (prefixes []netip.Prefix) {
		for _, s := range list {
			prefixes = append(prefixes, netip.MustParsePrefix(s))
		}
		return prefixes
	}
	for _, tt := range []struct {
		allow, deny []netip.Prefix
		admitted    []string
	}{
		{nil, nil, []string{"10.0.0.1", "10.0.1.1", "192.0.2.1", "2001:db8::1"}},
		{networks("10.0.0.0/16", "2001:db8::/32"), nil, []string{"10.0.0.1", "10.0.1.1", "2001:db8::1"}},
		{nil, networks("192.0.2.0/24", "10.0.1.1/32"), []string{"10.0.0.1", "2001:db8::1"}},
		{networks("10.0.0.0/16"), networks("10.0.1.0/24"), []string{"10.0.0.1"}},
		{networks("10.0.1.0/24"), networks("10.0.0.0/16"), nil},
	} {
		p := &Policy{Allow: tt.allow, Deny: tt.deny}
		for _, addr := range []string{"10.0.0.1", "10.0.1.1", "192.0.2.1", "2001:db8::1"} {
			if got := p.Admits(netip.MustParseAddr(addr)); got != slices.Contains(tt.admitted, addr) {
				t.Errorf("allow %v, deny %v: %s is admitted: %v", tt.allow, tt.deny, addr, got)
			}
		}
	}
}

// An identity with an allowing rule is known; one with denying rules only is not.
func TestKnown(t *testing.T) {
	p := &Policy{Groups: map[string][]string{"agents": {"crm"}}, Rules: []Rule{{Who: []string{"thief"}, Deny: true}, {Who: []string{"wallboard", "group:agents"}}}}
	for name, want := range map[string]bool{"wallboard": true, "crm": true, "thief": false, "nobody": false, "": false} {
		if got := p.Known(Identity{Name: name}); got != want {
			t.Errorf("%q is known: %v", name, got)
		}
	}
	if !(&Policy{Demo: true}).Known(Identity{}) {
		t.Error("somebody is unknown in demo mode")
	}
}

// Identities and actions have a text for logs and responses.
func TestTexts(t *testing.T) {
	for got, want := range map[string]string{
		Identity{}.String(): "nobody", Identity{How: "demo"}.String(): "nobody", Identity{"crm", "account"}.String(): "crm (account)",
		Observe.String(): "observe", Control.String(): "control",
	} {
		if got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	classes := Classes()
	if !slices.IsSorted(classes) || !slices.Contains(classes, "control") || !slices.Contains(classes, "observe") || !slices.Contains(classes, "new-calls") {
		t.Error(classes)
	}
}

// Patterns ignore case, and * matches slashes.
func TestPatterns(t *testing.T) {
	for _, tt := range []struct {
		pattern, name string
		want          bool
	}{
		{"*", "", true}, {"*", "a/b", true}, {"CRM", "crm", true}, {"crm", "CRM", true}, {"sip:*@x", "sip:a/b@x", true}, {"a/b", "a/b", true},
		{"a?", "a", false}, {"[", "[", false}, {"", "a", false},
	} {
		if got := match(tt.pattern, tt.name); got != tt.want {
			t.Errorf("%q fits %q: %v", tt.pattern, tt.name, got)
		}
	}
	for pattern, want := range map[string]bool{"a*": true, "": false, "[": false, "[a": false} {
		if ValidPattern(pattern) != want {
			t.Errorf("%q is valid: %v", pattern, !want)
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
		"sip:[2001:db8::1]":             "sip:[2001:db8::1]",
		"sip:contoso.com:5060":          "sip:contoso.com",
		" sip:alice@contoso.com:5060 ;": "sip:alice@contoso.com",
	} {
		if got := IdentityOf(uri); got != want {
			t.Errorf("%s: %s, want %s", uri, got, want)
		}
	}
}

// The right to administer is that of the identities of grants that say so, of everybody in demo mode, and of nobody else. It makes an
// identity known, and gives it no device.
func TestAdministers(t *testing.T) {
	p := FromGrants(nil, Grant{Who: "alice", Administer: true}, Grant{Who: "ops-*", Administer: true}, Grant{Who: "crm", Control: []string{"*"}})
	for name, want := range map[string]bool{"alice": true, "Alice": true, "ops-1": true, "alice2": false, "crm": false, "": false} {
		if got := p.Administers(Identity{Name: name, How: "account"}); got != want {
			t.Errorf("%s: %v", name, got)
		}
	}
	if alice := (Identity{Name: "alice", How: "token"}); !p.Known(alice) || p.Decide(Request{Who: alice}).Allowed {
		t.Error("an administrator is not known, or may observe")
	}
	demo := &Policy{Demo: true}
	if !demo.Administers(Identity{Name: "admin"}) || demo.Administers(Identity{}) {
		t.Error("in demo mode somebody may not administer, or nobody may")
	}
	if (&Policy{}).Administers(Identity{Name: "alice"}) {
		t.Error("somebody administers by default")
	}
}
