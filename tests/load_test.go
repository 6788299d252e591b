package tests

import (
	"bufio"
	"context"
	octets "encoding/binary"
	"errors"
	"flag"
	"fmt"
	"hash/fnv"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tr87proxy/tr87proxy/sip"
	"github.com/tr87proxy/tr87proxy/tr87"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

// loadTime is for runs by hand: go test ./tests -run TestLoad -load 10m -timeout 20m
var loadTime = flag.Duration("load", 20*time.Second, "how long TestLoad places calls")

// tally is what somebody saw of a device: how many events, and which, in which order.
type tally struct {
	count int
	hash  uint64
}

// sight is what one client saw of one device.
type sight struct {
	tally
	names renamer
}

// crowd is what many clients saw, and what it is compared with.
type crowd struct {
	mu   sync.Mutex
	seen map[string]map[string]*sight // by client, by cross reference
	of   map[string]map[string]string // by client: the device of a cross reference
}

// saw takes note of an event, but for its cross reference.
func (c *crowd) saw(client string, event string) {
	before, rest, _ := strings.Cut(event, "<monitorCrossRefID>")
	ref, after, _ := strings.Cut(rest, "</monitorCrossRefID>")
	h := fnv.New64a()
	c.mu.Lock()
	defer c.mu.Unlock()
	t := c.seen[client][ref]
	if t == nil {
		t = &sight{names: renamer{}}
		if c.seen[client] == nil {
			c.seen[client] = map[string]*sight{}
		}
		c.seen[client][ref] = t
	}
	_, _ = fmt.Fprint(h, t.hash, before, t.names.rename(after))
	t.count++
	t.hash = h.Sum64()
}

// watches takes note of what a cross reference is for.
func (c *crowd) watches(client, ref, device string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.of[client] == nil {
		c.of[client] = map[string]string{}
	}
	c.of[client][ref] = device
}

// differences compares what all clients saw with what one saw who watches every device.
func (c *crowd) differences(reference string) (behind int, faults []string, events int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	truth := map[string]tally{}
	for ref, device := range c.of[reference] {
		if t := c.seen[reference][ref]; t != nil {
			truth[device] = t.tally
		}
	}
	for client, refs := range c.of {
		for ref, device := range refs {
			var got tally
			if t := c.seen[client][ref]; t != nil {
				got = t.tally
			}
			events += got.count
			switch want := truth[device]; {
			case got.count < want.count:
				behind++
			case got != want:
				faults = append(faults, fmt.Sprintf("%s saw %d events of %s, others %d, or in another order", client, got.count, device, want.count))
			}
		}
	}
	return behind, faults, events
}

// asker is a client of either kind.
type asker interface {
	ask(req any) (*uacsta.Message, error)
	close()
}

// frames is a client that speaks CSTA-XML over TCP.
type frames struct {
	conn net.Conn
	mu   sync.Mutex
	next int
	wait map[string]chan *uacsta.Message
	done chan struct{}

	stray atomic.Int64 // answers to nothing
}

func dialFrames(port int, event func(string)) (*frames, error) {
	return dialFramesFrom("127.0.0.1", port, event)
}

func dialFramesFrom(address string, port int, event func(string)) (*frames, error) {
	own := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(address)}}
	conn, err := own.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		return nil, err
	}
	f := &frames{conn: conn, wait: map[string]chan *uacsta.Message{}, done: make(chan struct{})}
	go func() {
		defer close(f.done)
		r := bufio.NewReader(conn)
		header := make([]byte, 8)
		for {
			if _, err := io.ReadFull(r, header); err != nil {
				return
			}
			document := make([]byte, octets.BigEndian.Uint16(header[2:])-8)
			if _, err := io.ReadFull(r, document); err != nil {
				return
			}
			id := string(header[4:])
			if id == "9999" {
				event(string(document))
				continue
			}
			m, err := uacsta.Parse(document)
			switch {
			case err != nil:
				f.stray.Add(1)
				continue
			case m.Kind() == uacsta.Request: // of the switching function, under a number of its own
				event(string(document))
				_ = f.write(id, uacsta.Accept(m, uacsta.Edition6).Bytes())
				continue
			}
			f.mu.Lock()
			answer := f.wait[id]
			delete(f.wait, id)
			f.mu.Unlock()
			if answer == nil {
				f.stray.Add(1)
				continue
			}
			answer <- m
		}
	}()
	return f, nil
}

func (f *frames) ask(req any) (*uacsta.Message, error) {
	document := uacsta.Encode(req, uacsta.Edition6).Bytes()
	answer := make(chan *uacsta.Message, 1)
	f.mu.Lock()
	f.next = (f.next + 1) % 9999
	id := fmt.Sprintf("%04d", f.next)
	f.wait[id] = answer
	f.mu.Unlock()
	if err := f.write(id, document); err != nil {
		return nil, err
	}
	select {
	case m := <-answer:
		return m, nil
	case <-f.done:
		return nil, io.ErrClosedPipe
	case <-time.After(patience):
		return nil, context.DeadlineExceeded
	}
}

func (f *frames) write(id string, document []byte) error {
	frame := octets.BigEndian.AppendUint16([]byte{0, 0}, uint16(8+len(document)))
	f.mu.Lock()
	defer f.mu.Unlock()
	_, err := f.conn.Write(append(append(frame, id...), document...))
	return err
}

func (f *frames) close() { _ = f.conn.Close(); <-f.done }

// dialogs is a client that speaks TR/87.
type dialogs struct{ client *tr87.Client }

func (d dialogs) ask(req any) (*uacsta.Message, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	return d.client.Request(ctx, uacsta.Encode(req, uacsta.Edition6))
}

func (d dialogs) close() {} // its user agent says goodbye for all

// work places calls among some devices, through clients of both kinds, until the end.
func work(r *rand.Rand, devices []string, clients []asker, until time.Time) (calls int) {
	ask := func(req any) *uacsta.Message {
		m, err := clients[r.IntN(len(clients))].ask(req)
		if err != nil || m == nil {
			return uacsta.NewMessage("", "nothing")
		}
		return m
	}
	for time.Now().Before(until) {
		order := r.Perm(len(devices))
		a, b, third := devices[order[0]], devices[order[1]], devices[order[2]]
		id := ask(call(a, b)).Text("callingDevice/callID")
		if id == "" {
			continue
		}
		calls++
		if r.IntN(5) > 0 {
			ask(uacsta.AnswerCall{CallToBeAnswered: uacsta.Conn(id, b)})
		}
		switch r.IntN(4) {
		case 0:
			ask(uacsta.HoldCall{CallToBeHeld: uacsta.Conn(id, a)})
			ask(uacsta.RetrieveCall{CallToBeRetrieved: uacsta.Conn(id, a)})
		case 1:
			other := ask(uacsta.ConsultationCall{ExistingCall: uacsta.Conn(id, a), ConsultedDevice: uacsta.Dev(third)}).Text("initiatedCall/callID")
			ask(uacsta.AnswerCall{CallToBeAnswered: uacsta.Conn(other, third)})
			if r.IntN(2) == 0 {
				ask(uacsta.TransferCall{HeldCall: uacsta.Conn(id, a), ActiveCall: uacsta.Conn(other, a)})
			} else {
				ask(uacsta.ConferenceCall{HeldCall: uacsta.Conn(id, a), ActiveCall: uacsta.Conn(other, a)})
			}
			for _, device := range []string{a, b, third} {
				ask(uacsta.ClearConnection{ConnectionToBeCleared: uacsta.Conn(other, device)})
			}
		case 2:
			ask(uacsta.SingleStepTransferCall{ActiveCall: uacsta.Conn(id, a), TransferredTo: uacsta.Dev(third)})
		}
		for _, device := range []string{a, b, third} { // whatever is left
			res := ask(uacsta.SnapshotDevice{SnapshotObject: uacsta.Dev(device)})
			var shot uacsta.SnapshotDeviceResponse
			if res.Decode(&shot) != nil || shot.CrossRefIDorSnapshotData.SnapshotData == nil {
				continue
			}
			for _, info := range shot.CrossRefIDorSnapshotData.SnapshotData.SnapshotDeviceResponseInfo {
				ask(uacsta.ClearConnection{ConnectionToBeCleared: info.ConnectionIdentifier})
			}
		}
	}
	return calls
}

// A thousand clients, half over CSTA-XML and half over TR/87, watch two hundred devices
// through two proxies, and place calls: each sees every event of its devices once, in the
// order in which the switch told them, and when they have gone nothing is left.
func TestLoad(t *testing.T) {
	long(t)
	const each, watched = 500, 3
	var devices []string
	for n := range 200 {
		devices = append(devices, fmt.Sprint(1000+n))
	}
	back := serve(t, everyKind)
	front := behind(t, back, false)
	idle, files := front.metric("go_goroutines"), front.metric("process_open_fds")

	c := &crowd{seen: map[string]map[string]*sight{}, of: map[string]map[string]string{}}
	direct, err := dialFrames(back.xmlPort, func(ev string) { c.saw("switch", ev) })
	if err != nil {
		t.Fatal(err)
	}
	watch := func(name string, client asker, device string) {
		d := uacsta.Dev(device)
		m, err := client.ask(uacsta.MonitorStart{MonitorObject: uacsta.MonitorObject{DeviceObject: &d}})
		if err != nil || m.CrossRef() == "" {
			t.Errorf("%s may not watch %s: %v, %s", name, device, err, m)
			return
		}
		c.watches(name, m.CrossRef(), device)
	}
	for _, device := range devices {
		watch("switch", direct, device)
	}
	// The proxy waits for each response over UDP, but not for ever. A client that is kept waiting for its share of the
	// processor loses datagrams, and puts what comes again into the order of its CSeq.
	uas := map[string]*sip.UA{"tcp": sip.New(sip.Config{}), "udp": sip.New(sip.Config{ReorderWait: patience})}
	clients := make([]asker, 2*each)
	var group sync.WaitGroup
	slots := make(chan struct{}, 50)
	for n := range clients {
		group.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			name := fmt.Sprint("client ", n)
			if n < each {
				f, err := dialFrames(front.xmlPort, func(ev string) { c.saw(name, ev) })
				if err != nil {
					t.Error(err)
					return
				}
				clients[n] = f
			} else {
				transport := []string{"tcp", "udp"}[n%2]
				ctx, cancel := context.WithTimeout(context.Background(), patience)
				defer cancel()
				client, err := tr87.Open(ctx, uas[transport], tr87.Dial{
					To: fmt.Sprintf("sip:x@127.0.0.1:%d;transport=%s", front.port, transport), From: fmt.Sprintf("sip:client%d@localhost", n),
					Event: func(m *uacsta.Message) {
						if m.Kind() == uacsta.Event {
							c.saw(name, string(m.Bytes()))
						}
					},
					Ended: func(err error) {
						if !errors.Is(err, sip.ErrShutdown) {
							t.Errorf("%s: %v", name, err)
						}
					},
				})
				if err != nil {
					t.Error(err)
					return
				}
				clients[n] = dialogs{client}
			}
			r := rand.New(rand.NewPCG(uint64(n), 1))
			for _, i := range r.Perm(len(devices))[:watched] {
				watch(name, clients[n], devices[i])
			}
		})
	}
	group.Wait()
	if t.Failed() {
		return
	}
	if n := front.metric("tr87proxy_link_monitors"); n != 200 {
		t.Errorf("the link has %v monitors for 200 devices", n)
	}

	span := *loadTime
	if testing.Short() {
		span = 2 * time.Second
	}
	until := time.Now().Add(span)
	var mu sync.Mutex
	calls := 0
	for w := range 8 {
		group.Go(func() {
			n := work(rand.New(rand.NewPCG(uint64(w), 2)), devices[25*w:25*w+25], clients, until)
			mu.Lock()
			defer mu.Unlock()
			calls += n
		})
	}
	group.Wait()
	var behind, events int
	var faults []string
	waitFor(t, "every event to every client", func() bool {
		behind, faults, events = c.differences("switch")
		return behind == 0 || len(faults) > 0
	})
	for _, fault := range faults[:min(len(faults), 10)] {
		t.Error(fault)
	}
	t.Logf("%d calls in %v, %d events to %d clients", calls, span, events, len(clients))
	if calls < 10 {
		t.Error("too few calls to say anything")
	}
	for _, client := range clients {
		client.close()
	}
	direct.close()
	goodbye, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for _, ua := range uas {
		ua.Shutdown(goodbye)
	}
	for name, r := range map[string]*running{"proxy": front, "switch": back} {
		var monitors, sessions float64
		defer func() {
			if t.Failed() {
				t.Logf("%s: %v sessions, %v monitors, %d closed", name, sessions, monitors, strings.Count(r.out.String(), "session closed"))
			}
		}()
		waitFor(t, "the end of every session", func() bool {
			monitors, sessions = r.metric("tr87proxy_link_monitors"), r.metric("tr87proxy_sessions")
			return monitors == 0 && sessions <= 1 // the front's link is a client of the switch
		})
	}
	waitFor(t, "what the clients used to be given back", func() bool {
		return front.metric("go_goroutines") <= idle+20 && front.metric("process_open_fds") <= files+20
	})
	front.stop()
	back.stop()
}
