// Package daemon runs the proxy: it builds links, fronts and the built-in switch from a configuration, serves
// listeners, applies reloads, and reports its state. It decides nothing about calls, and knows no command line.
package daemon

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/signal"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/tr87proxy/tr87proxy/internal/accounts"
	"github.com/tr87proxy/tr87proxy/internal/audit"
	"github.com/tr87proxy/tr87proxy/internal/config"
	"github.com/tr87proxy/tr87proxy/internal/directory"
	"github.com/tr87proxy/tr87proxy/internal/eventlog"
	"github.com/tr87proxy/tr87proxy/internal/gate"
	"github.com/tr87proxy/tr87proxy/internal/hep"
	"github.com/tr87proxy/tr87proxy/internal/kind"
	"github.com/tr87proxy/tr87proxy/internal/operations"
	"github.com/tr87proxy/tr87proxy/internal/share"
	"github.com/tr87proxy/tr87proxy/internal/tokens"
	"github.com/tr87proxy/tr87proxy/internal/trace"
	"github.com/tr87proxy/tr87proxy/internal/webhook"
	"github.com/tr87proxy/tr87proxy/policy"
	"github.com/tr87proxy/tr87proxy/proxy"
	"github.com/tr87proxy/tr87proxy/sip"
	"github.com/tr87proxy/tr87proxy/softswitch"
	"github.com/tr87proxy/tr87proxy/softswitch/phones"
)

func logger(cfg config.Log, level *slog.LevelVar, w io.Writer) *slog.Logger {
	_ = level.UnmarshalText([]byte(cfg.Level)) // checked by config
	options := &slog.HandlerOptions{Level: level}
	if cfg.Format == "json" {
		return slog.New(slog.NewJSONHandler(w, options))
	}
	return slog.New(slog.NewTextHandler(w, options))
}

// Node is one running proxy with all its parts.
type Node struct {
	file    string // of the configuration
	version string
	demo    bool
	play    bool // administrators lift and dial virtual telephones
	started time.Time
	log     *slog.Logger
	level   *slog.LevelVar
	core    *proxy.Proxy
	trace   *trace.Trace  // nil: none
	octets  *trace.Trace  // what passes over the wire; nil: nobody wants it
	homer   *hep.Exporter // nil: none
	traced  *trace.File   // nil: none
	fronts  []kind.Front  // in the order of frontKinds
	sw      *softswitch.Switch
	phones  *phones.Server        // nil: no real telephones
	links   map[string]proxy.Link // running links by name; guarded by reloading once the proxy runs
	// strangers limits the memory of connections that are neither trusted nor authenticated.
	strangers *gate.Strangers
	rules     atomic.Pointer[policy.Policy]
	numbers   atomic.Pointer[policy.Numbers]
	users     atomic.Pointer[map[string]string] // passwords of digest users
	digest    bool                              // there were digest users at the start, so clients are asked for a password
	// linkConfigs has the entries of links in the current configuration.
	linkConfigs atomic.Pointer[[]config.Link]
	// listening is called with each address once its listener is open.
	listening func(transport, address string)

	reloading sync.Mutex
	cfg       *config.Config // the current configuration; guarded by reloading once the proxy runs

	running context.Context //nolint:containedctx // context of the servers, set before they start
	failed  func(error)     // stops the proxy with an error

	audit     *audit.Log           // nil: none
	tally     *audit.Tally         // nil: none
	directory *directory.Directory // nil: none
	keeper    *accounts.Keeper     // nil: no accounts
	tokens    *tokens.Keeper       // nil: no tokens
	guards    guards               // guards against guessing passwords
	serversMu sync.Mutex
	servers   []*server
	live      map[string]any // live settings of links by name (kind.Link.Live); guarded by reloading once the proxy runs

	history history // results of reloads
}

// Options are the options of [New].
type Options struct {
	File      string                          // the file that reloads read; "" for no reloads
	Version   string                          // for [Status]
	Play      bool                            // administrators may lift and dial virtual telephones
	Log       io.Writer                       // nil: no log
	Listening func(transport, address string) // called with each address once its listener is open; can be nil
}

// New builds the parts of a proxy from its configuration. Nothing listens yet; call [Node.Run], which also closes what
// New has opened.
func New(cfg *config.Config, o Options) (*Node, error) { return assemble(cfg, o, false) }

// assemble implements New. With readOnly it opens no file for writing; [Check] and [Decide] use that.
func assemble(cfg *config.Config, o Options, readOnly bool) (*Node, error) {
	n := &Node{cfg: cfg, file: o.File, version: o.Version, demo: cfg.Demo, play: o.Play, level: &slog.LevelVar{}, started: time.Now()}
	n.history.note(nil)
	if o.Log == nil {
		o.Log = io.Discard
	}
	log := logger(cfg.Log, n.level, o.Log)
	n.log = log
	n.guards.locked = n.noteLock
	n.listening = func(transport, address string) {
		log.Info("listening", "transport", transport, "address", address)
		if o.Listening != nil {
			o.Listening(transport, address)
		}
	}
	n.trace = trace.New(trace.Limits{Records: cfg.Trace.Records, Octets: cfg.Trace.MaxMiB << 20}, proxy.Explain)
	n.octets = trace.New(trace.Limits{Records: cfg.Trace.Records, Octets: cfg.Trace.OctetsMiB << 20, Message: 64 << 10}, nil)
	homer, err := n.exporter(cfg)
	if err != nil {
		return nil, err
	}
	n.homer = homer
	devices, err := switchConfig(&cfg.Switch)
	if err != nil {
		return nil, err
	}
	if n.sw, err = softswitch.New(devices); err != nil {
		return nil, err
	}
	if n.phones, err = n.telephones(cfg, readOnly); err != nil {
		return nil, err
	}
	checks, err := n.accounts()
	if err != nil {
		return nil, err
	}
	if n.tokens, err = n.openTokens(); err != nil {
		return nil, err
	}
	if n.directory, err = n.openDirectory(cfg.Lines.LDAP); err != nil {
		return nil, err
	}
	rules, numbers, err := n.policyOf(cfg)
	if err != nil {
		return nil, err
	}
	n.rules.Store(rules)
	n.numbers.Store(numbers)
	users, err := passwords(cfg)
	if err != nil {
		return nil, err
	}
	n.users.Store(&users)
	n.digest = len(users) > 0
	n.core = proxy.New(proxy.Config{Policy: rules, Numbers: numbers, Secrets: secrets(users), Modes: modesOf(cfg), Log: log, Accounts: checks, Limits: limitsOf(cfg), Trace: n.trace})
	links, err := n.linksOf(cfg, &config.Config{})
	if err != nil {
		return nil, err
	}
	n.core.SetLinks(links)
	n.noteLinks(links)
	n.linkConfigs.Store(&cfg.Links)
	if n.live, err = n.liveSettings(cfg); err != nil {
		return nil, err
	}
	n.strangers = gate.NewStrangers(cfg.Limits.StrangersMiB << 20)
	for _, k := range frontKinds {
		front, err := k.Build(cfg.Front(k.Name()), n.frontEnv(cfg, k.Name()))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", k.Name(), err)
		}
		n.fronts = append(n.fronts, front)
	}
	n.servers = n.listeners(cfg)
	for _, s := range n.servers {
		if err := s.certify(); err != nil {
			return nil, atKey(cfg, s.key, err)
		}
	}
	return n, nil
}

// admits reports whether the configuration lets an address connect.
func (n *Node) admits(addr netip.Addr) bool { return n.rules.Load().Admits(addr) }

func passwords(cfg *config.Config) (map[string]string, error) {
	users := map[string]string{}
	for i, u := range cfg.Digest.Users {
		password, err := kind.Secret(u.Password, u.PasswordFile)
		if err != nil {
			return nil, atKey(cfg, fmt.Sprintf("digest.users[%d].password-file", i), err)
		}
		users[u.Name] = password
	}
	return users, nil
}

// limitsOf returns the limits of the core.
func limitsOf(cfg *config.Config) proxy.Limits {
	return proxy.Limits{
		Sessions: proxy.ApplicationSessions{
			Duration: cfg.Sessions.Duration, MaxDuration: cfg.Sessions.MaxDuration, Max: cfg.Sessions.Max, MaxAccount: cfg.Sessions.MaxPerAccount,
			Tries: cfg.Sessions.Tries, LoginTime: cfg.Sessions.LoginTime,
		},
		MaxIdentity: cfg.Limits.SessionsPerIdentity, MaxWatches: cfg.Limits.MonitorsPerIdentity, MaxRequests: policy.Rate{Count: cfg.Limits.RequestsPerSecond, Per: time.Second},
		MaxCalls:    policy.Rate{Count: cfg.Limits.CallsPerMinute, Per: time.Minute},
		MaxSessions: cfg.Limits.Sessions, MaxMonitors: cfg.Limits.MonitorsPerSession, MaxOutstanding: cfg.Limits.RequestsOutstanding, QueueLength: cfg.Limits.Queue,
		QueueOctets: cfg.Limits.QueueMiB << 20, QueuesOctets: cfg.Limits.QueuesMiB << 20,
		Heartbeat: cfg.Heartbeat, Linger: cfg.Linger,
	}
}

// modesOf returns the session mode of each front.
func modesOf(cfg *config.Config) map[string]proxy.SessionMode {
	list := map[string]proxy.SessionMode{}
	for front, mode := range cfg.Sessions.Modes {
		list[front] = modes[mode]
	}
	return list
}

// Run serves until ctx ends, then closes every session, those over SIP with BYE. It reloads the configuration at SIGHUP.
// Call it once.
func (n *Node) Run(ctx context.Context) error {
	for _, warning := range Warnings(n.cfg) {
		if n.file != "" {
			n.log.Warn("configuration", "file", n.file, "warning", warning)
		}
	}
	var ready atomic.Bool
	running, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	failed := make(chan error, 1)
	n.running, n.failed = running, func(err error) {
		select {
		case failed <- err:
		default: // an earlier failure stops the proxy already
		}
	}
	if err := n.openTraced(); err != nil {
		return err
	}
	if err := n.openAudit(); err != nil {
		n.traced.Close()
		return err
	}
	var group sync.WaitGroup
	group.Go(func() { n.core.Run(running) })
	if err := n.startFronts(); err != nil {
		n.abandon(stop, &group)
		return err
	}
	if err := n.serveOperators(running, &group, ready.Load); err != nil {
		n.abandon(stop, &group)
		return err
	}
	if err := n.core.Await(ctx, "switch"); err != nil { // clients that connect now find it up
		n.abandon(stop, &group)
		return nil
	}
	if err := n.startServers(); err != nil {
		n.abandon(stop, &group)
		return err
	}
	if n.phones != nil { // after the listeners: it contacts telephones that registered before a restart from the ports that they know
		group.Go(func() { n.phones.Run(running) })
	}
	ready.Store(true)
	n.log.Info("ready")
	var err error
	select {
	case <-ctx.Done():
	case err = <-failed:
	}
	ready.Store(false)
	n.log.Info("shutting down")
	n.closeFronts(running)
	stop()
	group.Wait()
	n.endServers()
	n.traced.Close()
	err = errors.Join(err, n.closeAudit())
	n.log.Info("stopped")
	return err
}

// openTraced opens the file of the trace, if one is configured.
func (n *Node) openTraced() error {
	c := n.cfg.Trace
	if c.File == "" {
		return nil
	}
	file, err := trace.OpenFile(trace.FileConfig{Path: c.File, Size: int64(c.FileMiB) << 20, Keep: c.Keep, Trace: n.trace, Log: n.log})
	if err != nil {
		return atKey(n.cfg, "trace.file", err)
	}
	n.traced = file
	return nil
}

// startServers opens every listener, except those that a reload has opened already.
func (n *Node) startServers() error {
	n.serversMu.Lock()
	defer n.serversMu.Unlock()
	for _, s := range n.servers {
		if err := s.start(n.running); err != nil && !errors.Is(err, errServes) {
			return err
		}
	}
	return nil
}

// serveOperators serves metrics, health checks and the admin socket until ctx ends.
func (n *Node) serveOperators(ctx context.Context, group *sync.WaitGroup, ready func() bool) error {
	cfg := n.cfg // before the first reload
	serve := func(run func(context.Context, net.Listener) error, l net.Listener) {
		group.Go(func() {
			if err := run(ctx, l); err != nil {
				n.failed(err)
			}
		})
	}
	if cfg.Operations.Address != "" {
		l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", cfg.Operations.Address)
		if err != nil {
			return fmt.Errorf("operations.address: %w", err)
		}
		n.listening("operations", l.Addr().String())
		operations := &operations.Operations{Proxy: n.core, Strangers: n.strangers, Pprof: cfg.Operations.Pprof, Ready: ready, Certificates: n.certificates, Guards: n.guards.all, Audit: n.audit, Tally: n.tally, Reloads: n.history.counts}
		if n.homer != nil {
			operations.HomerLost = n.homer.Lost
		}
		if n.traced != nil {
			operations.TraceLost = n.traced.Lost
		}
		for _, f := range n.fronts {
			if f, ok := f.(interface{ UA() *sip.UA }); ok {
				operations.UA = f.UA()
			}
			if f, ok := f.(interface {
				EventLog() *eventlog.Log
				Sender() *webhook.Sender
			}); ok {
				operations.Events, operations.Webhooks = f.EventLog(), f.Sender().All
			}
		}
		if n.phones != nil {
			operations.Telephones, operations.TelephonesUA = n.phones.Counts, n.phones.UA()
		}
		serve(operations.Run, l)
	}
	if cfg.Admin.Socket != "" {
		mode, _ := strconv.ParseUint(cfg.Admin.Mode, 8, 32) // checked by config
		l, err := operations.ListenAdmin(ctx, cfg.Admin.Socket, os.FileMode(mode))
		if err != nil {
			return fmt.Errorf("admin.socket: %w", err)
		}
		serve(n.admin("admin socket").Run, l)
	}
	if n.file != "" {
		hangUps := make(chan os.Signal, 1)
		signal.Notify(hangUps, syscall.SIGHUP)
		group.Go(func() {
			defer signal.Stop(hangUps)
			n.onHangUp(ctx, hangUps)
		})
	}
	if n.traced != nil {
		group.Go(func() {
			defer share.Survive(n.log, "writing the trace", nil)
			n.traced.Run(ctx)
		})
	}
	if n.homer != nil {
		group.Go(func() {
			defer share.Survive(n.log, "exporting to Homer", nil)
			n.homer.Run(ctx)
		})
	}
	if n.directory != nil {
		group.Go(func() { n.directory.Run(ctx) })
	}
	if n.keeper != nil {
		group.Go(func() { n.keeper.Watch(ctx, n.core.Recheck) })
	}
	if n.tokens != nil {
		group.Go(func() { n.tokens.Watch(ctx, n.core.Recheck) })
	}
	group.Go(func() { n.watchCertificates(ctx) })
	if cfg.Log.StatusInterval > 0 {
		group.Go(func() { n.dump(ctx, cfg.Log.StatusInterval) })
	}
	return nil
}

// Await waits until the built-in switch is up, or ctx ends.
func (n *Node) Await(ctx context.Context) error { return n.core.Await(ctx, "switch") }

// Switch returns the built-in switch.
func (n *Node) Switch() *softswitch.Switch { return n.sw }

// discard closes a node that does not run.
func (n *Node) discard() {
	expired, cancel := context.WithCancel(context.Background())
	cancel()
	for _, f := range n.fronts {
		f.Close(expired)
	}
	if n.phones != nil {
		n.phones.Close()
	}
}

// abandon closes everything after a failed start.
func (n *Node) abandon(stop func(), group *sync.WaitGroup) {
	n.discard()
	stop()
	group.Wait()
	n.endServers()
	n.traced.Close()
	_ = n.closeAudit() // the error is logged
}

// endServers waits until every listener is closed. Their context must have ended.
func (n *Node) endServers() {
	n.serversMu.Lock()
	defer n.serversMu.Unlock()
	for _, s := range n.servers {
		_ = s.end(nil) // it may have been stopped already
	}
}

// trusts reports whether the configuration lists a peer in trusted.
func (n *Node) trusts(addr netip.Addr, names []string) bool {
	return n.rules.Load().Trusts(addr, names)
}
