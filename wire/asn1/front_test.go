package asn1

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/tr87proxy/tr87proxy/internal/gate"
	"github.com/tr87proxy/tr87proxy/policy"
	"github.com/tr87proxy/tr87proxy/proxy"
	"github.com/tr87proxy/tr87proxy/proxy/fronttest"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

// The server keeps the contract of fronts in each flavour.
func TestFront(t *testing.T) {
	for _, f := range []Flavour{Phase3, HiPath, Phase1} {
		t.Run(f.Name, func(t *testing.T) {
			fronttest.Test(t, fronttest.Kit{
				Bubble:  true,
				Without: map[string]string{"an ambiguous request": "what comes in ASN.1 can be read in one way"},
				Start: func(p *proxy.Proxy, log *slog.Logger, listen fronttest.Listen) (fronttest.Front, error) {
					l, dial, err := listen()
					if err != nil {
						return fronttest.Front{}, err
					}
					s := NewServer(ServerConfig{
						Proxy: p, Flavour: f, Log: log, Conn: gate.Limits{WriteTime: 200 * time.Millisecond},
						Identify: func(netip.Addr, []string) (policy.Identity, bool) { return fronttest.Somebody, true },
					})
					ctx, cancel := context.WithCancel(context.Background())
					done := make(chan error, 1)
					go func() { done <- s.Serve(ctx, l) }()
					return fronttest.Front{Dial: func(string) (net.Conn, error) { return dial() }, Stop: func() { cancel(); <-done }}, nil
				},
				Wire: func(nc net.Conn, _ string) fronttest.Wire {
					return &frontWire{nc: nc, r: bufio.NewReader(nc), codec: codec{flavour: f, callIDs: anyCallIDs, now: time.Now}, asked: map[int]string{}}
				},
			})
		})
	}
}

// frontWire is a client's end of a connection.
type frontWire struct {
	nc    net.Conn
	r     *bufio.Reader
	codec codec

	mu    sync.Mutex
	asked map[int]string // services, by invoke ID
}

func (w *frontWire) write(data []byte) error {
	data, err := w.codec.flavour.frames.frame(data)
	if err == nil {
		_, err = w.nc.Write(data)
	}
	return err
}

func (w *frontWire) read() ([]byte, error) {
	return w.codec.flavour.frames.read(w.r, MaxPDU, func() {})
}

func (w *frontWire) Open() error {
	if !w.codec.flavour.acse {
		return nil
	}
	if err := w.write((&association{kind: associateRequest}).octets()); err != nil {
		return err
	}
	data, err := w.read()
	if err != nil {
		return err
	}
	p, err := parseWithin(data, maxElements)
	if err != nil {
		return err
	}
	a, err := readAssociation(p)
	if err == nil && (a.kind != associateResponse || a.result != accepted) {
		err = fmt.Errorf("the AARQ got %+v", a)
	}
	return err
}

func (w *frontWire) Leave() error {
	if !w.codec.flavour.acse {
		return w.nc.Close()
	}
	return w.write((&association{kind: releaseRequest}).octets())
}

func (w *frontWire) Request(n int, req *uacsta.Message) error {
	operation, body, err := w.codec.request(req)
	if err != nil {
		return err
	}
	w.mu.Lock()
	w.asked[n] = req.Name()
	w.mu.Unlock()
	return w.write((&pdu{kind: invoke, id: integer(n).Data.Bytes(), operation: operation, body: body}).octets())
}

func (w *frontWire) Read() (fronttest.Heard, error) {
	for {
		data, err := w.read()
		if err != nil {
			return fronttest.Heard{}, err
		}
		p, err := parseWithin(data, maxElements)
		if err != nil {
			return fronttest.Heard{}, err
		}
		if a, err := readAssociation(p); err == nil {
			if a.kind == releaseResponse || a.kind == abort {
				return fronttest.Heard{}, io.EOF
			}
			continue
		}
		m, err := readPDU(p)
		if err != nil {
			return fronttest.Heard{}, err
		}
		h, err := w.take(m)
		if err != nil || h.Message != nil {
			return h, err
		}
	}
}

// take takes a PDU; it is nothing to hear where the message is nil.
func (w *frontWire) take(m *pdu) (h fronttest.Heard, err error) {
	if m.kind == invoke && m.operation == eventReport {
		h.Message, _, err = w.codec.readEvent(m.body)
		return h, err
	}
	if m.kind == invoke {
		if h.Message, _, err = w.codec.readRequest(m.operation, m.body); err != nil {
			return h, err
		}
		return h, w.write((&pdu{kind: result, id: m.id, operation: m.operation, body: null()}).octets())
	}
	for _, octet := range m.id {
		h.Answer = h.Answer<<8 | int(octet)
	}
	w.mu.Lock()
	service := w.asked[h.Answer]
	w.mu.Unlock()
	switch m.kind {
	case result:
		h.Message, _, err = w.codec.readResponse(service, m.body)
	case returnError:
		h.Message = w.codec.flavour.notation.refusal(m.body).Message(edition)
	default:
		err = errors.New("a request was rejected")
	}
	return h, err
}
