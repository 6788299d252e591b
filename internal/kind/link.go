package kind

import (
	"log/slog"
	"net/netip"
	"reflect"

	"github.com/tr87proxy/tr87proxy/internal/accounts"
	"github.com/tr87proxy/tr87proxy/internal/config"
	"github.com/tr87proxy/tr87proxy/proxy"
)

// Link is a kind of link. [LinkOf.Kind] makes one.
type Link interface {
	config.LinkKind
	// Build makes a link of settings that have been checked. It connects nowhere, and opens no file for writing.
	Build(settings any, env *Env) (proxy.Link, error)
	// Same reports whether a link of the settings a can go on as one of the settings b: what differs it takes while it
	// runs ([Link.Live], [Exchanges]).
	Same(a, b any) bool
	// Live reads what a link takes while it runs, such as passwords in files, and returns it, to be compared. give hands it
	// to the link, which was built by this kind; nil: the link takes nothing.
	Live(settings any, env *Env) (what any, give func(proxy.Link), err error)
}

// LinkOf describes a kind of link whose settings are an S: a struct with yaml tags.
type LinkOf[S any] struct {
	// Type is the name: what an entry of links has as its type.
	Type string
	// Defaults is what holds where the file says nothing. Zero values are best left to Build.
	Defaults S
	// Check reports what the types alone do not say. It may fill in what follows from the rest; nil: all is well.
	Check func(settings *S, s *config.Section)
	// Build makes a link. It connects nowhere, and opens no file for writing.
	Build func(settings *S, env *Env) (proxy.Link, error)

	// The rest can be left out.

	// Devices are those of an entry that names none; nil: each entry must.
	Devices func(settings *S) []string
	// Lacks says, by the key, why this kind does not have what other kinds have.
	Lacks map[string]string
	// Still returns settings without what Live gives to a link while it runs; nil: all of them.
	Still func(settings S) S
	// Live reads what a link takes while it runs, such as passwords in files, and returns it, to be compared with what the
	// link has. give hands it to the link.
	Live func(settings *S, env *Env) (what any, give func(proxy.Link), err error)
}

// Kind returns the kind that k describes.
func (k LinkOf[S]) Kind() Link { return &link[S]{k} }

// link is a kind of link whose settings are an S. The settings that it gets are *S, for it has made them.
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

// Env is what a link gets from the proxy, beside its settings.
type Env struct {
	Name string // of the entry in links
	// Log has the link's name. Messages that the peer can cause must go through share.Quiet.
	Log *slog.Logger
	// Admits reports whether the configuration lets an address connect at all.
	Admits func(netip.Addr) bool
	// Guard returns the guard of passwords that peers of the link send. It outlives the link.
	Guard func(of string) *accounts.Guard
	// Refused returns a function that records peers that failed to authenticate in the strangers' audit file.
	Refused func(of string) func(peer, user, why string)
	// Models reads the table of telephones from the files that the configuration names.
	Models func() ([]config.Model, error)
}
