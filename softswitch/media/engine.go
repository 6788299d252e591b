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

// Config says where voice goes. Zero values take defaults.
type Config struct {
	Address   netip.Addr // that the ports are opened on; 127.0.0.1
	Advertise netip.Addr // written into SDP; Address, or the one towards each telephone
	// Elsewhere lists the networks that a peer may have voice sent to although its
	// signalling comes from another address.
	Elsewhere        []netip.Prefix
	MinPort, MaxPort int           // 16384 to 32767
	Timeout          time.Duration // a leg that should be heard and is not for so long is dead; 60 s
	Log              *slog.Logger
}

// Engine opens legs and rooms.
type Engine struct {
	cfg Config

	mu   sync.Mutex
	next int          // port to try
	used map[int]bool // even ports of open legs
}

// New makes an engine.
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
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	return &Engine{cfg: cfg, next: cfg.MinPort, used: map[int]bool{}}
}

// ErrNoPort is returned when all ports of the range are taken.
var ErrNoPort = errors.New("no media port is free")

// open opens a pair of ports, the even one for RTP and the next for RTCP (RFC 3550 11).
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

// towards returns the address that a telephone is to send to.
func (e *Engine) towards(peer netip.Addr) netip.Addr {
	if e.cfg.Advertise.IsValid() || !peer.IsValid() {
		return e.cfg.Advertise
	}
	probe, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(netip.AddrPortFrom(peer, 9))) // nothing is sent
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

// Legs returns how many legs are open.
func (e *Engine) Legs() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return len(e.used)
}
