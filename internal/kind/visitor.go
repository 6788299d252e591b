package kind

import (
	"context"
	"net/netip"

	"github.com/tr87proxy/tr87proxy/proxy"
)

// Visitor is a client that one front has identified, and for whose requests another front answers.
type Visitor struct {
	Identified proxy.Identified
	Front      string // by which the client has come, for rules and the audit file
	Addr       netip.Addr
	Key        [32]byte    // the same for the requests of one login; does not reveal its credentials
	Token      string      // the ID of its token; "": it has none of the tokens file
	Valid      func() bool // reports whether the front would still let the client in; it must not block
}

// WithServing returns a context for which [Serving] returns serving: what a handler goes on with after its response ends then.
func WithServing(ctx, serving context.Context) context.Context {
	return context.WithValue(ctx, listenerKey{}, serving)
}
