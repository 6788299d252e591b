package daemon

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/tr87proxy/tr87proxy/internal/config"
	"github.com/tr87proxy/tr87proxy/internal/kind"
	"github.com/tr87proxy/tr87proxy/internal/operations"
	"github.com/tr87proxy/tr87proxy/proxy"
)

// history has the results of reloads.
type history struct {
	mu       sync.Mutex
	loaded   time.Time // when the current configuration was read
	failed   time.Time // the last failure since then, or zero
	failure  error
	failures int
}

func (h *history) note(err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if err == nil {
		h.loaded, h.failed, h.failure = time.Now(), time.Time{}, nil
		return
	}
	h.failed, h.failure = time.Now(), err
	h.failures++
}

// partly is the error of a reload that was carried out, but for listeners that could not be opened.
type partly struct{ error }

// Unwrap returns the cause.
func (p partly) Unwrap() error { return p.error }

// ReloadStatus has the results of reloads.
type ReloadStatus struct {
	Loaded   time.Time `json:"loaded"`            // when the current configuration was read
	Failed   time.Time `json:"failed,omitzero"`   // the last reload that failed, until one succeeds
	Failure  string    `json:"failure,omitempty"` // why
	Partly   bool      `json:"partly,omitempty"`  // the configuration of the last reload holds, but for the listeners in Failure
	Failures int       `json:"failures"`          // since the start
}

func (h *history) status() ReloadStatus {
	h.mu.Lock()
	defer h.mu.Unlock()
	st := ReloadStatus{Loaded: h.loaded, Failed: h.failed, Failures: h.failures}
	if h.failure != nil {
		st.Failure = h.failure.Error()
		st.Partly = errors.As(h.failure, &partly{})
	}
	return st
}

// counts returns the results for metrics.
func (h *history) counts() operations.Reloads {
	st := h.status()
	return operations.Reloads{Loaded: st.Loaded, Failing: st.Failure != "", Failures: st.Failures}
}

// reload reads the configuration again and applies the changes that need no restart. A dry run only returns the report of
// what a reload would do. If the file has faults, or names files that cannot be used, reload changes nothing and returns
// an error. Listeners that could not be opened are in the report; the other changes are applied.
func (n *Node) reload(dryRun bool) (any, error) {
	n.reloading.Lock()
	defer n.reloading.Unlock()
	if n.file == "" {
		return nil, errNoFile
	}
	var p *plan
	cfg, err := Load(n.file)
	if err == nil {
		p, err = n.plan(cfg)
	}
	switch {
	case dryRun && err != nil:
		return nil, err
	case dryRun:
		return p.preview(), nil
	case err == nil: // first, because it can fail, and everything else must be recorded
		err = n.moveAudit(p)
	}
	if err != nil {
		n.history.note(err)
		n.logFaults(err)
		return nil, err
	}
	if err = n.carryOut(p); err != nil {
		err = partly{err}
	}
	n.history.note(err)
	if err != nil {
		n.log.Error("configuration reloaded, but listeners could not be opened", append(p.report.attributes(), "err", err)...)
	} else {
		n.log.Info("configuration reloaded", p.report.attributes()...)
	}
	return &p.report, nil
}

var errNoFile = errors.New("this proxy has no configuration file, so there is nothing to reload")

// logFaults logs why a reload failed, with a line for each fault of the file.
func (n *Node) logFaults(err error) {
	const failed = "reload failed: nothing was changed"
	var faults config.Faults
	if !errors.As(err, &faults) {
		n.log.Error(failed, "file", n.file, "err", err)
	}
	for _, f := range faults {
		n.log.Error(failed, "file", f.File, "line", f.Line, "key", f.Key, "err", f.Text)
	}
}

// preview returns the report of a dry run.
func (p *plan) preview() *ReloadReport {
	p.report.DryRun = true
	p.report.Ended.add(p.endings)
	return &p.report
}

// carryOut applies a plan. The caller holds n.reloading. carryOut returns an error if listeners could not be opened.
func (n *Node) carryOut(p *plan) error {
	_ = n.level.UnmarshalText([]byte(p.applied.Log.Level)) // checked by config
	for _, exchange := range p.exchanges {
		exchange()
	}
	n.users.Store(&p.users)
	for _, update := range p.updates {
		update()
	}
	n.live = p.live
	n.strangers.SetMost(p.applied.Limits.StrangersMiB << 20)
	n.rules.Store(p.rules) // before the core ends what the rules no longer allow, so that clients cannot open it again
	n.numbers.Store(p.change.Numbers)
	n.core.Change(p.change)
	n.linkConfigs.Store(&p.applied.Links)
	if p.change.Links != nil {
		n.noteLinks(p.change.Links)
	}
	n.cfg = p.applied
	err := n.setServers(p)
	p.report.Ended.add(slices.DeleteFunc(p.endings, func(e proxy.Ending) bool { return e.Kind != telephoneRegistration && !e.Done() }))
	return err
}

// setServers closes and opens listeners. Those that an administrator has stopped stay closed.
func (n *Node) setServers(p *plan) error {
	n.serversMu.Lock()
	defer n.serversMu.Unlock()
	n.servers = p.servers
	for i, s := range n.listeners(p.applied) {
		if l, stays := p.renewed[n.servers[i]]; stays {
			n.servers[i].renew(s.key, l)
		}
	}
	for _, s := range p.closing {
		_ = s.end(kind.ErrStopped) // it may have been stopped already
	}
	var failures []error
	for _, s := range p.opening {
		if err := s.start(n.running); err != nil {
			failures = append(failures, err)
			p.report.notOpened(s.cfg.Name)
			p.report.Failures = append(p.report.Failures, s.cfg.Name+": "+err.Error())
		}
	}
	return errors.Join(failures...)
}

// liveSettings returns the live settings of each link, by its name. It reads the files that they name.
func (n *Node) liveSettings(cfg *config.Config) (map[string]any, error) {
	list := map[string]any{}
	for i := range cfg.Links {
		l := &cfg.Links[i]
		what, _, err := linkKind(l).Live(l.Settings, n.environment(l))
		if err != nil {
			return nil, atKey(cfg, fmt.Sprintf("links[%d]", i), err)
		}
		list[l.Name] = what
	}
	return list, nil
}

// noteLinks stores the running links. A link that stays is the one stored before.
func (n *Node) noteLinks(links []proxy.NamedLink) {
	now := map[string]proxy.Link{}
	for _, l := range links {
		if now[l.Name] = l.Link; l.Link == nil { // it stays
			now[l.Name] = n.links[l.Name]
		}
	}
	n.links = now
}

// server opens or closes a listener by its name.
func (n *Node) server(name string, start bool) error {
	n.serversMu.Lock()
	defer n.serversMu.Unlock()
	var names []string
	for _, s := range n.servers {
		if s.cfg.Name != name {
			names = append(names, s.cfg.Name)
			continue
		}
		if start {
			return s.start(n.running)
		}
		return s.end(kind.ErrStopped)
	}
	return fmt.Errorf("there is no listener %q; there are: %s", name, strings.Join(names, ", "))
}

// onHangUp reloads at SIGHUP until ctx ends.
func (n *Node) onHangUp(ctx context.Context, hangUps <-chan os.Signal) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-hangUps:
			_, _ = n.reload(false) // it logs its errors
		}
	}
}
