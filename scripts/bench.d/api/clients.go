package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coder/websocket"
)

// clients are connected clients.
type clients struct {
	setting *setting
	list    []*client
	group   sync.WaitGroup
	end     context.CancelFunc
	placed  []atomic.Int64 // when the last call of each pair was placed, in nanoseconds since 1970
	counted atomic.Int64   // events that were delivered
	lost    atomic.Bool    // a connection has ended
	closing atomic.Bool
}

// client is one of them.
type client struct {
	all    *clients
	device string
	keeps  bool // it is the first one of its device, and keeps the events
	events []occurrence
	delay  []int32 // from the event's time to its receipt, in microseconds
	since  []int32 // from the request that places a call to the receipt of delivered
}

// occurrence is an event that was received.
type occurrence struct {
	at     time.Time
	device string
	data   []byte
}

// watched returns the device that a client watches.
func (s *setting) watched(client int) string {
	n := client % s.devices
	switch {
	case s.all:
		return "*"
	case n%2 == 0:
		return caller(n / 2)
	}
	return callee(n / 2)
}

// connect connects all clients, and waits until each has got its first message.
func (s *setting) connect(ctx context.Context, address string) (*clients, error) {
	c := &clients{setting: s, placed: make([]atomic.Int64, s.devices/2)}
	ctx, c.end = context.WithCancel(ctx)
	failed := make(chan error, s.clients)
	room := make(chan struct{}, 16)
	kept := map[string]bool{}
	for i := range s.clients {
		one := &client{all: c, device: s.watched(i)}
		one.keeps = !kept[one.device]
		kept[one.device] = true
		c.list = append(c.list, one)
		room <- struct{}{}
		ready := sync.OnceFunc(func() { <-room })
		c.group.Go(func() {
			defer ready()
			err := one.run(ctx, address, fmt.Sprintf("127.0.1.%d", 1+i%8), func() { failed <- nil; ready() })
			if !c.closing.Load() {
				c.lost.Store(true)
				failed <- err
			}
		})
	}
	for range s.clients {
		if err := <-failed; err != nil {
			c.close()
			return nil, err
		}
	}
	return c, nil
}

// close closes all connections.
func (c *clients) close() {
	c.closing.Store(true)
	c.end()
	c.group.Wait()
}

// run connects from an address, and receives until ctx ends. ready is called after the first message.
func (c *client) run(ctx context.Context, address, from string, ready func()) error {
	local := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}, KeepAlive: -1}
	transport := &http.Transport{DialContext: local.DialContext, WriteBufferSize: 1 << 10, ReadBufferSize: 4 << 10}
	defer transport.CloseIdleConnections()
	if c.all.setting.sse {
		return c.stream(ctx, transport, "http://"+address+"/v1/events?devices="+c.device, ready)
	}
	conn, _, err := websocket.Dial(ctx, "ws://"+address+"/v1/events?devices="+c.device, &websocket.DialOptions{HTTPClient: &http.Client{Transport: transport}}) //nolint:bodyclose // the library closes it
	if err != nil {
		return err
	}
	defer conn.CloseNow() //nolint:errcheck // the measurement is over
	conn.SetReadLimit(1 << 20)
	first := true
	for {
		_, data, err := conn.Read(context.Background())
		if err != nil {
			return err
		}
		if first {
			first = false
			stop := context.AfterFunc(ctx, func() { _ = conn.CloseNow() })
			defer stop()
			ready()
			continue
		}
		c.got(data)
	}
}

// stream receives Server-Sent Events.
func (c *client) stream(ctx context.Context, transport *http.Transport, url string, ready func()) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	res, err := transport.RoundTrip(r)
	if err != nil {
		return err
	}
	defer res.Body.Close() //nolint:errcheck // the measurement is over
	if res.StatusCode != http.StatusOK {
		return errors.New(res.Status)
	}
	lines := bufio.NewScanner(res.Body)
	lines.Buffer(make([]byte, 8<<10), 1<<20)
	for first := true; lines.Scan(); {
		data, ok := bytes.CutPrefix(lines.Bytes(), []byte("data: "))
		switch {
		case ok && first:
			first = false
			ready()
		case ok:
			c.got(data)
		}
	}
	if err := lines.Err(); err != nil {
		return err
	}
	return errors.New("the stream has ended")
}

var (
	timeKey      = []byte(`"time":"`)
	deviceKey    = []byte(`"device":"`)
	heartbeat    = []byte(`"type":"heartbeat"`)
	deliveredKey = []byte(`"type":"delivered"`)
)

const layout = "2006-01-02T15:04:05.000Z"

// got takes note of an event.
func (c *client) got(data []byte) {
	now := time.Now()
	i := bytes.Index(data, timeKey)
	if i < 0 || bytes.Contains(data, heartbeat) {
		return
	}
	i += len(timeKey)
	if when, err := time.Parse(layout, string(data[i:min(i+len(layout), len(data))])); err == nil {
		c.delay = append(c.delay, int32(now.Sub(when).Microseconds()))
	}
	device := valueOf(data, deviceKey)
	if bytes.Contains(data, deliveredKey) && len(device) == 5 && device[0] == '2' {
		pair, err := strconv.Atoi(string(device[1:]))
		if err != nil || pair >= len(c.all.placed) {
			return
		}
		if at := c.all.placed[pair].Load(); at != 0 {
			c.since = append(c.since, int32((now.UnixNano()-at)/1000))
		}
	}
	if c.keeps {
		c.events = append(c.events, occurrence{now, string(device), bytes.Clone(data)})
	}
	c.all.counted.Add(1)
}

// valueOf returns the text after a key.
func valueOf(data, key []byte) []byte {
	_, rest, _ := bytes.Cut(data, key)
	value, _, _ := bytes.Cut(rest, []byte(`"`))
	return value
}

// settle waits until all clients of a device have the same number of events and none has come for a while.
func (c *clients) settle() error {
	for before, calm := int64(-1), 0; ; {
		if c.lost.Load() {
			return errors.New("a client has lost its connection")
		}
		now := c.counted.Load()
		if calm++; now != before {
			before, calm = now, 0
		}
		if calm >= 10 {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	had := map[string]int{}
	for _, one := range c.list {
		if one.keeps {
			had[one.device] = len(one.delay)
		}
		if len(one.delay) != had[one.device] {
			return fmt.Errorf("one client has %d events of %s, another %d", had[one.device], one.device, len(one.delay))
		}
	}
	return nil
}

// figures returns what all clients have measured.
func (c *clients) figures() (f figures) {
	for _, one := range c.list {
		f.delay = append(f.delay, one.delay...)
		f.since = append(f.since, one.since...)
	}
	f.events = len(f.delay)
	return f
}
