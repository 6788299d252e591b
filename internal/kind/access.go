package kind

import (
	"log/slog"
	"net"
	"net/netip"

	"github.com/tr87proxy/tr87proxy/internal/gate"
	"github.com/tr87proxy/tr87proxy/internal/trace"
	"github.com/tr87proxy/tr87proxy/policy"
	"github.com/tr87proxy/tr87proxy/proxy"
)

// Access says which clients a front over gate.Gate accepts, and how many. Each client has one session, for as long as it
// is connected.
type Access struct {
	Proxy *proxy.Proxy
	// Identify returns the identity of a peer, by its address and the names in its verified certificate; false if it
	// must not connect. The zero identity is a client that will open an application session to say who it is.
	// proxy.Proxy.Peers returns such a function.
	Identify func(addr netip.Addr, certificateNames []string) (policy.Identity, bool)
	Sessions proxy.SessionMode // whether clients open application sessions; the configuration can change it by the front's name
	NoLogin  bool              // the protocol has no application sessions; Sessions never changes
	Gate     gate.Config       // NewGate sets Trusts, Refused and Log
	Conn     gate.Limits       // of each connection; NewGate sets Log, Limits sets Guest
	Log      *slog.Logger      // nil: no log
}

// Access returns the access of a front. front is the key of its settings, which embed bounds.
func (e *FrontEnv) Access(front string, bounds *Bounds) Access {
	conn := gate.Limits{Tap: e.Octets.Tap(trace.Client, front, "")}
	return Access{Proxy: e.Proxy, Identify: e.Proxy.Peers(front, e.Sessions), Sessions: e.Sessions, Log: e.Log, Conn: conn, Gate: gate.Config{
		NameKinds: e.Config.Names, Admits: e.Admits, MaxConnections: bounds.MaxConnections, MaxPeer: bounds.MaxPeer, Strangers: e.Strangers, Keys: front,
	}}
}

// NewGate returns the gate of a front with this name. Call it before the other methods: it completes a.
func (a *Access) NewGate(front string) *gate.Gate {
	if a.Log == nil {
		a.Log = slog.New(slog.DiscardHandler)
	}
	a.Conn.Log, a.Gate.Log = a.Log, a.Log
	a.Gate.Trusts = func(addr netip.Addr) bool { who, ok := a.Identify(addr, nil); return ok && who.Name != "" }
	a.Gate.Refused = func(nc net.Conn, why string) { a.Proxy.RefuseConnection(front, nc, why) }
	return gate.New(a.Gate)
}

// Limits returns the limits of the connection of a guest.
func (a *Access) Limits(guest *gate.Guest) gate.Limits {
	limits := a.Conn
	limits.Guest = guest
	return limits
}

// Mode returns whether clients of the front open application sessions.
func (a *Access) Mode(front string) proxy.SessionMode {
	if a.NoLogin {
		return a.Sessions
	}
	return a.Proxy.Mode(front, a.Sessions)
}

// Admit identifies the client of a connection, and returns the opening of its session. If the client is unknown and cannot
// log in, Admit refuses it and returns false.
func (a *Access) Admit(front string, guest *gate.Guest) (proxy.Opening, bool) {
	addr := gate.AddrOf(guest.Conn)
	who, ok := a.Identify(addr, guest.Names)
	if !ok || who.Name == "" && a.Mode(front) == proxy.SessionsOff {
		a.Proxy.RefuseConnection(front, guest.Conn, "the peer is not trusted")
		return proxy.Opening{}, false
	}
	if who.Name != "" {
		guest.Prove()
	}
	return proxy.Opening{
		Identity: who, Peer: front + ":" + guest.Conn.RemoteAddr().String(), Front: front, Addr: addr, Names: guest.Names,
		Sessions: a.Sessions, NoLogin: a.NoLogin, Place: proxy.PlaceOf(guest.Conn),
		Valid: func() bool {
			now, ok := a.Identify(addr, guest.Names)
			return ok && now == who
		},
	}, true
}
