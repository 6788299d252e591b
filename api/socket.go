package api

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"github.com/coder/websocket"

	record "github.com/tr87proxy/tr87proxy/api/events"
	"github.com/tr87proxy/tr87proxy/internal/kind"
	"github.com/tr87proxy/tr87proxy/internal/share"
	"github.com/tr87proxy/tr87proxy/proxy"
	"github.com/tr87proxy/tr87proxy/uacsta"
	xml "github.com/tr87proxy/tr87proxy/wire/cstaxml/front"
)

// protocolEvents is the subprotocol of WebSockets with JSON: events, and requests with their responses. It holds without
// one, too. Another is xml.Subprotocol.
const protocolEvents = "events"

// Status codes of closing (RFC 6455 section 7.4, and the registry of IANA).
const (
	statusGoingAway   = websocket.StatusGoingAway
	statusSlow        = websocket.StatusTryAgainLater
	statusUnsupported = websocket.StatusUnsupportedData
	statusNoText      = websocket.StatusInvalidFramePayloadData
	statusPolicy      = websocket.StatusPolicyViolation
	statusInternal    = websocket.StatusInternalError
)

// Limits of a WebSocket.
const (
	maxMessage    = 256 << 10 // octets of a message of the client
	maxOut        = 1000      // messages that wait for the client, beside events
	maxOutOctets  = 4 << 20
	maxRequests   = 16 // requests at a time, beside those of CSTA, which the core limits
	pongTime      = 15 * time.Second
	maxReasonSize = 120
)

// socket is a WebSocket. One goroutine reads. Another one writes, as long as there is something to write.
type socket struct {
	server  *Server
	conn    *websocket.Conn
	wire    *wire // below conn; nil: the proxy has dialled
	client  *client
	dialled *outbound     // nil: the client has opened it
	stay    func() bool   // has it stay when its listener closes; nil: it came by none
	done    chan struct{} // closed at the end, after reason is set
	reason  error
	ctx     context.Context //nolint:containedctx // ends with the WebSocket
	end     context.CancelFunc

	group   sync.WaitGroup // all goroutines but the reading one
	since   atomic.Int64   // when the message that is being written was begun; 0: none
	last    atomic.Int64   // when something was last written
	pinging atomic.Bool
	beat    atomic.Bool   // a heartbeat is due
	acked   atomic.Uint64 // the last event that the application has acknowledged; 0: none
	sent    atomic.Uint64 // the last event that was written; 0: none
	stored  atomic.Uint64 // of these, what is remembered

	mu      sync.Mutex
	out     [][]byte
	octets  int
	stream  *record.Subscription
	change  *record.Subscription // takes the place of stream
	writing bool
	again   bool // there may be something to write
	open    int  // requests that are carried out
	closing bool
	over    bool // no goroutine may be started any more
}

// newSocket returns a WebSocket that is not connected yet, with a session of its own.
func (s *Server) newSocket(who caller, peer string, place func() proxy.Place) (*socket, error) {
	k := &socket{server: s, done: make(chan struct{})}
	k.ctx, k.end = context.WithCancel(context.Background())
	k.last.Store(time.Now().UnixNano())
	var err error
	if k.client, err = s.open(who, peer, place, k.event, k.dismissed); err != nil {
		k.end()
		return nil, err
	}
	k.ctx = withClient(k.ctx, k.client)
	return k, nil
}

// upgrade serves a WebSocket that a client opens.
func (s *Server) upgrade(w http.ResponseWriter, r *http.Request, who caller) {
	if slices.Contains(offered(r), xml.Subprotocol) {
		s.upgradeXML(w, r, who)
		return
	}
	k, err := s.newSocket(who, r.RemoteAddr, kind.PlaceOf(r))
	if err != nil {
		fail(w, explained(err))
		return
	}
	if err := k.subscribed(r); err != nil {
		k.finish(nil)
		fail(w, streaming(err))
		return
	}
	k.wire = &wire{}
	conn, err := websocket.Accept(takeOver{w, k.wire}, r, &websocket.AcceptOptions{
		Subprotocols:       []string{protocolEvents},
		InsecureSkipVerify: true, // cors has decided about pages
	})
	if err != nil { // Accept has responded
		k.finish(nil)
		return
	}
	k.stay = context.AfterFunc(kind.Serving(r.Context()), func() { k.close(statusGoingAway, parting(context.Cause(kind.Serving(r.Context())))) })
	k.serve(conn)
}

// parting says why a WebSocket closes whose listener, or login at another front, has ended.
func parting(cause error) string {
	if errors.Is(cause, kind.ErrStopped) || errors.Is(cause, context.Canceled) {
		return "the proxy is closing this listener"
	}
	return cause.Error()
}

// serve has a connection served, on goroutines of its own.
func (k *socket) serve(conn *websocket.Conn) {
	k.mu.Lock()
	k.conn = conn
	dismissed := k.closing // the core has closed the session meanwhile
	k.mu.Unlock()
	if dismissed || !k.server.events.enter(k) {
		_ = conn.CloseNow()
		k.finish(nil)
	}
}

// subscribed prepares the stream that the request for a WebSocket asks for.
func (k *socket) subscribed(r *http.Request) error {
	in, err := subscriptionOf(r.URL.Query(), r.Header.Get("Last-Event-ID"))
	if err != nil || len(in.Devices) == 0 {
		return err
	}
	return k.subscribe(r.Context(), in)
}

// subscribe has the stream begin, or begin anew with other events.
func (k *socket) subscribe(ctx context.Context, in Subscription) error {
	want, err := k.client.wish(in)
	if err != nil {
		return err
	}
	want.Wake = k.kick
	sub, err := k.server.events.recorder.Prepare(ctx, want)
	if err != nil {
		return err
	}
	k.mu.Lock()
	before := k.change
	if k.over {
		before, sub = sub, k.change
	}
	k.change = sub
	k.mu.Unlock()
	if before != nil {
		before.Close()
	}
	return nil
}

// offered returns the subprotocols that a client offers.
func offered(r *http.Request) (list []string) {
	for _, header := range r.Header["Sec-Websocket-Protocol"] {
		for protocol := range strings.SplitSeq(header, ",") {
			list = append(list, strings.TrimSpace(protocol))
		}
	}
	return list
}

// run reads until the connection ends.
func (k *socket) run() {
	k.conn.SetReadLimit(maxMessage)
	k.kick()
	k.finish(k.read())
}

func (k *socket) read() (reason error) {
	defer share.Survive(k.server.log, "a WebSocket", func(err error) {
		reason = err
		k.close(statusInternal, "internal error")
	})
	for {
		kind, data, err := k.conn.Read(k.ctx)
		switch {
		case err != nil:
			return err
		case kind != websocket.MessageText:
			k.close(statusUnsupported, "messages must be text")
		case !utf8.Valid(data):
			k.close(statusNoText, "a message is no UTF-8")
		default:
			k.message(data)
		}
	}
}

// finish frees what belongs to the WebSocket, and returns when all of its goroutines have ended. It is called once.
func (k *socket) finish(reason error) {
	defer close(k.done)
	k.reason = reason
	k.mu.Lock()
	k.over = true
	streams := []*record.Subscription{k.stream, k.change}
	k.stream, k.change, k.out = nil, nil, nil
	k.mu.Unlock()
	k.end()
	if k.stay != nil {
		k.stay()
	}
	if k.conn != nil {
		_ = k.conn.CloseNow()
	}
	switch websocket.CloseStatus(reason) {
	case websocket.StatusNormalClosure, websocket.StatusGoingAway, websocket.StatusNoStatusRcvd:
		k.client.session.Close(nil)
	default:
		if k.conn == nil || k.closed() {
			k.client.session.Close(nil)
		} else {
			k.client.session.Disconnected(reason)
		}
	}
	k.group.Wait()
	for _, sub := range streams {
		if sub != nil {
			sub.Close()
		}
	}
}

// closed reports whether the WebSocket is being closed from this side.
func (k *socket) closed() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.closing
}

// spawn runs f on a goroutine of the WebSocket, unless that has ended.
func (k *socket) spawn(what string, f func()) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.over {
		return
	}
	k.group.Go(func() {
		defer share.Survive(k.server.log, what, func(error) { k.close(statusInternal, "internal error") })
		f()
	})
}

// close closes the WebSocket with a reason. It does not wait.
func (k *socket) close(code websocket.StatusCode, reason string) {
	k.mu.Lock()
	again := k.closing || k.conn == nil
	k.closing = true
	k.mu.Unlock()
	if again {
		return
	}
	if len(reason) > maxReasonSize {
		reason = strings.ToValidUTF8(reason[:maxReasonSize], "")
	}
	k.spawn("closing a WebSocket", func() {
		_ = k.conn.Close(code, reason)
		k.end()
	})
}

// event is called by the core with an event of the session, or a request of the switching function.
func (k *socket) event(m *uacsta.Message) {
	k.send(encoded(cstaMessage{Type: typeCSTA, CSTA: m}))
}

// dismissed is called when the core has closed the session.
func (k *socket) dismissed(reason error) {
	if errors.Is(reason, proxy.ErrSlow) {
		k.close(statusSlow, reason.Error())
		return
	}
	k.close(statusPolicy, reason.Error())
}

// pulse is called once a second.
func (k *socket) pulse(now time.Time) {
	if since := k.since.Load(); since != 0 && now.UnixNano()-since > int64(writeTime) {
		k.close(statusSlow, "a message was not read in time")
		k.spawn("cutting a WebSocket", func() { _ = k.conn.CloseNow() })
		return
	}
	if k.dialled != nil {
		k.spawn("remembering what an application has", func() { k.dialled.keep(k) })
	}
	if now.UnixNano()-k.last.Load() < int64(beatInterval) {
		return
	}
	k.last.Store(now.UnixNano())
	k.beat.Store(true)
	k.kick()
	if !k.pinging.CompareAndSwap(false, true) {
		return
	}
	k.spawn("pinging a WebSocket", func() {
		defer k.pinging.Store(false)
		ctx, cancel := context.WithTimeout(k.ctx, pongTime)
		defer cancel()
		if k.conn.Ping(ctx) != nil {
			_ = k.conn.CloseNow()
		}
	})
}
