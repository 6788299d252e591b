package daemon

import (
	"fmt"
	"net/http"
	"slices"

	"github.com/tr87proxy/tr87proxy/console"
	"github.com/tr87proxy/tr87proxy/internal/config"
	"github.com/tr87proxy/tr87proxy/internal/kind"
	"github.com/tr87proxy/tr87proxy/internal/operations"
)

// admin returns what administrators may ask. by says for the audit file how they come.
func (n *Node) admin(by string) *operations.Admin {
	return &operations.Admin{
		Status: n.status, Server: n.server, Reload: n.reload, Locks: func() any { return n.locks() }, Unlock: func(name, from string, all bool) (any, error) { return n.unlock(by, name, from, all) },
		Webhooks: func() any { return n.webhooks() }, Webhook: n.webhook, Trace: n.trace, Octets: n.octets,
		Overview: n.overview, EndSession: n.endSession, Press: n.press,
		Explain: func(r operations.Explain) (any, error) {
			return n.explain(Question{Identity: r.Identity, Front: r.Front, Scope: r.Scope, Service: r.Service, Device: r.Device, Destinations: r.Destinations})
		},
		Numbers: func(number, from, link string) (any, error) { return n.translate(number, from, link) },
	}
}

// attach gives the console what it shows. The audit file is open, if there is one.
func (n *Node) attach() {
	parts := console.Parts{Version: n.version, Admin: n.admin("console").Handler(), Audit: n.audit, Demo: n.demo || n.play}
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

// endSession closes the session of a client.
func (n *Node) endSession(id string) error {
	if !n.core.EndSession(id) {
		return fmt.Errorf("there is no session %.64q any more", id)
	}
	return nil
}

// consoleWarnings returns why nobody can log in to a console that listens.
func consoleWarnings(cfg *config.Config) (list []string) {
	if len(cfg.Front("console").(*console.Settings).Listen) == 0 {
		return nil
	}
	if !cfg.Demo && !slices.ContainsFunc(cfg.Grants, func(g config.Grant) bool { return g.Administer }) {
		list = append(list, "console: nobody can log in, because no grant has the right; write for example grants: [{who: alice, administer: true}]")
	}
	if cfg.Sessions.Accounts == "" && cfg.Sessions.Tokens == "" {
		list = append(list, "console: nobody can log in, because there are no accounts and no tokens; write application-sessions: {accounts: FILE}, and make the file with: tr87proxy accounts add")
	}
	return list
}
