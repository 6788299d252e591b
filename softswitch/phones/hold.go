package phones

import (
	"log/slog"
	"net"
	"strconv"
	"time"

	"github.com/tr87proxy/tr87proxy/sip"
	"github.com/tr87proxy/tr87proxy/softswitch/media"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

// Hold and retrieval. A leg's user holds a call by an offer or answer that does not want to hear; the switch
// holds it by offering sendonly. What a telephone says is compared with how the switch believes the call to
// stand, and the switch is told; what it refuses, the telephone is refused.

// renegotiate answers a re-INVITE or UPDATE, by which the user holds or retrieves the call.
func (l *leg) renegotiate(d *sip.Dialog, r *sip.Request) {
	if len(r.Body()) == 0 { // a delayed offer: ours goes in the answer
		d.RespondRefresh(r, sip.Answer{ContentType: sdpType, Body: l.voice.Offer(l.wants)})
		return
	}
	if r.ContentType() != sdpType {
		d.RespondRefresh(r, sip.Answer{Code: 415, Headers: []sip.Header{{Name: "Accept", Value: sdpType}}})
		return
	}
	asks, differs, err := l.voice.Asks(r.Body(), speaks(r.Peer()))
	if err != nil {
		l.server.telephones.Report(slog.LevelInfo, l.device, "refused an offer of a telephone", "err", err)
		d.RespondRefresh(r, sip.Answer{Code: 488})
		return
	}
	want := media.SendRecv
	switch {
	case !asks.Hears():
		err = l.holds(true)
	case l.wants == media.SendOnly && !differs && !l.holding(): // a refresh of a call that the switch holds
		want = media.SendOnly
	case l.wants == media.SendOnly || l.holding():
		err = l.holds(false)
	}
	var answer []byte
	if err == nil {
		answer, _, err = l.voice.Answer(r.Body(), want, speaks(r.Peer()))
	}
	if err != nil { // the call stands as before
		l.server.telephones.Report(slog.LevelInfo, l.device, "refused a hold or retrieval of a telephone", "err", err)
		d.RespondRefresh(r, sip.Answer{Code: 488})
		return
	}
	l.wants, l.resumed = want, false
	d.RespondRefresh(r, sip.Answer{ContentType: sdpType, Body: answer})
	l.voice.Begin()
	l.server.kickKey(l.keyNow())
}

// holding reports whether the user holds the call.
func (l *leg) holding() bool {
	l.server.mu.Lock()
	defer l.server.mu.Unlock()
	return l.held
}

// holds stores whether the user holds the call, and reports it to the switch. A telephone that takes a call back
// without holding the one that it is in makes a conference of the two. holds returns the refusal of the switch.
func (l *leg) holds(held bool) error {
	s := l.server
	s.mu.Lock()
	was, key := l.held, l.key
	l.held = held
	s.mu.Unlock()
	if l.trunk != nil {
		return nil
	}
	err := s.sw.Holds(l.device, key, held)
	if err != nil {
		err = l.confer(key, err)
	}
	if err != nil {
		s.mu.Lock()
		l.held = was
		s.mu.Unlock()
		return err
	}
	l.aside = false
	if held {
		l.takeBack()
	}
	return nil
}

// agreed reports to the switch that the description that has just been agreed holds or retrieves the call. If it does
// neither, the switch is told nothing: a client may have held the call meanwhile. The answer to an offer of ours cannot
// be refused.
func (l *leg) agreed() {
	held := !l.voice.Flow().Sends()
	if held == l.holding() {
		return
	}
	if err := l.holds(held); err != nil {
		l.server.telephones.Report(slog.LevelInfo, l.device, "refused a hold or retrieval of a telephone", "err", err)
	}
}

// confer joins this leg's call and the one that its telephone is in. refused is why the switch does not retrieve
// this one.
func (l *leg) confer(key int, refused error) error {
	s, other := l.server, l.talks()
	if other == nil {
		return refused
	}
	held, one := s.sw.Connection(l.device, key)
	active, two := s.sw.Connection(l.device, other.keyNow())
	if !one || !two {
		return refused
	}
	return s.sw.Perform(uacsta.ConferenceCall{HeldCall: held, ActiveCall: active})
}

// telephone returns what tells a telephone from the others of its extension: the host that its messages come from, and
// its Contact, because several telephones may be behind one proxy. The port that they come from says nothing: a
// telephone that registers over UDP sends a large INVITE over TCP (RFC 3261 18.1.1), and one reconnects during a call.
func telephone(p sip.Peer, contact string) string {
	u := sip.ParseURI(sip.ParseAddress(contact).URI)
	return p.Addr.Addr().String() + " " + net.JoinHostPort(u.Host, strconv.Itoa(u.Port))
}

// besides returns the other legs of this leg's telephone that have been answered. The legs of an extension share
// their queue, so that a task of one may use what is the others' tasks'.
func (l *leg) besides() (others []*leg) {
	s := l.server
	s.mu.Lock()
	defer s.mu.Unlock()
	for other := range s.line(l.device).legs {
		if l.trunk == nil && other != l && other.up && !other.ended && other.telephone == l.telephone {
			others = append(others, other)
		}
	}
	return others
}

// talks returns the leg in which the telephone talks beside this one, or nil.
func (l *leg) talks() *leg {
	for _, other := range l.besides() {
		l.server.mu.Lock()
		p := l.server.parties[other.key]
		talks := !other.held && p != nil && p.State == uacsta.Connected
		l.server.mu.Unlock()
		if talks {
			return other
		}
	}
	return nil
}

// leaves returns the key of the connection in which the telephone talks, and which it leaves for this call without
// holding it, or 0. The switch holds it, and takes it back when this call is held or ends.
func (l *leg) leaves() (key int) {
	other := l.talks()
	if other == nil {
		return 0
	}
	other.aside = true
	return other.keyNow()
}

// takeBack has the switch retrieve the call that the telephone left for this one: its user believes to be in it.
func (l *leg) takeBack() {
	for _, other := range l.besides() {
		if !other.aside {
			continue
		}
		other.aside = false
		if err := l.server.sw.Holds(l.device, other.keyNow(), false); err != nil {
			l.server.log.Debug("could not take a call back", "device", l.device, "err", err)
		}
	}
}

// offer offers a direction to the telephone, unless that has been done and the telephone shows who its user talks
// with. While a re-INVITE is outstanding, the last direction waits.
func (l *leg) offer(want media.Direction) {
	number, name := l.talksWith()
	same := number == "" || number == l.shows
	switch {
	case l.dialog == nil || l.wants == want && same && !l.asking:
		return
	case l.asking:
		l.next = want
		return
	}
	l.asking, l.wants, l.next = true, want, want
	l.aside = l.aside && want == media.SendOnly // once retrieved, it is not taken back
	var headers []sip.Header
	if !same {
		headers = l.asserted(number, name)
	}
	l.dialog.Reinvite(sdpType, l.voice.Offer(want), func(res sip.Result) {
		l.must(func() {
			l.asking = false
			if res.Code()/100 != 2 {
				l.server.log.Info("telephone refused a change of its voice", "device", l.device, "code", res.Code())
			} else if err := l.voice.Answered(res.Response.Body(), l.speaker()); err != nil {
				l.server.log.Info("telephone sent an unusable answer", "device", l.device, "err", err)
			} else if want == media.SendRecv {
				l.compare()
			}
			l.offer(l.next)
		})
	}, headers...)
}

// offerAgain is offer for a direction that may have been offered already.
func (l *leg) offerAgain(want media.Direction) {
	l.wants = ""
	l.offer(want)
}

// compare reads the telephone's answer to the offer to talk, and reports to the switch that its user still holds
// the call.
func (l *leg) compare() {
	s := l.server
	if !l.voice.Flow().Sends() {
		l.resumed = false // the switch may try again
		_ = l.holds(true) // which is never refused
		return
	}
	s.mu.Lock()
	l.held = false
	s.mu.Unlock()
}

// obedience is how long a telephone that was told to retrieve a call has to do so before we offer it our voice: our
// re-INVITE would cross with its own.
const obedience = time.Second

// resume tells a telephone whose user holds the call to retrieve it, once.
func (l *leg) resume() {
	if l.resumed {
		return
	}
	l.resumed = true
	if l.trunk != nil || !l.server.telephones.Talks(l.device) {
		l.offerAgain(media.SendRecv)
		return
	}
	l.command(true)
	time.AfterFunc(obedience, func() {
		l.do(func() {
			if l.resumed && l.holding() {
				l.offerAgain(media.SendRecv)
			}
		})
	})
}
