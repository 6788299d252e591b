package media

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"
)

// Config configures an [Engine]. Zero fields take the defaults in the comments.
type Config struct {
	Address   netip.Addr // local address of the ports; default 127.0.0.1
	Advertise netip.Addr // address written into SDP; default Address, or the source address towards each telephone
	// Elsewhere lists networks to which a peer may have voice sent although its signalling
	// comes from another address.
	Elsewhere        []netip.Prefix
	MinPort, MaxPort int           // UDP ports to use; default 16384 to 32767
	Timeout          time.Duration // time without packets after which a leg that should receive some is dead; default 60 s
	Handshake        time.Duration // longest handshake of DTLS; default 10 s
	Log              *slog.Logger
}

// Engine opens legs and rooms. It is safe for concurrent use.
type Engine struct {
	cfg Config

	mu   sync.Mutex
	next int          // next port to try
	used map[int]bool // even ports of open legs

	identity *identity // nil until the first leg is opened
}

// New returns an engine. It opens no ports yet.
func New(cfg Config) *Engine {
	if !cfg.Address.IsValid() {
		cfg.Address = netip.AddrFrom4([4]byte{127, 0, 0, 1})
	}
	if !cfg.Advertise.IsValid() && !cfg.Address.IsUnspecified() {
		cfg.Advertise = cfg.Address
	}
	if cfg.MinPort == 0 {
		cfg.MinPort, cfg.MaxPort = 16384, 32767
	}
	cfg.MinPort += cfg.MinPort & 1
	if cfg.Timeout == 0 {
		cfg.Timeout = time.Minute
	}
	if cfg.Handshake == 0 {
		cfg.Handshake = 10 * time.Second
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	return &Engine{cfg: cfg, next: cfg.MinPort, used: map[int]bool{}}
}

// identify makes the engine's certificate, once.
func (e *Engine) identify() (err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.identity == nil {
		e.identity, err = newIdentity()
	}
	return err
}

// ErrNoPort is returned when all ports of the range are in use.
var ErrNoPort = errors.New("no free media port")

// open opens a pair of ports: the even one for RTP and the next one for RTCP (RFC 3550 11).
func (e *Engine) open() (conn, control *net.UDPConn, port int, err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for range (e.cfg.MaxPort - e.cfg.MinPort + 1) / 2 {
		port = e.next
		if e.next += 2; e.next+1 > e.cfg.MaxPort {
			e.next = e.cfg.MinPort
		}
		if e.used[port] {
			continue
		}
		if conn, err = listen(e.cfg.Address, port); err != nil {
			continue
		}
		if control, err = listen(e.cfg.Address, port+1); err != nil {
			_ = conn.Close()
			continue
		}
		e.used[port] = true
		return conn, control, port, nil
	}
	if err != nil {
		err = fmt.Errorf("%w: %w", ErrNoPort, err)
	} else {
		err = ErrNoPort
	}
	return nil, nil, 0, err
}

func listen(address netip.Addr, port int) (*net.UDPConn, error) {
	return net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(address, uint16(port))))
}

// towards returns the address to which a telephone should send.
func (e *Engine) towards(peer netip.Addr) netip.Addr {
	if e.cfg.Advertise.IsValid() || !peer.IsValid() {
		return e.cfg.Advertise
	}
	probe, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(netip.AddrPortFrom(peer, 9))) // sends nothing
	if err != nil {
		return e.cfg.Address
	}
	defer func() { _ = probe.Close() }()
	return probe.LocalAddr().(*net.UDPAddr).AddrPort().Addr().Unmap()
}

func (e *Engine) release(port int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.used, port)
}

// Legs returns the number of open legs.
func (e *Engine) Legs() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return len(e.used)
}
