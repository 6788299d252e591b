package main

import (
	"bufio"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/coder/websocket"
)

// peer is the plain program: it sends to each client the events of the device that it has asked for, as the chat example
// of the library does, with a queue and a writing goroutine for each client.
type peer struct {
	mu      sync.Mutex
	clients map[string]map[chan []byte]struct{} // by device
}

// servePeer serves clients at the first address, and takes events at the second.
func servePeer(address, feed string) error {
	p := &peer{clients: map[string]map[chan []byte]struct{}{}}
	l, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", feed)
	if err != nil {
		return err
	}
	go p.take(l)
	server := &http.Server{Addr: address, Handler: http.HandlerFunc(p.serve), ReadHeaderTimeout: 10 * time.Second}
	return server.ListenAndServe()
}

// take reads events and sends them to the clients. An event is the lengths of the device and of the data, in 2 and 4
// octets, and the two.
func (p *peer) take(l net.Listener) {
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		r := bufio.NewReaderSize(conn, 64<<10)
		var head [6]byte
		for {
			if _, err := io.ReadFull(r, head[:]); err != nil {
				break
			}
			device := make([]byte, binary.BigEndian.Uint16(head[:]))
			data := make([]byte, binary.BigEndian.Uint32(head[2:]))
			if _, err := io.ReadFull(r, device); err != nil {
				break
			}
			if _, err := io.ReadFull(r, data); err != nil {
				break
			}
			p.publish(string(device), data)
		}
		_ = conn.Close()
	}
}

func (p *peer) publish(device string, data []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, clients := range []map[chan []byte]struct{}{p.clients[device], p.clients["*"]} {
		for queue := range clients {
			select {
			case queue <- data:
			default:
				panic("a client does not keep up")
			}
		}
	}
}

func (p *peer) enter(device string) chan []byte {
	queue := make(chan []byte, 256)
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.clients[device] == nil {
		p.clients[device] = map[chan []byte]struct{}{}
	}
	p.clients[device][queue] = struct{}{}
	return queue
}

func (p *peer) leave(device string, queue chan []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.clients[device], queue)
}

// serve serves a client.
func (p *peer) serve(w http.ResponseWriter, r *http.Request) {
	device := r.URL.Query().Get("devices")
	queue := p.enter(device)
	defer p.leave(device, queue)
	var write func([]byte) error
	ctx := r.Context()
	if r.Header.Get("Upgrade") == "" {
		w.Header().Set("Content-Type", "text/event-stream")
		out := http.NewResponseController(w)
		write = func(data []byte) error {
			if _, err := fmt.Fprintf(w, "data: %s\n\n", data); err != nil {
				return err
			}
			return out.Flush()
		}
	} else {
		conn, err := websocket.Accept(w, r, nil)
		if err != nil {
			return
		}
		defer conn.CloseNow() //nolint:errcheck // the client has left
		ctx = conn.CloseRead(context.Background())
		write = func(data []byte) error { return conn.Write(context.Background(), websocket.MessageText, data) }
	}
	if write([]byte(`{"type":"ready"}`)) != nil {
		return
	}
	for {
		select {
		case data := <-queue:
			if write(data) != nil {
				return
			}
		case <-ctx.Done():
			return
		}
	}
}
