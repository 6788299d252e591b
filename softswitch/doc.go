// Package softswitch is the built-in switching function: a CSTA call model
// (ECMA-269) as an explicit state machine, with virtual phones. What a phone is
// stands apart, behind [Terminal].
//
// A call is a set of connections; a connection is one device's part in one call
// and has a state. Every request and every timer changes the model under one
// lock, collects the events of the change, and hands out the answer before them.
package softswitch
