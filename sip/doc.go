// Package sip is a SIP user agent (RFC 3261) for dialogs with bodies of any type. It knows
// nothing of CSTA. A [UA] listens on UDP, TCP, TLS and DTLS and answers requests outside
// dialogs. It passes each INVITE to a [Handler] and each request inside a dialog to that
// dialog's [DialogHandler], in the order of arrival.
//
// The module sipgo provides the message parser and the transaction state machines with their
// timers. Listeners, connections, the transaction table and dialogs are implemented here: sipgo
// starts a goroutine for each message, which loses the order even on one TCP connection; it
// selects connections by address alone; and it keeps whole messages for 32 seconds. See
// HACKING.md.
package sip
