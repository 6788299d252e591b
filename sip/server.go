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

// basic lists what every UA answers with anything but 405.
const basic = "INVITE, ACK, CANCEL, BYE, INFO, UPDATE, OPTIONS"

// request decides what a request is: of a dialog, for a new one, or neither.
func (ua *UA) request(r *Request) {
	ua.stats.Requests.Add(1)
	if fault := r.valid(); fault != "" {
		ua.stats.Malformed.Add(1)
		ua.log.Debug("request refused", "peer", r.hop.addr.String(), "fault", fault)
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
	if r.msg.SipVersion != "SIP/2.0" {
		r.Respond(Answer{Code: 505})
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
		r.Respond(Answer{Headers: []Header{{"Allow", ua.allow}, {"Supported", ua.supported()}}})
	case r.Method() == "INVITE":
		ua.invite(r)
	default:
		r.Respond(Answer{Code: 481})
	}
}

// introduce finds out who sends a request.
func (ua *UA) introduce(r *Request) {
	s := stranger
	if r.dialog = ua.dialogOf(r); r.dialog != nil {
		s = standing(r.dialog.standing.Load())
		r.dialog.show()
	}
	if s == stranger {
		s = ua.standingOf(r.hop)
	}
	r.standing.Store(int32(s))
	if r.dialog == nil { // whoever names our tag has heard from us
		r.credit = ua.creditFor(r.hop, r.size, s)
	}
}

// supported lists the extensions that we have.
func (ua *UA) supported() string {
	return strings.Join(append([]string{"timer"}, ua.cfg.Supports...), ", ")
}

// unsupported lists the extensions that a request requires and we do not have
// (RFC 3261 8.2.2.3).
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

// dialogOf finds the dialog of a request by our tag, Call-ID and the peer's tag,
// never by Request-URI: a front end puts its own route there. A stranger's
// request finds nothing.
func (ua *UA) dialogOf(r *Request) *Dialog {
	tag := r.To().Tag()
	if tag == "" {
		return nil
	}
	ua.mu.Lock()
	d := ua.dialogs[tag]
	ua.mu.Unlock()
	if d == nil || d.callID != r.Header("Call-ID") || d.remoteTag != r.From().Tag() {
		return nil
	}
	if (d.peerAddr() != r.hop.addr.Addr() || !slices.Equal(d.names, r.hop.conn.names())) && !ua.cfg.Trusts(r.Peer()) {
		ua.warn("request in a dialog from another address, or under another name, refused", r.hop.addr, "method", r.Method())
		return nil
	}
	return d
}

func (ua *UA) ack(r *Request) {
	if d := r.dialog; d != nil {
		d.heard()
		if h, ok := d.handler.(AckHandler); d.acked() && ok {
			h.Ack(d, r)
		}
		return
	}
	// The ACK of a refused INVITE belongs to its transaction.
	ua.txMu.Lock()
	tx := ua.serverTx[serverKey(r, "INVITE")]
	ua.txMu.Unlock()
	if tx != nil {
		_ = tx.Receive(r.msg)
	}
}

// invite opens a dialog.
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
	ua.cfg.Handler.Invite(&Invitation{Request: r, timer: timer})
}

// add takes a dialog into the table: share.ErrPeer and share.ErrFull where there is no place.
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
	if ua.dialogs[d.localTag] != d { // it has ended meanwhile
		entry.Leave()
	}
	return nil
}

// enter takes the dialog's place. Those that we open are not counted against anybody. One of a
// known address that is not proved gives way as those of strangers do, until it is acknowledged.
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

// noRoom is the answer to a request whose dialog has no place.
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

// routes takes a Record-Route apart without touching its values.
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

// sessionTimer is what was agreed about refreshes (RFC 4028).
type sessionTimer struct {
	interval time.Duration // 0: no refreshes
	ours     bool          // we are the refresher
	required bool          // the peer refreshes and knows how
}

// negotiate reads the session timer of an INVITE or UPDATE that we answer.
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
			return sessionTimer{}, nil // a peer that never refreshes: MaxSession bounds it
		}
		refresher = "uas"
	}
	return sessionTimer{interval: interval, ours: refresher == "uas", required: knows && refresher == "uac"}, nil
}

// headers writes the timer into an answer (RFC 4028 9).
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
