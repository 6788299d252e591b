package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/coder/websocket"

	record "github.com/tr87proxy/tr87proxy/api/events"
	"github.com/tr87proxy/tr87proxy/internal/config"
	"github.com/tr87proxy/tr87proxy/internal/gate"
	"github.com/tr87proxy/tr87proxy/internal/kind"
	"github.com/tr87proxy/tr87proxy/proxy"
	"github.com/tr87proxy/tr87proxy/tls"
)

// Connection is an entry of the key connect: an application that the proxy connects to. The messages are those of a
// WebSocket that an application opens.
type Connection struct {
	URL       string            `yaml:"url"`
	As        string            `yaml:"as"`    // the identity of the application, for grants and rules
	Scope     string            `yaml:"scope"` // observe or control
	TokenFile string            `yaml:"token-file"`
	Headers   map[string]string `yaml:"headers"`
	CA        string            `yaml:"ca"`
	Devices   []string          `yaml:"devices"`
	Types     []string          `yaml:"types"`
	Link      string            `yaml:"link"`
	Snapshot  bool              `yaml:"snapshot"`
}

// Scopes of a connection.
const (
	scopeObserve = "observe"
	scopeControl = "control"
)

// check reports faults.
func (c *Connection) check(at string, s *config.Section) {
	u, err := url.Parse(c.URL)
	switch {
	case err != nil || u.Host == "" || u.Fragment != "" || u.Scheme != "wss" && u.Scheme != "ws":
		s.Fault(at+".url", "must be the address of the application's WebSocket; write for example wss://crm.contoso.com/telephones")
	case u.User != nil:
		s.Fault(at+".url", "must be without name and password; use token-file or headers")
	case u.Scheme == "ws" && !config.Loopback(u.Hostname()):
		s.Fault(at+".url", "must begin with wss: without TLS, everybody on the way could control telephones")
	}
	if c.As == "" {
		s.Fault(at+".as", "must be the identity that grants and rules know; write for example crm")
	}
	if c.Scope != "" {
		s.OneOf(at+".scope", c.Scope, scopeObserve, scopeControl)
	}
	if kind := unknownType(c.Types); kind != "" {
		s.Fault(at+".types", noType(kind))
	}
	s.Patterns(at+".devices", c.Devices)
	for name := range c.Headers {
		if strings.ContainsAny(name, " :\r\n") || name == "" {
			s.Fault(at+".headers", "has a name that is no name of a header")
		}
	}
}

// Times of connections to applications.
const (
	dialTime      = 30 * time.Second
	firstBackOff  = time.Second
	longestBack   = time.Minute
	settledAfter  = time.Minute // a connection that lasted so long begins with the first pause again
	positionsKept = "connections"
)

// outbound keeps the connection to one application.
type outbound struct {
	Connection

	server *Server
	client *http.Client
	safe   string // the URL without its query, for logs
	state  atomic.Pointer[Application]
}

// Application is how the connection to an application is doing that the configuration names.
type Application struct {
	URL     string    `json:"url"` // without its query
	As      string    `json:"as"`
	Up      bool      `json:"up"`
	Since   time.Time `json:"since"` // that it is up, or down
	Failure string    `json:"failure,omitempty"`
}

// note notes that the application is connected, or why it is not.
func (o *outbound) note(failure error) {
	a := Application{URL: o.safe, As: o.As, Up: failure == nil, Since: time.Now()}
	if failure != nil {
		a.Failure = failure.Error()
		if before := o.state.Load(); before != nil && !before.Up {
			a.Since = before.Since
		}
	}
	o.state.Store(&a)
}

// errConnecting is the failure of a connection before its first attempt has ended.
var errConnecting = errors.New("connecting")

// newOutbound returns the connection of an entry. Its error is a *kind.KeyError.
func (s *Server) newOutbound(at string, c Connection) (*outbound, error) {
	files := tls.Files{CA: c.CA, Log: s.log}
	source, err := tls.NewClient(files)
	if err != nil {
		return nil, &kind.KeyError{Key: at + ".ca", Err: err}
	}
	o := &outbound{Connection: c, server: s}
	o.client = &http.Client{
		Transport:     &http.Transport{TLSClientConfig: source.Config(), Proxy: http.ProxyFromEnvironment, TLSHandshakeTimeout: dialTime, ResponseHeaderTimeout: dialTime, DisableKeepAlives: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	if u, err := url.Parse(c.URL); err == nil {
		u.RawQuery = ""
		o.safe = u.Redacted()
	}
	o.note(errConnecting)
	return o, nil
}

// run connects again and again until ctx ends.
func (o *outbound) run(ctx context.Context) {
	for wait := (gate.BackOff{First: firstBackOff, Most: longestBack}); ; {
		began := time.Now()
		err := gate.Guard(o.server.log, "a connection to an application", func() error { return o.once(ctx) })
		if ctx.Err() != nil {
			return
		}
		if time.Since(began) > settledAfter {
			wait.Reset()
		}
		pause := wait.Next()
		o.note(err)
		o.server.log.Warn("not connected to the application", "url", o.safe, "err", err, "retry", pause.Round(time.Millisecond))
		if !gate.Sleep(ctx, pause) {
			return
		}
	}
}

// once connects, and serves the connection until it ends.
func (o *outbound) once(ctx context.Context) error {
	who, err := o.caller(ctx)
	if err != nil {
		return err
	}
	conn, err := o.dial(ctx) // before there is a session: an application that is down is no client
	if err != nil {
		return err
	}
	k, err := o.server.newSocket(who, o.safe, nil)
	if err == nil {
		if err = o.subscribe(k); err != nil {
			k.finish(nil)
		}
	}
	if err != nil {
		_ = conn.CloseNow()
		return err
	}
	o.note(nil)
	o.server.log.Info("connected to the application", "url", o.safe)
	k.dialled = o
	k.serve(conn)
	select {
	case <-k.done:
	case <-ctx.Done():
		k.close(statusGoingAway, "the proxy is stopping")
		<-k.done
	}
	o.keep(k)
	return k.reason
}

// caller returns who the application is.
func (o *outbound) caller(ctx context.Context) (caller, error) {
	identified, err := o.server.proxy.Identify(ctx, proxy.Proof{Token: &proxy.Token{Name: o.As, How: "connect", Valid: func() bool { return true }}})
	if err == nil {
		err = identified.Named()
	}
	return caller{identified: identified, reach: reach(o.Scope == scopeObserve)}, err
}

// dial opens the WebSocket.
func (o *outbound) dial(ctx context.Context) (*websocket.Conn, error) {
	header := http.Header{}
	for name, value := range o.Headers {
		header.Set(name, value)
	}
	token, err := kind.Secret("", o.TokenFile)
	if err != nil {
		return nil, err
	}
	if token != "" {
		header.Set("Authorization", "Bearer "+token)
	}
	ctx, cancel := context.WithTimeout(ctx, dialTime)
	defer cancel()
	conn, res, err := websocket.Dial(ctx, o.URL, &websocket.DialOptions{HTTPClient: o.client, HTTPHeader: header, Subprotocols: []string{protocolEvents}}) //nolint:bodyclose // package websocket does
	switch {
	case err != nil && res != nil && res.StatusCode != http.StatusSwitchingProtocols:
		return nil, fmt.Errorf("the application responds with status %d", res.StatusCode)
	case err != nil:
		return nil, hidden(err)
	}
	return conn, nil
}

// hidden returns the cause of an error of the dialler, without the URL, whose query may have a secret.
func hidden(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		return u.Err
	}
	return errors.New("the response of the application is not that of a WebSocket")
}

// subscribe has the stream go on after what the application has, or begin now.
func (o *outbound) subscribe(k *socket) error {
	if len(o.Devices) == 0 {
		return nil
	}
	in := Subscription{Devices: o.Devices, Types: o.Types, Link: o.Link, Snapshot: o.Snapshot}
	after, err := o.server.events.kept.Get(positionsKept, o.key())
	if err != nil {
		return err
	}
	in.After = string(after)
	return k.subscribe(k.ctx, in)
}

func (o *outbound) key() string { return o.As + " " + o.safe }

// keep remembers what the application has: up to its last acknowledgement, or, if it sends none, what was written.
func (o *outbound) keep(k *socket) {
	at := k.acked.Load()
	if at == 0 {
		at = k.sent.Load()
	}
	if at == 0 || at == k.stored.Swap(at) {
		return
	}
	if err := o.server.events.kept.Put(positionsKept, o.key(), strconv.AppendUint(nil, at, 10)); err != nil && !errors.Is(err, record.ErrClosed) {
		o.server.log.Error("could not remember what an application has", "url", o.safe, "err", err)
	}
}
