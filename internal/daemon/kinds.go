package daemon

import (
	"github.com/tr87proxy/tr87proxy/api"
	"github.com/tr87proxy/tr87proxy/console"
	"github.com/tr87proxy/tr87proxy/internal/config"
	"github.com/tr87proxy/tr87proxy/internal/kind"
	"github.com/tr87proxy/tr87proxy/interop/lync"
	"github.com/tr87proxy/tr87proxy/links/desk"
	"github.com/tr87proxy/tr87proxy/links/freeswitch"
	"github.com/tr87proxy/tr87proxy/tr87"
	asn1front "github.com/tr87proxy/tr87proxy/wire/asn1/front"
	asn1link "github.com/tr87proxy/tr87proxy/wire/asn1/link"
	xmlfront "github.com/tr87proxy/tr87proxy/wire/cstaxml/front"
	xmllink "github.com/tr87proxy/tr87proxy/wire/cstaxml/link"
	cardlink "github.com/tr87proxy/tr87proxy/wire/ctserver/link"
)

// linkKinds lists the kinds of links. The first is the default.
var linkKinds = []kind.Link{xmllink.Kind, asn1link.Kind, freeswitch.LinkKind, cardlink.Kind, desk.LinkKind}

// frontKinds lists the kinds of fronts. The log names listeners of the first by their transport alone.
var frontKinds = []kind.FrontKind{tr87.FrontKind(lync.Dialect{}), xmlfront.Kind, asn1front.Kind, api.Kind, console.Kind}

// Kinds returns the kinds that a configuration can name.
func Kinds() config.Kinds {
	var k config.Kinds
	for _, l := range linkKinds {
		k.Links = append(k.Links, l)
	}
	for _, f := range frontKinds {
		k.Fronts = append(k.Fronts, f)
	}
	return k
}

// Load reads and checks a configuration file. Faults in its content are returned as [config.Faults].
func Load(file string) (*config.Config, error) { return config.Load(file, Kinds()) }

// AdminSocket returns the admin socket that a configuration file names, also if other keys have faults.
func AdminSocket(file string) (string, error) { return config.AdminSocket(file, Kinds()) }

// Default returns the configuration of an empty file.
func Default() *config.Config { return config.Default(Kinds()) }

// linkKind returns the kind of an entry of links, which config has checked.
func linkKind(l *config.Link) kind.Link {
	for _, k := range linkKinds {
		if k.Name() == l.Type {
			return k
		}
	}
	return linkKinds[0]
}
