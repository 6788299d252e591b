package daemon

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/tr87proxy/tr87proxy/internal/audit"
	"github.com/tr87proxy/tr87proxy/internal/config"
)

// openAudit opens the audit file, where one is configured.
func (n *Node) openAudit() error {
	cfg, err := AuditConfig(n.cfg.Audit)
	if err != nil || cfg.Path == "" {
		return err
	}
	cfg.Log = n.log
	if n.audit, err = audit.Open(cfg); err != nil {
		return fmt.Errorf("audit.file: %w", err)
	}
	if n.tally, err = audit.OpenTally(cfg); err != nil {
		return errors.Join(fmt.Errorf("audit.file: %w", err), n.audit.Close())
	}
	n.core.SetAudit(n.audit, n.tally)
	return nil
}

// auditConfig is the configuration of the audit file that a reload leads to. The log must be able to go on there.
func (n *Node) auditConfig(cfg *config.Config) (audit.Config, error) {
	if n.audit == nil {
		return audit.Config{}, nil
	}
	out, err := AuditConfig(cfg.Audit)
	if err != nil {
		return out, config.Faults{cfg.At("audit.key-file", strings.TrimPrefix(err.Error(), "audit.key-file: "))}
	}
	if info, err := os.Stat(filepath.Dir(out.Path)); err != nil || !info.IsDir() {
		return out, config.Faults{cfg.At("audit.file", "there is no directory "+filepath.Dir(out.Path)+"; make it, for the user of the proxy")}
	}
	if cfg.Audit == n.cfg.Audit {
		return out, nil
	}
	if err := n.audit.Foresee(out); err != nil {
		return out, config.Faults{cfg.At("audit.file", err.Error())}
	}
	return out, nil
}

// moveAudit makes the audit files go on where the plan says. When it fails, they go on where they were.
func (n *Node) moveAudit(p *plan) error {
	before, after := n.cfg.Audit, p.applied.Audit
	if n.audit == nil || before == after {
		return nil
	}
	if err := n.tally.Move(p.audit); err != nil {
		return config.Faults{p.applied.At("audit.file", err.Error())}
	}
	if err := n.audit.Move(p.audit); err != nil {
		old, _ := AuditConfig(before) // it has been read before; where it cannot be any more, the file of strangers stays in the new place
		if old.Path != "" {
			_ = n.tally.Move(old) // nobody waits for it
		}
		return config.Faults{p.applied.At("audit.file", err.Error())}
	}
	return nil
}

// closeAudit closes both files at once: a disk that hangs is waited for once.
func (n *Node) closeAudit() error {
	var strangers error
	var group sync.WaitGroup
	group.Go(func() { strangers = n.tally.Close() })
	err := n.audit.Close()
	group.Wait()
	return errors.Join(err, strangers)
}

// AuditStatus is the state of the audit files.
type AuditStatus struct {
	Failure          string    `json:"failure,omitempty"` // why the audit file cannot be written
	Since            time.Time `json:"since,omitzero"`    // when that began
	StrangersFailure string    `json:"strangersFailure,omitempty"`
	StrangersSince   time.Time `json:"strangersSince,omitzero"`
	Lines            int64     `json:"lines"`     // since the start
	Refused          int64     `json:"refused"`   // entries that could not be written
	Strangers        int64     `json:"strangers"` // times that strangers were written down, or counted
}

func (n *Node) auditStatus() *AuditStatus {
	if n.audit == nil {
		return nil
	}
	st := &AuditStatus{Strangers: n.tally.Counted()}
	st.Lines, st.Refused = n.audit.Counts()
	st.Failure, st.Since = failureOf(n.audit.Failing())
	st.StrangersFailure, st.StrangersSince = failureOf(n.tally.Failing())
	return st
}

// failureOf returns why a file cannot be written, and since when.
func failureOf(err error) (string, time.Time) {
	var failure *audit.Failure
	if !errors.As(err, &failure) {
		return "", time.Time{}
	}
	why := failure.Err
	for _, full := range []error{syscall.ENOSPC, syscall.EDQUOT} {
		if errors.Is(why, full) { // without the name of the file
			why = full
		}
	}
	return why.Error(), failure.Since
}

// AuditConfig makes the configuration of the audit file, and reads its key.
func AuditConfig(c config.Audit) (audit.Config, error) {
	cfg := audit.Config{Path: c.File, MaxSize: int64(c.MaxMiB) << 20, Keep: c.Keep}
	if c.KeyFile == "" {
		return cfg, nil
	}
	key, err := os.ReadFile(c.KeyFile)
	if err != nil {
		return cfg, fmt.Errorf("audit.key-file: %w", err)
	}
	cfg.Key = []byte(strings.TrimSpace(string(key)))
	if len(cfg.Key) < 16 {
		return cfg, fmt.Errorf("audit.key-file: %s must have 16 characters or more", c.KeyFile)
	}
	return cfg, nil
}
