package sip

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tr87proxy/tr87proxy/internal/share"
)

// basic lists the methods that every UA supports.
const basic = "INVITE, ACK, CANCEL, BYE, INFO, UPDATE, OPTIONS"

// request dispatches a request: in a dialog, for a new one, or outside of any.
func (ua *UA) request(r *Request) {
	ua.stats.Requests.Add(1)
	if fault := r.valid(); fault != "" {
		ua.stats.Malformed.Add(1)
		ua.log.Debug("malformed request refused", "peer", r.hop.addr.String(), "fault", fault)
		ua.refuse(r.msg, r.hop, r.size, 400)
		return
	}
	ua.introduce(r)
	switch r.Method() {
	case "ACK":
		ua.ack(r)
		return
	case "CANCEL":
		if r.misreplaces() {
			r.once(Answer{Code: 400, Reason: "Bad Replaces"})
			return
		}
		ua.cancel(r)
		return
	}
	if !ua.begin(r) {
		return
	}
	if !strings.EqualFold(r.msg.SipVersion, "SIP/2.0") {
		r.Respond(Answer{Code: 505})
		return
	}
	if scheme := strings.ToLower(r.uri[:strings.IndexByte(r.uri, ':')+1]); r.dialog == nil && !slices.Contains(schemes, scheme) {
		r.Respond(Answer{Code: 416})
		return
	}
	if !slices.Contains(ua.knows, r.Method()) {
		r.Respond(Answer{Code: 405, Headers: []Header{{"Allow", ua.allow}}})
		return
	}
	if unknown := r.unsupported(); unknown != "" {
		r.Respond(Answer{Code: 420, Headers: []Header{{"Unsupported", unknown}}})
		return
	}
	if r.misreplaces() {
		r.Respond(Answer{Code: 400, Reason: "Bad Replaces"})
		return
	}
	if refusal := r.unpack(); refusal != nil {
		r.Respond(*refusal)
		return
	}
	if r.moved != nil && ua.cfg.Follows != nil {
		if !ua.cfg.Follows(r.moved, r) {
			return
		}
		r.dialog = r.moved
	}
	if r.dialog != nil {
		r.dialog.receive(r)
		return
	}
	if r.To().Tag() != "" {
		r.Respond(Answer{Code: 481})
		return
	}
	switch handle := ua.cfg.Requests[r.Method()]; {
	case handle != nil:
		handle(r)
	case r.Method() == "OPTIONS":
		r.Respond(ua.options())
	case r.Method() == "INVITE":
		ua.invite(r)
	default:
		r.Respond(Answer{Code: 481})
	}
}

// introduce determines the sender's standing, and the request's dialog.
func (ua *UA) introduce(r *Request) {
	s := stranger
	if r.dialog, r.moved = ua.dialogOf(r); r.dialog != nil {
		s = standing(r.dialog.standing.Load())
		r.dialog.show()
	}
	if s == stranger {
		s = ua.standingOf(r.hop)
	}
	r.standing.Store(int32(s))
	if r.dialog == nil { // a request with our tag shows that the peer received something from us
		r.credit = ua.creditFor(r.hop, r.size, s)
	}
}

// schemes are those of the Request-URIs that we understand.
var schemes = []string{"sip:", "sips:", "tel:"}

// options answers OPTIONS (RFC 3261 11.2).
func (ua *UA) options() Answer {
	return Answer{Headers: append([]Header{{"Allow", ua.allow}, {"Supported", ua.supported()}}, ua.accepts()...)}
}

// supported returns the value of the Supported header.
func (ua *UA) supported() string {
	return strings.Join(append([]string{"timer"}, ua.cfg.Supports...), ", ")
}

// unsupported returns the option tags that a request requires and we do not support (RFC 3261
// 8.2.2.3).
func (r *Request) unsupported() string {
	var unknown []string
	for _, line := range r.Values("Require") {
		for tag := range strings.SplitSeq(line, ",") {
			if tag = strings.TrimSpace(tag); tag != "" && !strings.EqualFold(tag, "timer") && !slices.Contains(r.ua.cfg.Supports, strings.ToLower(tag)) {
				unknown = append(unknown, tag)
			}
		}
	}
	return strings.Join(unknown, ", ")
}

// dialogOf finds the dialog of a request by our tag, Call-ID and the peer's tag. It ignores the
// Request-URI, where a front end puts its own route. If the request comes from another peer than the dialog's, and
// that peer is not trusted, the dialog is returned as moved. A dialog over TLS has no request without TLS, since what we
// send next, such as SRTP keys, would go the same way.
func (ua *UA) dialogOf(r *Request) (d, moved *Dialog) {
	tag := r.To().Tag()
	if tag == "" {
		return nil, nil
	}
	ua.mu.Lock()
	d = ua.dialogs[tag]
	ua.mu.Unlock()
	if d == nil || d.callID != r.Header("Call-ID") || d.remoteTag != r.From().Tag() {
		return nil, nil
	}
	last := d.Peer()
	switch {
	case ua.cfg.Trusts(r.Peer()):
		return d, nil
	case last.Secure() && !r.Peer().Secure():
		ua.warn("in-dialog request refused: the dialog uses TLS, the request does not", r.hop.addr, "method", r.Method())
		return nil, nil
	case last.Addr.Addr() == r.hop.addr.Addr() && slices.Equal(d.names, r.hop.conn.names()):
		return d, nil
	}
	if ua.cfg.Follows == nil {
		ua.warn("in-dialog request refused: other address or certificate than the dialog's", r.hop.addr, "method", r.Method())
	}
	return nil, d
}

// ack handles an ACK. That of a refused INVITE belongs to its transaction, also in a dialog (RFC 3261 17.2.3); any
// other one belongs to its dialog.
func (ua *UA) ack(r *Request) {
	if r.dialog != nil {
		r.dialog.heard()
	}
	if tx := ua.acknowledged(r); tx != nil && (tx.refused.Load() != nil || r.dialog == nil) {
		_ = tx.Receive(r.msg)
		return
	}
	if r.dialog != nil {
		r.dialog.acknowledged(r)
	}
}

// acknowledged returns the transaction of the INVITE that an ACK belongs to, or nil. Without an RFC 3261 branch, the
// To tag of the ACK is that of our refusal.
func (ua *UA) acknowledged(r *Request) *serverTx {
	tag := r.To().Tag()
	ua.txMu.Lock()
	defer ua.txMu.Unlock()
	if tx := ua.serverTx[serverKey(r, "INVITE", tag)]; tx != nil {
		return tx
	}
	tx := ua.serverTx[serverKey(r, "INVITE", "")]
	if tx == nil {
		return nil
	}
	if refused := tx.refused.Load(); refused == nil || *refused != tag {
		return nil
	}
	return tx
}

// invite passes an INVITE outside dialogs to the handler.
func (ua *UA) invite(r *Request) {
	r.toTag = newTag()
	if ua.cfg.Handler == nil {
		r.Respond(Answer{Code: 405, Headers: []Header{{"Allow", ua.allow}}})
		return
	}
	if r.Header("Contact") == "" {
		r.Respond(Answer{Code: 400, Reason: "Contact missing"})
		return
	}
	timer, refusal := ua.negotiate(r, true)
	if refusal != nil {
		r.Respond(*refusal)
		return
	}
	if wait, err := seconds(r.Header("Expires")); err == nil && wait > 0 {
		r.tx.expire(wait)
	}
	ua.cfg.Handler.Invite(&Invitation{Request: r, timer: timer})
}

// add enters a dialog into the table. It returns share.ErrPeer or share.ErrFull if there is no
// room.
func (ua *UA) add(d *Dialog) error {
	ua.mu.Lock()
	if ua.closing {
		ua.mu.Unlock()
		return ErrShutdown
	}
	if c, ok := d.hop.conn.(*streamConn); ok && (c.dead() || !c.dialogs.enter(d)) {
		ua.mu.Unlock()
		return ErrConnectionLost
	}
	d.added = true
	ua.dialogs[d.localTag] = d
	ua.mu.Unlock()
	entry, err := d.enter()
	if err != nil {
		ua.stats.Refused.Add(1)
		d.unring()
		return err
	}
	ua.mu.Lock()
	defer ua.mu.Unlock()
	d.entry = entry
	if ua.dialogs[d.localTag] != d { // it ended meanwhile
		entry.Leave()
	}
	return nil
}

// enter reserves an entry in the table of dialogs. Dialogs that we open count against no limit.
// A known address that is not validated yet is treated like a stranger until its ACK.
func (d *Dialog) enter() (*share.Entry, error) {
	if d.Ours() {
		entry, _ := d.ua.dialogShares.EnterTrusted(d.peer)
		return entry, nil
	}
	s := standing(d.standing.Load())
	if s == trusted && !d.credit.bounded() {
		return d.ua.dialogShares.EnterAs(d.peer, share.Trusted, nil)
	}
	return d.ua.dialogShares.Enter(d.peer, s >= known && !d.credit.bounded(), func(error) {
		d.ua.stats.EvictedDialogs.Add(1)
		d.ua.spawn(func() { d.bye(ErrCrowded, func(Result) {}) })
	})
}

// noRoom returns the response for a dialog that does not fit into the table.
func noRoom(err error) Answer {
	code := 503
	if errors.Is(err, share.ErrPeer) {
		code = 486
	}
	return Answer{Code: code, Headers: []Header{{"Retry-After", "10"}}}
}

func (ua *UA) remove(d *Dialog) {
	ua.mu.Lock()
	defer ua.mu.Unlock()
	delete(ua.dialogs, d.localTag)
	d.entry.Leave()
}

// routes splits the values of Record-Route lines and leaves them unchanged.
func routes(lines []string) []string {
	var set []string
	for _, l := range lines {
		for more := true; more; {
			var one string
			if one, l, more = splitQuoted(l, ','); strings.TrimSpace(one) != "" {
				set = append(set, strings.TrimSpace(one))
			}
		}
	}
	return set
}

// sessionTimer is a negotiated session timer (RFC 4028).
type sessionTimer struct {
	interval time.Duration // 0: no session timer
	ours     bool          // we are the refresher
	required bool          // the peer supports timers and is the refresher
}

// negotiate reads the session timer of a received INVITE or UPDATE. The Answer, if not nil,
// refuses the request.
func (ua *UA) negotiate(r *Request, initial bool) (sessionTimer, *Answer) {
	knows := r.lists("Supported", "timer") || r.lists("Require", "timer")
	minSE := ua.cfg.MinSE
	if asked, err := seconds(r.Header("Min-SE")); err == nil && asked > minSE {
		minSE = asked
	}
	interval := max(ua.cfg.SessionExpires, minSE)
	refresher := "uac"
	if value := r.Header("Session-Expires"); value != "" {
		asked, err := seconds(value)
		if err != nil {
			return sessionTimer{}, &Answer{Code: 400, Reason: "Malformed Session-Expires"}
		}
		if asked < ua.cfg.MinSE {
			if knows {
				return sessionTimer{}, &Answer{Code: 422, Headers: []Header{{"Min-SE", strconv.Itoa(int(ua.cfg.MinSE / time.Second))}}}
			}
			asked = ua.cfg.MinSE
		}
		interval = min(asked, interval)
		interval = max(interval, minSE)
		_, params, _ := strings.Cut(value, ";")
		if who, ok := param(params, "refresher"); ok && strings.EqualFold(who, "uas") {
			refresher = "uas"
		}
	}
	if !knows {
		if !initial && r.Header("Session-Expires") == "" {
			return sessionTimer{}, nil
		}
		if r.Header("Session-Expires") == "" {
			return sessionTimer{}, nil // the peer never refreshes: MaxSession bounds the dialog
		}
		refresher = "uas"
	}
	return sessionTimer{interval: interval, ours: refresher == "uas", required: knows && refresher == "uac"}, nil
}

// headers returns the timer headers of a response (RFC 4028 9).
func (t sessionTimer) headers() []Header {
	h := []Header{{"Supported", "timer"}}
	if t.interval == 0 {
		return h
	}
	who := "uac"
	if t.ours {
		who = "uas"
	}
	if t.required {
		h = append(h, Header{"Require", "timer"})
	}
	return append(h, Header{"Session-Expires", fmt.Sprintf("%d;refresher=%s", t.interval/time.Second, who)})
}

var errSeconds = errors.New("not a number of seconds")

func seconds(value string) (time.Duration, error) {
	value, _, _ = strings.Cut(value, ";")
	n, err := strconv.ParseUint(strings.TrimSpace(value), 10, 31)
	if err != nil {
		return 0, errSeconds
	}
	return time.Duration(n) * time.Second, nil
}
