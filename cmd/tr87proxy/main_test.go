package main

import (
	"strings"
	"testing"
)

// Every command explains itself: what it is for, and examples that begin as it does.
func TestCommandsHaveExamples(t *testing.T) {
	root := newRoot()
	if len(root.Commands()) < 40 {
		t.Errorf("only %d commands", len(root.Commands()))
	}
	for _, cmd := range root.Commands() {
		if cmd.Name() == "completion" || cmd.Name() == "help" {
			continue
		}
		if cmd.Short == "" || cmd.GroupID == "" {
			t.Errorf("%s says nothing of itself", cmd.Name())
		}
		for line := range strings.Lines(cmd.Example) {
			if !strings.HasPrefix(line, "  tr87proxy "+cmd.Name()) {
				t.Errorf("%s: example %q", cmd.Name(), line)
			}
		}
		if cmd.Example == "" {
			t.Errorf("%s has no example", cmd.Name())
		}
		if cmd.GroupID == "client" && cmd.Flags().Lookup("server") == nil {
			t.Errorf("%s cannot be told the server", cmd.Name())
		}
	}
}

// What commands complete without asking a server.
func TestCompletionOfWords(t *testing.T) {
	for use, want := range map[string]string{
		"agent DEVICE [login|logout]": "login logout", "forward DEVICE [WHEN NUMBER|off]": "always always-external",
	} {
		words, _ := completeArguments(&clientFlags{}, use)(newRoot(), []string{"100"}, "")
		if got := strings.Join(words, " "); !strings.HasPrefix(got, want) {
			t.Errorf("%s: %s", use, got)
		}
	}
	if words, _ := completeArguments(&clientFlags{}, "dnd DEVICE [on|off]")(newRoot(), []string{"100", "on"}, ""); len(words) != 0 {
		t.Errorf("%v", words)
	}
}

// What a refused client is advised.
func TestAdvice(t *testing.T) {
	for _, c := range []struct {
		code int
		user string
		want string
	}{
		{401, "", "use --user"}, {401, "crm", "wrong user or password"}, {403, "", "tr87proxy unlock lists locks"},
		{404, "", "no such line"}, {486, "", "limits.sessions-per-identity"}, {503, "", "Retry-After"}, {500, "", ""},
	} {
		if got := (&clientFlags{user: c.user}).advice(c.code); !strings.Contains(got, c.want) || (got == "") != (c.want == "") {
			t.Errorf("%d with user %q: %q", c.code, c.user, got)
		}
	}
}
