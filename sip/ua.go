package sip

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	gosip "github.com/emiago/sipgo/sip"

	"github.com/tr87proxy/tr87proxy/internal/share"
	ours "github.com/tr87proxy/tr87proxy/tls"
)

// Config configures a [UA]. A zero field takes the default named in its comment.
type Config struct {
	Handler Handler // receives INVITEs outside dialogs; nil refuses them with 405
	// Requests handles requests outside dialogs by method, in addition to INVITE and OPTIONS. A
	// handler must not block, and must call Respond exactly once, during the call or later.
	Requests map[string]func(*Request)
	// InDialog lists methods that dialog handlers receive in addition to INFO, INVITE and
	// UPDATE.
	InDialog []string
	// Supports lists supported option tags in addition to timer.
	Supports []string
	// Accepts lists the media types that handlers read, in lower case. A request's body is then the part of a
	// multipart body that has one of them, and responses with 415 and to OPTIONS list them.
	Accepts []string
	// StayOnFlow keeps dialogs on connections that the peer opens: the UA never dials the
	// Contact of a peer that connected to us.
	StayOnFlow bool
	// Lost is called after a connection was closed. It must not block.
	Lost      func(Flow)
	UserAgent string // User-Agent header; default "tr87proxy"
	Front     string // name of this listener in the log; default "sip"
	Keys      string // configuration section that holds max-connections, for the log; "" if none does
	Advertise string // host for Via and Contact; default the local address of each socket
	Log       *slog.Logger
	TLSClient *tls.Config // for connections we open; nil disables TLS for them
	// DTLSClient names the files for DTLS connections we open; nil disables DTLS for them.
	DTLSClient *ours.Files
	// NameKinds lists the kinds of certificate names that count, in this order: dns, uri, cn.
	// Empty means all.
	NameKinds []string

	SessionExpires time.Duration // offered to clients that support timers; default 30 min
	MinSE          time.Duration // shortest accepted session interval (RFC 4028); default 90 s
	MaxSession     time.Duration // maximum duration of a dialog without session timer; default 24 h
	Grace          time.Duration // how long a dialog survives its lost connection; default 32 s
	EventWait      time.Duration // UDP: maximum wait for a response before the next request is sent; default 2 s
	ReorderWait    time.Duration // UDP: maximum wait for an overtaken request; default 50 ms
	WriteTimeout   time.Duration // for one message on a connection; default 10 s

	// Limits. A peer is an IPv4 address or the /64 of an IPv6 address. A quarter of each table
	// is reserved for known peers, half of that for trusted ones. When a table is full, the
	// oldest entry of the stranger with the most entries is evicted. If strangers have none,
	// transactions and connections of the known peer with the most are evicted instead, some of
	// them also in favour of strangers.
	MaxDialogs        int // in total; default 20000
	MaxDialogsPerPeer int // default 5000
	MaxTransactions   int // open or kept for retransmissions; default 100000
	MaxConnections    int // default 2000
	// MaxConnectionsPerPeer bounds the connections one peer may open; default 500.
	MaxConnectionsPerPeer int
	// Admits reports whether an address may communicate with us at all; nil admits all.
	Admits func(netip.Addr) bool

	// Trusts reports whether a request inside a dialog may come from this peer although another
	// address opened the dialog. The default is never.
	Trusts func(Peer) bool
	// Follows reports whether a request in a dialog, which came from another address than the dialog's, has proved to be
	// of its peer, which then has moved there. If not, it has responded. nil: only Trusts counts.
	Follows func(*Dialog, *Request) bool
	// Known reports whether the configuration names a peer, which then is trusted from its
	// first message on. The default is Trusts.
	Known func(Peer) bool
	// Trace is called with every message, before it is sent and after it was received. It must not block.
	Trace func(Traced)
}

// Traced is a message that passes through a UA.
type Traced struct {
	Out      bool
	Peer     Peer
	Stranger bool   // the peer has not been identified
	Readable bool   // it is SIP
	Data     []byte // not to be kept or changed
}

func (c *Config) defaults() {
	def := func(p *time.Duration, d time.Duration) {
		if *p == 0 {
			*p = d
		}
	}
	def(&c.SessionExpires, 30*time.Minute)
	def(&c.MinSE, 90*time.Second)
	def(&c.MaxSession, 24*time.Hour)
	def(&c.Grace, 32*time.Second)
	def(&c.EventWait, 2*time.Second)
	def(&c.ReorderWait, 50*time.Millisecond)
	def(&c.WriteTimeout, 10*time.Second)
	count := func(p *int, n int) {
		if *p == 0 {
			*p = n
		}
	}
	count(&c.MaxDialogs, 20000)
	count(&c.MaxDialogsPerPeer, 5000)
	count(&c.MaxTransactions, 100000)
	count(&c.MaxConnections, 2000)
	count(&c.MaxConnectionsPerPeer, 500)
	if c.Front == "" {
		c.Front = "sip"
	}
	if c.UserAgent == "" {
		c.UserAgent = "tr87proxy"
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Trusts == nil {
		c.Trusts = func(Peer) bool { return false }
	}
	if c.Known == nil {
		c.Known = c.Trusts
	}
}

// methods returns the supported methods; others are refused with 405.
func (c *Config) methods() []string {
	all := slices.Concat(strings.Split(basic, ", "), slices.Sorted(maps.Keys(c.Requests)), c.InDialog)
	var once []string
	for _, m := range all {
		if !slices.Contains(once, m) {
			once = append(once, m)
		}
	}
	return once
}

// SetT1 sets T1, the round-trip time estimate from which all SIP timers of this process derive
// (RFC 3261 17); default 500 ms. Call it before [New].
func SetT1(t1 time.Duration) { gosip.SetTimers(t1, 8*t1, 10*t1) }

// Handler decides about new dialogs.
type Handler interface {
	// Invite is called for each INVITE outside a dialog, in order of arrival for each peer. It
	// must not block, and must call Accept or Reject exactly once, during the call or later.
	Invite(in *Invitation)
}

// Stats counts events of a UA, for metrics.
type Stats struct {
	Requests, Retransmissions, Malformed, Refused, Unanswered atomic.Int64
	Stray                                                     atomic.Int64 // responses that match no request of ours
	Withheld                                                  atomic.Int64 // responses too large for an unvalidated address
	Dropped                                                   atomic.Int64 // datagrams discarded because strangers sent too many
	Paced                                                     atomic.Int64 // connections refused because their peer opened too many a second
	// Entries evicted from full tables.
	EvictedTransactions, EvictedConnections, EvictedDialogs atomic.Int64
}

// UA is a SIP user agent. Its methods are safe for concurrent use.
type UA struct {
	cfg   Config
	knows []string // supported methods
	allow string   // the same as header value
	log   *slog.Logger
	ctx   context.Context //nolint:containedctx // the life of the UA, not of a call
	stop  context.CancelFunc
	group sync.WaitGroup
	stats Stats

	mu        sync.Mutex
	closing   bool // no new dialogs or connections
	closed    bool // no new goroutines either
	sockets   []*udpSocket
	listeners []net.Listener
	streams   map[*streamConn]struct{}
	pool      map[string]*streamConn // dialled connections by transport, address and name
	dialogs   map[string]*Dialog     // by our tag
	dialing   map[string]*dialing    // connection attempts, by the same key as pool
	sources   map[netip.Addr]netip.Addr

	// The shares of peers in each table.
	dialogShares, connectionShares, transactionShares *share.Table

	met *acquaintances
	// newcomers limits the rate of new connections of a peer.
	newcomers  *share.Rates
	handshakes handshakes
	// strangers limits the rate of UDP datagrams of a stranger.
	strangers *share.Rates
	hush      share.LogLimit[strange]
	hushAll   share.LogLimit[string]

	txMu     sync.Mutex
	serverTx map[string]*serverTx
	clientTx map[string]*clientTx
}

// New returns a user agent without listeners. Call Shutdown or Close to release it.
func New(cfg Config) *UA {
	cfg.defaults()
	ctx, stop := context.WithCancel(context.Background())
	return &UA{
		cfg: cfg, knows: cfg.methods(), allow: strings.Join(cfg.methods(), ", "), log: cfg.Log, ctx: ctx, stop: stop,
		streams: map[*streamConn]struct{}{}, pool: map[string]*streamConn{}, dialing: map[string]*dialing{},
		dialogs: map[string]*Dialog{}, sources: map[netip.Addr]netip.Addr{},
		serverTx: map[string]*serverTx{}, clientTx: map[string]*clientTx{},
		dialogShares:      share.New(share.Limits{Most: cfg.MaxDialogs, Reserve: cfg.MaxDialogs / 4, Trusted: cfg.MaxDialogs / 8, Peer: cfg.MaxDialogsPerPeer}),
		connectionShares:  share.New(share.Limits{Most: cfg.MaxConnections, Reserve: cfg.MaxConnections / 4, Trusted: cfg.MaxConnections / 8, Strange: max(cfg.MaxConnections/16, 1), Peer: cfg.MaxConnectionsPerPeer}),
		transactionShares: share.New(share.Limits{Most: cfg.MaxTransactions, Reserve: cfg.MaxTransactions / 4, Trusted: cfg.MaxTransactions / 8, Strange: max(cfg.MaxTransactions/16, 1), Unproved: max(cfg.MaxTransactions/10, 1), Peer: max(cfg.MaxTransactions/4, 1)}),
		met:               newAcquaintances(), handshakes: newHandshakes(), newcomers: share.NewRates(newcomerRate, newcomerBurst, maxStrangers), strangers: share.NewRates(strangerRate, strangerBurst, maxStrangers), hush: share.LogLimit[strange]{Every: hushPeer}, hushAll: share.LogLimit[string]{Every: hushAll},
	}
}

// Stats returns the counters.
func (ua *UA) Stats() *Stats { return &ua.stats }

// Counts returns the current number of dialogs, connections and transactions.
func (ua *UA) Counts() (dialogs, connections, transactions int) {
	ua.mu.Lock()
	dialogs, connections = len(ua.dialogs), len(ua.streams)
	ua.mu.Unlock()
	ua.txMu.Lock()
	defer ua.txMu.Unlock()
	return dialogs, connections, len(ua.serverTx) + len(ua.clientTx)
}

const (
	socketBuffer = 4 << 20 // octets; a burst of a few thousand messages
	maxSources   = 4096    // peers whose local address is cached

	newcomerRate  = 50 // new connections a second, for each peer that is not trusted
	newcomerBurst = 200
)

// adopt starts to serve a connection that was dialled, or accepted by listener l.
func (ua *UA) adopt(nc net.Conn, kind, poolKey string, l net.Listener) (*streamConn, error) {
	c := &streamConn{
		ua: ua, nc: nc, kind: kind, poolKey: poolKey, listener: l,
		local: addrPort(nc.LocalAddr()), remote: addrPort(nc.RemoteAddr()), opened: time.Now(),
	}
	if t, ok := nc.(*tls.Conn); ok && poolKey != "" {
		c.peerNames = ours.PeerNames(t.ConnectionState(), ua.cfg.NameKinds...)
	}
	if !c.admitted() {
		return nil, errNotAdmitted
	}
	if err := c.enter(); err != nil {
		return nil, err
	}
	ua.mu.Lock()
	defer ua.mu.Unlock()
	if ua.closing {
		c.entry.Leave()
		return nil, net.ErrClosed
	}
	ua.streams[c] = struct{}{}
	if poolKey != "" {
		ua.pool[poolKey] = c
	}
	ua.group.Add(1)
	go c.serve()
	return c, nil
}

// gone removes a closed connection and starts the grace period of its dialogs.
func (ua *UA) gone(c *streamConn) {
	c.close()
	c.entry.Leave()
	ua.mu.Lock()
	delete(ua.streams, c)
	if ua.pool[c.poolKey] == c {
		delete(ua.pool, c.poolKey)
	}
	ua.mu.Unlock()
	for d := range c.dialogs.end() {
		d.lost(c)
	}
	ua.txMu.Lock()
	servers, clients := slices.Collect(maps.Keys(c.serverTx)), slices.Collect(maps.Keys(c.clientTx))
	ua.txMu.Unlock()
	terminate(servers, clients)
	if ua.cfg.Lost != nil {
		ua.cfg.Lost(Flow{hop{c, c.remote}})
	}
}

// spawn runs f on a goroutine that Close waits for. It returns false after Close.
func (ua *UA) spawn(f func()) bool {
	ua.mu.Lock()
	defer ua.mu.Unlock()
	if ua.closed {
		return false
	}
	ua.group.Go(f)
	return true
}

func unmap(a netip.AddrPort) netip.AddrPort { return netip.AddrPortFrom(a.Addr().Unmap(), a.Port()) }

// trace reports a message to Config.Trace.
func (ua *UA) trace(out bool, h hop, data []byte, readable bool) {
	if ua.cfg.Trace != nil {
		ua.cfg.Trace(Traced{Out: out, Peer: h.peer(), Stranger: ua.standingOf(h) == stranger, Readable: readable, Data: data})
	}
}

// survive is deferred while a message is handled: a panic ends the handling, not the process.
func (ua *UA) survive(h hop) {
	if p := recover(); p != nil {
		ua.stats.Malformed.Add(1)
		share.Panicked(ua.log, p, "handling a message", "peer", h.addr.String())
	}
}

// receive handles one message, on the goroutine that read it.
func (ua *UA) receive(data []byte, h hop) {
	defer ua.survive(h)
	msg, err := parse(data)
	ua.trace(false, h, data, err == nil)
	if err != nil {
		ua.stats.Malformed.Add(1)
		ua.log.Debug("malformed message", "peer", h.addr.String(), "err", err)
		ua.refuse(msg, h, len(data), 400)
		return
	}
	switch m := msg.(type) {
	case *gosip.Response:
		ua.response(m, h)
	case *gosip.Request:
		ua.request(&Request{msg: m, uri: requestURI(data), hop: h, ua: ua, size: len(data)})
	}
}

// refuseHead answers a message that cannot be framed, if its header section can be parsed.
func (ua *UA) refuseHead(head []byte, h hop, reason error) {
	msg, err := parse(head)
	ua.trace(false, h, head, false)
	code := 400
	if errors.Is(reason, errTooLarge) {
		code = 513
	}
	if err == nil || msg != nil {
		ua.refuse(msg, h, len(head), code)
	}
}

// refuse answers a malformed request without a transaction, if it has enough headers for the
// peer to match the response.
func (ua *UA) refuse(msg gosip.Message, h hop, size, code int) {
	req, ok := msg.(*gosip.Request)
	if !ok || req == nil {
		return
	}
	r := &Request{msg: req, hop: h, ua: ua, size: size, credit: ua.creditFor(h, size, ua.standingOf(h))}
	if r.Header("Via") != "" && req.Method != "ACK" {
		r.once(Answer{Code: code})
	}
}

// Shutdown stops accepting dialogs, sends BYE in all of them, waits until the peers have
// answered or ctx ends, then closes the user agent.
func (ua *UA) Shutdown(ctx context.Context) {
	ua.mu.Lock()
	ua.closing = true
	dialogs := slices.Collect(maps.Values(ua.dialogs))
	ua.mu.Unlock()
	ua.byeAll(ctx, dialogs)
	ua.Close()
}

// byeAll ends dialogs and waits until the peers have answered, or ctx ends.
func (ua *UA) byeAll(ctx context.Context, dialogs []*Dialog) {
	answered := make(chan struct{}, len(dialogs))
	for _, d := range dialogs {
		d.bye(ErrShutdown, func(Result) { answered <- struct{}{} })
	}
	for range dialogs {
		select {
		case <-answered:
		case <-ctx.Done():
			return
		}
	}
}

// Close closes every socket at once and waits for all goroutines. Dialogs end without BYE.
func (ua *UA) Close() {
	ua.stop()
	ua.mu.Lock()
	ua.closing, ua.closed = true, true
	for _, l := range ua.listeners {
		_ = l.Close()
	}
	for _, s := range ua.sockets {
		s.close()
	}
	for c := range ua.streams {
		c.close()
	}
	dialogs := slices.Collect(maps.Values(ua.dialogs))
	ua.mu.Unlock()
	for _, d := range dialogs {
		d.end(ErrShutdown)
	}
	ua.txMu.Lock()
	servers, clients := slices.Collect(maps.Values(ua.serverTx)), slices.Collect(maps.Values(ua.clientTx))
	ua.txMu.Unlock()
	terminate(servers, clients)
	ua.group.Wait()
}
