package proxy

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tr87proxy/tr87proxy/policy"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

// opener is a link that opens whatever it is asked to, each with its own reference.
type opener struct {
	mu   sync.Mutex
	up   Upcalls
	lose chan error
	refs int
	in   []string // the calls that its device is in; nil: snapshots come in segments
}

func (o *opener) Run(ctx context.Context, up Upcalls) error {
	o.mu.Lock()
	o.up = up
	o.mu.Unlock()
	up.Ready()
	select {
	case err := <-o.lose:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (o *opener) Request(req *uacsta.Message, reply func(*uacsta.Message, error)) {
	o.mu.Lock()
	o.refs++
	ref := fmt.Sprint("r", o.refs)
	o.mu.Unlock()
	var res any
	switch req.Name() {
	case uacsta.NameMonitorStart:
		res = uacsta.MonitorStartResponse{MonitorCrossRefID: ref}
	case uacsta.NameRouteRegister:
		res = uacsta.RouteRegisterResponse{RouteRegisterReqID: ref}
	case uacsta.NameStartDataCollection:
		res = uacsta.StartDataCollectionResponse{DcollCrossRefID: ref}
	case uacsta.NameSnapshotDevice:
		if o.in != nil {
			list := &uacsta.SnapshotDeviceDataList{}
			for _, id := range o.in {
				list.SnapshotDeviceResponseInfo = append(list.SnapshotDeviceResponseInfo, uacsta.SnapshotDeviceResponseInfo{
					ConnectionIdentifier: uacsta.Conn(id, "100"), LocalCallState: uacsta.CallState{CompoundCallState: []uacsta.LocalConnectionState{uacsta.Connected}},
				})
			}
			res = uacsta.SnapshotDeviceResponse{CrossRefIDorSnapshotData: uacsta.CrossRefIDorSnapshotDeviceData{SnapshotData: list}}
			break
		}
		res = uacsta.SnapshotDeviceResponse{CrossRefIDorSnapshotData: uacsta.CrossRefIDorSnapshotDeviceData{ServiceCrossRefID: ref}}
	case uacsta.NameGetSwitchingFunctionDevices:
		res = uacsta.GetSwitchingFunctionDevicesResponse{ServiceCrossRefID: ref}
	default:
		reply(uacsta.Accept(req, uacsta.Edition3), nil)
		return
	}
	reply(uacsta.Encode(res, uacsta.Edition3), nil)
}

// mute is a client that ignores its events.
type mute struct{}

func (mute) Event(*uacsta.Message) {}
func (mute) Closed(error)          {}

// Whatever ends (the client, its monitors and associations one by one, the link, or the link's part in
// them), nothing of it stays in the tables of the core.
func TestNothingIsLeft(t *testing.T) {
	device := uacsta.Dev("100")
	opens := []any{
		uacsta.MonitorStart{MonitorObject: uacsta.MonitorObject{DeviceObject: &device}}, uacsta.RouteRegister{RouteingDevice: &device},
		uacsta.StartDataCollection{Object: &uacsta.CallObject{Device: &device}}, uacsta.SnapshotDevice{SnapshotObject: device}, uacsta.GetSwitchingFunctionDevices{},
		uacsta.SystemRegister{RequestTypes: uacsta.RequestTypes{SystemStatus: true}},
	}
	ask := func(s *Session, req any) *uacsta.Message {
		var res *uacsta.Message
		s.Request(uacsta.Encode(req, uacsta.Edition3), func(m *uacsta.Message) { res = m })
		synctest.Wait()
		return res
	}
	for way, end := range map[string]func(p *Proxy, s *Session, o *opener, answers []*uacsta.Message){
		"the client closes": func(_ *Proxy, s *Session, _ *opener, _ []*uacsta.Message) {
			s.Close(nil)
			time.Sleep(time.Minute) // the list does not come to its end
		},
		"the client is lost": func(_ *Proxy, s *Session, _ *opener, _ []*uacsta.Message) {
			s.Disconnected(nil)
			time.Sleep(time.Minute)
		},
		"the client ends each": func(_ *Proxy, s *Session, _ *opener, answers []*uacsta.Message) {
			ask(s, uacsta.MonitorStop{MonitorCrossRefID: answers[0].CrossRef()})
			ask(s, uacsta.RouteRegisterCancel{RouteRegisterReqID: answers[1].Text("routeRegisterReqID")})
			ask(s, uacsta.StopDataCollection{DcollCrossRefID: answers[2].Text("dcollCrossRefID")})
			ask(s, uacsta.SystemRegisterCancel{SysStatRegisterID: answers[5].Text("sysStatRegisterID")})
			time.Sleep(time.Hour) // the snapshot, the list and the dialogue do not come to their ends
		},
		"the link ends each": func(_ *Proxy, s *Session, o *opener, answers []*uacsta.Message) {
			for _, m := range []any{
				uacsta.MonitorStop{MonitorCrossRefID: "r1"}, uacsta.RouteEnd{CrossRefIdentifier: "d"}, uacsta.RouteRegisterAbort{RouteRegisterReqID: "r2"}, uacsta.StopDataCollection{DcollCrossRefID: "r3"},
				uacsta.SnapshotDeviceData{ServiceCrossRefID: "r4", LastSegment: true}, uacsta.SwitchingFunctionDevices{ServiceCrossRefID: "r5", LastSegment: true},
			} {
				_ = o.up.Request(uacsta.Encode(m, uacsta.Edition3))
			}
			ask(s, uacsta.SystemRegisterCancel{SysStatRegisterID: answers[5].Text("sysStatRegisterID")})
		},
		"the link is lost": func(_ *Proxy, s *Session, o *opener, answers []*uacsta.Message) {
			o.lose <- errors.New("lost")
			synctest.Wait()
			ask(s, uacsta.MonitorStop{MonitorCrossRefID: answers[0].CrossRef()})
			ask(s, uacsta.RouteRegisterCancel{RouteRegisterReqID: answers[1].Text("routeRegisterReqID")})
			ask(s, uacsta.SystemRegisterCancel{SysStatRegisterID: answers[5].Text("sysStatRegisterID")})
		},
		"the link goes": func(p *Proxy, s *Session, _ *opener, answers []*uacsta.Message) {
			p.SetLinks(nil)
			ask(s, uacsta.SystemRegisterCancel{SysStatRegisterID: answers[5].Text("sysStatRegisterID")})
		},
		"the rights go": func(p *Proxy, s *Session, _ *opener, answers []*uacsta.Message) {
			p.SetRules(policy.FromGrants(nil, policy.Grant{Who: "a", Control: []string{"101"}}), p.numbers())
			ask(s, uacsta.SystemRegisterCancel{SysStatRegisterID: answers[5].Text("sysStatRegisterID")})
			time.Sleep(time.Hour)
		},
	} {
		synctest.Test(t, func(t *testing.T) {
			o := &opener{lose: make(chan error)}
			p := New(Config{Policy: &policy.Policy{Demo: true}, Numbers: &policy.Numbers{Extensions: func(n string) bool { return len(n) == 3 }}})
			p.AddLink("opener", o, func(string) bool { return true })
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan struct{})
			go func() { p.Run(ctx); close(done) }()
			defer func() { cancel(); <-done }()
			synctest.Wait()
			l := p.list()[0].now()
			s, err := p.Open(Opening{Identity: policy.Identity{Name: "a"}}, mute{})
			if err != nil {
				t.Fatal(err)
			}
			var answers []*uacsta.Message
			for _, req := range opens {
				m := ask(s, req)
				if m.Err() != nil {
					t.Fatal(m)
				}
				answers = append(answers, m)
			}
			_ = o.up.Request(uacsta.Encode(uacsta.RouteRequest{CrossRefIdentifier: "d", RouteRegisterReqID: "r2", CurrentRoute: uacsta.Ext("100")}, uacsta.Edition3))
			o.up.Event(uacsta.Encode(uacsta.EstablishedEvent{MonitorCrossRefID: "r1", EstablishedConnection: uacsta.Conn("A", "100"), AnsweringDevice: uacsta.Ext("100")}, uacsta.Edition3))
			synctest.Wait()
			if n := left(p, s, l); n["monitors"] != 1 || n["routers"] != 1 || n["associations"] != 2 || n["lists"] != 1 || n["dialogues"] != 1 || n["pictures"] == 0 || n["registered"] != 1 {
				t.Fatalf("%s: there are %v", way, n)
			}
			end(p, s, o, answers)
			synctest.Wait()
			for what, n := range left(p, s, l) {
				if n != 0 {
					t.Errorf("%s: %s: %d are left", way, what, n)
				}
			}
		})
	}
}

// After a resynchronisation, the picture of a device takes no more memory than its calls: the previous
// picture is freed.
func TestPicturesAreGivenBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := &opener{lose: make(chan error), in: []string{"A", "B"}}
		p := New(Config{Policy: &policy.Policy{Demo: true}, Numbers: &policy.Numbers{Extensions: func(n string) bool { return len(n) == 3 }}})
		p.AddLink("opener", o, func(string) bool { return true })
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { p.Run(ctx); close(done) }()
		defer func() { cancel(); <-done }()
		synctest.Wait()
		s, err := p.Open(Opening{Identity: policy.Identity{Name: "a"}}, mute{})
		if err != nil {
			t.Fatal(err)
		}
		device := uacsta.Dev("100")
		s.Request(uacsta.Encode(uacsta.MonitorStart{MonitorObject: uacsta.MonitorObject{DeviceObject: &device}}, uacsta.Edition3), func(*uacsta.Message) {})
		synctest.Wait()
		o.up.Event(uacsta.Encode(uacsta.EstablishedEvent{MonitorCrossRefID: "r1", EstablishedConnection: uacsta.Conn("A", "100"), AnsweringDevice: uacsta.Ext("100")}, uacsta.Edition3))
		trunk := p.list()[0]
		for range 3 {
			o.lose <- errors.New("lost")
			time.Sleep(time.Minute)
			synctest.Wait()
			want := 0
			for _, c := range trunk.monitorList()[0].picture.calls {
				want += seenCallSize + len(c.id) + seenPartySize + len("100")
			}
			if taken := int(trunk.pictures.taken.Load()); taken != want || len(trunk.monitorList()[0].picture.calls) != 2 || trunk.memory.taken.Load() != 0 {
				t.Errorf("%d octets are taken, and the picture has %d; %d of snapshots", taken, want, trunk.memory.taken.Load())
			}
		}
		s.Request(uacsta.Encode(uacsta.SnapshotDevice{SnapshotObject: device}, uacsta.Edition3), func(*uacsta.Message) {})
		synctest.Wait()
		s.Close(nil)
		synctest.Wait()
		if taken := trunk.pictures.taken.Load(); taken != 0 {
			t.Errorf("%d octets are taken of nothing", taken)
		}
	})
}

// left counts what the core keeps for one session and one life.
func left(p *Proxy, s *Session, l *life) map[string]int {
	l.mu.Lock()
	defer l.mu.Unlock()
	t := l.managed
	n := map[string]int{
		"monitors": len(l.monitors.all), "routers": len(l.routers.all), "associations": len(l.associations.all), "lists": len(l.lists.all), "dialogues": len(l.dialogues.all),
		"pictures": int(t.pictures.taken.Load()), "memory": int(t.memory.taken.Load()), "queued": int(p.queued.Load()), "watches": p.watches.total(),
	}
	l.turns.mu.Mutex.Lock()
	n["questions"], n["lines"] = l.turns.out, len(l.turns.lines)
	l.turns.mu.Mutex.Unlock()
	s.mu.Mutex.Lock()
	n["session's"] = len(s.monitors) + len(s.routers) + len(s.associations) + len(s.dialogues) + s.listings + s.outstanding + len(s.queue) + len(s.held)
	if s.registered != nil {
		n["registered"] = 1
	}
	s.mu.Mutex.Unlock()
	t.mu.Mutex.Lock()
	n["trunk's"] = len(t.monitors) + len(t.routers)
	t.mu.Mutex.Unlock()
	return n
}
