// Package callmodel is the call model of ECMA-269 (clause 6.1, and the events of clause 17): calls,
// the connections of devices in them, and their states.
//
// A link that keeps calls itself uses a [Call]: each of its methods makes one transition, changes the
// states, and returns the events that report it, one [Notice] for each device to monitor. [Changes]
// turns an event back into states, and [Difference] returns the events that lead from one picture of
// calls to another. All three use one table of steps.
//
// The package knows no switching function and no monitors: the link passes the notices to whatever
// keeps them, such as proxy.Monitors.
//
// A caller in the network is a [Connection] with Network and Inbound set. Add it to the call, and
// connect it with [Call.Originate]: the monitors of its Trunk get the event, and none if the trunk is
// unknown. A called number in the network has Network alone; [Call.Reach] reports that the call leaves
// for it.
//
// Nothing is locked: a call belongs to one goroutine.
package callmodel
