package phones

import (
	"errors"

	"github.com/tr87proxy/tr87proxy/sip"
	"github.com/tr87proxy/tr87proxy/softswitch/media"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

// Fax by T.38: a telephone, mostly a gateway behind a trunk, replaces voice by fax with a re-INVITE. The other
// telephone of the call is asked for the same, and the first gets what it answers.

var (
	errNoPartner = errors.New("nobody in the call takes fax")
	errAsking    = errors.New("the other telephone has a re-INVITE outstanding")
)

// fax handles an offer of fax. It returns false if the request is none. The call goes on with voice if the other
// telephone does not take fax.
func (l *leg) fax(d *sip.Dialog, r *sip.Request) bool {
	if r.ContentType() != sdpType || !media.OffersFax(r.Body()) {
		return false
	}
	refuse := func(err error) {
		l.server.log.Info("refused an offer of a telephone", "device", l.device, "err", err)
		code := 488
		if errors.Is(err, errAsking) {
			code = 491
		}
		d.RespondRefresh(r, sip.Answer{Code: code})
	}
	of, err := l.voice.Fax(r.Body(), speaks(r.Peer()))
	if err != nil {
		refuse(err)
		return true
	}
	other := l.partner()
	answered := func(to *media.Fax, err error) {
		taken := l.must(func() {
			if err != nil {
				refuse(err)
				return
			}
			media.Relay(l.voice, of, other.voice, to)
			d.RespondRefresh(r, sip.Answer{ContentType: sdpType, Body: l.voice.AnswerFax(of, to)})
		})
		if !taken {
			refuse(errNoPartner) // the leg has ended
		}
	}
	if other == nil || !other.do(func() { other.takeFax(of, answered) }) {
		refuse(errNoPartner)
	}
	return true
}

// takeFax offers fax to the telephone. It calls done with what the telephone answers.
func (l *leg) takeFax(of *media.Fax, done func(*media.Fax, error)) {
	switch {
	case l.dialog == nil:
		done(nil, errNoPartner)
		return
	case l.asking:
		done(nil, errAsking)
		return
	}
	l.asking, l.next = true, l.wants
	l.dialog.Reinvite(sdpType, l.voice.OfferFax(of), func(res sip.Result) {
		taken := l.must(func() {
			l.asking = false
			if res.Code()/100 != 2 {
				done(nil, errNoPartner)
			} else {
				to, err := l.voice.Fax(res.Response.Body(), l.speaker())
				if err != nil {
					l.wants = "" // voice is not agreed any more
				}
				done(to, err)
			}
			l.offer(l.next)
		})
		if !taken {
			done(nil, errNoPartner)
		}
	})
}

// afterFax offers voice to the other telephone again if this one has returned to it.
func (l *leg) afterFax() {
	if l.voice.Faxes() {
		return
	}
	if other := l.partner(); other != nil {
		other.do(func() {
			if other.voice.Faxes() {
				other.offerAgain(media.SendRecv)
			}
		})
	}
}

// partner returns the leg of the other telephone in a call of two that talk, or nil.
func (l *leg) partner() *leg {
	s := l.server
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.parties[l.key]
	if p == nil || s.calls[p.call] == nil || len(s.calls[p.call].Parties) != 2 {
		return nil
	}
	var other *leg
	for _, q := range s.calls[p.call].Parties {
		of := s.legs[q.Key]
		if of == nil || of != l && !of.up || of.held || of.ended || q.State != uacsta.Connected {
			return nil
		}
		if of != l {
			other = of
		}
	}
	return other
}
