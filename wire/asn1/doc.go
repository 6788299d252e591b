// Package asn1 carries CSTA in ASN.1: Phase III (ECMA-285), as ECMA-285 says it and as a Siemens
// HiPath and its programs speak it, and Phase I (ECMA-180), as an Ericsson MD110 Application
// Link does. It has both roles: [Server] for programs, [Link] for switching functions.
//
// The messages are those of package uacsta. How each stands in BER is said by the tables
// phase3.txt and phase1.txt; what they cannot say is in phase3.go and phase1.go. Around them
// are the remote operations service (rose.go), the association of Phase III (acse.go) and the
// frames on a TCP connection (frame.go).
package asn1
