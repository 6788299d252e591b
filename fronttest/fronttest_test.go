package fronttest

import (
	"bufio"
	"encoding/binary"
	"errors"
	"io"
	"log/slog"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/tr87proxy/tr87proxy/proxy"
	"github.com/tr87proxy/tr87proxy/share"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

// plain is the smallest front there is: documents in XML, each behind its number and its length. 0 is
// an event. It can be told to do one thing wrong.
type plain struct {
	core  *proxy.Proxy
	log   *slog.Logger
	fault string

	mu    sync.Mutex
	conns map[net.Conn]struct{}
	group sync.WaitGroup
}

func kitOf(fault string) Kit {
	return Kit{
		Start: func(p *proxy.Proxy, log *slog.Logger) (Front, error) {
			l, err := Listen()
			if err != nil {
				return Front{}, err
			}
			f := &plain{core: p, log: log, fault: fault, conns: map[net.Conn]struct{}{}}
			f.group.Go(func() { f.accept(l) })
			return Front{Dial: func(string) (net.Conn, error) { return net.Dial("tcp", l.Addr().String()) }, Stop: func() { _ = l.Close(); f.stop() }}, nil
		},
		Wire: func(nc net.Conn, _ string) Wire { return &plainWire{nc: nc, r: bufio.NewReader(nc)} },
	}
}

func (f *plain) accept(l net.Listener) {
	for {
		nc, err := l.Accept()
		if err != nil {
			return
		}
		f.mu.Lock()
		f.conns[nc] = struct{}{}
		f.mu.Unlock()
		f.group.Go(func() { f.serve(nc) })
	}
}

func (f *plain) stop() {
	if f.fault == "does not stop" {
		return
	}
	f.mu.Lock()
	for nc := range f.conns {
		_ = nc.Close()
	}
	f.mu.Unlock()
	f.group.Wait()
}

func (f *plain) serve(nc net.Conn) {
	defer func() {
		_ = nc.Close()
		f.mu.Lock()
		delete(f.conns, nc)
		f.mu.Unlock()
	}()
	c := &plainClient{front: f, nc: nc}
	session, err := f.core.Open(proxy.Opening{Identity: Somebody, Front: "plain", Peer: nc.RemoteAddr().String()}, c)
	if err != nil {
		return
	}
	if f.fault != "keeps the session" {
		defer session.Lose(errors.New("the connection has ended"))
	}
	for r := bufio.NewReader(nc); ; {
		n, m, err := readPlain(r)
		if err != nil {
			return
		}
		if !c.request(session, n, m) {
			return
		}
	}
}

// plainClient is a proxy.Client.
type plainClient struct {
	front *plain
	nc    net.Conn

	mu     sync.Mutex
	asked  []int
	events int
	ref    string
	kept   func()
}

func (c *plainClient) request(session *proxy.Session, n int, m *uacsta.Message) (goesOn bool) {
	defer share.Survive(c.front.log, "a request", func(error) { goesOn = c.front.fault == "survives a panic" })
	c.mu.Lock()
	c.asked = append(c.asked, n)
	c.mu.Unlock()
	session.Request(m, func(res *uacsta.Message) { c.answer(n, res) })
	return true
}

func (c *plainClient) answer(n int, res *uacsta.Message) {
	c.mu.Lock()
	first := c.asked[0]
	c.asked = c.asked[1:]
	c.mu.Unlock()
	if res == nil {
		return
	}
	switch c.front.fault {
	case "answers twice":
		c.write(n, res)
	case "answers in the order of requests":
		n = first
	case "answers after the event":
		if res.Name() == "MakeCallResponse" {
			c.kept = func() { c.write(n, res) }
			return
		}
	case "answers nothing":
		if n%7 == 0 {
			return
		}
	}
	c.write(n, res)
}

func (c *plainClient) Event(ev *uacsta.Message) {
	c.events++
	switch c.front.fault {
	case "loses an event":
		if c.events%20 == 0 {
			return
		}
	case "doubles an event":
		if c.events%20 == 0 {
			c.write(0, ev)
		}
	case "mixes references":
		if c.ref == "" {
			c.ref = ev.CrossRef()
		}
		ev.SetCrossRef(c.ref)
	}
	c.write(0, ev)
	if c.kept != nil {
		c.kept()
		c.kept = nil
	}
}

func (c *plainClient) Closed(error) {
	if c.front.fault != "stays when it is closed" {
		_ = c.nc.Close()
	}
}

func (c *plainClient) write(n int, m *uacsta.Message) {
	_ = c.nc.SetWriteDeadline(time.Now().Add(200 * time.Millisecond))
	if err := writePlain(c.nc, n, m); err != nil {
		_ = c.nc.Close()
	}
}

func writePlain(w io.Writer, n int, m *uacsta.Message) error {
	document := m.Bytes()
	head := binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(nil, uint32(n)), uint32(len(document)))
	_, err := w.Write(append(head, document...))
	return err
}

func readPlain(r io.Reader) (int, *uacsta.Message, error) {
	head := make([]byte, 8)
	if _, err := io.ReadFull(r, head); err != nil {
		return 0, nil, err
	}
	document := make([]byte, min(binary.BigEndian.Uint32(head[4:]), 1<<16))
	if _, err := io.ReadFull(r, document); err != nil {
		return 0, nil, err
	}
	m, err := uacsta.Parse(document)
	return int(binary.BigEndian.Uint32(head)), m, err
}

// plainWire is the client's end.
type plainWire struct {
	nc net.Conn
	r  *bufio.Reader
}

func (*plainWire) Open() error                                { return nil }
func (w *plainWire) Request(n int, req *uacsta.Message) error { return writePlain(w.nc, n, req) }
func (w *plainWire) Leave() error                             { return w.nc.(*net.TCPConn).CloseWrite() }
func (w *plainWire) Read() (Heard, error) {
	n, m, err := readPlain(w.r)
	return Heard{Answer: n, Message: m}, err
}

// A front that does all right passes.
func TestPlain(t *testing.T) { Test(t, kitOf("")) }

// Each check fails where a front does wrong what it looks at.
func TestFaults(t *testing.T) {
	caught := map[string]bool{}
	for fault, name := range map[string]string{
		"answers after the event":          "answers come before events",
		"answers nothing":                  "many requests",
		"answers twice":                    "many requests",
		"answers in the order of requests": "answers out of order",
		"loses an event":                   "events in order",
		"doubles an event":                 "events in order",
		"mixes references":                 "own references",
		"keeps the session":                "taking leave",
		"survives a panic":                 "a panic",
		"stays when it is closed":          "the core ends the session",
		"does not stop":                    "the front stops",
	} {
		kit := kitOf(fault)
		kit.Patience = 500 * time.Millisecond
		for _, c := range checks {
			if c.name == name {
				caught[fault] = c.play(kit) != nil
			}
		}
		if !caught[fault] {
			t.Errorf("%q does not see that a front %s", name, fault)
		}
	}
}
