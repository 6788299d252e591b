package daemon

import (
	"errors"
	"fmt"
	"os"
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

// closeAudit closes both files at once: a disk that hangs is waited for once.
func (n *Node) closeAudit() error {
	var strangers error
	var group sync.WaitGroup
	group.Go(func() { strangers = n.tally.Close() })
	err := n.audit.Close()
	group.Wait()
	return errors.Join(err, strangers)
}

// AuditStatus is how the audit files are.
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

// failureOf is why a file cannot be written, and since when.
func failureOf(err error) (string, time.Time) {
	var failure *audit.Failure
	if !errors.As(err, &failure) {
		return "", time.Time{}
	}
	why := failure.Err
	for _, full := range []error{syscall.ENOSPC, syscall.EDQUOT} {
		if errors.Is(why, full) { // which file it is goes without saying
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
