package phones

import (
	"cmp"

	"github.com/tr87proxy/tr87proxy/softswitch/media"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

// Telephones that share a codec other than G.711 use it where voice goes straight from one to the other: the offer
// to a called telephone begins with those of the caller, and the caller gets in the answer what the called one has
// chosen. Where voice is mixed, or a telephone comes that does not have the codec, a re-INVITE takes it away.

// suit has the offer to this telephone begin with the codecs of the one that calls.
func (l *leg) suit() {
	s := l.server
	s.mu.Lock()
	var caller *leg
	if p := s.parties[l.key]; p != nil && s.calls[p.call] != nil {
		for _, q := range s.calls[p.call].Parties {
			if of := s.legs[q.Key]; of != nil && of != l && q.State == uacsta.Connected && !of.ended {
				if caller != nil { // there will be a conference
					caller = nil
					break
				}
				caller = of
			}
		}
	}
	answered := caller != nil && (caller.up || caller.sent)
	s.mu.Unlock()
	if caller != nil {
		l.voice.Suit(caller.voice, answered)
	}
}

// matched returns the answer to a caller, with the codec that the called telephone has chosen, if the caller was
// not sent another answer.
func (l *leg) matched() []byte {
	if l.sent || l.offered {
		return l.answer
	}
	if other := l.speaking(); other != nil {
		if answer := l.voice.Match(other.voice); answer != nil {
			return answer
		}
	}
	return l.answer
}

// speaking returns the leg of the one other party of the call, if it has answered or has early media, or nil.
func (l *leg) speaking() *leg {
	s := l.server
	s.mu.Lock()
	defer s.mu.Unlock()
	own := s.parties[l.key]
	if own == nil || s.calls[own.call] == nil || len(s.calls[own.call].Parties) != 2 {
		return nil
	}
	for _, p := range s.calls[own.call].Parties {
		if of := s.legs[p.Key]; of != nil && of != l && (of.up || of.early) && !of.held && !of.ended {
			return of
		}
	}
	return nil
}

// recode has telephones in a room send G.711 where it needs that. Callers hold the lock.
func (s *Server) recode(c *call, members []media.Member) {
	var legs []*leg
	for _, p := range c.Parties {
		l := s.legs[p.Key]
		if l == nil || l.ended || p.State == uacsta.Hold {
			continue
		}
		if !l.up { // what it sends is not settled
			return
		}
		legs = append(legs, l)
	}
	if len(members) == 2 && len(legs) == 2 && c.background == nil && len(c.plays) == 0 && !members[0].Silent && !members[1].Silent && legs[0].voice.Shares(legs[1].voice) {
		return
	}
	for _, l := range legs {
		if l.voice.Passes() && (len(members) > 1 || len(c.plays) > 0 || !l.voice.Mixable()) {
			l.queue(l.narrow)
		}
	}
}

// narrow has the telephone send G.711 only.
func (l *leg) narrow() {
	if !l.voice.Passes() {
		return
	}
	l.voice.Narrow()
	l.offerAgain(cmp.Or(l.wants, media.SendRecv))
}
