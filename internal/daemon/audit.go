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

// openAudit opens the audit file, if one is configured.
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

// auditConfig returns the configuration of the audit file after a reload. It returns a fault if the log could not
// continue there.
func (n *Node) auditConfig(cfg *config.Config) (audit.Config, error) {
	if n.audit == nil {
		return audit.Config{}, nil
	}
	out, err := AuditConfig(cfg.Audit)
	if err != nil {
		return out, config.Faults{cfg.At("audit.key-file", strings.TrimPrefix(err.Error(), "audit.key-file: "))}
	}
	if info, err := os.Stat(filepath.Dir(out.Path)); err != nil || !info.IsDir() {
		return out, config.Faults{cfg.At("audit.file", "directory "+filepath.Dir(out.Path)+" does not exist; create it for the user of the proxy")}
	}
	if cfg.Audit == n.cfg.Audit {
		return out, nil
	}
	if err := n.audit.Foresee(out); err != nil {
		return out, config.Faults{cfg.At("audit.file", err.Error())}
	}
	return out, nil
}

// moveAudit continues the audit files where the plan says. If that fails, they continue where they were.
func (n *Node) moveAudit(p *plan) error {
	before, after := n.cfg.Audit, p.applied.Audit
	if n.audit == nil || before == after {
		return nil
	}
	if err := n.tally.Move(p.audit); err != nil {
		return config.Faults{p.applied.At("audit.file", err.Error())}
	}
	if err := n.audit.Move(p.audit); err != nil {
		old, _ := AuditConfig(before) // if its key cannot be read any more, the strangers' file stays in the new place
		if old.Path != "" {
			_ = n.tally.Move(old) // a failure shows in the status of the file
		}
		return config.Faults{p.applied.At("audit.file", err.Error())}
	}
	return nil
}

// closeAudit closes both files at the same time, so that a disk that hangs delays it once only.
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
	Strangers        int64     `json:"strangers"` // events of strangers, written or only counted
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

// failureOf returns why a file cannot be written, and since when. It returns "" if err is no [audit.Failure].
func failureOf(err error) (string, time.Time) {
	var failure *audit.Failure
	if !errors.As(err, &failure) {
		return "", time.Time{}
	}
	why := failure.Err
	for _, full := range []error{syscall.ENOSPC, syscall.EDQUOT} {
		if errors.Is(why, full) { // leave out the name of the file
			why = full
		}
	}
	return why.Error(), failure.Since
}

// AuditConfig returns the configuration of the audit file. It reads the key from its file.
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
