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
