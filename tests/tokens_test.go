package tests

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// addToken adds a token to a file as the command line says, and returns it.
func addToken(t *testing.T, file string, args ...string) string {
	t.Helper()
	out, status := command(t, append([]string{"tokens", "add", "--tokens", file}, args...)...)
	token, _, _ := strings.Cut(out[max(0, strings.Index(out, "tr87_")):], "\n")
	if status != 0 || !strings.HasPrefix(token, "tr87_") {
		t.Fatal(status, out)
	}
	return token
}

// Tokens are added, listed and revoked on the command line; the file has none of them.
func TestTokensCommand(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "tokens")
	run := func(args ...string) (string, int) {
		t.Helper()
		return command(t, append(append([]string{"tokens"}, args...), "--tokens", file)...)
	}
	out, status := run("add", "crm", "--scope", "control", "--expires", "90d", "--comment", "click to dial")
	token := regexp.MustCompile(`(?m)^tr87_([a-z2-7]{8})_[a-z2-7]{32}$`).FindStringSubmatch(out)
	if status != 0 || token == nil || !strings.Contains(out, "It lets its bearer control as crm until ") {
		t.Fatal(status, out)
	}
	if out, status := run("add", "wallboard"); status != 0 || !strings.Contains(out, "It lets its bearer observe as wallboard.") {
		t.Error(status, out)
	}
	if out, status := run("add", "CRM", "--expires", time.Now().UTC().Format(time.DateOnly)); status != 0 {
		t.Error(status, out)
	}
	data, err := os.ReadFile(file)
	if err != nil || strings.Contains(string(data), token[0]) || strings.Contains(string(data), strings.Split(token[0], "_")[2]) {
		t.Errorf("%s %v", data, err)
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Error(info.Mode(), err)
	}
	var list []struct{ ID, Name, Scope, Comment string }
	if out, status := run("list", "--json"); status != 0 || json.Unmarshal([]byte(out), &list) != nil || len(list) != 3 || list[0].ID != token[1] || list[0].Scope != "control" || list[0].Comment != "click to dial" || list[1].Scope != "observe" {
		t.Error(status, out)
	}
	for _, tt := range []struct {
		args   []string
		status int
		want   string
	}{
		{[]string{"list"}, 0, token[1] + "  crm                      control  created "},
		{[]string{"add", " x"}, 2, "a name has"},
		{[]string{"add", "x", "--scope", "all"}, 2, "a scope is observe or control"},
		{[]string{"add", "x", "--expires", "soon"}, 2, `"soon" is no time`},
		{[]string{"add", "x", "--expires", "99999d"}, 2, `"99999d" is no time`},
		{[]string{"add", "x", "--expires", "-1h"}, 2, `"-1h" is in the past`},
		{[]string{"add", "x", "--expires", "2020-01-01"}, 2, `"2020-01-01" is in the past`},
		{[]string{"revoke", "nobody"}, 1, `no token "nobody"; see tr87proxy tokens list`},
		{[]string{"revoke", list[1].ID}, 0, list[1].ID},
		{[]string{"revoke", "Crm"}, 0, token[1] + "\n" + list[2].ID},
		{[]string{"list"}, 0, ""},
		{[]string{"revoke", "crm"}, 1, "no token"},
	} {
		if out, status := run(tt.args...); status != tt.status || !strings.Contains(out, tt.want) || tt.want == "" && out != "" {
			t.Errorf("%s: %d %q", tt.args, status, out)
		}
	}
	if out, status := command(t, "tokens", "list", "-c", filepath.Join(t.TempDir(), "none.yaml")); status != 2 || !strings.Contains(out, "--tokens") {
		t.Error(status, out)
	}
	if out, status := command(t, "tokens", "list", "--tokens", file+"x"); status != 1 || !strings.Contains(out, "make it with: tr87proxy tokens add NAME") {
		t.Error(status, out)
	}
}

// A token for a name that the configuration does not know says so, and what to write.
func TestTokenOfUnknownName(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := filepath.Join(dir, "config.yaml")
	config := "application-sessions: {tokens-file: " + filepath.Join(dir, "tokens") + "}\nsip: {listen: [{transport: tcp, address: \"127.0.0.1:0\"}]}\nswitch: {extensions: [{number: \"100\"}]}\ngrants: [{who: crm, control: [\"*\"]}]\n"
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	const hint = `{who: "wallboard", observe: ["*"]}`
	if out, status := command(t, "tokens", "add", "wallboard", "-c", file); status != 0 || !strings.Contains(out, hint) {
		t.Errorf("%d %s", status, out)
	}
	if out, status := command(t, "tokens", "add", "CRM", "-c", file); status != 0 || strings.Contains(out, "grants:") {
		t.Errorf("%d %s", status, out)
	}
}
