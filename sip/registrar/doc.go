// Package registrar serves SIP telephones, except for their calls: it registers them (RFC 3261 10),
// checks whether they are reachable, authenticates their requests, keeps their subscriptions
// (RFC 6665), and opens uaCSTA sessions with telephones that are switching functions themselves
// (ECMA TR/87).
//
// A [Server] reports what telephones do to its owner by [Upcalls]. It knows nothing about calls: INVITEs go
// to [Config.Calls], and the owner's [Package]s have the state that subscribers get. Everything that is sent to
// one telephone, or to one subscriber, is a task of its queue, in order and limited, so that a telephone
// that does not respond delays no other.
package registrar
