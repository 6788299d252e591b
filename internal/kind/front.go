package kind

import (
	"context"
	cryptotls "crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"github.com/tr87proxy/tr87proxy/internal/accounts"
	"github.com/tr87proxy/tr87proxy/internal/config"
	"github.com/tr87proxy/tr87proxy/internal/gate"
	"github.com/tr87proxy/tr87proxy/internal/tokens"
	"github.com/tr87proxy/tr87proxy/internal/trace"
	"github.com/tr87proxy/tr87proxy/proxy"
	"github.com/tr87proxy/tr87proxy/sip"
	"github.com/tr87proxy/tr87proxy/tls"
)

// Front serves all listeners of one kind.
type Front interface {
	// Serve opens a listener, calls ready once with its address, and serves it until ctx ends. It returns after everything
	// of the listener is closed, with nil if ctx has ended. If the cause of ctx is [ErrStopped], only this listener
	// closes, and Serve says goodbye to its clients; otherwise the proxy stops. Serve is called for several listeners at the
	// same time, and can be called again for one that was closed.
	Serve(ctx context.Context, l *config.Listener, ready func(address string)) error
	// Close closes all sessions, before ctx ends, and releases the resources of the front. It is called once, even for a
	// front that has served no listener.
	Close(ctx context.Context)
}

// Starter is implemented by a front that opens more than listeners: files for writing, or connections to its clients.
type Starter interface {
	// Start is called once, before Serve. Close follows, also if Start fails. The error can be a [*KeyError].
	Start() error
}

// ErrStopped is the cause of the context of [Front.Serve] if only this listener closes.
var ErrStopped = errors.New("not listening any more")

// FrontKind is a kind of front. [FrontOf.Kind] makes one.
type FrontKind interface {
	config.FrontKind
	// Build makes a front from checked settings. It opens no listener, and no file for writing.
	Build(settings any, env *FrontEnv) (Front, error)
}

// FrontOf describes a kind of front whose settings are an S: a struct with yaml tags that embeds a config.Listening.
// Settings can have a method Warnings() []string, whose lines begin with the key.
type FrontOf[S any] struct {
	// Key is the name of the kind and the key of its settings. rules.fronts and application-sessions use the same name.
	Key string
	// Defaults returns new settings with the values for keys that the file leaves out.
	Defaults func() *S
	// Ways describes what its listeners can be.
	Ways config.Listens
	// Check reports the faults that the types alone do not exclude. Package config checks the listeners. It can be nil.
	Check func(settings *S, s *config.Section)
	// Build makes a front. It opens no listener, and no file for writing.
	Build func(settings *S, env *FrontEnv) (Front, error)
}

// Kind returns the kind that k describes.
func (k FrontOf[S]) Kind() FrontKind { return &front[S]{k} }

// front is a kind of front whose settings are an S. Its methods get settings that it has made, a *S.
type front[S any] struct{ of FrontOf[S] }

func (k *front[S]) Name() string            { return k.of.Key }
func (k *front[S]) Settings() any           { return k.of.Defaults() }
func (k *front[S]) Listens() config.Listens { return k.of.Ways }

func (k *front[S]) Check(settings any, s *config.Section) {
	if k.of.Check != nil {
		k.of.Check(settings.(*S), s)
	}
}

func (k *front[S]) Build(settings any, env *FrontEnv) (Front, error) {
	return k.of.Build(settings.(*S), env)
}

// FrontEnv is what the proxy gives a front in addition to its settings.
type FrontEnv struct {
	// Proxy opens sessions and identifies clients: Peers by their connection, Identify by a proof such as a name and a
	// password.
	Proxy *proxy.Proxy
	// Config is the configuration at the start. For what a reload can change, use the functions below.
	Config *config.Config
	Log    *slog.Logger
	// Sessions says whether clients of this front open application sessions at the start. A reload can change that:
	// proxy.Proxy.Mode returns the current mode.
	Sessions proxy.SessionMode
	// Trusts reports whether the configuration lists a peer in trusted.
	Trusts func(addr netip.Addr, certificateNames []string) bool
	// Admits reports whether the configuration lets an address connect.
	Admits func(netip.Addr) bool
	// Password returns the password of a digest user. It is nil if clients are not asked for a password.
	Password func(user string) (password string, ok bool)
	// Guard returns the guard of a kind of passwords.
	Guard func(of string) *accounts.Guard
	// Tokens checks bearer tokens. It is nil if no tokens file is configured.
	Tokens *tokens.Keeper
	// Accounts has the accounts. It is nil if no accounts file is configured.
	Accounts *accounts.Keeper
	// Octets keeps what passes over the wire. nil: nobody wants it.
	Octets *trace.Trace
	// Strangers limits the memory of connections that are neither trusted nor authenticated.
	Strangers *gate.Strangers
}

// Bounds has the limits of connections of a front over gate.Gate. Settings embed it.
type Bounds struct {
	MaxConnections int `yaml:"max-connections"`
	MaxPeer        int `yaml:"max-connections-per-peer"`
}

// DefaultBounds has the default limits.
var DefaultBounds = Bounds{MaxConnections: 2000, MaxPeer: 500}

// Check reports limits below 1.
func (b *Bounds) Check(s *config.Section) {
	s.Positive(map[string]int{"max-connections": b.MaxConnections, "max-connections-per-peer": b.MaxPeer})
}

// ServeTCP implements Front.Serve for TCP and TLS. serve must serve the listener until its context ends.
func ServeTCP(ctx context.Context, l *config.Listener, log *slog.Logger, ready func(address string), serve func(context.Context, net.Listener) error) error {
	return serveTCP(ctx, l, log, ready, serve, func(l net.Listener) net.Listener { return l })
}

// serveTCP implements ServeTCP. within wraps the listener between TCP and TLS.
func serveTCP(ctx context.Context, l *config.Listener, log *slog.Logger, ready func(address string), serve func(context.Context, net.Listener) error, within func(net.Listener) net.Listener) error {
	var secure *cryptotls.Config
	var err error
	if l.Transport == "tls" {
		if secure, err = ServerTLS(l, log); err != nil {
			return err
		}
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", l.Address)
	if err != nil {
		return err
	}
	address := listener.Addr().String()
	listener = within(listener)
	if secure != nil {
		listener = cryptotls.NewListener(listener, secure)
	}
	ready(address)
	if err := serve(ctx, listener); ctx.Err() == nil {
		return err
	}
	return nil
}

// ServeHTTP implements Front.Serve for an HTTP handler. When the listener closes, outstanding requests may take as long as
// patience. It limits how long a request may take to arrive, how long a connection may be idle, and the number of
// connections. At that limit, a new connection closes the oldest one of the peer with the most, but one for which the handler has
// called [Known] only if there are no others.
func ServeHTTP(ctx context.Context, l *config.Listener, log *slog.Logger, patience time.Duration, bounds Bounds, ready func(address string), handler http.Handler) error {
	return serveTCP(ctx, l, log, ready, func(ctx context.Context, listener net.Listener) error {
		var group sync.WaitGroup
		defer group.Wait()
		serving, done := context.WithCancel(ctx)
		defer done()
		server := newHTTPServer(log, handler)
		server.ConnContext = withPlace
		server.BaseContext = func(net.Listener) context.Context {
			return context.WithValue(context.Background(), listenerKey{}, serving)
		}
		group.Go(func() {
			<-serving.Done()
			leave, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
			defer cancel()
			if server.Shutdown(leave) != nil {
				_ = server.Close()
			}
		})
		return server.Serve(listener)
	}, func(l net.Listener) net.Listener { return bound(l, bounds) })
}

// maxHead is how many octets the head of an HTTP request may have, and some thousand more. The map that it becomes takes about
// twenty times as many, and anybody can send one.
const maxHead = 16 << 10

func newHTTPServer(log *slog.Logger, handler http.Handler) *http.Server {
	return &http.Server{Handler: handler, MaxHeaderBytes: maxHead, ReadHeaderTimeout: 10 * time.Second, ReadTimeout: time.Minute, IdleTimeout: time.Minute, ErrorLog: errorLog(log)}
}

type listenerKey struct{}

// Serving returns the context of the listener that a request came by. It ends when the listener closes: a response that goes
// on for ever ends then. Its cause is [ErrStopped] if only this listener closes. It never ends for a request that came by no
// listener.
func Serving(ctx context.Context) context.Context {
	if serving, ok := ctx.Value(listenerKey{}).(context.Context); ok {
		return serving
	}
	return context.Background()
}

// ServeSIP implements Front.Serve for a SIP user agent. When only this listener closes, its dialogs end with BYE, and the
// peers may take as long as patience to respond.
func ServeSIP(ctx context.Context, ua *sip.UA, l *config.Listener, log *slog.Logger, patience time.Duration, ready func(address netip.AddrPort)) error {
	var address netip.AddrPort
	var source *tls.Source
	var err error
	switch l.Transport {
	case "udp":
		address, err = ua.ListenUDP(l.Address)
	case "dtls":
		if source, err = SourceOf(l, log); err == nil {
			address, err = ua.ListenDTLS(l.Address, source)
		}
	case "tls":
		if source, err = SourceOf(l, log); err == nil {
			address, err = ua.ListenTCP(l.Address, source.Server())
		}
	case "tcp":
		address, err = ua.ListenTCP(l.Address, nil)
	default:
		err = fmt.Errorf("%q is not a transport of SIP", l.Transport)
	}
	if err != nil {
		return err
	}
	ready(address)
	<-ctx.Done()
	if errors.Is(context.Cause(ctx), ErrStopped) { // otherwise the user agent closes everything
		leave, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
		defer cancel()
		ua.Unlisten(leave, l.Transport, address)
	}
	return nil
}
