package asn1

import (
	"context"
	"fmt"
	"net"

	"github.com/tr87proxy/tr87proxy/internal/config"
	"github.com/tr87proxy/tr87proxy/internal/gate"
	kinds "github.com/tr87proxy/tr87proxy/internal/kind"
	"github.com/tr87proxy/tr87proxy/internal/share"
	"github.com/tr87proxy/tr87proxy/proxy"
)

// LinkKind is the kind of links to what speaks CSTA in ASN.1.
var LinkKind = kinds.LinkOf[LinkSettings]{Type: "csta-asn1", Check: checkLink, Build: buildLink}.Kind()

// LinkSettings are the keys of an entry of links, beside those of config.Link.
type LinkSettings struct {
	kinds.Peer
	kinds.Secure
	kinds.Times

	Dialect       string      `yaml:"dialect"`
	Session       kinds.Login `yaml:"session"`
	Notifications string      `yaml:"notifications"` // where an MD110 sends its events to by UDP
}

func checkLink(l *LinkSettings, s *config.Section) {
	l.Peer.Check(s)
	s.OneOf("dialect", l.Dialect, FlavourNames()...)
	if l.Dialect == Phase1.Name && l.Session.User != "" {
		s.Fault("session", "is not for dialect phase1, which knows no login")
	}
	if l.Notifications != "" && l.Dialect != Phase1.Name {
		s.Fault("notifications", "is for type csta-asn1 and dialect phase1 only")
	} else if _, _, err := net.SplitHostPort(l.Notifications); l.Notifications != "" && err != nil {
		s.Fault("notifications", "is not host:port; write for example 0.0.0.0:3333")
	}
	l.Session.Check(s, "session")
	l.Times.Check(s)
	l.Secure.Check(s)
}

func buildLink(l *LinkSettings, env *kinds.Env) (proxy.Link, error) {
	password, secure, err := kinds.Opening(&l.Session, &l.Secure, env.Log)
	if err != nil {
		return nil, err
	}
	flavour, _ := FlavourOf(l.Dialect) // checked
	return NewLink(LinkConfig{
		Addresses: l.Addresses, TLS: secure, Flavour: flavour, Name: l.Session.User, Password: password, Notifications: l.Notifications,
		Heartbeat: l.Heartbeat, Conn: gate.Limits{Timeout: l.Timeout}, Log: share.Quiet(env.Log),
	}), nil
}

// FrontKind is the kind of front for clients that speak CSTA in ASN.1.
var FrontKind = kinds.FrontOf[FrontSettings]{
	Key:      front,
	Defaults: func() *FrontSettings { return &FrontSettings{Bounds: kinds.DefaultBounds} },
	Ways:     config.Listens{Transports: []string{"tcp", "tls"}, Ports: usualPort, Dialect: true, Notify: true},
	Check:    checkFront,
	Build:    func(f *FrontSettings, env *kinds.FrontEnv) (kinds.Front, error) { return &listening{f, env}, nil },
}.Kind()

// FrontSettings are the keys of asn1.
type FrontSettings struct {
	config.Listening
	kinds.Bounds
}

// Warnings are about bounds that others make void.
func (f *FrontSettings) Warnings() []string {
	return config.Bound("asn1.max-connections", f.MaxPeer, f.MaxConnections, kinds.DefaultBounds.MaxPeer)
}

// usualPort is that of a flavour.
func usualPort(l *config.Listener) (port, tlsPort string) {
	if port = Ports[l.Dialect]; port == "" {
		port = Ports[Phase3.Name]
	}
	return port, port
}

func checkFront(f *FrontSettings, s *config.Section) {
	f.Check(s)
	for i, l := range f.Listeners() {
		key := fmt.Sprintf("listen[%d]", i)
		s.OneOf(key+".dialect", l.Dialect, FlavourNames()...)
		if l.Notify != 0 && (l.Dialect != Phase1.Name || l.Notify < 1 || l.Notify > 65535) {
			s.Fault(key+".notify", "is a UDP port, for dialect phase1 only; write for example 3333")
		}
	}
}

// listening is the front: a server for each listener, which has a flavour of its own.
type listening struct {
	settings *FrontSettings
	env      *kinds.FrontEnv
}

// Serve implements kind.Front.
func (f *listening) Serve(ctx context.Context, l *config.Listener, ready func(string)) error {
	flavour, _ := FlavourOf(l.Dialect) // checked
	identify, mode := f.env.Proxy.Peers(front, f.env.Sessions), f.env.Sessions
	if !flavour.acse { // it has no words for a login
		identify, mode = f.env.Proxy.Peers("", proxy.SessionsOff), proxy.SessionsOff
	}
	server := NewServer(ServerConfig{
		Proxy: f.env.Proxy, Flavour: flavour, Identify: identify, Sessions: mode, Notify: l.Notify, Log: f.env.Log, Gate: f.env.Gate(&f.settings.Bounds),
	})
	return kinds.ServeTCP(ctx, l, f.env.Log, ready, server.Serve)
}

// Close implements kind.Front: connections end with Serve.
func (f *listening) Close(context.Context) {}
