package cstaxml

import (
	"context"
	"log/slog"
	"time"

	"github.com/tr87proxy/tr87proxy/internal/config"
	"github.com/tr87proxy/tr87proxy/internal/gate"
	"github.com/tr87proxy/tr87proxy/internal/kind"
	"github.com/tr87proxy/tr87proxy/internal/share"
	"github.com/tr87proxy/tr87proxy/proxy"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

// LinkKind is the kind of links to what speaks CSTA-XML.
var LinkKind = kind.LinkOf[LinkSettings]{Type: "csta-xml", Check: checkLink, Build: buildLink}.Kind()

// LinkSettings are the keys of an entry of links, beside those of config.Link.
type LinkSettings struct {
	kind.Peer
	kind.Secure
	kind.Times

	Dialect string `yaml:"dialect"`
	Edition int    `yaml:"edition"`
	Session struct {
		kind.Login

		Application string        `yaml:"application"`
		Duration    time.Duration `yaml:"duration"`
		Switch      string        `yaml:"switch"`
	} `yaml:"session"`
}

func checkLink(l *LinkSettings, s *config.Section) {
	l.Peer.Check(s)
	if l.Edition != 0 && (l.Edition < 2 || l.Edition > 9) {
		s.Fault("edition", "must be 2 to 9")
	}
	if l.Dialect != "" {
		s.OneOf("dialect", l.Dialect, DialectNames()...)
	}
	l.Session.Check(s, "session")
	l.Times.Check(s)
	s.NotNegative(map[string]time.Duration{"session.duration": l.Session.Duration})
	l.Secure.Check(s)
}

func buildLink(l *LinkSettings, env *kind.Env) (proxy.Link, error) {
	password, secure, err := kind.Opening(&l.Session.Login, &l.Secure, env.Log)
	if err != nil {
		return nil, err
	}
	dialect, _ := DialectOf(l.Dialect) // checked; the plain one where nothing is said
	return NewLink(LinkConfig{
		Addresses: l.Addresses, TLS: secure, Dialect: dialect, Edition: uacsta.Edition(l.Edition), Heartbeat: l.Heartbeat,
		Session: Session{
			Application: l.Session.Application, Login: uacsta.Login{User: l.Session.User, Password: password},
			Duration: l.Session.Duration, Switch: l.Session.Switch,
		},
		Conn: gate.Limits{Timeout: l.Timeout}, Log: share.Quiet(env.Log),
	}), nil
}

// FrontKind is the kind of front for clients that speak CSTA-XML.
var FrontKind = kind.FrontOf[FrontSettings]{
	Key:      "xml",
	Defaults: func() *FrontSettings { return &FrontSettings{Bounds: kind.DefaultBounds} },
	Ways:     config.Listens{Transports: []string{"tcp", "tls"}, Port: "8882", TLSPort: "8883"},
	Check:    func(f *FrontSettings, s *config.Section) { f.Check(s) },
	Build:    buildFront,
}.Kind()

// FrontSettings are the keys of xml.
type FrontSettings struct {
	config.Listening
	kind.Bounds
}

// Warnings are about bounds that others make void.
func (f *FrontSettings) Warnings() []string {
	return config.Bound("xml.max-connections", f.MaxPeer, f.MaxConnections, kind.DefaultBounds.MaxPeer)
}

// front is a server on as many listeners as there are.
type front struct {
	server *Server
	log    *slog.Logger
}

func buildFront(f *FrontSettings, env *kind.FrontEnv) (kind.Front, error) {
	return &front{log: env.Log, server: NewServer(ServerConfig{
		Proxy: env.Proxy, Identify: env.Proxy.Peers("xml", env.Sessions), Sessions: env.Sessions, Log: env.Log, Gate: env.Gate(&f.Bounds),
	})}, nil
}

// Serve implements kind.Front.
func (f *front) Serve(ctx context.Context, l *config.Listener, ready func(string)) error {
	return kind.ServeTCP(ctx, l, f.log, ready, f.server.Serve)
}

// Close implements kind.Front: connections end with Serve.
func (f *front) Close(context.Context) {}
