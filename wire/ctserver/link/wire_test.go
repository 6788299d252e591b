package link

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tr87proxy/tr87proxy/internal/gate"
	"github.com/tr87proxy/tr87proxy/wire/ctserver"
)

// Recordings that are to end never take the room of the question by which the manager connection is
// kept.
func TestSignsOfLifeAmongCommands(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := New(Config{Timeout: time.Hour, Heartbeat: time.Second})
		here, there := net.Pipe()
		ctx, cancel := context.WithCancel(context.Background())
		ended := make(chan error, 1)
		go func() { ended <- l.serveManager(ctx, here) }()
		in := bufio.NewReader(there)
		replies := func(name string) {
			t.Helper()
			text, err := in.ReadString('\n')
			if err != nil || !strings.HasPrefix(text, "cmd="+name+" ") {
				t.Fatalf("%q %v, not %s", text, err, name)
			}
			if _, err := io.WriteString(there, fmt.Sprintf("rly=%s src=0 dst=0 arg1=OK argc=1\x00\n", name)); err != nil {
				t.Fatal(err)
			}
		}
		replies("portstatus")
		synctest.Wait()
		end := func() error {
			return l.manager.sendTo(0, "ctsendevent", time.Hour, func(*ctserver.Line, error) {}, "RECORD_STOP")
		}
		for range maxCommands {
			if err := end(); err != nil {
				t.Fatal(err)
			}
		}
		if err := end(); !errors.Is(err, gate.ErrTooManyWaiting) {
			t.Error(err)
		}
		time.Sleep(3 * time.Second) // they take longer than it is until the next question
		synctest.Wait()
		for range maxCommands {
			replies("ctsendevent")
		}
		replies("portstatus")
		synctest.Wait()
		if len(ended) > 0 {
			t.Error("the manager connection has ended")
		}
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
}
