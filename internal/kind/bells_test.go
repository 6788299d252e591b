package kind_test

import (
	"context"
	"fmt"
	"log/slog"
	"reflect"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/tr87proxy/tr87proxy/internal/config"
	"github.com/tr87proxy/tr87proxy/internal/gate"
	"github.com/tr87proxy/tr87proxy/internal/kind"
	"github.com/tr87proxy/tr87proxy/proxy"
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

// Bells is a link; it implements proxy.Link. What it does, it does on the goroutine of Run, out of its inbox.
type Bells struct {
	numbers []string
	log     *slog.Logger
	watch   proxy.Monitors // monitors
	inbox   proxy.Inbox
	ready   atomic.Bool // it takes requests
	calls   int
}

// Run implements proxy.Link: one life.
func (b *Bells) Run(ctx context.Context, up proxy.Upcalls) error {
	b.watch.Reset(up)
	defer b.watch.Reset(nil)
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
		var res uacsta.SnapshotDeviceResponse
		res.CrossRefIDorSnapshotData.SnapshotData = &uacsta.SnapshotDeviceDataList{}
		answer(&res, nil)
	default:
		answer(nil, uacsta.Refuse(uacsta.Operation, uacsta.ServiceNotSupported))
	}
}

func (b *Bells) has(device string) bool { return slices.Contains(b.numbers, device) }

// pressed has a bell ring and fall silent again.
func (b *Bells) pressed(number string) {
	b.inbox.Post(func() {
		b.calls++
		own := uacsta.Conn(fmt.Sprint(b.calls), number)
		b.watch.Send(number, func(ref string) any {
			return &uacsta.DeliveredEvent{
				MonitorCrossRefID: ref, Connection: own, AlertingDevice: uacsta.Ext(number), CallingDevice: uacsta.Ext(number), CalledDevice: uacsta.Ext(number),
				LocalConnectionInfo: uacsta.Alerting, Cause: uacsta.CauseNewCall,
			}
		})
		b.watch.Send(number, func(ref string) any {
			return &uacsta.ConnectionClearedEvent{
				MonitorCrossRefID: ref, DroppedConnection: own, ReleasingDevice: uacsta.Ext(number), LocalConnectionInfo: uacsta.Null, Cause: uacsta.CauseNormalClearing,
			}
		})
	})
}

// ]

func TestLinkContract(t *testing.T) {
	const wireless, calls = "there is no wire", "a bell makes no calls"
	linktest.Test(t, linktest.Kit{
		New: func(testing.TB) *linktest.Rig {
			link, err := BellsKind.Build(&BellSettings{Numbers: []string{"100", "101"}}, &kind.Env{Log: slog.New(slog.DiscardHandler)})
			if err != nil {
				t.Fatal(err)
			}
			return &linktest.Rig{Link: link, Device: "100", Called: "101", Tell: func() { link.(*Bells).pressed("100") }}
		},
		Without: map[string]string{
			"RefusedWhileDialling": wireless, "CutRequest": wireless, "CutAnswer": wireless, "SilentSwitch": wireless, "Garbage": wireless,
			"OrderOfRequests": calls, "ReplyBeforeEvents": calls, "Snapshot": calls,
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
