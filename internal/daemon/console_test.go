package daemon

import (
	"strings"
	"testing"

	"github.com/tr87proxy/tr87proxy/internal/config"
)

// check warns of a console that nobody can log in to, and of one whose passwords others could read.
func TestConsoleWarnings(t *testing.T) {
	t.Parallel()
	const open = "console: {listen: [{transport: tcp, address: \"127.0.0.1:0\"}]}\nswitch: {extensions: [{number: \"100\"}]}\n"
	for text, want := range map[string]string{
		open + "grants: [{who: alice, control: [\"*\"]}]\napplication-sessions: {accounts: x}\n":                                           "console: nobody can log in, because no grant",
		open + "grants: [{who: alice, administer: true}]\n":                                                                                "console: nobody can log in, because there are no accounts",
		strings.Replace(open, "127.0.0.1", "0.0.0.0", 1) + "grants: [{who: alice, administer: true}]\napplication-sessions: {accounts: x}": "console.listen[0].transport: tcp at 0.0.0.0:0",
		open + "grants: [{who: alice, administer: true}]\napplication-sessions: {accounts: x}\n":                                           "",
		"grants: [{who: alice, control: [\"*\"]}]\n":                                                                                       "",
	} {
		cfg, err := config.Parse("x", []byte(text), Kinds())
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, w := range Warnings(cfg) {
			if strings.HasPrefix(w, "console") && !strings.Contains(w, "its default listens") {
				got = append(got, w)
			}
		}
		if want == "" && len(got) > 0 || want != "" && (len(got) != 1 || !strings.HasPrefix(got[0], want)) {
			t.Errorf("%s: %q, want %q", text, got, want)
		}
	}
}
