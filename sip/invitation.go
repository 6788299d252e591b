package sip

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	gosip "github.com/emiago/sipgo/sip"
)

// ErrCancelled means that the caller cancelled the INVITE, or that it is already answered.
var ErrCancelled = errors.New("INVITE cancelled or already answered")

// Invitation is an INVITE that asks for a new dialog.
type Invitation struct {
	*Request
	timer sessionTimer

	mu       sync.Mutex
	dialog   *Dialog   // set by the first Progress or Accept
	reliable *reliable // awaiting its PRACK
	next     *Answer   // the provisional response to send after that
	sequence uint32
}

// opening refers to the INVITE that opened a dialog. Accept clears it, so that a dialog does
// not keep a large INVITE alive.
type opening struct{ invitation atomic.Pointer[Invitation] }

// waiting returns the INVITE until it is accepted, then nil.
func (o *opening) waiting() *Invitation {
	if o == nil {
		return nil
	}
	return o.invitation.Load()
}

// errLargeHead refuses a large INVITE of a stranger: a dialog keeps some of its
// headers, and the transaction those that the response repeats.
var errLargeHead = errors.New("headers too large for a stranger")

// reliable is a provisional response that is repeated until its PRACK (RFC 3262).
type reliable struct {
	rack  string // RAck value of the expected PRACK
	timer *time.Timer
}

func (r *reliable) stop() {
	if r != nil {
		r.timer.Stop()
	}
}

// OnCancel registers f, which is called once if the caller cancels the INVITE, or ends its early dialog, before the
// final response, or if the INVITE expires. why is what the CANCEL or BYE says. The stack has sent the 487 by then;
// afterwards it drops the dialog that Progress opened.
func (in *Invitation) OnCancel(f func(why Causes)) {
	told := func(why Causes) {
		f(why)
		in.forget()
	}
	in.tx.cancelled.Store(&told)
}

// open returns the dialog, creating it with h on the first call. Callers hold in.mu.
func (in *Invitation) open(h DialogHandler) (*Dialog, error) {
	if in.dialog != nil {
		return in.dialog, nil
	}
	if in.largeHead() {
		return nil, errLargeHead
	}
	d := in.newDialog(h)
	d.timer, d.invitation = in.timer, &opening{}
	d.invitation.invitation.Store(in)
	if err := in.ua.add(d); err != nil {
		return nil, err
	}
	in.dialog = d
	return d, nil
}

// newDialog returns the dialog that a request from outside opens.
func (r *Request) newDialog(h DialogHandler) *Dialog {
	d := &Dialog{
		ua: r.ua, handler: h, callID: r.Header("Call-ID"), names: r.hop.conn.names(), user: contactUser(r.URI()),
		localTag: r.toTag, remoteTag: r.From().Tag(),
		local: r.Header("To") + ";tag=" + r.toTag, remote: r.Header("From"),
		target: target(r.Contacts(), ""), routes: routes(r.Values("Record-Route")),
		hop: r.hop, peer: r.hop.addr.Addr(), allows: r.Header("Allow"), pinned: r.ua.cfg.StayOnFlow, credit: r.credit,
	}
	d.standing.Store(r.standing.Load())
	d.remoteSeq, _, _ = r.cseq()
	return d
}

// Progress sends a provisional response such as 180 or 183, with SDP for early media if a has a
// body. If the caller requires 100rel, the response is repeated until its PRACK (RFC 3262), and
// the last one of further responses is sent after that.
func (in *Invitation) Progress(h DialogHandler, a Answer) (*Dialog, error) {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.tx.answered.Load() {
		return nil, ErrCancelled
	}
	d, err := in.open(h)
	if err != nil {
		return d, err
	}
	in.next = nil
	if in.reliable != nil {
		in.next = &a
	} else {
		in.provisional(d, a)
	}
	return d, nil
}

// provisional sends a provisional response. Callers hold in.mu.
func (in *Invitation) provisional(d *Dialog, a Answer) {
	a.Headers = append(a.Headers, Header{"Contact", d.contact()}, Header{"Allow", in.ua.allow})
	switch wants := in.lists("Require", "100rel"); {
	case wants && in.credit.limited(): // it would need repetition
		return
	case !wants:
		in.tx.again(a.Code, in.fitting(a))
		return
	}
	in.sequence++
	a.Headers = append(a.Headers, Header{"Require", "100rel"}, Header{"RSeq", strconv.FormatUint(uint64(in.sequence), 10)})
	wire, wait, total := in.response(a, whole), gosip.T1, time.Duration(0)
	number, _, _ := in.cseq()
	rel := &reliable{rack: fmt.Sprintf("%d %d INVITE", in.sequence, number)}
	rel.timer = time.AfterFunc(wait, func() {
		in.mu.Lock()
		defer in.mu.Unlock()
		switch {
		case in.reliable != rel || in.tx.answered.Load():
			return
		case total >= 64*gosip.T1:
			in.ua.spawn(func() {
				in.Reject(Answer{Code: 504, Reason: "No PRACK"})
				d.end(ErrNoAck)
			})
			return
		}
		total += wait
		wait *= 2
		rel.timer.Reset(wait)
		in.tx.again(a.Code, wire)
	})
	in.reliable = rel
	in.tx.again(a.Code, wire)
}

// acknowledged handles a PRACK.
func (in *Invitation) acknowledged(r *Request) {
	in.mu.Lock()
	matches := in.reliable != nil && strings.Join(strings.Fields(r.Header("RAck")), " ") == in.reliable.rack
	if matches {
		in.reliable.stop()
		in.reliable = nil
	}
	in.mu.Unlock()
	if !matches {
		r.Respond(Answer{Code: 481})
		return
	}
	r.Respond(Answer{})
	in.mu.Lock()
	defer in.mu.Unlock()
	if next := in.next; next != nil && in.reliable == nil && !in.tx.answered.Load() {
		in.next = nil
		in.provisional(in.dialog, *next)
	}
}

// Reject sends a final response and removes the dialog that Progress opened.
func (in *Invitation) Reject(a Answer) {
	in.Respond(a)
	in.forget()
}

// forget removes the dialog that Progress opened.
func (in *Invitation) forget() {
	in.mu.Lock()
	d := in.dialog
	in.reliable.stop()
	in.reliable = nil
	in.mu.Unlock()
	if d != nil {
		d.Drop()
	}
}

// Accept opens the dialog and sends 200 with a's body and headers. From then on h receives the
// requests in the dialog, and Ended once. It returns [ErrCancelled] if the caller cancelled,
// and [ErrWithheld] if the response is too large for an unvalidated address. After any error
// the INVITE is answered or dropped.
func (in *Invitation) Accept(h DialogHandler, a Answer) (*Dialog, error) {
	in.mu.Lock()
	d, err := in.open(h)
	in.reliable.stop()
	in.reliable = nil
	in.mu.Unlock()
	if err != nil {
		in.Respond(notOpened(err))
		return nil, err
	}
	if in.tx.answered.Swap(true) { // the dialog repeats the 200 until the ACK
		d.Drop()
		return nil, ErrCancelled
	}
	a.Code = 200
	a.Headers = append(a.Headers, Header{"Contact", d.contact()}, Header{"Allow", in.ua.allow})
	a.Headers = append(a.Headers, in.timer.headers()...)
	wire := in.fitting(a)
	if wire == nil {
		in.tx.Terminate()
		d.Drop()
		return nil, ErrWithheld
	}
	d.accept(in.Request, wire)
	d.invitation.invitation.Store(nil)
	return d, nil
}

// notOpened returns the response for a dialog that could not be opened.
func notOpened(err error) Answer {
	if errors.Is(err, errLargeHead) {
		return Answer{Code: 513}
	}
	return noRoom(err)
}

// Subscribe opens the dialog of a SUBSCRIBE (RFC 6665) and sends a as its response. h receives
// the requests in the dialog. The caller ends it with [Dialog.Drop].
func (r *Request) Subscribe(h DialogHandler, a Answer) (*Dialog, error) {
	if r.largeHead() {
		r.Respond(notOpened(errLargeHead))
		return nil, errLargeHead
	}
	r.tag()
	d := r.newDialog(h)
	d.subscription = true
	if err := r.ua.add(d); err != nil {
		r.Respond(noRoom(err))
		return nil, err
	}
	a.Headers = append(a.Headers, Header{"Contact", d.contact()}, Header{"Allow", r.ua.allow})
	r.Respond(a)
	return d, nil
}
