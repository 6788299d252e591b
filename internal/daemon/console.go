package daemon

import (
	"net/http"

	"github.com/tr87proxy/tr87proxy/console"
	"github.com/tr87proxy/tr87proxy/internal/kind"
	"github.com/tr87proxy/tr87proxy/internal/operations"
)

// admin returns what administrators may ask.
func (n *Node) admin() *operations.Admin {
	return &operations.Admin{
		Status: n.status, Server: n.server, Reload: n.reload, Locks: func() any { return n.locks() }, Unlock: n.unlock,
		Webhooks: func() any { return n.webhooks() }, Webhook: n.webhook, Trace: n.trace, Octets: n.octets,
	}
}

// attach gives the console what it shows. The audit file is open, if there is one.
func (n *Node) attach() {
	parts := console.Parts{Version: n.version, Admin: n.admin().Handler(), Audit: n.audit}
	for _, f := range n.fronts {
		if f, ok := f.(interface {
			ServeVisitor(w http.ResponseWriter, r *http.Request, v *kind.Visitor)
		}); ok {
			parts.API = f.ServeVisitor
		}
	}
	for _, f := range n.fronts {
		if f, ok := f.(interface{ Attach(p console.Parts) }); ok {
			f.Attach(parts)
		}
	}
}
