// Package sip is a SIP user agent (RFC 3261) for dialogs that carry any body: it
// knows nothing of CSTA. A [UA] listens on UDP, TCP and TLS, answers requests
// outside dialogs, hands each INVITE to a [Handler] and each request inside a
// dialog to that dialog's [DialogHandler], in the order in which they came.
//
// sipgo provides the message parser and the transactions with their timers.
// Listeners, connections, the table of transactions and the dialogs are our own:
// sipgo's start a goroutine for each message, which loses the order even on one
// TCP connection, choose connections by address alone, and keep whole messages
// for 32 seconds (HACKING.md tells more).
package sip
