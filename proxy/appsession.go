package proxy

import (
	"time"

	"github.com/tr87proxy/tr87proxy/uacsta"
)

// Application sessions (ECMA-354). Who the client is, its front has found out already;
// an application session settles the edition and a time after which a client that has
// not reset it is gone: its monitors and registrations end.

// appSession is a client's application session.
type appSession struct {
	id    string
	timer *time.Timer
}

const (
	defaultDuration = time.Hour
	maxDuration     = 24 * time.Hour
)

// The reasons that ECMA-354 defines.
const (
	versionNotSupported = "requestedProtocolVersionNotSupported"
	invalidSessionID    = "invalidSessionID"
	timerExpired        = "sessionTimerExpired"
)

// granted is the duration that a client gets, of what it asked for in seconds.
func granted(seconds int) time.Duration {
	if seconds <= 0 {
		return defaultDuration
	}
	return time.Duration(min(seconds, int(maxDuration/time.Second))) * time.Second // first the limit: a huge number must not wrap
}

// startAppSession answers StartApplicationSession. A second one replaces the first.
func (s *Session) startAppSession(req *uacsta.Message, answer answerer) {
	var start uacsta.StartApplicationSession
	if err := req.Decode(&start); err != nil {
		answer(nil, err)
		return
	}
	version := ""
	for _, v := range start.RequestedProtocolVersions {
		if version == "" && uacsta.EditionOf(v) >= 2 {
			version = v
		}
	}
	if version == "" {
		answer(uacsta.Encode(uacsta.StartApplicationSessionNegResponse{ErrorCode: uacsta.SessionError{DefinedError: versionNotSupported}}, uacsta.Edition3), nil)
		return
	}
	seconds := 0
	if start.RequestedSessionDuration != nil {
		seconds = *start.RequestedSessionDuration
	}
	duration := granted(seconds)
	a := &appSession{id: newRef()}
	s.mu.Lock()
	s.endAppSession()
	if !s.closed {
		s.namespace = uacsta.EditionOf(version).Namespace()
		s.app = a
		a.timer = time.AfterFunc(duration, func() { s.expire(a) })
	}
	s.mu.Unlock()
	answer(uacsta.Encode(uacsta.StartApplicationSessionPosResponse{
		SessionID: a.id, ActualProtocolVersion: version, ActualSessionDuration: int(duration / time.Second),
	}, uacsta.Edition3), nil)
}

// endAppSession forgets the application session; s.mu is held.
func (s *Session) endAppSession() {
	if s.app != nil {
		s.app.timer.Stop()
		s.app = nil
	}
}

// expire ends an application session that was not reset in time.
func (s *Session) expire(a *appSession) {
	s.mu.Lock()
	mine := s.app == a
	if mine {
		s.endAppSession()
	}
	s.mu.Unlock()
	if mine {
		s.proxy.cfg.Log.Info("application session expired", "identity", s.who.String(), "peer", s.peer)
		s.release()
		s.send(uacsta.ApplicationSessionTerminated{SessionID: a.id, SessionTermReason: uacsta.SessionTermReason{DefinedTermReason: timerExpired}})
	}
}

// stopAppSession answers StopApplicationSession.
func (s *Session) stopAppSession(req *uacsta.Message, answer answerer) {
	s.mu.Lock()
	there := s.app != nil && s.app.id == req.Text("sessionID")
	if there {
		s.endAppSession()
	}
	s.mu.Unlock()
	if !there {
		answer(uacsta.Encode(uacsta.StopApplicationSessionNegResponse{ErrorCode: uacsta.SessionError{DefinedError: invalidSessionID}}, uacsta.Edition3), nil)
		return
	}
	s.release()
	answer(uacsta.Encode(uacsta.StopApplicationSessionPosResponse{}, uacsta.Edition3), nil)
}

// resetAppSession answers ResetApplicationSessionTimer.
func (s *Session) resetAppSession(req *uacsta.Message, answer answerer) {
	var reset uacsta.ResetApplicationSessionTimer
	if err := req.Decode(&reset); err != nil {
		answer(nil, err)
		return
	}
	duration := granted(reset.RequestedSessionDuration)
	s.mu.Lock()
	there := s.app != nil && s.app.id == reset.SessionID && s.app.timer.Reset(duration)
	s.mu.Unlock()
	if !there {
		answer(uacsta.Encode(uacsta.ResetApplicationSessionTimerNegResponse{ErrorCode: uacsta.SessionError{DefinedError: invalidSessionID}}, uacsta.Edition3), nil)
		return
	}
	answer(uacsta.Encode(uacsta.ResetApplicationSessionTimerPosResponse{ActualSessionDuration: int(duration / time.Second)}, uacsta.Edition3), nil)
}
