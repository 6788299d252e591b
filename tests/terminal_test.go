package tests

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// onScreen is a program in a terminal.
type onScreen struct {
	t      *testing.T
	socket string // of tmux
}

// onTerminal starts a program in a terminal of 100 columns and 20 lines.
func onTerminal(t *testing.T, args ...string) *onScreen {
	t.Helper()
	s := &onScreen{t, filepath.Join(t.TempDir(), "tmux")}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the terminal shows\n%s", s.shows())
		}
		_, _ = s.tmux("kill-server")
	})
	quoted := make([]string, 0, len(args))
	for _, arg := range args {
		quoted = append(quoted, "'"+arg+"'")
	}
	if out, err := s.tmux("new-session", "-d", "-x", "100", "-y", "20", strings.Join(quoted, " ")); err != nil {
		t.Fatalf("tmux: %v\n%s", err, out)
	}
	return s
}

func (s *onScreen) tmux(args ...string) (string, error) {
	out, err := exec.Command(tool(s.t, "tmux"), append([]string{"-S", s.socket, "-f", "/dev/null"}, args...)...).CombinedOutput()
	return string(out), err
}

// shows returns what the terminal shows; nothing once the program has ended.
func (s *onScreen) shows() string {
	out, err := s.tmux("capture-pane", "-p")
	if err != nil {
		return ""
	}
	return out
}

// keys presses keys.
func (s *onScreen) keys(keys ...string) {
	s.t.Helper()
	for _, key := range keys {
		if out, err := s.tmux("send-keys", key); err != nil {
			s.t.Errorf("%s: %v\n%s", key, err, out)
		}
	}
}

func (s *onScreen) resize(width, height int) {
	s.t.Helper()
	if out, err := s.tmux("resize-window", "-x", fmt.Sprint(width), "-y", fmt.Sprint(height)); err != nil {
		s.t.Errorf("%v\n%s", err, out)
	}
}
