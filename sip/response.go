package sip

import (
	"net/netip"
	"slices"

	gosip "github.com/emiago/sipgo/sip"
)

// names is what a response to a request of ours must repeat (RFC 3261 8.2.6.2).
type names struct {
	callID string
	local  string // our tag, in From
	remote string // the peer's tag, in To; "" if the request had none: each fork adds its own
	number uint32 // of CSeq
}

// fit reports whether a response repeats the names.
func (n names) fit(r *Response) bool {
	number, _, ok := parseCSeq(r.Header("CSeq"))
	return ok && number == n.number && r.Header("Call-ID") == n.callID && parseAddress(r.Header("From")).Tag() == n.local &&
		(n.remote == "" || parseAddress(r.Header("To")).Tag() == n.remote)
}

// answers reports whether a response from h may answer a request that went to a hop (RFC 3261 18.1.2,
// 18.2.2). On UDP only the address counts, not the port: peers with several sockets respond
// from any of them. A connection-oriented response arrives on the same connection or on another
// one of the same peer.
func (h hop) answers(to hop) bool {
	if h.conn == to.conn && h.conn.transport() != "UDP" {
		return true
	}
	return h.conn.transport() == to.conn.transport() && h.addr.Addr() == to.addr.Addr() && slices.Equal(h.conn.names(), to.conn.names())
}

// response passes a response to its transaction. A response that matches neither a transaction
// nor a dialog has no effect.
func (ua *UA) response(m *gosip.Response, from hop) {
	r := &Response{m}
	v, ok := parseVia(r.Header("Via"))
	_, method, valid := parseCSeq(r.Header("CSeq"))
	if !ok || !valid {
		ua.stats.Malformed.Add(1)
		return
	}
	ua.txMu.Lock()
	tx := ua.clientTx[v.branch()+"|"+method]
	ua.txMu.Unlock()
	switch {
	case tx == nil:
		ua.late(r, method, from)
		return
	case !from.answers(tx.hop) || !tx.names.fit(r):
		ua.stray(r, from.addr)
		return
	}
	if method == "INVITE" && m.StatusCode/100 == 2 {
		ua.repeatACK(r, from) // sipgo absorbs a repeated 2xx; we must repeat its ACK
	}
	tx.receive(m)
}

// late handles a response without a transaction.
func (ua *UA) late(r *Response, method string, from hop) {
	switch {
	case method == "INVITE" && r.Code()/100 == 2:
		if !ua.repeatACK(r, from) {
			ua.stray(r, from.addr)
		}
	case r.Code() == 481:
		d := ua.dialogBy(r)
		if d == nil || !d.fits(r, from) {
			ua.stray(r, from.addr)
			return
		}
		d.end(ErrPeerLost)
	}
}

// stray counts a response that matches nothing. It is logged for debugging only, since anyone
// can send one.
func (ua *UA) stray(r *Response, from netip.AddrPort) {
	ua.stats.Stray.Add(1)
	ua.log.Debug("stray response ignored", "peer", from.String(), "code", r.Code())
}

// dialogBy returns the dialog with the From tag of a response, or nil.
func (ua *UA) dialogBy(r *Response) *Dialog {
	ua.mu.Lock()
	defer ua.mu.Unlock()
	return ua.dialogs[parseAddress(r.Header("From")).Tag()]
}

// fits reports whether a response comes from the dialog's peer and matches a request sent in
// the dialog.
func (d *Dialog) fits(r *Response, from hop) bool {
	number, _, _ := parseCSeq(r.Header("CSeq"))
	d.mu.Lock()
	defer d.mu.Unlock()
	return from.answers(d.hop) && number <= d.localSeq && d.remoteTag != "" && d.named(number).fit(r)
}

// named returns what a response to a request in the dialog must repeat. Callers hold d.mu.
func (d *Dialog) named(number uint32) names {
	return names{callID: d.callID, local: d.localTag, remote: d.remoteTag, number: number}
}

// repeatACK resends the ACK for a repeated 2xx (RFC 3261 13.2.2.4). It returns false if the 2xx
// belongs to no dialog of ours.
func (ua *UA) repeatACK(r *Response, from hop) bool {
	d := ua.dialogBy(r)
	if d == nil || !d.fits(r, from) {
		return false
	}
	number, _, _ := parseCSeq(r.Header("CSeq"))
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.ackWire != nil && d.ackNumber == number && !d.ended {
		_ = d.hop.conn.send(d.ackWire, d.hop.addr)
	}
	return true
}
