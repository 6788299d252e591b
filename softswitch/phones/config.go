package phones

import (
	"crypto/tls"
	"log/slog"
	"net/netip"
	"regexp"
	"time"

	"github.com/tr87proxy/tr87proxy/internal/accounts"
	"github.com/tr87proxy/tr87proxy/sip"
	"github.com/tr87proxy/tr87proxy/softswitch"
	"github.com/tr87proxy/tr87proxy/softswitch/media"
)

// Config says which telephones there are. Zero values take defaults.
type Config struct {
	Switch    *softswitch.Switch
	Users     []User
	Trunks    []Trunk
	Realm     string   // of digest; "tr87proxy"
	Digest    []string // algorithms offered; MD5: there are telephones that fail when they see another
	Advertise string   // host for Via, Contact and From; the local address of each socket
	Log       *slog.Logger
	TLSClient *tls.Config // for trunks; nil refuses to open TLS connections
	Admits    func(netip.Addr) bool
	Guard     *accounts.Guard // of the passwords; one of its own
	// Refused is told of each telephone that is not believed: its address, the user that it
	// names, and why. May be nil.
	Refused func(peer, user, why string)

	MinExpires time.Duration // of registrations; 60 s
	MaxExpires time.Duration // 1 h
	// Qualify is how often telephones are asked whether they are there; 0: never.
	Qualify     time.Duration
	MaxContacts int // of one user; 10

	State string // file that registrations and features are kept in; "": they are not

	Media  media.Config
	Models []Model // tried in order
	Music  string  // WAV file for whoever waits; "": silence
	// Messages is the directory of files that are played and recorded; "": there are none.
	Messages    string
	MaxRecorded time.Duration // of one recording; 1 h
}

// Model is what telephones of one maker obey besides SIP.
type Model struct {
	Name           string
	Agent          *regexp.Regexp // fits their header User-Agent
	Answer, Resume *Notify        // nil: nothing makes them
	CSTA           string         // notify: it speaks uaCSTA by NOTIFY outside dialogs
	Services       []string       // that they can by uaCSTA, where they do not say; none: the usual
}

// Notify is a NOTIFY outside a dialog. In its body, {call-id} stands for the call's.
type Notify struct{ Event, Type, Body string }

// User is who registers for an extension.
type User struct {
	Number   string // of the extension
	Name     string // of the account; Number
	Password string
	Talks    bool   // it obeys NOTIFY talk, whatever it says of itself
	UACSTA   string // Never, Always or Monitored; Never
	Contact  string // URI of a telephone that does not register, "" for none
}

// Trunk is a peer that calls of a trunk go to and come from.
type Trunk struct {
	Number   string // of the trunk
	Peer     string // URI: sip:host:port;transport=udp
	Name     string // of the account there; "" for none
	Password string
	Register bool // it wants us to register
	From     string
}

func (c *Config) defaults() {
	def := func(p *time.Duration, d time.Duration) {
		if *p == 0 {
			*p = d
		}
	}
	def(&c.MinExpires, time.Minute)
	def(&c.MaxExpires, time.Hour)
	def(&c.MaxRecorded, time.Hour)
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
	for i := range c.Users {
		if c.Users[i].Name == "" {
			c.Users[i].Name = c.Users[i].Number
		}
	}
}
