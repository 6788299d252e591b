package registrar

import (
	"errors"
	"log/slog"
	"slices"
	"testing"
	"time"

	"github.com/tr87proxy/tr87proxy/internal/wait"
	"github.com/tr87proxy/tr87proxy/sip"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

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
	lines := make(lines, 10000)
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
		lines.await(t, "uaCSTA session closed", 1)
		if s.session(u) != nil {
			t.Fatalf("round %d: a session that has ended", round)
		}
	}
}

// A session with a telephone opens once it is there, is used, and is opened again some time after the telephone
// has closed it. Close says goodbye.
func TestSession(t *testing.T) {
	p := newTalker(t, "talker")
	r := aStation(t, Config{Users: []User{{Number: "100", Contact: p.contact, UACSTA: Always}}})
	r.restore()
	if got := wait.Next(t, r.owner.standing, "reachable"); got != "100 {true false false}" {
		t.Error(got)
	}
	r.converse(time.Now())
	answers := make(chan error, 1)
	var own string
	r.Request("100", func(n *Session) (*uacsta.Message, error) { // it waits for the session
		own = n.Own()
		return dialling("200"), nil
	}, func(_ *uacsta.Message, err error) { answers <- err })
	if err := wait.Next(t, answers, "the response"); err != nil || own != "sip:100@127.0.0.1" {
		t.Error(err, own)
	}
	if m := wait.Next(t, p.asked, "the request"); m.Text("calledDirectoryNumber") != "200" {
		t.Error(m)
	}
	if got := wait.Next(t, r.owner.standing, "the session"); got != "100 {true true true}" {
		t.Error(got)
	}
	p.send(uacsta.MicrophoneMuteEvent{MonitorCrossRefID: "5", InvokingDevice: uacsta.Ext("100")})
	for _, want := range []string{"open", "MicrophoneMuteEvent 5"} {
		if got := wait.Next(t, r.owner.heard, want); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	p.session().Bye()
	if got := wait.Next(t, r.owner.heard, "the end"); got != "closed" {
		t.Error(got)
	}
	if got := wait.Next(t, r.owner.standing, "the end"); got != "100 {true false false}" {
		t.Error(got)
	}
	r.request(dialling("1"), func(_ *uacsta.Message, err error) { answers <- err })
	if err := wait.Next(t, answers, "the refusal"); !errors.Is(err, ErrTelephone) {
		t.Error(err)
	}
	r.Request("101", nil, func(_ *uacsta.Message, err error) { answers <- err })
	if err := wait.Next(t, answers, "the refusal"); !errors.Is(err, ErrTelephone) {
		t.Error(err)
	}
	wait.Next(t, p.opened, "the session")
	r.converse(time.Now())
	r.converse(time.Now().Add(cstaRetry + time.Second))
	wait.Next(t, p.opened, "the next session")
	if got := wait.Next(t, r.owner.heard, "the next session"); got != "open" {
		t.Error(got)
	}
	if len(p.opened) > 0 {
		t.Error("it has more sessions than it wants")
	}
	for len(p.ended) > 0 {
		<-p.ended
	}
	r.SetPasswords([]User{{Number: "100", Password: "another"}})
	if err := wait.Next(t, p.ended, "the goodbye"); !errors.Is(err, sip.ErrBye) {
		t.Error(err)
	}
}

// A session is open as long as a client monitors the extension, with a monitor of ours in it; where it is
// always open, the monitor comes and goes. A telephone that refuses it is asked once in a session.
func TestMonitor(t *testing.T) {
	for _, tt := range []struct {
		uacsta  string
		refuses bool
		asked   []string
		ends    bool
	}{
		{Monitored, false, []string{"MonitorStart "}, true},
		{Always, false, []string{"MonitorStart ", "MonitorStop 7"}, false},
		{Monitored, true, []string{"MonitorStart "}, true},
	} {
		p := newTalker(t, "talker")
		p.answer = func(req *uacsta.Message) *uacsta.Message {
			switch {
			case tt.refuses:
				return uacsta.ErrorMessage(uacsta.Refuse(uacsta.Operation, uacsta.ServiceNotSupported), uacsta.Edition3)
			case req.Name() == uacsta.NameMonitorStart:
				m, _ := started("7")
				return m
			}
			return uacsta.Accept(req, uacsta.Edition3)
		}
		r := aStation(t, Config{Users: []User{{Number: "100", Contact: p.contact, UACSTA: tt.uacsta}}})
		r.restore()
		r.converse(time.Now())
		if len(p.opened) > 0 && tt.uacsta == Monitored {
			t.Error("a session that nobody wants")
		}
		u := r.users["100"]
		settled := func() { // what the telephone is asked has been asked
			done := make(chan struct{})
			u.asks.Must(func() { close(done) })
			wait.Next(t, done, "the tasks")
		}
		r.Monitor("100", true)
		r.Monitor("102", true)
		r.converse(time.Now())
		wait.Next(t, p.opened, "the session")
		if got := wait.Next(t, r.owner.heard, "the session"); got != "open" {
			t.Error(got)
		}
		for range 3 {
			r.converse(time.Now())
			settled()
		}
		r.Monitor("100", false)
		for range 3 {
			r.converse(time.Now())
			settled()
		}
		var asked []string
		for len(p.asked) > 0 {
			m := <-p.asked
			asked = append(asked, m.Name()+" "+m.CrossRef())
		}
		if !slices.Equal(asked, tt.asked) {
			t.Errorf("%s: asked for %q, want %q", tt.uacsta, asked, tt.asked)
		}
		if tt.ends {
			wait.Next(t, p.ended, "the end of the session")
		} else if len(p.ended) > 0 {
			t.Error("the session has ended")
		}
	}
}

// A telephone that takes no session is asked again after a while, and hardly again where it does not speak CSTA.
func TestSessionRefused(t *testing.T) {
	for code, want := range map[int32]time.Duration{480: cstaRetry, 488: cstaRefused} {
		p := newTalker(t, "talker")
		p.refuses.Store(code)
		r := aStation(t, Config{Users: []User{{Number: "100", Contact: p.contact, UACSTA: Always}}})
		r.restore()
		r.converse(time.Now())
		r.log.await(t, "could not open uaCSTA session", 1)
		u := r.users["100"]
		r.mu.Lock()
		if got := u.bindings[0].csta.wait; got != want {
			t.Errorf("%d: %s, want %s", code, got, want)
		}
		r.mu.Unlock()
	}
}

// A telephone that has registered over a connection loses its registration and its session with it.
func TestSessionLostWithItsFlow(t *testing.T) {
	p := newTalker(t, "talker")
	r := aStation(t, Config{Users: []User{{Number: "100", Password: "secret", UACSTA: Always}}})
	p.register(r)
	r.converse(time.Now())
	if got := wait.Next(t, r.owner.heard, "the session"); got != "open" {
		t.Error(got)
	}
	p.ua.Close()
	if got := wait.Next(t, r.owner.heard, "the end"); got != "closed" {
		t.Error(got)
	}
	for wait.Next(t, r.owner.standing, "the end") != "100 {false false false}" {
	}
	if list := r.Telephones(); len(list) > 0 {
		t.Error(list)
	}
}

// A telephone is told by uaCSTA to answer the call that alerts, or to retrieve the one that it holds.
func TestLift(t *testing.T) {
	state := func(callID string, s uacsta.LocalConnectionState) uacsta.SnapshotDeviceResponseInfo {
		return uacsta.SnapshotDeviceResponseInfo{
			ConnectionIdentifier: uacsta.Conn(callID, "100"), LocalCallState: uacsta.CallState{CompoundCallState: []uacsta.LocalConnectionState{s}},
		}
	}
	p := newTalker(t, "talker")
	var calls []uacsta.SnapshotDeviceResponseInfo
	p.answer = func(req *uacsta.Message) *uacsta.Message {
		if req.Name() == uacsta.NameSnapshotDevice {
			var res uacsta.SnapshotDeviceResponse
			if calls != nil {
				res.CrossRefIDorSnapshotData.SnapshotData = &uacsta.SnapshotDeviceDataList{SnapshotDeviceResponseInfo: calls}
			} else {
				res.CrossRefIDorSnapshotData.ServiceCrossRefID = "1"
			}
			return uacsta.Encode(res, uacsta.Edition3)
		}
		return uacsta.Accept(req, uacsta.Edition3)
	}
	r := aStation(t, Config{Users: []User{{Number: "100", Contact: p.contact, UACSTA: Always}}})
	if r.Lift("100", false) || r.Lift("101", false) {
		t.Error("a telephone without session is told")
	}
	r.restore()
	r.converse(time.Now())
	wait.Next(t, r.owner.heard, "the session")
	for _, tt := range []struct {
		calls []uacsta.SnapshotDeviceResponseInfo
		held  bool
		want  string
	}{
		{[]uacsta.SnapshotDeviceResponseInfo{state("1", uacsta.Connected), state("2", uacsta.Alerting)}, false, "AnswerCall 2"},
		{[]uacsta.SnapshotDeviceResponseInfo{state("1", uacsta.Hold)}, true, "RetrieveCall 1"},
		{[]uacsta.SnapshotDeviceResponseInfo{state("1", uacsta.Connected)}, true, ""},
		{nil, false, ""},
	} {
		calls = tt.calls
		if !r.Lift("100", tt.held) {
			t.Error("it is not told")
		}
		if m := wait.Next(t, p.asked, "the snapshot"); m.Name() != uacsta.NameSnapshotDevice {
			t.Error(m)
		}
		if tt.want == "" {
			r.log.await(t, "telephone does not answer by uaCSTA", 1)
			continue
		}
		m := wait.Next(t, p.asked, tt.want)
		if got := m.Name() + " " + m.Connections()[0].CallID(); got != tt.want {
			t.Errorf("%q, want %q", got, tt.want)
		}
		if len(p.asked) > 0 {
			t.Error("it is told more")
		}
	}
}
