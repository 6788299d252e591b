package tests

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tr87proxy/tr87proxy/sip"
	"github.com/tr87proxy/tr87proxy/tr87"
)

// A digest user who gets another password, in the configuration or in a file, or is taken
// out of it, loses the sessions that the old one opened, at the reload; others keep theirs.
func TestDigestPasswordChanges(t *testing.T) {
	file := filepath.Join(t.TempDir(), "bob.password")
	write := func(password string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(password+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("bob-one")
	const carol = `, {name: carol, password: carol-one}`
	a := administer(t, `digest: {users: [{name: alice, password: alice-one}, {name: bob, password-file: `+file+`}`+carol+`]}
grants: [{who: "*", control: ["*"]}]
`)
	ua := sip.New(sip.Config{})
	defer ua.Close()
	open := func(user, password string) (chan error, error) {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		ended := make(chan error, 1)
		_, err := tr87.Open(ctx, ua, tr87.Dial{
			To: fmt.Sprintf("sip:gw@127.0.0.1:%d;transport=tcp", a.port), From: "sip:x@localhost", Line: "1000", Username: user, Password: password,
			Ended: func(err error) { ended <- err },
		})
		return ended, err
	}
	sessions := map[string]chan error{}
	for user, password := range map[string]string{"alice": "alice-one", "bob": "bob-one", "carol": "carol-one"} {
		ended, err := open(user, password)
		if err != nil {
			t.Fatalf("%s: %v", user, err)
		}
		sessions[user] = ended
	}
	if out := a.admin(0, "reload"); out != "nothing has changed\n" {
		t.Error(out)
	}
	step := func(loser, old, password string, change func()) {
		t.Helper()
		change()
		if out := a.admin(0, "reload"); out != "changed: digest.users\n" {
			t.Error(out)
		}
		select {
		case <-sessions[loser]:
			delete(sessions, loser)
		case <-time.After(patience):
			t.Fatalf("the session of %s did not end", loser)
		}
		waitFor(t, "the end of that session alone", func() bool { return a.metric("tr87proxy_sessions") == float64(len(sessions)) })
		for user, ended := range sessions {
			select {
			case err := <-ended:
				t.Errorf("the session of %s ended: %v", user, err)
			default:
			}
		}
		var refusal *sip.Refusal
		if _, err := open(loser, old); !errors.As(err, &refusal) || refusal.Response.Code() != 401 {
			t.Errorf("the old password of %s: %v", loser, err)
		}
		if password == "" {
			return
		}
		var err error
		if sessions[loser], err = open(loser, password); err != nil {
			t.Errorf("the new password of %s: %v", loser, err)
		}
	}
	step("alice", "alice-one", "alice-two", func() { a.edit("password: alice-one", "password: alice-two") })
	step("bob", "bob-one", "bob-two", func() { write("bob-two") })
	step("carol", "carol-one", "", func() { a.edit(carol, "") })
	a.edit(`{users: [{name: alice, password: alice-two}, {name: bob, password-file: `+file+`}]}`, "{users: []}")
	if out := a.admin(0, "reload"); out != "changed: digest.users\n" {
		t.Error(out)
	}
	waitFor(t, "the end of every session", func() bool { return a.metric("tr87proxy_sessions") == 0 })
	a.stop()
	for _, password := range []string{"alice-one", "alice-two", "bob-one", "bob-two", "carol-one"} {
		if strings.Contains(a.out.String(), password) {
			t.Errorf("the log has the password %s", password)
		}
	}
}
