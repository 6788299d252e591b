package freeswitch

import (
	"cmp"
	"path"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/tr87proxy/tr87proxy/proxy"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

// soundNames matches names of sound files inside FreeSWITCH's folder that it cannot take for a
// command.
var soundNames = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_-]*(\.?[A-Za-z0-9_-]+)*(/[A-Za-z0-9_-]+(\.?[A-Za-z0-9_-]+)*)*$`)

// sound is a message being played to, or recorded from, a channel. FreeSWITCH plays the messages of a
// channel one after the other.
type sound struct {
	over    *channel // the connection that the request names
	name    string
	path    string // FreeSWITCH's name
	records bool
	runs    bool              // FreeSWITCH has started it
	onDigit bool              // a digit stops it
	limit   time.Duration     // of playing; 0 means none
	timer   *time.Timer       // stops playing; nil before it starts, and without a limit
	why     uacsta.EventCause // why the link stops it; "" if it does not
}

// maxMessages limits the messages of one channel.
const maxMessages = 16

// path returns FreeSWITCH's name of a message, or "" if the name is invalid.
func (l *Link) path(name string) string {
	switch file := l.cfg.Messages[name]; {
	case file != "":
		return file
	case len(name) > 128 || !soundNames.MatchString(name):
		return ""
	case l.cfg.Sounds != "":
		return l.cfg.Sounds + "/" + name
	}
	return name
}

// hears returns a connection to which messages can be played and digits sent, and its FreeSWITCH channel.
func (l *Link) hears(id uacsta.ConnectionID) (over, ch *channel, err error) {
	over, err = l.in(id, uacsta.Connected, uacsta.Queued)
	if err == nil {
		ch = over.leg()
	}
	if err == nil && ch == nil {
		err = errState
	}
	return over, ch, err
}

// play implements Play Message (ECMA-269).
func (l *Link) play(s *uacsta.PlayMessage, answer proxy.Answer) {
	over, ch, err := l.hears(s.OverConnection)
	file := l.path(s.MessageToBePlayed)
	switch {
	case err != nil:
	case file == "":
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
	texts := []instruction{{text: "event plain CHANNEL_EXECUTE_COMPLETE"}, api("uuid_broadcast % % aleg", word(ch.id), configured(file))}
	if l.played { // only this event reports a missing file
		texts = texts[1:]
	}
	l.played = true
	m := &sound{over: over, name: s.MessageToBePlayed, path: file, onDigit: s.Termination != nil && s.Termination.DTMFDigitDetected}
	if s.Duration != nil {
		m.limit = time.Duration(*s.Duration) * time.Millisecond
	}
	l.start(ch, m, texts, answer, uacsta.PlayMessageResponse{})
}

// record implements Record Message (ECMA-269). It records both directions of a channel.
func (l *Link) record(s *uacsta.RecordMessage, answer proxy.Answer) {
	over, ch, err := l.hears(s.CallToBeRecorded)
	limit := form("")
	switch {
	case err != nil:
	case l.cfg.Recordings == "":
		err = errService
	case !lasts(s.MaxDuration) || s.Termination != nil && s.Termination.SpeechDetected:
		err = errParameter
	case len(ch.messages) >= maxMessages:
		err = errBusy
	case s.MaxDuration != nil:
		limit = form(" %", count((*s.MaxDuration+999)/1000))
	}
	if err != nil {
		answer(nil, err)
		return
	}
	name := newID() + ".wav"
	file := l.cfg.Recordings + "/" + name
	m := &sound{over: over, name: name, path: file, records: true, onDigit: s.Termination != nil && s.Termination.DTMFDigitDetected}
	l.start(ch, m, []instruction{api("uuid_record % start %%", word(ch.id), configured(file), limit)}, answer,
		uacsta.RecordMessageResponse{ResultingMessage: name})
}

// lasts reports whether a duration is valid: nil, or 1 ms to a day in milliseconds.
func lasts(ms *int) bool { return ms == nil || *ms >= 1 && *ms <= 24*3600*1000 }

// start makes FreeSWITCH play or record a message. The events come later.
func (l *Link) start(ch *channel, m *sound, texts []instruction, answer proxy.Answer, res any) {
	ch.messages = append(ch.messages, m)
	l.orders(texts, func(err error) {
		if err != nil {
			ch.forget(m)
		}
		answer(res, err)
	})
}

// forget removes a message that has ended.
func (ch *channel) forget(m *sound) {
	if m.timer != nil {
		m.timer.Stop()
	}
	ch.messages = slices.DeleteFunc(ch.messages, func(o *sound) bool { return o == m })
}

// quiet removes all messages of a channel.
func (ch *channel) quiet() {
	for _, m := range slices.Clone(ch.messages) {
		ch.forget(m)
	}
}

// halt returns the commands that stop a message. One that waits for another is stopped when it starts: a break ends
// whatever FreeSWITCH plays at that moment, also what the dialplan plays to a caller who waits.
func (ch *channel) halt(m *sound, why uacsta.EventCause) []instruction {
	m.why, m.onDigit = why, false
	switch {
	case m.records:
		return []instruction{api("uuid_record % stop %", word(ch.id), configured(m.path))}
	case m.runs:
		return []instruction{api("uuid_break %", word(ch.id))}
	}
	return nil
}

// silence stops messages without a request.
func (l *Link) silence(ch *channel, why uacsta.EventCause, which func(*sound) bool) {
	for _, m := range slices.Clone(ch.messages) {
		if which(m) {
			l.orders(ch.halt(m, why), func(error) {})
		}
	}
}

// digit stops the messages that end at a digit.
func (l *Link) digit(ch *channel) {
	l.silence(ch, uacsta.CauseDTMFDigitDetected, func(m *sound) bool { return m.onDigit })
}

// stop implements Stop (ECMA-269) for one message or all of a connection.
func (l *Link) stop(s *uacsta.Stop, answer proxy.Answer) {
	_, ch, err := l.hears(s.Connection)
	if err != nil {
		answer(nil, err)
		return
	}
	var texts []instruction
	found := false
	for _, m := range ch.messages {
		if s.MessageToBeStopped != "" && s.MessageToBeStopped != m.name {
			continue
		}
		found = true
		why := uacsta.CauseEndOfMessageDetected
		if m.records { // it is complete, as it is at its maximum duration
			why = uacsta.CauseMessageDurationExceeded
		}
		texts = append(texts, ch.halt(m, why)...)
	}
	if !found {
		answer(nil, uacsta.Refuse(uacsta.Operation, uacsta.InvalidMsgID))
		return
	}
	l.orders(texts, func(err error) { answer(uacsta.StopResponse{}, err) })
}

// is reports whether a message has FreeSWITCH's name of a file. FreeSWITCH adds its folder and an extension to names
// without one.
func (m *sound) is(file string) bool {
	bare := strings.TrimSuffix(file, path.Ext(file))
	return file == m.path || bare == m.path || strings.HasSuffix(file, "/"+m.path) || strings.HasSuffix(bare, "/"+m.path)
}

// voice handles the start or end of a message. It ignores whatever else FreeSWITCH plays.
func (l *Link) voice(ch *channel, e event) {
	name, file := e.get("Event-Name"), e.get("Playback-File-Path")+e.get("Record-File-Path")
	if name == "CHANNEL_EXECUTE_COMPLETE" {
		file = e.get("Application-Data")
	}
	i := slices.IndexFunc(ch.messages, func(m *sound) bool { return m.is(file) })
	if i < 0 {
		return
	}
	m := ch.messages[i]
	switch name {
	case "PLAYBACK_START", "RECORD_START":
		l.began(ch, m)
	case "PLAYBACK_STOP":
		if m.runs {
			l.ended(ch, m, playedTo(m, e))
		}
	case "RECORD_STOP":
		cause := cmp.Or(m.why, uacsta.CauseNormal)
		if e.get("Record-Completion-Cause") == "success-maxtime" {
			cause = uacsta.CauseMessageDurationExceeded
		}
		l.ended(ch, m, cause)
	case "CHANNEL_EXECUTE_COMPLETE": // the only event that reports a failure
		switch e.get("Application-Response") {
		case "FILE NOT FOUND":
			l.ended(ch, m, uacsta.CauseResourcesNotAvailable)
		case "PLAYBACK ERROR":
			l.ended(ch, m, uacsta.CauseBlocked)
		}
	}
}

// playedTo returns the cause of the end of a played message.
func playedTo(m *sound, e event) uacsta.EventCause {
	if e.get("Playback-Status") == "done" {
		return uacsta.CauseEndOfMessageDetected
	}
	return cmp.Or(m.why, uacsta.CauseNormal)
}

// began reports that a message has started. Its limit counts from now.
func (l *Link) began(ch *channel, m *sound) {
	if m.runs {
		return
	}
	m.runs = true
	if m.limit > 0 {
		m.timer = time.AfterFunc(m.limit, func() {
			l.inbox.Post(func() {
				if ch := l.channels[ch.id]; ch != nil {
					l.silence(ch, uacsta.CauseMessageDurationExceeded, func(o *sound) bool { return o == m && m.why == "" })
				}
			})
		})
	}
	l.deliver(ch.call.Notices(func(ref string, _ uacsta.LocalConnectionState) any {
		if m.records {
			return uacsta.RecordEvent{MonitorCrossRefID: ref, Connection: m.over.connection(), Message: m.name, Cause: uacsta.CauseNormal}
		}
		return uacsta.PlayEvent{MonitorCrossRefID: ref, Connection: m.over.connection(), Message: m.name, Cause: uacsta.CauseNormal}
	})...)
	if m.why != "" && !m.records {
		l.orders(ch.halt(m, m.why), func(error) {})
	}
}

// ended reports that a message has stopped.
func (l *Link) ended(ch *channel, m *sound, cause uacsta.EventCause) {
	ch.forget(m)
	l.deliver(ch.call.Notices(func(ref string, _ uacsta.LocalConnectionState) any {
		return uacsta.StopEvent{MonitorCrossRefID: ref, Connection: m.over.connection(), Message: m.name, Cause: cause}
	})...)
}
