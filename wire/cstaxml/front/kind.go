package front

import (
	"context"
	"log/slog"

	"github.com/tr87proxy/tr87proxy/internal/config"
	"github.com/tr87proxy/tr87proxy/internal/kind"
)

// Kind is the kind of front for clients that speak CSTA-XML.
var Kind = kind.FrontOf[Settings]{
	Key:      name,
	Defaults: func() *Settings { return &Settings{Bounds: kind.DefaultBounds} },
	Ways:     config.Listens{Transports: []string{"tcp", "tls"}, Port: "8882", TLSPort: "8883"},
	Check:    func(f *Settings, s *config.Section) { f.Check(s) },
	Build:    build,
}.Kind()

// Settings are the settings under the key xml.
type Settings struct {
	config.Listening
	kind.Bounds
}

// Warnings reports a bound that another one makes ineffective.
func (f *Settings) Warnings() []string {
	return config.Bound(name+".max-connections", f.MaxPeer, f.MaxConnections, kind.DefaultBounds.MaxPeer)
}

// listening is a kind.Front: one server for all of its listeners.
type listening struct {
	server *Server
	log    *slog.Logger
}

func build(f *Settings, env *kind.FrontEnv) (kind.Front, error) {
	return &listening{New(env.Access(name, &f.Bounds)), env.Log}, nil
}

// Serve implements kind.Front.
func (f *listening) Serve(ctx context.Context, l *config.Listener, ready func(string)) error {
	return kind.ServeTCP(ctx, l, f.log, ready, f.server.Serve)
}

// Close implements kind.Front. Serve has closed the connections.
func (*listening) Close(context.Context) {}
