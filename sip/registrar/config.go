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

// Config names the users, and says how the server treats their telephones. Zero values take defaults.
type Config struct {
	Users     []User
	Realm     string   // of digest; "tr87proxy"
	Digest    []string // algorithms offered; MD5: some telephones fail when they are offered another one, too
	Advertise string   // host for Via, Contact and From; the local address of each socket
	Log       *slog.Logger
	TLSClient *tls.Config // for connections that we open; nil refuses to open TLS connections
	Admits    func(netip.Addr) bool
	Guard     *accounts.Guard // of the passwords; one of its own
	// Refused is called for each request that fails to authenticate: with the address of the telephone, the user
	// that it names, and why. May be nil.
	Refused func(peer, user, why string)

	MinExpires time.Duration // of registrations; 60 s
	MaxExpires time.Duration // 1 h
	// Qualify is how often telephones are asked by OPTIONS whether they are there; 0: never.
	Qualify     time.Duration
	MaxContacts int // of one user; 10

	Models []Model // tried in order

	// State is the file in which registrations outlive a restart, opened with [Bucket]; nil: they do
	// not. Its owner closes it after the server.
	State *state.File
	// Before are the registrations of a server before this one, where there is no State.
	Before map[string][]Registration

	Calls    sip.Handler         // gets INVITEs; nil refuses them
	Known    func(sip.Peer) bool // as in sip.Config
	Packages []Package           // that telephones may subscribe to
}

// User is an extension, and the account that its telephones register with.
type User struct {
	Number   string // of the extension
	Name     string // of the account; Number
	Password string // "": the account is locked
	Talks    bool   // its telephones obey NOTIFY talk, whatever they say of themselves
	UACSTA   string // Never, Always or Monitored; Never
	Contact  string // URI of a telephone that does not register, "" for none
}

// When the server opens uaCSTA sessions with the telephones of a user.
const (
	Never     = "never"
	Always    = "always"
	Monitored = "monitored" // while Server.Monitor says that a client monitors the extension
)

// Upcalls is what a [Server] tells its owner. It calls with nothing locked, one at a time about one
// extension for each method; Session, Event and Late are tasks of the queue of the extension's
// telephones, and so come one at a time altogether, and never between a request and its response.
type Upcalls interface {
	// Standing tells how the telephones of an extension stand, when that has changed. It is no task.
	Standing(number string, s Standing)
	// Session tells that the uaCSTA session with the telephones of an extension is another one; nil:
	// there is none any more.
	Session(number string, s *Session)
	// Event is an event that a telephone sent in its session.
	Event(number string, m *uacsta.Message)
	// Late is a response that came when nobody waited for it any more. Its session is still open.
	Late(number string, s *Session, req, res *uacsta.Message)
	// Ask is a CSTA request that a telephone of an extension sent outside a dialog. It returns the
	// response, or an error, and must not block. It is no task.
	Ask(number string, req *uacsta.Message) (*uacsta.Message, error)
}

// Standing is what the telephones of an extension can do at the moment.
type Standing struct {
	Reachable bool // calls can be sent to one of them
	Talks     bool // one can be told to answer a call that alerts
	Physical  bool // one has a uaCSTA session: it takes services on itself (ECMA-269 21)
}

// Package is an event package that telephones may subscribe to (RFC 6665).
type Package struct {
	Event string // as in the header Event
	// Others reports whether a telephone may subscribe to the state of another extension, which the
	// Request-URI names. Otherwise it gets that of its own.
	Others bool
	// Documents returns the state of an extension, each document under a name that stays the same. It
	// is called with nothing locked, and must not block for long.
	Documents func(number string) []Document
	// Change carries out what a telephone of an extension asks for in the body of a SUBSCRIBE, and
	// returns the name of the document to send it, changed or not; "": the body asks for nothing. It
	// must not block. nil: bodies are ignored.
	Change func(number, contentType string, body []byte) (name string)
}

// Document is one part of the state of an extension, as subscribers get it. Where Text says
// version="VERSION", a NOTIFY with this document alone has its own number in its subscription, from 0.
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
