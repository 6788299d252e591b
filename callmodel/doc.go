// Package callmodel is the call model of ECMA-269 (clause 6.1, and the events of clause 17): calls,
// the connections of devices in them, and their states. A transition of a [Call] changes the
// states and returns the events that tell it, for the monitors of each device that takes part.
// [Changes] reads events back into states, and [Difference] makes the events that lead from
// one picture of calls to another. The three use one table of steps.
//
// The package knows no switching function and no monitor. A link says what happened, and hands
// the notices to whoever keeps the monitors. Nothing in it locks: a call belongs to one goroutine.
package callmodel
