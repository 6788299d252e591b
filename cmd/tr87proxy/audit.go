package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/tr87proxy/tr87proxy/internal/audit"
	"github.com/tr87proxy/tr87proxy/internal/config"
	"github.com/tr87proxy/tr87proxy/internal/daemon"
)

// auditLines returns the lines of status about the audit files.
func auditLines(st *daemon.AuditStatus, now time.Time) (lines []string) {
	since := func(t time.Time) string {
		if t = t.Local(); now.Sub(t) > 12*time.Hour {
			return t.Format(time.DateTime)
		}
		return t.Format(time.TimeOnly)
	}
	switch st.Failure {
	case "":
	case syscall.ENOSPC.Error(), syscall.EDQUOT.Error():
		lines = append(lines, fmt.Sprintf("AUDIT FILE CANNOT BE WRITTEN since %s: %s. Control requests are refused: make room on its disk.", since(st.Since), st.Failure))
	default:
		lines = append(lines, fmt.Sprintf("AUDIT FILE CANNOT BE WRITTEN since %s: %s. Control requests are refused until it can.", since(st.Since), st.Failure))
	}
	if st.StrangersFailure != "" {
		lines = append(lines, fmt.Sprintf("The audit file of strangers cannot be written since %s: %s. Everything else goes on.", since(st.StrangersSince), st.StrangersFailure))
	}
	missing := ""
	if st.Refused > 0 {
		missing = ", " + counted(st.Refused, "entry", "entries") + " missing"
	}
	return append(lines, fmt.Sprintf("audit file: %s%s; strangers: %s", counted(st.Lines, "line", "lines"), missing, counted(st.Strangers, "entry", "entries")))
}

// counted returns a number with its noun.
func counted(n int64, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprint(n, " ", many)
}

func auditCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "audit", Short: "Check the audit file", GroupID: "server", Example: "  tr87proxy audit verify -c /etc/tr87proxy/config.yaml",
		Long: `audit checks the file in which a proxy records sessions, refusals and control requests.`,
		Args: noSubcommand, RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	var file, keyFile, expect, cfgFile string
	verify := &cobra.Command{
		Use: "verify", Short: "Check whether somebody has changed the audit file", Args: exactly(0),
		Long: `verify reads the audit file and that of strangers, with their older files, and checks that
no line was changed, removed, inserted or moved. It reports every fault, the lines that it
has read, and gaps that the proxy itself has recorded. A proxy may write the files meanwhile.

Lines that were cut off at the end, and files that were removed, do not show. Note the number
and hash that verify prints somewhere else, and pass them with --expect the next time; they may
be of the last line of either file. The exit status is 1 if there is a fault, and 2 if there is
no audit file.`,
		Example: `  tr87proxy audit verify -c /etc/tr87proxy/config.yaml
  tr87proxy audit verify --file audit.log --key-file audit.key --expect 4711:9f86d0...`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			from := config.Audit{File: file, KeyFile: keyFile}
			if file == "" {
				cfg, err := daemon.Load(cfgFile)
				if err != nil {
					return usageError{fmt.Errorf("%w; or name the audit file with --file", err)}
				}
				if from = cfg.Audit; from.File == "" {
					return usageError{fmt.Errorf("%s names no audit file (audit.file); or name one with --file", cfgFile)}
				}
			}
			cfg, err := daemon.AuditConfig(from)
			if err != nil {
				return usageError{err}
			}
			if expect != "" && !expected.MatchString(expect) {
				return usageError{fmt.Errorf("--expect %s: write NUMBER:HASH, as verify prints them", printable(expect))}
			}
			files, fault := verifyFiles(cfg, expect)
			if errors.Is(fault, os.ErrNotExist) {
				return fault
			}
			err = write(cmd, files, func(out io.Writer) error { return printVerified(out, files) })
			return cmp.Or(fault, err)
		},
	}
	verify.Flags().StringVarP(&cfgFile, "config", "c", "config.yaml", "configuration file that names the audit file")
	verify.Flags().StringVar(&file, "file", "", "audit file (default: that of the configuration)")
	verify.Flags().StringVar(&keyFile, "key-file", "", "file with the key of the hashes")
	verify.Flags().StringVar(&expect, "expect", "", "NUMBER:HASH of a line that must be in one of the files")
	_ = verify.MarkFlagFilename("file")
	_ = verify.MarkFlagFilename("key-file")
	_ = verify.MarkFlagFilename("config", "yaml", "yml")
	cmd.AddCommand(verify)
	return cmd
}

// expected matches values of --expect.
var expected = regexp.MustCompile(`^[0-9]{1,19}:[0-9a-f]{64}$`)

// verified is what the check of an audit file has found.
type verified struct {
	File  string   `json:"file"`
	Lines int64    `json:"lines"`
	First int64    `json:"first,omitempty"`
	Last  int64    `json:"last,omitempty"`
	Hash  string   `json:"hash,omitempty"` // of the last line
	Gaps  []string `json:"gaps,omitempty"`
	Fault string   `json:"fault,omitempty"`
}

// printVerified writes for people what was found, but for the faults.
func printVerified(out io.Writer, files []verified) error {
	for _, f := range files {
		for _, gap := range f.Gaps {
			fmt.Fprintln(out, printable(gap))
		}
		switch {
		case f.Fault != "":
		case f.Lines == 0:
			fmt.Fprintf(out, "%s: no lines\n", f.File)
		default:
			fmt.Fprintf(out, "%s: lines %d to %d, nothing has been changed; the last is %d:%s\n", f.File, f.First, f.Last, f.Last, f.Hash)
		}
	}
	return nil
}

// verifyFiles checks the audit file, and that of strangers if it exists. It returns an error if there is a fault.
func verifyFiles(cfg audit.Config, expect string) (files []verified, err error) {
	paths := []string{cfg.Path}
	if _, err := os.Stat(audit.TallyPath(cfg.Path)); err == nil {
		paths = append(paths, audit.TallyPath(cfg.Path))
	}
	var faults []error
	found := expect == ""
	for _, path := range paths {
		report, err := audit.VerifyLog(cfg.Key, path, expect)
		switch {
		case errors.Is(err, os.ErrNotExist) && path == cfg.Path:
			return files, usageError{err}
		case errors.Is(err, audit.ErrKey) && len(cfg.Key) == 0:
			err = fmt.Errorf("%w: give --key-file", err)
		case errors.Is(err, audit.ErrKey):
			err = fmt.Errorf("%w: were they written with this key?", err)
		}
		found = found || report.Found
		f := verified{File: path, Lines: report.Lines, First: report.First, Last: report.Number, Hash: report.Hash, Gaps: report.Gaps}
		if err != nil {
			f.Fault = err.Error()
			faults = append(faults, err)
		}
		files = append(files, f)
	}
	if !found {
		faults = append(faults, fmt.Errorf("no line %s: lines were removed or cut off", expect))
	}
	return files, errors.Join(faults...)
}
