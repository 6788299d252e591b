package sip

import (
	"bytes"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	gosip "github.com/emiago/sipgo/sip"

	"github.com/tr87proxy/tr87proxy/internal/share"
)

// Result is the outcome of a request of ours. Exactly one field is set.
type Result struct {
	Response *Response // the final response
	Err      error     // why there is none: ErrUnanswered, or a connection error
}

// Code returns the status code, or 408 without a response, as if a proxy had timed out.
func (r Result) Code() int {
	if r.Response == nil {
		return 408
	}
	return r.Response.Code()
}

// phase is the state of a client transaction (RFC 3261 17.1.1.2, 17.1.2.2, RFC 6026 7.2).
type phase int

const (
	calling    phase = iota // nothing arrived; "Trying" if the request is no INVITE
	proceeding              // a provisional response arrived
	accepted                // an INVITE got its 2xx
	completed               // an INVITE got another final response
	terminated
)

// timerD is how long an INVITE transaction answers repetitions of a refusal over UDP (RFC 3261 17.1.1.2).
const timerD = 32 * time.Second

// clientTx is a client transaction (RFC 3261 17.1). None of its methods blocks, so that the goroutine that reads a
// socket can run it.
type clientTx struct {
	ua     *UA
	key    string
	method string
	branch string
	hop    hop
	names  names
	wire   []byte
	// progress receives provisional responses above 100; nil discards them.
	progress func(*Response)
	done     func(Result)
	// forked receives the 2xx of each other telephone that answers a forked INVITE, also repeated; nil discards them.
	forked func(*Response)

	telling sync.Mutex  // held while progress or done is called
	told    atomic.Bool // done was called, or start failed

	mu        sync.Mutex
	phase     phase
	pause     time.Duration // before the next repetition
	repeat    *time.Timer   // repeats the request: timer A or E; nil on streams
	limit     *time.Timer   // ends the phase: timer B, D, F or M
	ack       []byte        // ACK of the refusal of an INVITE
	winner    string        // To tag of the first 2xx
	unwanted  bool          // the caller wants to cancel
	reason    CancelReason  // for the Reason header of the CANCEL
	cancelled bool          // the CANCEL was sent
}

// send starts a client transaction. done is called exactly once: for a response on the
// goroutine that read it, before anything the peer sent after it is handled. So it must not
// block.
func (ua *UA) send(method, branch string, wire []byte, h hop, n names, done func(Result)) error {
	_, err := ua.start(method, branch, wire, h, n, nil, done, nil)
	return err
}

// sendOnce replaces send for an address that is not validated: it neither repeats the request
// nor waits for the response.
func sendOnce(_, _ string, wire []byte, h hop, _ names, _ func(Result)) error {
	if err := h.conn.send(wire, h.addr); err != nil {
		return err
	}
	return ErrUnanswered
}

func (ua *UA) start(method, branch string, wire []byte, h hop, n names, progress func(*Response), done func(Result), forked func(*Response)) (*clientTx, error) {
	tx := &clientTx{ua: ua, key: branch + "|" + method, method: method, branch: branch, hop: h, names: n, wire: wire, progress: progress, done: done, forked: forked, pause: gosip.T1}
	tx.mu.Lock()
	tx.limit = time.AfterFunc(64*gosip.T1, tx.expired)
	if !h.conn.reliable() {
		tx.repeat = time.AfterFunc(tx.pause, tx.again)
	}
	tx.mu.Unlock()
	if !tx.enter() {
		tx.leave()
		return nil, ErrShutdown
	}
	if err := h.conn.send(wire, h.addr); err != nil {
		tx.leave()
		if !tx.told.Swap(true) { // otherwise the response arrived first
			return nil, err
		}
	}
	return tx, nil
}

// enter adds the transaction to the table. It returns false after Close, which ends every transaction that it
// finds there.
func (t *clientTx) enter() bool {
	t.ua.txMu.Lock()
	defer t.ua.txMu.Unlock()
	if t.ua.ctx.Err() != nil {
		return false
	}
	t.ua.clientTx[t.key] = t
	if c, ok := t.hop.conn.(*streamConn); ok {
		if c.clientTx == nil {
			c.clientTx = map[*clientTx]struct{}{}
		}
		c.clientTx[t] = struct{}{}
	}
	return true
}

// leave ends the transaction and removes it from the table, without a report.
func (t *clientTx) leave() {
	t.mu.Lock()
	t.phase = terminated
	t.stop()
	t.mu.Unlock()
	t.ua.txMu.Lock()
	defer t.ua.txMu.Unlock()
	delete(t.ua.clientTx, t.key)
	if c, ok := t.hop.conn.(*streamConn); ok {
		delete(c.clientTx, t)
	}
}

// stop stops the timers. Callers hold t.mu.
func (t *clientTx) stop() {
	t.limit.Stop()
	if t.repeat != nil {
		t.repeat.Stop()
	}
}

// fail ends the transaction. If there was no final response, it reports that.
func (t *clientTx) fail() {
	t.leave()
	t.telling.Lock()
	defer t.telling.Unlock()
	t.report(Result{Err: ErrUnanswered})
}

// expired ends a phase that has lasted its time.
func (t *clientTx) expired() { t.ua.spawn(t.fail) }

// again repeats the request over UDP (timers A and E).
func (t *clientTx) again() {
	defer share.Survive(t.ua.log, "repeating a request", nil)
	t.mu.Lock()
	if t.phase > proceeding || t.phase == proceeding && t.method == "INVITE" {
		t.mu.Unlock()
		return
	}
	t.pause *= 2
	if t.method != "INVITE" && (t.pause > gosip.T2 || t.phase == proceeding) {
		t.pause = gosip.T2
	}
	t.repeat.Reset(t.pause)
	t.mu.Unlock()
	if t.hop.conn.send(t.wire, t.hop.addr) != nil {
		t.expired()
	}
}

// cancel cancels an INVITE: at once, or after the first provisional response (RFC 3261 9.1).
func (t *clientTx) cancel(reason CancelReason) {
	t.mu.Lock()
	t.unwanted, t.reason = true, reason
	t.mu.Unlock()
	t.takeBack()
}

// receive handles a response on the goroutine that read it, so that responses are reported in
// order.
func (t *clientTx) receive(res *gosip.Response) {
	t.telling.Lock()
	defer t.telling.Unlock()
	r := &Response{res}
	first := t.proceed(r)
	switch {
	case res.StatusCode < 200 && first:
		t.provisional(r)
	case res.StatusCode < 200:
	case t.method == "INVITE" && res.StatusCode >= 300:
		t.acknowledge()
	case t.method == "INVITE" && !first && t.forked != nil && r.Tag() != t.first():
		t.forked(r)
	}
	if first && res.StatusCode >= 200 {
		t.report(Result{Response: r})
		if t.method != "INVITE" {
			t.leave() // so that a repeated response is dropped
		}
	}
}

// proceed enters the phase that a response begins. It returns false if the transaction has its final response
// already.
func (t *clientTx) proceed(r *Response) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch code := r.Code(); {
	case t.phase > proceeding:
		return false
	case code < 200:
		if t.phase == calling && t.method == "INVITE" {
			t.stop()
		}
		t.phase = proceeding
		return true
	case t.method != "INVITE":
	case code < 300:
		t.phase, t.winner = accepted, r.Tag()
		t.limit.Reset(64 * gosip.T1) // timer M
	default:
		t.phase = completed
		t.ack = repeated(t.wire, "ACK", r.Header("To"), "")
		t.limit.Reset(timerD)
	}
	if t.repeat != nil {
		t.repeat.Stop()
	}
	return true
}

// first returns the To tag of the first 2xx.
func (t *clientTx) first() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.winner
}

// acknowledge sends the ACK of a refused INVITE, also when the refusal is repeated (RFC 3261 17.1.1.2). On a stream
// no refusal is repeated, so the transaction ends.
func (t *clientTx) acknowledge() {
	t.mu.Lock()
	ack := t.ack
	t.mu.Unlock()
	if ack == nil {
		return
	}
	_ = t.hop.conn.send(ack, t.hop.addr)
	if t.hop.conn.reliable() {
		t.leave()
	}
}

// report reports the outcome, once. Callers hold t.telling.
func (t *clientTx) report(res Result) {
	if !t.told.Swap(true) {
		defer t.ua.survive(t.hop)
		t.done(res)
	}
}

// provisional handles a response below 200. Callers hold t.telling.
func (t *clientTx) provisional(r *Response) {
	if !t.takeBack() && t.progress != nil && r.Code() > 100 {
		t.progress(r)
	}
}

// takeBack sends the CANCEL if it is due. It reports whether the caller wants to cancel.
func (t *clientTx) takeBack() bool {
	t.mu.Lock()
	unwanted, due := t.unwanted, t.unwanted && t.phase == proceeding && !t.cancelled
	if due {
		t.cancelled = true
		t.limit.Reset(64 * gosip.T1) // the peer may answer the CANCEL but never the INVITE
	}
	reason := t.reason
	t.mu.Unlock()
	if due {
		_ = t.ua.send("CANCEL", t.branch, repeated(t.wire, "CANCEL", "", reason), t.hop, t.names, func(Result) {})
	}
	return unwanted
}

// repeated builds the ACK of a refused INVITE, or its CANCEL, from the INVITE: same Via,
// Route, From, Call-ID and CSeq number (RFC 3261 9.1, 17.1.1.3). to, if not empty, replaces the
// To header.
func repeated(invite []byte, method, to string, reason CancelReason) []byte {
	var b bytes.Buffer
	head, _, _ := strings.Cut(string(invite), "\r\n\r\n")
	for i, l := range strings.Split(head, "\r\n") {
		name, value, _ := strings.Cut(l, ": ")
		switch {
		case i == 0:
			b.WriteString(method + strings.TrimPrefix(l, "INVITE") + "\r\n")
		case name == "To" && to != "":
			line(&b, "To", to)
		case name == "Via", name == "Route", name == "From", name == "To", name == "Call-ID", name == "Max-Forwards":
			line(&b, name, value)
		case name == "CSeq":
			line(&b, name, strings.TrimSuffix(value, "INVITE")+method)
		}
	}
	if reason != "" {
		line(&b, "Reason", string(reason))
	}
	line(&b, "Content-Length", "0")
	b.WriteString("\r\n")
	return b.Bytes()
}
