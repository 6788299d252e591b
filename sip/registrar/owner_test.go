package registrar

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tr87proxy/tr87proxy/internal/wait"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

var patience = wait.Limit

// owner records what a server tells.
type owner struct {
	t        *testing.T
	inside   atomic.Int32
	standing chan string // "100 {true false true}"
	heard    chan string // of the tasks: "open", "closed", the name and cross reference of an event
	told     func()      // called by Standing
	late     func(n *Session, req, res *uacsta.Message)
}

func anOwner(t *testing.T) *owner {
	return &owner{t: t, standing: make(chan string, 10000), heard: make(chan string, 10000)}
}

func (o *owner) Standing(number string, s Standing) {
	if o.told != nil {
		o.told()
	}
	o.standing <- fmt.Sprint(number, " ", s)
}

func (o *owner) Session(_ string, n *Session) {
	defer o.alone()()
	if n == nil {
		o.heard <- "closed"
	} else {
		o.heard <- "open"
	}
}

func (o *owner) Event(_ string, m *uacsta.Message) {
	defer o.alone()()
	o.heard <- m.Name() + " " + m.CrossRef()
}

func (o *owner) Late(_ string, n *Session, req, res *uacsta.Message) {
	defer o.alone()()
	if o.late != nil {
		o.late(n, req, res)
	}
}

func (o *owner) Ask(number string, _ *Model, req *uacsta.Message) (*uacsta.Message, error) {
	if req.Name() != uacsta.NameGetDoNotDisturb {
		return nil, uacsta.Refuse(uacsta.Operation, uacsta.ServiceNotSupported)
	}
	on := number == "100"
	return uacsta.Encode(uacsta.GetDoNotDisturbResponse{DoNotDisturbOn: on}, uacsta.Edition3), nil
}

// alone checks that one upcall at a time comes.
func (o *owner) alone() (leave func()) {
	if o.inside.Add(1) > 1 {
		o.t.Error("two upcalls at a time about one extension")
	}
	return func() { o.inside.Add(-1) }
}

// scripted is a session with a telephone that answers as it is told to.
type scripted struct {
	answer func(ctx context.Context, req *uacsta.Message) (*uacsta.Message, error)
	closed chan struct{}
}

func (p *scripted) Request(ctx context.Context, req *uacsta.Message) (*uacsta.Message, error) {
	return p.answer(ctx, req)
}

func (p *scripted) Close() { close(p.closed) }

// inSession makes a server for one telephone, 100, that has a session.
func inSession(t *testing.T, answer func(context.Context, *uacsta.Message) (*uacsta.Message, error)) (s *Server, u *user, phone *scripted, o *owner) {
	t.Helper()
	o = anOwner(t)
	s = New(Config{Users: []User{{Number: "100", Password: "secret", UACSTA: Always}}}, o)
	phone = &scripted{answer, make(chan struct{})}
	u = s.users["100"]
	u.bindings = []*binding{{contact: "sip:100@127.0.0.1", static: true, expires: time.Now().Add(time.Hour), csta: csta{client: phone}}}
	u.served = s.session(u)
	t.Cleanup(s.Close)
	return s, u, phone, o
}

// request asks the telephone 100.
func (s *Server) request(req *uacsta.Message, reply func(*uacsta.Message, error)) {
	s.Request("100", func(*Session) (*uacsta.Message, error) { return req, nil }, reply)
}

func dialling(to string) *uacsta.Message {
	return uacsta.Encode(uacsta.MakeCall{CallingDevice: uacsta.Dev("100"), CalledDirectoryNumber: uacsta.Dev(to)}, uacsta.Edition3)
}

// monitoring is a MonitorStart for the telephone 100.
func monitoring() *uacsta.Message {
	object := uacsta.Dev("100")
	return uacsta.Encode(uacsta.MonitorStart{MonitorObject: uacsta.MonitorObject{DeviceObject: &object}}, uacsta.Edition3)
}

// disturbed is an event under a reference of the telephone.
func disturbed(local string) *uacsta.Message {
	return uacsta.Encode(uacsta.DoNotDisturbEvent{MonitorCrossRefID: local, Device: uacsta.Ext("100")}, uacsta.Edition3)
}

// started answers MonitorStart with a reference.
func started(local string) (*uacsta.Message, error) {
	return uacsta.Encode(uacsta.MonitorStartResponse{MonitorCrossRefID: local}, uacsta.Edition3), nil
}

func accept(_ context.Context, req *uacsta.Message) (*uacsta.Message, error) {
	return uacsta.Accept(req, uacsta.Edition3), nil
}
