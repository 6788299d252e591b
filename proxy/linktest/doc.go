// Package linktest describes the contract between links and the core and checks that a link keeps it,
// in the manner of testing/fstest: the tests of a link call [Test] with a [Kit].
//
// # What a link promises
//
// A life. Run connects and serves for one life of the link. The life starts when Run calls up.Ready
// and ends when Run returns; a Run that never becomes ready has no life. A link to one peer returns
// from Run when it loses the connection. A link to several peers may continue without the one that it
// has lost: it refuses the requests that wait for that peer and sends OutOfService to its monitors.
// Run is never called while another Run of the same link is running. It may be called again after it
// has returned, whatever it returned; it then starts anew and knows nothing of the previous life.
//
// Nothing before Ready. Run calls up.Ready once, before any other Upcall.
//
// Nothing after Run. When Run returns, no Upcall is running and none will be made, every request that
// the link accepted has its reply, and the link's goroutines, timers and connections have ended. Run
// returns soon after ctx ends, whatever its peer does.
//
// Requests. Request does not block: it does not wait for the peer, a file, or a name. Any goroutine
// may call it. Requests reach the switching function in the order of the calls. A request before
// Ready, or after Run has returned, is refused at once: reply is called before Request returns. Every
// request has its reply within the link's timeout. A link notices a dead peer within a bounded time,
// and Run returns. A link limits what it keeps for a peer that does not read or respond, and refuses
// the rest.
//
// Replies. The link calls reply exactly once for each request, from any goroutine, possibly before
// Request returns. The arguments are a response, or an error, or neither if the request has no
// response (uacsta.Message.OneWay). The error is a *uacsta.Error; [proxy.Refusal] converts the errors
// of a connection. The reply comes before every event that the request causes. A service that the
// switching function does not support is refused like anything else.
//
// Events. The Upcalls for one device are made one after another, in the order in which things
// happened. An event of a device comes once for each monitor on it, under that monitor's cross
// reference, and only after the reply that contains the cross reference. After the reply to
// MonitorStop, events of the monitor may still come; the core drops them.
//
// References. A cross reference belongs to the life in which the link issued it, and is unique among
// the monitors that exist at the same time. In the next life the same text is another reference: links
// pass on what a switching function numbers anew at each connection, and must keep nothing of the
// previous life that could be mistaken for it.
//
// Late responses. The link may pass a response that arrives after its request timed out to up.Event:
// the core releases what it opened. It must not pass the response to the reply of this or another
// request.
//
// Messages. A request belongs to the link once Request is called: the link may change and keep it.
// What reply and the Upcalls receive belongs to the core: the link neither keeps it nor passes the
// same message twice. A link accepts requests in every edition and namespace of ECMA-323 and may send
// messages in any edition; the core converts them.
//
// Services. Every link carries out MonitorStart and MonitorStop on its devices, and SnapshotDevice,
// with which the core resynchronises after a life has ended: a snapshot has exactly the calls of the
// device that events have reported, each with its state. A link announces other services as a
// [proxy.FeatureLister]. The suite also uses MakeCall and ClearConnection.
//
// Connections. A link that keeps calls itself announces that as a [proxy.ConnectionKeeper]. It looks
// up a connection by callID and device together and refuses any other with invalidConnectionID. One that
// can say which connection an identifier without callID, without device, or with an old callID stands for
// is a [proxy.ConnectionFinder]: the core then completes it before policy decides. To other links a device
// alone goes as it is, and a callID alone gets the client's device. A link with several connections of
// one device in a call gives all but the first dynamic identifiers and is a [proxy.StaticLister], so that
// the core knows whose they are.
//
// Panics. A panic in a goroutine of the link ends the life of that link and nothing else: the link
// recovers it and returns it from Run. Run itself may panic; the core recovers that. The same holds
// for a panic of an Upcall or a reply. A link with several peers may instead end only its session with
// the peer concerned. No lock of the link may stay held. The core refuses requests that a panic leaves
// without a reply.
//
// # Outbox or Inbox
//
// Use a [proxy.Inbox] if the link keeps call state: one goroutine does everything. Use a
// [proxy.Outbox] if the link passes on events from several goroutines. Never use both, because two
// queues have no order between them; only if several Inboxes share monitors, all of them deliver
// through one Outbox (package ctserver). A link with an Inbox needs a flag of its own to refuse
// requests before Ready, since its Inbox is already open while it logs in. Run opens the Inbox first,
// gives the function of Open to whatever reads the connection, and lets Inbox.Run wait for the end of
// that.
//
// # What the core promises a link
//
// Upcalls and replies do not block. The link may hold its own lock while it calls them only if its
// Request does without that lock: the core may call Request at any time, also from the goroutine of a
// reply or an Upcall, and the link must treat that like any other request. Any goroutine of the link
// may make Upcalls.
//
// While the link has no life, the core refuses requests itself and sends the link nothing. It uses a
// reference only in the life in which the link issued it.
//
// Some requests never reach a link because the core answers them: RequestSystemStatus and
// SystemStatus, SystemRegister, SystemRegisterCancel and ChangeSysStatFilter, GetCSTAFeatures,
// GetMonitors, GetRegistrations, ChangeMonitorFilter, and those of application sessions. MonitorStart
// comes once for a device, without a filter, however many clients monitor it. MonitorStop,
// RouteRegister, RouteRegisterCancel and the responses of routeing carry the link's references,
// devices as the link writes them, and callIDs as the link issued them.
//
// # The checks
//
//   - Ready: the link comes up, and Run returns when ctx ends.
//   - NothingBeforeReady: no Upcall comes before Ready.
//   - Services: mandatory services are carried out; unknown or empty ones are refused.
//   - Editions: requests in every edition of ECMA-323 are accepted.
//   - Snapshot: SnapshotDevice has a call after MakeCall, with its state, and not after ClearConnection; in each life.
//   - Connections: a [proxy.ConnectionKeeper] refuses requests about connections that do not exist.
//   - RefusedBeforeReady: requests before the first Run are refused at once.
//   - RefusedWhileDialling: requests before Ready are refused at once.
//   - RefusedAfterRun: requests after Run are refused at once.
//   - OrderOfReplies: replies come in the order of the requests about one device.
//   - OrderOfRequests: requests reach the switching function in the order of the calls of Request.
//   - ReplyBeforeEvents: a reply comes before the events of its request.
//   - EveryMonitor: each monitor of a device gets each event once, in order, as its own message.
//   - Reentry: the core sends requests in Ready, in a reply and in an event.
//   - RunAgain: another life follows one that ctx or a lost connection has ended.
//   - References: those of the previous life are refused.
//   - NothingAfterRun: a busy link leaves no Upcall, no request and no goroutine behind.
//   - Panic: a panic in an Upcall or a reply ends that life only.
//   - SilentSwitch: requests have their replies, Run returns, and Request does not block, while the switching function is silent.
//   - CutRequest: the connection is cut after each octet of a request.
//   - CutAnswer: the connection is cut after each octet of a response.
//   - Garbage: octets that are no message arrive among others.
//   - Histories: several goroutines do random things until the life ends in a random way.
//
// # Requests of the switching function
//
// A link passes a request of the switching function to up.Request. A nil result accepts it; an error
// refuses it. If the switching function expects no response, up.Event will do.
package linktest
