package sip

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tr87proxy/tr87proxy/internal/share"
	ours "github.com/tr87proxy/tr87proxy/tls"
)

// conn is a socket that sends messages: a UDP socket, or one TCP, TLS or DTLS connection.
type conn interface {
	send(data []byte, to netip.AddrPort) error
	transport() string
	reliable() bool
	localAddr() netip.AddrPort
	dead() bool
	names() []string
	close()
}

// hop is a path to one peer: a socket and the peer's address.
type hop struct {
	conn conn
	addr netip.AddrPort
}

// peer returns the peer at the other end; the zero value if no path is set.
func (h hop) peer() Peer {
	if h.conn == nil {
		return Peer{}
	}
	return Peer{Transport: h.conn.transport(), Addr: h.addr, Local: h.conn.localAddr(), Names: h.conn.names()}
}

// received adds the actual source of the request to its top Via (RFC 3261 18.2.1, RFC 3581 4)
// and leaves the rest of the header unchanged.
func (h hop) received(value string) string {
	first, rest, more := splitQuoted(value, ',')
	v, ok := parseVia(first)
	if !ok {
		return value
	}
	host, _ := splitHostPort(v.sentBy)
	ip := h.addr.Addr()
	rport, asked := param(v.params, "rport")
	if asked && rport == "" {
		if i := indexParam(first, "rport"); i >= 0 {
			first = first[:i] + "rport=" + strconv.Itoa(int(h.addr.Port())) + first[i+len("rport"):]
		}
	}
	if parsed, err := netip.ParseAddr(host); asked || err != nil || parsed.Unmap() != ip {
		if _, has := param(v.params, "received"); !has {
			first += ";received=" + ip.String()
		}
	}
	if more {
		return first + "," + rest
	}
	return first
}

// indexParam returns the offset of a parameter's name after the first semicolon, or -1.
func indexParam(s, name string) int {
	head, rest, more := splitQuoted(s, ';')
	for at := len(head) + 1; more; {
		var p string
		p, rest, more = splitQuoted(rest, ';')
		key, _, _ := strings.Cut(p, "=")
		if strings.EqualFold(strings.TrimSpace(key), name) {
			return at + strings.Index(p, strings.TrimSpace(key))
		}
		at += len(p) + 1
	}
	return -1
}

// answerTo returns the address for responses to a request with this top Via: on a connection,
// the peer; on UDP, the port that the Via names, or the source port with rport (RFC 3261
// 18.2.2, RFC 3581 4).
func (h hop) answerTo(value string) netip.AddrPort {
	if h.conn.reliable() {
		return h.addr
	}
	v, ok := parseVia(value)
	if !ok {
		return h.addr
	}
	if _, symmetric := param(v.params, "rport"); symmetric {
		return h.addr
	}
	_, port := splitHostPort(v.sentBy)
	if port == 0 {
		port = 5060
	}
	return netip.AddrPortFrom(h.addr.Addr(), uint16(port))
}

// dtlsKind is the transport name of DTLS over UDP in a Via. In a URI it is transport=dtls.
const dtlsKind = "DTLS-UDP"

// streamConn is one TCP, TLS or DTLS connection, accepted or dialled. DTLS preserves message
// boundaries but can lose or reorder messages.
type streamConn struct {
	ua        *UA
	nc        net.Conn
	kind      string // TCP, TLS or DTLS-UDP
	local     netip.AddrPort
	remote    netip.AddrPort
	peerNames []string
	poolKey   string       // of a dialled connection
	listener  net.Listener // of an accepted connection
	opened    time.Time
	entry     *share.Entry
	spoken    bool         // a whole message has arrived
	standing  atomic.Int32 // of the peer
	mu        sync.Mutex   // held while writing
	closed    atomic.Bool
	dialogs   users
	// Transactions on this connection, guarded by ua.txMu.
	serverTx map[*serverTx]struct{}
	clientTx map[*clientTx]struct{}
}

// users is the set of dialogs that use a connection. Its methods may be called while a
// Dialog.mu is held.
type users struct {
	mu   sync.Mutex
	set  map[*Dialog]struct{}
	over bool // the connection is closed
}

// enter adds a dialog. It returns false if the connection is closed and end was already called.
func (u *users) enter(d *Dialog) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.over {
		return false
	}
	if u.set == nil {
		u.set = map[*Dialog]struct{}{}
	}
	u.set[d] = struct{}{}
	return true
}

func (u *users) leave(d *Dialog) {
	u.mu.Lock()
	defer u.mu.Unlock()
	delete(u.set, d)
}

// any reports whether any dialog uses the connection.
func (u *users) any() bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	return len(u.set) > 0
}

// end marks the connection closed and returns the dialogs that used it.
func (u *users) end() map[*Dialog]struct{} {
	u.mu.Lock()
	defer u.mu.Unlock()
	set := u.set
	u.set, u.over = nil, true
	return set
}

// enter reserves an entry in the table of connections. Over TLS and DTLS no peer is trusted
// before the handshake: the first DTLS datagram does not validate the address.
func (c *streamConn) enter() (err error) {
	if c.listener == nil {
		c.standing.Store(int32(trusted))
		c.entry, err = c.ua.connectionShares.EnterTrusted(c.remote.Addr())
		return err
	}
	if c.kind == "TCP" && c.ua.cfg.Known(hop{c, c.remote}.peer()) {
		c.standing.Store(int32(trusted))
	}
	c.entry, err = c.ua.connectionShares.EnterAs(c.remote.Addr(), share.Class(c.standing.Load()), func(error) { c.evict() })
	return err
}

// evict closes the connection at once, without a closing handshake that could block.
func (c *streamConn) evict() {
	c.ua.stats.EvictedConnections.Add(1)
	if c.closed.Swap(true) {
		return
	}
	switch nc := c.nc.(type) {
	case *tls.Conn:
		_ = nc.NetConn().Close()
	case *net.TCPConn:
		_ = nc.Close()
	default:
		c.ua.spawn(func() { _ = nc.Close() })
	}
}

// strange reports whether the peer is a stranger.
func (c *streamConn) strange() bool { return standing(c.standing.Load()) == stranger }

// raise records a better standing of the peer.
func (c *streamConn) raise(to standing) {
	if to > stranger && c.standing.CompareAndSwap(int32(stranger), int32(to)) {
		c.entry.Raise(share.Class(to))
	}
}

// identified records the names in the peer's verified certificate.
func (c *streamConn) identified(names []string) {
	c.peerNames = names
	switch {
	case c.ua.cfg.Known(hop{c, c.remote}.peer()):
		c.raise(trusted)
	case len(names) > 0:
		c.raise(known)
	}
}

func (c *streamConn) transport() string         { return c.kind }
func (c *streamConn) reliable() bool            { return c.kind != dtlsKind }
func (c *streamConn) localAddr() netip.AddrPort { return c.local }
func (c *streamConn) dead() bool                { return c.closed.Load() }
func (c *streamConn) names() []string           { return c.peerNames }

// send writes one whole message. It closes the connection if a write fails or times out, since
// part of the message may have been sent.
func (c *streamConn) send(data []byte, _ netip.AddrPort) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.dead() {
		return net.ErrClosed
	}
	_ = c.nc.SetWriteDeadline(time.Now().Add(c.ua.cfg.WriteTimeout))
	c.ua.trace(true, hop{c, c.remote}, data, true) // first: the response can be there before Write returns
	if _, err := c.nc.Write(data); err != nil {
		c.close()
		return err
	}
	return nil
}

func (c *streamConn) close() {
	if !c.closed.Swap(true) {
		_ = c.nc.Close()
	}
}

const (
	firstTimeout   = 10 * time.Second // for the handshake, and for a stranger's first message
	partialTimeout = 30 * time.Second // for the rest of a partial message
	idleTimeout    = 10 * time.Minute // of a connection without dialogs
	idleStranger   = time.Minute
	maxStrangeHead = 16 << 10 // octets
)

// deadline returns the read deadline. began is when the current partial message began, or zero
// if there is none.
func (c *streamConn) deadline(began time.Time) time.Time {
	switch {
	case c.strange() && !c.spoken:
		return c.opened.Add(firstTimeout)
	case !began.IsZero():
		return began.Add(partialTimeout)
	case c.strange():
		return time.Now().Add(idleStranger)
	}
	return time.Now().Add(idleTimeout)
}

// serve reads messages and handles them one at a time until the connection closes.
func (c *streamConn) serve() {
	defer c.ua.group.Done()
	defer c.ua.gone(c)
	if t, ok := c.nc.(*tls.Conn); ok && c.listener != nil { // dialled connections have completed it
		ctx, cancel := context.WithTimeout(c.ua.ctx, firstTimeout)
		err := t.HandshakeContext(ctx)
		cancel()
		if below, ok := t.NetConn().(*shaking); ok {
			below.end()
		}
		if err != nil {
			c.ua.warn("TLS handshake failed", c.remote, "err", err)
			return
		}
		c.identified(ours.PeerNames(t.ConnectionState(), c.ua.cfg.NameKinds...))
	}
	if c.kind == dtlsKind {
		c.serveDTLS()
		return
	}
	buf := make([]byte, 0, 4096)
	began := time.Time{} // when the message in buf began
	whole := 0           // octets the message in buf needs, as far as known
	for {
		if len(buf) == 0 {
			began = time.Time{}
		}
		_ = c.nc.SetReadDeadline(c.deadline(began))
		if cap(buf)-len(buf) < 1024 {
			buf = append(make([]byte, 0, 2*cap(buf)), buf...)
		}
		n, err := c.nc.Read(buf[len(buf):cap(buf)])
		if n == 0 && err != nil {
			if errors.Is(err, os.ErrDeadlineExceeded) && len(buf) == 0 && c.dialogs.any() {
				continue
			}
			return
		}
		if len(buf) == 0 {
			began = time.Now()
		}
		buf = buf[:len(buf)+n]
		if len(buf) < whole { // do not parse the header section again for each octet
			continue
		}
		if !c.admitted() {
			return
		}
		rest, missing, ok := c.messages(buf)
		if !ok {
			return
		}
		whole = len(rest) + missing
		if len(rest) < len(buf) {
			began = time.Now()
		}
		if len(rest) == 0 && cap(buf) > 16<<10 {
			buf = make([]byte, 0, 4096) // do not keep a large buffer after one large message
			continue
		}
		buf = buf[:copy(buf, rest)]
	}
}

// admitted reports whether the peer may communicate with us: that can change while the connection is open.
func (c *streamConn) admitted() bool {
	return c.listener == nil || c.ua.cfg.Admits == nil || c.ua.cfg.Admits(c.remote.Addr())
}

// serveDTLS reads datagrams until the connection closes.
func (c *streamConn) serveDTLS() {
	if c.listener != nil {
		ctx, cancel := context.WithTimeout(c.ua.ctx, firstTimeout)
		names, err := ours.HandshakeDTLS(ctx, c.nc, c.ua.cfg.NameKinds...)
		cancel()
		if err != nil {
			c.ua.warn("DTLS handshake failed", c.remote, "err", err)
			return
		}
		c.identified(names)
	}
	for buf := make([]byte, maxMessage+1); ; {
		_ = c.nc.SetReadDeadline(c.deadline(time.Time{}))
		n, err := c.nc.Read(buf)
		if err != nil {
			var late net.Error
			if errors.As(err, &late) && late.Timeout() && c.dialogs.any() {
				continue
			}
			return
		}
		data := buf[:n]
		for len(data) > 0 && (data[0] == '\r' || data[0] == '\n' || data[0] == 0) {
			data = data[1:] // keep-alive (RFC 5626 3.5.1)
		}
		if !c.admitted() {
			return
		}
		if len(data) > 0 {
			c.spoken = true
			c.ua.receive(data, hop{c, c.remote})
		}
	}
}

// messages handles every complete message in buf. It returns the remainder and the least number
// of octets still missing, or false if the stream cannot be framed any more.
func (c *streamConn) messages(buf []byte) (rest []byte, missing int, ok bool) {
	for len(buf) > 0 {
		skip, n, err := frame(buf)
		if skip >= 4 && skip == len(buf) {
			_ = c.send([]byte("\r\n"), c.remote) // pong (RFC 5626 3.5.1)
		}
		if errors.Is(err, errIncomplete) {
			rest = buf[skip:]
			if n > 0 || len(rest) <= c.headBound() {
				return rest, max(n-len(rest), 1), true
			}
			err = errTooLarge
		}
		if err != nil {
			c.ua.warn("connection closed", c.remote, "err", err)
			c.ua.stats.Malformed.Add(1)
			c.ua.refuseHead(buf[skip:skip+n], hop{c, c.remote}, err)
			return nil, 0, false
		}
		c.spoken = true
		c.ua.receive(buf[skip:skip+n], hop{c, c.remote})
		buf = buf[skip+n:]
	}
	return buf, 1, true
}

// headBound returns the maximum size of an incomplete header section, in octets. The search for
// its end restarts with each read.
func (c *streamConn) headBound() int {
	if c.strange() {
		return maxStrangeHead
	}
	return maxMessage
}
