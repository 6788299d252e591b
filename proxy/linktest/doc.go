// Package linktest checks that a link keeps the contract between links and the core, in the manner
// of testing/fstest: the tests of a link call [Test] with a [Kit].
//
// # What a link promises
//
// A life. Run connects and serves for one life of the link. The life begins when Run calls
// up.Ready, and ends when Run returns. A Run that does not get as far has no life. A link to one peer
// returns when it loses the connection. One to several may go on without the one that it has lost:
// it refuses what waits for that peer, and tells its monitors (OutOfService). Run is never called
// while another Run of the same link goes on, and can be called again after it has returned,
// whatever it returned: it then begins anew, and knows nothing of the life before.
//
// Nothing before Ready. Run calls up.Ready once, before any other of the Upcalls.
//
// Nothing after Run. When Run returns, no Upcall goes on and none is made any more; every request
// that the link took has its reply; goroutines, timers and connections of the link have ended. Run
// returns soon after ctx ends, whatever its peer does.
//
// Requests. Request does not block: it does not wait for the peer, a file, or a name. It can be
// called by any goroutine. Requests reach the switching function in the order of the calls. A
// request before Ready, or after Run has returned, is refused at once: reply is called before
// Request returns. Every request has its reply within the link's timeout. A link notices a dead peer
// within a bounded time, and Run returns. A link bounds what it keeps for a peer that does not read or answer, and refuses
// what is more.
//
// Replies. reply is called exactly once for each request, by any goroutine, perhaps before Request
// returns. It gets a response, or an error, or neither where the request has no response
// (uacsta.Message.OneWay). The error is a *uacsta.Error ([proxy.Refusal] makes one of an error of a
// connection). The reply comes before every event that the request causes. A service that the
// switching function does not have is refused like anything else.
//
// Events. The Upcalls about one device are made one after the other, in the order in which things
// happened. An event of a device comes once for each monitor on it, under that monitor's cross
// reference. An event of a monitor comes only after the reply that told its cross reference. After
// the reply to MonitorStop, events of the monitor can still come; the core drops them.
//
// References. A cross reference belongs to the life in which it was given, and no two monitors that
// exist at the same time have the same. In the next life the same text is another reference: links
// pass on what a switching function numbers anew at each connection, and keep nothing of the life
// before that could be mistaken for it.
//
// Late answers. A response that comes after its request was refused for want of time can be passed
// on by up.Event: the core ends what it opened. It is never given to reply, nor to that of another
// request.
//
// Messages. A request belongs to the link from the call of Request on: it may change it, and keep
// it. What reply and the Upcalls get belongs to the core: the link neither keeps it nor gives the
// same message twice. A link takes requests in every edition and every namespace of ECMA-323, and
// gives messages in whichever edition it likes; the core converts.
//
// Services. Every link carries out MonitorStart and MonitorStop on its devices, and SnapshotDevice,
// without which the core cannot compare its picture of the calls after a life has ended: a snapshot
// has the calls of the device that events have told of, each with its state, and no other. Whatever
// else there is, the link says by being a [proxy.FeatureLister]. The suite also asks for MakeCall and
// ClearConnection.
//
// Connections. A link that keeps calls itself says so by being a [proxy.ConnectionKeeper]. It finds a
// connection by its callID and its device together, and refuses what names another:
// invalidConnectionID.
//
// Faults. A panic on a goroutine of the link ends the life of that link, and nothing else: the link
// recovers it and returns it from Run. Run itself may panic; the core recovers that. This includes a
// panic of an Upcall or a reply. A panic in what a link with several peers does with one of them may
// end the session with that one instead. The link must not be left with a lock held. Requests that a
// panic leaves without reply are refused by the core.
//
// # Outbox or Inbox
//
// [proxy.Inbox]: the link keeps call state; one goroutine does everything. [proxy.Outbox]: the link
// passes events on from several goroutines. Never both: two queues have no order between them. Only
// where several Inboxes share monitors, all that they tell goes through one Outbox (package ctserver).
// A link with an Inbox refuses before Ready by a flag of its own, since its Inbox is
// open while it logs in. Run opens the Inbox first, gives the Deliverer to what reads the
// connection, and lets Inbox.Run wait for the end of that.
//
// # What the core promises a link
//
// Upcalls and replies do not block, and can be called with the link's own lock held only if the
// link's Request does without that lock: the core calls Request whenever it likes, on the goroutine
// of a reply or an Upcall too, and the link takes it as any other request. Upcalls can be called by
// any goroutine of the link.
//
// The core refuses requests itself while the link has no life, and asks nothing of the link between
// two lives. It uses a reference only in the life in which it was given.
//
// Some requests never come, because the core answers them: RequestSystemStatus and SystemStatus,
// SystemRegister, SystemRegisterCancel and ChangeSysStatFilter, GetCSTAFeatures, GetMonitors,
// GetRegistrations, ChangeMonitorFilter, and those of application sessions. MonitorStart comes for a
// device once, however many clients watch it, without a filter. MonitorStop, RouteRegister,
// RouteRegisterCancel and the answers of routeing come with the link's references, devices as the
// link writes them, callIDs as the link gave them.
//
// # The checks
//
//   - Ready: the link comes up, and ends when ctx does.
//   - NothingBeforeReady: no Upcall comes before Ready.
//   - Services: mandatory services are carried out; what is unknown or empty is refused.
//   - Editions: requests in every edition of ECMA-323 are taken.
//   - Snapshot: SnapshotDevice has a call after MakeCall, with its state, and not after ClearConnection; in each life.
//   - Connections: a [proxy.ConnectionKeeper] refuses requests about connections that are not there.
//   - RefusedBeforeReady: requests before the first Run are refused at once.
//   - RefusedWhileDialling: requests before Ready are refused at once.
//   - RefusedAfterRun: requests after Run are refused at once.
//   - OrderOfReplies: replies come in the order of the requests about one device.
//   - OrderOfRequests: requests reach the switching function in the order of the calls of Request.
//   - ReplyBeforeEvents: a reply comes before the events of its request.
//   - EveryMonitor: each monitor of a device gets each event once, in order, as a message of its own.
//   - Reentry: the core asks in Ready, in a reply and in an event.
//   - RunAgain: another life follows one that ctx or a lost connection has ended.
//   - References: those of the life before are refused.
//   - NothingAfterRun: a busy link leaves no Upcall, no request and no goroutine behind.
//   - Panic: a panic in an Upcall or a reply ends that life only.
//   - SilentSwitch: requests have their replies, Run returns, and Request does not block, while the switching function is silent.
//   - CutRequest: the connection is cut behind each octet of a request.
//   - CutAnswer: the connection is cut behind each octet of an answer.
//   - Garbage: octets that are no message come in the midst of others.
//   - Histories: several goroutines do random things until the life ends in a random way.
//
// # Requests of the switching function
//
// A request of the switching function goes to up.Request, whose error is its refusal: nil is
// consent. Where nobody waits for the answer, up.Event can take it.
package linktest
