package proxy

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"time"

	"github.com/tr87proxy/tr87proxy/policy"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

// Application sessions (ECMA-354) settle the edition, and a time after which a client
// that has not reset it is gone: its monitors and registrations end. Where accounts are
// kept, they say who the client is.

// SessionMode is whether clients open application sessions.
type SessionMode int

// The modes.
const (
	SessionsOff       SessionMode = iota // they may; nobody looks at a name or a password
	SessionsOptional                     // they may; a name and a password are looked at
	SessionsMandatory                    // they must, with name and password, before anything else
)

// ErrBusy is what Accounts return when they cannot look at a password now.
var ErrBusy = errors.New("busy")

// Accounts says who an application is.
type Accounts interface {
	// Check returns the account if all three are right. It may block.
	Check(ctx context.Context, application, name, password string, from netip.Addr) (Account, error)
	// Holds reports whether an account is still what it was when a client logged in to it:
	// it is there, and its password is the same.
	Holds(Account) bool
}

// Account is an account that a client has logged in to. The zero value is none.
type Account struct {
	Name string
	Seal [32]byte // another one when the password is another; it does not tell the password
}

// ApplicationSessions says what is granted. Zero values take defaults.
type ApplicationSessions struct {
	Duration    time.Duration // to who does not ask for one; 1 h
	MaxDuration time.Duration // 24 h
	Max         int           // of all clients; 2000
	MaxAccount  int           // of one account; 500
	Tries       int           // logins and requests without one that are refused before the connection ends; 5
	LoginTime   time.Duration // in which a client must open one that has to; 30 s
}

func (a *ApplicationSessions) setDefaults() {
	def := func(p *time.Duration, d time.Duration) {
		if *p == 0 {
			*p = d
		}
	}
	def(&a.Duration, time.Hour)
	def(&a.MaxDuration, 24*time.Hour)
	def(&a.LoginTime, 30*time.Second)
	for p, n := range map[*int]int{&a.Max: 2000, &a.MaxAccount: 500, &a.Tries: 5} {
		if *p == 0 {
			*p = n
		}
	}
}

// granted is the duration that a client gets, of what it asked for in seconds.
func (a *ApplicationSessions) granted(seconds int) time.Duration {
	if seconds <= 0 {
		return min(a.Duration, a.MaxDuration)
	}
	return time.Duration(min(seconds, int(a.MaxDuration/time.Second))) * time.Second // first the limit: a huge number must not wrap
}

// appSession is a client's application session.
type appSession struct {
	id      string
	account Account // the zero value without
	timer   *time.Timer
}

// Why a client is cut off.
var (
	errNoLogin   = errors.New("no application session was opened in time")
	errStrikes   = errors.New("too many requests and logins without an application session")
	errMandatory = errors.New("an application session is mandatory now, and the client has opened none with an account")
	errOff       = errors.New("application sessions are off now, and accounts do not count")
	errStopped   = errors.New("the application session has ended")
	errSecurity  = uacsta.Refuse(uacsta.Security, uacsta.Generic)
)

// The reasons that ECMA-354 defines.
const (
	invalidInfo         = "invalidApplicationInfo"
	versionNotSupported = "requestedProtocolVersionNotSupported"
	resourcesBusy       = "serverResourcesBusy"
	tooManySessions     = "maxNumberSessions"
	invalidSessionID    = "invalidSessionID"
	timerExpired        = "sessionTimerExpired"
)

// ofAppSessions are the requests that a client may make without an application session.
var ofAppSessions = map[string]bool{uacsta.NameStartApplicationSession: true, uacsta.NameStopApplicationSession: true, uacsta.NameResetApplicationSessionTimer: true}

// bound reports whether the client has to have an application session.
func (s *Session) bound() bool { return s.boundBy(s.proxy.rules.Load()) }

// boundBy is bound by rules that need not hold.
func (s *Session) boundBy(r *rules) bool { return s.modeBy(r) == SessionsMandatory || s.own.Name == "" }

// modeBy is whether the client opens application sessions by some rules.
func (s *Session) modeBy(r *rules) SessionMode {
	if mode, ok := r.modes[s.front]; ok && !s.fixed {
		return mode
	}
	return s.mode
}

// application returns the application session; nil where there is none.
func (s *Session) application() *appSession {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.app
}

// fits returns why the session does not fit another mode; nil if it does. Where an application session becomes
// mandatory, a session without account ends, and its client logs in when it connects again: to let it go on, with its
// monitors, until it logs in would let it do what it may not. Where accounts do not count any more, what one allowed
// ends.
func (s *Session) fits(before, now *rules) error {
	was, is := s.modeBy(before), s.modeBy(now)
	app := s.application()
	account := app != nil && app.account.Name != ""
	switch {
	case was == is:
	case is == SessionsMandatory && s.own.Name != "" && !account:
		return errMandatory
	case is == SessionsOff && (account || s.own.Name == ""):
		return errOff
	}
	return nil
}

// locked reports whether it has to have one, and has none.
func (s *Session) locked() bool {
	if !s.bound() {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.app == nil
}

// expectLogin ends a session that has to open an application session and does not.
func (s *Session) expectLogin() {
	if !s.bound() {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed {
		s.login = time.AfterFunc(s.proxy.bounds.Load().Sessions.LoginTime, func() {
			if s.locked() {
				s.end(errNoLogin)
			}
		})
	}
}

// strike refuses a request of a client that must open an application session first;
// after a few the client is cut off.
func (s *Session) strike(answer answerer) {
	answer(nil, errSecurity)
	s.countStrike()
}

func (s *Session) countStrike() {
	s.mu.Lock()
	s.strikes++
	out := s.strikes >= s.proxy.bounds.Load().Sessions.Tries
	s.mu.Unlock()
	if out {
		s.deliver(delivery{last: errStrikes})
	}
}

// heldRequest is a request that came while the session was busy.
type heldRequest struct {
	req    *uacsta.Message
	answer answerer
}

// hold keeps a request while the session is busy.
func (s *Session) hold(req *uacsta.Message, answer answerer) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.busy {
		s.held = append(s.held, heldRequest{req, answer}) // as many as may be outstanding
	}
	return s.busy
}

// resume answers what was held.
func (s *Session) resume() {
	for {
		s.mu.Lock()
		if len(s.held) == 0 {
			s.held, s.busy = nil, false
			s.mu.Unlock()
			return
		}
		next, closed := s.held[0], s.closed
		s.held = s.held[1:]
		s.mu.Unlock()
		if closed {
			next.answer(nil, errSecurity)
		} else {
			s.dispatch(next.req, next.answer)
		}
	}
}

func refuseStart(why string) *uacsta.Message {
	return uacsta.Encode(uacsta.StartApplicationSessionNegResponse{ErrorCode: uacsta.SessionError{DefinedError: why}}, uacsta.Edition3)
}

// aside goes on with a request where that may take a while: on a goroutine that answers what
// comes meanwhile, and is held, when that is over.
func (s *Session) aside(answer answerer, do func()) {
	s.mu.Lock()
	there := s.busy // the request was held, and this is that goroutine
	s.busy = true
	s.mu.Unlock()
	if there {
		do()
		return
	}
	if s.proxy.spawn(func() {
		do()
		s.resume()
	}) {
		return
	}
	s.mu.Lock()
	s.busy = false
	s.mu.Unlock()
	answer(nil, errLinkDown)
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
		answer(refuseStart(versionNotSupported), nil)
		return
	}
	seconds := 0
	if start.RequestedSessionDuration != nil {
		seconds = *start.RequestedSessionDuration
	}
	duration := s.proxy.bounds.Load().Sessions.granted(seconds)
	login, given := start.ApplicationInfo.Login()
	switch {
	case s.modeBy(s.proxy.rules.Load()) == SessionsOff || !given && !s.bound():
		s.grant(Account{}, version, duration, answer)
	case !given || s.proxy.cfg.Accounts == nil:
		s.refuseLogin("", ErrNoAccounts, answer)
	default:
		s.aside(answer, func() {
			known, err := s.proxy.Identify(s.proxy.ctx, Proof{Addr: s.addr, Login: &Login{User: login.User, Password: login.Password, Application: start.ApplicationInfo.ApplicationID}})
			if err != nil {
				s.refuseLogin(login.User, err, answer)
			} else {
				s.grant(known.account, version, duration, answer)
			}
		})
	}
}

func (s *Session) refuseLogin(name string, err error, answer answerer) {
	why := invalidInfo
	if errors.Is(err, ErrBusy) {
		why = resourcesBusy
	}
	s.proxy.stats.Denials.Add(1)
	s.proxy.Refused(s.front, s.peer, name, "application session: "+err.Error())
	s.log(slog.LevelWarn, "application session refused", s.Identity(), "account", name, "err", err)
	answer(refuseStart(why), nil)
	s.countStrike()
}

// grant opens an application session, of an account where there is a name.
func (s *Session) grant(account Account, version string, duration time.Duration, answer answerer) {
	who := s.own
	if account.Name != "" {
		who = policy.Identity{Name: account.Name, How: "account"}
	}
	if err := s.proxy.named(who); err != nil {
		s.refuseLogin(account.Name, err, answer)
		return
	}
	limits := &s.proxy.bounds.Load().Sessions
	most := limits.MaxAccount
	if account.Name == "" { // those without are no account's
		most = limits.Max
	}
	if !s.proxy.apps.take(account.Name, most, limits.Max) {
		s.proxy.cfg.Log.Warn("application session refused", "identity", who.String(), "peer", s.peer, "err", "too many application sessions")
		answer(refuseStart(tooManySessions), nil)
		return
	}
	a := &appSession{id: s.proxy.refs.next(), account: account}
	s.mu.Lock()
	replaced := s.endAppSession()
	changed := replaced || s.Identity() != who
	if s.closed {
		s.proxy.apps.give(account.Name) // this one ends at once
	} else {
		s.namespace, s.app, s.strikes = version, a, 0
		a.timer = time.AfterFunc(duration, func() { s.terminate(a, uacsta.SessionTermReason{DefinedTermReason: timerExpired}) })
		s.who.Store(&who)
	}
	s.mu.Unlock()
	if changed { // what the client had, it had as somebody else
		s.release(false)
	}
	s.note(s.entry("identified"))
	s.proxy.cfg.Log.Info("application session opened", "identity", who.String(), "peer", s.peer, "duration", duration)
	answer(uacsta.Encode(uacsta.StartApplicationSessionPosResponse{
		SessionID: a.id, ActualProtocolVersion: version, ActualSessionDuration: int(duration / time.Second),
	}, uacsta.Edition3), nil)
	s.recheckAccount() // it may have changed since the password was looked at
}

const accountGone = "the account has changed or is there no more"

// recheckAccount ends an application session whose account was removed, or got another password.
func (s *Session) recheckAccount() {
	app := s.application()
	if app == nil || app.account.Name == "" || s.proxy.cfg.Accounts.Holds(app.account) {
		return
	}
	s.terminate(app, uacsta.SessionTermReason{ServerTermReason: accountGone})
}

// endAppSession forgets the application session, and reports whether there was one; s.mu is
// held.
func (s *Session) endAppSession() bool {
	if s.app == nil {
		return false
	}
	s.proxy.apps.give(s.app.account.Name)
	s.app.timer.Stop()
	s.app = nil
	s.who.Store(&s.own)
	return true
}

// terminate ends an application session from the core's side.
func (s *Session) terminate(a *appSession, why uacsta.SessionTermReason) {
	s.mu.Lock()
	who := s.Identity()
	ended := s.app == a && s.endAppSession()
	s.mu.Unlock()
	if !ended {
		return
	}
	s.proxy.cfg.Log.Info("application session ended", "identity", who.String(), "peer", s.peer, "reason", why.DefinedTermReason+why.ServerTermReason)
	s.release(false)
	s.send(uacsta.ApplicationSessionTerminated{SessionID: a.id, SessionTermReason: why})
	s.endIfBound()
}

// endIfBound ends a session that may do nothing any more, after what waits for it.
func (s *Session) endIfBound() {
	if s.bound() {
		s.deliver(delivery{last: errStopped})
	}
}

// stopAppSession answers StopApplicationSession.
func (s *Session) stopAppSession(req *uacsta.Message, answer answerer) {
	s.mu.Lock()
	ended := s.app != nil && s.app.id == req.Text("sessionID") && s.endAppSession()
	s.mu.Unlock()
	if !ended {
		answer(uacsta.Encode(uacsta.StopApplicationSessionNegResponse{ErrorCode: uacsta.SessionError{DefinedError: invalidSessionID}}, uacsta.Edition3), nil)
		return
	}
	s.release(false)
	answer(uacsta.Encode(uacsta.StopApplicationSessionPosResponse{}, uacsta.Edition3), nil)
	s.endIfBound()
}

// resetAppSession answers ResetApplicationSessionTimer.
func (s *Session) resetAppSession(req *uacsta.Message, answer answerer) {
	var reset uacsta.ResetApplicationSessionTimer
	if err := req.Decode(&reset); err != nil {
		answer(nil, err)
		return
	}
	duration := s.proxy.bounds.Load().Sessions.granted(reset.RequestedSessionDuration)
	s.mu.Lock()
	there := s.app != nil && s.app.id == reset.SessionID && s.app.timer.Reset(duration)
	s.mu.Unlock()
	if !there {
		answer(uacsta.Encode(uacsta.ResetApplicationSessionTimerNegResponse{ErrorCode: uacsta.SessionError{DefinedError: invalidSessionID}}, uacsta.Edition3), nil)
		return
	}
	answer(uacsta.Encode(uacsta.ResetApplicationSessionTimerPosResponse{ActualSessionDuration: int(duration / time.Second)}, uacsta.Edition3), nil)
}
