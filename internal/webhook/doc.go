// Package webhook delivers the entries of an event log to URLs, at least once. It knows neither the API nor CSTA.
//
// # Order
//
// A hook gets the events of one device in order, and those of one call with the format zammad. An event that fails holds
// back what follows in its row, and nothing else: up to 4 requests of a hook are under way at a time, of different rows.
// Only when 10 000 events wait does a hook read no further in the log.
//
// # Failure
//
// Only a response 2xx is a success. Otherwise the event is sent again, after a second at first, at most every 10
// minutes, or when Retry-After says so. It becomes a dead letter 23 hours after it happened; after 10 attempts
// if the receiver takes other events meanwhile; and after 3 if the receiver refuses its content (400, 413, 414, 415, 422).
// While 5 rows fail and none succeeds, the receiver counts as down and gets one request at a time. A response 410
// disables the hook, as does an owner who is not identified any more as when the hook was added.
//
// # Strangers
//
// Clients write templates, whose execution cannot be interrupted. So one takes at most 20 000 steps, the bodies of an owner
// are made one at a time, and a hook holds what it has made for its retries. Nobody waits for the end of a delivery with a
// lock that others need. The dead letters of an owner have a share of room.
//
// # Position
//
// The position of a hook, and the events before it that still wait, are in the log's file. After a crash a hook sends
// again what it has delivered since the position was last written: at most half a second before, or when nothing waited.
// Receivers recognise such an event by the header webhook-id, which is the same at each attempt.
package webhook
