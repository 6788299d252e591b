package phones

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tr87proxy/tr87proxy/internal/wait"
	"github.com/tr87proxy/tr87proxy/sip"
	"github.com/tr87proxy/tr87proxy/sip/registrar"
	"github.com/tr87proxy/tr87proxy/softswitch"
	"github.com/tr87proxy/tr87proxy/softswitch/media"
	"github.com/tr87proxy/tr87proxy/tr87"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

var patience = wait.Limit

// world is a switch with monitors on its devices, the server of its telephones, and a trunk.
type world struct {
	*Server

	t        *testing.T
	udp, tcp string // where telephones register

	mu   sync.Mutex
	refs map[string]string // cross reference -> device
	seen []*uacsta.Message
	wake chan struct{} // closed when there is more
}

// aWorld has the extensions 100 to 103, of which 100 may call the network by the prefix 0, virtual phones 108 and 109, a park device 700, and a trunk 900 to a
// peer; "" for none.
func aWorld(t *testing.T, peer string, change func(*Config)) *world {
	t.Helper()
	w := &world{t: t, refs: map[string]string{}, wake: make(chan struct{})}
	devices := softswitch.Config{AlertTime: time.Minute}
	cfg := Config{Media: media.Config{Address: netip.MustParseAddr("127.0.0.1")}}
	for n := range 4 {
		number := fmt.Sprint(100 + n)
		e := softswitch.Extension{Number: number, Name: "Telephone " + number, Real: true}
		if n == 0 {
			e.Outside = []string{"0"}
		}
		devices.Extensions = append(devices.Extensions, e)
		cfg.Telephones.Users = append(cfg.Telephones.Users, registrar.User{Number: number, Password: "secret"})
	}
	devices.Extensions = append(devices.Extensions, softswitch.Extension{Number: "108"}, softswitch.Extension{Number: "109"})
	devices.ParkDevices = []softswitch.ParkDevice{{Number: "700"}}
	devices.PickupGroups = []softswitch.PickupGroup{{Number: "800", Members: []string{"101", "102"}}}
	numbers := []string{"100", "101", "102", "103", "108"}
	if peer != "" {
		devices.Trunks = []softswitch.Trunk{{Number: "900", Prefixes: []string{"0"}, Inward: map[string]string{"5550100": "100"}, Real: true}}
		cfg.Trunks = []Trunk{{Number: "900", Peer: peer, Qualify: time.Minute}}
		numbers = append(numbers, "900")
	}
	if change != nil {
		change(&cfg)
	}
	var err error
	if cfg.Switch, err = softswitch.New(devices); err != nil {
		t.Fatal(err)
	}
	if w.Server, err = New(cfg); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ready := make(chan struct{})
	var group sync.WaitGroup
	group.Go(func() { _ = cfg.Switch.Run(ctx, &core{w, ready}) })
	wait.Next(t, ready, "the switch")
	for _, number := range numbers {
		object := uacsta.Dev(number)
		res := w.must(uacsta.MonitorStart{MonitorObject: uacsta.MonitorObject{DeviceObject: &object}})
		w.mu.Lock()
		w.refs[res.CrossRef()] = number
		w.mu.Unlock()
	}
	udp, err := w.UA().ListenUDP("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	tcp, err := w.UA().ListenTCP("127.0.0.1:0", nil)
	if err != nil {
		t.Fatal(err)
	}
	w.udp, w.tcp = udp.String(), tcp.String()
	running, stop := context.WithCancel(context.Background())
	group.Go(func() { w.Run(running) })
	t.Cleanup(func() {
		stop()
		cancel()
		group.Wait()
	})
	return w
}

// core is what the switch calls.
type core struct {
	w     *world
	ready chan struct{}
}

func (c *core) Ready()                      { close(c.ready) }
func (*core) Request(*uacsta.Message) error { return nil }
func (c *core) Event(m *uacsta.Message) {
	c.w.mu.Lock()
	defer c.w.mu.Unlock()
	c.w.seen = append(c.w.seen, m)
	close(c.w.wake)
	c.w.wake = make(chan struct{})
}

// withTrunk starts a switch with trunk 900, and a peer at an address, which has answered OPTIONS and calls by a number.
func withTrunk(t *testing.T, number string, change func(*Config)) (w *world, peer *handset, at netip.AddrPort) {
	t.Helper()
	peer = newPeer(t)
	at, err := peer.ua.ListenUDP("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w = aWorld(t, "sip:"+at.String()+";transport=udp", change)
	peer.w, peer.number, peer.server = w, number, "sip:"+w.udp+";transport=udp"
	w.event("900", "BackInService")
	return w, peer, at
}

// event waits for an event of a device, and takes it.
func (w *world) event(device, name string) *uacsta.Message {
	w.t.Helper()
	after := time.After(patience)
	for {
		w.mu.Lock()
		i := slices.IndexFunc(w.seen, func(m *uacsta.Message) bool { return w.refs[m.CrossRef()] == device && m.Name() == name+"Event" })
		if i >= 0 {
			m := w.seen[i]
			w.seen = slices.Delete(w.seen, i, i+1)
			w.mu.Unlock()
			return m
		}
		wake, seen := w.wake, w.list()
		w.mu.Unlock()
		select {
		case <-wake:
		case <-after:
			w.t.Fatalf("no %s of %s in %v", name, device, seen)
		}
	}
}

// list are the events that nobody has taken. Callers hold the lock.
func (w *world) list() (list []string) {
	for _, m := range w.seen {
		list = append(list, w.refs[m.CrossRef()]+" "+strings.TrimSuffix(m.Name(), "Event"))
	}
	return list
}

// has reports whether there was such an event that nobody has taken.
func (w *world) has(device, name string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Contains(w.list(), device+" "+name)
}

// do sends the switch a request.
func (w *world) do(req any) (*uacsta.Message, error) {
	type answer struct {
		res *uacsta.Message
		err error
	}
	answers := make(chan answer, 1)
	w.sw.Request(uacsta.Encode(req, uacsta.Edition3), func(m *uacsta.Message, err error) { answers <- answer{m, err} })
	got := wait.Next(w.t, answers, "the response")
	return got.res, got.err
}

func (w *world) must(req any) *uacsta.Message {
	w.t.Helper()
	res, err := w.do(req)
	if err != nil {
		w.t.Fatalf("%T: %v", req, err)
	}
	return res
}

// handset is a telephone, or a trunk's peer: a user agent that rings until the test answers.
type handset struct {
	w      *world
	ua     *sip.UA
	number string
	server string // URI
	calls  chan *sip.Invitation
	asked  chan string // what it is asked in dialogs: "INVITE sendonly", "INFO Signal=1", "NOTIFY refer ..."
	ended  chan error  // the ends of its dialogs
}

// handset registers a telephone over TCP, and waits until it can be called.
func (w *world) handset(number string) *handset {
	w.t.Helper()
	h := w.newHandset(number, "sip:"+w.tcp+";transport=tcp")
	h.register(w.t)
	w.event(number, "BackInService")
	return h
}

// register registers the telephone for its extension.
func (h *handset) register(t *testing.T) {
	t.Helper()
	own := sip.UserURI(h.number, "127.0.0.1")
	res, err := h.ua.Request(t.Context(), "REGISTER", sip.Invite{To: own, From: own, Target: h.server, Username: h.number, Password: "secret"})
	if err != nil || res.Code() != 200 {
		t.Fatal(res, err)
	}
}

func (w *world) newHandset(number, server string) *handset {
	h := newPeer(w.t)
	h.w, h.number, h.server = w, number, server
	return h
}

func newPeer(t *testing.T) *handset {
	h := &handset{calls: make(chan *sip.Invitation, 10), asked: make(chan string, 100), ended: make(chan error, 100)}
	h.ua = sip.New(sip.Config{Handler: h, UserAgent: "Handset", InDialog: []string{"NOTIFY", "REFER", "PRACK"}, Supports: []string{"100rel", "replaces"}, Known: func(sip.Peer) bool { return true }, Requests: map[string]func(*sip.Request){"NOTIFY": func(r *sip.Request) {
		r.Respond(sip.Answer{})
		h.asked <- "outside " + r.Header("Event") + " " + string(r.Body())
	}}})
	t.Cleanup(h.ua.Close)
	return h
}

// Invite implements sip.Handler.
func (h *handset) Invite(in *sip.Invitation) { h.calls <- in }

// sdp describes PCMU without telephone events.
func sdp(direction string) []byte {
	return []byte("v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 40000 RTP/AVP 0\r\na=rtpmap:0 PCMU/8000\r\na=" + direction + "\r\n")
}

// directionOf is the direction that a description offers.
func directionOf(body []byte) string {
	for _, d := range []string{"sendonly", "recvonly", "inactive"} {
		if strings.Contains(string(body), "a="+d) {
			return d
		}
	}
	return "sendrecv"
}

// Request implements sip.DialogHandler.
func (h *handset) Request(d *sip.Dialog, r *sip.Request) {
	switch r.Method() {
	case "INVITE", "UPDATE":
		direction := directionOf(r.Body())
		answer := map[string]string{"sendonly": "recvonly", "recvonly": "sendonly", "inactive": "inactive", "sendrecv": "sendrecv"}[direction]
		d.RespondRefresh(r, sip.Answer{ContentType: sdpType, Body: sdp(answer)})
		h.asked <- "INVITE " + direction
	case "INFO":
		if m, err := uacsta.Parse(r.Body()); err == nil { // uaCSTA
			d.RespondRefresh(r, sip.Answer{ContentType: tr87.ContentType, Body: uacsta.Accept(m, uacsta.Edition3).Bytes()})
			h.asked <- m.Name() + " " + m.Text("device")
			return
		}
		fallthrough
	default:
		r.Respond(sip.Answer{})
		h.asked <- strings.TrimSpace(r.Method() + " " + r.Header("Event") + " " + strings.TrimSpace(string(r.Body())))
	}
}

// Refresh implements sip.DialogHandler.
func (*handset) Refresh() (contentType string, body []byte) { return sdpType, sdp("sendrecv") }

// Ended implements sip.DialogHandler.
func (h *handset) Ended(reason error) { h.ended <- reason }

// outcome is what became of a call.
type outcome struct {
	dialog *sip.Dialog
	res    *sip.Response
	err    error
}

// code is the code of the final response.
func (o outcome) code() int {
	var refusal *sip.Refusal
	switch {
	case o.err == nil:
		return o.res.Code()
	case asRefusal(o.err, &refusal):
		return refusal.Response.Code()
	}
	return 0
}

func asRefusal(err error, into **sip.Refusal) bool {
	refusal, ok := err.(*sip.Refusal) //nolint:errorlint // sip returns it as it is
	*into = refusal
	return ok
}

// call calls a number; progress gets the codes of provisional responses.
func (h *handset) call(ctx context.Context, to string, headers ...sip.Header) (final chan outcome, progress chan int) {
	final, progress = make(chan outcome, 1), make(chan int, 10)
	own := sip.UserURI(h.number, "127.0.0.1")
	go func() {
		d, res, err := h.ua.Invite(ctx, sip.Invite{
			To: sip.UserURI(to, "127.0.0.1"), Target: sip.WithUser(h.server, to), From: own, Username: h.number, Password: "secret", ContentType: sdpType, Body: sdp("sendrecv"), Headers: headers,
			Progress: func(_ *sip.Dialog, res *sip.Response) { progress <- res.Code() },
		}, h)
		final <- outcome{d, res, err}
	}()
	return final, progress
}

// answer answers a call, and returns its dialog.
func (h *handset) answer(in *sip.Invitation) *sip.Dialog {
	h.w.t.Helper()
	d, err := in.Accept(h, sip.Answer{ContentType: sdpType, Body: sdp("sendrecv")})
	if err != nil {
		h.w.t.Fatal(err)
	}
	return d
}

// ring tells a caller that the telephone rings.
func (h *handset) ring(in *sip.Invitation) {
	h.w.t.Helper()
	if _, err := in.Progress(h, sip.Answer{Code: 180}); err != nil {
		h.w.t.Fatal(err)
	}
}

// talking is a call from one telephone to another that is answered.
func (w *world) talking(from, to *handset) (caller, callee *sip.Dialog) {
	w.t.Helper()
	final, _ := from.call(w.t.Context(), to.number)
	callee = to.answer(wait.Next(w.t, to.calls, "the call"))
	o := wait.Next(w.t, final, "the answer")
	if o.err != nil {
		w.t.Fatal(o.err)
	}
	w.event(from.number, "Established")
	w.event(to.number, "Established")
	return o.dialog, callee
}

// connection is the connection of a device that an event is about.
func connection(m *uacsta.Message, device string) uacsta.ConnectionID {
	return uacsta.Conn(m.Connections()[0].CallID(), device)
}

// leave waits until no telephone is in a call.
func (w *world) leave() {
	w.t.Helper()
	for until := time.Now().Add(patience); ; {
		if _, legs := w.Counts(); legs == 0 {
			return
		}
		if time.Now().After(until) {
			w.t.Fatal("telephones are left in calls")
		}
		w.Server.mu.Lock()
		var over chan struct{}
		for l := range w.all {
			over = l.over
		}
		w.Server.mu.Unlock()
		if over != nil {
			wait.Next(w.t, over, "the end of a leg")
		}
	}
}
