package link

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tr87proxy/tr87proxy/tests/connections"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

// desk is a link to two ports, 201 and 202, and the connections of 201.
type desk struct {
	*bench       // of 201
	second       *fake
	active, held uacsta.ConnectionID
	foreign      uacsta.ConnectionID // of 202
}

func newDesk(t *testing.T) *desk {
	t.Helper()
	one, two := newFake(t), newFake(t)
	one.answer("ctreadcid", "arg1=OK arg2=0891234 argc=2")
	link := New(Config{AnswerTime: time.Hour, RingTime: time.Hour, CallerTime: time.Hour, Ports: []Port{
		{Number: "201", Port: 1, Address: one.l.Addr().String()}, {Number: "202", Port: 1, Address: two.l.Addr().String()},
	}})
	d := &desk{bench: &bench{one, link, &core{make(chan struct{}), make(chan *uacsta.Message, 1000)}}, second: two}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); _ = link.Run(ctx, d.core) }()
	t.Cleanup(func() { cancel(); <-ended })
	select {
	case <-d.core.ready:
	case <-time.After(patience):
		t.Fatal("the link is not up")
	}
	for _, number := range []string{"201", "202"} {
		object := uacsta.Dev(number)
		d.must(uacsta.MonitorStart{MonitorObject: uacsta.MonitorObject{DeviceObject: &object}})
	}
	d.foreign = d.calls("202")
	return d
}

func (d *desk) must(service any) *uacsta.Message {
	d.t.Helper()
	m, err := d.ask(service)
	if err != nil {
		d.t.Fatalf("%T: %v", service, err)
	}
	return m
}

// calls has a port call a number.
func (d *desk) calls(number string) uacsta.ConnectionID {
	d.t.Helper()
	m := d.must(uacsta.MakeCall{CallingDevice: uacsta.Dev(number), CalledDirectoryNumber: uacsta.Dev("1")})
	d.expect("ServiceInitiated", "Originated", "NetworkReached")
	return own(m)
}

// What a service that names connections starts from.
func (d *desk) talking() { d.active = d.calls("201") }

func (d *desk) ringing() {
	d.say("ring")
	d.hears("ctlistenforcid")
	d.say("ring")
	d.active = own(d.expect("Delivered"))
}

func (d *desk) holding() {
	d.talking()
	d.must(uacsta.HoldCall{CallToBeHeld: d.active})
	d.expect("Held")
}

func (d *desk) consulting() {
	d.talking()
	d.held = d.active
	d.active = own(d.must(uacsta.ConsultationCall{ExistingCall: d.held, ConsultedDevice: uacsta.Dev("2")}))
	d.expect("Held", "ServiceInitiated", "Originated", "NetworkReached")
}

func (d *desk) playing() {
	d.talking()
	d.must(uacsta.PlayMessage{MessageToBePlayed: "hello", OverConnection: d.active})
	d.expect("Play")
}

// situations say where a service starts from, and the command that carries it out.
var situations = map[string]struct {
	setup   func(*desk)
	command string
}{
	"AlternateCall":    {(*desk).consulting, "ctdial"},
	"AnswerCall":       {(*desk).ringing, "ctanswer"},
	"ClearConnection":  {(*desk).talking, "cthangup"},
	"ConferenceCall":   {(*desk).consulting, "ctdial"},
	"ConsultationCall": {(*desk).talking, "ctdial"},
	"GenerateDigits":   {(*desk).talking, "ctdial"},
	"HoldCall":         {(*desk).talking, "ctdial"},
	"MonitorStart":     {(*desk).talking, ""},
	"PlayMessage":      {(*desk).talking, "ctplayasync"},
	"ReconnectCall":    {(*desk).consulting, "ctdial"},
	"RecordMessage":    {(*desk).talking, "ctrecord"},
	"RetrieveCall":     {(*desk).holding, "ctdial"},
	"SnapshotCall":     {(*desk).talking, ""},
	"Stop":             {(*desk).playing, "ctplay_stop"},
	"TransferCall":     {(*desk).consulting, "cthangup"},
}

// A service is carried out on exactly the connection that it names; any other is refused, and no
// port is given a command. A device alone names its connection only where it has one.
func TestConnections(t *testing.T) {
	for service, at := range situations {
		t.Run(service, func(t *testing.T) {
			d := newDesk(t)
			at.setup(d)
			d.forget()
			named := connections.Named{Active: d.active, Held: d.held, To: "3"}
			for _, wrong := range connections.Wrong(t, service, named, d.foreign) {
				want := "invalidConnectionID"
				if service == "MonitorStart" { // calls are not monitored
					want = "invalidMonitorObject"
				}
				if _, err := d.send(wrong.Request); err == nil || !strings.HasSuffix(err.Error(), want) {
					t.Errorf("%s: %v", wrong.Name, err)
				}
			}
			_, err := d.send(connections.DeviceOnly(t, service, named))
			if d.held.CallID == "" && service != "MonitorStart" {
				if err != nil {
					t.Errorf("by the device alone: %v", err)
				}
			} else {
				if err == nil {
					t.Error("one of two connections is meant by the device alone")
				}
				if _, err := d.send(connections.Request(t, service, named)); err != nil && service != "MonitorStart" {
					t.Errorf("as it should be: %v", err)
				}
			}
			d.must(uacsta.GenerateDigits{ConnectionToSendDigits: d.foreign, CharactersToSend: "99"}) // after all that came before
			if got := d.second.commands(1); len(got) != 1 || !strings.Contains(got[0], "arg1=99") {
				t.Errorf("202 is told %q", got)
			}
			if at.command == "" {
				return
			}
			if got := d.commands(1); !strings.HasPrefix(got[0], "cmd="+at.command+" ") || len(slices.DeleteFunc(got, func(c string) bool { return strings.HasPrefix(c, "cmd=ctlisten") })) > 1 {
				t.Errorf("201 is told %q", got)
			}
		})
	}
	for _, service := range connections.Services(func(service string) bool {
		d := newDesk(t)
		d.talking()
		_, err := d.send(connections.Request(t, service, connections.Named{Active: d.active, Held: d.active, To: "1"}))
		return err == nil || !strings.HasSuffix(err.Error(), "serviceNotSupported")
	}) {
		if situations[service].setup == nil {
			t.Errorf("no situation for %s", service)
		}
	}
}

// The calls of two ports are joined only where both are named rightly.
func TestTwoPorts(t *testing.T) {
	d := newDesk(t)
	d.talking()
	d.forget()
	for name, held := range map[string]uacsta.ConnectionID{
		"another call": uacsta.Conn("0000", "202"), "the call of the first": uacsta.Conn(d.active.CallID, "202"), "no port": uacsta.Conn(d.foreign.CallID, "203"), "a call alone": {CallID: d.foreign.CallID},
	} {
		if _, err := d.ask(uacsta.ConferenceCall{HeldCall: held, ActiveCall: d.active}); err == nil || !strings.HasSuffix(err.Error(), "invalidConnectionID") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := d.ask(uacsta.ConferenceCall{HeldCall: d.foreign, ActiveCall: d.active}); err == nil || !strings.HasSuffix(err.Error(), "requestIncompatibleWithDevice") {
		t.Error(err) // they are on different machines
	}
}

func (d *desk) send(m *uacsta.Message) (*uacsta.Message, error) {
	d.t.Helper()
	return d.bench.send(m)
}

// forget forgets what the ports were told so far.
func (d *desk) forget() {
	for _, f := range []*fake{d.fake, d.second} {
		f.mu.Lock()
		f.got = nil
		f.mu.Unlock()
	}
}

// commands waits until a port was told so much, and returns it.
func (f *fake) commands(count int) []string {
	f.t.Helper()
	deadline := time.After(patience)
	for {
		f.mu.Lock()
		got := slices.Clone(f.got)
		f.mu.Unlock()
		if len(got) >= count {
			return got
		}
		select {
		case <-f.changed:
		case <-deadline:
			f.t.Fatalf("%d commands, not %d", len(got), count)
		}
	}
}
