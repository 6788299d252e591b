package phones

import (
	"cmp"

	"github.com/tr87proxy/tr87proxy/internal/audio"
	"github.com/tr87proxy/tr87proxy/softswitch"
	"github.com/tr87proxy/tr87proxy/softswitch/media"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

// join puts the legs that talk into the room of their call, and each leg on hold into a room of its own. Callers
// hold the lock.
func (s *Server) join(c *call) {
	var members []media.Member
	held, rings, queued, failed := false, false, false, false
	for _, p := range c.Parties {
		l := s.legs[p.Key]
		switch {
		case p.State == uacsta.Hold:
			held = true
			if l != nil && !l.ended {
				s.hold(l, s.musicIn(&c.View))
			}
			continue
		case p.State == uacsta.Fail:
			failed = true
		case p.Queue:
			queued = true
		case p.State == uacsta.Alerting || p.Rings:
			rings = rings || l == nil || !l.early
		}
		if l != nil && !l.ended && (l.up || l.early) && p.State != uacsta.Queued && !p.Refused {
			members = append(members, media.Member{Leg: l.voice, Silent: p.Silent})
			l.lobbied = false
		}
	}
	if c.room == nil {
		if len(members) == 0 {
			return
		}
		c.room = s.engine.NewRoom()
	}
	heard, clip := "", (*audio.Clip)(nil)
	switch {
	case len(members) != 1:
	case failed:
		heard, clip = "busy", s.failureIn(&c.View)
	case queued:
		heard, clip = "music", cmp.Or(s.sounds[c.Announcement], s.musicIn(&c.View))
	case rings:
		heard = "ring"
	case held:
		heard, clip = "music", s.musicIn(&c.View)
	}
	if heard != c.heard || clip != c.clip {
		c.heard, c.clip, c.background = heard, clip, background(heard, clip)
	}
	c.room.Set(members, c.background)
	s.recode(c, members)
}

// musicIn returns what a party hears that is on hold, waits or is parked in a call, or nil.
func (s *Server) musicIn(v *softswitch.View) *audio.Clip { return cmp.Or(s.sounds[v.Music], s.music) }

// failureIn returns what a party hears whose call has failed, or nil for the busy tone.
func (s *Server) failureIn(v *softswitch.View) *audio.Clip {
	return cmp.Or(s.sounds[v.Announcement], s.announcement)
}

// background is a clip, again and again, or else a tone, or nil.
func background(what string, clip *audio.Clip) media.Source {
	switch {
	case clip != nil:
		return media.Loop(clip)
	case what == "busy":
		return media.Busy()
	case what == "ring":
		return media.Ringback()
	}
	return nil
}

// hold plays music to a telephone that is on hold. Callers hold the lock.
func (s *Server) hold(l *leg, music *audio.Clip) {
	if l.lobby == nil {
		l.lobby = s.engine.NewRoom()
	}
	if l.lobbied {
		return
	}
	l.lobbied = true
	l.lobby.Set([]media.Member{{Leg: l.voice}}, background("music", music))
	if l.up && !l.voice.Mixable() { // it could not hear the music
		l.queue(l.narrow)
	}
}
