package main

import (
	"bytes"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/tr87proxy/tr87proxy/internal/audit"
	"github.com/tr87proxy/tr87proxy/internal/daemon"
)

// What status says of the audit files is the trouble first, on a line of its own.
func TestAuditStatus(t *testing.T) {
	since := time.Date(2026, 3, 4, 13, 20, 18, 0, time.Local)
	full, broken := syscall.ENOSPC.Error(), "it is broken"
	for _, tt := range []struct {
		status daemon.AuditStatus
		now    time.Time
		want   []string
	}{
		{daemon.AuditStatus{Lines: 1, Strangers: 1}, since, []string{"audit file: 1 line; strangers: 1 entry"}},
		{daemon.AuditStatus{Lines: 24, Refused: 5, Strangers: 29, Failure: full, Since: since}, since.Add(time.Hour), []string{
			"AUDIT FILE CANNOT BE WRITTEN since 13:20:18: no space left on device. Control requests are refused: make room on its disk.",
			"audit file: 24 lines, 5 entries missing; strangers: 29 entries",
		}},
		{daemon.AuditStatus{Refused: 1, Failure: broken, Since: since, StrangersFailure: full, StrangersSince: since}, since.Add(30 * time.Hour), []string{
			"AUDIT FILE CANNOT BE WRITTEN since 2026-03-04 13:20:18: it is broken. Control requests are refused until it can.",
			"The audit file of strangers cannot be written since 2026-03-04 13:20:18: no space left on device. Everything else goes on.",
			"audit file: 0 lines, 1 entry missing; strangers: 0 entries",
		}},
	} {
		if got := auditLines(&tt.status, tt.now); !slices.Equal(got, tt.want) {
			t.Errorf("%q, want %q", got, tt.want)
		}
	}
}

// verify says which lines it has read, what to do where no line fits the key, and that there is no
// file, or no line that --expect could name.
func TestAuditVerify(t *testing.T) {
	cfg := audit.Config{Path: filepath.Join(t.TempDir(), "audit.log"), Key: []byte("0123456789abcdef"), Log: slog.New(slog.DiscardHandler)}
	l, err := audit.Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	for range 23 {
		l.Note(audit.Entry{Kind: "done"})
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	files, err := verifyFiles(cfg, "")
	_ = printVerified(&out, files)
	if err != nil || !strings.Contains(out.String(), cfg.Path+": lines 1 to 24, nothing has been changed; the last is 24:") {
		t.Errorf("%s, %v", out.String(), err)
	}
	_, last, _ := strings.Cut(strings.TrimSpace(out.String()), "the last is ")
	if !expected.MatchString(last) {
		t.Errorf("%s cannot be given with --expect", last)
	}
	if _, err := verifyFiles(cfg, last); err != nil {
		t.Error(err)
	}
	cfg.Key = nil
	if _, err := verifyFiles(cfg, ""); err == nil || err.Error() != cfg.Path+": no line matches this key: give --key-file" {
		t.Error(err)
	}
	if status := run(t.Context(), []string{"audit", "verify", "--file", cfg.Path + "x"}); status != exitUsage {
		t.Errorf("status %d for a file that is not there", status)
	}
	if status := run(t.Context(), []string{"audit", "verify", "--file", cfg.Path, "--expect", "zz"}); status != exitUsage {
		t.Errorf("status %d for --expect zz", status)
	}
}
