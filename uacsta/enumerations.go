package uacsta

// LocalConnectionState is the state of a connection (ECMA-269 call model).
type LocalConnectionState string

// The states of a connection.
const (
	Null      LocalConnectionState = "null"
	Initiated LocalConnectionState = "initiated"
	Alerting  LocalConnectionState = "alerting"
	Connected LocalConnectionState = "connected"
	Hold      LocalConnectionState = "hold"
	Queued    LocalConnectionState = "queued"
	Fail      LocalConnectionState = "fail"
)
