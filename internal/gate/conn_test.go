package gate

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// lineOf are commands in a time of their own: each is a line, and so is its reply.
type lineOf struct {
	*Commands[string]
	t      *testing.T
	peer   net.Conn
	in     *bufio.Reader
	served chan error
	ends   []string // commands, and how they ended, in this order
}

// onLine runs a test of commands. A reply "panic" makes the handler panic.
func onLine(t *testing.T, cfg Limits, window int, test func(l *lineOf)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		l := &lineOf{t: t, peer: far, in: bufio.NewReader(far), served: make(chan error, 1)}
		l.Commands = NewCommands(near, cfg, window, func(c string, err error) {
			l.ends = append(l.ends, fmt.Sprint(c, ": ", err))
			if c == "panic" {
				panic(c)
			}
		})
		r := bufio.NewReader(near)
		go func() {
			l.served <- l.Serve(context.Background(), func() error {
				for {
					text, err := r.ReadString('\n')
					if err != nil {
						return err
					}
					if c, ok := l.Replied(); ok {
						l.ends = append(l.ends, c+": "+strings.TrimSpace(text))
					}
					if text == "panic\n" {
						panic(text)
					}
				}
			})
		}()
		test(l)
		_ = far.Close()
	})
}

func (l *lineOf) give(command string, timeout time.Duration) error {
	return l.Give(Command[string]{Is: command, Name: command, Frame: []byte(command + "\n"), Timeout: timeout})
}

func (l *lineOf) must(command string, timeout time.Duration) {
	l.t.Helper()
	if err := l.give(command, timeout); err != nil {
		l.t.Errorf("%s: %v", command, err)
	}
}

// hears compares what the peer reads next.
func (l *lineOf) hears(want string) {
	l.t.Helper()
	if text, err := l.in.ReadString('\n'); err != nil || text != want+"\n" {
		l.t.Errorf("the peer hears %q, %v, not %q", text, err, want)
	}
}

func (l *lineOf) replies(text string) {
	l.t.Helper()
	if _, err := io.WriteString(l.peer, text+"\n"); err != nil {
		l.t.Error(err)
	}
	synctest.Wait()
}

// over waits for the end, and compares how the commands have ended; the end has this in its reason.
func (l *lineOf) over(reason string, want ...string) {
	l.t.Helper()
	if err := <-l.served; err == nil || !strings.Contains(err.Error(), reason) {
		l.t.Errorf("it ended with %v, not %q", err, reason)
	}
	if !slices.Equal(l.ends, want) {
		l.t.Errorf("the commands ended so: %q, not %q", l.ends, want)
	}
}

// Replies belong to the commands in their order; a command waits until the window has room.
func TestReplies(t *testing.T) {
	onLine(t, Limits{}, 1, func(l *lineOf) {
		l.must("a", time.Second)
		l.must("b", time.Second)
		l.hears("a")
		_ = l.peer.SetReadDeadline(time.Now().Add(time.Second / 2))
		if _, err := l.in.Peek(1); err == nil {
			t.Error("the second has come before the first was replied to")
		}
		_ = l.peer.SetReadDeadline(time.Time{})
		if first, ok := l.First(); !ok || first != "a" || l.Waiting() != 2 {
			t.Errorf("%q is the first of %d", first, l.Waiting())
		}
		l.replies("1")
		l.hears("b")
		time.Sleep(3 * time.Second / 4) // its time began when it was written
		l.replies("2")
		if _, ok := l.First(); ok || l.Waiting() != 0 {
			t.Error("some wait still")
		}
		time.Sleep(time.Hour)
		l.replies("3") // to nothing
		l.Close(nil)
		l.over(ErrClosed.Error(), "a: 1", "b: 2")
	})
	onLine(t, Limits{}, 0, func(l *lineOf) {
		for _, c := range []string{"a", "b", "c"} {
			l.must(c, time.Second)
		}
		for _, c := range []string{"a", "b", "c"} {
			l.hears(c)
		}
		l.replies("1")
		_ = l.peer.Close()
		l.over("EOF", "a: 1", "b: "+ErrCut.Error(), "c: "+ErrCut.Error())
		if err := l.give("d", time.Second); !errors.Is(err, ErrClosed) {
			t.Error(err)
		}
	})
}

// A peer that does not reply in time is left, whichever command is the first by then.
func TestNoReply(t *testing.T) {
	onLine(t, Limits{}, 1, func(l *lineOf) {
		begun := time.Now()
		l.must("slow", time.Hour)
		l.must("quick", time.Second)
		l.hears("slow")
		time.Sleep(time.Minute)
		l.replies("1")
		l.hears("quick")
		l.over("quick: "+ErrTimeout.Error(), "slow: 1", "quick: "+ErrCut.Error())
		if took := time.Since(begun); took != time.Minute+time.Second {
			t.Error(took)
		}
	})
	onLine(t, Limits{}, 0, func(l *lineOf) {
		begun := time.Now()
		l.must("list", time.Second)
		l.must("next", time.Second)
		l.hears("list")
		l.hears("next")
		for range 5 { // it is coming
			time.Sleep(time.Second / 2)
			l.Wait(time.Second)
		}
		l.replies("1")
		l.over("next: "+ErrTimeout.Error(), "list: 1", "next: "+ErrCut.Error())
		if took := time.Since(begun); took != 7*time.Second/2 {
			t.Error(took)
		}
	})
}

// Commands are refused when too many, or too many octets, are waiting; fail is not called for
// them. No sender waits for a peer that does not read.
func TestTooManyCommands(t *testing.T) {
	onLine(t, Limits{MaxOutstanding: 3, QueueLength: 2}, 0, func(l *lineOf) {
		l.must("a", time.Second)
		synctest.Wait() // it is being written
		l.must("b", time.Second)
		l.must("c", time.Second)
		if err := l.give("d", time.Second); !errors.Is(err, ErrTooManyWaiting) {
			t.Error(err)
		}
		l.Close(nil)
		cut := ": " + ErrCut.Error()
		l.over(ErrClosed.Error(), "a"+cut, "b"+cut, "c"+cut)
	})
	onLine(t, Limits{QueueOctets: 4}, 0, func(l *lineOf) {
		l.must("long", time.Second)
		if err := l.give("b", time.Second); !errors.Is(err, ErrSlow) {
			t.Error(err)
		}
		l.hears("long")
		synctest.Wait()
		l.must("b", time.Second)
		l.Close(nil)
		<-l.served
	})
	onLine(t, Limits{WriteTime: time.Second}, 0, func(l *lineOf) {
		l.must("a", time.Hour)
		l.over("timeout", "a: "+ErrCut.Error())
	})
}

// However many commands wait, and whatever waits to be written, one probe more is given.
func TestProbeAmongCommands(t *testing.T) {
	probe := func(l *lineOf) error {
		return l.Give(Command[string]{Is: "probe", Name: "probe", Frame: []byte("probe\n"), Timeout: time.Second, Probe: true})
	}
	onLine(t, Limits{MaxOutstanding: 2}, 0, func(l *lineOf) {
		l.must("a", time.Second)
		l.must("b", time.Second)
		for _, c := range []string{"a", "b"} {
			l.hears(c)
		}
		if err := probe(l); err != nil {
			t.Error(err)
		}
		l.hears("probe")
		if err := probe(l); !errors.Is(err, ErrTooManyWaiting) {
			t.Error(err)
		}
		l.replies("1")
		if err := l.give("c", time.Second); !errors.Is(err, ErrTooManyWaiting) { // it would take the place of the next
			t.Error(err)
		}
		l.replies("2")
		l.replies("3")
		l.Close(nil)
		l.over(ErrClosed.Error(), "a: 1", "b: 2", "probe: 3")
	})
	onLine(t, Limits{QueueOctets: 4}, 0, func(l *lineOf) {
		l.must("long", time.Second)
		if err := l.give("b", time.Second); !errors.Is(err, ErrSlow) {
			t.Error(err)
		}
		if err := probe(l); err != nil {
			t.Error(err)
		}
		l.hears("long")
		l.hears("probe")
		l.Close(nil)
		<-l.served
	})
}

// A panic closes only that connection and is logged with its stack; other callbacks still run.
func TestPanics(t *testing.T) {
	cut := ": " + ErrCut.Error()
	var log bytes.Buffer
	cfg := Limits{Log: slog.New(slog.NewTextHandler(&log, nil))}
	onLine(t, cfg, 0, func(l *lineOf) { // where it reads
		l.must("a", time.Second)
		l.must("b", time.Second)
		l.hears("a")
		l.hears("b")
		l.replies("panic")
		l.over("panic", "a: panic", "b"+cut)
	})
	onLine(t, cfg, 0, func(l *lineOf) { // panics in the callback for the end
		for _, c := range []string{"a", "panic", "panic", "b"} {
			l.must(c, time.Second)
		}
		l.Close(io.EOF)
		l.over("EOF", "a"+cut, "panic"+cut, "panic"+cut, "b"+cut)
	})
	if n := strings.Count(log.String(), "msg=panic"); n != 3 || !strings.Contains(log.String(), "conn_test.go") {
		t.Errorf("the log tells of %d panics: %s", n, log.String())
	}
	synctest.Test(t, func(t *testing.T) { // panics in the callback for a timeout
		near, far := net.Pipe()
		go func() { _, _ = io.Copy(io.Discard, far) }()
		p := NewPeer[string](near, Limits{Timeout: time.Second}, Numbering{LastID: 9, Batch: 1})
		frame := func(id int) ([]byte, error) { return []byte{byte(id)}, nil }
		var told []error
		p.Ask(frame, func(string, error) { panic("mine") })
		p.Ask(frame, func(_ string, err error) { told = append(told, err) })
		err := p.Serve(context.Background(), func() error { <-p.Ended(); return nil })
		if err == nil || err.Error() != "panic: mine" || len(told) != 1 || !errors.Is(told[0], ErrClosed) {
			t.Errorf("%v, %v", err, told)
		}
	})
}

// Each request has its own timeout, and its callback runs once.
func TestTimeouts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		go func() { _, _ = io.Copy(io.Discard, far) }()
		p := NewPeer[string](near, Limits{Timeout: 3 * time.Second}, Numbering{FirstID: 1, LastID: 9, Batch: 1})
		served := make(chan error, 1)
		go func() { served <- p.Serve(context.Background(), func() error { <-p.Ended(); return nil }) }()
		begun := time.Now()
		var told []string
		ask := func(name string) (id int) {
			p.Ask(func(n int) ([]byte, error) { id = n; return []byte{byte(n)}, nil }, func(a string, err error) {
				told = append(told, fmt.Sprint(time.Since(begun), " ", name, a, " ", err))
			})
			return id
		}
		ask("first")
		if id, only := p.Only(); id != 1 || !only {
			t.Error(id, only)
		}
		time.Sleep(time.Second)
		second := ask("second")
		if _, only := p.Only(); only {
			t.Error("there are two")
		}
		ask("third")
		time.Sleep(time.Second)
		p.Answered(second)("!", nil)
		if p.Answered(second) != nil {
			t.Error("it waits still")
		}
		time.Sleep(time.Hour)
		ask("fourth")
		p.Close(io.EOF)
		if err := <-served; !errors.Is(err, io.EOF) {
			t.Error(err)
		}
		if _, only := p.Only(); only {
			t.Error("one is left")
		}
		ask("fifth")
		want := []string{"2s second! <nil>", "3s first " + ErrTimeout.Error(), "4s third " + ErrTimeout.Error(), "1h0m2s fourth " + ErrCut.Error(), "1h0m2s fifth " + ErrClosed.Error()}
		if !slices.Equal(told, want) {
			t.Errorf("%q, not %q", told, want)
		}
	})
}

// A client that does not respond in time does not use up the invoke IDs, and stays connected.
func TestMuteClient(t *testing.T) {
	open(t, Config{}, false, func(d *door) {
		d.come("10.0.0.1")
		near, far := net.Pipe()
		go func() { _, _ = io.Copy(io.Discard, far) }()
		p := NewPeer[string](near, Limits{Timeout: time.Second, Guest: d.known["10.0.0.1"]}, Numbering{FirstID: 1, LastID: 2, Batch: 1})
		served := make(chan error, 1)
		go func() { served <- p.Serve(context.Background(), func() error { <-p.Ended(); return nil }) }()
		for range 5 {
			var told []error
			p.Ask(func(id int) ([]byte, error) { return []byte{byte(id)}, nil }, func(_ string, err error) { told = append(told, err) })
			if _, only := p.Only(); !only {
				t.Error("another can be answered still")
			}
			time.Sleep(time.Second)
			synctest.Wait()
			if len(told) != 1 || !errors.Is(told[0], ErrTimeout) {
				t.Error(told)
			}
		}
		p.Close(io.EOF)
		if err := <-served; !errors.Is(err, io.EOF) {
			t.Error(err)
		}
		_ = far.Close()
		d.leave()
	})
}

// A dialled connection ends when read or keep returns; leave is called when ctx ends.
func TestRun(t *testing.T) {
	broken := errors.New("broken")
	for name, tt := range map[string]struct {
		read, keep error // nil: until the end
		cancel     bool
		want       error
		left       bool
	}{
		"the peer":   {broken, nil, false, broken, false},
		"the keeper": {nil, broken, false, broken, false},
		"the owner":  {nil, nil, true, context.Canceled, true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				near, far := net.Pipe()
				defer func() { _ = far.Close() }()
				c := NewCommands(near, Limits{}, 0, func(string, error) {})
				ctx, cancel := context.WithCancel(context.Background())
				defer cancel()
				if tt.cancel {
					time.AfterFunc(time.Second, cancel)
				}
				left := false
				err := c.Run(ctx, func() error {
					if tt.read == nil {
						<-c.Ended()
					}
					return tt.read
				}, func(ctx context.Context) error {
					if tt.keep == nil {
						<-ctx.Done()
						return ctx.Err()
					}
					return tt.keep
				}, func() {
					select {
					case <-c.Ended():
						t.Error("there is nobody to take leave of")
					default:
					}
					left = true
				})
				if !errors.Is(err, tt.want) || left != tt.left {
					t.Errorf("%v, left: %v", err, left)
				}
			})
		})
	}
	near, _ := net.Pipe()
	c := NewCommands(near, Limits{}, 0, func(string, error) {})
	if err := c.Run(t.Context(), func() error { <-c.Ended(); return nil }, func(context.Context) error { panic("mine") }, nil); err == nil || err.Error() != "panic: mine" {
		t.Error(err)
	}
}

// Each pause is about twice the one before, up to the longest, and begins anew after a success.
func TestBackOff(t *testing.T) {
	b := BackOff{First: time.Second, Most: 5 * time.Second}
	different := false
	for range 2 {
		var last time.Duration
		for _, about := range []time.Duration{1, 2, 4, 5, 5} {
			about *= time.Second
			pause := b.Next()
			if pause < about/2 || pause >= about*3/2 {
				t.Errorf("%v, not about %v", pause, about)
			}
			different = different || pause != about && pause != last
			last = pause
		}
		b.Reset()
	}
	if !different {
		t.Error("no jitter")
	}
	ctx, cancel := context.WithCancel(t.Context())
	if !Sleep(ctx, time.Nanosecond) {
		t.Error("it did not sleep")
	}
	cancel()
	if Sleep(ctx, time.Hour) {
		t.Error("it slept")
	}
}

// A panic in the life of a connection ends that one, and the gate goes on.
func TestPanicEndsOneConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		d := &door{knock: make(chan net.Conn)}
		g := New(Config{Refused: func(net.Conn, string) {}, Log: slog.New(slog.NewTextHandler(&log, nil))})
		done, served := make(chan error, 1), make(chan string, 2)
		go func() {
			done <- g.Serve(context.Background(), d, func(_ context.Context, guest *Guest) {
				served <- AddrOf(guest.Conn).String()
				panic("mine")
			})
		}()
		d.come("10.0.0.1", "10.0.0.2")
		close(d.knock)
		<-done
		if len(served) != 2 || strings.Count(log.String(), "mine") != 2 {
			t.Errorf("%d were served, the log says %s", len(served), log.String())
		}
		if total, _ := g.places.Counts(); total != 0 {
			t.Errorf("%d places are left", total)
		}
	})
}
