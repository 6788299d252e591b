// Package cstaxml carries CSTA-XML over TCP and TLS without SOAP (ECMA-323 annex J.2, G.2 in early editions): each
// document follows a header of eight octets with its length and an invoke ID. [Conn] is a connection to a peer, the
// same in both roles. Package front serves clients; package link connects to a switch. Neither knows the other.
package cstaxml
