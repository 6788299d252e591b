// Package events records what happens at devices, and hands it to subscribers. It knows no HTTP.
//
// A [Recorder] is one session of the proxy's own. It monitors each device that somebody wants events of, numbers the
// events and keeps them in a log. It also keeps a book of the calls of these devices, made from snapshots and events, so
// that each event says who called whom, also after transfers and conferences.
//
// # Order
//
// The numbers of the log give the order. A [Subscription] starts at a number: it gets the snapshot of the book as it was
// after that event, and then every later event that it wants and may see, each once. It reads the log by number until it
// has caught up, and gets new events as they come from then on. One that does not keep up with these ends with
// [ErrSlow].
//
// Subscriptions of one client that catch up take turns, a piece of the log each: how much a client has the proxy read at a
// time does not grow with the number of its streams.
//
// # Watched devices
//
// Devices that are wanted by their number are watched; those that a pattern matches are if a client that wants it may
// observe them.
//
// When the monitor of a device has started, the recorder takes a snapshot of the device's calls. Events that come
// meanwhile are held. Then the log gets the held events, and a [Snapshot] event: from there on, the events of the device
// are complete. If the recorder cannot know what happened for a while, because the program was not running or events came
// too fast, the log gets a [Gap] event, and a new Snapshot of each device.
package events
