package gate_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tr87proxy/tr87proxy/internal/gate"
)

// talk runs a test with a peer on one end of a connection; far is the other end. In the end the
// connection is closed, and Serve returns why.
func talk(t *testing.T, cfg gate.Limits, ids gate.Numbering, test func(p *gate.Peer[string], far net.Conn, served <-chan error)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		p := gate.NewPeer[string](near, cfg, ids)
		ctx, cancel := context.WithCancelCause(t.Context())
		served := make(chan error, 1)
		go func() {
			served <- p.Serve(ctx, func() error {
				_, err := io.Copy(io.Discard, near)
				return err
			})
		}()
		test(p, far, served)
		cancel(errors.New("the test ends"))
		<-p.Ended()
		_ = far.Close()
		synctest.Wait()
	})
}

// outcome is what becomes of a request.
type outcome struct {
	answer string
	err    error
	times  int // its callback was called
}

// asked is a request, whose reply comes by any goroutine.
type asked struct {
	mu  sync.Mutex
	out outcome
}

func (a *asked) reply(answer string, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.out = outcome{answer, err, a.out.times + 1}
}

func (a *asked) now() outcome {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.out
}

func frame(id int) ([]byte, error) { return fmt.Appendf(nil, "%d;", id), nil }

// next reads a frame.
func next(t *testing.T, far net.Conn) string {
	t.Helper()
	data := make([]byte, 100)
	n, err := far.Read(data)
	if err != nil {
		t.Error(err)
	}
	return string(data[:n])
}

// Each request has an invoke ID that no other waiting one has, and its answer finds it once.
func TestAsk(t *testing.T) {
	talk(t, gate.Limits{}, gate.Numbering{FirstID: 1, LastID: 4, Batch: 8}, func(p *gate.Peer[string], far net.Conn, _ <-chan error) {
		var first, second, third asked
		p.Ask(frame, first.reply)
		p.Ask(frame, second.reply)
		if got := next(t, far) + next(t, far); got != "1;2;" {
			t.Error(got)
		}
		if _, only := p.Only(); only {
			t.Error("one of two is the only one")
		}
		if reply := p.Answered(3); reply != nil {
			t.Error("a request is answered that nobody made")
		}
		reply := p.Answered(2)
		if reply == nil {
			t.Fatal("nobody waits for an answer")
		}
		reply("yes", nil)
		if second.now() != (outcome{"yes", nil, 1}) || first.now().times != 0 || p.Answered(2) != nil {
			t.Error(second.now(), first.now())
		}
		if id, only := p.Only(); id != 1 || !only {
			t.Error(id, only)
		}
		if err := p.Notify(frame); err != nil {
			t.Error(err)
		}
		p.Ask(frame, second.reply)
		p.Ask(frame, third.reply) // 1 is in use still
		if got := next(t, far) + next(t, far) + next(t, far); got != "3;4;2;" {
			t.Error(got)
		}
		time.Sleep(9 * time.Second) // none has timed out yet
		synctest.Wait()
		if first.now().times != 0 {
			t.Error(first.now())
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if !errors.Is(first.now().err, gate.ErrTimeout) || first.now().times != 1 || p.Answered(1) != nil {
			t.Error(first.now())
		}
		if _, only := p.Only(); only {
			t.Error("nobody is the only one")
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if second.now().times != 2 || !errors.Is(second.now().err, gate.ErrTimeout) || first.now().times != 1 {
			t.Error(first.now(), second.now()) // what was answered has no time-out
		}
	})
}

// So many requests wait as there is room for, and as there are invoke IDs.
func TestOutstanding(t *testing.T) {
	for _, tt := range []struct {
		limit, lastID, most int
	}{{2, 100, 2}, {0, 4, 3}, {0, 5000, 1000}, {50, 4, 3}} {
		talk(t, gate.Limits{MaxOutstanding: tt.limit, QueueLength: 10000}, gate.Numbering{FirstID: 1, LastID: tt.lastID, Batch: 8}, func(p *gate.Peer[string], far net.Conn, _ <-chan error) {
			var waiting, refused asked
			for range tt.most {
				p.Ask(frame, waiting.reply)
			}
			if waiting.now().times != 0 {
				t.Errorf("%+v: %v", tt, waiting.now().err)
			}
			p.Ask(frame, refused.reply)
			if refused.now().times != 1 || !errors.Is(refused.now().err, gate.ErrTooManyWaiting) {
				t.Errorf("%+v: %v", tt, refused.now())
			}
			p.Answered(1)("", nil)
			var again asked
			p.Ask(frame, again.reply)
			if again.now().times != 0 {
				t.Errorf("%+v: an answer makes no room: %v", tt, again.now().err)
			}
			go func() { _, _ = io.Copy(io.Discard, far) }()
		})
	}
}

// ids asks so many times, and returns the invoke IDs that the requests went out with.
func ids(t *testing.T, p *gate.Peer[string], far net.Conn, times int) (got string) {
	t.Helper()
	for range times {
		var a asked
		if p.Ask(frame, a.reply); a.now().err != nil {
			t.Error(a.now().err)
			return got
		}
		got += next(t, far)
	}
	return got
}

// A request that has timed out keeps its invoke ID until its late answer comes, or for four time-outs
// more: no other request is answered by it.
func TestLateAnswers(t *testing.T) {
	for name, tt := range map[string]struct {
		late func(p *gate.Peer[string])
		want string // invoke IDs of the requests after it
	}{
		"not yet":  {func(*gate.Peer[string]) { time.Sleep(4*10*time.Second - 1) }, "2;3;4;2;"},
		"answered": {func(p *gate.Peer[string]) { noneFor(t, p, 1) }, "2;3;4;1;"},
		"never":    {func(*gate.Peer[string]) { time.Sleep(4 * 10 * time.Second) }, "2;3;4;1;"},
	} {
		talk(t, gate.Limits{}, gate.Numbering{FirstID: 1, LastID: 4, Batch: 1}, func(p *gate.Peer[string], far net.Conn, _ <-chan error) {
			var first asked
			p.Ask(frame, first.reply)
			_ = next(t, far)
			time.Sleep(10 * time.Second)
			synctest.Wait()
			if !errors.Is(first.now().err, gate.ErrTimeout) {
				t.Error(first.now())
			}
			tt.late(p)
			got := ""
			for range 4 {
				got += ids(t, p, far, 1)
				if id, only := p.Only(); only != (name != "not yet") {
					t.Errorf("%s: %d is the only one that can be answered: %t", name, id, only)
				}
				p.Answered(int(got[len(got)-2]-'0'))("", nil)
			}
			if got != tt.want {
				t.Errorf("%s: %s, not %s", name, got, tt.want)
			}
			noneFor(t, p, 1)
			if first.now().times != 1 {
				t.Error(first.now())
			}
		})
	}
}

// noneFor handles a response that no request awaits.
func noneFor(t *testing.T, p *gate.Peer[string], id int) {
	t.Helper()
	if p.Answered(id) != nil {
		t.Errorf("somebody waits for the answer %d", id)
	}
}

// Requests that have timed out leave fewer for others; when they leave none, the next request ends
// the connection. A probe still goes out.
func TestMute(t *testing.T) {
	mute := func(test func(p *gate.Peer[string], far net.Conn, served <-chan error)) {
		talk(t, gate.Limits{}, gate.Numbering{FirstID: 1, LastID: 4, Batch: 1}, func(p *gate.Peer[string], far net.Conn, served <-chan error) {
			for id := 1; id <= 3; id++ {
				if got := ids(t, p, far, 1); got != fmt.Sprintf("%d;", id) {
					t.Error(got)
				}
				if id == 2 {
					time.Sleep(10 * time.Second)
				}
			}
			var a asked
			if p.Ask(frame, a.reply); !errors.Is(a.now().err, gate.ErrTooManyWaiting) { // one waits, it may be answered
				t.Error(a.now())
			}
			time.Sleep(10 * time.Second)
			synctest.Wait()
			test(p, far, served)
		})
	}
	mute(func(p *gate.Peer[string], far net.Conn, served <-chan error) {
		var probe, a asked
		p.Probe(frame, probe.reply)
		if got := next(t, far); got != "4;" {
			t.Error(got)
		}
		p.Answered(4)("alive", nil)
		if probe.now() != (outcome{"alive", nil, 1}) {
			t.Error(probe.now())
		}
		select {
		case err := <-served:
			t.Errorf("it ended before anybody asked: %v", err)
		default:
		}
		p.Ask(frame, a.reply)
		if err := <-served; !errors.Is(err, gate.ErrMute) || !errors.Is(a.now().err, gate.ErrClosed) || a.now().times != 1 {
			t.Error(err, a.now())
		}
	})
	mute(func(p *gate.Peer[string], far net.Conn, _ <-chan error) {
		time.Sleep(3 * 10 * time.Second) // the first two have kept theirs long enough
		if got := ids(t, p, far, 2); got != "4;1;" {
			t.Error(got)
		}
		p.Answered(4)("", nil)
		p.Answered(1)("", nil)
		if got := ids(t, p, far, 1); got != "2;" {
			t.Error(got)
		}
	})
	mute(func(p *gate.Peer[string], far net.Conn, _ <-chan error) {
		noneFor(t, p, 2) // late
		if got := ids(t, p, far, 1); got != "4;" {
			t.Error(got)
		}
		p.Answered(4)("", nil)
		if got := ids(t, p, far, 1); got != "2;" {
			t.Error(got)
		}
	})
}

// However many requests wait for answers, and frames to be written, one probe goes out.
func TestProbe(t *testing.T) {
	for name, cfg := range map[string]gate.Limits{"all invoke IDs": {}, "as many as may wait": {MaxOutstanding: 3}} {
		talk(t, cfg, gate.Numbering{FirstID: 1, LastID: 4, Batch: 1}, func(p *gate.Peer[string], far net.Conn, _ <-chan error) {
			_ = ids(t, p, far, 3)
			for range 3 {
				var a, probe, second asked
				if p.Ask(frame, a.reply); !errors.Is(a.now().err, gate.ErrTooManyWaiting) {
					t.Errorf("%s: %v", name, a.now())
				}
				p.Probe(frame, probe.reply)
				if got := next(t, far); got != "4;" {
					t.Errorf("%s: %s", name, got)
				}
				if p.Probe(frame, second.reply); !errors.Is(second.now().err, gate.ErrTooManyWaiting) || second.now().times != 1 {
					t.Errorf("%s: %v", name, second.now())
				}
				if err := p.Notify(frame); !errors.Is(err, gate.ErrTooManyWaiting) {
					t.Errorf("%s: %v", name, err)
				}
				p.Answered(4)("alive", nil)
				if probe.now() != (outcome{"alive", nil, 1}) {
					t.Errorf("%s: %v", name, probe.now())
				}
			}
		})
	}
	talk(t, gate.Limits{MaxOutstanding: 2}, gate.Numbering{FirstID: 1, LastID: 9, Batch: 1}, func(p *gate.Peer[string], far net.Conn, _ <-chan error) {
		_ = ids(t, p, far, 2)
		var probe asked
		if p.Probe(frame, probe.reply); next(t, far) != "3;" {
			t.Error(probe.now())
		}
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if !errors.Is(probe.now().err, gate.ErrTimeout) {
			t.Error(probe.now())
		}
	})
	talk(t, gate.Limits{QueueLength: 1, WriteTime: time.Hour}, gate.Numbering{FirstID: 1, LastID: 9, Batch: 1}, func(p *gate.Peer[string], far net.Conn, _ <-chan error) {
		for range 2 { // one is being written, and one waits
			if err := p.Push([]byte("x")); err != nil {
				t.Error(err)
			}
			synctest.Wait()
		}
		var a, probe asked
		if p.Ask(frame, a.reply); !errors.Is(a.now().err, gate.ErrSlow) {
			t.Error(a.now())
		}
		p.Probe(frame, probe.reply)
		if got := next(t, far) + next(t, far) + next(t, far); got != "xx2;" || probe.now().times != 0 {
			t.Error(got, probe.now())
		}
	})
}

// A request that cannot be written has that as its answer, and does not wait.
func TestUnwritable(t *testing.T) {
	talk(t, gate.Limits{MaxOutstanding: 1}, gate.Numbering{FirstID: 1, LastID: 9, Batch: 8}, func(p *gate.Peer[string], far net.Conn, _ <-chan error) {
		bad := errors.New("no such thing in this phase")
		for range 2 {
			var a asked
			p.Ask(func(int) ([]byte, error) { return nil, bad }, a.reply)
			if a.now().times != 1 || !errors.Is(a.now().err, bad) {
				t.Error(a.now())
			}
		}
		if err := p.Notify(func(int) ([]byte, error) { return nil, bad }); !errors.Is(err, bad) {
			t.Error(err)
		}
		var a asked
		p.Ask(frame, a.reply)
		if got := next(t, far); got != "4;" || a.now().times != 0 {
			t.Error(got, a.now())
		}
	})
}

// When a connection is closed, each waiting request, and each later one, gets the reason once.
// The first reason counts.
func TestClose(t *testing.T) {
	why := errors.New("why")
	for _, reason := range []error{why, nil} {
		talk(t, gate.Limits{}, gate.Numbering{FirstID: 1, LastID: 9, Batch: 8}, func(p *gate.Peer[string], far net.Conn, served <-chan error) {
			var before, after asked
			p.Ask(frame, before.reply)
			_ = next(t, far)
			select {
			case <-p.Ended():
				t.Error("it ends by itself")
			default:
			}
			p.Close(reason)
			p.Close(errors.New("another"))
			<-p.Ended()
			want := reason
			if want == nil {
				want = gate.ErrClosed
			}
			if err := <-served; !errors.Is(err, want) {
				t.Errorf("%v, not %v", err, want)
			}
			p.Ask(frame, after.reply)
			if !errors.Is(before.now().err, gate.ErrClosed) || before.now().times != 1 || !errors.Is(after.now().err, gate.ErrClosed) || after.now().times != 1 {
				t.Error(before.now(), after.now())
			}
			if err := p.Notify(frame); !errors.Is(err, gate.ErrClosed) {
				t.Error(err)
			}
			if err := p.Push([]byte("x")); !errors.Is(err, gate.ErrClosed) {
				t.Error(err)
			}
			if p.Answered(1) != nil {
				t.Error("a request that was told of the end can be answered")
			}
			time.Sleep(time.Minute)
			synctest.Wait()
			if before.now().times != 1 {
				t.Error("a request that was told of the end has a time-out")
			}
			if _, err := far.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
				t.Error(err)
			}
		})
	}
}

// A connection ends with its context, when the peer closes it, and when what is read is wrong.
func TestReasons(t *testing.T) {
	stop, bad := errors.New("stop"), errors.New("bad")
	for name, tt := range map[string]struct {
		end  func(cancel context.CancelCauseFunc, far net.Conn)
		want error
	}{
		"context": {func(cancel context.CancelCauseFunc, _ net.Conn) { cancel(stop) }, stop},
		"closed":  {func(_ context.CancelCauseFunc, far net.Conn) { _ = far.Close() }, io.EOF},
		"bad":     {func(_ context.CancelCauseFunc, far net.Conn) { _, _ = far.Write([]byte("x")) }, bad},
	} {
		synctest.Test(t, func(t *testing.T) {
			near, far := net.Pipe()
			p := gate.NewPeer[string](near, gate.Limits{}, gate.Numbering{LastID: 9, Batch: 8})
			ctx, cancel := context.WithCancelCause(t.Context())
			served := make(chan error)
			go func() {
				served <- p.Serve(ctx, func() error {
					if _, err := near.Read(make([]byte, 1)); err != nil {
						return err
					}
					return bad
				})
			}()
			synctest.Wait()
			tt.end(cancel, far)
			if err := <-served; !errors.Is(err, tt.want) {
				t.Errorf("%s: %v", name, err)
			}
			cancel(nil)
		})
	}
}

// A connection that finishes first sends its queue, in order, and accepts nothing more.
func TestFinish(t *testing.T) {
	why := errors.New("why")
	talk(t, gate.Limits{}, gate.Numbering{LastID: 9, Batch: 2}, func(p *gate.Peer[string], far net.Conn, served <-chan error) {
		for _, text := range []string{"a", "b", "c", "d", "e"} {
			if err := p.Push([]byte(text)); err != nil {
				t.Error(err)
			}
		}
		p.Finish(why)
		if err := p.Push([]byte("f")); !errors.Is(err, gate.ErrClosed) {
			t.Error(err)
		}
		got, err := io.ReadAll(far)
		if string(got) != "abcde" || err != nil {
			t.Errorf("%q %v", got, err)
		}
		if err := <-served; !errors.Is(err, why) {
			t.Error(err)
		}
	})
	talk(t, gate.Limits{QueueLength: 2, WriteTime: time.Hour}, gate.Numbering{LastID: 9, Batch: 1}, func(p *gate.Peer[string], _ net.Conn, served <-chan error) {
		for range 3 { // one is being written
			if err := p.Push([]byte("x")); err != nil {
				t.Error(err)
			}
			synctest.Wait()
		}
		began := time.Now()
		p.Finish(why) // it does not take what waits
		if err := <-served; !errors.Is(err, why) || time.Since(began) != 0 {
			t.Errorf("%v after %v", err, time.Since(began))
		}
	})
	talk(t, gate.Limits{}, gate.Numbering{LastID: 9, Batch: 1}, func(p *gate.Peer[string], _ net.Conn, served <-chan error) {
		synctest.Wait()
		p.Finish(why) // nothing waits
		if err := <-served; !errors.Is(err, why) {
			t.Error(err)
		}
	})
}

// A peer that does not read is given up after WriteTime, and so are senders that wait.
func TestSlowPeer(t *testing.T) {
	for limit, want := range map[time.Duration]time.Duration{0: 10 * time.Second, time.Minute: time.Minute} {
		talk(t, gate.Limits{QueueLength: 1, WriteTime: limit}, gate.Numbering{FirstID: 1, LastID: 9, Batch: 1}, func(p *gate.Peer[string], _ net.Conn, served <-chan error) {
			began := time.Now()
			for range 2 { // one is being written, and one waits
				if err := p.Push([]byte("x")); err != nil {
					t.Error(err)
				}
				synctest.Wait()
			}
			var a asked
			p.Ask(frame, a.reply) // of a peer that was dialled it does not block
			if !errors.Is(a.now().err, gate.ErrSlow) || a.now().times != 1 {
				t.Error(a.now())
			}
			if err := p.Push([]byte("x")); !errors.Is(err, gate.ErrClosed) || time.Since(began) != want {
				t.Errorf("%v after %v", err, time.Since(began))
			}
			if err := <-served; !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Error(err)
			}
		})
	}
}

// The queue is limited in frames and in octets, with defaults. It has room again when a frame
// is being written.
func TestQueueBounds(t *testing.T) {
	for _, tt := range []struct {
		cfg    gate.Limits
		octets int // of a frame
		most   int // frames that wait behind the one that is being written
	}{
		{gate.Limits{}, 1, 256}, {gate.Limits{QueueLength: 10000}, 1 << 10, 255}, {gate.Limits{QueueLength: 3}, 1, 3}, {gate.Limits{}, 1 << 16, 3}, {gate.Limits{QueueOctets: 1000}, 100, 9}, {gate.Limits{QueueOctets: 1}, 100, 0}, {gate.Limits{QueueOctets: 5}, 1, 4},
	} {
		tt.cfg.WriteTime = time.Hour
		talk(t, tt.cfg, gate.Numbering{LastID: 9, Batch: 1}, func(p *gate.Peer[string], far net.Conn, _ <-chan error) {
			data := make([]byte, tt.octets)
			for range 10 { // what has been written counts no more, and no less
				if err := p.Push(data); err != nil {
					t.Error(err)
				}
				if _, err := io.ReadFull(far, make([]byte, tt.octets)); err != nil {
					t.Error(err)
				}
				synctest.Wait()
			}
			pushed := make(chan error)
			go func() {
				for i := range tt.most + 2 {
					pushed <- p.Push(data)
					if i <= tt.most {
						synctest.Wait() // until it is being written
					}
				}
			}()
			for range tt.most + 1 {
				if err := <-pushed; err != nil {
					t.Error(err)
				}
			}
			select {
			case <-pushed:
				t.Errorf("%+v: more than %d frames of %d octets wait", tt.cfg, tt.most, tt.octets)
			case <-time.After(time.Minute):
			}
			if _, err := io.ReadFull(far, make([]byte, tt.octets)); err != nil {
				t.Error(err)
			}
			if err := <-pushed; err != nil {
				t.Error(err)
			}
		})
	}
}

// Misbehaviour of a dialled peer is logged, and never closes the connection.
func TestReports(t *testing.T) {
	var out strings.Builder
	talk(t, gate.Limits{Log: slog.New(slog.NewTextHandler(&out, nil))}, gate.Numbering{LastID: 9, Batch: 1}, func(p *gate.Peer[string], _ net.Conn, _ <-chan error) {
		p.Report(slog.LevelInfo, "something", "what", 7)
		for range 10000 {
			if err := p.Strike(slog.LevelWarn, "nonsense"); err != nil {
				t.Fatal(err)
			}
		}
		p.Report(slog.LevelDebug, "nobody reads that")
	})
	for _, arg := range []any{strings.Repeat("x", 5000), errors.New(strings.Repeat("x", 5000)), []string{strings.Repeat("x", 5000)}} {
		var short strings.Builder
		talk(t, gate.Limits{Log: slog.New(slog.NewTextHandler(&short, nil))}, gate.Numbering{LastID: 9, Batch: 1}, func(p *gate.Peer[string], _ net.Conn, _ <-chan error) {
			p.Report(slog.LevelInfo, "something", "what", arg)
		})
		if got := short.String(); len(got) > 1000 || !strings.Contains(got, "xxxxx") {
			t.Errorf("a text of the peer's takes %d octets in the log: %.100s", len(got), got)
		}
	}
	talk(t, gate.Limits{}, gate.Numbering{LastID: 9, Batch: 1}, func(p *gate.Peer[string], _ net.Conn, _ <-chan error) {
		p.Report(slog.LevelError, "without a log nobody reads that")
	})
	if got := out.String(); strings.Count(got, "\n") != 2 || !strings.Contains(got, "level=INFO msg=something peer=pipe what=7\n") || !strings.Contains(got, "level=WARN msg=nonsense peer=pipe\n") {
		t.Error(got)
	}
}

// Strikes close a connection from a gate. Senders to it block, and before its peer has logged
// in its queue is shorter.
func TestGuestsPeer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := gate.New(gate.Config{Refused: func(_ net.Conn, why string) { t.Error(why) }})
		in := make(incoming)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() {
			done <- g.Serve(ctx, in, func(ctx context.Context, guest *gate.Guest) {
				p := gate.NewPeer[string](guest.Conn, gate.Limits{Guest: guest, WriteTime: time.Hour}, gate.Numbering{FirstID: 1, LastID: 9, Batch: 1})
				served := make(chan error, 1)
				go func() { served <- p.Serve(ctx, func() error { <-p.Ended(); return nil }) }()
				for _, octets := range []int{10 << 10, 6 << 10} { // 16 KiB wait, one of which is being written
					if err := p.Push(make([]byte, octets)); err != nil {
						t.Error(err)
					}
				}
				var a asked
				waited := make(chan struct{})
				go func() {
					p.Ask(func(int) ([]byte, error) { return make([]byte, 1), nil }, a.reply)
					close(waited)
				}()
				synctest.Wait()
				select {
				case <-waited:
					t.Error("more than 16 KiB wait for a stranger, or it was refused:", a.now().err)
				default:
				}
				guest.Prove()
				if err := p.Push([]byte("x")); err != nil { // the next writer sees that there is room
					t.Error(err)
				}
				<-waited
				if a.now().times != 0 {
					t.Error(a.now())
				}
				p.Report(slog.LevelInfo, "something")
				err := p.Strike(slog.LevelWarn, "nonsense")
				for n := 0; err == nil && n < 1000; n++ {
					err = p.Strike(slog.LevelWarn, "nonsense")
				}
				if !errors.Is(err, gate.ErrStrikes) {
					t.Error(err)
				}
				p.Close(err)
				if err := <-served; !errors.Is(err, gate.ErrStrikes) {
					t.Error(err)
				}
				if err := p.Notify(frame); !errors.Is(err, gate.ErrClosed) {
					t.Error(err)
				}
			})
		}()
		nc, _ := connect("10.0.0.1")
		in <- nc
		<-nc.closed
		cancel()
		<-done
	})
}
