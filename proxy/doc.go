// Package proxy is the core of tr87proxy. It connects clients (computing functions of ECMA-269) to
// links (switching functions) and knows no wire format.
//
// A front opens a [Session] for each client with [Proxy.Open] and passes it the client's requests. The
// session asks policy, translates device identifiers, selects the link and forwards the request. It
// shares one monitor per device among all clients. Events take the same way back, to [Client.Event].
//
// A link implements [Link]. The proxy runs it, restarts it when it fails, and restores the monitors
// and registrations of the clients. [Inbox], [Outbox], [Monitors] and [Perform] help a link to keep
// the contract, which package linktest describes and checks; package fronttest does the same for
// fronts.
//
// The core promises each client:
//
//   - The response to a request precedes the events that the request causes.
//   - Each monitor receives each event exactly once and in order, under the client's own cross reference and with each device written as the client writes it.
//   - A client that reads too slowly is disconnected with [ErrSlow]. It never delays another.
package proxy
