package api

import (
	"cmp"
	"context"
	"errors"
	"net"
	"net/http"
	"sync"
	"time"

	record "github.com/tr87proxy/tr87proxy/api/events"
	"github.com/tr87proxy/tr87proxy/internal/kind"
	"github.com/tr87proxy/tr87proxy/internal/share"
)

// Times of streams.
const (
	beatInterval  = 30 * time.Second // between two heartbeats, when nothing else is sent
	writeTime     = 10 * time.Second // that a client may take for one message
	partingTime   = 5 * time.Second  // that it may take for the last one
	validInterval = 5 * time.Second  // between two looks at the client's credentials
)

// serveEvents begins a stream of events as Server-Sent Events. The stream has goroutines of its own: those and the buffers of
// a request would take twice the memory.
func (s *Server) serveEvents(w http.ResponseWriter, r *http.Request) {
	in, err := subscriptionOf(r.URL.Query(), r.Header.Get("Last-Event-ID"))
	var want record.Wish
	if err == nil {
		want, err = clientOf(r.Context()).wish(in)
	}
	if err != nil {
		fail(w, explained(err))
		return
	}
	if r.Method == http.MethodHead {
		w.Header().Set("Content-Type", typeStream)
		return
	}
	l := &lineStream{server: s, woken: make(chan struct{}, 1), leaving: kind.Serving(r.Context()).Done()}
	want.Wake = l.wake
	if l.sub, err = s.events.recorder.Subscribe(r.Context(), want); err != nil {
		fail(w, streaming(err))
		return
	}
	var giveBack func()
	if l.client, giveBack, err = s.borrow(clientOf(r.Context()).who, r); err != nil { // for longer than the request
		l.sub.Close()
		fail(w, explained(err))
		return
	}
	l.over = func() { l.sub.Close(); giveBack() }
	w.Header().Set("Content-Type", typeStream)
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Accel-Buffering", "no")       // some proxies keep the stream back otherwise
	w.Header().Set("Transfer-Encoding", "identity") // it ends with the connection
	w.WriteHeader(http.StatusOK)
	out := http.NewResponseController(w)
	if err = out.Flush(); err == nil {
		l.conn, _, err = out.Hijack()
	}
	if err != nil {
		l.over()
		return
	}
	if !s.events.spawn(l.run) {
		_ = l.conn.Close()
		l.over()
	}
}

const typeStream = "text/event-stream"

// lineStream is a stream of Server-Sent Events, on a connection that was taken over.
type lineStream struct {
	server  *Server
	conn    net.Conn
	client  *client
	sub     *record.Subscription
	woken   chan struct{}
	leaving <-chan struct{}
	over    func() // frees what belongs to the stream
}

// wake is called when there is something to read.
func (l *lineStream) wake() {
	select {
	case l.woken <- struct{}{}:
	default:
	}
}

// run writes events until the stream ends.
func (l *lineStream) run() {
	defer l.over()
	left := make(chan struct{})
	var reading sync.WaitGroup
	defer reading.Wait()
	defer l.conn.Close() //nolint:errcheck // there is nothing to be done
	defer share.Survive(l.server.log, "a stream of events", nil)
	reading.Go(func() {
		defer share.Survive(l.server.log, "a stream of events", nil)
		if _, err := l.conn.Read(make([]byte, 1)); err != nil { // the client says nothing more until it leaves
			close(left)
		}
	})
	defer context.AfterFunc(l.server.events.ctx, func() { _ = l.conn.SetDeadline(time.Now().Add(partingTime)) })() // also of a write under way
	if !l.write([]byte("retry: 2000\n\n"), writeTime) {
		return
	}
	if why := l.deliver(left); why != nil {
		l.write(appendLine(nil, l.sub.End(why.Error())), partingTime)
	}
}

// deliver writes events until the client has left, or is to be told why the stream ends.
func (l *lineStream) deliver(left <-chan struct{}) (why error) {
	valid, beat := time.NewTicker(validInterval), time.NewTimer(beatInterval)
	defer valid.Stop()
	defer beat.Stop()
	for looked := time.Now(); ; {
		if time.Since(looked) >= validInterval { // also of a client that is never done with what there is
			looked = time.Now()
			if why := l.client.lapsed(); why != nil {
				return why
			}
		}
		events, err := l.sub.Next(eventsAtOnce)
		switch {
		case errors.Is(err, record.ErrSlow):
			l.write(appendLine(nil, l.sub.Slow()), partingTime)
			return nil
		case err != nil:
			return errStopping
		}
		if len(events) > 0 {
			if !l.writeEvents(events) {
				return nil
			}
			beat.Reset(beatInterval)
			continue
		}
		select {
		case <-l.woken:
		case <-beat.C:
			if !l.writeEvents([]record.Event{l.sub.Heartbeat()}) {
				return nil
			}
			beat.Reset(beatInterval)
		case <-l.client.gone:
			return l.client.over()
		case <-valid.C: // look again
		case <-l.leaving:
			return cmp.Or(l.client.lapsed(), errStopping)
		case <-left:
			return nil
		}
	}
}

// eventsAtOnce is how many events are taken from a stream at a time.
const eventsAtOnce = 32

// writeEvents writes events, together.
func (l *lineStream) writeEvents(events []record.Event) bool {
	lines := heldBuffers.Get().(*[]byte)
	defer giveBuffer(lines)
	for _, e := range events {
		*lines = appendLine(*lines, e)
	}
	return l.write(*lines, writeTime)
}

// write writes to the connection. It returns false if the client has left, or takes too long.
func (l *lineStream) write(data []byte, within time.Duration) bool {
	_ = l.conn.SetWriteDeadline(time.Now().Add(within))
	_, err := l.conn.Write(data)
	return err == nil
}
