package tr87_test

import (
	"context"
	"fmt"
	"log"
	"net/netip"
	"time"

	"github.com/tr87proxy/tr87proxy/policy"
	"github.com/tr87proxy/tr87proxy/proxy"
	"github.com/tr87proxy/tr87proxy/sip"
	"github.com/tr87proxy/tr87proxy/softswitch"
	"github.com/tr87proxy/tr87proxy/tr87"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

// A client opens a session, monitors extension 100, and has it call 101, whose virtual phone
// answers after 10 ms. The server with the built-in switch runs on loopback.
func ExampleClient() {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	stop, uri, err := serve(ctx)
	if err != nil {
		log.Fatal(err)
	}
	defer stop()

	ua := sip.New(sip.Config{})
	defer ua.Close()
	events := make(chan *uacsta.Message, 10)
	client, err := tr87.Open(ctx, ua, tr87.Dial{
		To: uri, From: "sip:alice@example.com", Line: "100",
		Event: func(ev *uacsta.Message) { events <- ev },
	})
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()

	line := uacsta.Dev("100")
	for _, req := range []any{
		uacsta.MonitorStart{MonitorObject: uacsta.MonitorObject{DeviceObject: &line}},
		uacsta.MakeCall{CallingDevice: line, CalledDirectoryNumber: uacsta.Dev("101"), AutoOriginate: uacsta.DoNotPrompt},
	} {
		res, err := client.Request(ctx, uacsta.Encode(req, uacsta.Edition3))
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(res.Name())
	}
	for range 4 {
		select {
		case ev := <-events:
			fmt.Println(ev.Name(), ev.Text("localConnectionInfo"))
		case <-ctx.Done():
			log.Fatal(ctx.Err())
		}
	}
	// No rule lets Alice call 999.
	_, err = client.Request(ctx, uacsta.Encode(uacsta.MakeCall{CallingDevice: line, CalledDirectoryNumber: uacsta.Dev("999")}, uacsta.Edition3))
	fmt.Println(err)

	// Output:
	// MonitorStartResponse
	// MakeCallResponse
	// ServiceInitiatedEvent initiated
	// OriginatedEvent connected
	// DeliveredEvent connected
	// EstablishedEvent connected
	// operation/privilegeViolationCalledDevice
}

// serve starts a TR/87 server with the built-in switch. It returns its URI, and a function that
// stops it.
func serve(ctx context.Context) (stop func(), uri string, err error) {
	sw, err := softswitch.New(softswitch.Config{Extensions: []softswitch.Extension{
		{Number: "100"}, {Number: "101", Phone: softswitch.Behaviour{Answer: 10 * time.Millisecond}},
	}})
	if err != nil {
		return nil, "", err
	}
	rules := policy.FromGrants(sw.Has, policy.Grant{Who: "sip:alice@example.com", Control: []string{"100"}})
	rules.Trusted = []policy.Peer{{Network: netip.MustParsePrefix("127.0.0.0/8")}}
	core := proxy.New(proxy.Config{Policy: rules, Numbers: &policy.Numbers{Extensions: sw.Has}})
	core.AddLink("switch", sw, sw.Has)
	running, end := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() { core.Run(running); close(done) }()
	ua := sip.New(sip.Config{Handler: tr87.NewServer(tr87.ServerConfig{Proxy: core, Trusts: rules.Trusts})})
	stop = func() { ua.Close(); end(); <-done }
	if err := core.Await(ctx, "switch"); err != nil {
		stop()
		return nil, "", err
	}
	addr, err := ua.ListenTCP("127.0.0.1:0", nil)
	if err != nil {
		stop()
		return nil, "", err
	}
	return stop, "sip:tr87@" + addr.String() + ";transport=tcp", nil
}
