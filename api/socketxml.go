package api

import (
	"context"
	"net/http"
	"net/netip"

	"github.com/tr87proxy/tr87proxy/internal/gate"
	"github.com/tr87proxy/tr87proxy/internal/kind"
	"github.com/tr87proxy/tr87proxy/internal/trace"
	"github.com/tr87proxy/tr87proxy/policy"
	"github.com/tr87proxy/tr87proxy/proxy"
	xml "github.com/tr87proxy/tr87proxy/wire/cstaxml/front"
	messages "github.com/tr87proxy/tr87proxy/wire/cstaxml/socket"
)

// newDocuments returns what serves WebSockets that speak CSTA-XML, as the front xml does.
func (s *Server) newDocuments(env *kind.FrontEnv) *xml.Server {
	return xml.NewFor(name, kind.Access{
		Proxy: s.proxy, Log: s.log, Sessions: proxy.SessionsOff, NoLogin: true, Conn: gate.Limits{Tap: env.Octets.Tap(trace.Client, name, "")},
		Identify: func(netip.Addr, []string) (policy.Identity, bool) { return policy.Identity{}, true }, // upgradeXML says who it is
		Gate: gate.Config{
			NameKinds: s.auth.kinds, MaxConnections: s.settings.MaxConnections, MaxPeer: s.settings.MaxPeer, Strangers: env.Strangers, Keys: name,
		},
	})
}

// upgradeXML serves a WebSocket that speaks CSTA-XML.
func (s *Server) upgradeXML(w http.ResponseWriter, r *http.Request, who caller) {
	if r.URL.RawQuery != "" {
		fail(w, problem(http.StatusUnprocessableEntity, "the subprotocol %s takes no parameters: start monitors by CSTA", xml.Subprotocol))
		return
	}
	conn, err := messages.Accept(w, r, messages.Options{Subprotocol: xml.Subprotocol})
	if err != nil {
		return // Accept has responded
	}
	opening := proxy.Opening{
		Identity: who.identified.Identity, Reach: who.reach, Peer: who.front() + ":" + r.RemoteAddr, Front: who.front(), Addr: who.addr, Names: who.names,
		Sessions: proxy.SessionsOff, NoLogin: true, Valid: who.valid, Until: who.identified.Until,
	}
	listener := kind.Serving(r.Context())
	if !s.events.spawn(func() {
		ctx, end := context.WithCancelCause(s.events.ctx)
		defer end(nil)
		defer context.AfterFunc(listener, func() { end(context.Cause(listener)) })()
		s.documents.Host(ctx, conn, opening)
	}) {
		_ = conn.Conn.Close()
	}
}
