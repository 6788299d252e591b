// Package asn1 carries CSTA in ASN.1 over TCP and TLS: Phase III (ECMA-285), as the standard defines it and as a Siemens
// HiPath and the programs for it speak it, and Phase I (ECMA-180), as an Ericsson MD110 Application Link speaks it.
//
// A [Codec] makes PDUs of the messages of package uacsta, and messages of PDUs. The tables phase3.txt and phase1.txt say
// how each message is written in BER; phase3.go and phase1.go have what a table cannot express. Around a message are the
// remote operations service (pdu.go), the association of Phase III (acse.go) and the frames on a connection (frame.go).
//
// [Conn] is a connection to a peer, the same in both roles. Package front serves computing functions that connect;
// package link connects to a switching function. Neither knows the other.
package asn1
