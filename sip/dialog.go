package sip

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"time"

	gosip "github.com/emiago/sipgo/sip"
)

// Why dialogs and requests end.
var (
	ErrBye            = errors.New("the peer sent BYE")
	ErrLocalBye       = errors.New("ended here")
	ErrExpired        = errors.New("no session refresh in time")
	ErrNoAck          = errors.New("no ACK")
	ErrPeerLost       = errors.New("the peer does not know the dialog any more (481)")
	ErrConnectionLost = errors.New("connection lost")
	ErrOverflow       = errors.New("too many messages waiting for a slow peer")
	ErrShutdown       = errors.New("shutting down")
	ErrUnanswered     = errors.New("no answer")
)

// DialogHandler gets what comes in a dialog.
type DialogHandler interface {
	// Request is called for each INFO, and for each re-INVITE and UPDATE that
	// refreshes the session, in the order in which the peer sent them. It must
	// not block, and must Respond to the request once, then or later.
	Request(d *Dialog, r *Request)
	// Refresh returns the body of a re-INVITE that refreshes the session, when
	// refreshing is up to us; none sends UPDATE if the peer allows it.
	Refresh() (contentType string, body []byte)
	// Ended is called once, last.
	Ended(reason error)
}

const (
	maxQueue       = 256 // requests waiting to be sent in one dialog
	maxOutstanding = 64  // requests sent and not answered in one dialog
	maxHeld        = 16  // requests waiting for one that was overtaken
)

// Dialog is one dialog (RFC 3261 12), as either side.
type Dialog struct {
	ua        *UA
	handler   DialogHandler
	callID    string
	localTag  string
	remoteTag string
	local     string     // our From, with tag, when we send
	remote    string     // our To when we send: the peer's From or To as it wrote it
	peer      netip.Addr // counted against the limit of dialogs for each peer

	mu        sync.Mutex
	target    string // remote target: the peer's Contact
	routes    []string
	hop       hop // where the peer's last request came from
	localSeq  uint32
	remoteSeq uint32
	auth      *authorization
	allows    string // the peer's Allow
	timer     sessionTimer
	expiry    *time.Timer // refresh or end
	grace     *time.Timer // after a lost connection
	ended     bool

	// Until the ACK of a 2xx of ours, or for repetitions of the ACK we sent.
	repeat  *time.Timer
	ackWire []byte

	// Sending: in order, one at a time on UDP.
	queue       []*outgoing
	busy        bool // UDP: one is waiting for its answer; streams: connecting
	outstanding int
	mute        int // requests in a row that the peer never answered

	// Receiving: what overtook another on UDP waits for it.
	held      map[uint32]*Request
	heldTimer *time.Timer
}

type outgoing struct {
	method      string
	contentType string
	body        []byte
	headers     []Header
	retried     bool // with credentials
	done        func(Result)
}

// CallID returns the dialog's Call-ID.
func (d *Dialog) CallID() string { return d.callID }

// Peer returns where the dialog's last request came from.
func (d *Dialog) Peer() Peer {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.hop.peer()
}

func (d *Dialog) peerAddr() netip.Addr {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.hop.addr.Addr()
}

// accept sends the 2xx that opens the dialog, and again until the ACK comes (RFC
// 3261 13.3.1.4).
func (d *Dialog) accept(r *Request, a Answer) {
	wire := r.response(a)
	tx := r.tx
	tx.req.Store(nil)
	d.mu.Lock()
	d.schedule()
	t1 := gosip.T1
	wait, total := t1, time.Duration(0)
	d.stopRepeat()
	var again func()
	again = func() {
		d.mu.Lock()
		if d.repeat == nil {
			d.mu.Unlock()
			return
		}
		if total += wait; total >= 64*t1 {
			d.mu.Unlock()
			d.bye(ErrNoAck, func(Result) {})
			return
		}
		wait = min(2*wait, gosip.T2)
		d.repeat.Reset(wait)
		d.mu.Unlock()
		tx.again(200, wire)
	}
	d.repeat = time.AfterFunc(wait, again)
	d.mu.Unlock()
	tx.again(200, wire)
}

// acked stops the repetition. Any ACK of the dialog does: there are clients whose
// ACKs carry the CSeq of another INVITE.
func (d *Dialog) acked() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.stopRepeat()
}

func (d *Dialog) stopRepeat() {
	if d.repeat != nil {
		d.repeat.Stop()
		d.repeat = nil
	}
}

// schedule starts the session timer anew.
func (d *Dialog) schedule() {
	if d.expiry != nil {
		d.expiry.Stop()
	}
	if d.ended {
		return
	}
	switch t := d.timer; {
	case t.interval == 0:
		d.expiry = time.AfterFunc(d.ua.cfg.MaxSession, func() { d.bye(ErrExpired, func(Result) {}) })
	case t.ours:
		d.expiry = time.AfterFunc(t.interval/2, d.refresh)
	default:
		// RFC 4028 10: BYE a third of the interval, at most 32 s, before its end.
		d.expiry = time.AfterFunc(t.interval-min(32*time.Second, t.interval/3), func() { d.bye(ErrExpired, func(Result) {}) })
	}
}

// receive takes a request of the dialog, in the order of CSeq as far as the
// network kept it. A lower number is no fault: clients start over after a
// refresh.
func (d *Dialog) receive(r *Request) {
	number, _, _ := r.cseq()
	d.mu.Lock()
	if d.ended {
		d.mu.Unlock()
		r.Respond(Answer{Code: 481})
		return
	}
	d.moved(r.hop)
	if !r.hop.conn.reliable() && number > d.remoteSeq+1 && number <= d.remoteSeq+maxHeld && r.Method() != "BYE" {
		if d.held == nil {
			d.held = map[uint32]*Request{}
			d.heldTimer = time.AfterFunc(d.ua.cfg.ReorderWait, d.releaseAll)
		}
		if d.held[number] == nil && len(d.held) < maxHeld {
			d.held[number] = r
			d.mu.Unlock()
			return
		}
	}
	d.remoteSeq = number
	d.mu.Unlock()
	d.handle(r)
	d.release()
}

// release hands on what waited for the request just handled.
func (d *Dialog) release() {
	for {
		d.mu.Lock()
		r := d.held[d.remoteSeq+1]
		if r != nil {
			d.remoteSeq++
			delete(d.held, d.remoteSeq)
			if len(d.held) == 0 {
				d.heldTimer.Stop()
				d.held = nil
			}
		}
		d.mu.Unlock()
		if r == nil {
			return
		}
		d.handle(r)
	}
}

// releaseAll gives up waiting: what was overtaken is lost, or will be late.
func (d *Dialog) releaseAll() {
	for {
		d.mu.Lock()
		lowest := uint32(0)
		for n := range d.held {
			if lowest == 0 || n < lowest {
				lowest = n
			}
		}
		r := d.held[lowest]
		if r == nil {
			d.held = nil
			d.mu.Unlock()
			return
		}
		delete(d.held, lowest)
		d.remoteSeq = lowest
		d.mu.Unlock()
		d.handle(r)
	}
}

// moved notes where the peer is now, and that it is there at all.
func (d *Dialog) moved(h hop) {
	if d.grace != nil {
		d.grace.Stop()
		d.grace = nil
	}
	if h == d.hop {
		return
	}
	if c, ok := d.hop.conn.(*streamConn); ok {
		c.dialogs.Add(-1)
	}
	if c, ok := h.conn.(*streamConn); ok {
		c.dialogs.Add(1)
	}
	d.hop = h
}

func (d *Dialog) handle(r *Request) {
	switch r.Method() {
	case "BYE":
		r.Respond(Answer{})
		d.end(ErrBye)
	case "OPTIONS":
		r.Respond(Answer{Headers: []Header{{"Allow", allow}, {"Supported", "timer"}}})
	case "INVITE", "UPDATE":
		d.refreshed(r)
	case "INFO":
		d.handler.Request(d, r)
	default:
		r.Respond(Answer{Code: 405, Headers: []Header{{"Allow", allow}}})
	}
}

// refreshed handles a re-INVITE or UPDATE: a target refresh and a session refresh
// (RFC 3261 12.2.2, RFC 4028 9). The body is the handler's.
func (d *Dialog) refreshed(r *Request) {
	timer, refusal := d.ua.negotiate(r, false)
	if refusal != nil {
		r.Respond(*refusal)
		return
	}
	d.mu.Lock()
	if c := r.Header("Contact"); c != "" {
		d.target = parseAddress(c).URI
	}
	if timer.interval > 0 || d.timer.interval == 0 {
		d.timer = timer
	}
	d.schedule()
	d.mu.Unlock()
	r.extra = append([]Header{{"Contact", d.contact()}, {"Allow", allow}}, timer.headers()...)
	if r.Method() == "UPDATE" && len(r.Body()) == 0 {
		r.Respond(Answer{})
		return
	}
	d.handler.Request(d, r)
}

// RespondRefresh answers a re-INVITE: a 2xx is repeated until the ACK.
func (d *Dialog) RespondRefresh(r *Request, a Answer) {
	if r.Method() != "INVITE" || a.Code != 0 && a.Code/100 != 2 || r.tx.answered.Swap(true) {
		r.Respond(a)
		return
	}
	a.Code = 200
	d.accept(r, a)
}

// contact is our Contact towards this peer.
func (d *Dialog) contact() string { return "<" + d.ua.contactURI(d.hop) + ">" }

// Send sends a request in the dialog, behind all that were sent before. It does
// not block; done, which may be nil, is called once with what became of it. Over
// TCP and TLS the next request goes out at once, over UDP when this one has its
// answer, or after a short wait: there are clients that never answer.
func (d *Dialog) Send(method, contentType string, body []byte, done func(Result), headers ...Header) {
	if done == nil {
		done = func(Result) {}
	}
	o := &outgoing{method: method, contentType: contentType, body: body, headers: headers, done: done}
	d.mu.Lock()
	switch {
	case d.ended:
		d.mu.Unlock()
		done(Result{Err: ErrLocalBye})
		return
	case len(d.queue) >= maxQueue:
		d.mu.Unlock()
		done(Result{Err: ErrOverflow})
		d.bye(ErrOverflow, func(Result) {})
		return
	}
	d.queue = append(d.queue, o)
	d.pump()
	d.mu.Unlock()
}

// pump sends what can be sent now. The lock is held across the write, so that
// CSeq rises in the order of the wire. Callers hold d.mu.
func (d *Dialog) pump() {
	for len(d.queue) > 0 && !d.busy {
		if d.hop.conn.dead() {
			d.busy = true
			d.ua.group.Add(1)
			go d.reconnect()
			return
		}
		o := d.queue[0]
		d.queue = d.queue[1:]
		if len(d.queue) == 0 {
			d.queue = nil
		}
		d.transmit(o)
	}
}

func (d *Dialog) transmit(o *outgoing) {
	d.localSeq++
	branch := newBranch()
	wire := d.wire(o, branch, d.localSeq)
	paced := !d.hop.conn.reliable()
	var once sync.Once
	next := func() {
		once.Do(func() {
			d.mu.Lock()
			d.busy = false
			d.pump()
			d.mu.Unlock()
		})
	}
	var wait *time.Timer
	if paced {
		d.busy = true
		patience := d.ua.cfg.EventWait
		if d.mute >= 3 {
			patience = min(patience, 100*time.Millisecond) // this peer never answers
		}
		wait = time.AfterFunc(patience, next)
	}
	if !paced && d.outstanding >= maxOutstanding {
		// This peer answers nothing: no transaction waits for it any more. A 481
		// still finds its dialog.
		err := d.hop.conn.send(wire, d.hop.addr)
		if err == nil {
			err = ErrUnanswered
		}
		go o.done(Result{Err: err})
		return
	}
	d.outstanding++
	err := d.ua.send(o.method, branch, wire, d.hop, func(res Result) {
		d.mu.Lock()
		d.outstanding--
		d.mu.Unlock()
		d.answered(o, res)
		if paced {
			wait.Stop()
			next()
		}
	})
	if err != nil {
		d.outstanding--
		if paced {
			wait.Stop()
			d.busy = false
		}
		go o.done(Result{Err: fmt.Errorf("%w: %w", ErrConnectionLost, err)})
	}
}

// answered looks at what an answer means for the dialog, then passes it on.
func (d *Dialog) answered(o *outgoing, res Result) {
	code := res.Code()
	d.mu.Lock()
	if res.Response == nil {
		d.mute++
		d.ua.stats.Unanswered.Add(1)
	} else {
		d.mute = 0
	}
	auth := d.auth
	d.mu.Unlock()
	if (code == 401 || code == 407) && auth != nil && !o.retried && auth.challenge(res.Response) {
		o.retried = true
		d.mu.Lock()
		d.queue = append([]*outgoing{o}, d.queue...)
		d.pump()
		d.mu.Unlock()
		return
	}
	o.done(res)
	switch {
	case code == 481:
		d.end(ErrPeerLost)
	case code == 401 || code == 407:
		d.ua.log.Warn("the peer asks us to authenticate: it does not list this host as trusted application", "peer", d.Peer().String(), "code", code)
	case code == 503:
		d.ua.log.Warn("the peer throttles our requests: it does not treat this host as server", "peer", d.Peer().String())
	}
}

// wire writes a request of ours (RFC 3261 12.2.1.1).
func (d *Dialog) wire(o *outgoing, branch string, number uint32) []byte {
	var b bytes.Buffer
	b.Grow(1024 + len(o.body))
	uri, routes := d.route()
	fmt.Fprintf(&b, "%s %s SIP/2.0\r\n", o.method, uri)
	line(&b, "Via", d.ua.via(d.hop, branch))
	for _, r := range routes {
		line(&b, "Route", r)
	}
	line(&b, "Max-Forwards", "70")
	line(&b, "From", d.local)
	line(&b, "To", d.remote)
	line(&b, "Call-ID", d.callID)
	line(&b, "CSeq", strconv.FormatUint(uint64(number), 10)+" "+o.method)
	line(&b, "Contact", d.contact())
	if d.auth != nil {
		if name, value := d.auth.header(o.method, uri, o.body); value != "" {
			line(&b, name, value)
		}
	}
	for _, h := range o.headers {
		line(&b, h.Name, h.Value)
	}
	d.ua.end(&b, o.contentType, o.body)
	return b.Bytes()
}

// route returns Request-URI and Route headers. A first route without lr is a
// strict router: it takes the place of the target (RFC 3261 12.2.1.1).
func (d *Dialog) route() (uri string, routes []string) {
	if len(d.routes) == 0 {
		return d.target, nil
	}
	first := parseAddress(d.routes[0]).URI
	if ParseURI(first).Loose {
		return d.target, d.routes
	}
	return first, append(append([]string{}, d.routes[1:]...), "<"+d.target+">")
}

// reconnect opens a way to the peer after its connection is gone: to the first
// Route, else to its Contact.
func (d *Dialog) reconnect() {
	defer d.ua.group.Done()
	d.mu.Lock()
	uri := d.target
	if len(d.routes) > 0 {
		uri = parseAddress(d.routes[0]).URI
	}
	old := d.hop
	d.mu.Unlock()
	ctx, cancel := context.WithTimeout(d.ua.ctx, 5*time.Second)
	defer cancel()
	h, err := d.ua.dial(ctx, uri, old.conn.transport())
	d.mu.Lock()
	d.busy = false
	if err == nil && d.hop == old && !d.ended {
		d.moved(h)
	}
	if !d.hop.conn.dead() {
		d.pump()
		d.mu.Unlock()
		return
	}
	failed := d.queue
	d.queue = nil
	d.mu.Unlock()
	d.ua.log.Info("no way back to the peer", "uri", uri, "err", err)
	for _, o := range failed {
		o.done(Result{Err: ErrConnectionLost})
	}
}

// lost starts the time of grace when the dialog's connection went.
func (d *Dialog) lost(c *streamConn) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.hop.conn != conn(c) || d.ended || d.grace != nil {
		return
	}
	d.grace = time.AfterFunc(d.ua.cfg.Grace, func() { d.end(ErrConnectionLost) })
}

// refresh renews the session when that is up to us (RFC 4028 7.2), with UPDATE
// when the handler has no body and the peer takes it.
func (d *Dialog) refresh() {
	contentType, body := d.handler.Refresh()
	d.mu.Lock()
	interval := d.timer.interval
	who := ";refresher=uac" // the refresher is the client of its own request
	update := body == nil && strings.Contains(d.allows, "UPDATE")
	d.mu.Unlock()
	headers := []Header{{"Supported", "timer"}, {"Session-Expires", strconv.Itoa(int(interval/time.Second)) + who}}
	if update {
		d.Send("UPDATE", "", nil, d.renewed, headers...)
		return
	}
	d.reinvite(contentType, body, headers)
}

func (d *Dialog) renewed(res Result) {
	if res.Code()/100 == 2 {
		d.mu.Lock()
		d.schedule()
		d.mu.Unlock()
		return
	}
	if res.Code() != 481 { // that ends the dialog anyway
		d.bye(ErrExpired, func(Result) {})
	}
}

// Bye ends the dialog and tells the peer.
func (d *Dialog) Bye() { d.bye(ErrLocalBye, func(Result) {}) }

func (d *Dialog) bye(reason error, done func(Result)) {
	d.mu.Lock()
	if d.ended {
		d.mu.Unlock()
		done(Result{Err: ErrLocalBye})
		return
	}
	o := &outgoing{method: "BYE", done: done}
	var err error = ErrConnectionLost
	if !d.hop.conn.dead() {
		d.localSeq++
		branch := newBranch()
		err = d.ua.send("BYE", branch, d.wire(o, branch, d.localSeq), d.hop, done)
	}
	d.mu.Unlock()
	if err != nil {
		done(Result{Err: err})
	}
	d.end(reason)
}

// end forgets the dialog. Nothing of it lives on but transactions.
func (d *Dialog) end(reason error) {
	d.mu.Lock()
	if d.ended {
		d.mu.Unlock()
		return
	}
	d.ended = true
	d.stopRepeat()
	for _, t := range []*time.Timer{d.expiry, d.grace, d.heldTimer} {
		if t != nil {
			t.Stop()
		}
	}
	queue, held := d.queue, d.held
	d.queue, d.held = nil, nil
	if c, ok := d.hop.conn.(*streamConn); ok {
		c.dialogs.Add(-1)
	}
	d.mu.Unlock()
	d.ua.mu.Lock()
	delete(d.ua.dialogs, d.localTag)
	if d.ua.perPeer[d.peer]--; d.ua.perPeer[d.peer] <= 0 {
		delete(d.ua.perPeer, d.peer)
	}
	d.ua.mu.Unlock()
	for _, r := range held {
		r.Respond(Answer{Code: 481})
	}
	for _, o := range queue {
		o.done(Result{Err: reason})
	}
	d.handler.Ended(reason)
}
