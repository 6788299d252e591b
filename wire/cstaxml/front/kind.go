package front

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"slices"

	"github.com/tr87proxy/tr87proxy/internal/config"
	"github.com/tr87proxy/tr87proxy/internal/kind"
	"github.com/tr87proxy/tr87proxy/uacsta"
	soap "github.com/tr87proxy/tr87proxy/wire/soap/front"
)

// Kind is the kind of front for clients that speak CSTA-XML.
var Kind = kind.FrontOf[Settings]{
	Key: name,
	Defaults: func() *Settings {
		return &Settings{Bounds: kind.DefaultBounds, Protocols: slices.Clone(protocols)}
	},
	Ways:  config.Listens{Transports: []string{"tcp", "tls"}, Ports: usualPort, Dialect: true, Originate: true},
	Check: (*Settings).check,
	Build: build,
}.Kind()

// Settings are the settings under the key xml.
type Settings struct {
	config.Listening
	kind.Bounds

	Protocols []string      `yaml:"protocols"` // that the listeners serve: the first octets tell which one a client speaks
	Origins   kind.Origins  `yaml:"origins"`   // of pages that may open WebSockets, beside the proxy's own
	SOAP      soap.Settings `yaml:"soap"`
}

// The protocols.
const (
	protocolFrames = "csta-xml"
	protocolSOAP   = "soap"
	protocolSocket = "websocket"
)

var protocols = []string{protocolFrames, protocolSOAP, protocolSocket}

func (f *Settings) check(s *config.Section) {
	f.Check(s)
	f.SOAP.Check("soap", s)
	f.Origins.Check("origins", s)
	for i, p := range f.Protocols {
		if !slices.Contains(protocols, p) || slices.Contains(f.Protocols[:i], p) {
			s.Fault(fmt.Sprintf("protocols[%d]", i), "must be csta-xml, soap or websocket, and there once only")
		}
	}
	if len(f.Protocols) == 0 {
		s.Fault("protocols", "must have one of csta-xml, soap and websocket")
	}
	for i, l := range f.Listeners() {
		key := fmt.Sprintf("listen[%d]", i)
		if l.Dialect != "" {
			s.OneOf(key+".dialect", l.Dialect, DialectNames()...)
		}
		if l.Originate != "" {
			s.OneOf(key+".auto-originate", l.Originate, string(uacsta.Prompt), string(uacsta.DoNotPrompt))
		}
		if dialects[l.Dialect].Greets && !f.has(protocolFrames) {
			s.Fault(key+".dialect", "greets its clients, which needs csta-xml in protocols")
		}
	}
}

// usualPort returns the usual ports of a listener's dialect. check reports an unknown one.
func usualPort(l *config.Listener) (port, tlsPort string) {
	d, known := dialects[l.Dialect]
	if !known {
		d = dialects["plain"]
	}
	return d.Port, d.TLSPort
}

// Warnings reports keys that others make ineffective.
func (f *Settings) Warnings() []string {
	list := config.Bound(name+".max-connections", f.MaxPeer, f.MaxConnections, kind.DefaultBounds.MaxPeer)
	if len(f.Origins) > 0 && !f.has(protocolSocket) {
		list = append(list, name+".origins: has no effect, since protocols has no websocket")
	}
	return list
}

// listening is a kind.Front: one server for all of its listeners.
type listening struct {
	server *Server
	soap   *soap.Server // nil: none
	log    *slog.Logger
}

// has reports whether the listeners serve a protocol.
func (f *Settings) has(protocol string) bool { return slices.Contains(f.Protocols, protocol) }

func build(f *Settings, env *kind.FrontEnv) (kind.Front, error) {
	l := &listening{server: New(env.Access(name, &f.Bounds)), log: env.Log}
	l.server.frames = f.has(protocolFrames)
	if f.has(protocolSOAP) || f.has(protocolSocket) {
		l.server.http = overHTTP{web: kind.NewWeb(env.Log), sockets: f.has(protocolSocket), door: soap.NewDoor(name, name, f.SOAP.Plain, env), origins: f.Origins}
	}
	if f.has(protocolSOAP) {
		l.soap = soap.Build(&f.SOAP, name, env)
		l.server.http.soap = l.soap
	}
	return l, nil
}

// Serve implements kind.Front.
func (f *listening) Serve(ctx context.Context, l *config.Listener, ready func(string)) error {
	dialect := dialectOf(l.Dialect, uacsta.AutoOriginate(l.Originate))
	return kind.ServeTCP(ctx, l, f.log, ready, func(ctx context.Context, l net.Listener) error { return f.server.ServeDialect(ctx, l, dialect) })
}

// Close implements kind.Front. Serve closes the connections of clients of CSTA-XML.
func (f *listening) Close(ctx context.Context) {
	if f.soap != nil {
		f.soap.Close()
	}
	if f.server.http.web != nil {
		f.server.http.web.Shutdown(ctx)
	}
}
