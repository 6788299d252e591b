package tr87_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/textproto"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tr87proxy/tr87proxy/policy"
	"github.com/tr87proxy/tr87proxy/proxy"
	"github.com/tr87proxy/tr87proxy/proxy/fronttest"
	"github.com/tr87proxy/tr87proxy/sip"
	"github.com/tr87proxy/tr87proxy/softswitch"
	"github.com/tr87proxy/tr87proxy/tr87"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

// The server keeps the contract of fronts, with answers in the 200 OK and in an INFO of their own.
func TestFront(t *testing.T) {
	kit := func(inInfo bool) fronttest.Kit {
		return fronttest.Kit{
			Start: func(p *proxy.Proxy, log *slog.Logger, _ fronttest.Listen) (fronttest.Front, error) {
				ua := sip.New(sip.Config{
					Handler: tr87.NewServer(tr87.ServerConfig{Proxy: p, Anybody: fronttest.Somebody, AnswerInInfo: inInfo, Log: log}),
					Known:   func(sip.Peer) bool { return true }, Grace: 50 * time.Millisecond, WriteTimeout: 200 * time.Millisecond, Log: log,
				})
				addr, err := ua.ListenTCP("127.0.0.1:0", nil)
				return fronttest.Front{Dial: func(string) (net.Conn, error) { return net.Dial("tcp", addr.String()) }, Stop: ua.Close}, err
			},
			Wire: func(nc net.Conn, _ string) fronttest.Wire {
				callID := fmt.Sprintf("%s-%d", strings.ReplaceAll(nc.LocalAddr().String(), ":", "-"), time.Now().UnixNano())
				return &sipWire{nc: nc, r: textproto.NewReader(bufio.NewReader(nc)), callID: callID, inInfo: inInfo}
			},
		}
	}
	t.Run("in 200 OK", func(t *testing.T) { fronttest.Test(t, kit(false)) })
	t.Run("in INFO", func(t *testing.T) {
		k := kit(true)
		k.Without = map[string]string{
			"answers out of order":   "an answer in an INFO does not say which request it is of",
			"cut off at every octet": "a client sends the same as to one that answers in the 200 OK",
		}
		fronttest.Test(t, k)
	})
}

// sipWire is a client's end of a dialog over TCP.
type sipWire struct {
	nc     net.Conn
	r      *textproto.Reader
	callID string
	inInfo bool // answers come in an INFO of their own
	target string
	to     string

	mu      sync.Mutex
	waiting []int // requests whose answers are to come in an INFO
}

// sipMessage is what came.
type sipMessage struct {
	first  string
	header textproto.MIMEHeader
	body   []byte
}

func (w *sipWire) read() (*sipMessage, error) {
	first, err := w.r.ReadLine()
	if err != nil {
		return nil, err
	}
	if first == "" {
		return w.read()
	}
	header, err := w.r.ReadMIMEHeader()
	if err != nil {
		return nil, err
	}
	length, err := strconv.Atoi(header.Get("Content-Length"))
	if err != nil {
		return nil, err
	}
	body := make([]byte, length)
	_, err = io.ReadFull(w.r.R, body)
	return &sipMessage{first, header, body}, err
}

// ask writes a request of the client; cseq is also that of its transaction.
func (w *sipWire) ask(method string, cseq int, body []byte) error {
	target, to := w.target, w.to
	if target == "" {
		target, to = "sip:tr87@127.0.0.1", "<sip:tr87@127.0.0.1>"
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s %s SIP/2.0\r\nVia: SIP/2.0/TCP %s;branch=z9hG4bK%s-%s-%d\r\nMax-Forwards: 70\r\nFrom: <sip:alice@contoso.com>;tag=a\r\nTo: %s\r\nCall-ID: %s\r\nCSeq: %d %s\r\nContact: <sip:alice@%s;transport=tcp>\r\n",
		method, target, w.nc.LocalAddr(), w.callID, method, cseq, to, w.callID, cseq, method, w.nc.LocalAddr())
	if len(body) > 0 {
		b.WriteString("Content-Type: application/csta+xml\r\nContent-Disposition: signal;handling=required\r\n")
	}
	fmt.Fprintf(&b, "Content-Length: %d\r\n\r\n%s", len(body), body)
	_, err := w.nc.Write(b.Bytes())
	return err
}

func (w *sipWire) Open() error {
	if err := w.ask("INVITE", 1, uacsta.Encode(uacsta.RequestSystemStatus{}, uacsta.Edition3).Bytes()); err != nil {
		return err
	}
	for {
		m, err := w.read()
		if err != nil {
			return err
		}
		code := strings.Fields(m.first)[1]
		if code[0] == '1' {
			continue
		}
		if code != "200" {
			return fmt.Errorf("the INVITE got %s", m.first)
		}
		w.to = m.header.Get("To")
		contact := m.header.Get("Contact")
		w.target = contact[strings.Index(contact, "<")+1 : strings.Index(contact, ">")]
		return w.ask("ACK", 1, nil)
	}
}

func (w *sipWire) Request(n int, req *uacsta.Message) error { return w.Document(n, req.Bytes()) }

func (w *sipWire) Document(n int, document []byte) error {
	if w.inInfo {
		w.mu.Lock()
		w.waiting = append(w.waiting, n)
		w.mu.Unlock()
	}
	return w.ask("INFO", n+1, document)
}

func (w *sipWire) Leave() error { return w.ask("BYE", 1<<20, nil) }

func (w *sipWire) Read() (fronttest.Heard, error) {
	for {
		m, err := w.read()
		if err != nil {
			return fronttest.Heard{}, err
		}
		h, err := w.take(m)
		if err != nil || h.Message != nil {
			return h, err
		}
	}
}

// take takes what came; it is nothing to hear where the message is nil.
func (w *sipWire) take(m *sipMessage) (h fronttest.Heard, err error) {
	if len(m.body) > 0 {
		if h.Message, err = uacsta.Parse(m.body); err != nil {
			return h, err
		}
	}
	cseq, method, _ := strings.Cut(m.header.Get("CSeq"), " ")
	if code, is := strings.CutPrefix(m.first, "SIP/2.0 "); is {
		n, err := strconv.Atoi(cseq)
		switch {
		case method == "BYE":
			return h, io.EOF
		case !strings.HasPrefix(code, "200"):
			return h, fmt.Errorf("request %d got %s", n-1, m.first)
		case err != nil || w.inInfo && h.Message == nil:
			return h, err
		}
		h.Answer = n - 1
		return h, nil
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "SIP/2.0 200 OK\r\n")
	for _, name := range []string{"Via", "From", "To", "Call-Id", "Cseq"} {
		for _, value := range m.header[name] {
			fmt.Fprintf(&b, "%s: %s\r\n", name, value)
		}
	}
	fmt.Fprintf(&b, "Content-Length: 0\r\n\r\n")
	_, _ = w.nc.Write(b.Bytes()) // if the connection has ended, what came before is read all the same
	if method == "BYE" {
		return h, io.EOF
	}
	if h.Message != nil && h.Message.Kind() != uacsta.Event && h.Message.Kind() != uacsta.Request {
		w.mu.Lock()
		defer w.mu.Unlock()
		if len(w.waiting) == 0 {
			return h, fmt.Errorf("an answer that nobody waits for: %s", h.Message)
		}
		h.Answer, w.waiting = w.waiting[0], w.waiting[1:]
	}
	return h, nil
}

// A panic while an INVITE is looked at refuses that INVITE alone, and leaves no session.
func TestPanicInINVITE(t *testing.T) {
	sw, err := softswitch.New(softswitch.Config{Extensions: []softswitch.Extension{{Number: "100"}}})
	if err != nil {
		t.Fatal(err)
	}
	core := proxy.New(proxy.Config{Policy: &policy.Policy{Demo: true}, Numbers: &policy.Numbers{Extensions: func(number string) bool {
		if number == "666" {
			panic("as told")
		}
		return sw.Has(number)
	}}})
	core.AddLink("switch", sw, func(string) bool { return true })
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { core.Run(ctx); close(done) }()
	defer func() { cancel(); <-done }()
	if err := core.Await(t.Context(), "switch"); err != nil {
		t.Fatal(err)
	}
	to := server(t, alice, func(front *tr87.ServerConfig, _ *sip.Config) { front.Proxy, front.Anybody = core, fronttest.Somebody })
	for device, want := range map[string]int{"666": 500, "100": 0} {
		d, _, err := dialog(t, to, string(uacsta.Encode(uacsta.GetDoNotDisturb{Device: uacsta.Dev(device)}, uacsta.Edition3).Bytes()))
		if code(err) != want || want == 0 && err != nil {
			t.Errorf("%s: %v, want %d", device, err, want)
		}
		if d != nil {
			d.Bye()
		}
	}
	for end := time.Now().Add(patience); core.Status().Sessions > 0; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("a session is left")
		}
	}
}
