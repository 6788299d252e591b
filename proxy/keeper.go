package proxy

// A ConnectionKeeper is a Link that keeps calls itself and refuses every request for a connection that
// does not exist. It checks callID and device together when it carries out the request, so the core
// need not ask for a snapshot first.
type ConnectionKeeper interface {
	// KeepsConnections does nothing. It only marks the link.
	KeepsConnections()
}
