package kind

import (
	"log/slog"
	"net/netip"
	"reflect"

	"github.com/tr87proxy/tr87proxy/internal/accounts"
	"github.com/tr87proxy/tr87proxy/internal/config"
	"github.com/tr87proxy/tr87proxy/internal/trace"
	"github.com/tr87proxy/tr87proxy/proxy"
)

// Link is a kind of link. [LinkOf.Kind] makes one.
type Link interface {
	config.LinkKind
	// Build makes a link from checked settings. It does not connect, and opens no file for writing.
	Build(settings any, env *Env) (proxy.Link, error)
	// Same reports whether a link with the settings a can keep running with the settings b: they differ only in what a
	// link can change while it runs ([Link.Live], [Exchanges]).
	Same(a, b any) bool
	// Live returns the live settings, those that a link can change while it runs, such as passwords. It reads the files
	// that they name. update hands them to a link that this kind has built; it is nil if there are none.
	Live(settings any, env *Env) (live any, update func(proxy.Link), err error)
}

// LinkOf describes a kind of link whose settings are an S: a struct with yaml tags.
type LinkOf[S any] struct {
	// Type is the name of the kind, the value of links[].type.
	Type string
	// Defaults has the values for keys that the file leaves out. Build can replace zero values.
	Defaults S
	// Check reports the faults that the types alone do not exclude. It may set defaults that depend on other keys. It can be
	// nil.
	Check func(settings *S, s *config.Section)
	// Build makes a link. It does not connect, and opens no file for writing.
	Build func(settings *S, env *Env) (proxy.Link, error)

	// The other fields are optional.

	// Devices returns the devices of an entry without the key devices. If it is nil, each entry must have the key.
	Devices func(settings *S) []string
	// Lacks says, for keys that other kinds have, why this kind does not have them.
	Lacks map[string]string
	// Still returns settings without the live settings. If it is nil, no settings are live.
	Still func(settings S) S
	// Live returns the live settings, those that a link can change while it runs, such as passwords. It reads the files that
	// they name. The proxy compares them with the previous ones, and calls update if they differ.
	Live func(settings *S, env *Env) (live any, update func(proxy.Link), err error)
}

// Kind returns the kind that k describes.
func (k LinkOf[S]) Kind() Link { return &link[S]{k} }

// link is a kind of link whose settings are an S. Its methods get settings that it has made, a *S.
type link[S any] struct{ of LinkOf[S] }

func (k *link[S]) Name() string { return k.of.Type }

func (k *link[S]) Settings() any {
	settings := k.of.Defaults
	return &settings
}

func (k *link[S]) Check(settings any, s *config.Section) {
	if k.of.Check != nil {
		k.of.Check(settings.(*S), s)
	}
}

func (k *link[S]) Devices(settings any) ([]string, bool) {
	if k.of.Devices == nil {
		return nil, false
	}
	return k.of.Devices(settings.(*S)), true
}

func (k *link[S]) Lacks(key string) string { return k.of.Lacks[key] }

func (k *link[S]) Build(settings any, env *Env) (proxy.Link, error) {
	return k.of.Build(settings.(*S), env)
}

func (k *link[S]) Same(a, b any) bool {
	before, now := *a.(*S), *b.(*S)
	if k.of.Still != nil {
		before, now = k.of.Still(before), k.of.Still(now)
	}
	for _, settings := range []any{&before, &now} {
		if settings, ok := settings.(Certified); ok {
			settings.ClearCertificates()
		}
	}
	return reflect.DeepEqual(before, now)
}

func (k *link[S]) Live(settings any, env *Env) (any, func(proxy.Link), error) {
	if k.of.Live == nil {
		return nil, nil, nil
	}
	return k.of.Live(settings.(*S), env)
}

// Env is what the proxy gives a link in addition to its settings.
type Env struct {
	Name string // the name of the entry in links
	// Log has the link's name as an attribute. Messages that the peer can cause must go through share.Quiet.
	Log *slog.Logger
	// Admits reports whether the configuration lets an address connect.
	Admits func(netip.Addr) bool
	// Guard returns the guard of passwords that peers of the link send. It outlives the link.
	Guard func(of string) *accounts.Guard
	// Refused returns a function that records peers that failed to authenticate in the strangers' audit file.
	Refused func(of string) func(peer, user, why string)
	// Octets keeps what passes over the wire; [Env.Tap] is the link's part of it. nil: nobody wants it.
	Octets *trace.Trace
	// Models returns the table of telephones. It reads the file that the configuration names.
	Models func() ([]config.Model, error)
}

// Tap returns the tap of what passes between the link and its switch.
func (e *Env) Tap() *trace.Tap { return e.Octets.Tap(trace.Switch, "", e.Name) }
