// Package front serves clients that speak CSTA over SOAP. It is a handler of HTTP requests; the fronts that have listeners
// mount it. It knows no link.
package front

import (
	"cmp"
	"context"
	"errors"
	"io"
	"log/slog"
	"mime"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/tr87proxy/tr87proxy/internal/config"
	"github.com/tr87proxy/tr87proxy/internal/kind"
	"github.com/tr87proxy/tr87proxy/internal/share"
	"github.com/tr87proxy/tr87proxy/internal/webhook"
	"github.com/tr87proxy/tr87proxy/proxy"
	"github.com/tr87proxy/tr87proxy/uacsta"
	"github.com/tr87proxy/tr87proxy/wire/soap"
)

// name is the name of this front in the log and in the audit file. In rules it has that of the front that mounts it.
const name = "soap"

// Caller is the client of a request.
type Caller struct {
	Opening proxy.Opening // of its session; the zero identity is a client that logs in by StartApplicationSession
	Key     [32]byte      // the same for the same credentials; does not reveal them

	Challenges []string // the values of WWW-Authenticate that ask the zero identity for credentials
}

// Config configures a [Server].
type Config struct {
	Proxy *proxy.Proxy
	// Identify returns the client of a request. It responds itself if the client is refused, and returns false.
	Identify func(w http.ResponseWriter, r *http.Request) (Caller, bool)
	Private  func(client, sink netip.Addr) bool // reports whether a client may have events pushed to a private address
	Address  string                             // by which clients reach the server, such as https://pbx.contoso.com:8883; "": the Host of each request
	Log      *slog.Logger
}

// Settings are the settings under the key soap of a front that mounts a server.
type Settings struct {
	Address string `yaml:"address"`         // Config.Address
	Plain   bool   `yaml:"plain-passwords"` // passwords are taken without TLS from other machines
	Private bool   `yaml:"private-sinks"`   // events may be pushed to private addresses
}

// Check reports faults.
func (f *Settings) Check(key string, s *config.Section) {
	if f.Address == "" {
		return
	}
	if u, err := url.Parse(f.Address); err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.RawQuery != "" || u.Fragment != "" || u.User != nil {
		s.Fault(key+".address", "must be the URL by which clients reach the proxy; write for example https://pbx.contoso.com:8883")
	}
}

// Build returns a server for the clients of a front.
func Build(f *Settings, front string, env *kind.FrontEnv) *Server {
	return New(Config{Proxy: env.Proxy, Identify: NewDoor(front, name, f.Plain, env).identify, Private: func(client, sink netip.Addr) bool { return f.Private || client == sink }, Address: f.Address, Log: env.Log})
}

// Limits of requests and clients.
const (
	maxBody         = uacsta.MaxCarrier
	strangerBody    = 16 << 10         // of a request without credentials, which may have logged in by StartApplicationSession
	bodyTime        = 10 * time.Second // within which a request must have come
	requestTime     = 30 * time.Second // for the response of a switch
	serveTime       = 2 * time.Minute  // for all of a request, with the reading of the response
	idleTime        = 5 * time.Minute  // after which a client without application session is forgotten
	farewell        = 3 * time.Second  // for the sinks when the server closes
	maxAssociations = 1000
	maxOfIdentity   = 10

	strangerElements = 512 // of a request without credentials
)

// Server serves SOAP. It implements http.Handler, and takes requests at any path.
type Server struct {
	cfg Config
	log *slog.Logger

	ctx   context.Context //nolint:containedctx // of the server's life
	end   context.CancelFunc
	group sync.WaitGroup

	mu           sync.Mutex
	closed       bool
	clients      func(private func(netip.Addr) bool) *http.Client // of subscriptions; tests replace it
	associations map[string]*association                          // by the ID that clients send
	implicit     map[[32]byte]*association
	counts       map[string]int // associations of an identity
	pushing      map[string]int // subscriptions of an identity, until their sinks know that they have ended
}

// New returns a server. Close ends it.
func New(cfg Config) *Server {
	s := &Server{cfg: cfg, log: share.Quiet(cfg.Log), clients: webhook.NewClient, associations: map[string]*association{}, implicit: map[[32]byte]*association{}, counts: map[string]int{}, pushing: map[string]int{}}
	s.ctx, s.end = context.WithCancel(context.Background())
	return s
}

// Close ends all associations and subscriptions, and tells sinks so, as far as they answer within farewell.
func (s *Server) Close() {
	s.mu.Lock()
	s.closed = true
	all := make([]*association, 0, len(s.associations))
	for _, a := range s.associations {
		all = append(all, a)
	}
	s.mu.Unlock()
	for _, a := range all {
		a.leave("SourceShuttingDown", "the proxy is stopping")
	}
	late := time.AfterFunc(farewell, s.end)
	defer late.Stop()
	s.group.Wait()
	s.end()
}

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	deadlines := http.NewResponseController(w)
	_ = deadlines.SetWriteDeadline(time.Now().Add(serveTime))
	defer func() { _ = deadlines.SetWriteDeadline(time.Time{}) }()
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	switch r.Method {
	case http.MethodGet, http.MethodHead:
		s.describe(w, r)
	case http.MethodPost:
		s.post(w, r)
	default:
		h.Set("Allow", "GET, HEAD, POST")
		http.Error(w, "CSTA over SOAP takes POST; GET /csta/ed3?wsdl describes it", http.StatusMethodNotAllowed)
	}
}

// exchange is one request and the way to respond to it.
type exchange struct {
	server   *Server
	w        http.ResponseWriter
	r        *http.Request
	caller   Caller
	envelope *soap.Envelope
	edition  uacsta.Edition // of the request, or of the path
}

// post serves a request.
func (s *Server) post(w http.ResponseWriter, r *http.Request) {
	x := &exchange{server: s, w: w, r: r, edition: cmp.Or(editionOf(r.URL.Path), oldest)}
	if why := unreadable(r); why != "" {
		http.Error(w, why, http.StatusUnsupportedMediaType)
		return
	}
	var ok bool
	if x.caller, ok = s.cfg.Identify(w, r); !ok {
		return
	}
	size, elements := int64(maxBody), uacsta.MaxElements
	if x.caller.Opening.Identity.Name == "" {
		size, elements = strangerBody, strangerElements
	}
	deadlines := http.NewResponseController(w)
	_ = deadlines.SetReadDeadline(time.Now().Add(bodyTime))
	data, err := io.ReadAll(http.MaxBytesReader(w, r.Body, size))
	tooLarge := (*http.MaxBytesError)(nil)
	switch {
	case errors.As(err, &tooLarge):
		x.fail(&soap.Fault{Code: soap.Client, Reason: "the request is too large", TooLarge: true})
		return
	case err != nil: // the client has gone, or is too slow
		w.Header().Set("Connection", "close")
		http.Error(w, http.StatusText(http.StatusRequestTimeout), http.StatusRequestTimeout)
		return
	}
	_ = deadlines.SetReadDeadline(time.Time{})                  // GetEvents waits
	if len(data) == 0 && x.caller.Opening.Identity.Name == "" { // curl sends the body after the challenge
		x.unknown(textNoCredentials)
		return
	}
	var fault *soap.Fault
	if x.envelope, fault = soap.Parse(data, elements); fault != nil {
		x.fail(fault)
		return
	}
	x.dispatch()
}

// unreadable returns why a request is no SOAP, by its headers.
func unreadable(r *http.Request) string {
	switch media, parameters, err := mime.ParseMediaType(r.Header.Get("Content-Type")); {
	case len(r.Header.Values("Content-Type")) != 1 || err != nil:
		return "the request must have one Content-Type: text/xml or application/soap+xml"
	case media != "text/xml" && media != "application/soap+xml":
		return "the Content-Type must be text/xml (SOAP 1.1) or application/soap+xml (SOAP 1.2), without attachments"
	case parameters["charset"] != "" && !strings.EqualFold(parameters["charset"], "utf-8"):
		return "the charset must be utf-8"
	case r.Header.Get("Content-Encoding") != "":
		return "a Content-Encoding is not accepted"
	}
	return ""
}

// fail responds with a fault.
func (x *exchange) fail(f *soap.Fault) {
	x.write(f.Status(), f.Version().ContentType(""), f.Envelope())
}

// answer responds with an envelope.
func (x *exchange) answer(action string, envelope []byte) {
	x.write(http.StatusOK, x.envelope.Version.ContentType(action), envelope)
}

// refuse responds with a negative response.
func (x *exchange) refuse(category uacsta.Category, value string) {
	x.fail(x.envelope.Refuse(uacsta.Refuse(category, value), x.edition))
}

// write writes a response. When it returns the response is on its way: no event that the request caused overtakes it.
func (x *exchange) write(status int, contentType string, body []byte) {
	x.w.Header().Set("Content-Type", contentType)
	x.w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	x.w.WriteHeader(status)
	_, _ = x.w.Write(body)
	_ = http.NewResponseController(x.w).Flush()
}

// dispatch serves a request by the element in its body.
func (x *exchange) dispatch() {
	body := x.envelope.Body
	switch {
	case soap.IsEventing(body):
		x.eventing()
		return
	case body.Namespace() == soap.NamespaceSession && body.Name() == "GetEvents":
		x.getEvents()
		return
	}
	m, err := body.Message()
	if err == nil {
		err = m.Values()
	}
	if err == nil && m.Kind() != uacsta.Request {
		err = uacsta.Refuse(uacsta.Operation, uacsta.ServiceNotSupported)
	}
	if edition := uacsta.EditionOf(body.Namespace()); edition != 0 {
		x.edition = edition
	}
	var u *uacsta.Unclear
	switch {
	case errors.As(err, &u):
		x.unclear(u)
	case err != nil:
		x.refuse(uacsta.Operation, uacsta.ServiceNotSupported)
	case m.Name() == uacsta.NameStartApplicationSession:
		x.start(m)
	case uacsta.EditionOf(m.Namespace()) == 0 && m.Namespace() != uacsta.NamespaceApplSession:
		x.fail(x.envelope.Refuse(&uacsta.Error{Category: uacsta.Operation, Value: uacsta.ServiceNotSupported, Detail: m.Name() + " is in no namespace of CSTA, such as " + uacsta.Edition(3).Namespace()}, x.edition))
	default:
		x.serve(m)
	}
}

// serve has the core carry a request out, and responds.
func (x *exchange) serve(m *uacsta.Message) {
	a := x.association()
	if a == nil {
		return
	}
	defer a.exit()
	res, release, err := a.do(x.r.Context(), m)
	defer release()
	if err != nil {
		x.fail(x.envelope.Fault(soap.Server, "the switch has not responded in time"))
		return
	}
	x.respond(a, m.Name(), res)
	if res != nil && res.Name() == uacsta.NameStopApplicationSession+"PosResponse" {
		a.leave("SourceCanceling", "the client has ended the application session")
	}
}

// unclear has the core refuse a request that two readers may read differently, and responds.
func (x *exchange) unclear(u *uacsta.Unclear) {
	a := x.association()
	if a == nil {
		return
	}
	defer a.exit()
	res, release, err := a.ask(x.r.Context(), func(reply func(*uacsta.Message)) { a.session.Unclear(u, reply) })
	defer release()
	if err != nil {
		x.fail(x.envelope.Fault(soap.Server, "the proxy has not responded in time"))
		return
	}
	x.respond(a, u.Name, res)
}

// respond writes the response to a request for a service; nil: it has none.
func (x *exchange) respond(a *association, service string, res *uacsta.Message) {
	switch {
	case res == nil:
		x.w.WriteHeader(http.StatusAccepted)
		_ = http.NewResponseController(x.w).Flush()
	case res.Err() != nil:
		x.fail(x.envelope.Refuse(res.Err(), x.edition))
	case strings.HasSuffix(res.Name(), "NegResponse"):
		f := x.envelope.Fault(soap.Client, service+" is refused")
		f.Detail = res.String()
		x.fail(f)
	case !res.Conform(x.edition):
		x.server.log.Warn("response cannot be written over SOAP", "front", name, "identity", a.session.Identity().String(), "message", share.Clip(res.Name()))
		x.refuse(uacsta.Operation, uacsta.ServiceNotSupported)
	default:
		action := soap.ServiceAction(x.edition, res.Name())
		x.answer(action, x.envelope.Answer(action, res.String()))
	}
}
