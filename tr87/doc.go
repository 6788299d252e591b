// Package tr87 carries CSTA over SIP (ECMA TR/87). [Server] serves clients that dial in;
// [Front] is that server with its listeners and settings. [Client] is the other role, towards
// telephones and gateways.
//
// A session is a SIP dialog without media. Each INFO in it carries one CSTA message. The
// response to a request is the body of the 200 OK to its INFO. Events are INFOs of the
// switching function.
package tr87
