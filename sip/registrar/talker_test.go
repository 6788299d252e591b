package registrar

import (
	"sync"
	"sync/atomic"
	"testing"

	"github.com/tr87proxy/tr87proxy/sip"
	"github.com/tr87proxy/tr87proxy/tr87"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

// talker is a telephone that speaks uaCSTA: a user agent of its own that takes TR/87 sessions, and NOTIFYs
// outside dialogs.
type talker struct {
	t        *testing.T
	ua       *sip.UA
	contact  string
	refuses  atomic.Int32 // the code that it refuses sessions with; 0: it takes them
	opened   chan struct{}
	ended    chan error
	asked    chan *uacsta.Message                      // in sessions
	answer   func(req *uacsta.Message) *uacsta.Message // nil: the positive one
	notified chan *sip.Request
	responds func(*sip.Request) sip.Answer // to a NOTIFY or INFO outside a dialog; nil: 200

	mu     sync.Mutex
	dialog *sip.Dialog
}

func newTalker(t *testing.T, agent string) *talker {
	t.Helper()
	p := &talker{
		t: t, opened: make(chan struct{}, 100), ended: make(chan error, 100), asked: make(chan *uacsta.Message, 100), notified: make(chan *sip.Request, 100),
	}
	outside := func(r *sip.Request) {
		a := sip.Answer{}
		if p.responds != nil {
			a = p.responds(r)
		}
		r.Respond(a)
		p.notified <- r
	}
	p.ua = sip.New(sip.Config{Handler: p, UserAgent: agent, Known: func(sip.Peer) bool { return true }, Requests: map[string]func(*sip.Request){"NOTIFY": outside, "INFO": outside}})
	t.Cleanup(p.ua.Close)
	at, err := p.ua.ListenTCP("127.0.0.1:0", nil)
	if err != nil {
		t.Fatal(err)
	}
	p.contact = "sip:100@" + at.String() + ";transport=tcp"
	return p
}

// Invite implements sip.Handler.
func (p *talker) Invite(in *sip.Invitation) {
	if code := int(p.refuses.Load()); code != 0 {
		in.Reject(sip.Answer{Code: code})
		return
	}
	status := uacsta.Encode(uacsta.RequestSystemStatusResponse{SystemStatus: uacsta.StatusNormal}, uacsta.Edition3)
	d, err := in.Accept(p, sip.Answer{ContentType: tr87.ContentType, Body: status.Bytes()})
	if err != nil {
		p.t.Error(err)
		return
	}
	p.mu.Lock()
	p.dialog = d
	p.mu.Unlock()
	p.opened <- struct{}{}
}

// Request implements sip.DialogHandler.
func (p *talker) Request(d *sip.Dialog, r *sip.Request) {
	m, err := uacsta.Parse(r.Body())
	if err != nil {
		d.RespondRefresh(r, sip.Answer{Code: 400})
		return
	}
	p.asked <- m
	res := uacsta.Accept(m, uacsta.Edition3)
	if p.answer != nil {
		res = p.answer(m)
	}
	d.RespondRefresh(r, sip.Answer{ContentType: tr87.ContentType, Body: res.Bytes()})
}

// Refresh implements sip.DialogHandler.
func (*talker) Refresh() (contentType string, body []byte) { return "", nil }

// Ended implements sip.DialogHandler.
func (p *talker) Ended(reason error) { p.ended <- reason }

// session is the dialog of the last session.
func (p *talker) session() *sip.Dialog {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.dialog
}

// send sends an event.
func (p *talker) send(ev any) {
	p.session().Send("INFO", tr87.ContentType, uacsta.Encode(ev, uacsta.Edition3).Bytes(), nil)
}

// register registers the telephone over TCP.
func (p *talker) register(r *station, headers ...sip.Header) {
	p.t.Helper()
	own := "sip:100@127.0.0.1"
	res, err := p.ua.Request(p.t.Context(), "REGISTER", sip.Invite{
		To: own, From: own, Target: "sip:" + r.at["TCP"] + ";transport=tcp", Username: "100", Password: "secret", Headers: headers,
	})
	if err != nil || res.Code() != 200 {
		p.t.Fatal(res, err)
	}
}

// ask sends a NOTIFY or INFO outside a dialog.
func (p *talker) ask(r *station, method, contentType string, body []byte) *sip.Response {
	p.t.Helper()
	own := "sip:100@127.0.0.1"
	res, err := p.ua.Request(p.t.Context(), method, sip.Invite{
		To: own, From: own, Target: "sip:" + r.at["TCP"] + ";transport=tcp", Username: "100", Password: "secret", ContentType: contentType, Body: body,
		Headers: []sip.Header{{Name: "Event", Value: notifyEvent}, {Name: "Subscription-State", Value: "active"}},
	})
	if err != nil {
		p.t.Fatal(err)
	}
	return res
}
