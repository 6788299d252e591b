package softswitch

import (
	"cmp"
	"crypto/rand"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/tr87proxy/tr87proxy/uacsta"
)

// Messages played and recorded in calls (ECMA-269 clause 26).

// message is a message being played or recorded in a call.
type message struct {
	number   int    // among the messages of the switch
	name     string // by which clients know it
	file     string // full path
	resource string // that the request named
	records  bool
	over     *connection
	began    time.Time
	onDigit  bool // stop at the first digit
}

// Library holds the messages in files. Its methods must not block for long: the switch calls them with its lock held.
type Library interface {
	// Path returns the full path of the file that a name stands for, or "" if no message can have this name. A full
	// path that it returned is a name, too.
	Path(name string) string
	// Has reports whether there is a file of this name. Whether it can be played shows when it is read.
	Has(name string) bool
}

// newRecording returns a name for a recording. It cannot be guessed, since everyone who knows
// it can play the recording.
func newRecording() string { return "recording-" + strings.ToLower(rand.Text()) }

// speaks reports whether a service needs messages.
func speaks(service string) bool {
	return service == uacsta.NamePlayMessage || service == uacsta.NameRecordMessage || service == uacsta.NameStop
}

// playMessage implements Play Message (ECMA-269 clause 26). All parties hear the message.
func (s *Switch) playMessage(req *uacsta.PlayMessage) (any, error) {
	x, err := s.permit(req.OverConnection, (*connection).mayPlay)
	if err != nil {
		return nil, err
	}
	if !s.library.Has(req.MessageToBePlayed) {
		return nil, errNoMessage
	}
	limit, refusal := duration(req.Duration)
	if refusal != nil {
		return nil, refusal
	}
	m := x.begin(&message{name: req.MessageToBePlayed, file: s.library.Path(req.MessageToBePlayed)}, req.Termination)
	s.voice = append(s.voice, Voice{Call: x.call.id, Key: x.order, Message: m.number, Play: m.file, Limit: limit})
	s.emit(x.call, nil, uacsta.PlayEvent{Connection: x.id(), Message: m.name, Cause: uacsta.CauseNormal})
	return uacsta.PlayMessageResponse{}, nil
}

// duration converts a limit in milliseconds. nil means 0, no limit.
func duration(ms *int) (time.Duration, *uacsta.Error) {
	const most = 24 * 3600 * 1000
	switch {
	case ms == nil:
		return 0, nil
	case *ms < 1 || *ms > most:
		return 0, uacsta.Refuse(uacsta.Operation, uacsta.InvalidParameterValue)
	}
	return time.Duration(*ms) * time.Millisecond, nil
}

// recordMessage implements Record Message (ECMA-269 clause 26). It records all parties into the file that the request's
// resource names, or one with a name of its own. The response has the file's full path, which is the name of the message
// for other services.
func (s *Switch) recordMessage(req *uacsta.RecordMessage) (any, error) {
	x, err := s.permit(req.CallToBeRecorded, (*connection).mayRecord)
	if err != nil {
		return nil, err
	}
	limit, refusal := duration(req.MaxDuration)
	if refusal != nil {
		return nil, refusal
	}
	path := s.library.Path(cmp.Or(req.Resource, newRecording()))
	if filepath.Ext(path) != ".wav" || s.library.Has(path) { // a recording must not replace a message
		return nil, uacsta.Refuse(uacsta.Operation, uacsta.InvalidFile)
	}
	m := x.begin(&message{name: path, file: path, resource: req.Resource, records: true}, req.Termination)
	s.voice = append(s.voice, Voice{Call: x.call.id, Key: x.order, Message: m.number, Record: m.file, Limit: limit})
	s.emit(x.call, nil, uacsta.RecordEvent{Connection: x.id(), Message: m.name, Resource: m.resource, Cause: uacsta.CauseNormal})
	return uacsta.RecordMessageResponse{ResultingMessage: m.name}, nil
}

// begin adds a message to the call.
func (x *connection) begin(m *message, until *uacsta.TerminatingConditions) *message {
	s := x.call.sw
	s.changes++
	m.number, m.over, m.began, m.onDigit = s.changes, x, time.Now(), until != nil && until.DTMFDigitDetected
	x.call.messages = append(x.call.messages, m)
	return m
}

func (c *call) playing() *message   { return c.message(func(m *message) bool { return !m.records }) }
func (c *call) recording() *message { return c.message(func(m *message) bool { return m.records }) }

func (c *call) message(is func(*message) bool) *message {
	if i := slices.IndexFunc(c.messages, is); i >= 0 {
		return c.messages[i]
	}
	return nil
}

// stop implements Stop (ECMA-269 clause 26) for the messages of a call that the request names, or all.
func (s *Switch) stop(req *uacsta.Stop) (any, error) {
	x, err := s.permit(req.Connection, (*connection).mayStop)
	if err != nil {
		return nil, err
	}
	named := func(m *message) bool {
		return (req.MessageToBeStopped == "" || m.file == s.library.Path(req.MessageToBeStopped)) && (req.Resource == "" || m.resource == req.Resource)
	}
	if x.call.message(named) == nil {
		return nil, errNoMessage
	}
	x.call.silence(named, "")
	return uacsta.StopResponse{}, nil
}

// silence stops messages. Without a cause, a client has asked for it.
func (c *call) silence(which func(*message) bool, cause uacsta.EventCause) {
	for m := c.message(which); m != nil; m = c.message(which) {
		c.sw.voice = append(c.sw.voice, Voice{Call: c.id, Message: m.number, Stop: true})
		why := cause
		switch {
		case why != "":
		case m.records: // the recording is complete, as it is at its maximum duration
			why = uacsta.CauseMessageDurationExceeded
		default:
			why = uacsta.CauseNormal
		}
		c.ended(m, why)
	}
}

// ended removes a message that has stopped and sends the event.
func (c *call) ended(m *message, why uacsta.EventCause) {
	c.messages = slices.DeleteFunc(c.messages, func(other *message) bool { return other == m })
	event := uacsta.StopEvent{Connection: m.over.id(), Message: m.name, Resource: m.resource, Cause: why}
	at := int(time.Since(m.began) / time.Millisecond)
	event.CurrentPosition = &at
	if m.records || why == uacsta.CauseEndOfMessageDetected {
		event.Length = &at
	}
	c.sw.emit(c, nil, event)
}

// Finished reports why a message ended by itself, or that it could not be played or recorded. It does nothing if the
// message has been stopped.
func (s *Switch) Finished(call string, number int, why uacsta.EventCause) {
	s.do(func() {
		if c := s.calls[call]; c != nil {
			if m := c.message(func(m *message) bool { return m.number == number }); m != nil {
				c.ended(m, why)
			}
		}
	})
}

// sounds returns the messages that a party hears who is alone in the call: music of the device that holds it, or where it
// waits or is parked, or else of the trunk that it calls by; the announcement of the queue, or of the device where the
// call fails.
func (c *call) sounds() (s Sounds) {
	for _, x := range c.connections {
		own := x.device.sounds
		switch x.state {
		case uacsta.Hold, uacsta.Queued:
			s.Music = cmp.Or(s.Music, own.Music)
			if x.device.queue != nil {
				s.Announcement = cmp.Or(s.Announcement, own.Announcement)
			}
		case uacsta.Fail:
			if x.refused && x.device.queue == nil {
				s.Announcement = cmp.Or(s.Announcement, own.Announcement)
			}
		}
	}
	for _, x := range c.connections {
		if x.device.trunk != nil {
			s.Music = cmp.Or(s.Music, x.device.sounds.Music)
		}
	}
	return s
}

// Sounds returns the messages that devices of the switch are configured to have heard, each with such a device.
func (s *Switch) Sounds() map[string]string {
	used := map[string]string{}
	for _, d := range s.order {
		for _, name := range []string{d.sounds.Music, d.sounds.Announcement} {
			if name != "" {
				used[name] = d.number
			}
		}
	}
	return used
}

// SetLibrary sets the messages of the switch. Call it before Run.
func (s *Switch) SetLibrary(l Library) { s.library = l }
