package operations

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"syscall"
	"testing"
)

// A socket that cannot be asked says what to do about it.
func TestUnreached(t *testing.T) {
	other := errors.New("something else")
	for cause, want := range map[error]error{
		os.NewSyscallError("connect", syscall.EACCES): ErrNoRight, os.NewSyscallError("connect", syscall.ENOENT): ErrNoAdmin,
		os.NewSyscallError("connect", syscall.ECONNREFUSED): ErrNoAdmin, other: other,
	} {
		err := &url.Error{Op: http.MethodGet, URL: "http://tr87proxy", Err: &net.OpError{Op: "dial", Net: "unix", Err: cause}}
		if got := unreached("/run/x", fmt.Errorf("%w", err)); !errors.Is(got, want) {
			t.Errorf("%v: %v", cause, got)
		}
	}
}
