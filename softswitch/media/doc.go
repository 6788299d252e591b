// Package media carries voice: one [Leg] for each telephone, with a port of its own and
// symmetric RTP, and a [Room] for those who hear each other. It speaks G.711 and the named
// telephone events of RFC 4733, over RTP or over SRTP with keys from SDP (RFC 4568). It
// knows nothing of calls.
package media
