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
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coder/websocket"

	"github.com/tr87proxy/tr87proxy/internal/gate"
	"github.com/tr87proxy/tr87proxy/internal/share"
	"github.com/tr87proxy/tr87proxy/wire/cstaxml"
)

// cost is the memory of a WebSocket in octets beyond that of its connection: buffers, and what sends pings.
const cost = 16 << 10

// Times of a WebSocket.
const (
	messageTime  = 10 * time.Second // from the first octet of a message to its last
	pingInterval = 30 * time.Second
	pongTime     = 15 * time.Second
	closeTime    = time.Second // for the client to close the WebSocket, too
	leastPing    = time.Second // between pings of a client; faster ones are strikes
)

// Conn is a WebSocket as a connection of frames. Read returns the frame of one message, and Write takes one frame.
//
// One goroutine reads and one writes. Deadlines of reading are for the rest of a frame, which is always there: while one is
// set, Read returns what it has.
type Conn struct {
	net.Conn // below the WebSocket

	ws     *websocket.Conn
	zultys bool
	guest  *gate.Guest     // set by Serve
	ctx    context.Context //nolint:containedctx // ends with the WebSocket
	end    context.CancelFunc
	group  sync.WaitGroup // of what pings and closes
	once   sync.Once      // of closing

	form    atomic.Int32
	reading atomic.Int64 // since when Read waits for a message, in nanoseconds; 0: it does not
	closing atomic.Bool
	mute    atomic.Bool // the client has not answered a ping
	pinged  time.Time   // when the client last sent a ping; of the reading goroutine
	struck  error       // the client has sent too many pings; of the reading goroutine
	within  bool        // a deadline of reading is set; of the reading goroutine
	rest    []byte      // of a frame; of the reading goroutine
	until   time.Time   // the deadline of writing; of the writing goroutine
}

// Options say how a WebSocket is accepted.
type Options struct {
	Subprotocol string // that the client has offered; "": none
	Zultys      bool   // messages may have their header in base64
}

// Accept accepts the WebSocket that a request opens, wherever the request comes from: the caller has checked its Origin. If
// it fails, it has responded. Messages are never compressed. The caller calls [Conn.Serve].
func Accept(w http.ResponseWriter, r *http.Request, o Options) (*Conn, error) {
	c := &Conn{zultys: o.Zultys}
	accept := &websocket.AcceptOptions{InsecureSkipVerify: true, OnPingReceived: c.ping}
	if o.Subprotocol != "" {
		accept.Subprotocols = []string{o.Subprotocol}
	}
	below := &hijacker{ResponseWriter: w}
	ws, err := websocket.Accept(below, r, accept)
	if err != nil {
		return nil, err
	}
	c.Conn, c.ws = below.conn, ws
	ws.SetReadLimit(-1) // next limits what it reads
	c.ctx, c.end = context.WithCancel(context.Background())
	return c, nil
}

// hijacker remembers the connection below a WebSocket.
type hijacker struct {
	http.ResponseWriter
	conn net.Conn
}

// Hijack implements http.Hijacker.
func (h *hijacker) Hijack() (nc net.Conn, buffers *bufio.ReadWriter, err error) {
	h.conn, buffers, err = http.NewResponseController(h.ResponseWriter).Hijack()
	return h.conn, buffers, err
}

// Serve runs what reads and writes the connection of a guest, keeps it alive meanwhile, and returns when the WebSocket has
// closed. What serve does must end by [Conn.CloseFor].
func (c *Conn) Serve(guest *gate.Guest, log *slog.Logger, serve func()) {
	c.guest = guest
	guest.Take(cost)
	defer guest.Give(cost)
	defer c.group.Wait()
	defer c.end()
	c.group.Go(func() {
		defer share.Survive(log, "pinging a WebSocket", nil)
		c.keep()
	})
	serve()
}

// keep sends pings, and cuts the connection of a client that does not answer.
func (c *Conn) keep() {
	tick := time.NewTicker(pingInterval)
	defer tick.Stop()
	for {
		select {
		case <-c.ctx.Done():
			return
		case <-tick.C:
		}
		begun := time.Now().UnixNano()
		ctx, cancel := context.WithTimeout(c.ctx, pongTime)
		err := c.ws.Ping(ctx)
		cancel()
		if since := c.reading.Load(); err != nil && since != 0 && since < begun { // a pong is read between messages only
			c.mute.Store(true)
			_ = c.Conn.Close()
		}
	}
}

// ping is called for each ping of the client, and reports whether it gets a pong.
func (c *Conn) ping(context.Context, []byte) bool {
	if c.closing.Load() { // then it may be called by what closes
		return false
	}
	now := time.Now()
	if now.Sub(c.pinged) < leastPing && c.struck == nil {
		c.struck = c.guest.Strike(slog.LevelWarn, "pings faster than once a second")
	}
	c.pinged = now
	if c.struck != nil {
		c.CloseFor(c.struck)
	}
	return c.struck == nil
}

// Unnumbered reports whether the client leaves invoke IDs out.
func (c *Conn) Unnumbered() bool { return form(c.form.Load()) == bare }

// Transport returns the transport of the frames, for the trace.
func (*Conn) Transport() string { return "websocket" }

// Read implements net.Conn. It returns io.EOF when the client has closed the WebSocket.
func (c *Conn) Read(p []byte) (int, error) {
	if len(c.rest) == 0 {
		if c.within {
			return 0, os.ErrDeadlineExceeded
		}
		var err error
		if c.rest, err = c.next(); err != nil {
			return 0, err
		}
	}
	n := copy(p, c.rest)
	c.rest = c.rest[n:]
	return n, nil
}

// next reads a message and returns its frame.
func (c *Conn) next() ([]byte, error) {
	ctx, cancel := context.WithCancel(c.ctx)
	defer cancel()
	c.reading.Store(time.Now().UnixNano())
	kind, r, err := c.ws.Reader(ctx)
	c.reading.Store(0)
	if err != nil {
		return nil, c.ended(err)
	}
	longest := cstaxml.Longest(c.guest)
	late := time.AfterFunc(messageTime, cancel)
	most := longest + codedSize // the longest message of any form is shorter
	data, err := io.ReadAll(io.LimitReader(r, int64(most)))
	switch {
	case !late.Stop() && err != nil:
		return nil, os.ErrDeadlineExceeded
	case err != nil:
		return nil, c.ended(err)
	case c.closing.Load():
		return nil, net.ErrClosed
	case len(data) == most:
		return nil, tooLong(longest)
	}
	is, err := formOf(kind, data, c.zultys)
	if err != nil {
		return nil, err
	}
	if first := form(c.form.Load()); first != unsettled && is != first {
		return nil, invalid("the client began with %s, and now sends %s", forms[first], forms[is])
	}
	c.form.Store(int32(is))
	frame, err := is.frame(data)
	if errors.Is(err, cstaxml.ErrTooLong) || len(frame) > longest {
		return nil, tooLong(longest)
	}
	return frame, err
}

// tooLong returns the fault of a document that does not fit in a frame of so many octets.
func tooLong(longest int) error {
	return fmt.Errorf("%w: it has at most %d octets now", cstaxml.ErrTooLong, longest-headerSize)
}

// ended returns why there is no further message, for an error of reading.
func (c *Conn) ended(err error) error {
	switch status := websocket.CloseStatus(err); {
	case c.struck != nil:
		return c.struck
	case c.mute.Load():
		return fmt.Errorf("%w: the client does not answer pings", io.ErrUnexpectedEOF)
	case status == websocket.StatusNormalClosure || status == websocket.StatusGoingAway || status == websocket.StatusNoStatusRcvd:
		return io.EOF
	case status != -1:
		return fmt.Errorf("%w: the client has closed the WebSocket with %d", io.ErrUnexpectedEOF, status)
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return io.ErrUnexpectedEOF
	}
	return err
}

// SetReadDeadline implements net.Conn.
func (c *Conn) SetReadDeadline(t time.Time) error {
	c.within = !t.IsZero()
	return nil
}

// Write implements net.Conn.
func (c *Conn) Write(frame []byte) (int, error) {
	ctx, cancel := context.Background(), func() {}
	if !c.until.IsZero() {
		ctx, cancel = context.WithDeadline(ctx, c.until)
	}
	defer cancel()
	kind, data := form(c.form.Load()).message(frame)
	err := c.ws.Write(ctx, kind, data)
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return 0, os.ErrDeadlineExceeded
	case err != nil:
		return 0, err
	}
	return len(frame), nil
}

// SetWriteDeadline implements net.Conn.
func (c *Conn) SetWriteDeadline(t time.Time) error {
	c.until = t
	return nil
}

// SetDeadline implements net.Conn.
func (c *Conn) SetDeadline(t time.Time) error {
	return errors.Join(c.SetReadDeadline(t), c.SetWriteDeadline(t))
}

// Close implements net.Conn.
func (c *Conn) Close() error {
	c.CloseFor(nil)
	return nil
}

// CloseFor closes the WebSocket with a status code and a text for a reason. It does not wait for the client, which gets a
// second to close it, too.
func (c *Conn) CloseFor(reason error) {
	c.once.Do(func() {
		c.closing.Store(true)
		code, text := statusOf(reason)
		c.group.Go(func() {
			late := time.AfterFunc(closeTime, func() { _ = c.Conn.Close() })
			defer late.Stop()
			_ = c.ws.Close(code, text)
		})
	})
}
