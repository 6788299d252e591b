package daemon

import (
	"github.com/tr87proxy/tr87proxy/asn1"
	"github.com/tr87proxy/tr87proxy/config"
	"github.com/tr87proxy/tr87proxy/gate"
	"github.com/tr87proxy/tr87proxy/proxy"
)

// asn1 makes the front behind a listener of CSTA in ASN.1.
func (n *Node) asn1(cfg *config.Config, l config.Listener) *asn1.Server {
	flavour, _ := asn1.FlavourOf(l.Dialect) // checked by config
	mode := modes[cfg.Sessions.ASN1]
	if l.Dialect == "phase1" { // it has no words for a login
		mode = proxy.SessionsOff
	}
	return asn1.NewServer(asn1.ServerConfig{
		Proxy: n.core, Flavour: flavour, Identify: n.identify(mode), Sessions: mode, Notify: l.Notify, Log: n.log,
		Gate: gate.Config{
			NameKinds: cfg.Names, Admits: n.admits, MaxConnections: cfg.ASN1.MaxConnections, MaxPeer: cfg.ASN1.MaxPeer, Strangers: n.strangers,
		},
	})
}

// asn1Link makes a link to a switching function that speaks CSTA in ASN.1.
func (n *Node) asn1Link(l config.Link) (proxy.Link, error) {
	password, secure, err := n.opening(l)
	if err != nil {
		return nil, err
	}
	flavour, _ := asn1.FlavourOf(l.Dialect) // checked by config
	cfg := asn1.LinkConfig{
		Addresses: l.Addresses, TLS: secure, Flavour: flavour, Name: l.Session.User, Password: password, Notifications: l.Notifications,
		Heartbeat: l.Heartbeat, Conn: gate.Limits{Timeout: l.Timeout}, Log: n.linkLog(l.Name),
	}
	return asn1.NewLink(cfg), nil
}
