package front

import (
	"bytes"
	"context"
	"encoding/base64"
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
	"github.com/tr87proxy/tr87proxy/wire/cstaxml"
)

// The server keeps the contract of fronts over WebSockets, in every form of messages.
func TestFrontOverWebSocket(t *testing.T) {
	for _, f := range messageForms {
		t.Run(f.name, func(t *testing.T) {
			without := map[string]string{}
			if f.id == nil {
				without = map[string]string{
					"answers out of order":                    "requests are carried out one after the other",
					"an ambiguous request":                    "its refusal waits for the requests before it",
					"gone while its requests are carried out": "requests are carried out one after the other",
				}
			}
			if testing.Short() && f.name != "frames" {
				without["histories"] = "takes long; those of frames run"
			}
			fronttest.Test(t, fronttest.Kit{
				Bubble: true, Start: startSockets(f.dialect), Without: without,
				Wire: func(nc net.Conn, _ string) fronttest.Wire { return &socketWire{nc: nc, form: f} },
			})
		})
	}
}

// startSockets returns what starts a server that serves nothing but WebSockets.
func startSockets(dialect string) func(*proxy.Proxy, *slog.Logger, fronttest.Listen) (fronttest.Front, error) {
	return func(p *proxy.Proxy, log *slog.Logger, listen fronttest.Listen) (fronttest.Front, error) {
		l, dial, err := listen()
		if err != nil {
			return fronttest.Front{}, err
		}
		env := &kind.FrontEnv{Proxy: p, Log: log, Config: &config.Config{}, Admits: func(netip.Addr) bool { return true }}
		settings := Kind.Settings().(*Settings)
		settings.Protocols = []string{protocolSocket}
		built, err := build(settings, env)
		if err != nil {
			return fronttest.Front{}, err
		}
		f := built.(*listening)
		f.server.access.Conn.WriteTime = 200 * time.Millisecond
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan error, 1)
		go func() { done <- f.server.ServeDialect(ctx, l, dialectOf(dialect, "")) }()
		return fronttest.Front{Dial: func(string) (net.Conn, error) { return dial() }, Stop: func() { f.Close(ctx); cancel(); <-done }}, nil
	}
}

// messageForm is how a client writes messages, and what it reads.
type messageForm struct {
	name, dialect string
	kind          websocket.MessageType
	// message returns the message of a request, id the invoke ID of one from the proxy and its document; nil: there is none.
	message func(id int, document []byte) []byte
	id      func(data []byte) (int, []byte, error)
}

// headed returns a document with its header.
func headed(id int, document []byte) []byte {
	data, err := cstaxml.Frame(id, document)
	if err != nil {
		panic(err)
	}
	return data
}

func digits(data []byte) (int, []byte, error) {
	if len(data) < 4 {
		return 0, nil, fmt.Errorf("a short message: %q", data)
	}
	id, err := strconv.Atoi(string(data[:4]))
	return id, data[4:], err
}

func encoded(id int, document []byte) []byte {
	data := headed(id, document)
	return []byte("\x0c" + base64.StdEncoding.EncodeToString(data[:8]) + string(data[8:]))
}

func decoded(data []byte) (int, []byte, error) {
	header, err := base64.StdEncoding.DecodeString(string(data[1:13]))
	if err != nil || data[0] != 12 || len(header) != 8 || int(header[2])<<8+int(header[3]) != 8+len(data)-13 {
		return 0, nil, fmt.Errorf("header %q of %q: %w", header, data, err)
	}
	id, err := strconv.Atoi(string(header[4:]))
	return id, data[13:], err
}

var messageForms = []messageForm{
	{"frames", "plain", websocket.MessageBinary, headed, func(data []byte) (int, []byte, error) {
		if len(data) < 8 || data[0] != 0 || data[1] != 0 || int(data[2])<<8+int(data[3]) != len(data) {
			return 0, nil, fmt.Errorf("no frame: %q", data)
		}
		return digits(data[4:])
	}},
	{"numbers", "plain", websocket.MessageText, func(id int, document []byte) []byte { return fmt.Appendf(nil, "%04d%s", id, document) }, digits},
	{"documents", "plain", websocket.MessageText, func(_ int, document []byte) []byte { return document }, nil},
	{"text of zultys", "zultys", websocket.MessageText, encoded, decoded},
	{"octets of zultys", "zultys", websocket.MessageBinary, encoded, decoded},
}

// socketWire is a client's end of a WebSocket. In a form without invoke IDs, responses come in the order of requests.
type socketWire struct {
	nc   net.Conn
	form messageForm

	conn     *websocket.Conn
	answered int
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
	options := &websocket.DialOptions{HTTPClient: client, Subprotocols: []string{Subprotocol}, CompressionMode: websocket.CompressionContextTakeover}
	path := socketPath
	if w.form.dialect == "zultys" {
		path, options.Subprotocols = zultysPath, nil
	}
	var res *http.Response
	var err error
	if w.conn, res, err = websocket.Dial(context.Background(), "ws://localhost"+path, options); err != nil {
		return err
	}
	if got := res.Header.Get("Sec-WebSocket-Extensions"); got != "" {
		return fmt.Errorf("the server compresses: %s", got)
	}
	if path == socketPath && w.conn.Subprotocol() != Subprotocol {
		return fmt.Errorf("subprotocol %q", w.conn.Subprotocol())
	}
	return nil
}

// Leave implements fronttest.Wire.
func (w *socketWire) Leave() error { return w.conn.Close(websocket.StatusNormalClosure, "") }

// Document implements fronttest.DocumentWire.
func (w *socketWire) Document(id int, document []byte) error {
	return w.conn.Write(context.Background(), w.form.kind, w.form.message(id, document))
}

// Request implements fronttest.Wire.
func (w *socketWire) Request(n int, req *uacsta.Message) error { return w.Document(n, req.Bytes()) }

// Read implements fronttest.Wire.
func (w *socketWire) Read() (fronttest.Heard, error) {
	kind, data, err := w.conn.Read(context.Background())
	if err != nil {
		return fronttest.Heard{}, err
	}
	if kind != w.form.kind {
		return fronttest.Heard{}, fmt.Errorf("a message is %s", kind)
	}
	id, document := 0, data
	if w.form.id != nil {
		if id, document, err = w.form.id(data); err != nil {
			return fronttest.Heard{}, err
		}
	}
	m, err := uacsta.Parse(bytes.TrimSpace(document))
	if err != nil {
		return fronttest.Heard{}, err
	}
	switch {
	case m.Kind() == uacsta.Event:
		if w.form.id != nil && id != cstaxml.EventID {
			return fronttest.Heard{}, fmt.Errorf("%s has the invoke ID %d", m.Name(), id)
		}
		id = 0
	case m.Kind() == uacsta.Request:
		if res := uacsta.AnswerTo(m, m.Edition()); res != nil {
			err = w.Request(id, res)
		}
		id = 0
	case w.form.id == nil:
		w.answered++
		id = w.answered
	}
	return fronttest.Heard{Answer: id, Message: m}, err
}
