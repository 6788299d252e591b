package daemon

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"sync"
	"time"

	"github.com/tr87proxy/tr87proxy/internal/config"
	"github.com/tr87proxy/tr87proxy/internal/kind"
	"github.com/tr87proxy/tr87proxy/internal/share"
)

// server is one listener of a front, or of telephones.
type server struct {
	node     *Node
	protocol string // the name of its front, or telephones
	label    string // its name in the log
	named    bool   // its name comes from the file
	front    kind.Front

	mu      sync.Mutex
	key     string // its key in the configuration, for errors
	cfg     config.Listener
	address string                  // "" while it is closed
	failure error                   // why it could not be opened the last time
	stop    context.CancelCauseFunc // set while it is open
	ended   <-chan struct{}         // set while it is open
}

var (
	errServes    = errors.New("the listener is open already")
	errNotServes = errors.New("the listener is closed already")
	errEnded     = errors.New("the front ended by itself")
)

// listeners makes a server for each listener of the configuration. The name of one without a name
// is its protocol and transport.
func (n *Node) listeners(cfg *config.Config) []*server {
	var list []*server
	add := func(front kind.Front, protocol string, listeners []config.Listener) {
		for i, l := range listeners {
			named := l.Name != ""
			if !named {
				l.Name = protocol + "-" + l.Transport
				for count := 2; slices.ContainsFunc(list, func(s *server) bool { return s.cfg.Name == l.Name }); count++ {
					l.Name = fmt.Sprintf("%s-%s-%d", protocol, l.Transport, count)
				}
			}
			label := protocol + "/" + l.Transport
			if protocol == frontKinds[0].Name() {
				label = l.Transport
			}
			list = append(list, &server{node: n, key: fmt.Sprintf("%s.listen[%d]", protocol, i), protocol: protocol, label: label, named: named, cfg: l, front: front})
		}
	}
	for i, f := range cfg.Fronts {
		add(n.fronts[i], f.Name, f.Listeners())
	}
	add(telephonesFront{n.phones, n, cfg.Telephones.ShutdownPatience}, "telephones", cfg.Telephones.Listen)
	return list
}

// certify reads the certificates of a listener before it opens.
func (s *server) certify() error {
	if s.cfg.Transport != "tls" && s.cfg.Transport != "dtls" {
		return nil
	}
	_, err := kind.SourceOf(&s.cfg, s.node.log)
	return err
}

// canStayAs reports whether a listener can stay open as a listener of a later configuration. Only keys may differ that it
// can change while it is open.
func (s *server) canStayAs(now *server) bool {
	a, b := s.cfg.WithoutCertificates(), now.cfg.WithoutCertificates()
	a.Name, b.Name = "", ""
	return s.protocol == now.protocol && reflect.DeepEqual(a, b)
}

// succeededBy reports whether a later listener has the same front, transport and address.
func (s *server) succeededBy(now *server) bool {
	return s.protocol == now.protocol && s.cfg.Transport == now.cfg.Transport && s.cfg.Address == now.cfg.Address
}

// differs returns the keys in which a listener differs from an earlier one.
func (s *server) differs(before *server) []string {
	return slices.DeleteFunc(config.Changed(&s.cfg, &before.cfg), func(key string) bool { return key == "name" && !s.named })
}

// renew stores the new key and entry of a listener that stays open.
func (s *server) renew(key string, cfg config.Listener) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.key, s.cfg = key, cfg
}

// start opens the listener and serves it until ctx ends. If the listener fails later, the proxy stops.
func (s *server) start(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.address != "" {
		return errServes
	}
	serving, stop := context.WithCancelCause(ctx)
	ready, failed, ended := make(chan string, 1), make(chan error, 1), make(chan struct{})
	key, cfg := s.key, s.cfg // a reload changes them
	go func() {
		defer close(ended)
		served := false
		err := s.serve(serving, key, &cfg, func(address string) { served = true; ready <- address })
		switch {
		case serving.Err() != nil:
		case served:
			s.node.failed(err)
		default:
			failed <- err
		}
	}()
	select {
	case s.address = <-ready:
	case <-ended:
		stop(nil)
		select {
		case s.failure = <-failed:
			return s.failure
		default: // ctx has ended
			return ctx.Err()
		}
	}
	s.stop, s.ended, s.failure = stop, ended, nil
	s.node.listening(s.label, s.address)
	return nil
}

// serve serves until ctx ends. It returns a panic of the front as an error.
func (s *server) serve(ctx context.Context, key string, cfg *config.Listener, ready func(string)) (err error) {
	defer share.Survive(s.node.log, "a listener", func(panicked error) { err = panicked })
	if err := s.front.Serve(ctx, cfg, ready); err != nil {
		return fmt.Errorf("%s: %w", key, err)
	}
	return fmt.Errorf("%s: %w", key, errEnded)
}

// end closes the listener. With [kind.ErrStopped] the front closes its sessions first.
func (s *server) end(why error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failure = nil
	if s.address == "" {
		return errNotServes
	}
	s.stop(why)
	<-s.ended
	if why != nil {
		s.node.log.Info("listener closed", "listener", s.cfg.Name, "address", s.address)
	}
	s.address = ""
	return nil
}

// ServerStatus is the state of a listener.
type ServerStatus struct {
	Name      string `json:"name"`
	Protocol  string `json:"protocol"`
	Transport string `json:"transport"`
	Address   string `json:"address"`
	Serves    bool   `json:"serves"`
	Failure   string `json:"failure,omitempty"` // why it could not be opened
}

func (s *server) status() ServerStatus {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := ServerStatus{Name: s.cfg.Name, Protocol: s.protocol, Transport: s.cfg.Transport, Address: s.cfg.Address, Serves: s.address != ""}
	if st.Serves {
		st.Address = s.address
	}
	if s.failure != nil {
		st.Failure = s.failure.Error()
	}
	return st
}

// dump logs the state at an interval, if it has changed.
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
