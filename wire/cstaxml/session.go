package cstaxml

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/tr87proxy/tr87proxy/uacsta"
)

// Session says how an application session (ECMA-354) is opened with a switching
// function.
type Session struct {
	Application string        // application ID
	Login       uacsta.Login  // the zero value: none
	Duration    time.Duration // asked for; that of the dialect
	Switch      string        // what the server calls the switch, for GetDeviceId
}

// session is an application session, or none, on a connection of a link.
type session struct {
	link *Link
	conn *Conn
	id   string
	due  <-chan time.Time // when it must be reset; nil without end
}

const stopTime = time.Second // for the answer to StopApplicationSession

// start opens an application session where one is wanted. A switching function that
// knows nothing of them is served without, unless there is a login.
func (s *session) start(ctx context.Context) error {
	cfg := &s.link.cfg
	if cfg.Session == (Session{Switch: cfg.Session.Switch}) && !cfg.Dialect.Session {
		return nil
	}
	if cfg.Session.Application == "" {
		cfg.Session.Application = "tr87proxy"
	}
	if cfg.Session.Duration == 0 {
		cfg.Session.Duration = cfg.Dialect.Duration
	}
	open := cfg.Session.Login.Opening(cfg.Session.Application, cfg.Dialect.Login, cfg.Session.Duration, cfg.Edition)
	if cfg.Dialect.Version != "" {
		open.RequestedProtocolVersions = []string{cfg.Dialect.Version}
	}
	res, err := s.link.ask(ctx, s.conn, open)
	var refusal *uacsta.Error
	if errors.As(err, &refusal) && cfg.Session.Login == (uacsta.Login{}) {
		cfg.Log.Info("the switching function knows no application sessions", "err", err)
		return nil
	}
	if err != nil {
		return fmt.Errorf("application session: %w", err)
	}
	id, duration, err := res.Granted()
	if err != nil {
		return err
	}
	s.id = id
	s.again(duration)
	return nil
}

// again notes when the session must be reset: after a third of its time, so that one
// that is lost can be tried again.
func (s *session) again(duration time.Duration) {
	s.due = nil
	if duration > 0 {
		s.due = time.After(max(duration/3, 100*time.Millisecond))
	}
}

// reset prolongs the session.
func (s *session) reset(ctx context.Context) error {
	res, err := s.link.ask(ctx, s.conn, uacsta.ResetApplicationSessionTimer{
		SessionID: s.id, RequestedSessionDuration: int(s.link.cfg.Session.Duration / time.Second),
	})
	if err != nil {
		return fmt.Errorf("application session not prolonged: %w", err)
	}
	var granted uacsta.ResetApplicationSessionTimerPosResponse
	if res.Name() != uacsta.NameResetApplicationSessionTimerPosResponse || res.Decode(&granted) != nil {
		return fmt.Errorf("application session not prolonged: %.200q", res.Text("errorCode/definedError")+res.Text("errorCode/applError"))
	}
	s.again(time.Duration(min(max(granted.ActualSessionDuration, 0), 365*24*3600)) * time.Second)
	return nil
}

// stop takes leave.
func (s *session) stop() {
	if s.id == "" {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), stopTime)
	defer cancel()
	_, _ = s.link.ask(ctx, s.conn, uacsta.StopApplicationSession{SessionID: s.id, SessionEndReason: uacsta.SessionEndReason{DefinedEndReason: "normal"}}) // we go in any case
}
