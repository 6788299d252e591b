package front

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
	"github.com/tr87proxy/tr87proxy/internal/kind"
	"github.com/tr87proxy/tr87proxy/policy"
	"github.com/tr87proxy/tr87proxy/proxy"
	"github.com/tr87proxy/tr87proxy/proxy/fronttest"
	"github.com/tr87proxy/tr87proxy/uacsta"
	"github.com/tr87proxy/tr87proxy/wire/asn1"
)

// The server keeps the contract of fronts in each flavour.
func TestFront(t *testing.T) {
	for _, f := range []asn1.Flavour{asn1.Phase3, asn1.HiPath, asn1.Phase1} {
		t.Run(f.Name, func(t *testing.T) {
			fronttest.Test(t, fronttest.Kit{
				Bubble:  true,
				Without: map[string]string{"an ambiguous request": "what comes in ASN.1 can be read in one way"},
				Start: func(p *proxy.Proxy, log *slog.Logger, listen fronttest.Listen) (fronttest.Front, error) {
					l, dial, err := listen()
					if err != nil {
						return fronttest.Front{}, err
					}
					s := New(Config{Flavour: f, Access: kind.Access{
						Proxy: p, Log: log, Conn: gate.Limits{WriteTime: 200 * time.Millisecond},
						Identify: func(netip.Addr, []string) (policy.Identity, bool) { return fronttest.Somebody, true },
					}})
					ctx, cancel := context.WithCancel(context.Background())
					done := make(chan error, 1)
					go func() { done <- s.Serve(ctx, l) }()
					return fronttest.Front{Dial: func(string) (net.Conn, error) { return dial() }, Stop: func() { cancel(); <-done }}, nil
				},
				Wire: func(nc net.Conn, _ string) fronttest.Wire {
					return &frontWire{nc: nc, r: bufio.NewReader(nc), flavour: f, codec: asn1.NewCodec(f, asn1.AnyCallIDs), asked: map[int]string{}}
				},
			})
		})
	}
}

// frontWire is a client's end of a connection.
type frontWire struct {
	nc      net.Conn
	r       *bufio.Reader
	flavour asn1.Flavour
	codec   *asn1.Codec

	mu    sync.Mutex
	asked map[int]string // services, by invoke ID
}

func (w *frontWire) write(m *asn1.PDU) error {
	data, err := w.codec.Frame(m)
	if err == nil {
		_, err = w.nc.Write(data)
	}
	return err
}

func (w *frontWire) read() (*asn1.PDU, error) {
	data, err := w.codec.ReadFrame(w.r, asn1.MaxPDU, func() {})
	if err != nil {
		return nil, err
	}
	return w.codec.Parse(data, asn1.MaxElements)
}

func (w *frontWire) Open() error {
	if !w.flavour.Associates {
		return nil
	}
	if err := w.write(&asn1.PDU{Association: &asn1.Association{Kind: asn1.AARQ}}); err != nil {
		return err
	}
	m, err := w.read()
	if err == nil && (m.Association == nil || m.Association.Kind != asn1.AARE || m.Association.Result != asn1.Accepted) {
		err = fmt.Errorf("the AARQ got %+v", m)
	}
	return err
}

func (w *frontWire) Leave() error {
	if !w.flavour.Associates {
		return w.nc.Close()
	}
	return w.write(&asn1.PDU{Association: &asn1.Association{Kind: asn1.RLRQ}})
}

func (w *frontWire) Request(n int, req *uacsta.Message) error {
	m, err := w.codec.Request(req)
	if err != nil {
		return err
	}
	m.SetInvokeID(n)
	w.mu.Lock()
	w.asked[n] = req.Name()
	w.mu.Unlock()
	return w.write(m)
}

func (w *frontWire) Read() (fronttest.Heard, error) {
	for {
		m, err := w.read()
		if err != nil {
			return fronttest.Heard{}, err
		}
		if a := m.Association; a != nil {
			if a.Kind == asn1.RLRE || a.Kind == asn1.ABRT {
				return fronttest.Heard{}, io.EOF
			}
			continue
		}
		h, err := w.take(m)
		if err != nil || h.Message != nil {
			return h, err
		}
	}
}

// take reads a PDU of the remote operations service; without a message there is nothing to hear.
func (w *frontWire) take(m *asn1.PDU) (h fronttest.Heard, err error) {
	switch {
	case m.IsEvent():
		h.Message, _, err = w.codec.ReadEvent(m)
		return h, err
	case m.Kind == asn1.Invoke:
		if h.Message, _, err = w.codec.ReadRequest(m); err != nil {
			return h, err
		}
		answer, err := w.codec.Answer(m, h.Message.Name(), uacsta.Accept(h.Message, asn1.Edition))
		if err == nil {
			err = w.write(answer)
		}
		return h, err
	case m.Kind == asn1.Reject:
		return h, errors.New("a request was rejected")
	}
	h.Answer = m.InvokeID()
	w.mu.Lock()
	service := w.asked[h.Answer]
	w.mu.Unlock()
	h.Message, _, err = w.codec.ReadAnswer(m, service)
	var refusal *uacsta.Error
	if errors.As(err, &refusal) {
		return fronttest.Heard{Answer: h.Answer, Message: refusal.Message(asn1.Edition)}, nil
	}
	return h, err
}
