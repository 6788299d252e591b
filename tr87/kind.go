package tr87

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/tr87proxy/tr87proxy/internal/config"
	"github.com/tr87proxy/tr87proxy/internal/kind"
	"github.com/tr87proxy/tr87proxy/internal/trace"
	"github.com/tr87proxy/tr87proxy/policy"
	"github.com/tr87proxy/tr87proxy/sip"
)

// FrontKind returns the kind of front that speaks TR/87 to clients. dialects adapt it to
// families of clients.
func FrontKind(dialects ...Dialect) kind.FrontKind {
	names := append(make([]string, 0, 1+len(dialects)), "plain")
	for _, d := range dialects {
		names = append(names, d.Name())
	}
	return kind.FrontOf[FrontSettings]{
		Key: "sip", Defaults: defaults,
		Ways:  config.Listens{Transports: []string{"udp", "tcp", "tls", "dtls"}, Port: "5062", TLSPort: "5063", Dialect: true},
		Check: func(f *FrontSettings, s *config.Section) { f.check(s, names) },
		Build: func(f *FrontSettings, env *kind.FrontEnv) (kind.Front, error) { return newFront(f, env, dialects), nil },
	}.Kind()
}

// FrontSettings holds the keys below sip in the configuration.
type FrontSettings struct {
	config.Listening

	Advertise          string        `yaml:"advertise"`
	SessionExpires     time.Duration `yaml:"session-expires"`
	MinSE              time.Duration `yaml:"min-se"`
	ConnectionGrace    time.Duration `yaml:"connection-grace"`
	EventWait          time.Duration `yaml:"event-wait"`
	T1                 time.Duration `yaml:"t1"`
	AnswerInInfo       bool          `yaml:"answer-in-info"`
	OutsideDialogs     bool          `yaml:"outside-dialogs"`
	MaxDialogs         int           `yaml:"max-dialogs"`
	MaxDialogsPeer     int           `yaml:"max-dialogs-per-peer"`
	MaxConnections     int           `yaml:"max-connections"`
	MaxConnectionsPeer int           `yaml:"max-connections-per-peer"`
	MaxTransactions    int           `yaml:"max-transactions"`
	ShutdownPatience   time.Duration `yaml:"shutdown-patience"`
}

func defaults() *FrontSettings {
	return &FrontSettings{
		Listening:      config.Listening{Listen: []config.Listener{{Transport: "udp", Address: ":5062"}, {Transport: "tcp", Address: ":5062"}}},
		SessionExpires: 30 * time.Minute, MinSE: 90 * time.Second, ConnectionGrace: 32 * time.Second, EventWait: 2 * time.Second,
		T1: 500 * time.Millisecond, MaxDialogs: 20000, MaxDialogsPeer: 5000, MaxConnections: 2000, MaxConnectionsPeer: 500, MaxTransactions: 100000,
		ShutdownPatience: 5 * time.Second,
	}
}

func (f *FrontSettings) check(s *config.Section, dialects []string) {
	for i, l := range f.Listeners() {
		if l.Dialect != "" {
			s.OneOf(fmt.Sprintf("listen[%d].dialect", i), l.Dialect, dialects...)
		}
	}
	if f.MinSE < 90*time.Second {
		s.Fault("min-se", "must be at least 90s (RFC 4028)")
	}
	if f.SessionExpires < f.MinSE {
		s.Fault("session-expires", "must not be shorter than sip.min-se ("+f.MinSE.String()+")")
	}
	s.Longer(map[string]time.Duration{"connection-grace": f.ConnectionGrace, "event-wait": f.EventWait, "t1": f.T1, "shutdown-patience": f.ShutdownPatience})
	s.Positive(map[string]int{
		"max-dialogs": f.MaxDialogs, "max-dialogs-per-peer": f.MaxDialogsPeer, "max-connections": f.MaxConnections, "max-connections-per-peer": f.MaxConnectionsPeer,
		"max-transactions": f.MaxTransactions,
	})
}

// Warnings implements kind.Settings: it names limits that other limits make ineffective.
func (f *FrontSettings) Warnings() []string {
	standard := defaults()
	return append(config.Bound("sip.max-dialogs", f.MaxDialogsPeer, f.MaxDialogs, standard.MaxDialogsPeer),
		config.Bound("sip.max-connections", f.MaxConnectionsPeer, f.MaxConnections, standard.MaxConnectionsPeer)...)
}

// Front is a user agent with its listeners. It implements kind.Front.
type Front struct {
	ua       *sip.UA
	settings *FrontSettings
	env      *kind.FrontEnv

	mu     sync.Mutex
	spoken map[place]string // configured dialects of listeners
}

// place identifies a listener.
type place struct {
	transport string
	port      uint16
}

func newFront(settings *FrontSettings, env *kind.FrontEnv, dialects []Dialect) *Front {
	f := &Front{settings: settings, env: env, spoken: map[place]string{}}
	cfg := env.Config
	server := ServerConfig{
		Proxy: env.Proxy, Trusts: env.Trusts, Sessions: env.Sessions, AnswerInInfo: settings.AnswerInInfo, Log: env.Log, Dialects: dialects, Spoken: f.spokenBy,
	}
	if env.Password != nil {
		server.Digest = sip.NewDigest(cfg.Digest.Realm, algorithms(cfg.Digest.MD5), env.Guard("digest"), env.Password)
	}
	if cfg.Demo {
		server.Anybody = policy.Identity{Name: "demo", How: "demo"}
	}
	if settings.T1 != defaults().T1 {
		sip.SetT1(settings.T1)
	}
	trusts := func(p sip.Peer) bool { return env.Trusts(p.Addr.Addr(), p.Names) }
	handler := NewServer(server)
	var outside map[string]func(*sip.Request)
	if settings.OutsideDialogs {
		outside = map[string]func(*sip.Request){"INFO": handler.Outside, "NOTIFY": handler.Outside}
	}
	f.ua = sip.New(sip.Config{
		NameKinds: cfg.Names, Admits: env.Admits, MaxConnectionsPerPeer: settings.MaxConnectionsPeer,
		Handler: handler, Requests: outside, UserAgent: "tr87proxy", Keys: "sip", Advertise: settings.Advertise, Log: env.Log,
		Accepts:        []string{ContentType},
		SessionExpires: settings.SessionExpires, MinSE: settings.MinSE, Grace: settings.ConnectionGrace, EventWait: settings.EventWait,
		MaxDialogs: settings.MaxDialogs, MaxDialogsPerPeer: settings.MaxDialogsPeer, MaxConnections: settings.MaxConnections, MaxTransactions: settings.MaxTransactions,
		Trace:  kind.TraceSIP(env.Octets.Tap(trace.Client, "sip", "")),
		Trusts: trusts, Known: func(p sip.Peer) bool { return cfg.Demo || trusts(p) },
	})
	return f
}

// algorithms returns the digest algorithms to offer, SHA-256 first.
func algorithms(md5 bool) []string {
	if md5 {
		return []string{sip.SHA256, sip.MD5}
	}
	return []string{sip.SHA256}
}

// UA returns the user agent of all listeners.
func (f *Front) UA() *sip.UA { return f.ua }

// Serve implements kind.Front.
func (f *Front) Serve(ctx context.Context, l *config.Listener, ready func(string)) error {
	at := place{transport: l.Transport}
	if configured, err := netip.ParseAddrPort(l.Address); err == nil { // set before the first client can connect
		at.port = configured.Port()
		f.speak(at, l.Dialect)
	}
	defer func() { f.speak(at, "") }()
	return kind.ServeSIP(ctx, f.ua, l, f.env.Log, f.settings.ShutdownPatience, func(address netip.AddrPort) {
		at.port = address.Port()
		f.speak(at, l.Dialect)
		ready(address.String())
	})
}

// speak sets the dialect of a listener; "" lets the client's messages decide.
func (f *Front) speak(at place, dialect string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if dialect == "" {
		delete(f.spoken, at)
	} else {
		f.spoken[at] = dialect
	}
}

// spokenBy returns the dialect of the listener a peer connected to, or "".
func (f *Front) spokenBy(p sip.Peer) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.spoken[placeOf(p)]
}

func placeOf(p sip.Peer) place {
	transport, _, _ := strings.Cut(strings.ToLower(p.Transport), "-")
	return place{transport, p.Local.Port()}
}

// Close implements kind.Front.
func (f *Front) Close(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, f.settings.ShutdownPatience)
	defer cancel()
	f.ua.Shutdown(ctx)
}
