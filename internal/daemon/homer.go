package daemon

import (
	"github.com/tr87proxy/tr87proxy/internal/config"
	"github.com/tr87proxy/tr87proxy/internal/hep"
	"github.com/tr87proxy/tr87proxy/internal/kind"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

// exporter returns what sends the octets to Homer; nil if the configuration names none.
func (n *Node) exporter(cfg *config.Config) (*hep.Exporter, error) {
	h := &cfg.Trace.HEP
	if h.Address == "" {
		return nil, nil //nolint:nilnil // none is no fault
	}
	key, err := kind.Secret("", h.PasswordFile)
	if err != nil {
		return nil, atKey(cfg, "trace.hep.password-file", err)
	}
	return hep.New(hep.Config{Address: h.Homer(), ID: uint32(h.ID), Node: h.Node, Password: key, Trace: n.octets, Call: callOf, Log: n.log}), nil
}

// callOf returns the callID of the first connection in a message of CSTA-XML; "" if it has none.
func callOf(message []byte) string {
	m, err := uacsta.Parse(message)
	if err != nil {
		return ""
	}
	if connections := m.Connections(); len(connections) > 0 {
		return connections[0].CallID()
	}
	return ""
}
