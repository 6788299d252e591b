package front

import (
	"context"
	"fmt"

	"github.com/tr87proxy/tr87proxy/internal/config"
	"github.com/tr87proxy/tr87proxy/internal/kind"
	"github.com/tr87proxy/tr87proxy/proxy"
	"github.com/tr87proxy/tr87proxy/wire/asn1"
)

// Kind is the kind of front for clients that speak CSTA in ASN.1.
var Kind = kind.FrontOf[Settings]{
	Key:      name,
	Defaults: func() *Settings { return &Settings{Bounds: kind.DefaultBounds} },
	Ways:     config.Listens{Transports: []string{"tcp", "tls"}, Ports: usualPort, Dialect: true, Notify: true},
	Check:    check,
	Build:    func(f *Settings, env *kind.FrontEnv) (kind.Front, error) { return &listening{f, env}, nil },
}.Kind()

// Settings are the settings under the key asn1.
type Settings struct {
	config.Listening
	kind.Bounds
}

// Warnings reports a bound that another one makes ineffective.
func (f *Settings) Warnings() []string {
	return config.Bound(name+".max-connections", f.MaxPeer, f.MaxConnections, kind.DefaultBounds.MaxPeer)
}

// usualPort returns the usual port of a listener's flavour. check reports an unknown flavour.
func usualPort(l *config.Listener) (port, tlsPort string) {
	f, ok := asn1.FlavourOf(l.Dialect)
	if !ok {
		f = asn1.Phase3
	}
	return f.Port, f.Port
}

func check(f *Settings, s *config.Section) {
	f.Check(s)
	for i, l := range f.Listeners() {
		key := fmt.Sprintf("listen[%d]", i)
		s.OneOf(key+".dialect", l.Dialect, asn1.FlavourNames()...)
		if l.Notify != 0 && (l.Dialect != asn1.Phase1.Name || l.Notify < 1 || l.Notify > 65535) {
			s.Fault(key+".notify", "is a UDP port, for dialect phase1 only; write for example 3333")
		}
	}
}

// listening is a kind.Front: a server for each listener, since each has a flavour.
type listening struct {
	settings *Settings
	env      *kind.FrontEnv
}

// Serve implements kind.Front.
func (f *listening) Serve(ctx context.Context, l *config.Listener, ready func(string)) error {
	flavour, _ := asn1.FlavourOf(l.Dialect) // check has found it
	access := f.env.Access(name, &f.settings.Bounds)
	if !flavour.Associates { // its clients cannot log in, and must be trusted
		access.Identify = f.env.Proxy.Peers("", proxy.SessionsOff)
	}
	server := New(Config{Access: access, Flavour: flavour, Notify: l.Notify})
	return kind.ServeTCP(ctx, l, f.env.Log, ready, server.Serve)
}

// Close implements kind.Front. Serve has closed the connections.
func (*listening) Close(context.Context) {}
