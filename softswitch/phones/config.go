package phones

import (
	"log/slog"
	"time"

	"github.com/tr87proxy/tr87proxy/policy"
	"github.com/tr87proxy/tr87proxy/sip/registrar"
	"github.com/tr87proxy/tr87proxy/softswitch"
	"github.com/tr87proxy/tr87proxy/softswitch/media"
)

// Config configures the telephones and trunks. Zero values stand for defaults.
type Config struct {
	Switch *softswitch.Switch
	// Telephones configures the registrar. Its State, Calls, Known and Packages are the server's.
	Telephones registrar.Config
	Trunks     []Trunk
	// Numbers returns how numbers that telephones write in CSTA are read now; by default as they are written.
	Numbers func() *policy.Numbers

	State string // file for registrations and features; "" keeps them in memory only

	Media media.Config
	// Encryption says for extensions and trunks, by number, whether their voice is encrypted; default
	// [media.Preferred].
	Encryption map[string]media.Encryption
	// RingsOn is whether the other telephones of an extension go on ringing when one answers 600 or 603; by default they
	// stop (RFC 3261 16.7).
	RingsOn bool
	Music   string // WAV or AU file for parties on hold, where no device has its own; "": silence
	// Announcement is a WAV or AU file for callers whose calls fail, where the device has none; "": the busy tone.
	Announcement string
	// Messages is the directory of messages and recordings; "" for none.
	Messages    string
	MaxRecorded time.Duration // longest recording; default 1 h
}

// Trunk is a peer that calls of a trunk go to and come from.
type Trunk struct {
	Number   string // number of the trunk
	Peer     string // URI: sip:host:port;transport=udp
	Name     string // name of the account there; "" for none
	Password string
	Register bool // whether to register there
	From     string
	// Qualify is the time without a response to OPTIONS after which the trunk is out of service; 0 for never.
	Qualify time.Duration
	// CalledFrom is where an INVITE has the number called: request-uri, or a header; "" for the Request-URI or, if that
	// is our account, P-Called-Party-ID or To.
	CalledFrom string
	// CallerFrom lists the headers that may say who calls, the best first: p-asserted-identity, remote-party-id, from.
	// nil lists all of them in this order.
	CallerFrom []string
	// Shows lists the headers in which calls over the trunk show who calls, and who has forwarded the call: from,
	// p-asserted-identity, remote-party-id, diversion. nil lists p-asserted-identity and diversion.
	Shows []string
	// Numbers has the numbers by which the network knows devices of the switch. SiteNumber stands for those that have none,
	// and is in From if that does not show the caller; "" for none.
	Numbers    map[string]string
	SiteNumber string
}

func (c *Config) defaults() {
	if c.MaxRecorded == 0 {
		c.MaxRecorded = time.Hour
	}
	if c.Numbers == nil {
		numbers := &policy.Numbers{Extensions: c.Switch.Has}
		c.Numbers = func() *policy.Numbers { return numbers }
	}
	if c.Telephones.Log == nil {
		c.Telephones.Log = slog.New(slog.DiscardHandler)
	}
	c.Media.Log = c.Telephones.Log
}
