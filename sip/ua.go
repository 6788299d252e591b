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

// Config says how a [UA] behaves. The zero value of each field takes a default.
type Config struct {
	Handler Handler // of requests that open dialogs; nil refuses them all
	// Requests handles requests outside dialogs, by method, beside INVITE and OPTIONS. A
	// handler must not block, and must Respond to the request once, then or later.
	Requests map[string]func(*Request)
	// InDialog lists the methods that the handlers of dialogs get beside INFO, INVITE and
	// UPDATE.
	InDialog []string
	// Supports lists the option tags that requests may require beside timer.
	Supports []string
	// StayOnFlow keeps the dialogs of peers that have come to us on the connections that they
	// open: none is opened to what such a peer writes into its Contact.
	StayOnFlow bool
	// Lost is told when a connection has gone; it must not block.
	Lost      func(Flow)
	UserAgent string // header User-Agent; "tr87proxy"
	Front     string // what the log calls those who connect; "sip"
	Keys      string // the part of the configuration that has MaxConnections, for the log; "": none has
	Advertise string // host for Via and Contact; the local address of each socket
	Log       *slog.Logger
	TLSClient *tls.Config // for connections that we open; nil refuses to
	// DTLSClient names the files for DTLS connections that we open; nil refuses to.
	DTLSClient *ours.Files
	// NameKinds are the kinds of names in certificates that count, in this order: dns,
	// uri, cn; none: all.
	NameKinds []string

	SessionExpires time.Duration // offered to clients that support timers; 30 min
	MinSE          time.Duration // shortest accepted (RFC 4028); 90 s
	MaxSession     time.Duration // of a dialog without session timer; 24 h
	Grace          time.Duration // a dialog outlives its lost connection by this; 32 s
	EventWait      time.Duration // UDP: how long a request waits for its answer before the next goes out; 2 s
	ReorderWait    time.Duration // UDP: how long a request waits for one that was overtaken; 50 ms
	WriteTimeout   time.Duration // of one message on a connection; 10 s

	// A peer is an IPv4 address or the /64 of an IPv6 address. A quarter of each table is for
	// peers that are known, half of that for trusted peers only. Where there is no place, the oldest
	// entry gives way of the stranger that has most of them. Where strangers have none, the oldest
	// transaction or connection gives way of the known peer that has most of them; some of these
	// to strangers, too.
	MaxDialogs        int // in all; 20000
	MaxDialogsPerPeer int // 5000
	MaxTransactions   int // being answered or kept for retransmissions; 100000
	MaxConnections    int // 2000
	// MaxConnectionsPerPeer is how many one peer may open; 500.
	MaxConnectionsPerPeer int
	// Admits reports whether an address may speak to us at all; nil: any.
	Admits func(netip.Addr) bool

	// Trusts reports whether a request inside a dialog may come from this peer
	// although the dialog was opened from another address. The default is never.
	Trusts func(Peer) bool
	// Known reports whether the configuration names a peer: it is no stranger, from its first
	// message on. The default is Trusts.
	Known func(Peer) bool
	// Trace sees every message in and out; it must not keep data.
	Trace func(out bool, peer Peer, data []byte)
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

// methods lists what is answered with anything but 405.
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

// SetT1 sets the round-trip estimate that all SIP timers of this process derive
// from (RFC 3261 17): 500 ms unless a test or a slow network needs another. Call
// it before any [UA] is made.
func SetT1(t1 time.Duration) { gosip.SetTimers(t1, 8*t1, 10*t1) }

// Handler decides about new dialogs.
type Handler interface {
	// Invite is called for each INVITE outside a dialog, in the order in which
	// they came from one peer. It must not block, and must call the invitation's
	// Accept or Reject once, then or later.
	Invite(in *Invitation)
}

// Stats counts what a UA does, for metrics.
type Stats struct {
	Requests, Retransmissions, Malformed, Refused, Unanswered atomic.Int64
	Stray                                                     atomic.Int64 // responses that answer nothing of ours
	Withheld                                                  atomic.Int64 // answers larger than what an unproved address may get
	Dropped                                                   atomic.Int64 // datagrams that were not looked at: strangers sent too many, or all did
	Paced                                                     atomic.Int64 // connections that were not taken: their peer opened too many a second
	// What strangers, and known peers with very many, had to give up for others.
	EvictedTransactions, EvictedConnections, EvictedDialogs atomic.Int64
}

// UA is a SIP user agent.
type UA struct {
	cfg   Config
	knows []string // the methods that we answer with anything but 405
	allow string   // the same, as the header has them
	log   *slog.Logger
	ctx   context.Context //nolint:containedctx // the life of the UA, not of a call
	stop  context.CancelFunc
	group sync.WaitGroup
	stats Stats

	mu        sync.Mutex
	closing   bool // no new dialogs and connections
	closed    bool // no new goroutines either
	sockets   []*udpSocket
	listeners []net.Listener
	streams   map[*streamConn]struct{}
	pool      map[string]*streamConn // dialled, by transport, address and name
	dialogs   map[string]*Dialog     // by our own tag
	dialing   map[string]*dialing    // connections being opened, by the same
	sources   map[netip.Addr]netip.Addr

	// How the tables are shared.
	dialogShares, connectionShares, transactionShares *share.Table

	met *acquaintances
	// newcomers is how many connections a peer opens.
	newcomers  *share.Rates
	handshakes handshakes
	// strangers is how much of what strangers send over UDP is looked at.
	strangers *share.Rates
	hush      share.Hush[strange]
	hushAll   share.Hush[string]

	txMu     sync.Mutex
	serverTx map[string]*serverTx
	clientTx map[string]*clientTx
}

// New makes a user agent that lives until Shutdown or Close.
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
		met:               newAcquaintances(), handshakes: newHandshakes(), newcomers: share.NewRates(newcomerRate, newcomerBurst, maxStrangers), strangers: share.NewRates(strangerRate, strangerBurst, maxStrangers), hush: share.Hush[strange]{Every: hushPeer}, hushAll: share.Hush[string]{Every: hushAll},
	}
}

// Stats returns the counters.
func (ua *UA) Stats() *Stats { return &ua.stats }

// Counts returns how many dialogs, connections and transactions there are.
func (ua *UA) Counts() (dialogs, connections, transactions int) {
	ua.mu.Lock()
	dialogs, connections = len(ua.dialogs), len(ua.streams)
	ua.mu.Unlock()
	ua.txMu.Lock()
	defer ua.txMu.Unlock()
	return dialogs, connections, len(ua.serverTx) + len(ua.clientTx)
}

const (
	socketBuffer = 4 << 20 // a burst of a few thousand messages
	maxSources   = 4096    // peers whose way out is remembered

	newcomerRate  = 50 // new connections a second of one peer that is not trusted
	newcomerBurst = 200
)

// adopt starts to serve a connection that was dialled, or accepted by a listener.
func (ua *UA) adopt(nc net.Conn, kind, poolKey string, l net.Listener) (*streamConn, error) {
	c := &streamConn{
		ua: ua, nc: nc, kind: kind, poolKey: poolKey, listener: l,
		local: addrPort(nc.LocalAddr()), remote: addrPort(nc.RemoteAddr()), opened: time.Now(),
	}
	if t, ok := nc.(*tls.Conn); ok && poolKey != "" {
		c.peerNames = ours.PeerNames(t.ConnectionState(), ua.cfg.NameKinds...)
	}
	if l != nil && ua.cfg.Admits != nil && !ua.cfg.Admits(c.remote.Addr()) {
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

// gone forgets a connection and gives the dialogs on it their time of grace.
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

// spawn runs f on a goroutine that Close waits for; false when it is too late.
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

func (ua *UA) trace(out bool, h hop, data []byte) {
	if ua.cfg.Trace != nil {
		ua.cfg.Trace(out, h.peer(), data)
	}
}

// survive is deferred around the handling of a message: a panic ends the message,
// not the process.
func (ua *UA) survive(h hop) {
	if p := recover(); p != nil {
		ua.stats.Malformed.Add(1)
		share.Panicked(ua.log, p, "a message", "peer", h.addr.String())
	}
}

// receive handles one message, on the goroutine that read it.
func (ua *UA) receive(data []byte, h hop) {
	defer ua.survive(h)
	ua.trace(false, h, data)
	msg, err := parse(data)
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
		ua.request(&Request{msg: m, hop: h, ua: ua, size: len(data)})
	}
}

// refuseHead answers a message whose end cannot be found, as far as its head can
// be read.
func (ua *UA) refuseHead(head []byte, h hop, reason error) {
	msg, err := parse(head)
	code := 400
	if errors.Is(reason, errTooLarge) {
		code = 513
	}
	if err == nil || msg != nil {
		ua.refuse(msg, h, len(head), code)
	}
}

// refuse answers a faulty request without a transaction, if enough of it could be
// read that the peer will know the answer.
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

// Shutdown refuses new dialogs, ends all there are with BYE, waits until the
// peers have answered or ctx ends, and closes everything.
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

// Close closes every socket at once and waits for all goroutines. Dialogs end
// without BYE.
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
