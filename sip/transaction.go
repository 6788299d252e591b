package sip

import (
	"bytes"
	"cmp"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync/atomic"
	"time"

	gosip "github.com/emiago/sipgo/sip"

	"github.com/tr87proxy/tr87proxy/internal/share"
)

// quiet silences sipgo: this package logs what matters.
var quiet = slog.New(slog.DiscardHandler)

// serverTx is a server transaction (RFC 3261 17.2). sipgo's transaction provides states and
// timers. It stores empty shells instead of messages, and the octets of the last response.
type serverTx struct {
	*gosip.ServerTx
	ua       *UA
	key      string
	hop      hop
	to       hop // where responses go
	req      atomic.Pointer[Request]
	answered atomic.Bool
	refused  atomic.Pointer[string] // our To tag, if with 300 or above: the ACK of an INVITE is part of the transaction
	entry    *share.Entry           // guarded by ua.txMu
	credit   *credit
	accepted atomic.Pointer[[]byte] // the 2xx to resend when the INVITE is repeated
	expiry   *time.Timer            // guarded by ua.txMu; withdraws an INVITE after its Expires; nil without one
	// cancelled is called when the client cancels.
	cancelled atomic.Pointer[func(Causes)]
}

// shells holds the placeholders that transactions keep instead of requests: sipgo's state
// machines look only at method and transport.
var shells = func() map[string]*gosip.Request {
	m := map[string]*gosip.Request{}
	for method := range strings.SplitSeq(basic, ", ") {
		for _, transport := range []string{"UDP", "TCP", "TLS"} {
			m[method+transport] = newShell(method, transport)
		}
	}
	return m
}()

func newShell(method, transport string) *gosip.Request {
	r := &gosip.Request{Method: gosip.RequestMethod(method)}
	r.SetTransport(transport)
	return r
}

// timers returns the transport whose timers apply: sipgo retransmits only over UDP, and DTLS
// needs it, too.
func timers(c conn) string {
	if !c.reliable() {
		return "UDP"
	}
	return c.transport()
}

func shell(method, transport string) *gosip.Request {
	if r := shells[method+transport]; r != nil {
		return r
	}
	return newShell(method, transport)
}

// serverKey returns the key of a server transaction. With an RFC 3261 branch it is branch,
// sent-by and method (17.2.3) with the source address, otherwise everything that distinguishes
// two requests: clients of the Lync family send no branch, restart their CSeq, and share
// Call-ID and From tag with other users who signed in at the same second. toTag is that of the
// transaction's request.
func serverKey(r *Request, method, toTag string) string {
	value := r.Header("Via")
	v, _ := parseVia(value)
	if b := v.branch(); strings.HasPrefix(b, branchCookie) && len(b) > len(branchCookie) {
		return b + "|" + strings.ToLower(v.sentBy) + "|" + method + "|" + r.hop.addr.String()
	}
	number, _, _ := r.cseq()
	return fmt.Sprintf("%s|%s|%s|%s|%d|%s|%s|%s", r.hop.peer(), method, r.Header("Call-ID"), r.Header("From"), number, toTag, r.URI(), value)
}

// begin opens the transaction of a request. It returns false if the request was a
// retransmission or the table is full.
func (ua *UA) begin(r *Request) bool {
	key := serverKey(r, r.Method(), r.To().Tag())
	ua.txMu.Lock()
	first := ua.serverTx[key]
	ua.txMu.Unlock()
	if first != nil {
		first.receiveAgain(r)
		return false
	}
	tx := &serverTx{ua: ua, key: key, hop: r.hop, credit: r.credit}
	tx.to = hop{r.hop.conn, r.hop.answerTo(r.Header("Via"))}
	tx.req.Store(r)
	r.tx = tx
	tx.ServerTx = gosip.NewServerTx(key, shell(r.Method(), timers(r.hop.conn)), tx, quiet)
	tx.OnTerminate(tx.forget)
	entry, err := tx.enter(r)
	if err != nil {
		ua.stats.Refused.Add(1)
		r.once(Answer{Code: 503, Headers: []Header{{"Retry-After", "10"}}})
		return false
	}
	ua.txMu.Lock()
	tx.entry = entry
	first = ua.serverTx[key]
	if first == nil && !tx.answered.Load() { // answered here means already evicted
		ua.serverTx[key] = tx
		if c, ok := tx.hop.conn.(*streamConn); ok {
			if c.serverTx == nil {
				c.serverTx = map[*serverTx]struct{}{}
			}
			c.serverTx[tx] = struct{}{}
		}
	}
	ua.txMu.Unlock()
	if first != nil { // another socket received it at the same moment
		entry.Leave()
		first.receiveAgain(r)
		return false
	}
	_ = tx.Init()
	return true
}

// enter reserves an entry in the table of transactions. Strangers cannot evict the transactions
// of known peers, or those in their dialogs. A datagram's source address can be forged, so over
// UDP and outside dialogs a trusted peer counts as known only.
func (t *serverTx) enter(r *Request) (*share.Entry, error) {
	s := standing(r.standing.Load())
	if s == trusted {
		if r.dialog != nil || r.hop.conn.transport() != "UDP" {
			return t.ua.transactionShares.EnterTrusted(r.hop.addr.Addr())
		}
		s = known
	}
	return t.ua.transactionShares.EnterAs(r.hop.addr.Addr(), share.Class(s), func(error) { t.evict() })
}

// evict terminates a transaction to make room. If it was not answered, it never will be.
func (t *serverTx) evict() {
	t.answered.Store(true)
	t.ua.stats.EvictedTransactions.Add(1)
	t.ua.spawn(t.Terminate) // may wait for a peer that does not read
}

// forget removes the transaction from the table.
func (t *serverTx) forget(string, error) {
	t.ua.txMu.Lock()
	if t.expiry != nil {
		t.expiry.Stop()
	}
	if t.ua.serverTx[t.key] == t {
		delete(t.ua.serverTx, t.key)
	}
	if c, ok := t.hop.conn.(*streamConn); ok {
		delete(c.serverTx, t)
	}
	entry := t.entry
	t.ua.txMu.Unlock()
	entry.Leave()
}

// receiveAgain handles a retransmission.
func (t *serverTx) receiveAgain(r *Request) {
	t.ua.stats.Retransmissions.Add(1)
	t.credit.earn(r.size)
	if wire := t.accepted.Load(); wire != nil && t.credit.limited() {
		t.again(200, *wire)
		return
	}
	_ = t.Receive(&gosip.Request{Method: r.msg.Method})
}

func (t *serverTx) respond(r *Request, a Answer) {
	if a.Code == 0 {
		a.Code = 200
	}
	if t.answered.Swap(true) {
		return
	}
	if a.Code >= 300 {
		t.refuses(r)
	}
	t.req.Store(nil) // keep only the response for retransmissions
	if r.fleeting(a.Code) {
		t.Terminate()
		r.once(a)
		return
	}
	r.tag()
	t.again(a.Code, r.response(a, whole))
	if t.hop.conn.reliable() && r.Method() != "INVITE" {
		t.Terminate()
	}
}

// refuses notes the To tag of a refusal, which its ACK repeats.
func (t *serverTx) refuses(r *Request) {
	r.tag()
	tag := cmp.Or(r.toTag, r.To().Tag())
	t.refused.Store(&tag)
}

// again passes a response to the transaction: once, and for each repetition of a 2xx to INVITE.
func (t *serverTx) again(code int, wire []byte) {
	if wire == nil { // the peer's credit does not cover it
		return
	}
	res := &gosip.Response{StatusCode: code}
	res.SetBody(bytes.Clone(wire)) // without its spare capacity
	if err := t.Respond(res); err != nil {
		t.ua.log.Debug("could not send response", "peer", t.to.addr.String(), "err", err)
	}
}

// WriteMsg implements gosip.Connection. It sends the octets that a shell carries. For responses
// that sipgo generates (100, 487) it builds them. It recovers from a panic: sipgo calls it with a lock held, for which
// the next repetition of the request would wait for ever.
func (t *serverTx) WriteMsg(m gosip.Message) error {
	defer t.ua.survive(t.hop)
	wire := m.Body()
	if len(wire) == 0 {
		r := t.req.Load()
		if r == nil {
			return nil
		}
		code := m.(*gosip.Response).StatusCode
		if code != 100 {
			r.tag()
		} else if t.credit.limited() { // save the credit for the final response
			return nil
		}
		wire = r.response(Answer{Code: code}, whole)
	}
	if !t.credit.spend(len(wire)) {
		t.ua.stats.Withheld.Add(1)
		return nil
	}
	return t.to.conn.send(wire, t.to.addr)
}

// The rest of gosip.Connection: the transaction does not own the connection.

func (t *serverTx) LocalAddr() net.Addr    { return net.TCPAddrFromAddrPort(t.hop.conn.localAddr()) }
func (t *serverTx) Ref(int) int            { return 1 }
func (t *serverTx) TryClose() (int, error) { return 1, nil }
func (t *serverTx) Close() error           { return nil }

// cancel handles CANCEL (RFC 3261 9.2).
func (ua *UA) cancel(r *Request) {
	ua.txMu.Lock()
	tx := ua.serverTx[serverKey(r, "INVITE", r.To().Tag())]
	ua.txMu.Unlock()
	code := 200
	if tx == nil {
		code = 481
	}
	r.once(Answer{Code: code})
	if tx != nil {
		tx.withdraw(r.Causes())
	}
}

// expire withdraws an INVITE after a time, unless it is answered (RFC 3261 13.3.1).
func (t *serverTx) expire(wait time.Duration) {
	t.ua.txMu.Lock()
	defer t.ua.txMu.Unlock()
	if !t.answered.Load() {
		t.expiry = time.AfterFunc(wait, func() { t.ua.spawn(func() { t.withdraw(Causes{}) }) })
	}
}

// withdraw answers an INVITE that its caller no longer wants with 487, and tells the handler why. It does nothing if the
// INVITE is answered.
func (t *serverTx) withdraw(why Causes) {
	if t.answered.Swap(true) {
		return
	}
	if invite := t.req.Load(); invite.strange() {
		t.Terminate()
		invite.once(Answer{Code: 487})
	} else {
		t.refuses(invite)
		_ = t.Receive(&gosip.Request{Method: gosip.CANCEL})
	}
	if told := t.cancelled.Load(); told != nil {
		(*told)(why)
	}
}

// terminate ends the transactions of a closed connection, so that our requests fail at once
// instead of after 32 seconds.
func terminate(servers []*serverTx, clients []*clientTx) {
	for _, tx := range servers {
		tx.Terminate()
	}
	for _, tx := range clients {
		tx.fail()
	}
}
