package front

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/tr87proxy/tr87proxy/internal/gate"
	"github.com/tr87proxy/tr87proxy/internal/kind"
	"github.com/tr87proxy/tr87proxy/internal/share"
	"github.com/tr87proxy/tr87proxy/proxy"
	"github.com/tr87proxy/tr87proxy/wire/cstaxml/socket"
	soap "github.com/tr87proxy/tr87proxy/wire/soap/front"
)

// What a client asks for to open a WebSocket.
const (
	Subprotocol = "csta-xml"
	socketPath  = "/csta"
	zultysPath  = "/cstaj" // of the dialect zultys, also without a subprotocol
)

// overHTTP says what listeners do with HTTP.
type overHTTP struct {
	web     *kind.Web
	soap    http.Handler // nil: no SOAP
	sockets bool         // WebSockets are served
	door    *soap.Door
	origins kind.Origins
}

// serveHTTP serves a request of a guest.
func (s *Server) serveHTTP(w http.ResponseWriter, r *http.Request, guest *gate.Guest, d *Dialect) {
	upgrade := r.Method == http.MethodGet && strings.EqualFold(r.Header.Get("Upgrade"), "websocket")
	switch {
	case upgrade && s.http.sockets:
		s.upgrade(w, r, guest, d)
	case upgrade:
		s.without(w, guest, protocolSocket)
	case s.http.soap != nil:
		s.http.soap.ServeHTTP(w, r)
	default:
		s.without(w, guest, protocolSOAP)
	}
}

// without responds to a client that speaks a protocol that the configuration has turned off, and says so in the log.
func (s *Server) without(w http.ResponseWriter, guest *gate.Guest, protocol string) {
	w.Header().Set("Connection", "close")
	http.Error(w, "The configuration of this proxy has no "+protocol+" in xml.protocols.", http.StatusForbidden)
	s.access.Proxy.RefuseConnection(s.name, guest.Conn, "it speaks HTTP, and xml.protocols has no "+protocol)
}

// upgrade serves a request for a WebSocket.
func (s *Server) upgrade(w http.ResponseWriter, r *http.Request, guest *gate.Guest, d *Dialect) {
	options := socket.Options{Subprotocol: Subprotocol, Zultys: d.Coded}
	if own := d.Coded && r.URL.Path == zultysPath; !slices.Contains(offered(r), Subprotocol) {
		if !own {
			http.Error(w, "offer the subprotocol "+Subprotocol+" (Sec-WebSocket-Protocol)", http.StatusBadRequest)
			return
		}
		options.Subprotocol = ""
	} else if !own && r.URL.Path != socketPath {
		http.Error(w, "the WebSocket is at "+socketPath, http.StatusNotFound)
		return
	}
	if r.URL.RawQuery != "" {
		http.Error(w, "the WebSocket takes no parameters", http.StatusBadRequest)
		return
	}
	if why := s.http.foreign(r); why != "" {
		page := share.Clip(strings.Join(r.Header["Origin"], ", "))
		http.Error(w, why, s.http.door.Refuse(r, "a page of "+page+": "+why))
		return
	}
	caller, refused := s.http.door.Admit(w, r)
	if refused != nil {
		http.Error(w, refused.Text, refused.Status)
		return
	}
	opening := caller.Opening
	conn, err := socket.Accept(w, r, options)
	if err != nil {
		return // Accept has responded
	}
	kind.TakeOver(r, func(ctx context.Context) { s.converse(ctx, guest, conn, d, opening) })
}

// foreign returns why the page that a request comes from may not open a WebSocket; "": it may, or there is none.
func (h *overHTTP) foreign(r *http.Request) string {
	switch {
	case !h.origins.Allow(r):
		return "xml.origins does not list the origin of this page"
	case r.Header.Get("Authorization") == "" && h.origins.Rebound(r):
		return "without TLS and credentials, a page must name the proxy by its address or as localhost, or its origin stand in xml.origins; otherwise any page could come by a name of its own (DNS rebinding)"
	}
	return ""
}

// offered returns the subprotocols that a client offers.
func offered(r *http.Request) (list []string) {
	for _, header := range r.Header["Sec-Websocket-Protocol"] {
		for protocol := range strings.SplitSeq(header, ",") {
			list = append(list, strings.TrimSpace(protocol))
		}
	}
	return list
}

// converse serves a WebSocket until it closes.
func (s *Server) converse(ctx context.Context, guest *gate.Guest, conn *socket.Conn, d *Dialect, opening proxy.Opening) {
	conn.Serve(guest, s.access.Log, func() {
		if err := s.associate(ctx, guest, conn, d, opening); err != nil {
			conn.CloseFor(fmt.Errorf("no session: %w", err))
		}
	})
}

// Host serves a WebSocket that another front has accepted, with an opening whose client it has identified. It returns when the
// WebSocket has closed, or when ctx has ended and it has closed.
func (s *Server) Host(ctx context.Context, conn *socket.Conn, opening proxy.Opening) {
	s.gate.Host(ctx, conn.Conn, func(ctx context.Context, guest *gate.Guest) {
		opening.Place = proxy.PlaceOf(guest.Conn)
		s.converse(ctx, guest, conn, &Dialect{}, opening)
	})
}
