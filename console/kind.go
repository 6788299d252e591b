package console

import (
	"context"
	"net/http"
	"time"

	"github.com/tr87proxy/tr87proxy/internal/audit"
	"github.com/tr87proxy/tr87proxy/internal/config"
	"github.com/tr87proxy/tr87proxy/internal/kind"
	"github.com/tr87proxy/tr87proxy/internal/share"
)

// name is the name of this front in the configuration, in rules, in the log and in the audit file.
const name = "console"

// Kind is the kind of front for administrators with a browser.
var Kind = kind.FrontOf[Settings]{
	Key: name,
	Defaults: func() *Settings {
		return &Settings{Bounds: kind.Bounds{MaxConnections: 500, MaxPeer: 100}, Idle: 30 * time.Minute, MaxDuration: 12 * time.Hour}
	},
	Ways:  config.Listens{Transports: []string{"tcp", "tls"}, Port: "8870", TLSPort: "8873", NoLogin: true},
	Check: (*Settings).check,
	Build: func(s *Settings, env *kind.FrontEnv) (kind.Front, error) { return newConsole(s, env), nil },
}.Kind()

// Settings are the settings under the key console.
type Settings struct {
	config.Listening
	kind.Bounds

	Hosts       kind.Hosts    `yaml:"hosts"`        // names of the proxy in the addresses that browsers show
	Idle        time.Duration `yaml:"idle"`         // after which a login ends if nobody touches its page
	MaxDuration time.Duration `yaml:"max-duration"` // of a login
}

func (s *Settings) check(section *config.Section) {
	s.Check(section)
	s.Hosts.Check("hosts", section)
	section.Longer(map[string]time.Duration{"idle": s.Idle, "max-duration": s.MaxDuration})
}

// Warnings reports a bound that another one makes ineffective, and listeners on which others could read passwords.
func (s *Settings) Warnings() []string {
	list := config.Bound(name+".max-connections", s.MaxPeer, s.MaxConnections, 100)
	list = append(list, config.Overheard(name+".listen", s.Listen, "read passwords and take over logins of administrators")...)
	return list
}

// Parts are what a console shows, from the rest of the proxy.
type Parts struct {
	Version string
	Demo    bool         // it is a demonstration or simulation, with telephones to lift and dial
	Admin   http.Handler // the requests of administrators, without /admin
	// API serves a request of a client that has logged in at the console.
	API   func(w http.ResponseWriter, r *http.Request, v *kind.Visitor)
	Audit *audit.Log // nil: no audit file
}

// Console is the front.
type Console struct {
	settings *Settings
	env      *kind.FrontEnv
	callers  *kind.Callers
	logins   *logins
	guesses  *share.Rates // wrong tokens
	parts    Parts
	handler  http.Handler
}

func newConsole(s *Settings, env *kind.FrontEnv) *Console {
	c := &Console{settings: s, env: env, callers: kind.NewCallers(env, name, name), logins: newLogins(), guesses: share.NewRates(1/guessTime.Seconds(), guessBurst, guessPeers)}
	c.handler = c.safe(c.routes())
	return c
}

// Attach gives the console what it shows. Call it once, before Serve.
func (c *Console) Attach(p Parts) { c.parts = p }

// Serve implements kind.Front.
func (c *Console) Serve(ctx context.Context, l *config.Listener, ready func(string)) error {
	return kind.ServeHTTP(ctx, l, c.env.Log, 5*time.Second, c.settings.Bounds, ready, c)
}

// Close implements kind.Front: it ends all logins.
func (c *Console) Close(context.Context) { c.logins.close() }

// ServeHTTP implements http.Handler.
func (c *Console) ServeHTTP(w http.ResponseWriter, r *http.Request) { c.handler.ServeHTTP(w, r) }
