package link

import (
	"crypto/rand"
	"errors"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/tr87proxy/tr87proxy/proxy"
	"github.com/tr87proxy/tr87proxy/uacsta"
	"github.com/tr87proxy/tr87proxy/wire/ctserver"
)

// fileNames matches the files that a client may play: those below the folders of ctserver.
var fileNames = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.-]*(/[A-Za-z0-9_][A-Za-z0-9_.-]*)*$`)

// talking reports whether a connection is that of the active call, and connected.
func (p *port) talking(id uacsta.ConnectionID) bool {
	return p.active != nil && p.find(id) == p.active && p.active.own.State == uacsta.Connected
}

func (p *port) generate(s *uacsta.GenerateDigits, answer proxy.Answer) {
	switch {
	case !p.talking(s.ConnectionToSendDigits):
		answer(nil, refuse(uacsta.StateIncompatibility, uacsta.InvalidConnectionState))
	case !numbers.MatchString(s.CharactersToSend):
		answer(nil, refuse(uacsta.Operation, uacsta.CharactersToSendNotSupported))
	default:
		p.order(nil, answer, uacsta.GenerateDigitsResponse{}, func() {}, "ctdial", p.dialTime(s.CharactersToSend), s.CharactersToSend)
	}
}

func (p *port) play(s *uacsta.PlayMessage, answer proxy.Answer) {
	switch {
	case !p.talking(s.OverConnection) || p.playing != "" || p.recording != "":
		answer(nil, refuse(uacsta.StateIncompatibility, uacsta.InvalidConnectionState))
		return
	case !fileNames.MatchString(s.MessageToBePlayed):
		answer(nil, refuse(uacsta.Operation, uacsta.InvalidMsgID))
		return
	}
	file := s.MessageToBePlayed
	if !strings.Contains(file, ".") {
		file += ".au"
	}
	args := []string{file}
	if s.Termination == nil || !s.Termination.DTMFDigitDetected {
		args = append(args, "ignore_dtmf")
	}
	p.command("ctplayasync", p.link.cfg.Timeout, func(_ *ctserver.Line, err error) {
		switch {
		case errors.Is(err, errFailed): // it cannot read the file
			answer(nil, refuse(uacsta.Operation, uacsta.InvalidMsgID))
			return
		case err != nil:
			answer(nil, p.refusal("ctplayasync", err))
			return
		}
		answer(uacsta.PlayMessageResponse{}, nil)
		p.playing = s.MessageToBePlayed
		p.send(func(ref string) any {
			return uacsta.PlayEvent{MonitorCrossRefID: ref, Connection: s.OverConnection, Message: s.MessageToBePlayed, Cause: uacsta.CauseNormal}
		})
	}, args...)
}

// longestRecording is the duration of a recording without another limit.
const longestRecording = time.Hour

func (p *port) record(s *uacsta.RecordMessage, answer proxy.Answer) {
	if !p.talking(s.CallToBeRecorded) || p.playing != "" || p.recording != "" {
		answer(nil, refuse(uacsta.StateIncompatibility, uacsta.InvalidConnectionState))
		return
	}
	name := "recording-" + strings.ToLower(rand.Text()) + ".au" // whoever knows the name can play it
	longest, digits := longestRecording, ""
	if s.MaxDuration != nil && *s.MaxDuration > 0 {
		longest = min(longest, time.Duration(*s.MaxDuration)*time.Millisecond)
	}
	if s.Termination != nil && s.Termination.DTMFDigitDetected {
		digits = "0123456789*#"
	}
	p.recording = name
	answer(uacsta.RecordMessageResponse{ResultingMessage: name}, nil) // ctserver replies at its end
	p.send(func(ref string) any {
		return uacsta.RecordEvent{MonitorCrossRefID: ref, Connection: s.CallToBeRecorded, Message: name, Cause: uacsta.CauseNormal}
	})
	p.command("ctrecord", longest+p.link.cfg.Timeout, func(*ctserver.Line, error) {
		p.recording = ""
		p.stopped(name, uacsta.CauseNormal)
	}, name, strconv.Itoa(int((longest+time.Second-1)/time.Second)), digits, "0")
}

// stopMessage stops the message that the port plays or records, in the active call.
func (p *port) stopMessage(s *uacsta.Stop, answer proxy.Answer) {
	switch {
	case p.find(s.Connection) != p.active:
		answer(nil, refuse(uacsta.StateIncompatibility, uacsta.InvalidConnectionState))
	case p.recording != "":
		if !p.endRecording() {
			answer(nil, refuse(uacsta.SystemResourceAvailability, uacsta.ResourceOutOfService))
			return
		}
		answer(uacsta.StopResponse{}, nil)
	case p.playing == "":
		answer(nil, refuse(uacsta.StateIncompatibility, uacsta.InvalidConnectionState))
	default:
		p.order(nil, answer, uacsta.StopResponse{}, func() {
			if p.playing != "" {
				p.played(uacsta.CauseNormal)
			}
		}, "ctplay_stop", p.link.cfg.Timeout)
	}
}

// endRecording ends the recording, if there is one. It takes the manager connection, since the port's own waits for the
// end of the recording. It returns false if there is no manager connection.
func (p *port) endRecording() bool {
	if p.recording == "" {
		return true
	}
	p.link.mu.Lock()
	w := p.link.manager
	p.link.mu.Unlock()
	if w == nil {
		return false
	}
	name := p.recording
	time.AfterFunc(recordingPause, func() {
		p.inbox.Post(func() {
			if p.recording == name { // the command came before the start of the recording, which went over another connection
				p.endRecording()
			}
		})
	})
	return w.sendTo(p.cfg.Port-1, "ctsendevent", p.link.cfg.Timeout, func(*ctserver.Line, error) {}, "RECORD_STOP") == nil
}

// recordingPause is the time between two attempts to end a recording.
const recordingPause = 500 * time.Millisecond
