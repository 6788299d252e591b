package link

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/tr87proxy/tr87proxy/uacsta"
	"github.com/tr87proxy/tr87proxy/wire/cstaxml"
)

// Session says how to open an application session (ECMA-354) with a switching function.
type Session struct {
	Application string        // application ID; default tr87proxy
	Login       uacsta.Login  // the zero value: no login
	Duration    time.Duration // to request; default: that of the dialect
	Switch      string        // the name of the switch in GetDeviceId
}

// session is the application session on a connection, if there is one.
type session struct {
	link *Link
	conn *cstaxml.Conn
	id   string           // "": there is no session
	due  <-chan time.Time // when the session must be prolonged; nil: never
}

const stopTime = time.Second // timeout of StopApplicationSession

// start opens an application session if the configuration or the dialect requires one. If the switching function refuses
// it, the link goes on without a session, unless it has a login.
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
		cfg.Log.Info("application session refused by the switching function, link continues without", "err", err)
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
	s.prolongAfter(duration)
	return nil
}

// prolongAfter sets when the session of this duration must be prolonged: after a third of it.
func (s *session) prolongAfter(duration time.Duration) {
	s.due = nil
	if duration > 0 {
		s.due = time.After(max(duration/3, 100*time.Millisecond))
	}
}

// prolong prolongs the session.
func (s *session) prolong(ctx context.Context) error {
	res, err := s.link.ask(ctx, s.conn, uacsta.ResetApplicationSessionTimer{
		SessionID: s.id, RequestedSessionDuration: int(s.link.cfg.Session.Duration / time.Second),
	})
	if err != nil {
		return fmt.Errorf("could not prolong the application session: %w", err)
	}
	var granted uacsta.ResetApplicationSessionTimerPosResponse
	if res.Name() != uacsta.NameResetApplicationSessionTimerPosResponse || res.Decode(&granted) != nil {
		return fmt.Errorf("could not prolong the application session: %.200q", res.Text("errorCode/definedError")+res.Text("errorCode/applError"))
	}
	s.prolongAfter(time.Duration(min(max(granted.ActualSessionDuration, 0), 365*24*3600)) * time.Second)
	return nil
}

// stop stops the session, if there is one.
func (s *session) stop() {
	if s.id == "" {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), stopTime)
	defer cancel()
	_, _ = s.link.ask(ctx, s.conn, uacsta.StopApplicationSession{SessionID: s.id, SessionEndReason: uacsta.SessionEndReason{DefinedEndReason: "normal"}}) // the connection ends in any case
}
