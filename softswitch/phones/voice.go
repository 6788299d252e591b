package phones

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/tr87proxy/tr87proxy/internal/audio"
	"github.com/tr87proxy/tr87proxy/internal/share"
	"github.com/tr87proxy/tr87proxy/softswitch"
	"github.com/tr87proxy/tr87proxy/softswitch/media"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

// pass sends keys that a telephone sent by INFO to the others in its call.
func (s *Server) pass(l *leg, digits string) {
	s.mu.Lock()
	p := s.parties[l.key]
	var c *call
	if p != nil {
		c = s.calls[p.call]
	}
	s.mu.Unlock()
	if c != nil {
		s.keys(c, softswitch.Voice{Key: p.Key, Digits: digits, Tone: 100 * time.Millisecond, Pause: 100 * time.Millisecond})
	}
}

// keys sends keys to all in a call but one: as telephone events (RFC 4733), or by
// INFO to a telephone that takes no such events.
func (s *Server) keys(c *call, v softswitch.Voice) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var own *media.Leg
	if l := s.legs[v.Key]; l != nil {
		own = l.voice
	}
	if c.room != nil {
		c.room.SendDigits(own, v.Digits, v.Tone, v.Pause)
	}
	for _, p := range c.Parties {
		if l := s.legs[p.Key]; l != nil && p.Key != v.Key && l.up && p.State == uacsta.Connected && !l.voice.TakesEvents() {
			l.queue(func() { l.sendKeys(v) })
		}
	}
}

// sendKeys sends keys by INFO.
func (l *leg) sendKeys(v softswitch.Voice) {
	if l.dialog == nil {
		return
	}
	for _, digit := range strings.ToUpper(v.Digits) {
		if !strings.ContainsRune("0123456789*#ABCD", digit) { // a pause, or an invalid character
			continue
		}
		body := fmt.Sprintf("Signal=%c\r\nDuration=%d\r\n", digit, v.Tone/time.Millisecond)
		l.dialog.Send("INFO", "application/dtmf-relay", []byte(body), nil)
	}
}

// speak plays or records a message, sends keys, or stops a message, as a task of the call.
func (s *Server) speak(v softswitch.Voice) {
	s.mu.Lock()
	c := s.calls[v.Call]
	s.mu.Unlock()
	switch {
	case c == nil:
		s.unheard(v, uacsta.CauseNormal) // the call has ended
	case !c.voice.Do(func() { s.carry(c, v) }):
		s.log.Error("refused one more message to play or record in a call", "name", v.Play+v.Record)
		s.unheard(v, uacsta.CauseResourcesNotAvailable)
	}
}

// unheard reports to the switch that a message is not played or recorded.
func (s *Server) unheard(v softswitch.Voice, why uacsta.EventCause) {
	if v.Play+v.Record != "" {
		s.sw.Finished(v.Call, v.Message, why)
	}
}

// carry is the task of speak.
func (s *Server) carry(c *call, v softswitch.Voice) {
	defer share.Survive(s.log, "the voice of a call", func(error) { s.unheard(v, uacsta.CauseResourcesNotAvailable) })
	switch {
	case v.Stop:
		s.mu.Lock()
		stops := c.plays[v.Message]
		delete(c.plays, v.Message)
		s.mu.Unlock()
		if stops != nil {
			stops.Stop()
		}
	case v.Digits != "":
		s.keys(c, v)
	case v.Play != "":
		s.play(c, v)
	case v.Record != "":
		s.record(c, v)
	}
}

// roomOf returns the room of a call. In a call of virtual phones nobody is in it, but what plays and is recorded there
// lasts its time.
func (s *Server) roomOf(c *call) *media.Room {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c.room == nil {
		c.room = s.engine.NewRoom()
	}
	return c.room
}

// began stores what plays or records a message until it ends, which it may have done.
func (s *Server) began(c *call, v softswitch.Voice, over <-chan struct{}, m interface{ Stop() }) {
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case <-over:
	default:
		c.plays[v.Message] = m
	}
	s.kick(v.Call) // what is mixed must be G.711
}

// finished reports the end of a message.
func (s *Server) finished(c *call, v softswitch.Voice, over chan<- struct{}, why media.End) {
	s.mu.Lock()
	close(over)
	delete(c.plays, v.Message)
	s.mu.Unlock()
	s.sw.Finished(v.Call, v.Message, stopCauses[why])
}

// stopCauses has the causes of Stop.
var stopCauses = map[media.End]uacsta.EventCause{
	media.Stopped: uacsta.CauseNormal, media.AtEnd: uacsta.CauseEndOfMessageDetected,
	media.AtLimit: uacsta.CauseMessageDurationExceeded, media.Failed: uacsta.CauseResourcesNotAvailable,
}

// maxReading limits how many messages are read at the same time, because each may have the largest size.
const maxReading = 4

// load reads a message. It waits for its turn.
func (s *Server) load(name string) (*audio.Clip, error) {
	select {
	case s.disk <- struct{}{}:
	case <-s.ctx.Done():
		return nil, s.ctx.Err()
	}
	defer func() { <-s.disk }()
	return s.messages.Load(name)
}

func (s *Server) play(c *call, v softswitch.Voice) {
	clip, err := s.load(v.Play)
	if err != nil {
		s.log.Error("could not play message", "name", v.Play, "err", err)
		why := uacsta.CauseBlocked // it is there, but cannot be played
		if errors.Is(err, os.ErrNotExist) {
			why = uacsta.CauseResourcesNotAvailable
		}
		s.unheard(v, why)
		return
	}
	over := make(chan struct{})
	s.began(c, v, over, s.roomOf(c).Play(media.Play(clip), v.Limit, func(why media.End) { s.finished(c, v, over, why) }))
}

func (s *Server) record(c *call, v softswitch.Voice) {
	limit := s.cfg.MaxRecorded
	if v.Limit > 0 {
		limit = min(limit, v.Limit)
	}
	recording, err := s.messages.Record(v.Record, limit)
	if err != nil {
		s.log.Error("could not record call", "name", v.Record, "err", err)
		why := uacsta.CauseResourcesNotAvailable
		if errors.Is(err, os.ErrExist) {
			why = uacsta.CauseBlocked
		}
		s.unheard(v, why)
		return
	}
	over := make(chan struct{})
	s.began(c, v, over, s.roomOf(c).Record(recording, func(why media.End, err error) {
		if err != nil {
			s.log.Error("recording is incomplete", "name", v.Record, "err", err)
		}
		s.finished(c, v, over, why)
	}))
}
