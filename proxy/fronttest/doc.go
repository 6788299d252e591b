// Package fronttest says what a front and the core promise each other, and tests that a front keeps
// its part, in the manner of testing/fstest: [Test] plays the same checks with every front.
//
// A front serves clients, which are computing functions, in the words of a protocol. It turns what
// they send into a uacsta.Message, and opens a proxy.Session for each, which it uses by
// [proxy.Session.Request], [proxy.Session.Unclear], [proxy.Session.Close] and [proxy.Session.Disconnected].
// The core calls the front by proxy.Client.
//
// # What the core promises a front
//
// Order. A session has one queue for answers and events. The core calls the replies of requests and
// Client.Event out of it: one call at a time, in the order of the queue. An answer stands in it
// before every event that its request causes, and a MonitorStart's before every event of the monitor;
// no event of a monitor stands behind the answer to its MonitorStop. Requests reach a link in
// the order in which the front called Request.
//
// Replies. The reply of each request is called exactly once: with the answer or the refusal, or with
// nil where the message has no answer. That holds when the client has gone, the link is lost, or the
// proxy ends; so a front may count on it to free what belongs to a request. Request never calls a
// reply itself, but another goroutine may call it before Request has returned. Once proxy.Run has
// returned, Request refuses, and calls the reply itself.
//
// Blocking. Request, Unclear, Close and Lose do not wait for a client or a link. Event and replies
// may block while the client does not take what it gets: meanwhile the queue grows. When it is full
// (Config.QueueLength, QueueOctets, QueuesOctets), the core drops the events in it and ends the
// session with proxy.ErrSlow.
//
// The end. Closed is called at most once, when the core ends the session, and never where Close or
// Lose came first. It may be called on any goroutine: while Event or a reply still runs, which it must
// then make return, and before Open has returned the session. After Close or Lose has returned, or
// Closed has been called, no call of Event begins; one that had begun may still run. Replies are
// still called. What was on its way is not taken back: a link carries out requests that it has,
// and a monitor that starts too late is stopped again. When proxy.Run returns, no call of Event or of a
// reply goes on.
//
// Re-entry. The core holds no lock when it calls a front. Event, Closed and replies may call any
// method of the session.
//
// Messages. A message belongs to whoever was given it last: the core keeps nothing of what it
// hands to Event and replies, which the front may change, and a front keeps nothing of what it hands to
// Request. An answer is in the edition of its request, an event in that of the last request of its
// client that named one, with devices as that client writes them, monitors under the client's own
// cross references, and callIDs that stay the same when the switching function changes them. Events
// that the edition does not know come as they are.
//
// Panics. A panic in Event or in a reply ends this session; one in Closed is the end of nothing
// else. The core logs it with its stack.
//
// # What a front promises the core
//
// Identity. A front opens a session only for a client of which it knows who it is, or that it has
// Opening.Sessions make say so. Opening.Valid tells whether it would be let in now. An application
// session can make the client somebody else: the front asks Session.Identity each time.
//
// Requests. A front calls Request in the order in which the client sent its requests, and hands over
// each that it can read as it came. One that can be read in two ways goes to Unclear.
//
// Answers. A front sends the answer of each request once, under the reference by which the client
// asked, and keeps the order of answers and events; a protocol that has another order says so in
// the front's README. An event that the protocol cannot say is left out. An answer that it cannot say
// becomes a refusal.
//
// Slowness. Event and replies return after a bounded time, whatever the client does. A client that
// does not take what it gets is cut off, and no other client waits for it.
//
// The end. A front closes a session when its association ends, in every case: by Close, or by
// Lose where the protocol shows that the client was cut off and may come again: monitors at the
// switching function then outlive the session for a while (proxy.Config.Linger), and a client that
// starts its monitors again gets those. The front ends the association when the core calls Closed.
// When the front is stopped, it ends all associations, and returns when no goroutine, connection or
// session of it is left. After the end of an association
// its client gets no event and no request; what it has asked may be answered still.
//
// Panics. A panic while a front serves a client ends that client's association and session alone, and
// is logged with its stack.
//
// # The checks
//
// Each is played with a new front and a new proxy.
//
//   - answers come before events: an answer comes before the events of its request.
//   - many requests: requests that are sent without waiting are answered once each, in order.
//   - an ambiguous request: a document that can be read in two ways goes to Unclear; its refusal comes in its turn.
//   - answers out of order: answers that the switching function gives in another order reach their requests.
//   - events in order: events come in order, each once, with requests between them.
//   - own references: events carry the reference that their own MonitorStart got.
//   - monitors come and go: no event comes before the answer to MonitorStart, or after that to MonitorStop.
//   - two clients on one device: each gets the events; one goes, the other stays.
//   - taking leave: a client that leaves ends its association and its session.
//   - a lost client comes back: a client that is cut off is lost (Lose), and finds its monitor again; one that leaves (Close) leaves none.
//   - cut off at every octet: the client goes behind each octet that it sends.
//   - gone while its requests are carried out: what it asked is carried out, and a monitor that nobody wants is stopped.
//   - a slow client: a client that takes nothing is cut off; others do not notice.
//   - the link is lost: requests are refused; when the link is back, clients hear what they missed.
//   - a panic: it ends the session of that client alone.
//   - the core ends the session: the association ends.
//   - the front stops: all associations end, also those whose requests are not answered.
//   - histories: several clients do random things while the link is lost and comes back.
package fronttest
