package main

import (
	"context"
	cryptotls "crypto/tls"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/spf13/cobra"

	"github.com/tr87proxy/tr87proxy/config"
	"github.com/tr87proxy/tr87proxy/cstaxml"
	"github.com/tr87proxy/tr87proxy/policy"
	"github.com/tr87proxy/tr87proxy/proxy"
	"github.com/tr87proxy/tr87proxy/sip"
	"github.com/tr87proxy/tr87proxy/softswitch"
	"github.com/tr87proxy/tr87proxy/tls"
	"github.com/tr87proxy/tr87proxy/tr87"
	"github.com/tr87proxy/tr87proxy/web"
)

func serveCommand() *cobra.Command {
	var file string
	cmd := &cobra.Command{
		Use: "serve", Short: "Run the proxy", GroupID: "server", Args: exactly(0),
		Long: `serve runs the proxy until it gets SIGTERM or SIGINT; it then says goodbye to every
client and stops.`,
		Example: `  tr87proxy serve -c /etc/tr87proxy/config.yaml`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := config.Load(file)
			if err != nil {
				return usageError{err}
			}
			n, err := assemble(cfg, logger(cfg.Log, cmd.ErrOrStderr()))
			if err != nil {
				return usageError{err}
			}
			return n.run(cmd.Context())
		},
	}
	configFlag(cmd, &file)
	return cmd
}

func logger(cfg config.Log, w io.Writer) *slog.Logger {
	var level slog.Level
	_ = level.UnmarshalText([]byte(cfg.Level)) // checked by config
	options := &slog.HandlerOptions{Level: level}
	if cfg.Format == "json" {
		return slog.New(slog.NewJSONHandler(w, options))
	}
	return slog.New(slog.NewTextHandler(w, options))
}

// node is one running proxy: all parts, wired.
type node struct {
	cfg  *config.Config
	log  *slog.Logger
	core *proxy.Proxy
	ua   *sip.UA
	sw   *softswitch.Switch
	xml  *cstaxml.Server
	// listening is told each address once it is served.
	listening func(transport, address string)
}

// assemble makes the parts of a proxy from its configuration; nothing listens
// yet.
func assemble(cfg *config.Config, log *slog.Logger) (*node, error) {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	devices, err := switchConfig(&cfg.Switch)
	if err != nil {
		return nil, err
	}
	sw, err := softswitch.New(devices)
	if err != nil {
		return nil, err
	}
	rules := rules(cfg)
	n := &node{cfg: cfg, log: log, sw: sw, listening: func(transport, address string) {
		log.Info("listening", "transport", transport, "address", address)
	}}
	keeper, err := n.accounts()
	if err != nil {
		return nil, err
	}
	n.core = proxy.New(proxy.Config{
		Accounts: keeper, Sessions: proxy.ApplicationSessions{
			Duration: cfg.Sessions.Duration, MaxDuration: cfg.Sessions.MaxDuration, Max: cfg.Sessions.Max, MaxAccount: cfg.Sessions.MaxPerAccount,
			Tries: cfg.Sessions.Tries, LoginTime: cfg.Sessions.LoginTime,
		},
		Policy: rules, Numbers: &policy.Numbers{Main: cfg.Numbers.Main, Extensions: known(cfg, sw)}, Log: log,
		MaxSessions: cfg.Limits.Sessions, MaxMonitors: cfg.Limits.MonitorsPerSession, MaxOutstanding: cfg.Limits.RequestsOutstanding, QueueLength: cfg.Limits.Queue,
		Heartbeat: cfg.Heartbeat,
	})
	if err := n.addLinks(); err != nil {
		return nil, err
	}
	users, err := passwords(cfg.Digest)
	if err != nil {
		return nil, err
	}
	front := tr87.ServerConfig{Proxy: n.core, Trusts: rules.Trusts, Sessions: modes[cfg.Sessions.SIP], AnswerInInfo: cfg.SIP.AnswerInInfo, Log: log}
	if len(users) > 0 {
		front.Digest = sip.NewDigest(cfg.Digest.Realm, cfg.Digest.MD5, func(user string) (string, bool) { p, ok := users[user]; return p, ok })
	}
	if cfg.Demo {
		front.Anybody = policy.Identity{Name: "demo", How: "demo"}
	}
	n.xml = cstaxml.NewServer(cstaxml.ServerConfig{
		Proxy: n.core, Identify: identifier(rules, modes[cfg.Sessions.XML]), Sessions: modes[cfg.Sessions.XML],
		MaxConnections: cfg.XML.MaxConnections, MaxPeer: cfg.XML.MaxPeer, Log: log,
	})
	if cfg.SIP.T1 != config.Default().SIP.T1 {
		sip.SetT1(cfg.SIP.T1)
	}
	n.ua = sip.New(sip.Config{
		Handler: tr87.NewServer(front), UserAgent: "tr87proxy", Advertise: cfg.SIP.Advertise, Log: log,
		SessionExpires: cfg.SIP.SessionExpires, MinSE: cfg.SIP.MinSE, Grace: cfg.SIP.ConnectionGrace, EventWait: cfg.SIP.EventWait,
		MaxDialogs: cfg.SIP.MaxDialogs, MaxDialogsPerPeer: cfg.SIP.MaxDialogsPeer, MaxConnections: cfg.SIP.MaxConnections, MaxTransactions: cfg.SIP.MaxTransactions,
		Trusts: func(p sip.Peer) bool { return rules.Trusts(p.Addr.Addr(), p.Names) },
	})
	for i, l := range cfg.SIP.Listen {
		if l.Transport != "tls" {
			continue
		}
		if _, err := tls.Server(files(l)); err != nil {
			return nil, fmt.Errorf("sip.listen[%d]: %w", i, err)
		}
	}
	return n, nil
}

func files(l config.Listener) tls.Files {
	return tls.Files{Certificate: l.Certificate, Key: l.Key, CA: l.ClientCA, ClientAuth: l.ClientAuth}
}

func rules(cfg *config.Config) *policy.Policy {
	p := &policy.Policy{Demo: cfg.Demo}
	for _, t := range cfg.Trusted {
		network, _ := config.ParseNetwork(t.Address) // checked by config; none for certificates
		p.Trusted = append(p.Trusted, policy.Peer{Network: network, Certificate: t.Certificate})
	}
	for _, g := range cfg.Grants {
		p.Grants = append(p.Grants, policy.Grant(g))
	}
	return p
}

// secret is a password that stands in the configuration or in a file.
func secret(password, file string) (string, error) {
	if file == "" {
		return password, nil
	}
	data, err := os.ReadFile(file)
	return strings.TrimSpace(string(data)), err
}

func passwords(d config.Digest) (map[string]string, error) {
	users := map[string]string{}
	for _, u := range d.Users {
		password, err := secret(u.Password, u.PasswordFile)
		if err != nil {
			return nil, err
		}
		users[u.Name] = password
	}
	return users, nil
}

// run serves until ctx ends, then says goodbye to every client.
func (n *node) run(ctx context.Context) error {
	var ready atomic.Bool
	running, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	var group sync.WaitGroup
	group.Go(func() { n.core.Run(running) })
	failed := make(chan error, 1+len(n.cfg.XML.Listen))
	if n.cfg.Operations.Address != "" {
		var lc net.ListenConfig
		l, err := lc.Listen(ctx, "tcp", n.cfg.Operations.Address)
		if err != nil {
			n.abandon(stop, &group)
			return fmt.Errorf("operations.address: %w", err)
		}
		n.listening("http", l.Addr().String())
		ops := &web.Operations{Proxy: n.core, UA: n.ua, Pprof: n.cfg.Operations.Pprof, Ready: ready.Load}
		group.Go(func() {
			if err := ops.Run(running, l); err != nil {
				failed <- err
			}
		})
	}
	if err := n.core.Await(ctx, "switch"); err != nil { // who connects is to find it up
		n.abandon(stop, &group)
		return nil
	}
	if err := n.listen(); err != nil {
		n.abandon(stop, &group)
		return err
	}
	if err := n.listenXML(running, &group, failed); err != nil {
		n.abandon(stop, &group)
		return err
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
	patience, cancel := context.WithTimeout(running, n.cfg.SIP.ShutdownPatience)
	n.ua.Shutdown(patience)
	cancel()
	stop()
	group.Wait()
	n.log.Info("stopped")
	return err
}

// abandon ends a start that failed.
func (n *node) abandon(stop func(), group *sync.WaitGroup) {
	n.ua.Close()
	stop()
	group.Wait()
}

func (n *node) listen() error {
	for i, l := range n.cfg.SIP.Listen {
		var address fmt.Stringer
		var err error
		switch l.Transport {
		case "udp":
			address, err = n.ua.ListenUDP(l.Address)
		case "tcp":
			address, err = n.ua.ListenTCP(l.Address, nil)
		case "tls":
			server, certErr := tls.Server(files(l))
			if certErr != nil {
				return certErr
			}
			address, err = n.ua.ListenTCP(l.Address, server)
		}
		if err != nil {
			return fmt.Errorf("sip.listen[%d]: %w", i, err)
		}
		n.listening(l.Transport, address.String())
	}
	return nil
}

// listenXML serves CSTA-XML over TCP and TLS until ctx ends.
func (n *node) listenXML(ctx context.Context, group *sync.WaitGroup, failed chan<- error) error {
	for i, l := range n.cfg.XML.Listen {
		var lc net.ListenConfig
		listener, err := lc.Listen(ctx, "tcp", l.Address)
		if err == nil && l.Transport == "tls" {
			server, certErr := tls.Server(files(l))
			if certErr != nil {
				_ = listener.Close()
				return certErr
			}
			listener = cryptotls.NewListener(listener, server)
		}
		if err != nil {
			return fmt.Errorf("xml.listen[%d]: %w", i, err)
		}
		n.listening("xml/"+l.Transport, listener.Addr().String())
		group.Go(func() {
			if err := n.xml.Serve(ctx, listener); ctx.Err() == nil {
				failed <- fmt.Errorf("xml.listen[%d]: %w", i, err)
			}
		})
	}
	return nil
}

// identifier says who a client is that only its connection tells of: a trusted peer,
// by the first name in its certificate, or by its address. Who is not is nobody, until
// it opens an application session.
func identifier(rules *policy.Policy, mode proxy.SessionMode) func(netip.Addr, []string) (policy.Identity, bool) {
	return func(addr netip.Addr, names []string) (policy.Identity, bool) {
		switch {
		case rules.Demo:
			return policy.Identity{Name: "demo", How: "demo"}, true
		case !rules.Trusts(addr, names):
			return policy.Identity{}, mode != proxy.SessionsOff
		case len(names) > 0:
			return policy.Identity{Name: strings.ToLower(names[0]), How: "certificate"}, true
		}
		return policy.Identity{Name: addr.String(), How: "address"}, true
	}
}
