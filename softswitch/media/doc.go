// Package media carries voice. A [Leg] is the RTP session of one telephone, with a port pair of
// its own and symmetric RTP (RFC 4961). A [Room] connects the legs that hear each other, mixes
// them, and plays and records messages. The package speaks G.711 and the telephone events of
// RFC 4733, over RTP or over SRTP with keys from SDP (RFC 4568). It knows nothing of calls or
// SIP.
package media
