package softswitch

import (
	"crypto/rand"
	"strings"
	"time"

	"github.com/tr87proxy/tr87proxy/uacsta"
)

// Messages played and recorded in calls (ECMA-269 clause 26).

// message is a message being played or recorded in a call.
type message struct {
	name    string
	records bool
	over    *connection
	began   time.Time
	onDigit bool // stop at the first digit
}

// Library holds the messages by name.
type Library interface {
	// Has reports whether a message of this name can be played.
	Has(name string) bool
}

// newRecording returns a name for a recording. It cannot be guessed, since everyone who knows
// it can play the recording.
func newRecording() string { return "recording-" + strings.ToLower(rand.Text()) }

// speaks reports whether a service needs messages.
func speaks(service string) bool {
	return service == uacsta.NamePlayMessage || service == uacsta.NameRecordMessage || service == uacsta.NameStop
}

var errNoVoice = uacsta.Refuse(uacsta.SystemResourceAvailability, uacsta.ResourceBusy)

// playMessage implements Play Message (ECMA-269 clause 26). All parties hear the message.
func (s *Switch) playMessage(req *uacsta.PlayMessage) (any, error) {
	x, err := s.permit(req.OverConnection, (*connection).mayDial)
	if err != nil {
		return nil, err
	}
	switch {
	case !s.library.Has(req.MessageToBePlayed):
		return nil, uacsta.Refuse(uacsta.Operation, uacsta.InvalidMsgID)
	case x.call.playing() != nil:
		return nil, errNoVoice
	}
	limit, refusal := duration(req.Duration)
	if refusal != nil {
		return nil, refusal
	}
	m := &message{name: req.MessageToBePlayed, over: x, began: time.Now(), onDigit: req.Termination != nil && req.Termination.DTMFDigitDetected}
	x.call.messages = append(x.call.messages, m)
	s.voice = append(s.voice, Voice{Call: x.call.id, Key: x.order, Play: m.name, Limit: limit})
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

// recordMessage implements Record Message (ECMA-269 clause 26). It records all parties.
func (s *Switch) recordMessage(req *uacsta.RecordMessage) (any, error) {
	x, err := s.permit(req.CallToBeRecorded, (*connection).mayDial)
	if err != nil {
		return nil, err
	}
	limit, refusal := duration(req.MaxDuration)
	switch {
	case refusal != nil:
		return nil, refusal
	case x.call.recording() != nil:
		return nil, errNoVoice
	}
	m := &message{name: newRecording(), records: true, over: x, began: time.Now(), onDigit: req.Termination != nil && req.Termination.DTMFDigitDetected}
	x.call.messages = append(x.call.messages, m)
	s.voice = append(s.voice, Voice{Call: x.call.id, Key: x.order, Record: m.name, Limit: limit})
	s.emit(x.call, nil, uacsta.RecordEvent{Connection: x.id(), Message: m.name, Cause: uacsta.CauseNormal})
	return uacsta.RecordMessageResponse{ResultingMessage: m.name}, nil
}

func (c *call) playing() *message   { return c.message(func(m *message) bool { return !m.records }) }
func (c *call) recording() *message { return c.message(func(m *message) bool { return m.records }) }

func (c *call) message(is func(*message) bool) *message {
	for _, m := range c.messages {
		if is(m) {
			return m
		}
	}
	return nil
}

// stop implements Stop (ECMA-269 clause 26) for one message or all of a call.
func (s *Switch) stop(req *uacsta.Stop) (any, error) {
	x, err := s.find(req.Connection, errConnection)
	if err != nil {
		return nil, err
	}
	named := func(m *message) bool { return req.MessageToBeStopped == "" || m.name == req.MessageToBeStopped }
	if x.call.message(named) == nil {
		return nil, uacsta.Refuse(uacsta.Operation, uacsta.InvalidMsgID)
	}
	for m := x.call.message(named); m != nil; m = x.call.message(named) {
		s.voice = append(s.voice, Voice{Call: x.call.id, Stop: m.name})
		x.call.ended(m)
	}
	return uacsta.StopResponse{}, nil
}

// stopOnDigit stops the messages that end at a digit.
func (s *Switch) stopOnDigit(c *call) {
	ends := func(m *message) bool { return m.onDigit }
	for m := c.message(ends); m != nil; m = c.message(ends) {
		s.voice = append(s.voice, Voice{Call: c.id, Stop: m.name})
		c.ended(m)
	}
}

// ended removes a message that has stopped and sends the event.
func (c *call) ended(m *message) {
	for i, other := range c.messages {
		if other == m {
			c.messages = append(c.messages[:i:i], c.messages[i+1:]...)
			break
		}
	}
	length := int(time.Since(m.began) / time.Millisecond)
	c.sw.emit(c, nil, uacsta.StopEvent{Connection: uacsta.Conn(c.id, m.over.device.number), Message: m.name, Length: &length, Cause: uacsta.CauseNormal})
}

// Finished reports that a message ended by itself, or that it could not be played or recorded.
func (s *Switch) Finished(call, name string) {
	s.do(func() {
		if c := s.calls[call]; c != nil {
			if m := c.message(func(m *message) bool { return m.name == name }); m != nil {
				c.ended(m)
			}
		}
	})
}

// SetLibrary sets the messages of the switch. Call it before Run.
func (s *Switch) SetLibrary(l Library) { s.library = l }
