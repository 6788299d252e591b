package sip

import (
	"errors"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	gosip "github.com/emiago/sipgo/sip"

	"github.com/tr87proxy/tr87proxy/internal/share"
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
	ErrCrowded        = errors.New("strangers have too many dialogs: the oldest gave way")
	ErrWithheld       = errors.New("the answer is larger than what an unproved address may get")
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

// AckHandler is a DialogHandler that wants to see the ACKs of its answers to INVITEs: they
// carry the peer's description of the session where ours was the offer (RFC 3264).
type AckHandler interface {
	DialogHandler
	Ack(d *Dialog, r *Request)
}

const (
	maxQueue       = 256     // requests waiting to be sent in one dialog
	maxQueued      = 1 << 20 // octets of their bodies
	maxOutstanding = 64      // requests sent and not answered in one dialog
	maxHeld        = 16      // requests waiting for one that was overtaken
	maxAnswers     = 2       // kept for retransmissions in a dialog of a peer that is not known
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
	names     []string   // in the certificate of the peer that opened it
	user      string     // of our Contact, as text

	subscription bool     // opened by SUBSCRIBE: it ends without BYE
	pinned       bool     // no connection is opened for it
	invitation   *opening // the INVITE that opened it, nil when we sent it
	entry        *share.Entry
	standing     atomic.Int32 // of the peer
	credit       *credit      // of the INVITE: while it is limited, nothing is sent on our own

	mu        sync.Mutex
	target    string // remote target: the peer's Contact
	routes    []string
	hop       hop // where the peer's last request came from
	localSeq  uint32
	remoteSeq uint32
	auth      *authorization
	allows    string // the peer's Allow
	added     bool   // it is in the table of dialogs
	inviting  bool   // a re-INVITE of ours is under way
	prackSeq  string // of the last provisional answer that was acknowledged
	timer     sessionTimer
	expiry    *time.Timer // refresh or end
	grace     *time.Timer // after a lost connection
	ended     bool

	// Until the ACK of a 2xx of ours, or for repetitions of the ACK we sent.
	repeat    *time.Timer
	ackWire   []byte
	ackNumber uint32 // of its CSeq

	// answers are the latest transactions whose answers are kept, while the peer is not known.
	answers []*serverTx

	// Sending: in order, one at a time on UDP.
	queue       []*outgoing
	busy        bool // UDP: one is waiting for its answer; streams: connecting
	outstanding int
	mute        int  // requests in a row that were not answered in time, on UDP
	advised     bool // the log has said what the peer's refusals mean

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
// 3261 13.3.1.4). Whoever has sent the INVITE in a datagram may have written somebody else's
// address into it, who would get all of these: so a stranger gets the 2xx once, and again
// when its INVITE comes again. Its ACK, which names our tag, proves the address.
func (d *Dialog) accept(r *Request, wire []byte) {
	tx := r.tx
	tx.req.Store(nil)
	d.mu.Lock()
	d.schedule()
	t1 := gosip.T1
	wait, total := t1, time.Duration(0)
	if r.credit.limited() {
		wait = 64 * t1
		tx.accepted.Store(&wire)
	}
	d.stopRepeat()
	if !r.known() {
		d.keepNow(tx)
	}
	d.repeat = time.AfterFunc(wait, func() {
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
	})
	d.mu.Unlock()
	tx.again(200, wire)
}

// keep notes a transaction that keeps its answer for retransmissions. The oldest one ends where
// there are too many, or at once where the dialog has ended: the peer is not known.
func (d *Dialog) keep(tx *serverTx) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.keepNow(tx)
}

// keepNow is keep for callers that hold d.mu.
func (d *Dialog) keepNow(tx *serverTx) {
	d.answers = append(d.answers, tx)
	most := maxAnswers
	if d.ended {
		most = 0
	}
	if n := len(d.answers) - most; n > 0 {
		d.dropAnswers(n)
	}
}

// dropAnswers ends the oldest n transactions that keep answers; on a goroutine of its own,
// because that may wait for a peer that takes no answer. Callers hold d.mu.
func (d *Dialog) dropAnswers(n int) {
	oldest := slices.Clone(d.answers[:n])
	d.answers = slices.Delete(d.answers, 0, n)
	if n > 0 {
		d.ua.spawn(func() {
			for _, tx := range oldest {
				tx.Terminate()
			}
		})
	}
}

// Tags returns the tags that name the dialog together with its Call-ID.
func (d *Dialog) Tags() (local, remote string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.localTag, d.remoteTag
}

// acked stops the repetition, and reports whether there was one. Any ACK of the dialog
// does: there are clients whose ACKs carry the CSeq of another INVITE.
func (d *Dialog) acked() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	waited := d.repeat != nil
	d.stopRepeat()
	return waited
}

func (d *Dialog) stopRepeat() {
	if d.repeat != nil {
		d.repeat.Stop()
		d.repeat = nil
	}
}

// receive takes a request of the dialog, in the order of CSeq as far as the
// network kept it. A lower number is no fault: clients start over after a
// refresh.
func (d *Dialog) receive(r *Request) {
	if r.Oversized() {
		r.Respond(Answer{Code: 513})
		return
	}
	number, _, _ := r.cseq()
	d.mu.Lock()
	if d.ended {
		d.mu.Unlock()
		r.Respond(Answer{Code: 481})
		return
	}
	d.heardNow()
	d.moved(r.hop)
	if r.known() {
		d.answers = nil
	}
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
		d.late(r)
	}
}

// late handles a request on a timer's goroutine.
func (d *Dialog) late(r *Request) {
	defer d.ua.survive(r.hop)
	d.handle(r)
}

// heard notes that the peer has heard from us.
func (d *Dialog) heard() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.heardNow()
}

// heardNow is heard for callers that hold d.mu.
func (d *Dialog) heardNow() {
	if d.credit.limited() {
		d.credit.lift()
		d.pump()
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
		c.dialogs.leave(d)
	}
	d.hop = h
	if c, ok := h.conn.(*streamConn); ok {
		c.raise(standing(d.standing.Load()))
		if !c.dialogs.enter(d) {
			d.lostNow()
		}
	}
}

func (d *Dialog) handle(r *Request) {
	switch r.Method() {
	case "BYE":
		r.Respond(Answer{})
		d.end(ErrBye)
	case "OPTIONS":
		r.Respond(Answer{Headers: []Header{{"Allow", d.ua.allow}, {"Supported", d.ua.supported()}}})
	case "INVITE", "UPDATE":
		d.refreshed(r)
	case "PRACK":
		in := d.invitation.waiting()
		if in == nil {
			r.Respond(Answer{Code: 481})
			return
		}
		in.acknowledged(r)
	default:
		if r.Method() != "INFO" && !slices.Contains(d.ua.cfg.InDialog, r.Method()) {
			r.Respond(Answer{Code: 405, Headers: []Header{{"Allow", d.ua.allow}}})
			return
		}
		d.handler.Request(d, r)
	}
}

// contact is our Contact towards this peer.
func (d *Dialog) contact() string {
	uri := d.ua.contactURI(d.hop)
	if d.user != "" {
		uri = WithUser(uri, d.user)
	}
	return "<" + uri + ">"
}

// lost starts the time of grace when the dialog's connection went.
func (d *Dialog) lost(c *streamConn) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.hop.conn == conn(c) {
		d.lostNow()
	}
}

// lostNow is lost for callers that hold d.mu.
func (d *Dialog) lostNow() {
	if d.ended || d.grace != nil {
		return
	}
	d.grace = time.AfterFunc(d.ua.cfg.Grace, func() { d.end(ErrConnectionLost) })
}

// via returns what the peer's last request came over.
func (d *Dialog) via() conn {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.hop.conn
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
	if in := d.invitation.waiting(); in != nil && !in.tx.answered.Load() {
		d.mu.Unlock()
		in.Respond(Answer{Code: 503})
		done(Result{Err: ErrLocalBye})
		d.end(reason)
		return
	}
	o := &outgoing{method: "BYE", done: done}
	err := ErrConnectionLost
	if !d.hop.conn.dead() && !d.subscription && !d.credit.limited() {
		d.localSeq++
		branch, send := newBranch(), d.ua.send
		if d.credit.bounded() {
			send = sendOnce
		}
		err = send("BYE", branch, d.wire(o, branch, d.localSeq), d.hop, d.named(d.localSeq), done)
	}
	d.mu.Unlock()
	if err != nil {
		done(Result{Err: err})
	}
	d.end(reason)
}

// end forgets the dialog and tells the handler.
func (d *Dialog) end(reason error) {
	if d.forget(reason) {
		defer share.Survive(d.ua.log, "the end of a dialog", nil)
		d.handler.Ended(reason)
	}
}

// Drop forgets the dialog without a word to the peer or the handler.
func (d *Dialog) Drop() { d.forget(ErrLocalBye) }

// forget takes the dialog out of the table; false when it was out already. Nothing of it
// lives on but transactions.
func (d *Dialog) forget(reason error) bool {
	d.mu.Lock()
	if d.ended {
		d.mu.Unlock()
		return false
	}
	d.ended = true
	d.stopRepeat()
	for _, t := range []*time.Timer{d.expiry, d.grace, d.heldTimer} {
		if t != nil {
			t.Stop()
		}
	}
	queue, held, added := d.queue, d.held, d.added
	d.queue, d.held = nil, nil
	d.dropAnswers(len(d.answers))
	if c, ok := d.hop.conn.(*streamConn); ok {
		c.dialogs.leave(d)
	}
	d.mu.Unlock()
	if added {
		d.ua.remove(d)
	}
	for _, r := range held {
		r.Respond(Answer{Code: 481})
	}
	for _, o := range queue {
		o.done(Result{Err: reason})
	}
	return true
}
