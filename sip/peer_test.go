package sip

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/tr87proxy/tr87proxy/internal/wait"
)

var patience = wait.Limit

// recorder is a handler that accepts every INVITE and notes what comes.
type recorder struct {
	t        *testing.T
	requests chan string
	dialogs  chan *Dialog
	ended    chan error
	onInfo   func(d *Dialog, r *Request)
	refresh  func() (string, []byte)
}

func newRecorder(t *testing.T) *recorder {
	return &recorder{t: t, requests: make(chan string, 10000), dialogs: make(chan *Dialog, 1000), ended: make(chan error, 1000)}
}

func (r *recorder) Invite(in *Invitation) {
	d, err := in.Accept(r, Answer{ContentType: "text/plain", Body: []byte("welcome")})
	if err == nil {
		r.dialogs <- d
	}
}

func (r *recorder) Request(d *Dialog, req *Request) {
	if r.onInfo != nil {
		r.onInfo(d, req)
		return
	}
	r.requests <- string(req.Body())
	d.RespondRefresh(req, Answer{ContentType: "text/plain", Body: []byte("re " + string(req.Body()))})
}

func (r *recorder) Refresh() (string, []byte) {
	if r.refresh != nil {
		return r.refresh()
	}
	return "", nil
}

func (r *recorder) Ended(reason error) { r.ended <- reason }

// serve starts a UA with a recorder on one transport of loopback.
func serve(t *testing.T, transport string, change func(*Config)) (*UA, *recorder, netip.AddrPort) {
	t.Helper()
	rec := newRecorder(t)
	cfg := Config{Handler: rec}
	if change != nil {
		change(&cfg)
	}
	ua := New(cfg)
	t.Cleanup(ua.Close)
	var addr netip.AddrPort
	var err error
	if transport == "UDP" {
		addr, err = ua.ListenUDP("127.0.0.1:0")
	} else {
		addr, err = ua.ListenTCP("127.0.0.1:0", nil)
	}
	if err != nil {
		t.Fatal(err)
	}
	return ua, rec, addr
}

// rawPeer is a peer that writes SIP by hand.
type rawPeer struct {
	t         *testing.T
	nc        net.Conn
	in        *bufio.Reader
	transport string
	callID    string
	tag       string
	toTag     string
	cseq      int
	branches  int
}

func dialRaw(t *testing.T, transport string, to netip.AddrPort) *rawPeer {
	t.Helper()
	return dialRawFrom(t, transport, "127.0.0.1", to)
}

func dialRawFrom(t *testing.T, transport, local string, to netip.AddrPort) *rawPeer {
	t.Helper()
	nc, err := dialFrom(transport, local, to)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = nc.Close() })
	return &rawPeer{t: t, nc: nc, in: bufio.NewReaderSize(nc, 1<<16), transport: transport, callID: newTag(), tag: newTag()}
}

func (p *rawPeer) write(s string) {
	p.t.Helper()
	if _, err := io.WriteString(p.nc, s); err != nil {
		p.t.Fatal(err)
	}
}

// request makes a request of the peer's dialog; extra are whole header lines.
func (p *rawPeer) request(method string, cseq int, body string, extra ...string) string {
	p.branches++
	to := "<sip:ua@localhost>"
	if p.toTag != "" {
		to += ";tag=" + p.toTag
	}
	lines := []string{
		method + " sip:ua@localhost SIP/2.0",
		fmt.Sprintf("Via: SIP/2.0/%s %s;branch=z9hG4bK%s%d;rport", p.transport, p.nc.LocalAddr(), p.tag, p.branches),
		"From: <sip:peer@localhost>;tag=" + p.tag, "To: " + to, "Call-ID: " + p.callID,
		fmt.Sprintf("CSeq: %d %s", cseq, method), "Max-Forwards: 70",
		fmt.Sprintf("Contact: <sip:peer@%s;transport=%s>", p.nc.LocalAddr(), p.transport),
	}
	lines = append(lines, extra...)
	if body != "" {
		lines = append(lines, "Content-Type: text/plain")
	}
	lines = append(lines, "Content-Length: "+strconv.Itoa(len(body)))
	return strings.Join(lines, "\r\n") + "\r\n\r\n" + body
}

// message is what a raw peer received.
type message struct {
	start  string
	lines  []string
	body   string
	method string
}

func (m message) header(name string) string {
	for _, l := range m.lines {
		if n, v, _ := strings.Cut(l, ":"); strings.EqualFold(n, name) {
			return strings.TrimSpace(v)
		}
	}
	return ""
}

func (m message) code() int {
	fields := strings.Fields(m.start)
	n, _ := strconv.Atoi(fields[1])
	return n
}

func (p *rawPeer) read() (message, error) {
	_ = p.nc.SetReadDeadline(time.Now().Add(patience))
	var m message
	for {
		l, err := p.in.ReadString('\n')
		if err != nil {
			return m, err
		}
		l = strings.TrimRight(l, "\r\n")
		switch {
		case l == "" && m.start == "":
		case l == "":
			n, _ := strconv.Atoi(m.header("Content-Length"))
			body := make([]byte, n)
			if _, err := io.ReadFull(p.in, body); err != nil {
				return m, err
			}
			m.body = string(body)
			m.method, _, _ = strings.Cut(m.start, " ")
			return m, nil
		case m.start == "":
			m.start = l
		default:
			m.lines = append(m.lines, l)
		}
	}
}

func (p *rawPeer) must() message {
	p.t.Helper()
	m, err := p.read()
	if err != nil {
		p.t.Fatalf("nothing received: %v", err)
	}
	return m
}

// invite opens a dialog.
func (p *rawPeer) invite(extra ...string) message {
	p.t.Helper()
	p.cseq = 1
	p.write(p.request("INVITE", 1, "hello", extra...))
	res := p.must()
	if res.code() == 200 {
		p.toTag = parseAddress(res.header("To")).Tag()
		p.write(p.request("ACK", 1, ""))
	}
	return res
}

// ask sends a request and reads its answer.
func (p *rawPeer) ask(method, body string, extra ...string) message {
	p.t.Helper()
	p.cseq++
	p.write(p.request(method, p.cseq, body, extra...))
	return p.must()
}

// answer answers a request that the peer received.
func (p *rawPeer) answer(m message, code int) {
	var b strings.Builder
	fmt.Fprintf(&b, "SIP/2.0 %d X\r\n", code)
	for _, l := range m.lines {
		switch name, _, _ := strings.Cut(l, ":"); name {
		case "Via", "From", "To", "Call-ID", "CSeq", "Record-Route":
			b.WriteString(l + "\r\n")
		}
	}
	b.WriteString("Content-Length: 0\r\n\r\n")
	p.write(b.String())
}

func newReader(nc net.Conn) *bufio.Reader { return bufio.NewReaderSize(nc, 1<<16) }

// dialFrom connects from another local address.
func dialFrom(transport, local string, to netip.AddrPort) (net.Conn, error) {
	from := netip.AddrPortFrom(netip.MustParseAddr(local), 0)
	if transport == "UDP" {
		return net.DialUDP("udp", net.UDPAddrFromAddrPort(from), net.UDPAddrFromAddrPort(to))
	}
	return net.DialTCP("tcp", net.TCPAddrFromAddrPort(from), net.TCPAddrFromAddrPort(to))
}
