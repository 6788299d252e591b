package config_test

import (
	"testing"

	"github.com/tr87proxy/tr87proxy/api"
	"github.com/tr87proxy/tr87proxy/internal/config"
	"github.com/tr87proxy/tr87proxy/internal/daemon"
)

// A key can have names that people choose below it, each with a text.
func TestNamesBelowKeys(t *testing.T) {
	const hook = `api: {webhooks: [{name: z, url: "https://x.example/", format: zammad, users: `
	c, err := config.Parse("x", []byte(good+hook+`{"101": "Alice Smith", "102": Bob}}]}`+"\n"), daemon.Kinds())
	if err != nil {
		t.Fatal(err)
	}
	if users := c.Front("api").(*api.Settings).Webhooks[0].Users; len(users) != 2 || users["101"] != "Alice Smith" {
		t.Errorf("%v", users)
	}
	for _, wrong := range []string{`text`, `[a, b]`, `{"101": a, "101": b}`, `{"101": [a]}`} {
		if _, err := config.Parse("x", []byte(good+hook+wrong+"}]}\n"), daemon.Kinds()); err == nil {
			t.Errorf("%s is a map", wrong)
		}
	}
}

// Types of events that there are not are faults, wherever they stand.
func TestTypesOfEvents(t *testing.T) {
	for line, right := range map[string]bool{
		`webhooks: [{name: z, url: "https://x.example/", types: [delivered]}]`: true,
		`webhooks: [{name: z, url: "https://x.example/", types: [ringing]}]`:   false,
		`connect: [{url: "wss://x.example/", as: crm, types: [delivered]}]`:    true,
		`connect: [{url: "wss://x.example/", as: crm, types: [ringing]}]`:      false,
	} {
		if _, err := config.Parse("x", []byte(good+"api: {"+line+"}\n"), daemon.Kinds()); (err == nil) != right {
			t.Errorf("%s: %v", line, err)
		}
	}
}
