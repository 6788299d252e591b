package api

import (
	"context"
	"log/slog"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/tr87proxy/tr87proxy/internal/kind"
	"github.com/tr87proxy/tr87proxy/internal/share"
	"github.com/tr87proxy/tr87proxy/proxy"
	xml "github.com/tr87proxy/tr87proxy/wire/cstaxml/front"
	soap "github.com/tr87proxy/tr87proxy/wire/soap/front"
)

// Server is the front. It implements http.Handler.
type Server struct {
	proxy     *proxy.Proxy
	log       *slog.Logger
	settings  *Settings
	auth      *authenticator
	cors      *cors
	clients   clients
	keys      *keys
	events    *events
	webhooks  *webhooks
	soap      *soap.Server
	documents *xml.Server
	outbounds []*outbound
	mux       *http.ServeMux
	handler   http.Handler
	visitors  http.Handler // for clients that other fronts have identified
	api       huma.API
}

// NewServer returns a server for the clients that env admits. It serves nothing before Start. The error is a
// [*kind.KeyError].
func NewServer(settings *Settings, env *kind.FrontEnv) (*Server, error) {
	s := &Server{
		proxy: env.Proxy, log: env.Log, settings: settings, mux: http.NewServeMux(),
		clients: clients{table: map[[32]byte]*shared{}}, keys: newKeys(),
	}
	var err error
	if s.auth, err = newAuthenticator(name, &settings.Identification, env); err != nil {
		return nil, err
	}
	if s.outbounds, err = s.newOutbounds(settings.Connect); err != nil {
		return nil, err
	}
	s.cors = newCORS(&settings.Identification, s.auth)
	s.soap = s.newSOAP()
	s.documents = s.newDocuments(env)
	s.describe()
	clients := s.identified(s.once(s.mux))
	s.handler = s.cors.wrap(s.surviving(s.withSOAP(clients)))
	s.visitors = s.surviving(clients)
	return s, nil
}

// Start opens the event log, and begins to record, to deliver to webhooks and to connect to applications. The error is a
// *kind.KeyError.
func (s *Server) Start() (err error) {
	if s.events, err = newEvents(&s.settings.Events, s.proxy, s.log); err != nil {
		return err
	}
	if s.webhooks, err = newWebhooks(s.settings.Webhooks, s.events, s); err != nil {
		return &kind.KeyError{Key: "webhooks", Err: err}
	}
	for _, o := range s.outbounds {
		s.events.group.Go(func() { o.run(s.events.ctx) })
	}
	return nil
}

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.handler.ServeHTTP(w, r) }

// ServeVisitor serves a request of a client that another front has identified. That front decides about pages in browsers, and
// has no paths of /soap.
func (s *Server) ServeVisitor(w http.ResponseWriter, r *http.Request, v *kind.Visitor) {
	s.visitors.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), visitorKey{}, v)))
}

type visitorKey struct{}

// visitorOf returns the visitor whose request it is; nil if it is none's.
func visitorOf(ctx context.Context) *kind.Visitor {
	v, _ := ctx.Value(visitorKey{}).(*kind.Visitor)
	return v
}

// Close closes all sessions.
func (s *Server) Close() {
	if s.events != nil {
		s.events.stop()
	}
	if s.webhooks != nil {
		s.webhooks.close()
	}
	if s.events != nil {
		s.events.Close()
	}
	s.soap.Close()
	s.clients.close()
	s.auth.close()
}

// describe registers all operations.
func (s *Server) describe() {
	config := huma.DefaultConfig("tr87proxy", "1")
	config.Info.Description = "Control and watch telephones. docs/api.md introduces this interface."
	config.DocsPath, config.SchemasPath, config.OpenAPIPath = "", "", ""
	config.CreateHooks = nil // no $schema in bodies
	config.RejectUnknownQueryParameters = true
	config.Security = []map[string][]string{{"bearer": {}}, {"basic": {}}, {}} // a trusted peer needs none
	config.Components.SecuritySchemes = map[string]*huma.SecurityScheme{
		"bearer": {Type: "http", Scheme: "bearer", Description: "a token of tr87proxy tokens add, or a JWT of the OpenID provider"},
		"basic":  {Type: "http", Scheme: "basic", Description: "an account of tr87proxy accounts add"},
	}
	s.api = humago.New(s.mux, config)
	s.describeDevices()
	s.describeCalls()
	s.describeActions()
	s.describeCSTA()
	s.describeEvents()
	s.describeWebhooks()
	s.describePages()
}

func init() { huma.NewError = failure } //nolint:gochecknoinits // all errors of this process are of one form

const (
	maxBody  = 64 << 10         // octets of a body
	bodyTime = 10 * time.Second // within which it must have come
)

// bounded limits what a request takes.
func bounded(op huma.Operation) huma.Operation {
	op.MaxBodyBytes = maxBody
	op.SkipValidateBody = true // package uacsta does
	op.BodyReadTimeout = bodyTime
	return op
}

// open paths need no identity: they are the same for everybody.
var openPaths = map[string]bool{"/": true, "/openapi.json": true, "/asyncapi.json": true}

// identified serves requests of clients that have said who they are.
func (s *Server) identified(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if clientOf(r.Context()) != nil || openPaths[r.URL.Path] || isProblemPage(r.URL.Path) {
			next.ServeHTTP(w, r)
			return
		}
		who, err := s.auth.identify(r)
		if err != nil {
			s.auth.refuse(w, r, err)
			return
		}
		kind.Known(r.Context())
		if isUpgrade(r) {
			s.upgrade(w, r, who)
			return
		}
		c, giveBack, err := s.borrow(who, r)
		if err != nil {
			fail(w, explained(err))
			return
		}
		defer giveBack()
		next.ServeHTTP(w, r.WithContext(withClient(r.Context(), c)))
	})
}

// surviving answers a request whose handler panics.
func (s *Server) surviving(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer share.Survive(s.log, "a request over HTTP", func(error) {
			fail(w, problem(http.StatusInternalServerError, "the proxy could not do it; its log says more"))
		})
		next.ServeHTTP(w, r)
	})
}
