package proxy_test

import (
	"context"
	"fmt"
	"sync/atomic"

	"github.com/tr87proxy/tr87proxy/internal/gate"
	"github.com/tr87proxy/tr87proxy/policy"
	"github.com/tr87proxy/tr87proxy/proxy"
	"github.com/tr87proxy/tr87proxy/proxy/callmodel"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

// office is a link: a switch with three-digit extensions, and one call, which is answered at once. The goroutine of Run
// does everything.
type office struct {
	inbox    proxy.Inbox
	monitors proxy.Monitors
	ready    atomic.Bool
	calls    int
	call     callmodel.Call[*station] // the last one; without parties once it is cleared
}

// station is a telephone in the call.
type station struct{ callmodel.Connection }

func isExtension(number string) bool { return len(number) == 3 }

// Run implements proxy.Link.
func (o *office) Run(ctx context.Context, up proxy.Upcalls) error {
	o.monitors.Reset(up)
	defer o.monitors.Reset(nil)
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	o.inbox.Open()
	o.inbox.Guard(fail) // a panic ends this life
	ended := make(chan error, 1)
	context.AfterFunc(ctx, func() { ended <- context.Cause(ctx) })
	o.inbox.Post(func() {
		o.call.Parties = nil
		o.ready.Store(true)
		up.Ready()
	})
	defer o.ready.Store(false)
	return o.inbox.Run(ended)
}

// Request implements proxy.Link.
func (o *office) Request(req *uacsta.Message, reply func(*uacsta.Message, error)) {
	refuse := func(err error) { reply(nil, proxy.Refusal(err)) }
	if !o.ready.Load() {
		refuse(gate.ErrClosed)
		return
	}
	o.inbox.Do(func() { proxy.Perform(req, reply, o.perform) }, refuse)
}

// perform carries out a service. The response comes before the events.
func (o *office) perform(service any, answer proxy.Answer) {
	switch s := service.(type) {
	case *uacsta.MonitorStart:
		answer(o.monitors.Start(s, isExtension))
	case *uacsta.MonitorStop:
		answer(o.monitors.Stop(s))
	case *uacsta.MakeCall:
		if len(o.call.Parties) > 0 {
			answer(nil, uacsta.Refuse(uacsta.SystemResourceAvailability, uacsta.ResourceLimitExceeded))
			return
		}
		caller, called := &station{}, &station{}
		caller.Device, called.Device = s.CallingDevice.ID, s.CalledDirectoryNumber.ID
		o.calls++
		o.call = callmodel.Call[*station]{ID: fmt.Sprint(o.calls), Calling: caller.Device, Called: called.Device}
		answer(&uacsta.MakeCallResponse{CallingDevice: o.call.Connection(caller)}, nil)
		o.call.Add(caller)
		o.report(o.call.Originate(caller, uacsta.CauseNewCall))
		o.call.Add(called)
		o.report(o.call.Deliver(called, o.call.Cause()))
		o.report(o.call.Establish(called, o.call.Cause()))
	case *uacsta.ClearConnection:
		answer(&uacsta.ClearConnectionResponse{}, nil)
		for _, party := range o.call.Parties {
			o.report(o.call.Clear(party, uacsta.CauseNormalClearing))
		}
	case *uacsta.SnapshotDevice:
		calls := &uacsta.SnapshotDeviceDataList{}
		for _, party := range o.call.Parties {
			if party.Device == s.SnapshotObject.ID {
				info := uacsta.SnapshotDeviceResponseInfo{ConnectionIdentifier: o.call.Connection(party)}
				info.LocalCallState.CompoundCallState = []uacsta.LocalConnectionState{party.State}
				calls.SnapshotDeviceResponseInfo = append(calls.SnapshotDeviceResponseInfo, info)
			}
		}
		answer(&uacsta.SnapshotDeviceResponse{CrossRefIDorSnapshotData: uacsta.CrossRefIDorSnapshotDeviceData{SnapshotData: calls}}, nil)
	default:
		answer(nil, uacsta.Refuse(uacsta.Operation, uacsta.ServiceNotSupported))
	}
}

// report sends events to the monitors.
func (o *office) report(notices []callmodel.Notice) {
	for _, n := range notices {
		o.monitors.Send(n.Device, n.For)
	}
}

// printer is a client that prints its events.
type printer struct{ cleared chan struct{} }

// Event implements proxy.Client.
func (p *printer) Event(ev *uacsta.Message) {
	fmt.Println("  event:", ev.Name(), "local state:", ev.Text("localConnectionInfo"))
	if ev.Name() == uacsta.NameConnectionClearedEvent {
		close(p.cleared)
	}
}

// Closed implements proxy.Client.
func (*printer) Closed(reason error) { fmt.Println("closed:", reason) }

// A link with one call, and a session over it: the client monitors telephone 100, places a call, and clears it.
func ExampleLink() {
	p := proxy.New(proxy.Config{
		Numbers: &policy.Numbers{Extensions: isExtension},
		Policy:  policy.FromGrants(isExtension, policy.Grant{Who: "crm", Control: []string{"100"}}),
	})
	p.AddLink("office", &office{}, isExtension)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	done := make(chan struct{})
	go func() {
		p.Run(ctx)
		close(done)
	}()
	if err := p.Await(ctx, "office"); err != nil {
		fmt.Println(err)
		return
	}

	client := &printer{cleared: make(chan struct{})}
	session, err := p.Open(proxy.Opening{Identity: policy.Identity{Name: "crm", How: "account"}, Front: "example"}, client)
	if err != nil {
		fmt.Println(err)
		return
	}
	ask := func(request any) *uacsta.Message {
		response := make(chan *uacsta.Message, 1)
		session.Request(uacsta.Encode(request, uacsta.Edition3), func(res *uacsta.Message) {
			fmt.Println(res.Name())
			response <- res
		})
		return <-response
	}
	own := uacsta.Dev("100")
	ask(uacsta.MonitorStart{MonitorObject: uacsta.MonitorObject{DeviceObject: &own}})
	var made uacsta.MakeCallResponse
	if err := ask(uacsta.MakeCall{CallingDevice: own, CalledDirectoryNumber: uacsta.Dev("101"), AutoOriginate: uacsta.DoNotPrompt}).Decode(&made); err != nil {
		fmt.Println(err)
		return
	}
	ask(uacsta.ClearConnection{ConnectionToBeCleared: made.CallingDevice})
	<-client.cleared
	ask(uacsta.MakeCall{CallingDevice: uacsta.Dev("101"), CalledDirectoryNumber: own, AutoOriginate: uacsta.DoNotPrompt}) // no grant
	session.Close(nil)

	cancel()
	<-done
	// Output:
	// MonitorStartResponse
	// MakeCallResponse
	//   event: OriginatedEvent local state: connected
	//   event: DeliveredEvent local state: connected
	//   event: EstablishedEvent local state: connected
	// ClearConnectionResponse
	//   event: ConnectionClearedEvent local state: null
	// CSTAErrorCode
}
