package daemon

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tr87proxy/tr87proxy/internal/config"
	"github.com/tr87proxy/tr87proxy/internal/tokens"
)

// files are those of a folder.
func files(t *testing.T, folder string) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(folder)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// What only looks at a configuration makes no file, and does not mind a proxy that runs with it.
func TestCheckLeavesNothing(t *testing.T) {
	folder := t.TempDir()
	file := filepath.Join(folder, "config.yaml")
	text := fmt.Sprintf(`
grants: [{who: crm, control: ["100"]}]
switch: {extensions: [{number: "100", sip: {password: "0123456789ab"}}]}
telephones: {listen: [{transport: udp, address: "127.0.0.1:0"}], state: %[1]s/state.db}
audit: {file: %[1]s/audit.log}
trace: {file: %[1]s/trace.json}
admin: {socket: %[1]s/admin.sock}
api: {events: {file: %[1]s/events.db}, webhooks: [{name: crm, url: "https://crm.contoso.com/"}]}
numbers: {examples: [{written: "100", canonical: "100"}]}
`, folder)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg, err := Load(file)
	if err != nil {
		t.Fatal(err)
	}
	look := func() {
		t.Helper()
		if err := Check(file, cfg); err != nil {
			t.Error(err)
		}
		if rules, numbers, unasked, err := Decide(t.Context(), cfg); err != nil || unasked != nil || rules == nil || numbers == nil {
			t.Error(err, unasked)
		}
	}
	look()
	if got := files(t, folder); !slices.Equal(got, []string{"config.yaml"}) {
		t.Errorf("there is %v now", got)
	}
	n, err := New(cfg, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer n.discard()
	if err := n.startFronts(); err != nil {
		t.Fatal(err)
	}
	if now := files(t, folder); !slices.Contains(now, "state.db") || !slices.Contains(now, "events.db") {
		t.Fatal("the proxy itself keeps no state: this test shows nothing")
	}
	look()
}

// Files that callers are to hear are read: one that is missing or is no sound is a fault.
func TestCheckSounds(t *testing.T) {
	folder := t.TempDir()
	sound := []byte("RIFF\x24\x00\x00\x00WAVEfmt \x10\x00\x00\x00\x01\x00\x01\x00\x40\x1f\x00\x00\x80\x3e\x00\x00\x02\x00\x10\x00data\x00\x00\x00\x00")
	for name, data := range map[string][]byte{"sound.wav": sound, "text.wav": []byte("text")} {
		if err := os.WriteFile(filepath.Join(folder, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, tt := range []struct{ devices, telephones, want string }{
		{`park: ["400", {number: "401", music: sound}]`, `messages: FOLDER, music: FOLDER/sound.wav, announcement: FOLDER/sound.wav`, ""},
		{``, `messages: FOLDER, music: FOLDER/none.wav`, "telephones.music: open FOLDER/none.wav: no such file or directory"},
		{``, `messages: FOLDER, announcement: FOLDER/text.wav`, "telephones.announcement: FOLDER/text.wav: not a WAV"},
		{``, `messages: FOLDER/none`, "telephones.messages: open FOLDER/none: no such file or directory"},
		{`queues: [{number: "300", announcement: none}]`, `messages: FOLDER`, "message none, which is heard at device 300: open"},
		{`park: [{number: "400", music: text}]`, `messages: FOLDER`, "message text, which is heard at device 400: not a WAV"},
		{`trunks: [{number: "900", inward: [], music: ../sound}]`, `messages: FOLDER`, "message ../sound, which is heard at device 900: not the name of a file"},
	} {
		in := func(s string) string { return strings.ReplaceAll(s, "FOLDER", folder) }
		file := filepath.Join(folder, "config.yaml")
		text := in(fmt.Sprintf("grants: [{who: crm, control: [\"100\"]}]\nswitch:\n  extensions: [{number: \"100\"}]\n  %s\ntelephones: {%s}\n", tt.devices, tt.telephones))
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		cfg, err := Load(file)
		if err != nil {
			t.Fatal(err)
		}
		if err := Check(file, cfg); (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), in(tt.want)) {
			t.Errorf("%s %s: %v", tt.devices, tt.telephones, err)
		}
	}
}

// An example that the rules do not fulfil is a fault.
func TestCheckExamples(t *testing.T) {
	cfg := Default()
	cfg.Numbers.Main = "+4989471100"
	cfg.Numbers.Examples = []config.NumberExample{{Written: "100", Canonical: "101"}}
	if err := Check("config.yaml", cfg); err == nil || err.Error() != "config.yaml: numbers.examples[0]: 100 becomes 100, not 101" {
		t.Error(err)
	}
}

// A token that no rule and no grant names is refused for ever, which its owner would look for elsewhere.
func TestWarningsOfTokens(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tokens")
	if err := tokens.Edit(path, func([]tokens.Token) ([]tokens.Token, error) {
		list := make([]tokens.Token, 3)
		for i, name := range []string{"CRM", "erp", "erp"} {
			list[i] = tokens.Token{Name: name, Scope: tokens.Observe, Created: time.Now()}
			list[i].Make()
		}
		return list, nil
	}); err != nil {
		t.Fatal(err)
	}
	for grants, want := range map[string]string{
		`{who: crm, observe: ["100"]}`: "application-sessions.tokens-file: no rule and no grant names erp, so",
		`{who: "*", observe: ["100"]}`: "",
	} {
		cfg, err := config.Parse("x", fmt.Appendf(nil, "grants: [%s]\napplication-sessions: {tokens-file: %s}\nswitch: {extensions: [{number: \"100\"}]}\n", grants, path), Kinds())
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(Warnings(cfg), "\n"); !strings.HasPrefix(got, want) || want == "" && got != "" {
			t.Errorf("%s: %q", grants, got)
		}
	}
}
