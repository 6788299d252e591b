package sip

import (
	"bytes"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	gosip "github.com/emiago/sipgo/sip"

	"github.com/tr87proxy/tr87proxy/internal/share"
)

// quiet is sipgo's logger: what is worth saying is said here, once.
var quiet = slog.New(slog.DiscardHandler)

// serverTx is a request being answered (RFC 3261 17.2). sipgo's transaction has
// the states and timers; what it keeps of the messages are empty shells, and the
// octets of the last answer.
type serverTx struct {
	*gosip.ServerTx
	ua       *UA
	key      string
	hop      hop
	to       hop // where answers go
	req      atomic.Pointer[Request]
	answered atomic.Bool
	entry    *share.Entry // guarded by ua.txMu
	credit   *credit
	accepted atomic.Pointer[[]byte] // the 2xx that goes out again when the INVITE comes again
	// cancelled is told when the client gives up.
	cancelled atomic.Pointer[func()]
}

// shells has what transactions keep instead of the request: method and transport
// are all that sipgo's states look at.
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
	// sipgo makes the ACK of a refused INVITE from it, and needs the header for
	// that; what goes out is our own (ackRefused).
	r.AppendHeader(&gosip.CSeqHeader{SeqNo: 1, MethodName: gosip.RequestMethod(method)})
	return r
}

// timers is the transport whose timers a transaction has: sipgo knows of UDP alone that
// messages get lost.
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

// serverKey names a server transaction. With an RFC 3261 branch that is branch,
// sent-by and method (17.2.3) from one address, else everything that tells two
// requests apart: clients of the Lync family send no branch, start their CSeq
// over, and share Call-ID and From tag with other users who signed in at the same
// second.
func serverKey(r *Request, method string) string {
	value := r.Header("Via")
	v, _ := parseVia(value)
	if b := v.branch(); strings.HasPrefix(b, branchCookie) && len(b) > len(branchCookie) {
		return b + "|" + strings.ToLower(v.sentBy) + "|" + method + "|" + r.hop.addr.String()
	}
	number, _, _ := r.cseq()
	return fmt.Sprintf("%s|%s|%s|%s|%d|%s|%s|%s", r.hop.peer(), method, r.Header("Call-ID"), r.Header("From"), number, r.To().Tag(), r.URI(), value)
}

// begin opens the transaction of a request; false when the request was a
// retransmission or there is no room.
func (ua *UA) begin(r *Request) bool {
	key := serverKey(r, r.Method())
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
	if first == nil && !tx.answered.Load() { // it is evicted already where it is answered
		ua.serverTx[key] = tx
		if c, ok := tx.hop.conn.(*streamConn); ok {
			if c.serverTx == nil {
				c.serverTx = map[*serverTx]struct{}{}
			}
			c.serverTx[tx] = struct{}{}
		}
	}
	ua.txMu.Unlock()
	if first != nil { // it came by another socket in the same moment
		entry.Leave()
		first.receiveAgain(r)
		return false
	}
	_ = tx.Init()
	return true
}

// enter takes a place among the transactions. What is in a dialog of a peer that is known, or
// comes from one, does not give way to strangers. Anybody can write a trusted address into a
// datagram: over UDP a trusted peer is no more than known, except in a dialog.
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

// evict ends a transaction that gives way: its answer, if there is none yet, will go nowhere.
func (t *serverTx) evict() {
	t.answered.Store(true)
	t.ua.stats.EvictedTransactions.Add(1)
	t.ua.spawn(t.Terminate) // which may have to wait for a peer that takes no answer
}

// forget takes the transaction out of the table.
func (t *serverTx) forget(string, error) {
	t.ua.txMu.Lock()
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

// receiveAgain takes a retransmission.
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
	t.req.Store(nil) // only the answer is kept for retransmissions
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

// again hands an answer to the transaction: the first time, and for each
// repetition of a 2xx to INVITE.
func (t *serverTx) again(code int, wire []byte) {
	if wire == nil { // the peer may not get it
		return
	}
	res := &gosip.Response{StatusCode: code}
	res.SetBody(bytes.Clone(wire)) // without the room it was written in
	if err := t.Respond(res); err != nil {
		t.ua.log.Debug("answer not sent", "peer", t.to.addr.String(), "err", err)
	}
}

// WriteMsg implements gosip.Connection: it sends the octets that a shell carries,
// or, for what sipgo answers by itself (100, 487), those it should have.
func (t *serverTx) WriteMsg(m gosip.Message) error {
	wire := m.Body()
	if len(wire) == 0 {
		r := t.req.Load()
		if r == nil {
			return nil
		}
		code := m.(*gosip.Response).StatusCode
		if code != 100 {
			r.tag()
		} else if t.credit.limited() { // what may be sent is for the final answer
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

// The rest of gosip.Connection: the connection's life is not the transaction's.

func (t *serverTx) LocalAddr() net.Addr    { return net.TCPAddrFromAddrPort(t.hop.conn.localAddr()) }
func (t *serverTx) Ref(int) int            { return 1 }
func (t *serverTx) TryClose() (int, error) { return 1, nil }
func (t *serverTx) Close() error           { return nil }

// cancel handles CANCEL (RFC 3261 9.2).
func (ua *UA) cancel(r *Request) {
	ua.txMu.Lock()
	tx := ua.serverTx[serverKey(r, "INVITE")]
	ua.txMu.Unlock()
	code := 200
	if tx == nil {
		code = 481
	}
	r.once(Answer{Code: code})
	if tx == nil || tx.answered.Swap(true) {
		return
	}
	if invite := tx.req.Load(); invite.strange() {
		tx.Terminate()
		invite.once(Answer{Code: 487})
	} else {
		_ = tx.Receive(&gosip.Request{Method: gosip.CANCEL})
	}
	if told := tx.cancelled.Load(); told != nil {
		(*told)()
	}
}

// Result is what became of a request that we sent.
type Result struct {
	Response *Response // nil when there is none
	Err      error     // why there is none: ErrUnanswered, or the connection's fault
}

// Code returns the status code; 408 when there is no answer, as if a proxy had
// said so.
func (r Result) Code() int {
	if r.Response == nil {
		return 408
	}
	return r.Response.Code()
}

// clientTx is a request of ours waiting for its answer (RFC 3261 17.1).
type clientTx struct {
	*gosip.ClientTx
	ua     *UA
	key    string
	branch string
	hop    hop
	names  names
	wire   []byte
	last   atomic.Pointer[gosip.Response]
	// progress gets provisional answers beyond 100; nil: nobody wants them.
	progress func(*Response)
	done     func(Result)

	telling sync.Mutex  // held while progress or done is called
	told    atomic.Bool // done was called, or start has failed

	mu        sync.Mutex
	provoked  bool         // there was a provisional answer
	unwanted  bool         // the request is to be cancelled
	reason    CancelReason // and why
	cancelled bool         // it was
}

// send starts a client transaction. done is called exactly once: with an answer on the goroutine
// that read it, before anything that the peer sent behind it is looked at. So it must not block.
func (ua *UA) send(method, branch string, wire []byte, h hop, n names, done func(Result)) error {
	_, err := ua.start(method, branch, wire, h, n, nil, done)
	return err
}

// sendOnce is send to an address that has not shown that it gets what we send: the request is not
// repeated, and its answer not waited for.
func sendOnce(_, _ string, wire []byte, h hop, _ names, _ func(Result)) error {
	if err := h.conn.send(wire, h.addr); err != nil {
		return err
	}
	return ErrUnanswered
}

func (ua *UA) start(method, branch string, wire []byte, h hop, n names, progress func(*Response), done func(Result)) (*clientTx, error) {
	tx := &clientTx{ua: ua, key: branch + "|" + method, branch: branch, hop: h, names: n, wire: wire, progress: progress, done: done}
	tx.ClientTx = gosip.NewClientTx(tx.key, shell(method, timers(h.conn)), tx, quiet)
	c, stream := h.conn.(*streamConn)
	tx.OnTerminate(func(string, error) {
		ua.txMu.Lock()
		delete(ua.clientTx, tx.key)
		if stream {
			delete(c.clientTx, tx)
		}
		ua.txMu.Unlock()
	})
	ua.txMu.Lock()
	ua.clientTx[tx.key] = tx
	if stream {
		if c.clientTx == nil {
			c.clientTx = map[*clientTx]struct{}{}
		}
		c.clientTx[tx] = struct{}{}
	}
	ua.txMu.Unlock()
	err := tx.Init()
	if err == nil && !ua.spawn(tx.wait) {
		err = ErrShutdown
	}
	if err != nil {
		tx.Terminate()
		if !tx.told.Swap(true) { // else it is answered already
			return nil, err
		}
	}
	return tx, nil
}

// cancel takes an INVITE back: at once, or when the peer has said that it got it (RFC 3261
// 9.1).
func (t *clientTx) cancel(reason CancelReason) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.unwanted, t.reason = true, reason
	t.takeBack()
}

// receive takes an answer, on the goroutine that read it: what came first is handed up first. The
// transaction may have its final answer already.
func (t *clientTx) receive(res *gosip.Response) {
	t.last.Store(res)
	t.telling.Lock()
	defer t.telling.Unlock()
	t.Receive(res) // which may end the transaction: wait must not be first
	switch {
	case t.told.Load():
	case res.StatusCode < 200:
		t.provisional(res)
	default:
		t.tell(Result{Response: &Response{res}})
		if !t.Origin().IsInvite() { // one of an INVITE lives on, to repeat the ACK
			t.Terminate() // a late repetition of the answer is dropped
		}
	}
}

// tell passes on what became of the request. Callers hold t.telling.
func (t *clientTx) tell(res Result) {
	if !t.told.Swap(true) {
		defer t.ua.survive(t.hop)
		t.done(res)
	}
}

// provisional handles an answer below 200. Callers hold t.telling.
func (t *clientTx) provisional(res *gosip.Response) {
	t.mu.Lock()
	t.provoked = true
	unwanted := t.unwanted
	t.takeBack()
	t.mu.Unlock()
	if !unwanted && t.progress != nil && res.StatusCode > 100 {
		t.progress(&Response{res})
	}
}

// takeBack sends the CANCEL when it is time. Callers hold t.mu.
func (t *clientTx) takeBack() {
	if !t.unwanted || !t.provoked || t.cancelled {
		return
	}
	t.cancelled = true
	_ = t.ua.send("CANCEL", t.branch, repeated(t.wire, "CANCEL", "", t.reason), t.hop, t.names, func(Result) {})
	time.AfterFunc(64*gosip.T1, t.Terminate) // a peer that answers the CANCEL and never the INVITE
}

// wait tells when there is no answer. Somebody must read Responses as long as the transaction
// lives, or sipgo's timers cannot fire.
func (t *clientTx) wait() {
	for {
		select {
		case <-t.Responses(): // receive has it
			continue
		case <-t.Done():
		}
		t.telling.Lock()
		t.tell(Result{Err: ErrUnanswered})
		t.telling.Unlock()
		return
	}
}

// WriteMsg implements gosip.Connection.
func (t *clientTx) WriteMsg(m gosip.Message) error {
	if req, ok := m.(*gosip.Request); ok && req.Method == gosip.ACK {
		to := ""
		if res := t.last.Load(); res != nil {
			to = (&Response{res}).Header("To")
		}
		return t.hop.conn.send(repeated(t.wire, "ACK", to, ""), t.hop.addr)
	}
	return t.hop.conn.send(t.wire, t.hop.addr)
}

func (t *clientTx) LocalAddr() net.Addr    { return net.TCPAddrFromAddrPort(t.hop.conn.localAddr()) }
func (t *clientTx) Ref(int) int            { return 1 }
func (t *clientTx) TryClose() (int, error) { return 1, nil }
func (t *clientTx) Close() error           { return nil }

// repeated makes the ACK of a refused INVITE, or its CANCEL, from the INVITE itself: same
// Via, Route, From, Call-ID and CSeq number (RFC 3261 9.1, 17.1.1.3). An ACK has the
// answer's To.
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

// terminate ends transactions whose connection has gone: requests of ours fail at once instead of
// after 32 seconds.
func terminate(servers []*serverTx, clients []*clientTx) {
	for _, tx := range servers {
		tx.Terminate()
	}
	for _, tx := range clients {
		tx.Terminate()
	}
}
