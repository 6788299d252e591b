package registrar

import (
	"errors"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/tr87proxy/tr87proxy/internal/config"
	"github.com/tr87proxy/tr87proxy/internal/wait"
	"github.com/tr87proxy/tr87proxy/sip"
	"github.com/tr87proxy/tr87proxy/tr87"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

// notifies serves 100, whose telephone speaks CSTA by NOTIFY and has registered.
func notifies(t *testing.T) (*station, *talker) {
	t.Helper()
	p := newTalker(t, "Notifier 1.0")
	r := aStation(t, Config{
		Users: []User{{Number: "100", Password: "secret", UACSTA: Always}},
		Models: []Model{
			{Name: "other", Agent: regexp.MustCompile("^Other")},
			{Name: "notifier", Agent: regexp.MustCompile("^Notifier"), CSTA: "notify", Services: []string{"AnswerCall"}, Answer: &Notify{"talk", "text/plain", "lift {call-id}"}},
		},
	})
	p.register(r)
	r.converse(time.Now())
	if got := wait.Next(t, r.owner.heard, "the session"); got != "open" {
		t.Fatal(got)
	}
	return r, p
}

// messageOf is the message in a NOTIFY, and what its Event says.
func messageOf(t *testing.T, r *sip.Request) *uacsta.Message {
	t.Helper()
	m, err := uacsta.Parse(r.Body())
	if err != nil || r.Header("Event") != notifyEvent || r.ContentType() != tr87.ContentType {
		t.Fatal(err, r.Header("Event"), r.ContentType())
	}
	return m
}

// A telephone is asked by NOTIFY, and its response is that of SIP.
func TestNotifier(t *testing.T) {
	r, p := notifies(t)
	answers := make(chan error, 1)
	ask := func() error {
		r.Request("100", func(n *Session) (*uacsta.Message, error) {
			if len(n.Services()) != 1 {
				t.Error(n.Services())
			}
			return uacsta.Encode(uacsta.AnswerCall{CallToBeAnswered: uacsta.Conn("", n.Own())}, uacsta.Edition3), nil
		}, func(_ *uacsta.Message, err error) { answers <- err })
		return wait.Next(t, answers, "the response")
	}
	for what, tt := range map[string]struct {
		answer sip.Answer
		want   func(error) bool
	}{
		"no body":  {sip.Answer{}, func(err error) bool { return err == nil }},
		"positive": {sip.Answer{ContentType: tr87.ContentType, Body: uacsta.Encode(uacsta.AnswerCallResponse{}, uacsta.Edition3).Bytes()}, func(err error) bool { return err == nil }},
		"a refusal": {sip.Answer{ContentType: tr87.ContentType, Body: uacsta.ErrorMessage(uacsta.Refuse(uacsta.Operation, uacsta.InvalidConnectionID), uacsta.Edition3).Bytes()}, func(err error) bool {
			var refusal *uacsta.Error
			return errors.As(err, &refusal) && refusal.Value == uacsta.InvalidConnectionID
		}},
		"refused": {sip.Answer{Code: 480}, func(err error) bool { return errors.Is(err, ErrTelephone) }},
		"no CSTA": {sip.Answer{ContentType: tr87.ContentType, Body: []byte("well")}, func(err error) bool { return errors.Is(err, ErrTelephone) }},
	} {
		p.responds = func(*sip.Request) sip.Answer { return tt.answer }
		if err := ask(); !tt.want(err) {
			t.Errorf("%s: %v", what, err)
		}
		if m := messageOf(t, wait.Next(t, p.notified, "the request")); m.Name() != uacsta.NameAnswerCall {
			t.Error(m)
		}
	}
	for held, want := range map[bool]string{false: uacsta.NameAnswerCall, true: uacsta.NameRetrieveCall} {
		r.Lift("100", held)
		if m := messageOf(t, wait.Next(t, p.notified, "the request")); m.Name() != want {
			t.Errorf("%s, want %s", m.Name(), want)
		}
	}
}

// A telephone whose model wants it is asked by INFO outside a dialog; it gets no events.
func TestInfo(t *testing.T) {
	p := newTalker(t, "Informed 1.0")
	r := aStation(t, Config{
		Users: []User{{Number: "100", Password: "secret", UACSTA: Always}}, Models: []Model{{Name: "informed", Agent: regexp.MustCompile("^Informed"), CSTA: "info"}},
	})
	p.register(r)
	r.converse(time.Now())
	if got := wait.Next(t, r.owner.heard, "the session"); got != "open" {
		t.Fatal(got)
	}
	r.Show("100", "dnd", uacsta.Encode(uacsta.DoNotDisturbEvent{MonitorCrossRefID: "1", Device: uacsta.Ext("100")}, uacsta.Edition3))
	made := uacsta.Encode(uacsta.MakeCallResponse{CallingDevice: uacsta.Conn("1", "100")}, uacsta.Edition3)
	p.responds = func(*sip.Request) sip.Answer { return sip.Answer{ContentType: tr87.ContentType, Body: made.Bytes()} }
	answers := make(chan string, 1)
	r.Request("100", func(n *Session) (*uacsta.Message, error) {
		return uacsta.Encode(uacsta.MakeCall{CallingDevice: uacsta.Dev(n.Own()), CalledDirectoryNumber: uacsta.Dev("101")}, uacsta.Edition3), nil
	}, func(res *uacsta.Message, err error) {
		if err != nil {
			t.Error(err)
		}
		answers <- res.Name()
	})
	if got := wait.Next(t, answers, "the response"); got != "MakeCallResponse" {
		t.Error(got)
	}
	q := wait.Next(t, p.notified, "the request")
	if m, err := uacsta.Parse(q.Body()); err != nil || m.Name() != uacsta.NameMakeCall || q.Method() != "INFO" || q.ContentType() != tr87.ContentType || q.Header("Event") != "" {
		t.Errorf("%s %s %s", q.Method(), q.Header("Event"), q.Body())
	}
}

// Such a telephone is sent events by NOTIFY, each once.
func TestShow(t *testing.T) {
	r, p := notifies(t)
	event := func(on bool) *uacsta.Message {
		return uacsta.Encode(uacsta.DoNotDisturbEvent{MonitorCrossRefID: "1", Device: uacsta.Ext("100"), DoNotDisturbOn: on}, uacsta.Edition3)
	}
	for _, on := range []bool{true, true, false} {
		r.Show("100", "dnd", event(on))
		r.Show("102", "dnd", event(on))
	}
	for _, want := range []string{"true", "false"} {
		if m := messageOf(t, wait.Next(t, p.notified, "an event")); m.Text("doNotDisturbOn") != want {
			t.Errorf("%s, want %s", m, want)
		}
	}
	p.responds = func(*sip.Request) sip.Answer { return sip.Answer{} }
	p.ua.Close()
	r.Show("100", "dnd", event(true))
	if got := wait.Next(t, r.owner.heard, "the end"); got != "closed" {
		t.Error(got)
	}
}

// A telephone asks outside dialogs, of its own extension.
func TestOutside(t *testing.T) {
	r, p := notifies(t)
	asks := func(service any) []byte { return uacsta.Encode(service, uacsta.Edition3).Bytes() }
	for _, tt := range []struct {
		method, contentType string
		body                []byte
		code                int
		has                 string
	}{
		{"NOTIFY", tr87.ContentType, asks(uacsta.GetDoNotDisturb{Device: uacsta.Dev("100")}), 200, "<doNotDisturbOn>true<"},
		{"INFO", tr87.ContentType, asks(uacsta.GetDoNotDisturb{Device: uacsta.Dev("100")}), 200, "<doNotDisturbOn>true<"},
		{"NOTIFY", tr87.ContentType, asks(uacsta.GetForwarding{Device: uacsta.Dev("100")}), 200, "serviceNotSupported"},
		{"INFO", tr87.ContentType, asks(uacsta.DoNotDisturbEvent{MonitorCrossRefID: "7", Device: uacsta.Ext("100")}), 200, ""},
		{"NOTIFY", "text/plain", []byte("x"), 415, ""},
		{"NOTIFY", tr87.ContentType, []byte("x"), 400, ""},
	} {
		if res := p.ask(r, tt.method, tt.contentType, tt.body); res.Code() != tt.code || !strings.Contains(string(res.Body()), tt.has) {
			t.Errorf("%s %s: %d %s", tt.method, tt.body, res.Code(), res.Body())
		}
	}
	own := "sip:100@127.0.0.1"
	res, err := p.ua.Request(t.Context(), "INFO", sip.Invite{To: own, From: own, Target: "sip:" + r.at["TCP"] + ";transport=tcp"})
	if err != nil || res.Code() != 401 {
		t.Error("without password:", res, err)
	}
	if got := wait.Next(t, r.owner.heard, "the event"); got != "DoNotDisturbEvent 7" {
		t.Error(got)
	}
	for later := time.Now().Add(time.Hour); r.outsides.Take("100", outsideRate, outsideBurst, later); {
		continue
	}
	if res := p.ask(r, "INFO", tr87.ContentType, asks(uacsta.GetDoNotDisturb{Device: uacsta.Dev("100")})); res.Code() != 503 {
		t.Errorf("too fast: %d", res.Code())
	}
}

// Telephones that speak CSTA in sessions send events there only.
func TestEventOutside(t *testing.T) {
	r := aStation(t, Config{})
	p := newTalker(t, "Other")
	p.register(r)
	event := uacsta.Encode(uacsta.DoNotDisturbEvent{MonitorCrossRefID: "7", Device: uacsta.Ext("100")}, uacsta.Edition3).Bytes()
	if res := p.ask(r, "INFO", tr87.ContentType, event); !strings.Contains(string(res.Body()), "serviceNotSupported") || len(r.owner.heard) > 0 {
		t.Errorf("%d %s", res.Code(), res.Body())
	}
}

// What a maker has for answering is sent to its telephone, with the call's Call-ID.
func TestCommand(t *testing.T) {
	r, p := notifies(t)
	if r.Command("100", true) != nil || r.Command("102", false) != nil || r.ObeysTalk("100") || !r.Talks("100") {
		t.Error("commands that nobody has")
	}
	c := r.Command("100", false)
	if c == nil || c.Model != "notifier" {
		t.Fatal(c)
	}
	c.Send("abc")
	n := wait.Next(t, p.notified, "the command")
	if n.Header("Event") != "talk" || n.ContentType() != "text/plain" || string(n.Body()) != "lift abc" {
		t.Errorf("%s %s: %s", n.Header("Event"), n.ContentType(), n.Body())
	}
	p.responds = func(*sip.Request) sip.Answer { return sip.Answer{Code: 489} }
	c.Send("abc")
	r.log.await(t, "telephone refused its maker's NOTIFY", 1)
}

// The table of models is that of the configuration.
func TestModelsOf(t *testing.T) {
	list, err := config.Models("")
	if err != nil {
		t.Fatal(err)
	}
	models := ModelsOf(list)
	if len(models) != len(list) || len(models) == 0 {
		t.Fatal(len(models))
	}
	for i, m := range models {
		if m.Name != list[i].Name || m.Agent.String() != list[i].Agent || len(m.Services) != len(list[i].Services) || (m.Answer == nil) != (list[i].Answer == nil) {
			t.Errorf("%+v is not %+v", m, list[i])
		}
	}
}

// An INVITE is believed by its digest, and asked for it.
func TestAuthenticateINVITE(t *testing.T) {
	calls := make(chan *sip.Invitation, 1)
	r := aStation(t, Config{Calls: handler(func(in *sip.Invitation) { calls <- in })})
	if r.Realm() != "tr87proxy" {
		t.Error(r.Realm())
	}
	p := newTalker(t, "talker")
	own := "sip:100@127.0.0.1"
	go func() {
		_, _, _ = p.ua.Invite(t.Context(), sip.Invite{To: own, From: own, Target: "sip:" + r.at["TCP"] + ";transport=tcp", Username: "100", Password: "secret"}, p)
	}()
	in := wait.Next(t, calls, "the INVITE")
	if number, ok := r.Authenticate(in.Request, in.From()); ok {
		t.Error("without digest:", number)
	}
	in = wait.Next(t, calls, "the INVITE with digest")
	if number, ok := r.Authenticate(in.Request, in.From()); !ok || number != "100" {
		t.Error(number, ok)
	}
	in.Reject(sip.Answer{Code: 486})
}

type handler func(*sip.Invitation)

func (h handler) Invite(in *sip.Invitation) { h(in) }
