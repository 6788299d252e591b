package phones

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tr87proxy/tr87proxy/internal/wait"
	"github.com/tr87proxy/tr87proxy/sip"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

var patience = wait.Limit

func next[T any](t *testing.T, ch <-chan T, what string) T {
	t.Helper()
	select {
	case v := <-ch:
		return v
	case <-time.After(patience):
		t.Fatalf("%s did not come", what)
		panic("unreachable")
	}
}

// telephone is one that answers as it is told to.
type telephone struct {
	answer func(ctx context.Context, req *uacsta.Message) (*uacsta.Message, error)
	closed chan struct{}
}

func (p *telephone) Request(ctx context.Context, req *uacsta.Message) (*uacsta.Message, error) {
	return p.answer(ctx, req)
}

func (p *telephone) Close() { close(p.closed) }

// core is what a desk link calls.
type core struct {
	t      *testing.T
	ready  chan struct{}
	inside atomic.Int32
	heard  chan string
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

// aDesk runs a link to one telephone, 100, that has a session, and returns its life.
func aDesk(t *testing.T, answer func(context.Context, *uacsta.Message) (*uacsta.Message, error)) (d *Desk, l *deskLife, phone *telephone, up *core, stop func()) {
	t.Helper()
	d = NewDesk(Config{Users: []User{{Number: "100", Name: "100", Password: "secret"}}}, nil)
	phone = &telephone{answer, make(chan struct{})}
	up = &core{t: t, ready: make(chan struct{}), heard: make(chan string, 10000)}
	ctx, cancel := context.WithCancel(t.Context())
	over := make(chan struct{})
	go func() {
		defer close(over)
		_ = d.Run(ctx, up)
	}()
	next(t, up.ready, "the link")
	l = d.now()
	u := l.server.users["100"]
	l.server.mu.Lock()
	u.bindings = []*binding{{contact: "sip:100@127.0.0.1", static: true, expires: time.Now().Add(time.Hour), csta: csta{client: phone}}}
	l.server.mu.Unlock()
	u.served = phone
	stop = func() {
		cancel()
		next(t, over, "the end of the link")
	}
	t.Cleanup(stop)
	return d, l, phone, up, stop
}

func dialling(to string) *uacsta.Message {
	return uacsta.Encode(uacsta.MakeCall{CallingDevice: uacsta.Dev("100"), CalledDirectoryNumber: uacsta.Dev(to)}, uacsta.Edition3)
}

func accept(_ context.Context, req *uacsta.Message) (*uacsta.Message, error) {
	return uacsta.Accept(req, uacsta.Edition3), nil
}

// Requests reach a telephone in the order of the calls, those of the built-in switch, too.
func TestOrderOfRequests(t *testing.T) {
	var mu sync.Mutex
	var got []string
	d, l, _, _, _ := aDesk(t, func(ctx context.Context, req *uacsta.Message) (*uacsta.Message, error) {
		mu.Lock()
		defer mu.Unlock()
		got = append(got, req.Text("calledDirectoryNumber"))
		return accept(ctx, req)
	})
	for name, request := range map[string]func(*uacsta.Message, func(*uacsta.Message, error)){
		"the link": d.Request,
		"the switch": func(req *uacsta.Message, reply func(*uacsta.Message, error)) {
			l.server.Serve("100", req, reply)
		},
	} {
		for round := range 200 {
			got = nil
			var group sync.WaitGroup
			var want []string
			for n := range 5 {
				group.Add(1)
				want = append(want, fmt.Sprint(n))
				request(dialling(fmt.Sprint(n)), func(_ *uacsta.Message, err error) {
					if err != nil {
						t.Error(err)
					}
					group.Done()
				})
			}
			group.Wait()
			if !slices.Equal(got, want) {
				t.Fatalf("%s, round %d: %v", name, round, got)
			}
		}
	}
}

// Whatever a telephone tells before its answer is told after it, and one after the other.
func TestEventsBehindTheAnswer(t *testing.T) {
	var l *deskLife
	made := make(chan struct{})
	event := func(name any) { l.event(l.server.users["100"], uacsta.Encode(name, uacsta.Edition3)) }
	d, l, _, up, _ := aDesk(t, func(ctx context.Context, req *uacsta.Message) (*uacsta.Message, error) {
		<-made
		switch req.Name() {
		case "MonitorStart":
			event(uacsta.OutOfServiceEvent{MonitorCrossRefID: "7", Device: uacsta.Ext("100")})
			return uacsta.Encode(uacsta.MonitorStartResponse{MonitorCrossRefID: "7"}, uacsta.Edition3), nil
		case "MakeCall":
			event(uacsta.BackInServiceEvent{MonitorCrossRefID: "7", Device: uacsta.Ext("100")})
		}
		return accept(ctx, req)
	})
	close(made)
	object := uacsta.Dev("100")
	for _, tt := range []struct {
		request *uacsta.Message
		event   string
	}{
		{uacsta.Encode(uacsta.MonitorStart{MonitorObject: uacsta.MonitorObject{DeviceObject: &object}}, uacsta.Edition3), "OutOfServiceEvent 1"},
		{dialling("200"), "BackInServiceEvent 1"},
	} {
		d.Request(tt.request, func(_ *uacsta.Message, err error) { up.heard <- fmt.Sprint("answer ", err) })
		for _, want := range []string{"answer <nil>", tt.event} {
			if got := next(t, up.heard, want); got != want {
				t.Errorf("%s: %q, want %q", tt.request.Name(), got, want)
			}
		}
	}
}

// What a telephone tells, and what becomes of its session, is told one after the other; the monitor
// is made again in a session that is new.
func TestUpcallsAreSerial(t *testing.T) {
	_, l, _, up, _ := aDesk(t, func(ctx context.Context, req *uacsta.Message) (*uacsta.Message, error) {
		if req.Name() == "MonitorStart" {
			return uacsta.Encode(uacsta.MonitorStartResponse{MonitorCrossRefID: "8"}, uacsta.Edition3), nil
		}
		return accept(ctx, req)
	})
	u, object := l.server.users["100"], uacsta.Dev("100")
	start := uacsta.Encode(uacsta.MonitorStart{MonitorObject: uacsta.MonitorObject{DeviceObject: &object}}, uacsta.Edition3)
	l.mu.Lock()
	l.owners["1"], l.phones["100"].monitors["1"] = "100", &deskMonitor{local: "7", start: start}
	l.mu.Unlock()
	u.served = nil
	var group sync.WaitGroup
	defer group.Wait()
	for range 4 {
		group.Go(func() {
			for range 50 {
				l.event(u, uacsta.Encode(uacsta.DoNotDisturbEvent{MonitorCrossRefID: "8", Device: uacsta.Ext("100")}, uacsta.Edition3))
			}
		})
	}
	await := func(event string) {
		for next(t, up.heard, event) != event+" 1" {
		}
	}
	l.server.conversed(u)
	await("BackInServiceEvent")
	l.server.hangUp(u, nil)
	await("OutOfServiceEvent")
}

// Each request is answered once, at the latest before the link ends, whatever the telephone does.
func TestAnswersAtTheEnd(t *testing.T) {
	asked := make(chan struct{}, 100)
	d, _, _, _, stop := aDesk(t, func(ctx context.Context, _ *uacsta.Message) (*uacsta.Message, error) {
		asked <- struct{}{}
		<-ctx.Done()
		return nil, ctx.Err()
	})
	answers := make([]atomic.Int32, 50)
	ask := func(n int) {
		d.Request(dialling("1"), func(_ *uacsta.Message, err error) {
			answers[n].Add(1)
			if !errors.Is(err, errTelephone) {
				t.Errorf("request %d: %v", n, err)
			}
		})
	}
	for n := range 40 {
		ask(n)
	}
	next(t, asked, "the first request")
	stop()
	for n := range 10 {
		ask(40 + n)
	}
	for n := range answers {
		if got := answers[n].Load(); got != 1 {
			t.Errorf("request %d has %d answers", n, got)
		}
	}
	if len(asked) > 0 {
		t.Errorf("the telephone was asked %d more while it had not answered", len(asked))
	}
}

// A telephone is asked no more than so much at a time, and what it cannot answer in time, nobody
// waits for.
func TestManyRequests(t *testing.T) {
	release := make(chan struct{})
	d, _, _, _, _ := aDesk(t, func(ctx context.Context, req *uacsta.Message) (*uacsta.Message, error) {
		<-release
		return accept(ctx, req)
	})
	answers := make(chan error, 2*maxTasks)
	for range maxTasks + 2 { // one of which has begun
		d.Request(dialling("1"), func(_ *uacsta.Message, err error) { answers <- err })
	}
	var refusal *uacsta.Error
	if err := next(t, answers, "a refusal"); !errors.As(err, &refusal) || refusal.Value != uacsta.OutstandingReqLimitExceeded {
		t.Errorf("one request too many: %v", err)
	}
	close(release)
	for range maxTasks + 1 {
		if err := next(t, answers, "an answer"); err != nil && !errors.Is(err, errManyAsked) {
			t.Error(err)
		}
	}
}

// A telephone that tells more than can be passed on loses its session.
func TestManyEvents(t *testing.T) {
	began, release := make(chan struct{}), make(chan struct{})
	d, l, phone, _, _ := aDesk(t, func(ctx context.Context, req *uacsta.Message) (*uacsta.Message, error) {
		close(began)
		<-release
		return accept(ctx, req)
	})
	defer close(release)
	d.Request(dialling("1"), func(*uacsta.Message, error) {})
	next(t, began, "the request")
	for range maxUrgent + 10 {
		l.event(l.server.users["100"], dialling("1"))
	}
	next(t, phone.closed, "the end of the session")
}

// A panic in asking a telephone is answered, and ends the session with it; others go on.
func TestPanicOfATelephone(t *testing.T) {
	d, _, phone, _, _ := aDesk(t, func(context.Context, *uacsta.Message) (*uacsta.Message, error) { panic("as told") })
	answers := make(chan error, 10)
	d.Request(dialling("1"), func(_ *uacsta.Message, err error) { answers <- err })
	if err := next(t, answers, "the answer"); !errors.Is(err, errTelephone) {
		t.Error(err)
	}
	next(t, phone.closed, "the end of the session")
	d.Request(dialling("1"), func(_ *uacsta.Message, err error) { answers <- err })
	if err := next(t, answers, "the answer"); !errors.Is(err, errTelephone) || len(answers) > 0 {
		t.Error(err, len(answers))
	}
}

// hasty accepts a session and ends it at once.
type hasty struct{}

func (hasty) Invite(in *sip.Invitation) {
	m, err := uacsta.Parse(in.Body())
	if err != nil {
		return
	}
	status := uacsta.Encode(uacsta.RequestSystemStatusResponse{SystemStatus: uacsta.StatusNormal}, m.Edition())
	if d, err := in.Accept(hasty{}, sip.Answer{ContentType: "application/csta+xml", Body: status.Bytes()}); err == nil {
		d.Bye()
	}
}
func (hasty) Request(*sip.Dialog, *sip.Request) {}
func (hasty) Refresh() (string, []byte)         { return "", nil }
func (hasty) Ended(error)                       {}

// A session that ends before its beginning is known is none.
func TestSessionEndsAtOnce(t *testing.T) {
	s := aServer(t, 1)
	lines := make(said, 10000)
	s.log = slog.New(slog.NewTextHandler(lines, nil))
	phone := sip.New(sip.Config{Handler: hasty{}})
	t.Cleanup(phone.Close)
	addr, err := phone.ListenTCP("127.0.0.1:0", nil)
	if err != nil {
		t.Fatal(err)
	}
	u := s.users["0"]
	b := &binding{contact: "sip:0@" + addr.String() + ";transport=tcp", static: true, expires: time.Now().Add(time.Hour)}
	u.bindings = []*binding{b}
	for round := range 50 {
		s.openSession(u, b)
		lines.await(t, "uaCSTA session ended", 1)
		if client, _ := s.session("0"); client != nil {
			t.Fatalf("round %d: a session that has ended", round)
		}
	}
}

// A panic in a call ends that call, and the server can end.
func TestPanicInACall(t *testing.T) {
	s := aServer(t, 1)
	l, err := s.newLeg("0", nil, netip.MustParseAddr("127.0.0.1"))
	if err != nil {
		t.Fatal(err)
	}
	behind := make(chan struct{})
	l.must(func() {
		l.must(func() { close(behind) })
		panic("as told")
	})
	next(t, behind, "the task behind it")
	next(t, l.over, "the end of the call")
	if l.do(func() {}) || l.must(func() {}) {
		t.Error("a leg that has closed takes tasks")
	}
}

// A server that closes ends the calls at its telephones, and waits for their end.
func TestCloseEndsCalls(t *testing.T) {
	s := aServer(t, 3)
	var legs []*leg
	for n := range 3 {
		l, err := s.newLeg(fmt.Sprint(n), nil, netip.MustParseAddr("127.0.0.1"))
		if err != nil {
			t.Fatal(err)
		}
		legs = append(legs, l)
	}
	start := time.Now()
	s.Close()
	if took := time.Since(start); took >= goodbyes {
		t.Errorf("it takes %s", took)
	}
	for _, l := range legs {
		next(t, l.over, "the end of the call at "+l.device)
	}
	if _, legs := s.Counts(); legs > 0 {
		t.Errorf("%d are left", legs)
	}
}

// The versions of what a telephone is told rise in the order in which they are sent, whoever has it
// told.
func TestVersionsInOrder(t *testing.T) {
	s := aServer(t, 1)
	subs := make(chan *subscription, 1)
	ua := sip.New(sip.Config{Requests: map[string]func(*sip.Request){"SUBSCRIBE": func(r *sip.Request) {
		sub := s.subscription(s.users["0"], dialogPackage)
		d, err := r.Subscribe(sub, sip.Answer{})
		if err != nil {
			t.Error(err)
		}
		sub.dialog, sub.expires = d, time.Now().Add(time.Hour)
		subs <- sub
	}}})
	t.Cleanup(ua.Close)
	addr, err := ua.ListenTCP("127.0.0.1:0", nil)
	if err != nil {
		t.Fatal(err)
	}
	nc, err := net.Dial("tcp", addr.String())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	_ = nc.SetDeadline(time.Now().Add(patience))
	lines := []string{
		"SUBSCRIBE sip:0@localhost SIP/2.0", "Via: SIP/2.0/TCP 127.0.0.1;branch=z9hG4bK1", "From: <sip:0@localhost>;tag=1", "To: <sip:0@localhost>",
		"Call-ID: 1", "CSeq: 1 SUBSCRIBE", "Contact: <sip:0@" + nc.LocalAddr().String() + ";transport=tcp>", "Event: dialog", "Content-Length: 0",
	}
	if _, err := nc.Write([]byte(strings.Join(lines, "\r\n") + "\r\n\r\n")); err != nil {
		t.Fatal(err)
	}
	sub := next(t, subs, "the subscription")
	var group sync.WaitGroup
	for range 4 {
		group.Go(func() {
			for range 50 {
				s.tellAll(sub)
			}
		})
	}
	group.Wait()
	s.unsubscribe(sub) // ends the last line
	version := regexp.MustCompile(`<dialog-info.* version="(\d+)"`)
	in := bufio.NewScanner(nc)
	for n := 0; n < 200 && in.Scan(); {
		if found := version.FindStringSubmatch(in.Text()); found != nil {
			if found[1] != fmt.Sprint(n) {
				t.Fatalf("version %s, want %d", found[1], n)
			}
			n++
		}
	}
	if err := in.Err(); err != nil {
		t.Error(err)
	}
}
