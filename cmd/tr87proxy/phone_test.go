package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tr87proxy/tr87proxy/internal/config"
)

// The snippet is for the account that the number has, and has no placeholder and no password in it.
func TestPhoneSnippet(t *testing.T) {
	file := filepath.Join(t.TempDir(), "config.yaml")
	text := `trusted: [{address: 127.0.0.1}]
grants: [{who: "*", control: ["*"]}]
switch: {extensions: [{number: "100", sip: {password: hidden}}, {number: "101"}]}
telephones: {listen: [{transport: udp, address: "192.0.2.5:5060"}]}
links: [{name: desk, type: phones, listen: [{transport: udp, address: ":6060"}], accounts: [{number: "201", user: u201, password: hidden}]}]
`
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		args, want, fault string
	}{
		{"yealink 100", "features.csta_control.enable = 1\nfeatures.feature_key_sync.enable = 1\n", ""},
		{"snom 100", "csta_control: on\nmb_trusted_hosts: 192.0.2.5\n", ""},
		{"Becke 100 --index 2", "sip.line.2.CSTANumber = 100\n", ""},
		{"Mitel 201 --server pbx.example", "CSTA: 1\nCSTA proxy: pbx.example\nCSTA port: 6060\nCSTA username: u201\nCSTA password: PASSWORD\n", ""},
		{"snom 201 --server pbx.example --index 12", "user_outbound12: pbx.example:6060\n", ""},
		{"snom 201 --server 2001:db8::1", "user_outbound1: [2001:db8::1]:6060\n", ""},
		{"snom 100 --server ::1", "mb_trusted_hosts: [::1]\nwarning: ::1 is this machine to itself, not to a telephone; write --server ADDRESS\n", ""},
		{"Mitel 201", "", "write --server"},
		{"Yealink 201", "", "write one of snom, Gigaset, Mitel, Panasonic"},
		{"Mitel 100", "", `no provisioning lines are known for "Mitel", and 100 is at the built-in switch: write one of Yealink, `},
		{"Nokia 100", "", `no telephone "Nokia" in the table`},
		{"Yealink 101", "", "101 is neither an extension with the key sip nor"},
		{"Yealink 999", "", "the configuration has 100, 201"},
		{"snom 201 --server pbx.example:6060", "", "write the address without port"},
		{"Yealink 100 --index 0", "", "counts its lines from 1"},
	} {
		var out bytes.Buffer
		root := newRoot()
		root.SetOut(&out)
		root.SetErr(&out)
		root.SetArgs(append([]string{"phone", "snippet", "-c", file}, strings.Fields(tt.args)...))
		err := root.Execute()
		if (err != nil) != (tt.fault != "") || err != nil && !strings.Contains(err.Error(), tt.fault) || !strings.HasSuffix(out.String(), tt.want) || strings.Contains(out.String(), "hidden") {
			t.Errorf("%s: %v\n%s", tt.args, err, out.String())
		}
	}
	list, err := config.Models("")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range list {
		for own, lines := range map[bool][]string{false: m.Line, true: m.Account} {
			got, err := snippet(list, m.Name, config.Place{Number: "100", User: "u", Server: "s", Port: "1", Index: 1}, own)
			if len(lines) > 0 && (err != nil || len(got) != len(lines) || strings.ContainsAny(strings.Join(got, ""), "{}")) {
				t.Errorf("%s: %v %v", m.Name, got, err)
			}
		}
	}
}

// Completion offers makers, then the numbers of telephones, and no files.
func TestPhoneSnippetCompletion(t *testing.T) {
	file := filepath.Join(t.TempDir(), "config.yaml")
	text := `trusted: [{address: 127.0.0.1}]
grants: [{who: "*", control: ["*"]}]
switch: {extensions: [{number: "100", sip: {password: hidden}}, {number: "101"}]}
links: [{name: desk, type: phones, listen: [{transport: udp, address: ":6060"}], accounts: [{number: "201", password: hidden}]}]
`
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		args []string
		want string
	}{
		{[]string{"-c", file, ""}, "Yealink\nPoly\nsnom\n"},
		{[]string{"-c", "missing.yaml", ""}, "Yealink\nPoly\nsnom\n"},
		{[]string{"-c", file, "snom", ""}, "100\n201\n:4\n"},
		{[]string{"-c", "missing.yaml", "snom", ""}, ":4\n"},
		{[]string{"-c", file, "snom", "100", ""}, ":4\n"},
	} {
		var out bytes.Buffer
		root := newRoot()
		root.SetOut(&out)
		root.SetErr(&bytes.Buffer{})
		root.SetArgs(append([]string{"__complete", "phone", "snippet"}, tt.args...))
		if err := root.Execute(); err != nil || !strings.HasPrefix(out.String(), tt.want) || strings.Contains(out.String(), "OpenStage") {
			t.Errorf("%q: %v\n%s", tt.args, err, out.String())
		}
	}
}
