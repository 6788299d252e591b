package config_test

import (
	"reflect"
	"strings"
	"testing"

	"github.com/tr87proxy/tr87proxy/internal/config"
	"github.com/tr87proxy/tr87proxy/internal/daemon"
)

// The settings of a kind have keys of their own: none hides one that every entry has, or another one of theirs.
func TestKeysOfKinds(t *testing.T) {
	for _, k := range daemon.Kinds().Links {
		seen := map[string]bool{}
		for _, key := range config.Keys(config.Kinds{Links: []config.LinkKind{k}}) {
			if strings.HasPrefix(key, "links[0].") && seen[key] {
				t.Errorf("type %s has %s twice", k.Name(), key)
			}
			seen[key] = true
		}
	}
}

// So have those of fronts.
func TestKeysOfFronts(t *testing.T) {
	seen := map[string]bool{}
	for _, key := range config.Keys(daemon.Kinds()) {
		if !strings.HasPrefix(key, "links[0].") && seen[key] {
			t.Errorf("%s is there twice", key)
		}
		seen[key] = true
	}
	if !seen["sip.listen[0].address"] || !seen["xml.max-connections-per-peer"] || !seen["application-sessions.asn1"] {
		t.Error("the keys of fronts are none of the file's")
	}
}

// An entry gets the settings of its kind, and devices that follow from them.
func TestLinkSettings(t *testing.T) {
	c, err := config.Parse("x", []byte(good+`
links:
- {name: plain, addresses: [a], devices: ["1??"]}
- {name: cards, type: ctserver, addresses: [a], ports: [{number: "201", port: 1}, {number: "202", port: 2}]}
- {name: desks, type: phones, listen: [{transport: tls, certificate: c, key: k}], accounts: [{number: "301", password: x}], devices: ["3??"]}
`), daemon.Kinds())
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []struct {
		kind    string
		devices []string
	}{{"csta-xml", []string{"1??"}}, {"ctserver", []string{"201", "202"}}, {"phones", []string{"3??"}}} {
		l := c.Links[i]
		if l.Type != want.kind || !reflect.DeepEqual(l.Devices, want.devices) || l.Settings == nil {
			t.Errorf("%+v, want %v", l, want)
		}
	}
}
