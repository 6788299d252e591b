package fronttest

import (
	"bufio"
	"encoding/binary"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tr87proxy/tr87proxy/internal/share"
	"github.com/tr87proxy/tr87proxy/proxy"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

// plain is a minimal front: XML documents, each after its number and length. Number 0 is an event;
// without a document it is the client's goodbye, and the front's response to that. It can have one
// fault.
type plain struct {
	core  *proxy.Proxy
	log   *slog.Logger
	fault string

	mu      sync.Mutex
	conns   map[net.Conn]struct{}
	group   sync.WaitGroup
	writing chan struct{} // full while one writes for whom all wait
	forever chan struct{}
}

// kitOf returns a kit of fronts with one fault. forever ends what they leave behind.
func kitOf(fault string, forever chan struct{}) Kit {
	return Kit{
		Start: func(p *proxy.Proxy, log *slog.Logger, listen Listen) (Front, error) {
			l, dial, err := listen()
			if err != nil {
				return Front{}, err
			}
			f := &plain{core: p, log: log, fault: fault, conns: map[net.Conn]struct{}{}, writing: make(chan struct{}, 1), forever: forever}
			f.group.Go(func() { f.accept(l) })
			return Front{Dial: func(string) (net.Conn, error) { return dial() }, Stop: func() { _ = l.Close(); f.stop() }}, nil
		},
		Bubble: true,
		Wire:   func(nc net.Conn, _ string) Wire { return &plainWire{nc: nc, r: bufio.NewReader(nc)} },
	}
}

func (f *plain) accept(l net.Listener) {
	for {
		nc, err := l.Accept()
		if err != nil {
			return
		}
		f.mu.Lock()
		closed := f.conns == nil
		if !closed {
			f.conns[nc] = struct{}{}
		}
		f.mu.Unlock()
		if closed {
			_ = nc.Close()
			return
		}
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
	f.conns = nil
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
	c := &plainClient{front: f, nc: nc, writing: make(chan struct{}, 1)}
	session, err := f.core.Open(proxy.Opening{Identity: Somebody, Front: "plain", Peer: nc.RemoteAddr().String()}, c)
	if err != nil {
		return
	}
	if f.fault == "leaves a goroutine" {
		go func() { <-f.forever }()
	}
	r := bufio.NewReader(nc)
	for {
		n, m, err := readPlain(r)
		var unclear *uacsta.Unclear
		switch {
		case errors.As(err, &unclear):
			c.unclear(session, n, unclear)
			continue
		case err == nil && m == nil: // it takes leave
			c.leave(session)
			return
		case err == nil:
			if c.request(session, n, m) {
				continue
			}
			err = errors.New("a panic")
		}
		switch {
		case f.fault == "keeps the session", f.fault == "keeps the session of a client that breaks off" && errors.Is(err, io.ErrUnexpectedEOF):
		case f.fault == "takes a lost client for one that leaves":
			session.Close(err)
		default:
			session.Disconnected(err)
		}
		return
	}
}

// plainClient is a proxy.Client.
type plainClient struct {
	front *plain
	nc    net.Conn

	mu     sync.Mutex
	asked  []int
	kept   []func() // what is to come later
	held   func()   // a request that is to come later
	events int
	ref    string
	last   *uacsta.Message

	writing chan struct{} // full while one writes; a mutex would stop the time of a bubble
	left    bool          // nothing is written any more
}

func (c *plainClient) leave(session *proxy.Session) {
	switch c.front.fault {
	case "takes a client that leaves for a lost one":
		session.Disconnected(io.EOF)
	case "keeps the session":
	default:
		session.Close(io.EOF)
	}
	c.mu.Lock()
	last := c.last
	c.mu.Unlock()
	c.writing <- struct{}{}
	defer func() { <-c.writing }()
	c.left = true
	_ = c.nc.SetWriteDeadline(time.Now().Add(patience))
	_, _ = c.nc.Write(make([]byte, 8))
	if c.front.fault == "goes on after the end" && last != nil {
		_ = writePlain(c.nc, 0, last)
	}
}

func (c *plainClient) request(session *proxy.Session, n int, m *uacsta.Message) (goesOn bool) {
	defer share.Survive(c.front.log, "a request", func(error) { goesOn = c.front.fault == "survives a panic" })
	c.mu.Lock()
	c.asked = append(c.asked, n)
	c.mu.Unlock()
	ask := func() { session.Request(m, func(res *uacsta.Message) { c.answer(n, res) }) }
	switch held := c.held; {
	case c.front.fault != "hands requests over in another order" || n%3 == 2 && held == nil:
		ask()
	case held == nil:
		c.held = ask
	default:
		c.held = nil
		ask()
		held()
	}
	return true
}

// unclear handles a request that can be read in two ways.
func (c *plainClient) unclear(session *proxy.Session, n int, u *uacsta.Unclear) {
	switch c.front.fault {
	case "leaves an ambiguous request alone":
	case "takes an ambiguous request for one of its readings":
		c.request(session, n, uacsta.Encode(uacsta.SetDoNotDisturb{Device: uacsta.Dev(Devices[1]), DoNotDisturbOn: true}, uacsta.Edition3))
	default:
		c.mu.Lock()
		c.asked = append(c.asked, n)
		c.mu.Unlock()
		session.Unclear(u, func(res *uacsta.Message) { c.answer(n, res) })
	}
}

// later delays a message until after the next one.
func (c *plainClient) later(what func()) { c.kept = append(c.kept, what) }

// flush writes the delayed messages.
func (c *plainClient) flush() {
	kept := c.kept
	c.kept = nil
	for _, write := range kept {
		write()
	}
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
	case "answers MakeCall after the event":
		if res.Name() == uacsta.NameMakeCallResponse {
			c.later(func() { c.write(n, res) })
			return
		}
	case "answers MonitorStart after the event":
		if res.Name() == uacsta.NameMonitorStartResponse {
			c.later(func() { c.write(n, res) })
			return
		}
	case "answers in another order":
		if n%5 == 0 && len(c.kept) == 0 {
			c.later(func() { c.write(n, res) })
			return
		}
	case "answers once":
		if n > 1 {
			return
		}
	case "answers nothing":
		if n%7 == 0 {
			return
		}
	}
	c.write(n, res)
	c.flush()
	if c.front.fault == "tells events after the end of their monitor" && res.Name() == uacsta.NameMonitorStopResponse && c.last != nil {
		c.write(0, c.last)
	}
}

func (c *plainClient) Event(ev *uacsta.Message) {
	c.mu.Lock()
	c.last = ev
	c.mu.Unlock()
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
	case "tells events in another order":
		if c.events%5 == 0 {
			c.later(func() { c.write(0, ev) })
			return
		}
	case "mixes references":
		if c.ref == "" {
			c.ref = ev.CrossRef()
		}
		ev.SetCrossRef(c.ref)
	}
	c.write(0, ev)
	c.flush()
}

func (c *plainClient) Closed(error) {
	if c.front.fault != "stays when it is closed" {
		_ = c.nc.Close()
	}
}

// patience is how long the front waits for a client to read a message.
const patience = 2 * time.Second

func (c *plainClient) write(n int, m *uacsta.Message) {
	if c.front.fault == "has all wait for a slow client" {
		c.front.writing <- struct{}{}
		defer func() { <-c.front.writing }()
	}
	c.writing <- struct{}{}
	defer func() { <-c.writing }()
	if c.left {
		return
	}
	if c.front.fault != "waits for a slow client" {
		_ = c.nc.SetWriteDeadline(time.Now().Add(patience))
	}
	if err := writePlain(c.nc, n, m); err != nil {
		_ = c.nc.Close()
	}
}

func writePlain(w io.Writer, n int, m *uacsta.Message) error {
	return writeDocument(w, n, m.Bytes())
}

func writeDocument(w io.Writer, n int, document []byte) error {
	head := binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(nil, uint32(n)), uint32(len(document)))
	_, err := w.Write(append(head, document...))
	return err
}

// readPlain reads a message; nil is a goodbye.
func readPlain(r io.Reader) (int, *uacsta.Message, error) {
	head := make([]byte, 8)
	if _, err := io.ReadFull(r, head); err != nil {
		return 0, nil, err
	}
	document := make([]byte, min(binary.BigEndian.Uint32(head[4:]), 1<<16))
	if len(document) == 0 {
		return 0, nil, nil
	}
	if _, err := io.ReadFull(r, document); err != nil {
		return 0, nil, io.ErrUnexpectedEOF
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
func (w *plainWire) Document(n int, document []byte) error    { return writeDocument(w.nc, n, document) }
func (w *plainWire) Leave() error                             { _, err := w.nc.Write(make([]byte, 8)); return err }
func (w *plainWire) Read() (Heard, error) {
	n, m, err := readPlain(w.r)
	if err == nil && m == nil {
		err = io.EOF
	}
	return Heard{Answer: n, Message: m}, err
}

// A correct front passes.
func TestPlain(t *testing.T) { Test(t, kitOf("", nil)) }

// The package documentation lists the checks in order.
func TestListed(t *testing.T) {
	doc, err := os.ReadFile("doc.go")
	if err != nil {
		t.Fatal(err)
	}
	var listed, played []string
	for _, line := range regexp.MustCompile(`(?m)^//   - ([^:\n]+): \S`).FindAllStringSubmatch(string(doc), -1) {
		listed = append(listed, line[1])
	}
	for _, c := range checks {
		played = append(played, c.name)
	}
	if !slices.Equal(listed, played) {
		t.Errorf("doc.go lists\n%q, played are\n%q", listed, played)
	}
}

// Each check fails for a front with the fault that it looks for.
func TestFaults(t *testing.T) {
	for fault, found := range map[string]struct{ by, says string }{
		"answers MakeCall after the event":                   {"answers come before events", "before the response to"},
		"answers nothing":                                    {"many requests", "100 got the response to its request 8 before that to 7"},
		"answers once":                                       {"many requests", "100: no response to request 2 (GetForwarding) within 500ms"},
		"answers twice":                                      {"many requests", "which does not wait for one"},
		"leaves an ambiguous request alone":                  {"an ambiguous request", "100 got the response to its request 3 before that to 2"},
		"takes an ambiguous request for one of its readings": {"an ambiguous request", "it succeeded"},
		"answers in the order of requests":                   {"answers out of order", ""},
		"loses an event":                                     {"events in order", "100 got mark 20 instead of 19"},
		"doubles an event":                                   {"events in order", "100 got mark 19 instead of 20"},
		"mixes references":                                   {"own references", ""},
		"keeps the session":                                  {"taking leave", "1 session is still open after the client left: call Session.Close or Session.Disconnected"},
		"takes a lost client for one that leaves":            {"a lost client comes back", "the switching function was asked for 2 monitors"},
		"takes a client that leaves for a lost one":          {"a lost client comes back", "no monitor is left: not within 500ms"},
		"survives a panic":                                   {"a panic", "the association of 100 does not end within 500ms"},
		"stays when it is closed":                            {"the core ends the session", "the association of 100 does not end within 500ms"},
		"does not stop":                                      {"the front stops", "the association of 100 does not end within 500ms"},
	} {
		kit := kitOf(fault, nil)
		kit.Patience = 500 * time.Millisecond
		for _, c := range checks {
			if c.name != found.by {
				continue
			}
			if err := c.play(kit, false); err == nil || !strings.Contains(err.Error(), found.says) {
				t.Errorf("of a front that %s, %q does not say %q, but %v", fault, found.by, found.says, err)
			}
		}
	}
}

// histories finds each fault.
func TestFaultsInHistories(t *testing.T) {
	for _, fault := range []string{
		"answers nothing", "answers twice", "answers in another order", "answers in the order of requests",
		"answers MakeCall after the event", "answers MonitorStart after the event", "hands requests over in another order",
		"loses an event", "doubles an event", "tells events in another order", "tells events after the end of their monitor", "mixes references",
		"goes on after the end", "stays when it is closed", "survives a panic",
		"has all wait for a slow client", "waits for a slow client",
		"keeps the session", "keeps the session of a client that breaks off", "does not stop", "leaves a goroutine",
	} {
		t.Run(fault, func(t *testing.T) {
			for seed := range 300 {
				h := drawn.Example(seed)
				err := inside(t, true, func() error {
					forever := make(chan struct{})
					defer close(forever)
					return h.play(kitOf(fault, forever), true)
				})
				if err != nil {
					t.Logf("in history %d: %.200s", seed, err)
					return
				}
			}
			t.Error("it is not found")
		})
	}
}
