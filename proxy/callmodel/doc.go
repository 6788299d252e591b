// Package callmodel is the call model of ECMA-269 (clause 6.1, and the events of clause 17): calls,
// the connections of devices in them, and their states. A transition of a [Call] changes the
// states and returns the events that tell it, for the monitors of each device that takes part.
// [Changes] reads events back into states, and [Difference] makes the events that lead from
// one picture of calls to another. The three use one table of steps.
//
// The package knows no switching function and no monitor. A link says what happened, and hands
// the notices to whoever keeps the monitors.
//
// A caller from outside, behind the network, is a [Connection] with Network and Inbound. It is added
// to the call, and [Call.Originate] connects it: the monitors of its Trunk are told, and nobody where
// the trunk is not known. A number outside that is called is added with Network alone, and
// [Call.Reach] tells that the call leaves for it.
//
// Nothing in it locks: a call belongs to one goroutine.
package callmodel
