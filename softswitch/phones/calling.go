package phones

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"

	"github.com/tr87proxy/tr87proxy/internal/share"
	"github.com/tr87proxy/tr87proxy/sip"
	"github.com/tr87proxy/tr87proxy/sip/registrar"
	"github.com/tr87proxy/tr87proxy/softswitch"
	"github.com/tr87proxy/tr87proxy/softswitch/media"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

// ring calls all telephones of a leg; the first that answers gets the call.
func (l *leg) ring(v softswitch.View, p softswitch.Party) {
	invites := l.invites(&v, &p)
	if len(invites) == 0 || l.hungUp {
		l.failed(uacsta.CauseDestOutOfOrder)
		return
	}
	l.suit()
	for _, inv := range invites {
		l.invite(inv)
	}
}

// invite calls one telephone.
func (l *leg) invite(inv sip.Invite) {
	f := &fork{leg: l}
	ctx, cancel := context.WithCancelCause(l.server.ctx)
	l.cancels[f] = cancel
	inv.Progress = func(d *sip.Dialog, res *sip.Response) { l.do(func() { f.rings(d, res) }) }
	inv.ContentType, inv.Body = sdpType, l.voice.Propose(media.SendRecv, secured(&inv))
	f.request = inv
	var accepted atomic.Bool
	inv.Accepted = func(d *sip.Dialog, res *sip.Response) {
		accepted.Store(true)
		if !l.must(func() { f.answered(d, res, nil) }) {
			d.Bye()
		}
	}
	asked := l.server.spawn(func() {
		_, _, err := l.server.ua.Invite(ctx, inv, f)
		cancel(nil)
		if !accepted.Load() {
			l.must(func() { f.answered(nil, nil, err) })
		}
	})
	if !asked { // the server closes
		cancel(nil)
		delete(l.cancels, f)
	}
}

// secured reports whether an INVITE goes over TLS, so that it may have keys.
func secured(inv *sip.Invite) bool {
	if inv.Flow.Alive() {
		return inv.Flow.Peer().Secure()
	}
	to := sip.ParseURI(cmp.Or(inv.Target, inv.To))
	return to.Scheme == "sips" || to.Transport == "TLS" || to.Transport == "DTLS"
}

// invites makes the INVITEs of a leg.
func (l *leg) invites(v *softswitch.View, p *softswitch.Party) []sip.Invite {
	s := l.server
	if l.trunk != nil {
		return []sip.Invite{l.trunk.invite(v, p)}
	}
	from, name := shown(v, p)
	l.shows = from
	var list []sip.Invite
	for _, to := range s.telephones.Contacts(l.device) {
		inv := sip.Invite{To: to.Address(l.device), Target: to.URI, From: to.Address(from), Name: name, Flow: to.Flow}
		if p.Auto {
			inv.Headers = []sip.Header{
				{Name: "Call-Info", Value: "<" + to.Address("tr87proxy") + ">;answer-after=0"},
				{Name: "Alert-Info", Value: "<http://127.0.0.1>;info=alert-autoanswer;delay=0"},
			}
		}
		list = append(list, inv)
	}
	return list
}

// rings handles a provisional response, which may have early media.
func (f *fork) rings(d *sip.Dialog, res *sip.Response) {
	l := f.leg
	if l.hungUp {
		return
	}
	code := res.Code() // 180 and 183 are what a caller hears; 181 and 182 are the network's
	l.server.sw.Progress(l.device, l.keyNow(), code == 180 || code == 183)
	if l.dialog != nil && l.dialog != d {
		return
	}
	if l.dialog == nil {
		l.dialog = d // until another telephone answers
		l.named(d)
		l.server.kickKey(l.keyNow())
	}
	if res.ContentType() != sdpType || len(res.Body()) == 0 {
		return
	}
	f.session, f.tag = res.Body(), res.Tag()
	if len(l.cancels) == 1 {
		if err := l.voice.Answered(res.Body(), speaks(d.Peer())); err != nil {
			l.server.telephones.Report(slog.LevelInfo, l.device, "telephone sent unusable early media", "err", err)
			return
		}
		l.heard()
	}
}

func (l *leg) keyNow() int {
	l.server.mu.Lock()
	defer l.server.mu.Unlock()
	return l.key
}

// answered handles the final response of one telephone.
func (f *fork) answered(d *sip.Dialog, res *sip.Response, err error) {
	l := f.leg
	delete(l.cancels, f)
	s := l.server
	s.mu.Lock()
	taken := l.up || l.ended
	s.mu.Unlock()
	switch {
	case err == nil && taken: // another telephone answered first, or the call was cleared
		d.Bye()
		return
	case taken:
		return
	case err == nil && f.left: // it hung up at once
		l.worse(480, sip.Causes{})
		return
	case err != nil:
		f.refused(err)
		return
	}
	answer := res.Body()
	if len(answer) == 0 && f.tag == res.Tag() { // it was in a provisional response (RFC 3262 5)
		answer = f.session
	}
	if err := l.voice.Answered(answer, speaks(d.Peer())); err != nil {
		s.log.Info("telephone sent an unusable answer", "device", l.device, "err", err)
		d.Bye()
		l.worse(488, sip.Causes{})
		return
	}
	l.dialog, l.winner = d, f
	l.telephone = telephone(d.Peer(), res.Header("Contact"))
	l.named(d)
	for _, cancel := range l.cancels {
		cancel(endElsewhere.reason)
	}
	s.mu.Lock()
	l.up, l.early = true, true
	key := l.key
	s.mu.Unlock()
	if err := s.sw.Answered(l.device, key, l.leaves()); err != nil {
		s.log.Info("could not connect a telephone that answered", "device", l.device, "err", err)
		l.hangUp(endNormal)
		l.gone("")
		return
	}
	s.kickKey(key)
	l.agreed()
}

// reportFailure logs a call of a telephone or trunk that failed. What happens every day is for debugging only.
func (l *leg) reportFailure(caller, called string, cause uacsta.EventCause) {
	level := slog.LevelInfo
	if slices.Contains([]uacsta.EventCause{uacsta.CauseBusy, uacsta.CauseCallNotAnswered, uacsta.CauseCallCancelled, uacsta.CauseDoNotDisturb}, cause) {
		level = slog.LevelDebug
	}
	l.server.telephones.Report(level, l.device, "a call failed", "caller", share.Clip(caller), "called", share.Clip(called), "cause", cause)
}

// refused stores why a telephone did not answer, or follows its redirection (3xx).
func (f *fork) refused(err error) {
	l, code, why := f.leg, 0, sip.Causes{}
	var refusal *sip.Refusal
	if errors.As(err, &refusal) {
		code, why = refusal.Response.Code(), refusal.Response.Causes()
	}
	if code == 415 || code == 488 || code == 606 {
		l.server.telephones.Report(slog.LevelInfo, l.device, "telephone refused our offer of voice", "code", code, "offered", media.Profile(f.request.Body))
	}
	switch {
	case l.trunk != nil:
		if code/100 == 3 {
			l.redirected(f.request, refusal.Response.Targets())
			code = 480
		}
		if code/100 != 6 && l.tryFurther() {
			return
		}
	case code/100 == 3:
		if l.deflect(refusal.Response.Targets()) {
			return
		}
		code = 480
	}
	if code/100 == 6 && !l.server.cfg.RingsOn { // the user, not one of the telephones
		for _, cancel := range l.cancels {
			cancel(sip.CancelReason(`SIP;cause=` + strconv.Itoa(code) + `;text="` + sip.Phrase(code) + `"`))
		}
	}
	l.worse(code, why)
}

// deflect has the switch send the call on to the URIs that the telephone asked for (3xx), one after the other. It
// returns false if none is possible.
func (l *leg) deflect(targets []string) bool {
	var to []string
	for _, target := range targets {
		if number := registrar.Number(target); number != "" {
			to = append(to, number)
		}
	}
	if err := l.server.sw.Redirect(l.device, l.keyNow(), to); err != nil {
		l.server.log.Info("refused a redirection by a telephone", "device", l.device, "to", share.Clip(strings.Join(targets, " ")), "err", err)
		return false
	}
	l.hangUp(endElsewhere)
	return true
}

// worse stores the failure of one telephone. When all have failed, it reports the most informative failure to the
// switch.
func (l *leg) worse(code int, why sip.Causes) {
	if f := l.failure(code, why); l.worst == nil || f.rank() > l.worst.rank() {
		l.worst = &f
	}
	if len(l.cancels) == 0 {
		l.failed(l.worst.cause)
	}
}

// failed reports to the switch that no telephone took the call.
func (l *leg) failed(cause uacsta.EventCause) {
	s := l.server
	s.mu.Lock()
	tell := !l.rejected
	key := l.detach()
	s.mu.Unlock()
	l.dialog, l.hungUp = nil, true
	if tell {
		s.sw.Declined(l.device, key, cause)
	}
}

// Invite implements sip.Handler: a telephone, or the peer of a trunk, places a call.
func (s *Server) Invite(in *sip.Invitation) {
	if t := s.trunkOf(in.Request); t != nil {
		s.incoming(in, t.Number, t)
		return
	}
	as := in.From()
	if anonymous(as) {
		as = sip.Address{}
	}
	if number, ok := s.telephones.Authenticate(in.Request, as); ok {
		s.incoming(in, number, nil)
	}
}

// incoming opens the leg of a call and reports the call to the switch.
func (s *Server) incoming(in *sip.Invitation, device string, t *trunk) {
	a, err := arrivalOf(in, t)
	if err != nil {
		s.telephones.Report(slog.LevelInfo, device, "refused a call of a telephone", "called", share.Clip(in.URI()), "err", err)
		code := 404
		if errors.Is(err, errUnclear) {
			code = 400
		}
		in.Reject(sip.Answer{Code: code})
		return
	}
	l, err := s.newLeg(device, t, in.Peer().Addr.Addr())
	if err != nil {
		s.telephones.Report(slog.LevelError, device, "could not open a leg for a call", "err", err)
		in.Reject(sip.Answer{Code: 503, Headers: []sip.Header{{Name: "Retry-After", Value: "10"}}})
		return
	}
	code := 0
	switch {
	case len(in.Body()) == 0:
		l.offered = true
	case in.ContentType() != sdpType:
		code = 415
	default:
		if l.answer, _, err = l.voice.Answer(in.Body(), media.SendRecv, speaks(in.Peer())); err != nil {
			s.telephones.Report(slog.LevelInfo, device, "refused the offer of a call", "err", err)
			code = 488
		}
	}
	if code != 0 {
		in.Reject(sip.Answer{Code: code})
		l.dispose()
		return
	}
	l.early = !l.offered
	l.invitation = in
	in.OnCancel(func(why sip.Causes) {
		l.must(func() {
			l.invitation, l.hungUp = nil, true
			l.gone(cleared(why))
		})
	})
	l.must(func() { l.dial(in, a) })
}

// dispose closes a leg that the switch does not know.
func (l *leg) dispose() {
	l.must(func() {
		l.server.mu.Lock()
		l.ended, l.rejected = true, true
		l.server.mu.Unlock()
		l.invitation, l.hungUp = nil, true
	})
}

// dial reports a call to the switch.
func (l *leg) dial(in *sip.Invitation, a softswitch.Arrival) {
	s := l.server
	l.telephone = telephone(in.Peer(), in.Header("Contact"))
	var err error
	switch named, replaces := in.Replaces(); {
	case l.invitation == nil:
		return // the caller has given up
	case replaces:
		var code int
		if code, err = l.replace(named); code != 0 {
			s.telephones.Report(slog.LevelInfo, l.device, "refused an INVITE with Replaces", "code", code)
			in.Reject(sip.Answer{Code: code})
			l.invitation = nil
			l.dispose()
			return
		}
	case l.trunk != nil:
		_, err = s.sw.Arrive(l.device, a, l)
	default:
		err = l.dialled(a)
	}
	if err == nil {
		return
	}
	s.telephones.Report(slog.LevelInfo, l.device, "refused a call of a telephone", "called", share.Clip(a.Called), "err", err)
	code := 403
	var refused *uacsta.Error
	if errors.As(err, &refused) && refused.Category == uacsta.StateIncompatibility {
		code = 486
	}
	in.Reject(sip.Answer{Code: code})
	l.invitation = nil
	l.dispose()
}

// dialled reports to the switch the number that a telephone has dialled.
func (l *leg) dialled(a softswitch.Arrival) error {
	s := l.server
	park, fetched, err := s.sw.Park(l.device, a.Called, l)
	if !park {
		_, err = s.sw.Dial(l.device, a.Called, l.leaves(), a.Caller.Restricted, l)
	}
	if err == nil && park && !fetched { // the call that it held is parked, and this one has nothing to say
		l.brief = true
		l.accept()
	}
	return err
}

// endIfBrief ends a call that was answered only to be confirmed.
func (l *leg) endIfBrief() {
	if l.brief {
		l.hangUp(endNormal)
	}
}
