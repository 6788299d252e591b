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
	"github.com/tr87proxy/tr87proxy/proxy"
	"github.com/tr87proxy/tr87proxy/sip"
	"github.com/tr87proxy/tr87proxy/tls"
)

// Front serves all listeners of one kind.
type Front interface {
	// Serve serves a listener until ctx ends, and calls ready once, with its address, when it does. It returns when
	// nothing of it is left, nil after ctx has ended. Where the cause of that is [ErrStopped], this listener alone
	// is stopped, and its clients are told; otherwise the proxy ends. Several listeners are served at a time, and
	// one can be served again.
	Serve(ctx context.Context, l *config.Listener, ready func(address string)) error
	// Close closes all sessions, no later than ctx ends, and releases what the front holds. It is called once, also for a
	// front that has served no listener.
	Close(ctx context.Context)
}

// ErrStopped is the cause of the end of a context with which a listener is served: it alone is stopped.
var ErrStopped = errors.New("not listening any more")

// FrontKind is a kind of front. [FrontOf.Kind] makes one.
type FrontKind interface {
	config.FrontKind
	// Build makes a front of settings that have been checked. It listens nowhere, and opens no file for writing.
	Build(settings any, env *FrontEnv) (Front, error)
}

// FrontOf describes a kind of front whose settings are an S: a struct with yaml tags in which a config.Listening is
// embedded. Settings with a method Warnings() []string can have warnings.
type FrontOf[S any] struct {
	// Key is the name: the key of the settings in the file, and what rules.fronts and application-sessions call it.
	Key string
	// Defaults returns what holds where the file says nothing.
	Defaults func() *S
	// Ways is what its listeners can be.
	Ways config.Listens
	// Check reports what the types alone do not say. config checks the listeners; nil: all is well.
	Check func(settings *S, s *config.Section)
	// Build makes a front. It listens nowhere, and opens no file for writing.
	Build func(settings *S, env *FrontEnv) (Front, error)
}

// Kind returns the kind that k describes.
func (k FrontOf[S]) Kind() FrontKind { return &front[S]{k} }

// front is a kind of front whose settings are an S. The settings that it gets are *S, for it has made them.
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

// FrontEnv is what a front gets from the proxy, beside its settings.
type FrontEnv struct {
	// Proxy opens sessions, and says who clients are: Peers, those of connections; Identify, those that say more, such as
	// a name and a password.
	Proxy *proxy.Proxy
	// Config is the whole configuration as it is at the start: what a reload can change is asked by the functions
	// below.
	Config *config.Config
	Log    *slog.Logger
	// Sessions is whether clients of this front open application sessions, as the proxy starts; proxy.Proxy.Mode says what
	// holds now.
	Sessions proxy.SessionMode
	// Trusts reports whether a peer is one of those that the configuration trusts.
	Trusts func(addr netip.Addr, certificateNames []string) bool
	// Admits reports whether the configuration lets an address connect at all.
	Admits func(netip.Addr) bool
	// Password returns the password of a user of digest; nil: nobody is asked for one.
	Password func(user string) (password string, ok bool)
	// Guard returns a guard against guessing of passwords, by what it guards.
	Guard func(of string) *accounts.Guard
	// Strangers bounds the memory of connections that are neither trusted nor logged in.
	Strangers *gate.Strangers
}

// Bounds is embedded in the settings of a front over gate.Gate.
type Bounds struct {
	MaxConnections int `yaml:"max-connections"`
	MaxPeer        int `yaml:"max-connections-per-peer"`
}

// DefaultBounds are the default bounds.
var DefaultBounds = Bounds{MaxConnections: 2000, MaxPeer: 500}

// Check reports bounds below 1.
func (b *Bounds) Check(s *config.Section) {
	s.Positive(map[string]int{"max-connections": b.MaxConnections, "max-connections-per-peer": b.MaxPeer})
}

// ServeTCP is the Serve of a front whose clients come by TCP or TLS; serve serves a listener until its context ends.
func ServeTCP(ctx context.Context, l *config.Listener, log *slog.Logger, ready func(address string), serve func(context.Context, net.Listener) error) error {
	return serveTCP(ctx, l, log, ready, serve, func(l net.Listener) net.Listener { return l })
}

// serveTCP is ServeTCP; within puts something between TCP and TLS.
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

// ServeHTTP is the Serve of a front that is an HTTP handler. Requests in flight get as long as patience to be answered.
// It bounds how long a request may take to come, how long a connection may idle, and how many connections there are
// ([DefaultBounds]): where there are more, the oldest connection of the peer that has most is closed.
func ServeHTTP(ctx context.Context, l *config.Listener, log *slog.Logger, patience time.Duration, ready func(address string), handler http.Handler) error {
	return serveTCP(ctx, l, log, ready, func(ctx context.Context, listener net.Listener) error {
		server := &http.Server{Handler: handler, ReadHeaderTimeout: 10 * time.Second, ReadTimeout: time.Minute, IdleTimeout: time.Minute, ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelInfo)}
		var group sync.WaitGroup
		defer group.Wait()
		serving, done := context.WithCancel(ctx)
		defer done()
		group.Go(func() {
			<-serving.Done()
			leave, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
			defer cancel()
			if server.Shutdown(leave) != nil {
				_ = server.Close()
			}
		})
		return server.Serve(listener)
	}, func(l net.Listener) net.Listener { return bound(l, DefaultBounds) })
}

// ServeSIP is the Serve of what is served by a SIP user agent. Dialogs on a listener that is stopped end with BYE;
// the peers get as long as patience to answer.
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
		err = fmt.Errorf("%q is no transport of SIP", l.Transport)
	}
	if err != nil {
		return err
	}
	ready(address)
	<-ctx.Done()
	if errors.Is(context.Cause(ctx), ErrStopped) { // otherwise the user agent ends
		leave, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
		defer cancel()
		ua.Unlisten(leave, l.Transport, address)
	}
	return nil
}
