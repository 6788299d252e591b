package api

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/tr87proxy/tr87proxy/internal/config"
	"github.com/tr87proxy/tr87proxy/internal/eventlog"
	"github.com/tr87proxy/tr87proxy/internal/kind"
	"github.com/tr87proxy/tr87proxy/internal/webhook"
)

// name is the name of this front in the configuration, in rules, in the log and in the audit file.
const name = "api"

// Kind is the kind of front for programs that speak HTTP.
var Kind = kind.FrontOf[Settings]{
	Key: name,
	Defaults: func() *Settings {
		return &Settings{Bounds: kind.DefaultBounds, RequestTimeout: 30 * time.Second, Events: defaultEvents}
	},
	Ways:  config.Listens{Transports: []string{"tcp", "tls"}, Port: "8880", TLSPort: "8843", NoLogin: true},
	Check: (*Settings).check,
	Build: build,
}.Kind()

// Settings are the settings under the key api.
type Settings struct {
	config.Listening
	kind.Bounds
	Identification

	Events  Events       `yaml:"events"`
	Connect []Connection `yaml:"connect"`

	Webhooks []webhook.Hook `yaml:"webhooks"`

	SOAP SOAP `yaml:"soap"`

	RequestTimeout time.Duration `yaml:"request-timeout"` // for the response of a switch
}

func (f *Settings) check(s *config.Section) {
	f.Bounds.Check(s)
	f.Identification.Check(s)
	f.Events.Check(s)
	for i := range f.Connect {
		f.Connect[i].check(fmt.Sprintf("connect[%d]", i), s)
	}
	checkHooks(f.Webhooks, s)
	s.Longer(map[string]time.Duration{"request-timeout": f.RequestTimeout})
}

// Warnings reports a bound that another one makes ineffective, files that cannot be used, and listeners on which others
// could read passwords and tokens.
func (f *Settings) Warnings() []string {
	list := config.Bound(name+".max-connections", f.MaxPeer, f.MaxConnections, kind.DefaultBounds.MaxPeer)
	list = append(list, config.Overheard(name+".listen", f.Listen, "read passwords and tokens")...)
	list = append(list, config.NoFolder(name+".events.file", f.Events.File)...)
	for i, c := range f.Connect {
		if _, err := kind.Secret("", c.TokenFile); err != nil {
			list = append(list, fmt.Sprintf("%s.connect[%d].token-file: %v; the proxy cannot connect to the application without it", name, i, err))
		}
	}
	return list
}

// front is a kind.Front: one server for all of its listeners.
type front struct{ server *Server }

func build(f *Settings, env *kind.FrontEnv) (kind.Front, error) {
	s, err := NewServer(f, env)
	if err != nil {
		return nil, err
	}
	return &front{s}, nil
}

// Serve implements kind.Front.
func (f *front) Serve(ctx context.Context, l *config.Listener, ready func(string)) error {
	return kind.ServeHTTP(ctx, l, f.server.log, 5*time.Second, f.server.settings.Bounds, ready, f.server)
}

// ServeVisitor serves a request of a client that another front has identified.
func (f *front) ServeVisitor(w http.ResponseWriter, r *http.Request, v *kind.Visitor) {
	f.server.ServeVisitor(w, r, v)
}

// Start implements kind.Starter.
func (f *front) Start() error { return f.server.Start() }

// EventLog returns the log of events, for metrics.
func (f *front) EventLog() *eventlog.Log { return f.server.events.kept }

// Sender returns what delivers to webhooks, for metrics and administrators. Call it after Start.
func (f *front) Sender() *webhook.Sender { return f.server.webhooks.Sender }

// Applications returns how the connections to applications are doing, in the order of the configuration.
func (f *front) Applications() []Application {
	list := make([]Application, 0, len(f.server.outbounds))
	for _, o := range f.server.outbounds {
		list = append(list, *o.state.Load())
	}
	return list
}

// RemoveWebhook removes a webhook of a client. Its error is [webhook.ErrNone], or one of the event log.
func (f *front) RemoveWebhook(owner, name string) error { return f.server.webhooks.remove(owner, name) }

// Close implements kind.Front.
func (f *front) Close(context.Context) { f.server.Close() }
