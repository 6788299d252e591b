package kind_test

import (
	"context"
	"fmt"
	"log/slog"
	"reflect"
	"slices"
	"strconv"
	"sync/atomic"
	"testing"

	"github.com/tr87proxy/tr87proxy/internal/config"
	"github.com/tr87proxy/tr87proxy/internal/gate"
	"github.com/tr87proxy/tr87proxy/internal/kind"
	"github.com/tr87proxy/tr87proxy/proxy"
	"github.com/tr87proxy/tr87proxy/proxy/callmodel"
	"github.com/tr87proxy/tr87proxy/proxy/linktest"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

// The link of HACKING.md, which shows what stands between the marks.

// [link
// BellsKind is the kind of links to door bells.
var BellsKind = kind.LinkOf[BellSettings]{
	Type: "bells", Check: checkBells, Build: buildBells, Devices: func(s *BellSettings) []string { return s.Numbers },
}.Kind()

// BellSettings are the keys of an entry of links, beside those of config.Link. A link that connects has kind.Peer,
// kind.Secure, kind.Times and kind.Login in it.
type BellSettings struct {
	Numbers []string `yaml:"bells"`
}

func checkBells(b *BellSettings, s *config.Section) {
	if len(b.Numbers) == 0 {
		s.Fault("bells", "must say which bells there are, such as [\"100\"]")
	}
	for i, number := range b.Numbers {
		if !config.ValidNumber(number) || slices.Contains(b.Numbers[:i], number) {
			s.Fault(fmt.Sprintf("bells[%d]", i), "must be 1 to 20 digits, * or #, and there once only")
		}
	}
}

func buildBells(b *BellSettings, env *kind.Env) (proxy.Link, error) {
	return &Bells{numbers: b.Numbers, log: env.Log}, nil
}

// Bells is a link; it implements proxy.Link. It does everything on the goroutine of Run, out of its inbox.
type Bells struct {
	numbers []string
	log     *slog.Logger
	watch   proxy.Monitors // monitors
	inbox   proxy.Inbox
	ready   atomic.Bool // it takes requests
	calls   []*bellCall // at most maxCalls
	last    int         // callID of the last call
}

// bellCall is a call; its parties are the connections of bells.
type bellCall = callmodel.Call[*callmodel.Connection]

const maxCalls = 100

// KeepsConnections implements proxy.ConnectionKeeper.
func (*Bells) KeepsConnections() {}

// Features implements proxy.FeatureLister.
func (*Bells) Features(string) uacsta.Features {
	return uacsta.Features{
		Services: append(uacsta.Mandatory(), uacsta.NameMakeCall, uacsta.NameClearConnection),
		Events:   []string{uacsta.NameOriginatedEvent, uacsta.NameDeliveredEvent, uacsta.NameConnectionClearedEvent},
	}
}

// Run implements proxy.Link: one life.
func (b *Bells) Run(ctx context.Context, up proxy.Upcalls) error {
	b.watch.Reset(up)
	defer b.watch.Reset(nil)
	b.calls = nil // nothing of the life before
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	b.inbox.Open()
	b.inbox.Guard(fail) // a panic ends this life
	ended := make(chan error, 1)
	go func() { // the inbox waits for it; a link that connects has its connection's Run here
		<-ctx.Done()
		ended <- context.Cause(ctx)
	}()
	b.inbox.Post(func() {
		b.ready.Store(true)
		up.Ready()
	})
	err := b.inbox.Run(ended)
	b.ready.Store(false)
	return err
}

// Request implements proxy.Link.
func (b *Bells) Request(req *uacsta.Message, reply func(*uacsta.Message, error)) {
	refuse := func(err error) { reply(nil, proxy.Refusal(err)) }
	if !b.ready.Load() {
		refuse(gate.ErrClosed)
		return
	}
	b.inbox.Do(func() { proxy.Perform(req, reply, b.perform) }, refuse)
}

// perform carries a service out. The answer comes before the events.
func (b *Bells) perform(service any, answer proxy.Answer) {
	switch s := service.(type) {
	case *uacsta.MonitorStart:
		answer(b.watch.Start(s, b.has))
	case *uacsta.MonitorStop:
		answer(b.watch.Stop(s))
	case *uacsta.SnapshotDevice:
		answer(b.snapshot(s.SnapshotObject.ID))
	case *uacsta.MakeCall:
		b.makeCall(s, answer)
	case *uacsta.ClearConnection:
		b.clear(s.ConnectionToBeCleared, answer)
	default:
		answer(nil, uacsta.Refuse(uacsta.Operation, uacsta.ServiceNotSupported))
	}
}

func (b *Bells) has(device string) bool { return slices.Contains(b.numbers, device) }

func (b *Bells) snapshot(device string) (any, error) {
	if !b.has(device) {
		return nil, uacsta.Refuse(uacsta.Operation, uacsta.InvalidDeviceID)
	}
	list := &uacsta.SnapshotDeviceDataList{}
	for _, call := range b.calls {
		var own *callmodel.Connection
		var others []callmodel.State
		for _, x := range call.Parties {
			if x.Device == device {
				own = x
			} else {
				others = append(others, x.State)
			}
		}
		if own != nil {
			list.SnapshotDeviceResponseInfo = append(list.SnapshotDeviceResponseInfo, uacsta.SnapshotDeviceResponseInfo{
				ConnectionIdentifier: call.Connection(own),
				LocalCallState:       uacsta.CallState{CompoundCallState: append([]callmodel.State{own.State}, others...)},
			})
		}
	}
	return uacsta.SnapshotDeviceResponse{CrossRefIDorSnapshotData: uacsta.CrossRefIDorSnapshotDeviceData{SnapshotData: list}}, nil
}

// makeCall has one bell ring another.
func (b *Bells) makeCall(s *uacsta.MakeCall, answer proxy.Answer) {
	from, to := s.CallingDevice.ID, s.CalledDirectoryNumber.ID
	switch {
	case !b.has(from):
		answer(nil, uacsta.Refuse(uacsta.Operation, uacsta.InvalidCallingDeviceID))
		return
	case !b.has(to) || to == from:
		answer(nil, uacsta.Refuse(uacsta.Operation, uacsta.InvalidCalledDeviceID))
		return
	case len(b.calls) == maxCalls:
		answer(nil, uacsta.Refuse(uacsta.SystemResourceAvailability, uacsta.ResourceBusy))
		return
	}
	call := b.open(from, to)
	caller, called := &callmodel.Connection{Device: from}, &callmodel.Connection{Device: to}
	call.Add(caller)
	answer(uacsta.MakeCallResponse{CallingDevice: call.Connection(caller)}, nil)
	b.tell(call.Originate(caller, uacsta.CauseNewCall))
	call.Add(called)
	b.tell(call.Deliver(called, uacsta.CauseNewCall))
}

// open begins a call.
func (b *Bells) open(calling, called string) *bellCall {
	b.last++
	call := &bellCall{ID: strconv.Itoa(b.last), Calling: calling, Called: called}
	b.calls = append(b.calls, call)
	return call
}

// clear ends a call for everybody in it. It finds the connection by callID and device together.
func (b *Bells) clear(id uacsta.ConnectionID, answer proxy.Answer) {
	for _, call := range b.calls {
		at := slices.IndexFunc(call.Parties, func(x *callmodel.Connection) bool { return call.ID == id.CallID && x.Device == id.DeviceID.ID })
		if at >= 0 {
			answer(uacsta.ClearConnectionResponse{}, nil)
			b.end(call, call.Parties[at])
			return
		}
	}
	answer(nil, uacsta.Refuse(uacsta.Operation, uacsta.InvalidConnectionID))
}

// end has everybody leave a call, one of them first.
func (b *Bells) end(call *bellCall, first *callmodel.Connection) {
	b.calls = slices.DeleteFunc(b.calls, func(c *bellCall) bool { return c == call })
	b.tell(call.Clear(first, uacsta.CauseNormalClearing))
	for len(call.Parties) > 0 {
		b.tell(call.Clear(call.Parties[0], uacsta.CauseNormalClearing))
	}
}

// tell sends the events of a step to the monitors.
func (b *Bells) tell(notices []callmodel.Notice) {
	for _, n := range notices {
		b.watch.Send(n.Device, n.For)
	}
}

// pressed has a bell ring once for a visitor.
func (b *Bells) pressed(number string) {
	b.inbox.Post(func() {
		call, bell := b.open("", number), &callmodel.Connection{Device: number}
		call.Add(bell)
		b.tell(call.Deliver(bell, uacsta.CauseNewCall))
		b.end(call, bell)
	})
}

// ]

func TestLinkContract(t *testing.T) {
	const wireless = "there is no wire"
	var numbers []string
	for n := 100; n < 140; n++ { // linktest calls these
		numbers = append(numbers, strconv.Itoa(n))
	}
	linktest.Test(t, linktest.Kit{
		Bubble: true,
		New: func(t testing.TB) *linktest.Rig {
			link, err := BellsKind.Build(&BellSettings{Numbers: numbers}, &kind.Env{Log: slog.New(slog.DiscardHandler)})
			if err != nil {
				t.Fatal(err)
			}
			return &linktest.Rig{Link: link, Device: "100", Called: "101", Tell: func() { link.(*Bells).pressed("100") }}
		},
		Without: map[string]string{
			"RefusedWhileDialling": wireless, "CutRequest": wireless, "CutAnswer": wireless, "SilentSwitch": wireless, "Garbage": wireless,
			"OrderOfRequests": "the link is its own switch: replies show the order",
		},
	})
}

// A file can name the kind as soon as it is in the list.
func TestBellsInAFile(t *testing.T) {
	const file = "grants: [{who: crm, control: [\"100\"]}]\nlinks:\n- name: door\n  bells: %s\n"
	kinds := config.Kinds{Links: []config.LinkKind{BellsKind}}
	c, err := config.Parse("x", fmt.Appendf(nil, file, `["100", "101"]`), kinds)
	if err != nil {
		t.Fatal(err)
	}
	if l := c.Links[0]; l.Type != "bells" || !reflect.DeepEqual(l.Devices, []string{"100", "101"}) {
		t.Errorf("%+v", l)
	}
	for bells, want := range map[string]string{
		"[]":                    "x:4: links[0].bells: must say which bells there are, such as [\"100\"]",
		"[a]":                   "x:4: links[0].bells[0]: must be 1 to 20 digits, * or #, and there once only",
		"[\"1\"]\n  belles: []": "x:5: links[0].belles: unknown key; did you mean bells?",
	} {
		if _, err := config.Parse("x", fmt.Appendf(nil, file, bells), kinds); err == nil || err.Error() != want {
			t.Errorf("%s: %v", bells, err)
		}
	}
}
