package registrar

import (
	"crypto/tls"
	"log/slog"
	"net/netip"
	"time"

	"github.com/tr87proxy/tr87proxy/internal/accounts"
	"github.com/tr87proxy/tr87proxy/internal/state"
	"github.com/tr87proxy/tr87proxy/sip"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

// Config has the users, and how the server treats their telephones. Zero values stand for defaults.
type Config struct {
	Users     []User
	Realm     string   // realm of digest; default "tr87proxy"
	Digest    []string // algorithms offered; default MD5 only, because some telephones fail when offered several
	Advertise string   // host for Via, Contact and From; default the local address of each socket
	Log       *slog.Logger
	Trace     func(sip.Traced) // sip.Config.Trace; nil: none
	TLSClient *tls.Config      // for connections that the server opens; with nil it opens no TLS connections
	Admits    func(netip.Addr) bool
	Guard     *accounts.Guard // guard of the passwords; default one of its own
	// Refused is called for each request that fails to authenticate, with the address of the telephone, the user
	// that it names, and why. It can be nil.
	Refused func(peer, user, why string)

	MinExpires time.Duration // shortest lifetime of a registration; default 60 s
	MaxExpires time.Duration // longest lifetime of a registration; default 1 h
	// Qualify is the interval of OPTIONS to each telephone; 0 for none.
	Qualify     time.Duration
	MaxContacts int // registrations of one user; default 10

	Models []Model // tried in order

	// State is the state file for registrations, opened with [Bucket]. With nil they do not survive a
	// restart. The caller closes it after the server.
	State *state.File
	// Before has the registrations of the previous server, if there is no State.
	Before map[string][]Registration

	Calls    sip.Handler         // handles INVITEs; nil refuses them
	Known    func(sip.Peer) bool // as in sip.Config
	Packages []Package           // event packages to which telephones may subscribe
}

// User is an extension, and the account that its telephones register with.
type User struct {
	Number   string // number of the extension
	Name     string // name of the account; default Number
	Password string // "" locks the account
	Talks    bool   // its telephones obey NOTIFY talk, even if they do not say so
	UACSTA   string // Never, Always or Monitored; default Never
	Contact  string // URI of a telephone that does not register, "" for none
}

// When the server opens uaCSTA sessions with the telephones of a user.
const (
	Never     = "never"
	Always    = "always"
	Monitored = "monitored" // while Server.Monitor says that a client monitors the extension
)

// Upcalls is implemented by the owner of a [Server]. The server calls each method with nothing locked, and one
// at a time for each extension. Session, Event and Late are tasks of the queue of the extension's telephones:
// they never run at the same time, or between a request and its response.
type Upcalls interface {
	// Standing reports the standing of an extension's telephones when it has changed. It is not a task.
	Standing(number string, s Standing)
	// Session reports a new uaCSTA session with the telephones of an extension, or nil when there is none any
	// more.
	Session(number string, s *Session)
	// Event reports an event that a telephone has sent in its session.
	Event(number string, m *uacsta.Message)
	// Late reports a response that came after its timeout. Its session is still open.
	Late(number string, s *Session, req, res *uacsta.Message)
	// Ask handles a CSTA request that a telephone of an extension has sent outside a dialog. of is its model, nil if that
	// is not in the table. It returns the response, or an error, and must not block. It is not a task.
	Ask(number string, of *Model, req *uacsta.Message) (*uacsta.Message, error)
}

// Standing is what the telephones of an extension can currently do.
type Standing struct {
	Reachable bool // calls can be sent to one of them
	Talks     bool // one can be told to answer a call that alerts
	Physical  bool // one has a uaCSTA session, for physical device services (ECMA-269 21)
}

// Package is an event package that telephones may subscribe to (RFC 6665).
type Package struct {
	Event string // as in the header Event
	// Others reports whether there is a state of a number. Telephones may subscribe to the state of any such number, which
	// the Request-URI names. If Others is nil, a telephone gets the state of its own extension.
	Others func(number string) bool
	// Documents returns the state of a number for the subscriber with the number by, of a model, nil if that is not in the
	// table. The name of each document never changes. Documents is called with nothing locked, and must not block for long.
	Documents func(number, by string, of *Model) []Document
	// Change carries out the request in the body of a SUBSCRIBE of a telephone, and returns the name of the
	// document to send in any case, or "" if there is no request. It must not block. If Change is nil, bodies
	// are ignored.
	Change func(number, contentType string, body []byte) (name string)
}

// Document is one part of the state of an extension, in the form that subscribers get. In a NOTIFY with this
// document alone, version="VERSION" in Text becomes the number of the NOTIFY in its subscription, from 0.
type Document struct{ Name, Type, Text string }

func (c *Config) defaults() {
	if c.MinExpires == 0 {
		c.MinExpires = time.Minute
	}
	if c.MaxExpires == 0 {
		c.MaxExpires = time.Hour
	}
	if c.MaxContacts == 0 {
		c.MaxContacts = 10
	}
	if len(c.Digest) == 0 {
		c.Digest = []string{sip.MD5}
	}
	if c.Realm == "" {
		c.Realm = "tr87proxy"
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Refused == nil {
		c.Refused = func(string, string, string) {}
	}
	if c.Guard == nil {
		c.Guard = accounts.NewGuard(accounts.GuardConfig{Of: "telephones", Log: c.Log})
	}
}
