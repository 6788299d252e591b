// Package registrar serves SIP telephones as far as that needs no call: it registers them
// (RFC 3261 10), finds out whether they are reachable, proves who sends a request, keeps their
// subscriptions (RFC 6665), and holds uaCSTA sessions with those that are switching functions
// themselves (ECMA TR/87).
//
// A [Server] tells its owner by [Upcalls] what telephones do, and knows nothing of calls: INVITEs go
// to [Config.Calls], and what subscribers are sent comes from the owner's [Package]s. What is done with
// one telephone, or one subscriber, is a task of its queue: in order and bounded, so that one that does
// not answer delays nobody else.
package registrar
