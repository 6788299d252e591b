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

// ErrCancelled is why an invitation can no longer be answered.
var ErrCancelled = errors.New("the caller gave up")

// Invitation is an INVITE that asks for a dialog.
type Invitation struct {
	*Request
	timer sessionTimer

	mu       sync.Mutex
	dialog   *Dialog   // once something was said in it
	reliable *reliable // waits for its PRACK
	sequence uint32
}

// opening is what a dialog has of the INVITE that opened it: nothing once Accept has answered,
// so that a dialog does not keep a large INVITE for as long as it lives.
type opening struct{ invitation atomic.Pointer[Invitation] }

// waiting returns the INVITE until it is accepted.
func (o *opening) waiting() *Invitation {
	if o == nil {
		return nil
	}
	return o.invitation.Load()
}

// errLargeHead is why a peer that is not known gets no dialog: a dialog keeps some headers of
// its INVITE, and its transaction those that the answer repeats.
var errLargeHead = errors.New("headers larger than what a peer that is not known may send")

// reliable is a provisional answer that is repeated until the caller has acknowledged it
// (RFC 3262).
type reliable struct {
	rack  string // what the PRACK says
	timer *time.Timer
}

func (r *reliable) stop() {
	if r != nil {
		r.timer.Stop()
	}
}

// OnCancel calls f once when the caller gives up before the invitation is answered. The
// caller has its 487 then.
func (in *Invitation) OnCancel(f func()) { in.tx.cancelled.Store(&f) }

// open makes the dialog, once: the first handler stays.
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

// newDialog makes the dialog that a request from outside opens.
func (r *Request) newDialog(h DialogHandler) *Dialog {
	d := &Dialog{
		ua: r.ua, handler: h, callID: r.Header("Call-ID"), names: r.hop.conn.names(), user: contactUser(r.URI()),
		localTag: r.toTag, remoteTag: r.From().Tag(),
		local: r.Header("To") + ";tag=" + r.toTag, remote: r.Header("From"),
		target: parseAddress(r.Header("Contact")).URI, routes: routes(r.Values("Record-Route")),
		hop: r.hop, peer: r.hop.addr.Addr(), allows: r.Header("Allow"), pinned: r.ua.cfg.StayOnFlow, credit: r.credit,
	}
	d.standing.Store(r.standing.Load())
	d.remoteSeq, _, _ = r.cseq()
	return d
}

// Progress tells the caller what becomes of the call (180, 183), perhaps with early media.
// A caller that requires it gets the answer until it has acknowledged it (RFC 3262); while
// it has not, further ones are not sent.
func (in *Invitation) Progress(h DialogHandler, a Answer) (*Dialog, error) {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.tx.answered.Load() {
		return nil, ErrCancelled
	}
	d, err := in.open(h)
	if err != nil || in.reliable != nil {
		return d, err
	}
	a.Headers = append(a.Headers, Header{"Contact", d.contact()}, Header{"Allow", in.ua.allow})
	switch wants := in.lists("Require", "100rel"); {
	case wants && in.credit.limited(): // it would have to be repeated
		return d, nil
	case !wants:
		in.tx.again(a.Code, in.fitting(a))
		return d, nil
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
	return d, nil
}

// acknowledged takes a PRACK.
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
}

// Reject refuses the dialog.
func (in *Invitation) Reject(a Answer) {
	in.Respond(a)
	in.forget()
}

// forget takes back what Progress has opened.
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

// Accept opens the dialog and answers 200 with a's body. The handler gets what comes in
// the dialog from then on, and Ended once. It fails when the caller has given up.
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
	if in.tx.answered.Swap(true) { // by the dialog, which repeats it until the ACK
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

// notOpened is the answer to a request whose dialog is not opened.
func notOpened(err error) Answer {
	if errors.Is(err, errLargeHead) {
		return Answer{Code: 513}
	}
	return noRoom(err)
}

// Subscribe opens the dialog of a SUBSCRIBE (RFC 6665) and answers it. What comes in the
// dialog is the handler's, whoever made it ends it by Drop.
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
