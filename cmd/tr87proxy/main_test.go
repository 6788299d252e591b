package main

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/tr87proxy/tr87proxy/uacsta"
)

// The error of a refused request says in plain words what it means; others stay as they are.
func TestPlainly(t *testing.T) {
	for _, tt := range []struct {
		err  error
		want string
	}{
		{uacsta.Refuse(uacsta.StateIncompatibility, uacsta.ConnectedCallExists), "stateIncompatibility/connectedCallExists: the device has a connected call; hold or clear it first"},
		{fmt.Errorf("line 2: %w", uacsta.Refuse(uacsta.Operation, uacsta.PrivilegeViolationCallingDevice)), "line 2: operation/privilegeViolationCallingDevice: the server does not allow it; on the server, tr87proxy policy explain shows which rule decides"},
		{uacsta.Refuse(uacsta.Operation, uacsta.Generic), "operation/generic"},
		{errors.New("connection refused"), "connection refused"},
	} {
		if got := plainly(tt.err).Error(); got != tt.want {
			t.Errorf("%v: %s", tt.err, got)
		}
	}
	for value := range plain {
		known := false
		for _, category := range []uacsta.Category{uacsta.Operation, uacsta.StateIncompatibility, uacsta.SystemResourceAvailability, uacsta.SubscribedResourceAvailability, uacsta.PerformanceManagement} {
			known = known || (&uacsta.Error{Category: category, Value: value}).Known()
		}
		if !known {
			t.Errorf("no category has %s", value)
		}
	}
}

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

// The line about a call that rings or waits has its numbers.
func TestDescribeNumbers(t *testing.T) {
	for content, want := range map[string]string{
		"<callingDevice><deviceIdentifier>+491511234</deviceIdentifier></callingDevice><calledDevice><deviceIdentifier>5550100</deviceIdentifier></calledDevice>": "Delivered  (7, 100)  from +491511234  to 5550100  cause newCall",
		"<callingDevice><restricted/></callingDevice><calledDevice><deviceIdentifier>100</deviceIdentifier></calledDevice>":                                       "Delivered  (7, 100)  from unknown  to 100  cause newCall",
	} {
		m, err := uacsta.Parse([]byte(`<DeliveredEvent xmlns="http://www.ecma-international.org/standards/ecma-323/csta/ed6"><connection><callID>7</callID><deviceID>100</deviceID></connection>` + content + "<cause>newCall</cause></DeliveredEvent>"))
		if err != nil {
			t.Fatal(err)
		}
		if got := describe(m, nil); got != want {
			t.Errorf("%s, want %s", got, want)
		}
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
