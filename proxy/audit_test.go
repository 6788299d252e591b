package proxy_test

import (
	"encoding/json"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/tr87proxy/tr87proxy/audit"
	"github.com/tr87proxy/tr87proxy/policy"
	"github.com/tr87proxy/tr87proxy/proxy"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

// What is refused stands in the audit file with all that it was about: devices, destinations, and
// connections, also where a half of one is missing.
func TestRefusalsWritten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "audit.log")
		log, err := audit.Open(audit.Config{Path: file, Log: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		p := start(t, &flaky{lose: make(chan error)}, policy.FromGrants(nil, policy.Grant{Who: "one", Control: []string{"100"}}), func(cfg *proxy.Config) { cfg.Audit = log })
		s, _ := open(t, p, "one")
		tests := []struct {
			request any
			want    string // devices, destinations and connections
		}{
			{uacsta.ClearConnection{ConnectionToBeCleared: uacsta.Conn("7", "101")}, "[101] [] [7@101]"},
			{uacsta.TransferCall{HeldCall: uacsta.Conn("7", "100"), ActiveCall: uacsta.Conn("8", "101")}, "[101] [] [7@100 8@101]"},
			{uacsta.HoldCall{CallToBeHeld: uacsta.ConnectionID{CallID: "7"}}, "[] [] [7@]"},
			{uacsta.HoldCall{CallToBeHeld: uacsta.Conn("7", "=")}, "[] [] [7@=]"},
			{uacsta.HoldCall{CallToBeHeld: uacsta.ConnectionID{DeviceID: uacsta.Dev("101")}}, "[101] [] []"},
			{uacsta.RouteSelect{CrossRefIdentifier: "9", RouteSelected: uacsta.Dev("101")}, "[] [101] []"},
			{uacsta.RouteEnd{CrossRefIdentifier: "9"}, "[] [] []"},
		}
		for _, tt := range tests {
			if m := request(s, tt.request); m.Err() == nil {
				t.Errorf("%s", m)
			}
		}
		if err := log.Close(); err != nil {
			t.Fatal(err)
		}
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var refused []audit.Entry
		for line := range strings.Lines(string(data)) {
			var e audit.Entry
			if err := json.Unmarshal([]byte(line), &e); err != nil {
				t.Fatal(err)
			}
			if e.Kind == "refused" {
				refused = append(refused, e)
			}
		}
		for i, tt := range tests {
			name := uacsta.Encode(tt.request, uacsta.Edition3).Name()
			if i >= len(refused) || refused[i].Service != name {
				t.Fatalf("%s is not written down: %+v", name, refused)
			}
			if got := about(refused[i]); got != tt.want {
				t.Errorf("%s is about %s, want %s", name, got, tt.want)
			}
		}
	})
}

// about are what an entry is about.
func about(e audit.Entry) string {
	var parts []string
	for _, list := range [][]string{e.Devices, e.Destinations, e.Connections} {
		parts = append(parts, "["+strings.Join(list, " ")+"]")
	}
	return strings.Join(parts, " ")
}
