// Package registrar serves SIP telephones, except for their calls: it registers them (RFC 3261 10),
// finds out whether they are reachable, authenticates their requests, keeps their subscriptions
// (RFC 6665), and opens uaCSTA sessions with telephones that are switching functions themselves
// (ECMA TR/87).
//
// A [Server] tells its owner by [Upcalls] what telephones do, and knows nothing of calls: INVITEs go
// to [Config.Calls], and the owner's [Package]s have the state that subscribers get. Whatever is sent to
// one telephone, or to one subscriber, is a task of its queue: in order and bounded, so that a telephone
// that does not answer delays no other.
package registrar
