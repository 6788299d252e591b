package api

import (
	"context"
	"errors"
	"time"

	"github.com/coder/websocket"

	record "github.com/tr87proxy/tr87proxy/api/events"
	"github.com/tr87proxy/tr87proxy/internal/share"
)

// send has a message written. A client that lets too many wait is cut off.
func (k *socket) send(data []byte) {
	k.mu.Lock()
	full := len(k.out) >= maxOut || len(k.out) > 0 && k.octets+len(data) > maxOutOctets
	if !full && !k.over && !k.closing {
		k.out = append(k.out, data)
		k.octets += len(data)
	}
	k.mu.Unlock()
	if full {
		k.close(statusSlow, record.ErrSlow.Error())
		return
	}
	k.kick()
}

// kick starts the writing goroutine, if it does not run. It does not block.
func (k *socket) kick() {
	k.mu.Lock()
	defer k.mu.Unlock()
	switch {
	case k.over || k.closing || k.conn == nil:
	case k.writing:
		k.again = true
	default:
		k.writing = true
		k.group.Go(k.write)
	}
}

// write writes what there is to write.
func (k *socket) write() {
	defer share.Survive(k.server.log, "writing to a WebSocket", func(error) { k.close(statusInternal, "internal error") })
	for {
		k.mu.Lock()
		out := k.out
		k.out, k.octets, k.again = nil, 0, false
		k.mu.Unlock()
		if len(out) > 0 && !k.together(func() error {
			for _, data := range out {
				if err := k.put(data); err != nil {
					return err
				}
			}
			return nil
		}) {
			return
		}
		wrote, ok := k.writeEvents()
		if !ok {
			return
		}
		if len(out) > 0 || wrote {
			continue
		}
		k.mu.Lock()
		if done := !k.again && len(k.out) == 0 && k.change == nil; done {
			k.writing = false
			k.mu.Unlock()
			return
		}
		k.mu.Unlock()
	}
}

// writeEvents writes the next events of the stream, if there are any.
func (k *socket) writeEvents() (wrote, ok bool) {
	stream, err := k.current()
	if stream == nil && err == nil {
		return false, true
	}
	var list []record.Event
	if err == nil {
		list, err = stream.Next(eventsAtOnce)
	}
	switch {
	case errors.Is(err, record.ErrSlow):
		_ = k.put(stream.Slow().Data) // the stream ends in any case
		k.close(statusSlow, err.Error())
		return false, false
	case err != nil:
		k.close(statusGoingAway, err.Error())
		return false, false
	case k.beat.Swap(false) && len(list) == 0:
		list = append(list, stream.Heartbeat())
	}
	if len(list) == 0 {
		return false, true
	}
	return true, k.together(func() error {
		for _, e := range list {
			if err := k.put(e.Data); err != nil {
				return err
			}
			k.sent.Store(e.Seq)
		}
		return nil
	})
}

// current returns the stream, after it has begun or begun anew.
func (k *socket) current() (*record.Subscription, error) {
	k.mu.Lock()
	next, before := k.change, k.stream
	k.mu.Unlock()
	if next == nil {
		return before, nil
	}
	err := next.Begin(k.ctx, before)
	k.mu.Lock()
	current := k.change == next // or another one has taken its place, or the WebSocket has ended
	if current {
		k.stream, k.change = next, nil
	}
	k.mu.Unlock()
	if current && before != nil {
		before.Close()
	}
	if !current {
		return nil, nil //nolint:nilnil // there is no stream at this moment
	}
	return next, err
}

// together has the messages that a function writes leave in as few writes as possible. It returns false after an error.
func (k *socket) together(write func() error) bool {
	k.wire.hold()
	err := write()
	if left := k.timed(k.wire.release); err == nil {
		err = left
	}
	if err != nil {
		k.end() // the reading goroutine ends, too
	}
	return err == nil
}

// put writes a message.
func (k *socket) put(data []byte) error {
	return k.timed(func() error { return k.conn.Write(context.Background(), websocket.MessageText, data) })
}

// timed writes to the connection. The pulse cuts the connection if that takes too long.
func (k *socket) timed(write func() error) error {
	now := time.Now().UnixNano()
	k.since.Store(now)
	err := write()
	k.since.Store(0)
	k.last.Store(now)
	return err
}
