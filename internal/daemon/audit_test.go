package daemon

import (
	"errors"
	"fmt"
	"os"
	"syscall"
	"testing"

	"github.com/tr87proxy/tr87proxy/internal/audit"
)

// Why the audit file cannot be written is said in a few words, and without the file's name where the disk is
// full.
func TestFailureOf(t *testing.T) {
	for want, err := range map[string]error{
		syscall.ENOSPC.Error(): fmt.Errorf("%w", &audit.Failure{Err: &os.PathError{Op: "write", Path: "x", Err: syscall.ENOSPC}}),
		"it is broken":         &audit.Failure{Err: errors.New("it is broken")},
		"":                     errors.New("it is no failure of the file"),
	} {
		if got, _ := failureOf(err); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
