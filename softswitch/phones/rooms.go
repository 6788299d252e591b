package phones

import (
	"slices"

	"github.com/tr87proxy/tr87proxy/internal/share"
	"github.com/tr87proxy/tr87proxy/softswitch/media"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

// join puts the legs that talk into the room of their call, and each leg on hold into a room of its own. Callers
// hold the lock.
func (s *Server) join(c *call) {
	var members []media.Member
	held, rings, queued, failed, announce := false, false, false, false, ""
	var clip *media.Clip
	for _, p := range c.Parties {
		l := s.legs[p.Key]
		switch {
		case p.State == uacsta.Hold:
			held = true
			if l != nil && !l.ended {
				s.hold(l)
			}
			continue
		case p.State == uacsta.Fail:
			failed = true
		case p.Queue:
			queued, announce = true, p.Announce
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
	heard := ""
	switch {
	case len(members) != 1:
	case failed:
		heard = "busy"
	case queued:
		if clip = s.announcement(announce, c.Call); clip == nil {
			announce = ""
		}
		heard = "queue " + announce
	case rings:
		heard = "ring"
	case held:
		heard = "music"
	}
	if heard != c.heard {
		c.heard, c.background = heard, s.background(heard, clip)
	}
	c.room.Set(members, c.background)
	s.recode(c, members)
}

// background is what is played where nobody speaks: music where what asks for nothing else; announce is for
// calls that wait in a queue, nil for none.
func (s *Server) background(what string, announce *media.Clip) media.Source {
	switch {
	case what == "busy":
		return media.Busy()
	case what == "ring":
		return media.Ringback()
	case announce != nil:
		return announce.Loop()
	}
	if what == "" || s.music == nil {
		return nil
	}
	return s.music.Loop()
}

// announcement is a message for calls in a queue. It is read from its file once.
type announcement struct {
	clip    *media.Clip // nil until it has been read, or if it cannot be read
	read    bool
	waiting []string // calls to apply again when it has been read
}

// announcement returns a message, or nil if it is unreadable or has not been read yet. In the latter case
// the call is applied again later. Callers hold the lock.
func (s *Server) announcement(name, call string) *media.Clip {
	if name == "" || s.messages == nil {
		return nil
	}
	a := s.announcements[name]
	if a == nil {
		a = &announcement{}
		s.announcements[name] = a
		s.group.Go(func() { s.readAnnouncement(name, a) }) // the caller is a goroutine of the group, too
	}
	if !a.read && !slices.Contains(a.waiting, call) {
		a.waiting = append(a.waiting, call)
	}
	return a.clip
}

func (s *Server) readAnnouncement(name string, a *announcement) {
	defer share.Survive(s.log, "reading an announcement", nil)
	clip, err := s.load(name)
	if err != nil {
		s.log.Error("could not play announcement", "name", name, "err", err)
	}
	s.mu.Lock()
	calls := a.waiting
	a.clip, a.read, a.waiting = clip, true, nil
	s.mu.Unlock()
	for _, call := range calls {
		s.kick(call)
	}
}

// hold plays music to a telephone that is on hold. Callers hold the lock.
func (s *Server) hold(l *leg) {
	if l.lobby == nil {
		l.lobby = s.engine.NewRoom()
	}
	if l.lobbied {
		return
	}
	l.lobbied = true
	l.lobby.Set([]media.Member{{Leg: l.voice}}, s.background("music", nil))
	if l.up && !l.voice.Mixable() { // it could not hear the music
		l.queue(l.narrow)
	}
}
