package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/tr87proxy/tr87proxy/internal/config"
	"github.com/tr87proxy/tr87proxy/internal/daemon"
	"github.com/tr87proxy/tr87proxy/sip"
	"github.com/tr87proxy/tr87proxy/tr87"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

// demoPhones serves two real telephones on loopback, and controls them once both have
// registered.
func demoPhones(ctx context.Context, out io.Writer, port, phones int, web *demoAPI, once bool) error {
	cfg := daemon.Default()
	cfg.Demo = true
	cfg.Operations.Address = ""
	address := fmt.Sprintf("127.0.0.1:%d", port)
	register := fmt.Sprintf("127.0.0.1:%d", phones)
	cfg.Front("sip").(*tr87.FrontSettings).Listen = []config.Listener{{Transport: "tcp", Address: address}}
	cfg.Switch.Extensions = []config.Extension{
		{Number: "100", Name: "Alice", SIP: &config.Telephone{Password: demoPassword}},
		{Number: "101", Name: "Bob", SIP: &config.Telephone{Password: demoPassword}},
		{Number: "102", Name: "Virtual", Answer: 3 * time.Second},
	}
	if err := web.serve(cfg); err != nil {
		return err
	}
	cfg.Telephones.Listen = []config.Listener{{Transport: "udp", Address: register}, {Transport: "tcp", Address: register}}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	served, stopped, err := runDemo(ctx, cfg, web.log, "is another proxy, or a telephone, on this port? try --port 15062 --phone-port 15060 --api 127.0.0.1:18880 --console 127.0.0.1:18870")
	if err != nil {
		return err
	}
	address, register = served["tcp"], served["telephones/udp"]
	instructions := fmt.Sprintf(`Register two SIP telephones on this machine, for example baresip or Linphone:

  server      %[1]s (UDP or TCP)
  user        100 and 101, one for each telephone
  password    %[2]s

With baresip, one line of ~/.baresip/accounts for each:
  <sip:100@%[1]s;transport=udp>;auth_pass=%[2]s

Once both are there, a CSTA client calls from 100 to 101: lift both.

`, register, demoPassword)
	result := controlPhones(ctx, out, address, instructions)
	if once || result != nil {
		stop()
		return errors.Join(result, <-stopped)
	}
	fmt.Fprintf(out, `
Both telephones are yours now: call by hand, or control them from another terminal:
  tr87proxy monitor 100 101 --server "sip:tr87proxy@%[1]s;transport=tcp"
  tr87proxy call 100 101    --server "sip:tr87proxy@%[1]s;transport=tcp"
  tr87proxy hold 100        --server "sip:tr87proxy@%[1]s;transport=tcp"
  tr87proxy dnd 101 on      --server "sip:tr87proxy@%[1]s;transport=tcp"
102 is a virtual telephone that answers by itself.
%[2]sPress Ctrl-C to stop.
`, address, web.console.hint(served["console/tcp"]))
	return <-stopped
}

const demoPassword = "demo" // on loopback only

// controlPhones monitors both telephones, prints how to register them, waits until both are registered, and controls
// a call between them.
func controlPhones(ctx context.Context, out io.Writer, address, instructions string) error {
	ua := sip.New(sip.Config{UserAgent: "tr87proxy-demo"})
	defer ua.Close()
	p := &play{out: out, events: make(chan *uacsta.Message, 256), refs: map[string]string{}}
	opening, cancel := context.WithTimeout(ctx, demoPatience)
	defer cancel()
	client, err := tr87.Open(opening, ua, tr87.Dial{
		To: "sip:tr87proxy@" + address + ";transport=tcp", From: "sip:demo@localhost", Line: "tel:100",
		Event: func(m *uacsta.Message) { p.events <- m },
	})
	if err != nil {
		return err
	}
	defer client.Close()
	p.client = client
	for _, device := range []string{"100", "101"} {
		object := uacsta.Dev(device)
		res, err := p.client.Request(opening, uacsta.Encode(uacsta.MonitorStart{MonitorObject: uacsta.MonitorObject{DeviceObject: &object}}, uacsta.Edition3))
		if err != nil {
			return err
		}
		p.refs[res.CrossRef()] = device
	}
	fmt.Fprint(out, instructions) // not before the monitors: a telephone may register at once
	there := map[string]bool{}
	for len(there) < 2 {
		m, device, err := p.next(ctx)
		if err != nil {
			return err
		}
		switch m.Name() {
		case uacsta.NameBackInServiceEvent:
			there[device] = true
		case uacsta.NameOutOfServiceEvent:
			delete(there, device)
		}
	}
	res, err := p.request(ctx, uacsta.MakeCall{
		CallingDevice: uacsta.Dev("100"), CalledDirectoryNumber: uacsta.Dev("101"), AutoOriginate: uacsta.DoNotPrompt,
	}, "MakeCall 100 -> 101")
	if err != nil {
		return err
	}
	if err := p.until(ctx, uacsta.NameEstablishedEvent); err != nil {
		return err
	}
	own := uacsta.Conn(res.Connections()[0].CallID(), "100")
	for _, s := range []struct {
		req   any
		what  string
		event string
	}{
		{uacsta.HoldCall{CallToBeHeld: own}, uacsta.NameHoldCall, uacsta.NameHeldEvent},
		{uacsta.RetrieveCall{CallToBeRetrieved: own}, uacsta.NameRetrieveCall, uacsta.NameRetrievedEvent},
		{uacsta.ClearConnection{ConnectionToBeCleared: own}, uacsta.NameClearConnection, uacsta.NameConnectionClearedEvent},
	} {
		select {
		case <-time.After(3 * time.Second): // so that the user can listen
		case <-ctx.Done():
			return ctx.Err()
		}
		if _, err := p.request(ctx, s.req, s.what); err != nil {
			return err
		}
		if err := p.until(ctx, s.event); err != nil {
			return err
		}
	}
	return nil
}

// next shows the next event, and returns it with the device of its monitor.
func (p *play) next(ctx context.Context) (*uacsta.Message, string, error) {
	select {
	case m := <-p.events:
		device := p.refs[m.CrossRef()]
		p.line(eventLine, fmt.Sprintf("%-17s at %s", strings.TrimSuffix(m.Name(), "Event"), device))
		return m, device, nil
	case <-ctx.Done():
		return nil, "", ctx.Err()
	}
}

// until waits for an event at both telephones.
func (p *play) until(ctx context.Context, event string) error {
	seen := map[string]bool{}
	for len(seen) < 2 {
		m, device, err := p.next(ctx)
		switch {
		case err != nil:
			return err
		case m.Name() == event:
			seen[device] = true
		case m.Name() == uacsta.NameConnectionClearedEvent, m.Name() == uacsta.NameFailedEvent:
			return errors.New("the call has ended: was it not answered?")
		}
	}
	return nil
}
