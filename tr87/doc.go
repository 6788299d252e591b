// Package tr87 carries CSTA over SIP dialogs (ECMA TR/87): [Server] for clients
// that dial in, [Client] towards phones and gateways. A session is a dialog
// without media; each INFO in it carries one CSTA message; the answer to a request
// rides in the 200 OK to its INFO; events are INFOs of the switching function.
package tr87
