package tests

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/tr87proxy/tr87proxy/sip"
	"github.com/tr87proxy/tr87proxy/tr87"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

// A digest user who gets another password, in the configuration or in a file, or is taken
// out of it, loses the sessions that the old one opened, at the reload; others keep theirs.
func TestDigestPasswordChanges(t *testing.T) {
	t.Parallel()
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
		if out := a.admin(0, "reload"); !strings.HasPrefix(out, "changed: digest.users\nended: ") {
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
	if out := a.admin(0, "reload"); !strings.HasPrefix(out, "changed: digest.users\nended: ") {
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

// An extension whose account gets another password at a reload loses what its telephones
// have opened with the old one: registrations and subscriptions; those of another extension
// stay. So does one whose account is taken out.
func TestTelephonePasswordChanges(t *testing.T) {
	t.Parallel()
	socket := filepath.Join(t.TempDir(), "admin.sock")
	x := serveTelephones(t, "", "admin: {socket: "+socket+"}\n")
	a := &administered{x.running, socket}
	h, other := newHandset(t, "udp", x.sip, "100", "secret100"), newHandset(t, "udp", x.sip, "101", "secret101")
	o := x.watch("100", "101", "102")
	for _, phone := range []*handset{h, other} {
		if m := phone.register(600); m.code() != 200 {
			t.Fatal(m.start)
		}
		o.until(phone.number, "BackInService")
	}
	d := h.dialog("100")
	d.follow(d.ask("SUBSCRIBE", []string{featureEvent, "Expires: 600"}, ""))
	h.notified("as-feature-event")
	a.edit("password: secret100", "password: changed100")
	if out := a.admin(0, "reload"); !strings.HasPrefix(out, "changed: switch.extensions\nended: 0 sessions, 0 monitors, 1 registrations, 0 others\n  registration of a telephone of 100") {
		t.Error(out)
	}
	o.until("100", "OutOfService")
	if m := h.notified("as-feature-event"); !strings.HasPrefix(m.header("Subscription-State"), "terminated") {
		t.Errorf("the subscription: %v", m.headers)
	}
	if m := h.register(600); m.code() != 401 {
		t.Errorf("the old password: %s", m.start)
	}
	if m := newHandset(t, "udp", x.sip, "100", "changed100").register(600); m.code() != 200 {
		t.Errorf("the new password: %s", m.start)
	}
	o.until("100", "BackInService")
	o.must(call("101", "103")) // the other extension's telephone rings first
	ringing := other.expect("INVITE")
	other.answer(ringing, 486, []string{"To: " + ringing.header("To") + ";tag=busy"}, "")
	// out of the configuration: the rest of the switch waits for a restart, the lock does not
	account := ", sip: {password: secret101, uacsta: never}"
	a.edit(account, "")
	if out := a.admin(0, "reload"); !strings.Contains(out, "changed: switch.extensions\n") || !strings.Contains(out, "needs a restart: switch (") {
		t.Error(out)
	}
	o.until("101", "OutOfService")
	if m := other.register(600); m.code() != 401 {
		t.Errorf("an account that is gone: %s", m.start)
	}
	x.stop()
	if out := x.out.String(); strings.Contains(out, "secret10") || strings.Contains(out, "changed100") {
		t.Error("the log has a password")
	}
}

// A desk phone of a link is treated like that, too; the link and its other telephones stay.
func TestDeskPasswordChanges(t *testing.T) {
	t.Parallel()
	port := freePort(t)
	a := administer(t, fmt.Sprintf(`links:
- name: desk
  type: phones
  listen: [{transport: tcp, address: "127.0.0.1:%d"}]
  accounts: [{number: "7001", password: secret7001}, {number: "7002", password: secret7002}]
%s`, port, everybody))
	var phones []*handset
	for _, number := range []string{"7001", "7002"} {
		phone := newHandset(t, "tcp", port, number, "secret"+number)
		phones = append(phones, phone)
		if m := phone.register(600); m.code() != 200 {
			t.Fatal(m.start)
		}
		invite := phone.cstaRequest("RequestSystemStatus")
		phone.cstaAnswer(invite, "RequestSystemStatusResponse", "<systemStatus>normal</systemStatus>")
		phone.expect("ACK")
		phone.cstaAnswer(phone.cstaRequest("GetCSTAFeatures"), "CSTAErrorCode", "<operation>serviceNotSupported</operation>")
	}
	a.edit("password: secret7001", "password: changed7001")
	if out := a.admin(0, "reload"); out != "changed: links\nlink desk changed (accounts)\n" {
		t.Error(out)
	}
	phones[0].answer(phones[0].expect("BYE"), 200, nil, "")
	if m := phones[0].register(600); m.code() != 401 {
		t.Errorf("the old password: %s", m.start)
	}
	done := make(chan bool, 1)
	o := a.xml()
	go func() {
		done <- o.ask(uacsta.SnapshotDevice{SnapshotObject: uacsta.Dev("7002")}).Name() == "SnapshotDeviceResponse"
	}()
	phones[1].cstaAnswer(phones[1].cstaRequest("SnapshotDevice"), "SnapshotDeviceResponse", "<crossRefIDorSnapshotData><snapshotData/></crossRefIDorSnapshotData>")
	if !<-done {
		t.Error("the other telephone does not serve any more")
	}
	a.stop()
}

// A registration over UDP outlives a restart, unless the account has got another password
// meanwhile.
func TestPasswordChangesWhileStopped(t *testing.T) {
	t.Parallel()
	x := serveTelephones(t, "", "")
	for _, number := range []string{"100", "101"} {
		if m := newHandset(t, "udp", x.sip, number, "secret"+number).register(3600); m.code() != 200 {
			t.Fatal(m.start)
		}
	}
	_ = x.cmd.Process.Signal(syscall.SIGTERM)
	if err := x.wait(patience); err != nil {
		t.Fatal(err)
	}
	(&administered{running: x.running}).edit("password: secret100", "password: changed100")
	again := x.again()
	waitFor(t, "the registration of 101", func() bool { return strings.Contains(again.out.String(), "device=101 reachable=true") })
	again.stop()
	if out := again.out.String(); strings.Contains(out, "device=100 reachable=true") || !strings.Contains(out, "dropped a stored registration: its password has changed\" device=100") {
		t.Error("a registration by the old password is there after the restart")
	}
}
