// Package proxy is the core: it stands between clients (computing functions) and
// links (switching functions) and knows no wire format. A front opens a [Session]
// for each client and hands it the client's requests; the session asks policy,
// translates device identifiers, finds the link, and shares one monitor for each
// device among all clients. Events take the same way back.
//
// What it promises each client: the response to a request comes before the events
// it causes; each event comes exactly once for each of its monitors, in order,
// under the client's own cross reference and with its own way of writing its
// device; a slow client is cut off with a reason and never slows another.
package proxy
