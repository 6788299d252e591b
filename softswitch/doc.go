// Package softswitch is the built-in switch: the call model of ECMA-269 as an explicit state
// machine, with virtual phones. [Switch] implements proxy.Link. Real telephones connect through
// [Phones]; virtual ones implement [Terminal].
//
// A call is a set of connections; a connection is one device in one call and has a state. Every
// request and timer changes the model under one lock and collects the events of the change. The
// response is delivered before them.
package softswitch
