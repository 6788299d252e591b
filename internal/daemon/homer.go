package daemon

import (
	"github.com/tr87proxy/tr87proxy/internal/config"
	"github.com/tr87proxy/tr87proxy/internal/hep"
	"github.com/tr87proxy/tr87proxy/internal/kind"
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
	return hep.New(hep.Config{Address: h.Homer(), ID: uint32(h.ID), Node: h.Node, Password: key, Trace: n.octets, Log: n.log}), nil
}
