package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/tr87proxy/tr87proxy/internal/config"
	"github.com/tr87proxy/tr87proxy/internal/kind"
	"github.com/tr87proxy/tr87proxy/proxy"
	"github.com/tr87proxy/tr87proxy/proxy/fronttest"
	"github.com/tr87proxy/tr87proxy/uacsta"
	xml "github.com/tr87proxy/tr87proxy/wire/cstaxml/front"
)

// The WebSocket keeps the contract of fronts, with JSON and with the subprotocol csta-xml.
func TestFront(t *testing.T) {
	start := func(p *proxy.Proxy, log *slog.Logger, listen fronttest.Listen) (fronttest.Front, error) {
		l, dial, err := listen()
		if err != nil {
			return fronttest.Front{}, err
		}
		settings := &Settings{RequestTimeout: time.Minute, Events: defaultEvents}
		s, err := NewServer(settings, &kind.FrontEnv{Proxy: p, Log: log, Config: &config.Config{}, Admits: func(netip.Addr) bool { return true }})
		if err != nil {
			return fronttest.Front{}, err
		}
		if err := s.Start(); err != nil {
			return fronttest.Front{}, err
		}
		server := &http.Server{Handler: s, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelInfo)}
		over := make(chan struct{})
		go func() { defer close(over); _ = server.Serve(l) }()
		return fronttest.Front{
			Dial: func(string) (net.Conn, error) { return dial() },
			Stop: func() { _ = server.Close(); s.Close(); <-over },
		}, nil
	}
	t.Run("events", func(t *testing.T) {
		fronttest.Test(t, fronttest.Kit{Start: start, Wire: func(nc net.Conn, _ string) fronttest.Wire {
			return &jsonWire{socketWire{nc: nc, protocol: protocolEvents}}
		}})
	})
	t.Run("csta-xml", func(t *testing.T) {
		without := map[string]string{
			"answers out of order":                    "requests are carried out one after the other",
			"an ambiguous request":                    "its refusal waits for the requests before it",
			"gone while its requests are carried out": "requests are carried out one after the other",
		}
		if testing.Short() {
			without["histories"] = "takes long; those of the other subprotocol run"
		}
		fronttest.Test(t, fronttest.Kit{
			Start: start, Wire: func(nc net.Conn, _ string) fronttest.Wire {
				return &xmlWire{socketWire: socketWire{nc: nc, protocol: xml.Subprotocol}}
			},
			Without: without,
		})
	})
}

// socketWire is a client's end of a WebSocket.
type socketWire struct {
	nc       net.Conn
	protocol string
	conn     *websocket.Conn
}

// Open implements fronttest.Wire.
func (w *socketWire) Open() error {
	dialled := false
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(context.Context, string, string) (net.Conn, error) {
		if dialled {
			return nil, errors.New("dialled twice")
		}
		dialled = true
		return w.nc, nil
	}}}
	var err error
	w.conn, _, err = websocket.Dial(context.Background(), "ws://localhost"+eventsPath+map[bool]string{true: "?devices="}[w.protocol == protocolEvents], &websocket.DialOptions{HTTPClient: client, Subprotocols: []string{w.protocol}})
	if err == nil && w.conn.Subprotocol() != w.protocol {
		err = fmt.Errorf("subprotocol %q", w.conn.Subprotocol())
	}
	return err
}

// Leave implements fronttest.Wire.
func (w *socketWire) Leave() error { return w.conn.Close(websocket.StatusNormalClosure, "") }

func (w *socketWire) write(data []byte) error {
	return w.conn.Write(context.Background(), websocket.MessageText, data)
}

// jsonWire sends requests as those to POST /v1/csta.
type jsonWire struct{ socketWire }

func (w *jsonWire) send(n int, headers map[string]string, body json.RawMessage) error {
	data, err := json.Marshal(SocketRequest{ID: strconv.Itoa(n), Method: http.MethodPost, Path: cstaPath, Headers: headers, Body: body})
	if err != nil {
		return err
	}
	return w.write(data)
}

// Request implements fronttest.Wire.
func (w *jsonWire) Request(n int, req *uacsta.Message) error {
	data, err := json.Marshal(req)
	if err != nil {
		return err
	}
	return w.send(n, nil, data)
}

// Document implements fronttest.DocumentWire.
func (w *jsonWire) Document(n int, document []byte) error {
	body, err := json.Marshal(string(document))
	if err != nil {
		return err
	}
	return w.send(n, map[string]string{"content-type": "application/xml"}, body)
}

// Read implements fronttest.Wire.
func (w *jsonWire) Read() (fronttest.Heard, error) {
	_, data, err := w.conn.Read(context.Background())
	if err != nil {
		return fronttest.Heard{}, err
	}
	var got struct {
		ID     string
		Status int
		Type   string
		Body   json.RawMessage
		CSTA   json.RawMessage
	}
	if err := json.Unmarshal(data, &got); err != nil {
		return fronttest.Heard{}, err
	}
	if got.ID == "" {
		m, err := uacsta.ParseJSON(got.CSTA)
		return fronttest.Heard{Message: m}, err
	}
	n, err := strconv.Atoi(got.ID)
	if err != nil {
		return fronttest.Heard{}, err
	}
	m, err := answerIn(got.Status, got.Body)
	return fronttest.Heard{Answer: n, Message: m}, err
}

// answerIn returns the response of CSTA in a response over a WebSocket.
func answerIn(status int, body json.RawMessage) (*uacsta.Message, error) {
	var document string
	if json.Unmarshal(body, &document) == nil {
		return uacsta.Parse([]byte(document))
	}
	if status == http.StatusOK {
		return uacsta.ParseJSON(body)
	}
	var p Problem
	if err := json.Unmarshal(body, &p); err != nil || p.CSTA == nil {
		return nil, fmt.Errorf("status %d: %s", status, body)
	}
	return uacsta.ErrorMessage(uacsta.Refuse(uacsta.Category(p.CSTA.Category), p.CSTA.Value), uacsta.Edition3), nil
}

// xmlWire sends each request as a message. Their responses come in order.
type xmlWire struct {
	socketWire

	answered int
}

// Request implements fronttest.Wire.
func (w *xmlWire) Request(_ int, req *uacsta.Message) error { return w.write(req.Bytes()) }

// Document implements fronttest.DocumentWire.
func (w *xmlWire) Document(_ int, document []byte) error { return w.write(document) }

// Read implements fronttest.Wire.
func (w *xmlWire) Read() (fronttest.Heard, error) {
	_, data, err := w.conn.Read(context.Background())
	if err != nil {
		return fronttest.Heard{}, err
	}
	m, err := uacsta.Parse(bytes.TrimSpace(data))
	if err != nil {
		return fronttest.Heard{}, err
	}
	if m.Kind() == uacsta.Event || m.Kind() == uacsta.Request {
		return fronttest.Heard{Message: m}, nil
	}
	w.answered++
	return fronttest.Heard{Answer: w.answered, Message: m}, nil
}
