package phones

import (
	"time"

	"github.com/tr87proxy/tr87proxy/media"
	"github.com/tr87proxy/tr87proxy/softswitch"
)

// pass sends keys that a telephone's user pressed, and that came by INFO, to the others.
func (s *Server) pass(l *leg, digits string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if p := s.parties[l.key]; p != nil {
		if c := s.calls[p.call]; c != nil && c.room != nil {
			c.room.SendDigits(l.voice, digits, 100*time.Millisecond, 100*time.Millisecond)
		}
	}
}

// speak carries out what is to be done with the voice of a call.
func (s *Server) speak(v softswitch.Voice) {
	s.mu.Lock()
	c := s.calls[v.Call]
	if c == nil || c.room == nil {
		s.mu.Unlock()
		if name := v.Play + v.Record; name != "" {
			s.sw.Finished(v.Call, name) // nobody is there to hear it
		}
		return
	}
	room, stops := c.room, c.plays[v.Stop]
	delete(c.plays, v.Stop)
	l := s.legs[v.Key]
	s.mu.Unlock()
	switch {
	case v.Stop != "":
		if stops != nil {
			stops.Stop()
		}
	case v.Digits != "":
		if l != nil {
			room.SendDigits(l.voice, v.Digits, v.Tone, v.Pause)
		} else {
			room.SendDigits(nil, v.Digits, v.Tone, v.Pause)
		}
	case v.Play != "":
		s.play(c, room, v)
	case v.Record != "":
		s.record(c, room, v)
	}
}

func (s *Server) play(c *call, room *media.Room, v softswitch.Voice) {
	clip, err := s.messages.Load(v.Play)
	if err != nil {
		s.log.Error("message not played", "name", v.Play, "err", err)
		s.sw.Finished(v.Call, v.Play)
		return
	}
	playing := room.Play(clip.Play(), v.Limit, func(bool) { s.sw.Finished(v.Call, v.Play) })
	s.mu.Lock()
	defer s.mu.Unlock()
	c.plays[v.Play] = playing
}

func (s *Server) record(c *call, room *media.Room, v softswitch.Voice) {
	limit := s.cfg.MaxRecorded
	if v.Limit > 0 {
		limit = min(limit, v.Limit)
	}
	recording, err := s.messages.Record(v.Record, int(limit/time.Second))
	if err != nil {
		s.log.Error("call not recorded", "name", v.Record, "err", err)
		s.sw.Finished(v.Call, v.Record)
		return
	}
	taking := room.Record(recording, func(_ bool, err error) {
		if err != nil {
			s.log.Error("recording not whole", "name", v.Record, "err", err)
		}
		s.sw.Finished(v.Call, v.Record)
	})
	s.mu.Lock()
	defer s.mu.Unlock()
	c.plays[v.Record] = taking
}
