// Package fronttest describes the contract between fronts and the core and checks that a front keeps
// it, in the manner of testing/fstest: [Test] runs the same checks with every front.
//
// A front serves clients, which are computing functions, in one protocol. It decodes what they send
// into a uacsta.Message and opens a proxy.Session for each client. It uses the session by
// [proxy.Session.Request], [proxy.Session.Unclear], [proxy.Session.Close] and
// [proxy.Session.Disconnected]; below, closing means either of the last two. The core calls the front
// by proxy.Client.
//
// # What the core promises a front
//
// Order. A session has one queue for responses and events. From it the core calls the replies of
// requests and Client.Event, one call at a time and in order. A response precedes every event that its
// request causes; the response to MonitorStart precedes every event of the monitor, and none of them
// follows the response to MonitorStop. Requests reach a link in the order in which the front called
// Request.
//
// Replies. The core calls the reply of each request exactly once: with the response or refusal, or
// with nil if the message has no response. That holds also if the client has left, the link has gone
// down, or the proxy stops, so a front may rely on it to free what belongs to a request. Request
// itself does not call a reply, but another goroutine may do so before Request has returned. After
// proxy.Run has returned, Request refuses and calls the reply itself.
//
// Blocking. Request, Unclear, Close and Disconnected do not wait for a client or a link. Event and
// replies may block while the client does not read: meanwhile the queue grows. When it is full
// (Config.QueueLength, QueueOctets, QueuesOctets), the core drops the events in it and closes the
// session with proxy.ErrSlow.
//
// The end. The core calls Closed at most once, when it closes the session itself, and never after the
// front has closed it. The call may come from any goroutine: while Event or a reply is still running,
// which Closed must then make return, and before Open has returned the session. After closing has
// returned, or Closed has been called, no call of Event starts; one that has started may still run.
// Replies are still called. Requests in transit are not taken back: a link carries them out, and a
// monitor that starts too late is stopped again. When proxy.Run returns, no call of Event or of a
// reply is running.
//
// Re-entry. The core holds no lock when it calls a front. Event, Closed and replies may call any
// method of the session.
//
// Messages. A message belongs to its last receiver: the core keeps nothing of what it passes to Event
// and replies, which the front may change, and a front keeps nothing of what it passes to Request. A
// response is in the edition of its request, and an event in that of the client's last request that
// named one. Devices are written as the client writes them, monitors have the client's own cross
// references, and callIDs stay the same even if the switching function changes them. Events that the
// edition does not define are passed unchanged.
//
// Panics. A panic in Event or in a reply closes this session; a panic in Closed has no further effect.
// The core logs it with its stack.
//
// # What a front promises the core
//
// Identity. A front opens a session only for a client that it has identified, or that Opening.Sessions
// makes identify itself. Opening.Valid reports whether the client would still be accepted. An
// application session can change the identity of a client: the front calls Session.Identity each time.
//
// Requests. A front calls Request in the order in which the client sent its requests, with every
// request that it can decode, unchanged. A request that different readers could read differently goes
// to Unclear.
//
// Responses. A front sends the response of each request once, under the reference that the client
// used, and keeps the order of responses and events; a protocol with another order says so in the
// front's README. An event that the protocol cannot express is left out. A response that it cannot
// express becomes a refusal.
//
// Slowness. Event and replies return within a bounded time, whatever the client does. A client that
// does not read is disconnected, and no other client waits for it.
//
// The end. A front closes a session when its association ends, in every case: with Close, or with
// Disconnected if the protocol shows that the connection failed and the client may return. After
// Disconnected, monitors at the switching function outlive the session for a while
// (proxy.Config.Linger), and a client that starts its monitors again gets those. The front ends the
// association when the core calls Closed. When the front is stopped, it ends all associations and
// returns once none of its goroutines, connections and sessions is left. After the end of an
// association its client gets no event and no request; responses may still come.
//
// Panics. A panic while a front serves a client ends the association and session of that client only,
// and is logged with its stack.
//
// # The checks
//
// Each check runs with a new front and a new proxy.
//
//   - answers come before events: a response comes before the events of its request.
//   - many requests: requests that are sent without waiting are answered once each, in order.
//   - an ambiguous request: a document that can be read in two ways goes to Unclear, and is refused; its refusal need not
//     wait for earlier requests.
//   - answers out of order: responses that the switching function sends in another order reach their requests.
//   - events in order: events come in order, each once, with requests between them.
//   - own references: events carry the reference of their own MonitorStart.
//   - monitors come and go: no event comes before the response to MonitorStart, or after that to MonitorStop.
//   - two clients on one device: each gets the events; one leaves, the other stays.
//   - taking leave: a client that leaves ends its association and its session.
//   - a lost client comes back: a client whose connection fails (Disconnected) finds its monitor again; one that leaves (Close) leaves none.
//   - cut off at every octet: the connection fails after each octet that the client sends.
//   - gone while its requests are carried out: its requests are carried out, and a monitor that nobody needs is stopped.
//   - a slow client: a client that does not read is disconnected; others do not notice.
//   - the link is lost: requests are refused; when the link is back, clients get the events that they missed.
//   - a panic: it closes the session of that client only.
//   - the core ends the session: the association ends.
//   - the front stops: all associations end, also those with unanswered requests.
//   - histories: several clients do random things while the link goes down and comes back.
package fronttest
