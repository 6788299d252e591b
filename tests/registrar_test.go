package tests

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/tr87proxy/tr87proxy/uacsta"
)

// What a registrar must do and must refuse.
func TestRegistrar(t *testing.T) {
	t.Parallel()
	x := serveTelephones(t, "", "  min-expires: 1s\n  max-contacts: 2\n")
	o := x.watch("100")
	for _, transport := range []string{"udp", "tcp"} {
		h := newHandset(t, transport, x.sip, "100", "secret100")
		if m := h.register(3600); m.code() != 200 || !strings.Contains(m.header("Contact"), h.contact) {
			t.Fatalf("%s: %s %v", transport, m.start, m.headers)
		}
		o.until("100", "BackInService")
		if m := h.registerAs("101", "Contact: <"+h.contact+">"); m.code() != 403 {
			t.Errorf("another's number: %s", m.start)
		}
		if m := h.registerAs("100", "Contact: *", "Expires: 10"); m.code() != 400 {
			t.Errorf("* that does not end: %s", m.start)
		}
		if m := h.registerAs("100", "Contact: <tel:100>"); m.code() != 400 {
			t.Errorf("a contact that is no SIP URI: %s", m.start)
		}
		if m := h.registerAs("100", "Contact: <sip:1@127.0.0.1:1>", "Contact: <sip:2@127.0.0.1:1>, <sip:3@127.0.0.1:1>"); m.code() != 403 {
			t.Errorf("too many contacts: %s", m.start)
		}
		if m := h.registerAs("100"); m.code() != 200 || len(m.all("Contact")) != 1 {
			t.Errorf("a question: %s %v", m.start, m.all("Contact"))
		}
		h.cseq = 0
		if m := h.register(60); m.code() != 500 {
			t.Errorf("an old CSeq: %s", m.start)
		}
		h.cseq = 100
		if transport == "tcp" { // the connection was the way to it
			h.close()
		} else if m := h.registerAs("100", "Contact: *", "Expires: 0"); m.code() != 200 || m.header("Contact") != "" {
			t.Errorf("*: %s", m.start)
		}
		o.until("100", "OutOfService")
	}
	h := newHandset(t, "udp", x.sip, "100", "secret100")
	if m := h.registerAs("100", fmt.Sprintf("Contact: <%s>", h.contact), "Expires: 1"); m.code() != 200 {
		t.Errorf("%s", m.start)
	}
	o.until("100", "BackInService")
	o.until("100", "OutOfService") // nobody renews it
	stranger := newHandset(t, "udp", x.sip, "100", "guess")
	if m := stranger.register(60); m.code() != 401 {
		t.Errorf("a wrong password: %s", m.start)
	}
	x.stop()
	if strings.Contains(x.out.String(), "secret100") {
		t.Error("a password is in the log")
	}
}

// Registrations, forwarding, do not disturb and message waiting outlive the process.
func TestTelephonesAfterRestart(t *testing.T) {
	t.Parallel()
	x := serveTelephones(t, "", "")
	h := newHandset(t, "udp", x.sip, "100", "secret100")
	if m := h.register(3600); m.code() != 200 {
		t.Fatal(m.start)
	}
	o := x.watch("100")
	to, rings, device := uacsta.Dev("102"), 4, uacsta.Dev("100")
	o.must(uacsta.SetForwarding{Device: device, ForwardingType: uacsta.ForwardNoAns, ActivateForward: true, ForwardDN: &to, RingCount: &rings})
	o.must(uacsta.SetMessageWaitingIndicator{Device: device, MessageWaitingOn: true})
	o.must(uacsta.SetDoNotDisturb{Device: uacsta.Dev("103"), DoNotDisturbOn: true})
	o.until("100", "MessageWaiting")
	_ = x.cmd.Process.Signal(syscall.SIGTERM)
	if err := x.wait(patience); err != nil {
		t.Fatal(err)
	}
	again := &exchange{running: x.again(), sip: x.sip, files: x.files}
	o = again.watch("100")
	if m := o.must(uacsta.GetForwarding{Device: device}); !strings.Contains(m.String(), "<forwardingType>forwardNoAns</forwardingType><forwardStatus>true</forwardStatus><forwardDN>102</forwardDN>") {
		t.Errorf("%s", m)
	}
	if m := o.must(uacsta.GetMessageWaitingIndicator{Device: device}); m.Text("messageWaitingOn") != "true" {
		t.Errorf("%s", m)
	}
	if m := o.must(uacsta.GetDoNotDisturb{Device: uacsta.Dev("103")}); m.Text("doNotDisturbOn") != "true" {
		t.Errorf("%s", m)
	}
	o.must(call("100", "101")) // the handset is still known
	m := h.expect("INVITE")
	h.reply(m, 486, "x", "")
	again.stop()
}

// again starts a proxy that has stopped once more, with the same configuration.
func (r *running) again() *running {
	next := *r
	next.process = start(r.t, program(r.t), "serve", "-c", filepath.Join(r.dir, "config.yaml"))
	waitFor(r.t, "readiness", func() bool { return next.get("/readyz") == "ready\n" })
	return &next
}

// State that is not ours to read is a clear error.
func TestStateInUse(t *testing.T) {
	t.Parallel()
	x := serveTelephones(t, "", "")
	file := filepath.Join(x.files, "state.db")
	config, err := os.ReadFile(filepath.Join(x.dir, "config.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	p := start(t, program(t), "serve", "-c", filepath.Join(x.dir, "config.yaml"))
	if err := p.wait(patience); err == nil || !strings.Contains(p.out.String(), file+" is in use by another process") {
		t.Errorf("%v %s", err, p.out)
	}
	if err := os.WriteFile(filepath.Join(x.dir, "config.yaml"), []byte(strings.Replace(string(config), file, "/dev/null/x", 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	p = start(t, program(t), "serve", "-c", filepath.Join(x.dir, "config.yaml"))
	if err := p.wait(patience); err == nil || !strings.Contains(p.out.String(), "state: ") {
		t.Errorf("%v %s", err, p.out)
	}
	x.stop()
}
