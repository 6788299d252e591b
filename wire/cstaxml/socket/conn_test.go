package socket

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"

	"github.com/tr87proxy/tr87proxy/internal/gate"
	"github.com/tr87proxy/tr87proxy/internal/kind"
	"github.com/tr87proxy/tr87proxy/proxy"
	"github.com/tr87proxy/tr87proxy/wire/cstaxml"
)

// listener hands one connection after the other to a server in this process.
type listener chan net.Conn

func (l listener) Accept() (net.Conn, error) {
	nc, ok := <-l
	if !ok {
		return nil, net.ErrClosed
	}
	return nc, nil
}
func (l listener) Close() error   { close(l); return nil }
func (l listener) Addr() net.Addr { return &net.TCPAddr{} }

// echo is a server whose WebSockets send back what they get, and a client of it, in a time of their own.
type echo struct {
	client *websocket.Conn
	wire   net.Conn   // below the client
	ended  chan error // why the server has closed
}

// within runs a test with a client that is trusted or a stranger.
func within(t *testing.T, trusted bool, test func(e *echo)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		log := slog.New(slog.DiscardHandler)
		l, e := make(listener), &echo{ended: make(chan error, 1)}
		g := gate.New(gate.Config{Trusts: func(netip.Addr) bool { return trusted }})
		web := kind.NewWeb(log)
		ctx, cancel := context.WithCancel(t.Context())
		served := make(chan error, 1)
		go func() {
			served <- g.Serve(ctx, l, func(life context.Context, guest *gate.Guest) {
				web.Serve(life, ctx, guest, guest.Conn, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					c, err := Accept(w, r, Options{})
					if err != nil {
						t.Error(err)
						return
					}
					kind.TakeOver(r, func(ctx context.Context) { c.Serve(guest, log, func() { e.ended <- repeat(ctx, c) }) })
				}))
			})
		}()
		near, far := net.Pipe()
		l <- far
		e.wire = near
		transport := &http.Transport{DisableKeepAlives: true, DialContext: func(context.Context, string, string) (net.Conn, error) { return near, nil }}
		var err error
		if e.client, _, err = websocket.Dial(ctx, "ws://localhost/", &websocket.DialOptions{HTTPClient: &http.Client{Transport: transport}}); err != nil {
			t.Fatal(err)
		}
		e.client.SetReadLimit(1 << 20)
		test(e)
		_ = e.client.CloseNow()
		cancel()
		<-served
		web.Shutdown(t.Context())
	})
}

// repeat writes each frame that it reads, until reading fails, which it returns.
func repeat(ctx context.Context, c *Conn) (reason error) {
	defer func() { c.CloseFor(reason) }()
	defer context.AfterFunc(ctx, func() { c.CloseFor(context.Cause(ctx)) })()
	r := bufio.NewReader(c)
	for {
		_ = c.SetReadDeadline(time.Time{})
		id, document, err := cstaxml.ReadFrame(r, cstaxml.MaxFrame, func() { _ = c.SetReadDeadline(time.Now().Add(time.Second)) })
		if err != nil {
			return err
		}
		if _, err := r.Peek(1); !errors.Is(err, os.ErrDeadlineExceeded) {
			return fmt.Errorf("more than one frame: %w", err)
		}
		frame, err := cstaxml.Frame(id, document)
		if err != nil {
			return err
		}
		_ = c.SetWriteDeadline(time.Now().Add(time.Second))
		if _, err := c.Write(frame); err != nil {
			return err
		}
	}
}

// says sends a message, and returns the response, or how the server has closed.
func (e *echo) says(kind websocket.MessageType, data string) string {
	if err := e.client.Write(context.Background(), kind, []byte(data)); err != nil {
		return err.Error()
	}
	return e.hears()
}

func (e *echo) hears() string {
	_, data, err := e.client.Read(context.Background())
	var closed websocket.CloseError
	switch {
	case errors.As(err, &closed):
		return fmt.Sprint(int(closed.Code), " ", closed.Reason)
	case err != nil:
		return err.Error()
	}
	return string(data)
}

// The first message settles the form, and messages of another one are refused, with a reason that says so.
func TestOneForm(t *testing.T) {
	numbered, frame := "0001"+document, framedAs(8+len(document), "0001", document)
	for name, c := range map[string]struct{ first, second, want string }{
		"text":                     {numbered, numbered, numbered},
		"octets":                   {frame, frame, frame},
		"documents":                {document, document, document},
		"a number, then none":      {numbered, document, "1007 the client began with text messages with an invoke ID, and now sends text messages without an invoke ID"},
		"a number, then a frame":   {numbered, frame, "1007 the client began with text messages with an invoke ID, and now sends binary messages with the header of a frame"},
		"a document, then a frame": {document, frame, "1007 the client began with text messages without an invoke ID, and now sends binary messages with the header of a frame"},
		"two frames in one":        {frame, frame + frame, "1007 the length in the header is 57, and the message has 114 octets: a message is one frame"},
		"JSON":                     {frame, "{}", "1007 a text message begins with four digits or a document"},
	} {
		t.Run(name, func(t *testing.T) {
			within(t, true, func(e *echo) {
				is := func(data string) websocket.MessageType {
					if data[0] == 0 {
						return websocket.MessageBinary
					}
					return websocket.MessageText
				}
				if got := e.says(is(c.first), c.first); got != c.first {
					t.Errorf("%q", got)
				}
				if got := e.says(is(c.second), c.second); got != c.want {
					t.Errorf("%q, want %q", got, c.want)
				}
			})
		})
	}
}

// A message is limited like a frame: a stranger's to 4096 octets, and everybody's to 65535, however it is cut into fragments.
func TestLongMessages(t *testing.T) {
	for trusted, most := range map[bool]int{true: cstaxml.MaxFrame, false: 4096} {
		within(t, trusted, func(e *echo) {
			longest := "0001<" + strings.Repeat("a", most-9)
			if got := e.says(websocket.MessageText, longest); got != longest {
				t.Errorf("trusted %v: %.100q", trusted, got)
			}
			w, err := e.client.Writer(context.Background(), websocket.MessageText)
			for n := 0; err == nil && n < 1<<20; n += 1000 { // it never ends
				_, err = io.WriteString(w, strings.Repeat("0", 1000))
			}
			if got := e.hears(); !strings.HasPrefix(got, "1009 the document does not fit") && err == nil {
				t.Errorf("trusted %v: %q", trusted, got)
			}
			if err := <-e.ended; !errors.Is(err, cstaxml.ErrTooLong) {
				t.Error(err)
			}
		})
	}
}

// One octet more than that is too long, in every form.
func TestTooLong(t *testing.T) {
	document := "<" + strings.Repeat("a", 4096-8)
	for name, data := range map[string]string{
		"frames": framedAs(4097, "0001", document), "numbers": "0001" + document, "documents": document, "much more": document + document,
	} {
		within(t, false, func(e *echo) {
			kind := websocket.MessageText
			if data[0] == 0 {
				kind = websocket.MessageBinary
			}
			if got := e.says(kind, data); got != "1009 the document does not fit in a frame: it has at most 4088 octets now" {
				t.Errorf("%s: %q", name, got)
			}
		})
	}
}

// A message must have come ten seconds after its first octet. Between messages there is no limit, as long as the client answers
// pings; one that does not is lost.
func TestSlowClients(t *testing.T) {
	within(t, true, func(e *echo) {
		reading := make(chan string, 1)
		go func() { reading <- e.hears() }()  // answers pings
		time.Sleep(time.Hour + 7*time.Second) // not when the server pings: the pipe buffers nothing
		if err := e.client.Write(context.Background(), websocket.MessageText, []byte("0001"+document)); err != nil {
			t.Error(err)
		}
		if got := <-reading; got != "0001"+document {
			t.Errorf("%q", got)
		}
		begun := time.Now()
		w, err := e.client.Writer(context.Background(), websocket.MessageText)
		if err == nil {
			_, err = io.WriteString(w, "0001<"+strings.Repeat("a", 10000))
		}
		if err != nil {
			t.Error(err)
		}
		if err := <-e.ended; !errors.Is(err, os.ErrDeadlineExceeded) || !gate.Lost(err) || time.Since(begun) != messageTime {
			t.Errorf("%v after %s", err, time.Since(begun))
		}
	})
	within(t, true, func(e *echo) {
		go func() { _, _ = io.Copy(io.Discard, e.wire) }() // reads, and answers nothing
		begun := time.Now()
		if err := <-e.ended; !gate.Lost(err) || !strings.Contains(err.Error(), "pings") || time.Since(begun) > pingInterval+pongTime+time.Second {
			t.Errorf("%v after %s", err, time.Since(begun))
		}
	})
}

// A client that does not read is cut at the deadline of writing.
func TestSlowReaders(t *testing.T) {
	within(t, true, func(e *echo) {
		begun := time.Now()
		if err := e.client.Write(context.Background(), websocket.MessageText, []byte("0001"+document)); err != nil {
			t.Error(err)
		}
		if err := <-e.ended; !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(begun) != time.Second {
			t.Errorf("%v after %s", err, time.Since(begun))
		}
	})
}

// A client that floods the server with pings is cut, however fast they come; one that sends them as programs do is not.
func TestPings(t *testing.T) {
	within(t, false, func(e *echo) {
		go e.hears()
		for range 100 {
			if err := e.client.Ping(context.Background()); err != nil {
				t.Fatal(err)
			}
			time.Sleep(1700 * time.Millisecond) // never when the server pings: the pipe buffers nothing
		}
	})
	within(t, false, func(e *echo) {
		reading := make(chan string, 1)
		go func() { reading <- e.hears() }()
		for e.client.Ping(context.Background()) == nil {
			continue
		}
		if got := <-reading; !strings.HasPrefix(got, "1008 too many protocol errors") {
			t.Error(got)
		}
		if err := <-e.ended; !errors.Is(err, gate.ErrStrikes) {
			t.Error(err)
		}
	})
}

// A message that claims to be compressed is refused: nothing was agreed, so none can be larger than it looks.
func TestCompressed(t *testing.T) {
	within(t, true, func(e *echo) {
		reading := make(chan string, 1)
		go func() { reading <- e.hears() }()
		if _, err := e.wire.Write([]byte{0xc1, 0x81, 0, 0, 0, 0, '0'}); err != nil { // FIN, RSV1, text; masked, one octet
			t.Fatal(err)
		}
		if got := <-reading; !strings.HasPrefix(got, "1002 ") {
			t.Error(got)
		}
	})
}

// How a client leaves decides whether it is lost.
func TestLeaving(t *testing.T) {
	for code, lost := range map[websocket.StatusCode]bool{
		websocket.StatusNormalClosure: false, websocket.StatusGoingAway: false, websocket.StatusInternalError: true, 0: true,
	} {
		within(t, true, func(e *echo) {
			if code == 0 {
				_ = e.wire.Close()
			} else {
				_ = e.client.Close(code, "")
			}
			if err := <-e.ended; gate.Lost(err) != lost || !lost && !errors.Is(err, io.EOF) {
				t.Errorf("%d: %v", code, err)
			}
		})
	}
	within(t, true, func(e *echo) {
		w, err := e.client.Writer(context.Background(), websocket.MessageText)
		if err == nil {
			_, err = io.WriteString(w, "0001<"+strings.Repeat("a", 10000))
		}
		_ = e.wire.Close()
		if reason := <-e.ended; err != nil || !gate.Lost(reason) || errors.Is(reason, os.ErrDeadlineExceeded) {
			t.Errorf("within a message: %v, %v", err, reason)
		}
	})
}

// Each reason has a code, and a text that fits.
func TestStatuses(t *testing.T) {
	for want, reason := range map[string]error{
		"1000 ": nil, "1001 the proxy is closing this listener": context.Canceled,
		"1007 the invoke ID is not four digits":         cstaxml.ErrInvokeID,
		"1008 the application session has ended":        errors.New("the application session has ended"),
		"1008 " + strings.Repeat("é", maxReason/2):      errors.New(strings.Repeat("é", 200)),
		"1011 internal error":                           errors.New("panic: secret"),
		"1013 client too slow: its event queue is full": proxy.ErrSlow,
		"1013 peer too slow: send queue full":           gate.ErrSlow,
	} {
		code, text := statusOf(reason)
		if got := fmt.Sprint(int(code), " ", text); got != want {
			t.Errorf("%v: %q, want %q", reason, got, want)
		}
	}
	if code, _ := statusOf(fmt.Errorf("over: %w", kind.ErrStopped)); code != websocket.StatusGoingAway {
		t.Error(code)
	}
}
