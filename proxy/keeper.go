package proxy

// A ConnectionKeeper is a Link that keeps calls itself and refuses every request that names a
// connection which does not exist: callID and device are checked together when the request is
// carried out, so the core need not ask who is in a call before.
type ConnectionKeeper interface {
	// KeepsConnections does nothing; it announces what the link does.
	KeepsConnections()
}
