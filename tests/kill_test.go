package tests

import (
	"bufio"
	octets "encoding/binary"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/tr87proxy/tr87proxy/uacsta"
)

// wire stands between a proxy's link and its switch, and breaks as it is told.
type wire struct {
	t    *testing.T
	l    net.Listener
	back string
	read func(*bufio.Reader) (frame []byte, err error)
	pass func() passage // of each connection; nil: frames pass as they are

	frames       atomic.Int64 // that have passed
	begun, ended atomic.Int64 // connections

	mu    sync.Mutex
	now   breakage // of the connection that there is
	next  breakage // of the one after it
	conns []net.Conn
}

// passage changes frames on their way: requests are those that go to the switch. It is called by
// two goroutines.
type passage func(frame []byte, requests bool) []byte

// breakage is how a connection breaks, after so many more frames from the switch.
type breakage struct {
	how   string // "": it holds; cut, torn or silent
	after int
}

func newWire(t *testing.T, port int) *wire {
	t.Helper()
	w := &wire{t: t, back: fmt.Sprintf("127.0.0.1:%d", port), read: readXML}
	w.listen()
	return w
}

// listen begins to take connections; its fields are set by then.
func (w *wire) listen() {
	w.t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		w.t.Fatal(err)
	}
	w.l = l
	var group sync.WaitGroup
	group.Go(func() {
		for {
			front, err := l.Accept()
			if err != nil {
				return
			}
			back, err := net.Dial("tcp", w.back)
			if err != nil {
				_ = front.Close()
				continue
			}
			w.mu.Lock()
			w.conns, w.now, w.next = []net.Conn{front, back}, w.next, breakage{}
			w.mu.Unlock()
			w.begun.Add(1)
			pass := func(frame []byte, _ bool) []byte { return frame }
			if w.pass != nil {
				pass = w.pass()
			}
			var carriers sync.WaitGroup
			carriers.Go(func() { w.carry(back, front, pass, true) })
			carriers.Go(func() { w.carry(front, back, pass, false) })
			group.Go(func() { carriers.Wait(); w.ended.Add(1) })
		}
	})
	w.t.Cleanup(func() { _ = l.Close(); w.closeBoth(); group.Wait() })
}

func (w *wire) closeBoth() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range w.conns {
		_ = c.Close()
	}
}

func (w *wire) port() int { return w.l.Addr().(*net.TCPAddr).Port }

// breaks says what happens to the next frame from the switch, and how the connection after this one
// breaks.
func (w *wire) breaks(how string, next ...breakage) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now = breakage{how: how}
	for _, b := range next {
		w.next = b
	}
}

// readXML reads a frame of CSTA-XML.
func readXML(r *bufio.Reader) ([]byte, error) {
	header := make([]byte, 8)
	if _, err := io.ReadFull(r, header); err != nil {
		return nil, err
	}
	frame := append(header, make([]byte, octets.BigEndian.Uint16(header[2:4])-8)...)
	_, err := io.ReadFull(r, frame[8:])
	return frame, err
}

// readASN1 reads a frame of CSTA in ASN.1.
func readASN1(r *bufio.Reader) ([]byte, error) {
	header := make([]byte, 3)
	if _, err := io.ReadFull(r, header); err != nil {
		return nil, err
	}
	frame := append(header, make([]byte, octets.BigEndian.Uint16(header[1:])&0x7FFF)...)
	_, err := io.ReadFull(r, frame[3:])
	return frame, err
}

// breaking returns how the connection breaks at a frame; "": it does not.
func (w *wire) breaking(requests bool) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !requests && w.now.how != "" && w.now.after > 0 {
		w.now.after--
	}
	if w.now.after > 0 {
		return ""
	}
	return w.now.how
}

// carry passes frames on, from the switch or to it, until the connection ends.
func (w *wire) carry(to, from net.Conn, pass passage, requests bool) {
	defer func() { _, _ = to.Close(), from.Close() }()
	for r := bufio.NewReader(from); ; {
		frame, err := w.read(r)
		if err != nil {
			return
		}
		switch how := w.breaking(requests); {
		case how == "silent":
			continue // nothing more comes, and the connection stays
		case how == "cut" && !requests:
			return
		case how == "torn" && !requests:
			_, _ = to.Write(frame[:len(frame)/2])
			return
		}
		w.frames.Add(1)
		if _, err := to.Write(pass(frame, requests)); err != nil {
			return
		}
	}
}

// step is something that a telephone's user or program does at the switch.
type step func(t *testing.T, c *xmlClient, call *[2]string)

// shift has a call go through every state: ringing, up, held, with another beside it, and
// transferred.
var shift = []step{
	func(_ *testing.T, c *xmlClient, id *[2]string) {
		id[0] = c.ask(call("1000", "1001")).Text("callingDevice/callID")
	},
	func(_ *testing.T, c *xmlClient, id *[2]string) {
		c.ask(uacsta.AnswerCall{CallToBeAnswered: uacsta.Conn(id[0], "1001")})
	},
	func(_ *testing.T, c *xmlClient, id *[2]string) {
		c.ask(uacsta.HoldCall{CallToBeHeld: uacsta.Conn(id[0], "1001")})
	},
	func(_ *testing.T, c *xmlClient, id *[2]string) {
		c.ask(uacsta.RetrieveCall{CallToBeRetrieved: uacsta.Conn(id[0], "1001")})
	},
	func(_ *testing.T, c *xmlClient, id *[2]string) {
		id[1] = c.ask(uacsta.ConsultationCall{ExistingCall: uacsta.Conn(id[0], "1000"), ConsultedDevice: uacsta.Dev("1002")}).Text("initiatedCall/callID")
	},
	func(_ *testing.T, c *xmlClient, id *[2]string) {
		c.ask(uacsta.AnswerCall{CallToBeAnswered: uacsta.Conn(id[1], "1002")})
	},
	func(t *testing.T, c *xmlClient, id *[2]string) {
		res := c.ask(uacsta.TransferCall{HeldCall: uacsta.Conn(id[0], "1000"), ActiveCall: uacsta.Conn(id[1], "1000")})
		if res.Name() != "TransferCallResponse" {
			t.Errorf("%s", res)
		}
	},
	func(_ *testing.T, c *xmlClient, _ *[2]string) { c.ask(call("1000", "1001")) },
}

var shiftDevices = []string{"1000", "1001", "1002"}

// watchers are one client's models of several devices.
type watchers struct {
	client *xmlClient
	models map[string]*observer // by cross reference
}

func watchShift(c *xmlClient) *watchers {
	w := &watchers{c, map[string]*observer{}}
	for _, device := range shiftDevices {
		w.models[c.monitor(device)] = &observer{device, map[[2]string]string{}}
	}
	return w
}

// look takes in what has come, and returns what the client knows of the devices' own
// connections.
func (w *watchers) look() map[[2]string]string {
	w.client.t.Helper()
	w.client.ask(uacsta.RequestSystemStatus{}) // what has come is before its answer
	for _, ev := range w.client.news {
		if model := w.models[ev.CrossRef()]; model != nil && ev.Kind() == uacsta.Event {
			model.see(w.client.t, ev)
		}
	}
	w.client.news = nil
	known := map[[2]string]string{}
	for _, model := range w.models {
		for id, state := range model.known {
			if id[1] == model.device {
				known[id] = state
			}
		}
	}
	return known
}

// ownCalls is what the switch says of the devices' own connections.
func ownCalls(c *xmlClient) map[[2]string]string {
	c.t.Helper()
	truth := map[[2]string]string{}
	for _, device := range shiftDevices {
		var res uacsta.SnapshotDeviceResponse
		if err := c.ask(uacsta.SnapshotDevice{SnapshotObject: uacsta.Dev(device)}).Decode(&res); err != nil {
			c.t.Fatal(err)
		}
		for _, info := range res.CrossRefIDorSnapshotData.SnapshotData.SnapshotDeviceResponseInfo {
			truth[[2]string{info.ConnectionIdentifier.CallID, device}] = string(info.LocalCallState.CompoundCallState[0])
		}
	}
	return truth
}

// agree waits until the client knows what the switch says, and makes sure that it stays so.
func (w *watchers) agree(switchSide *xmlClient) {
	w.client.t.Helper()
	truth := byCall(ownCalls(switchSide))
	waitFor(w.client.t, fmt.Sprintf("the client to know %v", truth), func() bool { return slices.Equal(byCall(w.look()), truth) })
	if w.look(); !slices.Equal(byCall(w.look()), truth) {
		w.client.t.Errorf("the client knows %v, and the switch says %v", byCall(w.look()), truth)
	}
}

// byCall is what is known of each call, without its callID: that is another at each proxy.
func byCall(known map[[2]string]string) []string {
	calls := map[string][]string{}
	for id, state := range known {
		calls[id[0]] = append(calls[id[0]], id[1]+" "+state)
	}
	all := []string{}
	for _, parties := range calls {
		slices.Sort(parties)
		all = append(all, strings.Join(parties, ", "))
	}
	slices.Sort(all)
	return all
}

// Whatever step of a call the switch is killed at: when it is back, its calls are gone,
// the clients know it, and they can go on.
func TestSwitchKilledAtEveryStep(t *testing.T) {
	t.Parallel()
	long(t)
	for n := 1; n <= len(shift); n++ {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			t.Parallel()
			back := serve(t, everyKind)
			front := behind(t, back, false)
			w := watchShift(front.xml())
			var id [2]string
			direct := back.xml()
			for _, s := range shift[:n] {
				s(t, direct, &id)
			}
			w.agree(direct)
			_ = back.cmd.Process.Kill()
			_ = back.wait(patience)
			again := &running{
				process: start(t, program(t), "serve", "-c", filepath.Join(back.dir, "config.yaml")), port: back.port, ops: back.ops, xmlPort: back.xmlPort,
			}
			waitFor(t, "readiness", func() bool { return again.get("/readyz") == "ready\n" })
			front.linked("back")
			direct = again.xml()
			w.agree(direct)
			if known := w.look(); len(known) != 0 {
				t.Errorf("left: %v", known)
			}
			if m := w.client.ask(call("1000", "1001")); m.Name() != "MakeCallResponse" {
				t.Errorf("%s", m)
			}
			w.agree(direct)
			front.stop()
			again.stop()
		})
	}
}

// Whatever step of a call the connection breaks at, between frames, in the middle of one,
// or by silence: what happens meanwhile is known in the end.
func TestConnectionBreaksAtEveryStep(t *testing.T) {
	t.Parallel()
	long(t)
	for _, how := range []string{"cut", "torn", "silent"} {
		for n := range shift {
			if how == "silent" && n%3 != 0 {
				continue // it takes a heartbeat each
			}
			t.Run(fmt.Sprint(how, n), func(t *testing.T) {
				t.Parallel()
				back := serve(t, everyKind)
				wire := newWire(t, back.xmlPort)
				front := behind(t, &running{process: back.process, xmlPort: wire.port()}, false)
				w := watchShift(front.xml())
				direct := back.xml()
				var id [2]string
				for i, s := range shift {
					if i == n {
						w.agree(direct)
						wire.breaks(how)
					}
					s(t, direct, &id)
				}
				w.agree(direct)
				waitFor(t, "the loss", func() bool { return strings.Contains(front.out.String(), "link down") })
				w.agree(direct)
				front.stop()
				back.stop()
			})
		}
	}
}
