package sip

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	ours "github.com/tr87proxy/tr87proxy/tls"
)

// Invite describes an INVITE that opens a dialog from our side.
type Invite struct {
	To          string // URI to call; also where to send, unless Target, Flow or Proxy says otherwise
	Target      string // Request-URI; "" means To
	From        string // our URI
	Name        string // display name in From; "" for none
	FromParams  string // more parameters of From, such as "epid=1"
	Proxy       string // URI of the proxy to send to; "" for none
	Flow        Flow   // connection or address the peer opened (RFC 5626); zero: resolve the URI
	ContentType string
	Body        []byte
	Headers     []Header
	Username    string // for digest challenges
	Password    string
	// Progress receives provisional responses above 100, one at a time. The dialog can already
	// carry requests then.
	Progress func(*Dialog, *Response)
	// Accepted, if set, receives the 2xx before anything that the peer sent after it is handled.
	// The dialog is its from then on, even if ctx ends and [UA.Invite] returns an error. It must
	// not block.
	Accepted func(*Dialog, *Response)
}

// CancelReason is the value of the Reason header (RFC 3326) of a CANCEL. [UA.Invite] uses it
// when it is the cause of the cancelled context.
type CancelReason string

func (r CancelReason) Error() string { return string(r) }

// Flow identifies a path that the peer opened to us: a connection, or the address its datagrams
// come from. Flows are comparable.
type Flow struct{ hop hop }

// Flow returns the path the request arrived on.
func (r *Request) Flow() Flow { return Flow{r.hop} }

// FlowTo returns the flow to a UDP address. It opens a socket if none can reach addr.
func (ua *UA) FlowTo(addr netip.AddrPort) (Flow, error) {
	s, err := ua.udpFor(addr)
	return Flow{hop{s, addr}}, err
}

// Alive reports whether the flow is set and its connection is still open.
func (f Flow) Alive() bool { return f.hop.conn != nil && !f.hop.conn.dead() }

// Peer returns the peer at the other end; the zero value for a zero flow.
func (f Flow) Peer() Peer { return f.hop.peer() }

// Refusal is the error for a final response of 300 or above to a request of ours.
type Refusal struct{ Response *Response }

func (r *Refusal) Error() string {
	return fmt.Sprintf("refused: %d %s", r.Response.Code(), r.Response.Reason())
}

// Invite opens a dialog and waits for the final response, which it returns with the dialog. It
// answers digest challenges and a longer Min-SE. Any other final response is a [*Refusal].
// handler receives what the peer sends in the dialog, possibly before Invite returns. When ctx
// ends, Invite cancels the INVITE.
func (ua *UA) Invite(ctx context.Context, inv Invite, handler DialogHandler) (*Dialog, *Response, error) {
	d, err := ua.outside(ctx, &inv)
	if err != nil {
		return nil, nil, err
	}
	d.handler = handler
	interval := ua.cfg.SessionExpires
	for range 4 { // room for a challenge, a stale nonce and a longer Min-SE
		headers := append([]Header{
			{"Supported", ua.supported()}, {"Allow", ua.allow},
			{"Session-Expires", strconv.Itoa(int(interval / time.Second))}, {"Min-SE", strconv.Itoa(int(ua.cfg.MinSE / time.Second))},
		}, inv.Headers...)
		res, err := ua.transact(ctx, d, &outgoing{method: "INVITE", contentType: inv.ContentType, body: inv.Body, headers: headers}, inv.Progress, inv.Accepted)
		if err != nil {
			return nil, nil, err
		}
		if res.Code()/100 != 2 {
			d.unring()
		}
		switch code := res.Code(); {
		case code/100 == 2:
			return d, res, nil
		case code == 422:
			longer, err := seconds(res.Header("Min-SE"))
			if err != nil || longer <= interval {
				return nil, nil, &Refusal{res}
			}
			interval = longer
		case (code == 401 || code == 407) && d.auth != nil && d.auth.challenge(res):
		default:
			return nil, nil, &Refusal{res}
		}
	}
	return nil, nil, errors.New("gave up: the peer keeps challenging the request or raising Min-SE")
}

// outside prepares the state from which a request outside a dialog is sent.
func (ua *UA) outside(ctx context.Context, inv *Invite) (*Dialog, error) {
	for _, uri := range []string{inv.To, inv.Target, inv.From, inv.Proxy} {
		if strings.ContainsFunc(uri, notInURI) {
			return nil, fmt.Errorf("%w: %q", errURI, uri)
		}
	}
	next, target := inv.To, inv.Target
	if target == "" {
		target = inv.To
	} else {
		next = target
	}
	var routes []string
	if inv.Proxy != "" {
		next, routes = inv.Proxy, []string{"<" + inv.Proxy + ">"}
	}
	h := inv.Flow.hop
	switch {
	case h.conn == nil:
		var err error
		if h, err = ua.dial(ctx, next, "UDP"); err != nil {
			return nil, err
		}
	case h.conn.dead():
		return nil, ErrConnectionLost
	}
	d := &Dialog{
		ua: ua, callID: newTag(), localTag: newTag(), user: contactUser(inv.From),
		remote: "<" + inv.To + ">", target: target, routes: routes, hop: h, peer: h.addr.Addr(), names: h.conn.names(),
	}
	d.standing.Store(int32(known))
	d.pinned = ua.cfg.StayOnFlow && inv.Flow.hop.conn != nil
	d.local = "<" + inv.From + ">;tag=" + d.localTag
	if inv.FromParams != "" {
		d.local += ";" + inv.FromParams
	}
	if inv.Name != "" {
		d.local = Quote(inv.Name) + " " + d.local
	}
	if inv.Username != "" {
		d.auth = &authorization{username: inv.Username, password: inv.Password}
	}
	return d, nil
}

// Request sends a request outside any dialog and returns the final response, whatever its code.
// It answers digest challenges. The fields of inv mean the same as for [UA.Invite].
func (ua *UA) Request(ctx context.Context, method string, inv Invite) (*Response, error) {
	d, err := ua.outside(ctx, &inv)
	if err != nil {
		return nil, err
	}
	for range 3 { // room for a challenge and a stale nonce
		res, err := ua.transact(ctx, d, &outgoing{method: method, contentType: inv.ContentType, body: inv.Body, headers: inv.Headers}, nil, nil)
		if err != nil {
			return nil, err
		}
		if code := res.Code(); (code == 401 || code == 407) && d.auth != nil && d.auth.challenge(res) {
			continue
		}
		return res, nil
	}
	return nil, errors.New("gave up: the peer keeps challenging the request or raising Min-SE")
}

// transact sends one request of a dialog that is not established yet and waits for the final
// response. When ctx ends, it cancels an INVITE. accepted, if not nil, gets the 2xx to one.
func (ua *UA) transact(ctx context.Context, d *Dialog, o *outgoing, progress, accepted func(*Dialog, *Response)) (*Response, error) {
	answer := make(chan Result, 1)
	done := func(res Result) {
		if o.method == "INVITE" && res.Code()/100 == 2 { // what follows the 2xx already belongs to the dialog
			if err := d.established(res.Response); err != nil {
				res = Result{Err: err}
			} else if accepted != nil {
				accepted(d, res.Response)
			}
		}
		answer <- res
	}
	rings := func(res *Response) {
		if d.rings(res) && progress != nil {
			progress(d, res)
		}
	}
	d.mu.Lock()
	d.localSeq++
	branch := newBranch()
	tx, err := ua.start(o.method, branch, d.wire(o, branch, d.localSeq), d.hop, d.named(d.localSeq), rings, done, d.forked)
	d.mu.Unlock()
	if err != nil {
		return nil, err
	}
	select {
	case res := <-answer:
		if res.Err != nil {
			return nil, res.Err
		}
		return res.Response, nil
	case <-ctx.Done():
		if o.method == "INVITE" {
			var reason CancelReason
			errors.As(context.Cause(ctx), &reason)
			tx.cancel(reason)
			ua.spawn(func() {
				if late := <-answer; late.Code()/100 != 2 || accepted == nil {
					d.abandon(late)
				}
			})
		}
		return nil, ctx.Err()
	}
}

// rings handles a provisional response: with a To tag it makes an early dialog (RFC 3261 12.1),
// and one that requires 100rel gets a PRACK. It returns false for one to be discarded: a reliable one that is repeated,
// or that arrives before the one that precedes it (RFC 3262 4).
func (d *Dialog) rings(res *Response) bool {
	tag := res.Tag()
	if tag == "" {
		return true
	}
	reliable := slices.ContainsFunc(SplitList(values(res.msg.GetHeaders("Require"))), func(s string) bool { return strings.EqualFold(s, "100rel") })
	d.mu.Lock()
	if reliable && !d.inOrder(tag, res.Header("RSeq")) {
		d.mu.Unlock()
		return false
	}
	d.follow(res)
	added := d.added
	d.mu.Unlock()
	if !added && d.ua.add(d) != nil {
		return true
	}
	if reliable {
		d.Send("PRACK", "", nil, nil, Header{"RAck", strings.TrimSpace(res.Header("RSeq")) + " " + res.Header("CSeq")})
	}
	return true
}

// inOrder records the RSeq of a reliable provisional response. It returns false unless it is the first of its fork or
// follows the last one. Callers hold d.mu.
func (d *Dialog) inOrder(fork, rseq string) bool {
	number, err := strconv.ParseUint(strings.TrimSpace(rseq), 10, 32)
	last, more := d.rseqs[fork]
	if err != nil || number == 0 || more && number != last+1 || !more && len(d.rseqs) >= maxForks {
		return false
	}
	if d.rseqs == nil {
		d.rseqs = map[string]uint64{}
	}
	d.rseqs[fork] = number
	return true
}

// forked handles the 2xx of another telephone than the one that has the dialog. It gets an ACK, and BYE once (RFC 3261
// 13.2.2.4).
func (d *Dialog) forked(res *Response) {
	number, _, _ := parseCSeq(res.Header("CSeq"))
	d.mu.Lock()
	f := &Dialog{ua: d.ua, callID: d.callID, localTag: d.localTag, local: d.local, user: d.user, hop: d.hop, target: d.target, auth: d.auth, localSeq: number + 1}
	f.follow(res)
	known := d.forks[f.remoteTag]
	full := !known && len(d.forks) >= maxForks
	if !known && !full {
		if d.forks == nil {
			d.forks = map[string]bool{}
		}
		d.forks[f.remoteTag] = true
	}
	d.mu.Unlock()
	if full {
		return
	}
	_ = f.hop.conn.send(f.wire(&outgoing{method: "ACK"}, newBranch(), number), f.hop.addr)
	if !known {
		branch := newBranch()
		_ = d.ua.send("BYE", branch, f.wire(&outgoing{method: "BYE"}, branch, f.localSeq), f.hop, f.named(f.localSeq), func(Result) {})
	}
}

// unring removes the early dialog that provisional responses created.
func (d *Dialog) unring() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.added {
		return
	}
	d.added = false
	if c, ok := d.hop.conn.(*streamConn); ok {
		c.dialogs.leave(d)
	}
	d.ua.remove(d)
}

// abandon ends a dialog that the peer accepted after the caller had stopped waiting (RFC 3261
// 15: ACK, then BYE).
func (d *Dialog) abandon(late Result) {
	if late.Code()/100 == 2 {
		d.bye(ErrLocalBye, func(Result) {})
		return
	}
	d.unring()
}

// follow takes the dialog state from a response (RFC 3261 12.1.2). Callers hold d.mu.
func (d *Dialog) follow(res *Response) {
	d.remote = res.Header("To")
	d.remoteTag = parseAddress(d.remote).Tag()
	d.target = target(res.Contacts(), d.target)
	d.routes = routes(values(res.msg.GetHeaders("Record-Route")))
	slices.Reverse(d.routes)
	d.allows = res.Header("Allow")
}

// established turns an accepted INVITE into a dialog (RFC 3261 12.1.2, 13.2.2.4).
func (d *Dialog) established(res *Response) error {
	d.mu.Lock()
	d.follow(res)
	added := d.added
	d.mu.Unlock()
	if !added {
		if err := d.ua.add(d); err != nil {
			return err
		}
	}
	d.confirm(res)
	return nil
}

// confirm sends the ACK of a 2xx and adopts its session timer.
func (d *Dialog) confirm(res *Response) {
	d.mu.Lock()
	defer d.mu.Unlock()
	number, _, _ := parseCSeq(res.Header("CSeq"))
	d.target = target(res.Contacts(), d.target)
	d.ackWire, d.ackNumber = d.wire(&outgoing{method: "ACK"}, newBranch(), number), number
	_ = d.hop.conn.send(d.ackWire, d.hop.addr)
	d.timer = sessionTimer{}
	if value := res.Header("Session-Expires"); value != "" {
		if interval, err := seconds(value); err == nil && interval > 0 {
			who, _ := param(value[strings.IndexByte(value+";", ';'):], "refresher")
			d.timer = sessionTimer{interval: interval, ours: !strings.EqualFold(who, "uas")}
		}
	}
	d.schedule()
}

// Reinvite sends a re-INVITE (RFC 3261 14.1), once the peer has acknowledged our 2xx to its last
// INVITE. done receives the final response after its ACK was sent. After a 491, when both sides sent one at once, Reinvite tries again, at most twice.
func (d *Dialog) Reinvite(contentType string, body []byte, done func(Result), headers ...Header) {
	d.reinvite(contentType, body, done, headers, 3)
}

func (d *Dialog) reinvite(contentType string, body []byte, done func(Result), headers []Header, tries int) {
	d.mu.Lock()
	if d.repeat != nil && !d.leaving && !d.ended {
		d.unacked = append(d.unacked, func() { d.reinvite(contentType, body, done, headers, tries) })
		d.mu.Unlock()
		return
	}
	d.ackWire = nil // do not acknowledge repetitions of an older 2xx any more
	d.inviting = true
	d.mu.Unlock()
	d.Send("INVITE", contentType, body, func(res Result) {
		d.mu.Lock()
		d.inviting = false
		d.mu.Unlock()
		switch code := res.Code(); {
		case code/100 == 2:
			d.confirm(res.Response)
		case code == 491 && tries > 1:
			wait := 10 * time.Millisecond * time.Duration(rand.IntN(200)) //nolint:gosec // RFC 3261 14.1: any spread will do
			if d.invitation == nil {
				wait += 2100 * time.Millisecond // we own the Call-ID (RFC 3261 14.1)
			}
			time.AfterFunc(wait, func() { d.reinvite(contentType, body, done, headers, tries-1) })
			return
		}
		done(res)
	}, headers...)
}

// dial finds or opens a path to a URI. Without a transport parameter, sips: means TLS, and sip:
// means fallback.
func (ua *UA) dial(ctx context.Context, uri, fallback string) (hop, error) {
	u := ParseURI(uri)
	host, port, kind := u.Host, u.Port, u.Transport
	if u.MAddr != "" {
		host = u.MAddr
	}
	if host == "" {
		return hop{}, fmt.Errorf("URI %q has no host", uri)
	}
	switch {
	case kind == "DTLS":
		kind = dtlsKind
	case u.Scheme == "sips", kind == "TLS":
		kind = "TLS"
	case kind == "":
		kind = fallback
	}
	if port == 0 {
		port = 5060
		if kind == "TLS" || kind == dtlsKind {
			port = 5061
		}
	}
	addr, err := resolve(ctx, host, port)
	if err != nil {
		return hop{}, err
	}
	switch kind {
	case "UDP":
		s, err := ua.udpFor(addr)
		return hop{s, addr}, err
	case "TCP", "TLS", dtlsKind:
		c, err := ua.dialStream(ctx, kind, addr, u.Host)
		if err != nil {
			return hop{}, err
		}
		return hop{c, c.remote}, nil
	}
	return hop{}, fmt.Errorf("transport %q is not supported", kind)
}

func resolve(ctx context.Context, host string, port int) (netip.AddrPort, error) {
	if ip, err := netip.ParseAddr(host); err == nil {
		return netip.AddrPortFrom(ip.Unmap(), uint16(port)), nil
	}
	ips, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return netip.AddrPort{}, err
	}
	return netip.AddrPortFrom(ips[0].Unmap(), uint16(port)), nil
}

// udpFor returns a socket that can reach an address, opening one if necessary.
func (ua *UA) udpFor(addr netip.AddrPort) (*udpSocket, error) {
	ua.mu.Lock()
	for _, s := range ua.sockets {
		ip := s.local.Addr()
		if ip.Is4() == addr.Addr().Is4() && (ip.IsUnspecified() || ip.IsLoopback() == addr.Addr().IsLoopback()) {
			ua.mu.Unlock()
			return s, nil
		}
	}
	ua.mu.Unlock()
	local, err := localAddress(addr)
	if err != nil {
		return nil, err
	}
	return ua.openUDP(net.JoinHostPort(local.String(), "0"))
}

// localAddress returns the source address that the kernel would choose.
func localAddress(to netip.AddrPort) (netip.Addr, error) {
	probe, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(to))
	if err != nil {
		return netip.Addr{}, err
	}
	defer func() { _ = probe.Close() }()
	return probe.LocalAddr().(*net.UDPAddr).AddrPort().Addr().Unmap(), nil
}

// dialing is a connection attempt that all senders to one destination share.
type dialing struct {
	done chan struct{} // closed when conn or err is set
	conn *streamConn
	err  error
}

// maxDialing bounds concurrent connection attempts: a peer can make us dial with its Contact.
const maxDialing = 1000

var errDialing = errors.New("too many connection attempts in progress")

// dialStream finds or opens a connection. A TLS connection is reused only for the same name to
// verify. A slow connection attempt does not delay those to other destinations.
func (ua *UA) dialStream(ctx context.Context, kind string, addr netip.AddrPort, name string) (*streamConn, error) {
	key := kind + " " + addr.String() + " " + name
	ua.mu.Lock()
	if c := ua.pool[key]; c != nil && !c.dead() {
		ua.mu.Unlock()
		return c, nil
	}
	d := ua.dialing[key]
	if d == nil {
		if ua.closing {
			ua.mu.Unlock()
			return nil, net.ErrClosed
		}
		if len(ua.dialing) >= maxDialing {
			ua.mu.Unlock()
			return nil, errDialing
		}
		d = &dialing{done: make(chan struct{})}
		ua.dialing[key] = d
		ua.group.Go(func() {
			c, err := ua.open(kind, addr, name, key)
			ua.mu.Lock()
			delete(ua.dialing, key)
			ua.mu.Unlock()
			d.conn, d.err = c, err
			close(d.done)
		})
	}
	ua.mu.Unlock()
	select {
	case <-d.done:
		return d.conn, d.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// open opens a connection. It continues when the sender that started it no longer waits.
func (ua *UA) open(kind string, addr netip.AddrPort, name, key string) (*streamConn, error) {
	nc, err := ua.connect(ua.ctx, kind, addr, name)
	if err != nil {
		return nil, err
	}
	c, err := ua.adopt(nc, kind, key, nil)
	if err != nil {
		_ = nc.Close()
	}
	return c, err
}

// connect opens a connection and completes its handshake.
func (ua *UA) connect(ctx context.Context, kind string, addr netip.AddrPort, name string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	switch {
	case kind == dtlsKind && ua.cfg.DTLSClient == nil:
		return nil, errors.New("DTLS is not configured for outgoing connections")
	case kind == dtlsKind:
		return ours.DialDTLS(ctx, addr.String(), name, *ua.cfg.DTLSClient)
	case kind == "TLS" && ua.cfg.TLSClient == nil:
		return nil, errors.New("TLS is not configured for outgoing connections")
	}
	dialer := net.Dialer{Timeout: 5 * time.Second}
	nc, err := dialer.DialContext(ctx, "tcp", addr.String())
	if err != nil || kind != "TLS" {
		return nc, err
	}
	cfg := ua.cfg.TLSClient.Clone()
	if cfg.ServerName == "" {
		cfg.ServerName = name
	}
	t := tls.Client(nc, cfg)
	if err := t.HandshakeContext(ctx); err != nil {
		_ = nc.Close()
		return nil, err
	}
	return t, nil
}

// via returns the Via value of a request that leaves by h.
func (ua *UA) via(h hop, branch string) string {
	var b bytes.Buffer
	b.WriteString("SIP/2.0/" + h.conn.transport() + " " + ua.sentBy(h) + ";branch=" + branch)
	if !h.conn.reliable() {
		b.WriteString(";rport")
	}
	return b.String()
}

func (ua *UA) sentBy(h hop) string {
	local := h.conn.localAddr()
	host := ua.cfg.Advertise
	if host == "" {
		ip := local.Addr()
		if ip.IsUnspecified() {
			ip = ua.towards(h.addr)
		}
		host = ip.String()
	}
	return net.JoinHostPort(host, strconv.Itoa(int(local.Port())))
}

// towards returns the local address from which packets to a peer leave, for sockets bound to
// the unspecified address. It asks the kernel once for each peer.
func (ua *UA) towards(peer netip.AddrPort) netip.Addr {
	ua.mu.Lock()
	ip, known := ua.sources[peer.Addr()]
	ua.mu.Unlock()
	if known {
		return ip
	}
	ip, err := localAddress(peer)
	if err != nil {
		return netip.IPv4Unspecified()
	}
	ua.mu.Lock()
	defer ua.mu.Unlock()
	if len(ua.sources) >= maxSources {
		clear(ua.sources)
	}
	ua.sources[peer.Addr()] = ip
	return ip
}

// contactURI returns the URI at which requests inside a dialog reach us.
func (ua *UA) contactURI(h hop) string {
	transport, _, _ := strings.Cut(strings.ToLower(h.conn.transport()), "-") // dtls-udp becomes dtls
	return "sip:" + ua.sentBy(h) + ";transport=" + transport
}
