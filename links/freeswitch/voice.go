package freeswitch

import (
	"regexp"
	"time"

	"github.com/tr87proxy/tr87proxy/proxy"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

// soundNames matches names of sound files inside FreeSWITCH's folder that it cannot take for a
// command.
var soundNames = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_-]*(\.?[A-Za-z0-9_-]+)*(/[A-Za-z0-9_-]+(\.?[A-Za-z0-9_-]+)*)*$`)

// sound is a message being played to, or recorded from, a channel.
type sound struct {
	name    string
	records bool
	limited bool        // has a time limit and was not stopped by a request
	runs    bool        // FreeSWITCH has started it
	onDigit bool        // a digit stops it
	timer   *time.Timer // stops playing; nil without a limit
}

// maxMessages limits the messages of one channel.
const maxMessages = 16

// path returns FreeSWITCH's name of a message, or "" if the name is invalid.
func (l *Link) path(name string) string {
	switch path := l.cfg.Messages[name]; {
	case path != "":
		return path
	case len(name) > 128 || !soundNames.MatchString(name):
		return ""
	case l.cfg.Sounds != "":
		return l.cfg.Sounds + "/" + name
	}
	return name
}

// hears returns the channel of a connection to which messages can be played.
func (l *Link) hears(id uacsta.ConnectionID) (*channel, error) {
	ch, err := l.in(id, uacsta.Connected, uacsta.Queued)
	if err == nil && ch.leg() == nil {
		err = errState
	}
	if err != nil {
		return nil, err
	}
	return ch.leg(), nil
}

// play implements Play Message (ECMA-269).
func (l *Link) play(s *uacsta.PlayMessage, answer proxy.Answer) {
	ch, err := l.hears(s.OverConnection)
	path := l.path(s.MessageToBePlayed)
	switch {
	case err != nil:
	case path == "":
		err = uacsta.Refuse(uacsta.Operation, uacsta.InvalidMsgID)
	case !lasts(s.Duration) || s.Termination != nil && s.Termination.SpeechDetected:
		err = errParameter
	case len(ch.messages) >= maxMessages:
		err = errBusy
	}
	if err != nil {
		answer(nil, err)
		return
	}
	texts := []instruction{{"event plain CHANNEL_EXECUTE_COMPLETE"}, api("uuid_broadcast % % aleg", word(ch.id), configured(path))}
	if l.played { // only this event reports a missing file
		texts = texts[1:]
	}
	l.played = true
	m := &sound{name: s.MessageToBePlayed, limited: s.Duration != nil, onDigit: s.Termination != nil && s.Termination.DTMFDigitDetected}
	if m.limited {
		m.timer = time.AfterFunc(time.Duration(*s.Duration)*time.Millisecond, func() { l.inbox.Post(func() { l.over(ch, path, m) }) })
	}
	l.start(ch, path, m, texts, answer, uacsta.PlayMessageResponse{})
}

// record implements Record Message (ECMA-269). It records both directions of a channel.
func (l *Link) record(s *uacsta.RecordMessage, answer proxy.Answer) {
	ch, err := l.hears(s.CallToBeRecorded)
	limit, limited := form(""), s.MaxDuration != nil
	switch {
	case err != nil:
	case l.cfg.Recordings == "":
		err = errService
	case !lasts(s.MaxDuration) || s.Termination != nil && s.Termination.SpeechDetected:
		err = errParameter
	case len(ch.messages) >= maxMessages:
		err = errBusy
	case limited:
		limit = form(" %", count((*s.MaxDuration+999)/1000))
	}
	if err != nil {
		answer(nil, err)
		return
	}
	name := newID() + ".wav"
	path := l.cfg.Recordings + "/" + name
	m := &sound{name: name, records: true, limited: limited, onDigit: s.Termination != nil && s.Termination.DTMFDigitDetected}
	l.start(ch, path, m, []instruction{api("uuid_record % start %%", word(ch.id), configured(path), limit)}, answer,
		uacsta.RecordMessageResponse{ResultingMessage: name})
}

// lasts reports whether a duration is valid: nil, or 1 ms to a day in milliseconds.
func lasts(ms *int) bool { return ms == nil || *ms >= 1 && *ms <= 24*3600*1000 }

// over stops a message whose time is over.
func (l *Link) over(ch *channel, path string, m *sound) {
	if l.channels[ch.id] == ch && ch.messages[path] == m {
		l.order(api("uuid_break % all", word(ch.id)), func(any, error) {}, nil)
	}
}

// quiet stops the timers of a channel's messages.
func (ch *channel) quiet() {
	for _, m := range ch.messages {
		m.forget()
	}
}

// forget stops the timer of a message that has ended.
func (m *sound) forget() {
	if m.timer != nil {
		m.timer.Stop()
	}
}

// digit stops the messages that end at a digit.
func (l *Link) digit(ch *channel) {
	for path, m := range ch.messages {
		if !m.onDigit {
			continue
		}
		m.onDigit, m.limited = false, false
		text := api("uuid_break % all", word(ch.id))
		if m.records {
			text = api("uuid_record % stop %", word(ch.id), configured(path))
		}
		l.order(text, func(any, error) {}, nil)
	}
}

// start makes FreeSWITCH play or record a message. The events come later.
func (l *Link) start(ch *channel, path string, m *sound, texts []instruction, answer proxy.Answer, res any) {
	if ch.messages == nil {
		ch.messages = map[string]*sound{}
	}
	ch.messages[path] = m
	l.orders(texts, func(err error) {
		if err != nil {
			delete(ch.messages, path)
			m.forget()
		}
		answer(res, err)
	})
}

// stop implements Stop (ECMA-269) for one message or all of a connection.
func (l *Link) stop(s *uacsta.Stop, answer proxy.Answer) {
	ch, err := l.hears(s.Connection)
	if err != nil {
		answer(nil, err)
		return
	}
	var texts []instruction
	plays := false
	for path, m := range ch.messages {
		switch {
		case s.MessageToBeStopped != "" && s.MessageToBeStopped != m.name:
		case m.records:
			m.limited = false
			texts = append(texts, api("uuid_record % stop %", word(ch.id), configured(path)))
		default:
			m.limited, plays = false, true
		}
	}
	if plays {
		texts = append(texts, api("uuid_break % all", word(ch.id)))
	}
	if len(texts) == 0 {
		answer(nil, uacsta.Refuse(uacsta.Operation, uacsta.InvalidMsgID))
		return
	}
	l.orders(texts, func(err error) { answer(uacsta.StopResponse{}, err) })
}

// voice handles the start or end of a message. It ignores whatever else FreeSWITCH plays.
func (l *Link) voice(ch *channel, e event) {
	path := e.get("Playback-File-Path") + e.get("Record-File-Path")
	cause := uacsta.CauseNormal
	switch name := e.get("Event-Name"); {
	case name == "CHANNEL_EXECUTE_COMPLETE":
		if path = e.get("Application-Data"); e.get("Application-Response") != "FILE NOT FOUND" {
			return
		}
		cause = uacsta.CauseResourcesNotAvailable
	case name == "PLAYBACK_STOP" && e.get("Playback-Status") == "done":
		cause = uacsta.CauseEndOfMessageDetected
	}
	m := ch.messages[path]
	switch {
	case m == nil:
		return
	case m.limited && (e.get("Record-Completion-Cause") == "success-maxtime" || e.get("Playback-Status") == "break"):
		cause = uacsta.CauseMessageDurationExceeded
	}
	c, id := ch.call, ch.connection()
	switch name := e.get("Event-Name"); {
	case name == "PLAYBACK_START" && !m.runs:
		m.runs = true
		l.deliver(c.Notices(func(ref string, _ uacsta.LocalConnectionState) any {
			return uacsta.PlayEvent{MonitorCrossRefID: ref, Connection: id, Message: m.name, Cause: cause}
		})...)
	case name == "RECORD_START" && !m.runs:
		m.runs = true
		l.deliver(c.Notices(func(ref string, _ uacsta.LocalConnectionState) any {
			return uacsta.RecordEvent{MonitorCrossRefID: ref, Connection: id, Message: m.name, Cause: cause}
		})...)
	case name == "PLAYBACK_STOP", name == "RECORD_STOP", name == "CHANNEL_EXECUTE_COMPLETE":
		delete(ch.messages, path)
		m.forget()
		l.deliver(c.Notices(func(ref string, _ uacsta.LocalConnectionState) any {
			return uacsta.StopEvent{MonitorCrossRefID: ref, Connection: id, Message: m.name, Cause: cause}
		})...)
	}
}
