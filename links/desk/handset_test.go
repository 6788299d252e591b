package desk

import (
	"sync"
	"testing"

	"github.com/tr87proxy/tr87proxy/proxy/linktest"
	"github.com/tr87proxy/tr87proxy/sip"
	"github.com/tr87proxy/tr87proxy/tr87"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

// deskPhoneURI is how the telephone of the contract's tests calls itself.
const deskPhoneURI = "sip:7001@127.0.0.1"

// handset is a desk phone that speaks uaCSTA: a SIP user agent of its own, with a switching function
// behind it that numbers monitors and calls anew in each session.
type handset struct {
	ua     *sip.UA
	pbx    linktest.PBX
	group  sync.WaitGroup
	opened chan struct{} // holds a value when a session has been opened
	// script, where it is not nil, answers requests instead of the switching function. reply is called
	// once, then or later, or never.
	script func(req *uacsta.Message, reply func(*uacsta.Message))

	mu     sync.Mutex
	dialog *sip.Dialog // of the last session
}

// send sends an event in the last session.
func (h *handset) send(ev any) {
	h.mu.Lock()
	d := h.dialog
	h.mu.Unlock()
	d.Send("INFO", tr87.ContentType, uacsta.Encode(ev, uacsta.Edition3).Bytes(), nil)
}

// hangUp ends the last session.
func (h *handset) hangUp() {
	h.mu.Lock()
	d := h.dialog
	h.mu.Unlock()
	d.Bye()
}

// newHandset makes one, which lives until the test ends.
func newHandset(t testing.TB) *handset {
	t.Helper()
	h := &handset{opened: make(chan struct{}, 1)}
	h.ua = sip.New(sip.Config{Handler: h, Known: func(sip.Peer) bool { return true }})
	t.Cleanup(func() { h.ua.Close(); h.group.Wait() })
	return h
}

// Invite implements sip.Handler.
func (h *handset) Invite(in *sip.Invitation) {
	if m, err := uacsta.Parse(in.Body()); err != nil || m.Name() != uacsta.NameRequestSystemStatus {
		in.Reject(sip.Answer{Code: 488})
		return
	}
	status := uacsta.Encode(uacsta.RequestSystemStatusResponse{SystemStatus: uacsta.StatusNormal}, uacsta.Edition3)
	s := &handsetSession{handset: h}
	var d *sip.Dialog
	s.line = h.pbx.Connect(func(ev *uacsta.Message) { d.Send("INFO", tr87.ContentType, ev.Bytes(), nil) })
	var err error
	if d, err = in.Accept(s, sip.Answer{ContentType: tr87.ContentType, Body: status.Bytes()}); err != nil {
		s.line.Close()
		return
	}
	h.mu.Lock()
	h.dialog = d
	h.mu.Unlock()
	select {
	case h.opened <- struct{}{}:
	default:
	}
}

// handsetSession is a session with it. It stands for the handset in its dialog.
type handsetSession struct {
	handset *handset
	line    *linktest.Line
}

// Request implements sip.DialogHandler.
func (s *handsetSession) Request(d *sip.Dialog, r *sip.Request) {
	m, err := uacsta.Parse(r.Body())
	if err != nil {
		d.RespondRefresh(r, sip.Answer{Code: 400})
		return
	}
	ask := s.line.Request
	if script := s.handset.script; script != nil {
		ask = script
	}
	ask(m, func(res *uacsta.Message) {
		a := sip.Answer{}
		if res != nil {
			a = sip.Answer{ContentType: tr87.ContentType, Body: res.Bytes()}
		}
		d.RespondRefresh(r, a)
	})
}

// Refresh implements sip.DialogHandler.
func (*handsetSession) Refresh() (contentType string, body []byte) { return "", nil }

// Ended implements sip.DialogHandler. The switching function may be what has ended it.
func (s *handsetSession) Ended(error) { s.handset.group.Go(s.line.Close) }
