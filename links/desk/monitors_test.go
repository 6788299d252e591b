package desk

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/tr87proxy/tr87proxy/internal/wait"
	"github.com/tr87proxy/tr87proxy/sip"
	"github.com/tr87proxy/tr87proxy/sip/registrar"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

// A telephone that has one monitor for all of ours has each of them told, and keeps it until the last
// one is stopped.
func TestOneReferenceForAll(t *testing.T) {
	stopped := make(chan string, 10)
	d, h, up := inSession(t, func(req *uacsta.Message, reply func(*uacsta.Message)) {
		if req.Name() == uacsta.NameMonitorStop {
			stopped <- req.CrossRef()
		}
		reply(accept(req, "7"))
	})
	first, second := must(t, d, monitoring()).CrossRef(), must(t, d, monitoring()).CrossRef()
	h.send(disturbed("7"))
	heard := []string{wait.Next(t, up.heard, "an event"), wait.Next(t, up.heard, "another")}
	slices.Sort(heard)
	if want := []string{"DoNotDisturbEvent " + first, "DoNotDisturbEvent " + second}; first == second || !slices.Equal(heard, want) {
		t.Errorf("%q, want %q", heard, want)
	}
	must(t, d, stopping(first))
	if len(stopped) > 0 {
		t.Error("the telephone stops the monitor of both")
	}
	h.send(disturbed("7"))
	if got := wait.Next(t, up.heard, "an event"); got != "DoNotDisturbEvent "+second || len(up.heard) > 0 {
		t.Errorf("%q, and %d more", got, len(up.heard))
	}
	must(t, d, stopping(second))
	if got := wait.Next(t, stopped, "the end of the monitor"); got != "7" {
		t.Errorf("%q is stopped", got)
	}
	d.Request(stopping(second), func(_ *uacsta.Message, err error) {
		if !errors.Is(err, errReference) {
			t.Errorf("a monitor that there is not: %v", err)
		}
	})
}

// A session that is lost takes its monitors out of service; in the next one they are started again, but
// those that were stopped meanwhile, and those that the telephone refuses end.
func TestMonitorsOutliveASession(t *testing.T) {
	var monitors atomic.Int32
	asked := make(chan string, 100)
	d, h, up := inSession(t, func(req *uacsta.Message, reply func(*uacsta.Message)) {
		asked <- req.Name()
		n := int32(0)
		if req.Name() == uacsta.NameMonitorStart {
			if n = monitors.Add(1); n == 5 { // of the third, in the second session
				reply(uacsta.ErrorMessage(uacsta.Refuse(uacsta.SystemResourceAvailability, uacsta.ResourceBusy), uacsta.Edition3))
				return
			}
		}
		reply(accept(req, fmt.Sprint(n)))
	})
	gone, kept, refused := must(t, d, monitoring()).CrossRef(), must(t, d, monitoring()).CrossRef(), must(t, d, monitoring()).CrossRef()
	h.hangUp()
	for _, ref := range []string{gone, kept, refused} {
		if got := wait.Next(t, up.heard, "the loss"); got != "OutOfServiceEvent "+ref {
			t.Errorf("%q", got)
		}
	}
	must(t, d, stopping(gone))
	for len(asked) > 0 {
		<-asked
	}
	wait.Next(t, h.opened, "the next session") // after 5 s
	for _, want := range []string{"BackInServiceEvent " + kept, uacsta.NameMonitorStop} {
		if got := wait.Next(t, up.heard, want); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	must(t, d, dialling("1"))
	var all []string
	for len(asked) > 0 {
		all = append(all, <-asked)
	}
	if want := []string{uacsta.NameGetCSTAFeatures, uacsta.NameMonitorStart, uacsta.NameMonitorStart, uacsta.NameMakeCall}; !slices.Equal(all, want) {
		t.Errorf("the telephone is asked for %v, want %v", all, want)
	}
	h.send(disturbed("4")) // its new reference
	if got := wait.Next(t, up.heard, "an event"); got != "DoNotDisturbEvent "+kept {
		t.Errorf("%q", got)
	}
	d.Request(stopping(refused), func(_ *uacsta.Message, err error) {
		if !errors.Is(err, errReference) {
			t.Errorf("a monitor that the telephone refused: %v", err)
		}
	})
}

// A monitor on a telephone that is away is accepted, and the telephone out of service until it has a session.
func TestMonitorOnAnAbsentTelephone(t *testing.T) {
	h := newHandset(t)
	h.script = func(req *uacsta.Message, reply func(*uacsta.Message)) { reply(accept(req, "7")) }
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	at := free.Addr().String()
	_ = free.Close()
	d := New(registrar.Config{Users: []registrar.User{{Number: "100", Password: "secret"}}}, []Listening{{Transport: "tcp", Address: at}})
	up, stop := live(t, d)
	defer stop()
	started := must(t, d, monitoring()).CrossRef()
	stopped := must(t, d, monitoring()).CrossRef()
	for _, ref := range []string{started, stopped} {
		if got := wait.Next(t, up.heard, "that it is away"); got != "OutOfServiceEvent "+ref {
			t.Errorf("%q", got)
		}
	}
	must(t, d, stopping(stopped))
	if err := ask(t, d); !errors.Is(err, registrar.ErrTelephone) {
		t.Errorf("a snapshot: %v", err)
	}
	own := "sip:100@" + at + ";transport=tcp"
	res, err := h.ua.Request(t.Context(), "REGISTER", sip.Invite{To: own, From: own, Username: "100", Password: "secret"})
	if err != nil || res.Code() != 200 {
		t.Fatal(res, err)
	}
	if got := wait.Next(t, up.heard, "that it is back"); got != "BackInServiceEvent "+started {
		t.Errorf("%q", got)
	}
	h.send(disturbed("7"))
	if got := wait.Next(t, up.heard, "an event"); got != "DoNotDisturbEvent "+started {
		t.Errorf("%q", got)
	}
}

// A monitor that a telephone starts when nobody waits any more is stopped, unless another has its
// reference; its events go to nobody.
func TestLateMonitor(t *testing.T) {
	for local, want := range map[string]string{"8": "8", "7": ""} { // 7 is that of the other monitor
		t.Run(local, func(t *testing.T) {
			t.Parallel()
			late := make(chan func(*uacsta.Message), 1)
			var others atomic.Bool
			stopped := make(chan string, 10)
			d, h, up := inSession(t, func(req *uacsta.Message, reply func(*uacsta.Message)) {
				if req.Name() == uacsta.NameMonitorStart && others.Swap(true) {
					late <- reply
					return
				}
				if req.Name() == uacsta.NameMonitorStop {
					stopped <- req.CrossRef()
				}
				reply(accept(req, "7"))
			})
			ref := must(t, d, monitoring()).CrossRef()
			refused := make(chan error, 1)
			d.Request(monitoring(), func(_ *uacsta.Message, err error) { refused <- err })
			reply := wait.Next(t, late, "the request")
			h.send(disturbed("7")) // it waits for the response, and after 2 s it does not
			if err := wait.Next(t, refused, "the refusal"); !errors.Is(err, registrar.ErrTelephone) {
				t.Error(err)
			}
			if got := wait.Next(t, up.heard, "the event"); got != "DoNotDisturbEvent "+ref {
				t.Errorf("%q", got)
			}
			reply(accept(monitoring(), local))
			if want != "" {
				if got := wait.Next(t, stopped, "the end of the monitor"); got != want {
					t.Errorf("%q is stopped, want %q", got, want)
				}
			}
			h.send(disturbed("8"))
			h.send(disturbed("7"))
			if got := wait.Next(t, up.heard, "an event"); got != "DoNotDisturbEvent "+ref {
				t.Errorf("%q", got)
			}
			must(t, d, dialling("1")) // what was late is behind us
			if len(up.heard) > 0 || len(stopped) > 0 {
				t.Errorf("%d events more, %d monitors are stopped", len(up.heard), len(stopped))
			}
		})
	}
}

// What a telephone supports is what it says, or what every telephone does.
func TestFeatures(t *testing.T) {
	d, _, _ := inSession(t, func(_ *uacsta.Message, reply func(*uacsta.Message)) {
		reply(uacsta.ErrorMessage(uacsta.Refuse(uacsta.Operation, uacsta.ServiceNotSupported), uacsta.Edition3))
	})
	d.Request(dialling("1"), func(*uacsta.Message, error) {})
	answered := make(chan struct{})
	d.Request(dialling("1"), func(*uacsta.Message, error) { close(answered) })
	wait.Next(t, answered, "the response")
	if got := d.Features("100").Services; !slices.Equal(got, leastServices.Services) {
		t.Error(got)
	}
	if got := d.Features("101").Services; len(got) > 0 {
		t.Errorf("a telephone that there is not supports %v", got)
	}
}
