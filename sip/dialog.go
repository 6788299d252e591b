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

// Errors that say why a dialog ended or a request failed.
var (
	ErrBye            = errors.New("BYE received")
	ErrLocalBye       = errors.New("closed locally")
	ErrExpired        = errors.New("session timer expired")
	ErrNoAck          = errors.New("no ACK received")
	ErrPeerLost       = errors.New("peer does not know the dialog (481)")
	ErrConnectionLost = errors.New("connection lost")
	ErrOverflow       = errors.New("peer too slow: send queue full")
	ErrCrowded        = errors.New("closed to make room: too many dialogs of strangers")
	ErrWithheld       = errors.New("response too large for an unvalidated address")
	ErrShutdown       = errors.New("shutting down")
	ErrUnanswered     = errors.New("no response in time")
)

// DialogHandler receives what the peer sends in a dialog.
type DialogHandler interface {
	// Request is called for each INFO, for each re-INVITE, for each UPDATE with a body, and for
	// the methods in [Config].InDialog, in the order the peer sent them. It must not block, and
	// must call Respond exactly once, during the call or later.
	Request(d *Dialog, r *Request)
	// Refresh returns the body of a re-INVITE that refreshes the session. It is called when we
	// are the refresher. A nil body means UPDATE, if the peer allows it.
	Refresh() (contentType string, body []byte)
	// Ended is called exactly once, as the last call. reason is one of the errors above, or a [*ByeError].
	Ended(reason error)
}

// AckHandler is implemented by a DialogHandler that needs the ACKs of its 2xx responses to
// INVITE: they carry the SDP answer if we sent the offer (RFC 3264).
type AckHandler interface {
	DialogHandler
	Ack(d *Dialog, r *Request)
}

const (
	maxQueue       = 256     // unsent requests of one dialog
	maxQueued      = 1 << 20 // octets of their bodies
	maxOutstanding = 64      // unanswered requests of one dialog
	maxHeld        = 16      // requests waiting for an overtaken one
	maxForks       = 32      // telephones behind one INVITE of ours
	maxAnswers     = 2       // responses kept for retransmission to a stranger
)

// Dialog is a SIP dialog (RFC 3261 12) in either role. Its methods are safe for concurrent use.
type Dialog struct {
	ua        *UA
	handler   DialogHandler
	callID    string
	localTag  string
	remoteTag string
	local     string     // From of our requests, with tag
	remote    string     // To of our requests: the peer's From or To, unchanged
	peer      netip.Addr // charged for the dialog in the table
	names     []string   // in the certificate of the peer that opened it
	user      string     // user part of our Contact, unescaped

	subscription bool     // opened by SUBSCRIBE: ends without BYE
	pinned       bool     // never dial for it
	invitation   *opening // the INVITE that opened it; nil if we sent it
	entry        *share.Entry
	standing     atomic.Int32 // of the peer
	credit       *credit      // of the INVITE: while limited, we send no requests

	mu        sync.Mutex
	target    string // remote target: the URI in the peer's Contact
	routes    []string
	hop       hop // path of the peer's last request
	localSeq  uint32
	remoteSeq uint32
	auth      *authorization
	allows    string            // the peer's Allow
	added     bool              // in the table of dialogs
	inviting  bool              // a re-INVITE of ours is pending
	rseqs     map[string]uint64 // RSeq of the last reliable provisional response, by its To tag
	forks     map[string]bool   // To tags of other telephones that have answered the INVITE
	timer     sessionTimer
	expiry    *time.Timer // refreshes or ends the session
	grace     *time.Timer // after the connection was lost
	leaving   bool        // our BYE waits for an ACK
	closing   bool        // a BYE was sent or received: nothing may follow it
	ended     bool

	// repeat resends our 2xx until the ACK. ackWire is our ACK, resent for a repeated 2xx.
	repeat    *time.Timer
	ackWire   []byte
	ackNumber uint32 // CSeq number of ackWire

	unacked []func() // send what waits for this ACK: re-INVITEs, BYE

	// answers are the latest transactions that keep their response, while the peer is not
	// known.
	answers []*serverTx

	// Sending: in order, one at a time on UDP.
	queue       []*outgoing
	busy        bool // UDP: a request awaits its response; streams: reconnecting
	outstanding int
	mute        int  // consecutive requests without a response in time, on UDP
	advised     bool // the advice on 401, 407 and 503 has been logged

	// Receiving: UDP requests that overtook another one.
	held      map[uint32]*Request
	heldTimer *time.Timer
}

type outgoing struct {
	method      string
	contentType string
	body        []byte
	headers     []Header
	retried     bool // resent with credentials
	done        func(Result)
}

// CallID returns the dialog's Call-ID.
func (d *Dialog) CallID() string { return d.callID }

// Peer returns the source of the dialog's last request.
func (d *Dialog) Peer() Peer {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.hop.peer()
}

// accept sends the 2xx that opens the dialog and repeats it until the ACK (RFC 3261 13.3.1.4).
// The source address of a datagram can be forged, and a victim would receive all repetitions.
// So a stranger gets the 2xx once, and again each time it repeats its INVITE. An ACK with our
// tag validates the address.
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

// keep records a transaction that keeps its response for retransmissions to a peer that is not
// known. It terminates the oldest one if there are too many, and all of them once the dialog
// has ended.
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

// dropAnswers terminates the oldest n kept transactions on a goroutine of its own: Terminate
// may wait for a peer that does not read. Callers hold d.mu.
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

// Tags returns the tags that, with the Call-ID, identify the dialog (RFC 3261 12).
func (d *Dialog) Tags() (local, remote string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.localTag, d.remoteTag
}

// acknowledged handles the ACK of our 2xx: it stops the repetition, and sends what has waited. Any ACK in the dialog
// counts: the ACKs of some clients carry the CSeq of another INVITE.
func (d *Dialog) acknowledged(r *Request) {
	d.mu.Lock()
	tell, unacked := d.repeat != nil && !d.leaving, d.unacked
	d.unacked = nil
	d.stopRepeat()
	d.mu.Unlock()
	if h, ok := d.handler.(AckHandler); ok && tell {
		h.Ack(d, r)
	}
	for _, send := range unacked {
		send()
	}
}

func (d *Dialog) stopRepeat() {
	if d.repeat != nil {
		d.repeat.Stop()
		d.repeat = nil
	}
}

// receive handles a request in the dialog, in CSeq order unless the network lost one. A lower
// CSeq is accepted: some clients restart their numbering after a refresh.
func (d *Dialog) receive(r *Request) {
	if r.Oversized() {
		r.Respond(Answer{Code: 513})
		return
	}
	number, _, _ := r.cseq()
	d.mu.Lock()
	if d.ended || d.leaving && r.Method() != "BYE" {
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

// release handles held requests that directly follow the last one.
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

// releaseAll stops waiting for overtaken requests and handles the held ones in CSeq order.
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

// heard records that the peer received something from us, which validates its address.
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

// moved records the peer's current path and cancels the grace period. Callers hold d.mu.
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
		d.mu.Lock()
		d.closing = true
		d.mu.Unlock()
		r.Respond(Answer{})
		why := r.Causes()
		if in := d.invitation.waiting(); in != nil {
			in.tx.withdraw(why) // RFC 3261 15.1.2
		}
		d.end(&ByeError{why})
	case "OPTIONS":
		r.Respond(d.ua.options())
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

// contact returns our Contact header towards this peer.
func (d *Dialog) contact() string {
	uri := d.ua.contactURI(d.hop)
	if d.user != "" {
		uri = WithUser(uri, d.user)
	}
	return "<" + uri + ">"
}

// lost starts the grace period after the dialog's connection was lost.
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

// via returns the socket of the peer's last request.
func (d *Dialog) via() conn {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.hop.conn
}

// Bye ends the dialog with BYE, once the peer has acknowledged our 2xx to its INVITE (RFC 3261 15). The handler's Ended
// gets [ErrLocalBye].
func (d *Dialog) Bye() { d.bye(ErrLocalBye, func(Result) {}) }

func (d *Dialog) bye(reason error, done func(Result)) {
	d.mu.Lock()
	switch waits := d.repeat != nil && errors.Is(reason, ErrLocalBye); {
	case d.ended, d.closing, waits && d.leaving: // leaving: one waits already
		d.mu.Unlock()
		done(Result{Err: ErrLocalBye})
		return
	case waits:
		d.leaving = true
		useless := d.unacked
		d.unacked = []func(){func() { d.bye(reason, done) }}
		d.mu.Unlock()
		for _, send := range useless { // which fails
			send()
		}
		return
	}
	d.closing = true
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

// end removes the dialog and calls the handler's Ended.
func (d *Dialog) end(reason error) {
	if d.forget(reason) {
		defer share.Survive(d.ua.log, "closing a dialog", nil)
		d.handler.Ended(reason)
	}
}

// Drop removes the dialog without sending anything and without calling the handler.
func (d *Dialog) Drop() { d.forget(ErrLocalBye) }

// forget removes the dialog from the table and releases its state, except for open
// transactions. It returns false if the dialog had already ended.
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
	queue, held, added, unacked := d.queue, d.held, d.added, d.unacked
	d.queue, d.held, d.unacked = nil, nil, nil
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
	for _, send := range unacked { // which fails
		send()
	}
	return true
}
