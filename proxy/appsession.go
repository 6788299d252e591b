package proxy

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"slices"
	"time"

	"github.com/tr87proxy/tr87proxy/policy"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

// An application session (ECMA-354) settles the edition and a duration. If the client does not reset
// the timer within that duration, its monitors and registrations end. With accounts, an application
// session also identifies the client.

// SessionMode says whether clients of a front open application sessions.
type SessionMode int

// The modes.
const (
	SessionsOff       SessionMode = iota // optional; names and passwords are ignored
	SessionsOptional                     // optional; a name and password, if given, are checked
	SessionsMandatory                    // required, with name and password, before any other request
)

// ErrBusy is the error of [Accounts] when it cannot check a password now.
var ErrBusy = errors.New("busy")

// Accounts authenticates applications.
type Accounts interface {
	// Check returns the account that application, name and password belong to. It may block.
	Check(ctx context.Context, application, name, password string, from netip.Addr) (Account, error)
	// Holds reports whether an account still exists with the password that it had when Check returned
	// it.
	Holds(Account) bool
}

// Account is an account that a client has logged in to. The zero value is none.
type Account struct {
	Name string
	Seal [32]byte // changes with the password and does not reveal it
}

// ApplicationSessions holds the limits of application sessions. Zero values take the defaults given
// here.
type ApplicationSessions struct {
	Duration    time.Duration // if the client requests none; 1 h
	MaxDuration time.Duration // at most; 24 h
	Max         int           // application sessions of all clients; 2000
	MaxAccount  int           // application sessions of one account; 500
	Tries       int           // failed logins, and requests refused for want of a login, before the session closes; 5
	LoginTime   time.Duration // within which a client must open a required application session; 30 s
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

// granted returns the duration for a client that requests seconds; 0 means that it requests none.
func (a *ApplicationSessions) granted(seconds int) time.Duration {
	if seconds <= 0 {
		return min(a.Duration, a.MaxDuration)
	}
	return time.Duration(min(seconds, int(a.MaxDuration/time.Second))) * time.Second // min first: a huge number must not overflow
}

// appSession is a client's application session.
type appSession struct {
	id      string
	account Account // the zero value: not authenticated
	timer   *time.Timer
}

// Reasons to close a session or refuse a request.
var (
	errNoLogin   = errors.New("no application session was opened in time")
	errStrikes   = errors.New("too many requests and logins without an application session")
	errMandatory = errors.New("an application session is mandatory now, and the client has opened none with an account")
	errOff       = errors.New("application sessions are off now, and accounts do not count")
	errStopped   = errors.New("the application session has ended")
	errSecurity  = uacsta.Refuse(uacsta.Security, uacsta.Generic)
	errLogin     = &uacsta.Error{Category: uacsta.Security, Value: uacsta.Generic, Detail: "the client has not logged in: StartApplicationSession comes first"}
)

// The error codes of ECMA-354.
const (
	invalidInfo         = "invalidApplicationInfo"
	versionNotSupported = "requestedProtocolVersionNotSupported"
	resourcesBusy       = "serverResourcesBusy"
	tooManySessions     = "maxNumberSessions"
	invalidSessionID    = "invalidSessionID"
	timerExpired        = "sessionTimerExpired"
)

// ofAppSessions are the requests that need no application session.
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
	case is == SessionsOff && account: // perhaps its password was being checked when they became off
		return errOff
	case was == is:
	case is == SessionsMandatory && s.own.Name != "" && !account:
		return errMandatory
	case is == SessionsOff && s.own.Name == "":
		return errOff
	}
	return nil
}

// locked reports whether the client must have an application session and has none.
func (s *Session) locked() bool {
	if !s.bound() {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.app == nil
}

// expectLogin closes the session after LoginTime if it still has no required application session.
func (s *Session) expectLogin() {
	if !s.bound() {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed {
		s.login = time.AfterFunc(s.proxy.bounds.Load().Sessions.LoginTime, func() {
			if s.locked() {
				s.disconnect(errNoLogin)
			}
		})
	}
}

// strike refuses a request of a client that must open an application session first. After Tries of
// them the session closes.
func (s *Session) strike(answer answerer) {
	answer(nil, errLogin)
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

// heldRequest is a request that arrived while the session was busy.
type heldRequest struct {
	req    *uacsta.Message
	handle handler // nil: the usual one
	answer answerer
}

// hold keeps a request while the session is busy. It returns false if the session is not busy.
func (s *Session) hold(req *uacsta.Message, handle handler, answer answerer) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.busy {
		s.held = append(s.held, heldRequest{req, handle, answer}) // MaxOutstanding limits them
	}
	return s.busy
}

// resume handles the held requests in order.
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
			s.dispatch(next.req, next.handle, next.answer)
		}
	}
}

func refuseStart(why string) *uacsta.Message {
	return uacsta.Encode(uacsta.StartApplicationSessionNegResponse{ErrorCode: uacsta.SessionError{DefinedError: why}}, uacsta.Edition3)
}

// sessionRefusal returns the refusal of a request of ECMA-354, which has error codes of its own; nil: the request is
// another one.
func sessionRefusal(service string, err error) *uacsta.Message {
	var refusal *uacsta.Error
	busy := errors.As(err, &refusal) && slices.Contains([]uacsta.Category{
		uacsta.SystemResourceAvailability, uacsta.SubscribedResourceAvailability, uacsta.PerformanceManagement,
	}, refusal.Category)
	why := uacsta.SessionError{DefinedError: invalidSessionID}
	if busy { // the other requests have no error code for it
		why = uacsta.SessionError{ApplError: refusal.Error()}
	}
	switch {
	case service == uacsta.NameStopApplicationSession:
		return uacsta.Encode(uacsta.StopApplicationSessionNegResponse{ErrorCode: why}, uacsta.Edition3)
	case service == uacsta.NameResetApplicationSessionTimer:
		return uacsta.Encode(uacsta.ResetApplicationSessionTimerNegResponse{ErrorCode: why}, uacsta.Edition3)
	case service != uacsta.NameStartApplicationSession:
		return nil
	case busy:
		return refuseStart(resourcesBusy)
	}
	return refuseStart(invalidInfo)
}

// aside runs the rest of a request that may take a while in a goroutine. Further requests of the
// session are held until it ends.
func (s *Session) aside(answer answerer, do func()) {
	s.mu.Lock()
	there := s.busy // the request was held, and this is already that goroutine
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

// startAppSession serves StartApplicationSession. A second one replaces the first.
func (s *Session) startAppSession(req *uacsta.Message, answer answerer) {
	var start uacsta.StartApplicationSession
	err := req.Decode(&start)
	if err != nil && start.ApplicationInfo.ApplicationID == "" {
		answer(nil, err)
		return
	}
	version := ""
	for _, v := range start.RequestedProtocolVersions {
		if version == "" && uacsta.EditionOf(v) >= 2 {
			version = v
		}
	}
	switch {
	case version == "":
		answer(refuseStart(versionNotSupported), nil)
		return
	case err != nil:
		answer(nil, err)
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
		s.refuseLogin("", ErrNoCredentials, answer)
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

// grant opens an application session, for an account if it has a name.
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
	if account.Name == "" { // without an account, MaxAccount does not apply
		most = limits.Max
	}
	a := &appSession{id: s.proxy.refs.next(), account: account}
	s.mu.Lock()
	var counted bool
	if s.app == nil {
		counted = s.proxy.apps.take(account.Name, most, limits.Max)
	} else {
		counted = s.proxy.apps.swap(s.app.account.Name, account.Name, most)
	}
	if !counted {
		s.mu.Unlock()
		s.proxy.cfg.Log.Warn("application session refused", "identity", who.String(), "peer", s.peer, "err", "too many application sessions")
		answer(refuseStart(tooManySessions), nil)
		return
	}
	replaced := s.removeAppSession() != nil
	changed := replaced || s.Identity() != who
	if s.closed {
		s.proxy.apps.give(account.Name) // the session has closed: the application session ends at once
	} else {
		s.namespace, s.app, s.strikes = version, a, 0
		a.timer = time.AfterFunc(duration, func() { s.terminate(a, uacsta.SessionTermReason{DefinedTermReason: timerExpired}) })
		s.who.Store(&who)
	}
	s.mu.Unlock()
	if changed { // monitors and registrations belong to the previous identity
		s.release(false)
	}
	s.note(s.entry("identified"))
	s.proxy.cfg.Log.Info("application session opened", "identity", who.String(), "peer", s.peer, "duration", duration)
	answer(uacsta.Encode(uacsta.StartApplicationSessionPosResponse{
		SessionID: a.id, ActualProtocolVersion: version, ActualSessionDuration: int(duration / time.Second),
	}, uacsta.Edition3), nil)
	s.recheck(s.proxy.holding()) // the account, or the configuration, may have changed since the password was checked
}

const accountGone = "the account was changed or removed"

// withoutAccount returns the application session if its account was removed, or got another password; nil otherwise.
func (s *Session) withoutAccount() *appSession {
	app := s.application()
	if app == nil || app.account.Name == "" || s.proxy.cfg.Accounts.Holds(app.account) {
		return nil
	}
	return app
}

// recheckAccount ends an application session that is without its account.
func (s *Session) recheckAccount() {
	if app := s.withoutAccount(); app != nil {
		s.terminate(app, uacsta.SessionTermReason{ServerTermReason: accountGone})
	}
}

// endAppSession ends the application session and reports whether there was one. The caller holds
// s.mu.
func (s *Session) endAppSession() bool {
	ended := s.removeAppSession()
	if ended != nil {
		s.proxy.apps.give(ended.account.Name)
	}
	return ended != nil
}

// removeAppSession removes the application session and returns it; nil: there was none. It still
// counts. The caller holds s.mu.
func (s *Session) removeAppSession() *appSession {
	removed := s.app
	if removed != nil {
		removed.timer.Stop()
		s.app = nil
		s.who.Store(&s.own)
	}
	return removed
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

// endIfBound closes a session that must have an application session, after its queue.
func (s *Session) endIfBound() {
	if s.bound() {
		s.deliver(delivery{last: errStopped})
	}
}

// stopAppSession serves StopApplicationSession.
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

// resetAppSession serves ResetApplicationSessionTimer.
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
