package front

import (
	"bufio"
	"context"
	"log/slog"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/tr87proxy/tr87proxy/internal/gate"
	"github.com/tr87proxy/tr87proxy/internal/kind"
	"github.com/tr87proxy/tr87proxy/policy"
	"github.com/tr87proxy/tr87proxy/proxy"
	"github.com/tr87proxy/tr87proxy/proxy/fronttest"
	"github.com/tr87proxy/tr87proxy/uacsta"
	"github.com/tr87proxy/tr87proxy/wire/cstaxml"
)

// The server keeps the contract of fronts, whatever dialect a listener has.
func TestFront(t *testing.T) {
	for _, dialect := range []string{"plain", "dmcc", "zultys"} {
		t.Run(dialect, func(t *testing.T) { testFront(t, dialectOf(dialect, "")) })
	}
}

func testFront(t *testing.T, dialect Dialect) {
	fronttest.Test(t, fronttest.Kit{
		Bubble: true,
		Start: func(p *proxy.Proxy, log *slog.Logger, listen fronttest.Listen) (fronttest.Front, error) {
			l, dial, err := listen()
			if err != nil {
				return fronttest.Front{}, err
			}
			s := New(kind.Access{
				Proxy: p, Log: log, Conn: gate.Limits{WriteTime: 200 * time.Millisecond},
				Identify: func(netip.Addr, []string) (policy.Identity, bool) { return fronttest.Somebody, true },
			})
			ctx, cancel := context.WithCancel(context.Background())
			done := make(chan error, 1)
			go func() { done <- s.ServeDialect(ctx, l, dialect) }()
			return fronttest.Front{Dial: func(string) (net.Conn, error) { return dial() }, Stop: func() { cancel(); <-done }}, nil
		},
		Wire: func(nc net.Conn, _ string) fronttest.Wire { return &frontWire{nc: nc, r: bufio.NewReader(nc)} },
	})
}

// frontWire is a client's end of a connection.
type frontWire struct {
	nc net.Conn
	r  *bufio.Reader
}

func (*frontWire) Open() error    { return nil }
func (w *frontWire) Leave() error { return w.nc.Close() }

func (w *frontWire) write(id int, m *uacsta.Message) error { return w.Document(id, m.Bytes()) }

func (w *frontWire) Document(id int, document []byte) error {
	data, err := cstaxml.Frame(id, document)
	if err == nil {
		_, err = w.nc.Write(data)
	}
	return err
}

func (w *frontWire) Request(n int, req *uacsta.Message) error { return w.write(n, req) }

func (w *frontWire) Read() (fronttest.Heard, error) {
	id, document, err := cstaxml.ReadFrame(w.r, cstaxml.MaxFrame, func() {})
	if err != nil {
		return fronttest.Heard{}, err
	}
	m, err := uacsta.Parse(document)
	if err != nil {
		return fronttest.Heard{}, err
	}
	switch m.Kind() {
	case uacsta.Event:
		id = 0
	case uacsta.Request:
		if res := uacsta.AnswerTo(m, m.Edition()); res != nil {
			err = w.write(id, res)
		}
		id = 0
	}
	return fronttest.Heard{Answer: id, Message: m}, err
}
