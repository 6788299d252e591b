package desk

import (
	"context"
	"errors"
	"net"
	"slices"
	"testing"
	"testing/synctest"

	"github.com/tr87proxy/tr87proxy/internal/wait"
	"github.com/tr87proxy/tr87proxy/sip"
	"github.com/tr87proxy/tr87proxy/sip/registrar"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

// A telephone that has registered is known in the next life, unless its account has got another
// password in the meantime. Monitors of before are not.
func TestRegistrationsOutliveALife(t *testing.T) {
	h := newHandset(t)
	if _, err := h.ua.ListenUDP("127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	taken, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	at := taken.LocalAddr().String()
	d := New(registrar.Config{Users: []registrar.User{{Number: "100", Password: "secret"}, {Number: "101", Password: "secret"}}}, []Listening{{Transport: "tcp", Address: "127.0.0.1:0"}, {Transport: "udp", Address: at}})
	if err := d.Run(t.Context(), &core{t: t}); err == nil { // and no Ready
		t.Error("it listens at an address that is in use")
	}
	_ = taken.Close()
	register := func(password string) {
		t.Helper()
		own := "sip:100@" + at + ";transport=udp"
		res, err := h.ua.Request(t.Context(), "REGISTER", sip.Invite{To: own, From: own, Username: "100", Password: password})
		if err != nil || res.Code() != 200 {
			t.Fatal(res, err)
		}
	}
	_, stop := live(t, d)
	if err := ask(t, d); !errors.Is(err, registrar.ErrTelephone) {
		t.Errorf("before it has registered: %v", err)
	}
	register("secret")
	wait.Next(t, h.opened, "the session")
	ref := must(t, d, monitoring()).CrossRef()
	if can := d.Features("100"); !slices.Contains(can.Services, uacsta.NameMakeCall) {
		t.Errorf("it can %v", can.Services)
	}
	stop()
	if can := d.Features("100"); len(can.Services) > 0 {
		t.Errorf("between two lives it can %v", can.Services)
	}
	if taken, err = net.ListenPacket("udp", at); err != nil {
		t.Fatal(err)
	}
	if err := d.Run(t.Context(), &core{t: t}); err == nil {
		t.Error("it listens at an address that is in use")
	}
	_ = taken.Close()

	_, stop = live(t, d)
	wait.Next(t, h.opened, "the session")
	if err := ask(t, d); err != nil {
		t.Error(err)
	}
	d.Request(stopping(ref), func(_ *uacsta.Message, err error) {
		if !errors.Is(err, errReference) {
			t.Errorf("a monitor of the life before: %v", err)
		}
	})
	if changed := d.SetPasswords([]registrar.User{{Number: "100", Password: "second"}, {Number: "101", Password: "secret"}}); !slices.Equal(changed, []string{"100"}) {
		t.Errorf("changed while it runs: %v", changed)
	}
	if err := ask(t, d); !errors.Is(err, registrar.ErrTelephone) {
		t.Errorf("after its password has changed: %v", err)
	}
	register("second")
	wait.Next(t, h.opened, "the session")
	stop()

	if changed := d.SetPasswords([]registrar.User{{Number: "100", Password: "third"}, {Number: "101", Password: "secret"}}); !slices.Equal(changed, []string{"100"}) {
		t.Errorf("changed between two lives: %v", changed)
	}
	_, stop = live(t, d)
	if err := ask(t, d); !errors.Is(err, registrar.ErrTelephone) {
		t.Errorf("after its password has changed between two lives: %v", err)
	}
	register("third")
	wait.Next(t, h.opened, "the session")
	if err := ask(t, d); err != nil {
		t.Error(err)
	}
	stop()
}

// A life takes no request once it ends, and has ended when the last that it took has returned.
func TestEndAwaitsRequests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := New(registrar.Config{Users: []registrar.User{{Number: "100"}}}, nil)
		ctx, cancel := context.WithCancel(t.Context())
		over := make(chan error, 1)
		up := &core{t: t, ready: make(chan struct{})}
		go func() { over <- d.Run(ctx, up) }()
		wait.Next(t, up.ready, "the link")
		l := d.current()
		if !l.enter() {
			t.Fatal("a request is not taken")
		}
		cancel()
		synctest.Wait()
		if len(over) > 0 {
			t.Error("Run returns although a request goes on")
		}
		if l.enter() {
			t.Error("a request is taken at the end")
		}
		l.asking.Done()
		wait.Next(t, over, "the end of the link")
	})
}
