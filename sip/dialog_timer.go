package sip

import (
	"strconv"
	"strings"
	"time"

	"github.com/tr87proxy/tr87proxy/internal/share"
)

// schedule restarts the session timer. Callers hold d.mu.
func (d *Dialog) schedule() {
	if d.expiry != nil {
		d.expiry.Stop()
	}
	if d.ended {
		return
	}
	switch t := d.timer; {
	case t.interval == 0:
		d.expiry = time.AfterFunc(d.ua.cfg.MaxSession, func() { d.bye(ErrExpired, func(Result) {}) })
	case t.ours:
		d.expiry = time.AfterFunc(t.interval/2, d.refresh)
	default:
		// RFC 4028 10: send BYE min(32 s, interval/3) before the session expires.
		d.expiry = time.AfterFunc(t.interval-min(32*time.Second, t.interval/3), func() { d.bye(ErrExpired, func(Result) {}) })
	}
}

// refreshed handles a re-INVITE or UPDATE, which refreshes target and session (RFC 3261 12.2.2,
// RFC 4028 9), and passes its body to the handler.
func (d *Dialog) refreshed(r *Request) {
	timer, refusal := d.ua.negotiate(r, false)
	if refusal != nil {
		r.Respond(*refusal)
		return
	}
	d.mu.Lock()
	if d.inviting && r.Method() == "INVITE" { // glare (RFC 3261 14.2)
		d.mu.Unlock()
		r.Respond(Answer{Code: 491})
		return
	}
	d.target = target(r.Contacts(), d.target)
	if timer.interval > 0 || d.timer.interval == 0 {
		d.timer = timer
	}
	d.schedule()
	d.mu.Unlock()
	r.extra = append([]Header{{"Contact", d.contact()}, {"Allow", d.ua.allow}}, timer.headers()...)
	if r.Method() == "UPDATE" && len(r.Body()) == 0 {
		r.Respond(Answer{})
		return
	}
	d.handler.Request(d, r)
}

// RespondRefresh answers a request that may be a re-INVITE. A 2xx to a re-INVITE is repeated
// until the ACK; everything else goes to [Request.Respond].
func (d *Dialog) RespondRefresh(r *Request, a Answer) {
	if r.Method() != "INVITE" || a.Code != 0 && a.Code/100 != 2 || r.tx.answered.Swap(true) {
		r.Respond(a)
		return
	}
	a.Code = 200
	d.accept(r, r.response(a, whole))
}

// refresh refreshes the session as the refresher (RFC 4028 7.2): with UPDATE if the handler has
// no body and the peer allows it, otherwise with re-INVITE.
func (d *Dialog) refresh() {
	defer share.Survive(d.ua.log, "refreshing a session", nil)
	contentType, body := d.handler.Refresh()
	d.mu.Lock()
	interval := d.timer.interval
	who := ";refresher=uac" // the refresher is the UAC of its own request
	update := body == nil && strings.Contains(d.allows, "UPDATE")
	d.mu.Unlock()
	headers := []Header{{"Supported", "timer"}, {"Session-Expires", strconv.Itoa(int(interval/time.Second)) + who}}
	if update {
		d.Send("UPDATE", "", nil, d.renewed, headers...)
		return
	}
	d.Reinvite(contentType, body, func(res Result) {
		if res.Code()/100 != 2 {
			d.renewed(res)
		}
	}, headers...)
}

func (d *Dialog) renewed(res Result) {
	if res.Code()/100 == 2 {
		d.mu.Lock()
		d.schedule()
		d.mu.Unlock()
		return
	}
	if res.Code() != 481 { // a 481 has already ended the dialog
		d.bye(ErrExpired, func(Result) {})
	}
}
