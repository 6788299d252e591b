package desk

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"

	"github.com/tr87proxy/tr87proxy/internal/wait"
	"github.com/tr87proxy/tr87proxy/sip/registrar"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

// core is what a link calls.
type core struct {
	t      *testing.T
	ready  chan struct{}
	inside atomic.Int32
	heard  chan string // the name and cross reference of an event, or the name of a request
}

func (c *core) Ready() { close(c.ready) }

func (c *core) Event(m *uacsta.Message) {
	if c.inside.Add(1) > 1 {
		c.t.Error("two calls at a time about one device")
	}
	defer c.inside.Add(-1)
	c.heard <- m.Name() + " " + m.CrossRef()
}

func (c *core) Request(m *uacsta.Message) error {
	c.heard <- m.Name()
	return nil
}

// live runs a link that is ready when it returns.
func live(t *testing.T, d *Link) (up *core, stop func()) {
	t.Helper()
	up = &core{t: t, ready: make(chan struct{}), heard: make(chan string, 10000)}
	ctx, cancel := context.WithCancel(t.Context())
	over := make(chan error, 1)
	go func() { over <- d.Run(ctx, up) }()
	t.Cleanup(cancel)
	wait.Next(t, up.ready, "the link")
	return up, func() {
		t.Helper()
		cancel()
		if err := wait.Next(t, over, "the end of the link"); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	}
}

// inSession runs a link to one telephone, 100, that has a session and answers as the script says.
func inSession(t *testing.T, script func(req *uacsta.Message, reply func(*uacsta.Message))) (d *Link, h *handset, up *core) {
	t.Helper()
	h = newHandset(t)
	h.script = script
	at, err := h.ua.ListenTCP("127.0.0.1:0", nil)
	if err != nil {
		t.Fatal(err)
	}
	d = New(registrar.Config{Users: []registrar.User{{Number: "100", Contact: "sip:100@" + at.String() + ";transport=tcp"}}}, []Listening{{Transport: "tcp", Address: "127.0.0.1:0"}})
	up, stop := live(t, d)
	t.Cleanup(stop)
	wait.Next(t, h.opened, "the session")
	return d, h, up
}

// must has a request answered, and returns the response.
func must(t *testing.T, d *Link, req *uacsta.Message) *uacsta.Message {
	t.Helper()
	answers := make(chan *uacsta.Message, 1)
	d.Request(req, func(res *uacsta.Message, err error) {
		if err != nil {
			t.Errorf("%s: %v", req.Name(), err)
		}
		answers <- res
	})
	return wait.Next(t, answers, "the response to "+req.Name())
}

// monitoring is a request for a monitor on the telephone 100.
func monitoring() *uacsta.Message {
	object := uacsta.Dev("100")
	return uacsta.Encode(uacsta.MonitorStart{MonitorObject: uacsta.MonitorObject{DeviceObject: &object}}, uacsta.Edition3)
}

func stopping(ref string) *uacsta.Message {
	return uacsta.Encode(uacsta.MonitorStop{MonitorCrossRefID: ref}, uacsta.Edition3)
}

func dialling(to string) *uacsta.Message {
	return uacsta.Encode(uacsta.MakeCall{CallingDevice: uacsta.Dev("100"), CalledDirectoryNumber: uacsta.Dev(to)}, uacsta.Edition3)
}

// disturbed is an event under a reference of the telephone.
func disturbed(local string) uacsta.DoNotDisturbEvent {
	return uacsta.DoNotDisturbEvent{MonitorCrossRefID: local, Device: uacsta.Ext("100")}
}

// accept answers with the positive response, and MonitorStart with a reference.
func accept(req *uacsta.Message, local string) *uacsta.Message {
	if req.Name() == uacsta.NameMonitorStart {
		return uacsta.Encode(uacsta.MonitorStartResponse{MonitorCrossRefID: local}, uacsta.Edition3)
	}
	return uacsta.Accept(req, uacsta.Edition3)
}

// ask asks for a snapshot of the telephone 100, and returns why there is none.
func ask(t *testing.T, d *Link) error {
	t.Helper()
	answers := make(chan error, 1)
	d.Request(uacsta.Encode(uacsta.SnapshotDevice{SnapshotObject: uacsta.Dev("100")}, uacsta.Edition3), func(_ *uacsta.Message, err error) { answers <- err })
	return wait.Next(t, answers, "the response")
}
