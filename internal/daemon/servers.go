package daemon

import (
	"context"
	cryptotls "crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/tr87proxy/tr87proxy/config"
	"github.com/tr87proxy/tr87proxy/internal/kind"
	"github.com/tr87proxy/tr87proxy/sip"
	"github.com/tr87proxy/tr87proxy/tls"
)

// server is one listener: of TR/87, of CSTA-XML, of CSTA in ASN.1, or of telephones.
type server struct {
	node     *Node
	key      string // in the configuration, for errors
	protocol string // sip, xml, asn1 or telephones
	cfg      config.Listener
	serve    func(context.Context, net.Listener) error // of protocols that are not carried by SIP

	mu      sync.Mutex
	address string // "" while it does not serve
	stop    func(context.Context)
}

var (
	errServes    = errors.New("it serves already")
	errNotServes = errors.New("it does not serve")
)

// listeners makes servers of the configuration. One without a name takes that of its
// protocol and transport.
func (n *Node) listeners(cfg *config.Config) []*server {
	var list []*server
	add := func(protocol string, listeners []config.Listener) {
		for i, l := range listeners {
			if l.Name == "" {
				l.Name = protocol + "-" + l.Transport
				for count := 2; slices.ContainsFunc(list, func(s *server) bool { return s.cfg.Name == l.Name }); count++ {
					l.Name = fmt.Sprintf("%s-%s-%d", protocol, l.Transport, count)
				}
			}
			s := &server{node: n, key: fmt.Sprintf("%s.listen[%d]", protocol, i), protocol: protocol, cfg: l}
			switch protocol {
			case "xml":
				s.serve = n.xml.Serve
			case "asn1":
				s.serve = n.asn1(cfg, l).Serve
			}
			list = append(list, s)
		}
	}
	add("sip", cfg.SIP.Listen)
	add("xml", cfg.XML.Listen)
	add("asn1", cfg.ASN1.Listen)
	add("telephones", cfg.Telephones.Listen)
	return list
}

// start begins to serve. Whatever goes wrong later is told to failed.
func (s *server) start(ctx context.Context, failed func(error)) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.address != "" {
		return errServes
	}
	var secure *cryptotls.Config
	var err error
	if s.cfg.Transport == "tls" {
		if secure, err = tls.Server(kind.ServerFiles(&s.cfg, s.node.log)); err != nil {
			return fmt.Errorf("%s: %w", s.key, err)
		}
	}
	name := s.cfg.Transport
	switch s.protocol {
	case "xml", "asn1":
		name = s.protocol + "/" + name
		err = s.listenTCP(ctx, secure, failed)
	case "telephones":
		name = "telephones/" + name
		err = s.listenSIP(s.node.phones.UA(), secure)
	default:
		err = s.listenSIP(s.node.ua, secure)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", s.key, err)
	}
	s.node.listening(name, s.address)
	return nil
}

func (s *server) listenSIP(ua *sip.UA, secure *cryptotls.Config) error {
	var address netip.AddrPort
	var err error
	transport := s.cfg.Transport
	switch transport {
	case "udp":
		address, err = ua.ListenUDP(s.cfg.Address)
	case "dtls":
		address, err = ua.ListenDTLS(s.cfg.Address, kind.ServerFiles(&s.cfg, s.node.log))
	default:
		address, err = ua.ListenTCP(s.cfg.Address, secure)
	}
	if err != nil {
		return err
	}
	s.address, s.stop = address.String(), func(ctx context.Context) { ua.Unlisten(ctx, transport, address) }
	return nil
}

func (s *server) listenTCP(ctx context.Context, secure *cryptotls.Config, failed func(error)) error {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", s.cfg.Address)
	if err != nil {
		return err
	}
	s.address = l.Addr().String()
	if secure != nil {
		l = cryptotls.NewListener(l, secure)
	}
	serving, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := s.serve(serving, l); serving.Err() == nil {
			failed(fmt.Errorf("%s: %w", s.key, err))
		}
	}()
	s.stop = func(context.Context) { cancel(); <-done }
	return nil
}

// end stops serving, and takes leave of the clients.
func (s *server) end(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.address == "" {
		return errNotServes
	}
	ctx, cancel := context.WithTimeout(ctx, s.node.patience)
	defer cancel()
	s.stop(ctx)
	s.node.log.Info("not listening any more", "server", s.cfg.Name, "address", s.address)
	s.address = ""
	return nil
}

// ServerStatus is the state of a server.
type ServerStatus struct {
	Name      string `json:"name"`
	Protocol  string `json:"protocol"`
	Transport string `json:"transport"`
	Address   string `json:"address"`
	Serves    bool   `json:"serves"`
}

func (s *server) status() ServerStatus {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := ServerStatus{Name: s.cfg.Name, Protocol: s.protocol, Transport: s.cfg.Transport, Address: s.cfg.Address, Serves: s.address != ""}
	if st.Serves {
		st.Address = s.address
	}
	return st
}

// dump writes the state into the log: at an interval, and only when something has changed.
func (n *Node) dump(ctx context.Context, every time.Duration) {
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	last := ""
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		st := n.core.Status()
		stats := n.core.Stats()
		now := fmt.Sprint(st, stats.Requests.Load(), stats.Events.Load())
		if now == last {
			continue
		}
		last = now
		n.log.Info("status", "sessions", st.Sessions, "applications", st.Applications, "monitors", st.Monitors,
			"requests", stats.Requests.Load(), "refusals", stats.Refusals.Load(), "denials", stats.Denials.Load(), "events", stats.Events.Load())
		for _, l := range st.Links {
			n.log.Info("status of a link", "link", l.Name, "up", l.Up, "since", l.Since.Format(time.RFC3339), "monitors", l.Monitors, "status", l.Status, "failure", l.Failure)
		}
	}
}
