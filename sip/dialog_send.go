package sip

import (
	"bytes"
	"context"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/tr87proxy/tr87proxy/internal/share"
)

// Send sends a request in the dialog, after all earlier ones. It does not block. done, if not
// nil, is called exactly once with the outcome, before anything that the peer sent after its
// response is handled; it must not block. Over TCP and TLS the next request follows at once.
// Over UDP it waits for the response, at most [Config].EventWait, since some clients never
// respond.
func (d *Dialog) Send(method, contentType string, body []byte, done func(Result), headers ...Header) {
	o := &outgoing{method: method, contentType: contentType, body: body, headers: headers, done: func(res Result) {
		defer share.Survive(d.ua.log, "reporting the outcome of a request", nil)
		if done != nil {
			done(res)
		}
	}}
	d.mu.Lock()
	switch {
	case d.ended, d.leaving, d.closing:
		d.mu.Unlock()
		o.done(Result{Err: ErrLocalBye})
		return
	case len(d.queue) >= maxQueue || d.queued()+len(body) > maxQueued:
		d.mu.Unlock()
		o.done(Result{Err: ErrOverflow})
		d.bye(ErrOverflow, func(Result) {})
		return
	}
	d.queue = append(d.queue, o)
	d.pump()
	d.mu.Unlock()
}

// queued returns the octets of bodies in the queue. Callers hold d.mu.
func (d *Dialog) queued() (octets int) {
	for _, o := range d.queue {
		octets += len(o.body)
	}
	return octets
}

// pump sends queued requests as far as possible. It holds the lock across the write, so that
// CSeq increases in wire order. Callers hold d.mu.
func (d *Dialog) pump() {
	for len(d.queue) > 0 && !d.busy && !d.closing && !d.credit.limited() {
		if d.hop.conn.dead() && d.pinned {
			for _, o := range d.queue {
				d.fails(o, ErrConnectionLost)
			}
			d.queue = nil
			return
		}
		if d.hop.conn.dead() {
			d.busy = d.ua.spawn(d.reconnect)
			return
		}
		o := d.queue[0]
		d.queue = d.queue[1:]
		if len(d.queue) == 0 {
			d.queue = nil
		}
		d.transmit(o)
	}
}

// fails reports a failed request on a goroutine of its own, because d.mu is held.
func (d *Dialog) fails(o *outgoing, err error) {
	tell := func() { o.done(Result{Err: err}) }
	if !d.ua.spawn(tell) {
		go tell() // the user agent is closed and waits for no more goroutines
	}
}

func (d *Dialog) transmit(o *outgoing) {
	d.localSeq++
	branch := newBranch()
	wire := d.wire(o, branch, d.localSeq)
	paced := !d.hop.conn.reliable()
	var once sync.Once
	next := func() {
		once.Do(func() {
			d.mu.Lock()
			d.busy = false
			d.pump()
			d.mu.Unlock()
		})
	}
	var wait *time.Timer
	if paced {
		d.busy = true
		patience := d.ua.cfg.EventWait
		if d.mute >= 3 {
			patience = min(patience, 100*time.Millisecond) // this peer never responds
		}
		wait = time.AfterFunc(patience, func() {
			d.mu.Lock()
			d.mute++
			d.mu.Unlock()
			next()
		})
	}
	if d.outstanding >= maxOutstanding {
		// This peer answers nothing: send without a transaction. A late 481 still finds the
		// dialog.
		err := d.hop.conn.send(wire, d.hop.addr)
		if err == nil {
			err = ErrUnanswered
		}
		d.fails(o, err)
		return
	}
	d.outstanding++
	err := d.ua.send(o.method, branch, wire, d.hop, d.named(d.localSeq), func(res Result) {
		d.mu.Lock()
		d.outstanding--
		d.mu.Unlock()
		d.answered(o, res)
		if paced {
			wait.Stop()
			next()
		}
	})
	if err != nil {
		d.outstanding--
		if paced {
			wait.Stop()
			d.busy = false
		}
		d.fails(o, fmt.Errorf("%w: %w", ErrConnectionLost, err))
	}
}

// answered applies a response to the dialog, then reports it to the sender.
func (d *Dialog) answered(o *outgoing, res Result) {
	code := res.Code()
	d.mu.Lock()
	if res.Response == nil {
		d.ua.stats.Unanswered.Add(1)
	} else {
		d.mute = 0
	}
	auth, advised := d.auth, d.advised
	d.advised = advised || code == 401 || code == 407 || code == 503
	d.mu.Unlock()
	if (code == 401 || code == 407) && auth != nil && !o.retried && auth.challenge(res.Response) {
		o.retried = true
		d.mu.Lock()
		d.queue = append([]*outgoing{o}, d.queue...)
		d.pump()
		d.mu.Unlock()
		return
	}
	o.done(res)
	switch {
	case code == 481 && (o.method != "NOTIFY" || d.subscription): // in a NOTIFY it ends only the subscription (RFC 5057 5.1)
		d.end(ErrPeerLost)
	case advised: // log the advice once for each dialog
	case code == 401 || code == 407:
		d.ua.log.Warn("peer challenges our requests: add this host to its trusted applications", "peer", d.Peer().String(), "code", code)
	case code == 503:
		d.ua.log.Warn("peer throttles our requests: configure this host as a server there", "peer", d.Peer().String())
	}
}

// wire returns a request of ours in wire format (RFC 3261 12.2.1.1). Callers hold d.mu.
func (d *Dialog) wire(o *outgoing, branch string, number uint32) []byte {
	var b bytes.Buffer
	b.Grow(1024 + len(o.body))
	uri, routes := d.route()
	requestLine(&b, o.method, uri)
	line(&b, "Via", d.ua.via(d.hop, branch))
	for _, r := range routes {
		line(&b, "Route", r)
	}
	line(&b, "Max-Forwards", "70")
	line(&b, "From", d.local)
	line(&b, "To", d.remote)
	line(&b, "Call-ID", d.callID)
	line(&b, "CSeq", strconv.FormatUint(uint64(number), 10)+" "+o.method)
	line(&b, "Contact", d.contact())
	if d.auth != nil {
		if name, value := d.auth.header(o.method, uri, o.body); value != "" {
			line(&b, name, value)
		}
	}
	for _, h := range o.headers {
		line(&b, h.Name, h.Value)
	}
	line(&b, "User-Agent", d.ua.cfg.UserAgent)
	end(&b, o.contentType, o.body)
	return b.Bytes()
}

// route returns the Request-URI and the Route headers. A first route without lr is a strict
// router and becomes the Request-URI (RFC 3261 12.2.1.1).
func (d *Dialog) route() (uri string, routes []string) {
	if len(d.routes) == 0 {
		return d.target, nil
	}
	first := parseAddress(d.routes[0]).URI
	if ParseURI(first).Loose {
		return d.target, d.routes
	}
	return first, append(append([]string{}, d.routes[1:]...), "<"+d.target+">")
}

// reconnect opens a path to the peer after its connection was lost: to the first Route,
// otherwise to its Contact. If that fails, all queued requests fail.
func (d *Dialog) reconnect() {
	d.mu.Lock()
	uri := d.target
	if len(d.routes) > 0 {
		uri = parseAddress(d.routes[0]).URI
	}
	old := d.hop
	d.mu.Unlock()
	ctx, cancel := context.WithTimeout(d.ua.ctx, 5*time.Second)
	defer cancel()
	h, err := d.ua.dial(ctx, uri, old.conn.transport())
	d.mu.Lock()
	d.busy = false
	if err == nil && d.hop == old && !d.ended {
		d.moved(h)
	}
	if !d.hop.conn.dead() {
		d.pump()
		d.mu.Unlock()
		return
	}
	failed := d.queue
	d.queue = nil
	d.mu.Unlock()
	d.ua.log.Info("could not reconnect to peer", "uri", uri, "err", err)
	for _, o := range failed {
		o.done(Result{Err: ErrConnectionLost})
	}
}
