package tests

import (
	"bufio"
	"cmp"
	"crypto/md5"
	"crypto/rand"
	"crypto/tls"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// handset is a telephone that sends exactly what a test tells it to: SIP by hand, over UDP,
// TCP or TLS. It shares nothing with the project.
type handset struct {
	t         *testing.T
	conn      net.Conn
	transport string
	number    string
	password  string
	server    string // host:port
	domain    string // of its addresses; empty: the server
	contact   string

	mu      sync.Mutex
	answers map[string]chan *sipText // by branch
	inbox   chan *sipText            // requests
	again   map[string]*repeated     // what is sent until something comes: requests by branch, a 200 to an INVITE by its dialog and number
	acks    map[string]string        // by branch of the INVITE
	taken   map[string]string        // requests that came, with our last answer
	cseq    int
	closed  bool
	mute    atomic.Bool    // it answers no OPTIONS
	passed  map[string]int // requests that nobody has expected, by method
}

// sipText is a message.
type sipText struct {
	start   string
	headers []string
	body    string
}

func (m *sipText) method() string { return strings.Fields(m.start)[0] }

func (m *sipText) code() int {
	n, _ := strconv.Atoi(strings.Fields(m.start)[1])
	return n
}

func (m *sipText) all(name string) (values []string) {
	for _, h := range m.headers {
		if key, value, ok := strings.Cut(h, ":"); ok && strings.EqualFold(strings.TrimSpace(key), name) {
			values = append(values, strings.TrimSpace(value))
		}
	}
	return values
}

func (m *sipText) header(name string) string {
	if values := m.all(name); len(values) > 0 {
		return values[0]
	}
	return ""
}

var tagParameter = regexp.MustCompile(`;tag=([^;>]+)`)

func (m *sipText) tag(name string) string {
	if found := tagParameter.FindStringSubmatch(m.header(name)); found != nil {
		return found[1]
	}
	return ""
}

func random() string {
	var b [6]byte
	_, _ = rand.Read(b[:])
	return hex.EncodeToString(b[:])
}

// newHandset connects a telephone. transport is udp, tcp or tls.
func newHandset(t *testing.T, transport string, port int, number, password string) *handset {
	t.Helper()
	return handsetFrom(t, "127.0.0.1", transport, port, number, password)
}

// handsetFrom connects a telephone from a loopback address.
func handsetFrom(t *testing.T, from, transport string, port int, number, password string) *handset {
	t.Helper()
	h := &handset{
		t: t, transport: transport, number: number, password: password, server: fmt.Sprintf("127.0.0.1:%d", port),
	}
	var err error
	switch transport {
	case "udp":
		h.conn, err = (&net.Dialer{LocalAddr: &net.UDPAddr{IP: net.ParseIP(from)}}).Dial("udp", h.server)
	case "tcp":
		h.conn, err = (&net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}).Dial("tcp", h.server)
	default:
		h.conn, err = tls.Dial("tcp", h.server, &tls.Config{InsecureSkipVerify: true})
	}
	if err != nil {
		t.Fatal(err)
	}
	h.contact = fmt.Sprintf("sip:%s@%s;transport=%s", number, h.conn.LocalAddr(), transport)
	h.begins()
	return h
}

// begins has the handset listen, until the end of the test.
func (h *handset) begins() {
	h.answers, h.inbox = map[string]chan *sipText{}, make(chan *sipText, 1000)
	h.again, h.acks, h.taken = map[string]*repeated{}, map[string]string{}, map[string]string{}
	h.t.Cleanup(h.close)
	go h.listen()
}

func (h *handset) close() {
	h.mu.Lock()
	h.closed = true
	for _, r := range h.again {
		r.timer.Stop()
	}
	h.mu.Unlock()
	_ = h.conn.Close()
}

func (h *handset) listen() {
	if h.transport == "udp" {
		buf := make([]byte, 65536)
		for {
			n, err := h.conn.Read(buf)
			if err != nil {
				return
			}
			h.take(parseText(string(buf[:n])))
		}
	}
	r := bufio.NewReader(h.conn)
	for {
		var head strings.Builder
		for !strings.HasSuffix(head.String(), "\r\n\r\n") {
			line, err := r.ReadString('\n')
			if err != nil {
				return
			}
			if head.Len() == 0 && strings.TrimSpace(line) == "" {
				continue
			}
			head.WriteString(line)
		}
		m := parseText(head.String())
		length, _ := strconv.Atoi(m.header("Content-Length"))
		body := make([]byte, length)
		if _, err := io.ReadFull(r, body); err != nil {
			return
		}
		m.body = string(body)
		h.take(m)
	}
}

func parseText(s string) *sipText {
	head, body, _ := strings.Cut(s, "\r\n\r\n")
	lines := strings.Split(strings.TrimSpace(head), "\r\n")
	return &sipText{lines[0], lines[1:], body}
}

var branchParameter = regexp.MustCompile(`;branch=([^;]+)`)

func (h *handset) write(text string) {
	h.t.Helper()
	if _, err := io.WriteString(h.conn, text); err != nil {
		h.mu.Lock()
		defer h.mu.Unlock()
		if !h.closed {
			h.t.Error(err)
		}
	}
}

// exchange is one request and its responses.
type asking struct {
	h       *handset
	text    string
	answers chan *sipText
}

// begin sends a request. headers are lines, among them From, To and Call-ID.
func (h *handset) begin(method, uri string, number int, headers []string, body string) *asking {
	h.t.Helper()
	branch := "z9hG4bK" + random()
	a := &asking{h: h, answers: make(chan *sipText, 100)}
	h.mu.Lock()
	h.answers[branch] = a.answers
	h.mu.Unlock()
	lines := append([]string{
		method + " " + uri + " SIP/2.0", fmt.Sprintf("Via: SIP/2.0/%s %s;branch=%s;rport", strings.ToUpper(h.transport), h.conn.LocalAddr(), branch),
		"Max-Forwards: 70", fmt.Sprintf("CSeq: %d %s", number, method), "Contact: <" + h.contact + ">",
	}, headers...)
	if method == "REGISTER" || slices.ContainsFunc(headers, func(s string) bool { return strings.HasPrefix(s, "Contact:") }) {
		lines = slices.Delete(lines, 4, 5)
	}
	a.text = strings.Join(append(lines, fmt.Sprintf("Content-Length: %d", len(body)), "", body), "\r\n")
	h.repeats(branch, a.text)
	h.write(a.text)
	return a
}

// next returns the next response.
func (a *asking) next() *sipText {
	a.h.t.Helper()
	select {
	case m := <-a.answers:
		return m
	case <-time.After(patience):
		a.h.t.Fatalf("no answer to %s", strings.SplitN(a.text, "\r\n", 2)[0])
		return nil
	}
}

// final returns the final response.
func (a *asking) final() *sipText {
	a.h.t.Helper()
	for {
		if m := a.next(); m.code() >= 200 {
			return m
		}
	}
}

var challengeParts = regexp.MustCompile(`(realm|nonce)="([^"]+)"`)

// credentials answers a challenge (RFC 2617, MD5, qop auth).
func (h *handset) credentials(challenge, method, uri string) string {
	parts := map[string]string{}
	for _, p := range challengeParts.FindAllStringSubmatch(challenge, -1) {
		parts[p[1]] = p[2]
	}
	sum := func(s string) string { b := md5.Sum([]byte(s)); return hex.EncodeToString(b[:]) }
	client := random()
	response := sum(sum(h.number+":"+parts["realm"]+":"+h.password) + ":" + parts["nonce"] + ":00000001:" + client + ":auth:" + sum(method+":"+uri))
	return fmt.Sprintf(`Authorization: Digest username="%s", realm="%s", nonce="%s", uri="%s", response="%s", algorithm=MD5, qop=auth, nc=00000001, cnonce="%s"`,
		h.number, parts["realm"], parts["nonce"], uri, response, client)
}

// dialog is a dialog, or one that is being opened.
type sipDialog struct {
	h                  *handset
	callID             string
	local, remote      string // From and To of our requests
	target             string
	number             int // CSeq
	lastAnswer, invite *sipText
}

// dialog prepares a dialog with a number at the server.
func (h *handset) dialog(to string) *sipDialog {
	host := cmp.Or(h.domain, h.server)
	return &sipDialog{
		h: h, callID: random(), local: fmt.Sprintf("<sip:%s@%s>;tag=%s", h.number, host, random()),
		remote: fmt.Sprintf("<sip:%s@%s>", to, host), target: fmt.Sprintf("sip:%s@%s", to, host),
	}
}

// ask sends a request of the dialog, answers a challenge, and returns the final response.
func (d *sipDialog) ask(method string, headers []string, body string) *sipText {
	d.h.t.Helper()
	m := d.begin(method, headers, body).final()
	if credentials := d.credentials(m, method); credentials != "" {
		if method == "INVITE" {
			d.ack(m)
		}
		m = d.begin(method, append(slices.Clone(headers), credentials), body).final()
	}
	d.lastAnswer = m
	return m
}

// credentials answers the challenge in a response; they are empty when there is none.
func (d *sipDialog) credentials(m *sipText, method string) string {
	switch m.code() {
	case 401:
		return d.h.credentials(m.header("WWW-Authenticate"), method, d.target)
	case 407:
		return "Proxy-" + d.h.credentials(m.header("Proxy-Authenticate"), method, d.target)
	}
	return ""
}

// begin sends a request of the dialog.
func (d *sipDialog) begin(method string, headers []string, body string) *asking {
	d.number++
	return d.h.begin(method, d.target, d.number, append([]string{"From: " + d.local, "To: " + d.remote, "Call-ID: " + d.callID}, headers...), body)
}

// challenged sends an INVITE with credentials, whose responses the caller reads one by one.
func (d *sipDialog) challenged(headers []string, body string) *asking {
	d.h.t.Helper()
	m := d.begin("INVITE", headers, body).final()
	credentials := d.credentials(m, "INVITE")
	if credentials == "" {
		d.h.t.Fatalf("INVITE without credentials: %s", m.start)
	}
	d.ack(m)
	return d.begin("INVITE", append(slices.Clone(headers), credentials), body)
}

// follow stores the tag and target of a response.
func (d *sipDialog) follow(m *sipText) {
	d.remote = m.header("To")
	if c := regexp.MustCompile(`<([^>]+)>`).FindStringSubmatch(m.header("Contact")); c != nil {
		d.target = c[1]
	}
}

// ack acknowledges the final response to an INVITE.
func (d *sipDialog) ack(m *sipText, body ...string) {
	d.h.t.Helper()
	via, target := fmt.Sprintf("Via: SIP/2.0/%s %s;branch=z9hG4bK%s;rport", strings.ToUpper(d.h.transport), d.h.conn.LocalAddr(), random()), d.target
	if m.code() >= 300 {
		via = "Via: " + m.header("Via")
	}
	text := strings.Join(body, "")
	kind := ""
	if text != "" {
		kind = "Content-Type: application/sdp\r\n"
	}
	ack := fmt.Sprintf("ACK %s SIP/2.0\r\n%s\r\nMax-Forwards: 70\r\nFrom: %s\r\nTo: %s\r\nCall-ID: %s\r\nCSeq: %d ACK\r\n%sContent-Length: %d\r\n\r\n%s",
		target, via, d.local, m.header("To"), d.callID, d.number, kind, len(text), text)
	d.h.mu.Lock()
	d.h.acks[branchParameter.FindStringSubmatch(m.header("Via"))[1]] = ack
	d.h.mu.Unlock()
	d.h.write(ack)
}

// answered returns the dialog of an INVITE or SUBSCRIBE that the handset answers.
func (h *handset) answered(m *sipText, tag string) *sipDialog {
	d := &sipDialog{h: h, callID: m.header("Call-ID"), local: m.header("To") + ";tag=" + tag, remote: m.header("From"), invite: m, number: 100}
	if c := regexp.MustCompile(`<([^>]+)>`).FindStringSubmatch(m.header("Contact")); c != nil {
		d.target = c[1]
	}
	return d
}

// expect returns the next request of a method. It answers others with 200.
func (h *handset) expect(method string) *sipText {
	h.t.Helper()
	deadline := time.After(patience)
	for {
		select {
		case m := <-h.inbox:
			if m.method() == method {
				return m
			}
			if m.method() != "ACK" {
				h.answer(m, 200, nil, "")
			}
			if h.passed == nil {
				h.passed = map[string]int{}
			}
			h.passed[m.method()]++
		case <-deadline:
			h.t.Fatalf("%s gets no %s", h.number, method)
		}
	}
}

// answer answers a request. A header To among headers replaces that of the request.
func (h *handset) answer(m *sipText, code int, headers []string, body string) {
	lines := []string{fmt.Sprintf("SIP/2.0 %d Said", code)}
	for _, name := range []string{"Via", "From", "Call-ID", "CSeq"} {
		for _, v := range m.all(name) {
			lines = append(lines, name+": "+v)
		}
	}
	if !slices.ContainsFunc(headers, func(s string) bool { return strings.HasPrefix(s, "To:") }) {
		lines = append(lines, "To: "+m.header("To"))
	}
	if !slices.ContainsFunc(headers, func(s string) bool { return strings.HasPrefix(s, "Contact:") }) {
		lines = append(lines, "Contact: <"+h.contact+">")
	}
	lines = append(lines, headers...)
	text := strings.Join(append(lines, fmt.Sprintf("Content-Length: %d", len(body)), "", body), "\r\n")
	h.mu.Lock()
	h.taken[m.transaction()] = text
	h.mu.Unlock()
	if m.method() == "INVITE" && code < 300 && code >= 200 {
		h.repeats(m.invitation(), text)
	}
	h.write(text)
}

// take answers an INVITE with a status code. A 200 has a description of the handset's voice.
func (h *handset) reply(m *sipText, code int, tag, body string, headers ...string) {
	headers = append(headers, "To: "+m.header("To")+";tag="+tag)
	if body != "" {
		headers = append(headers, "Content-Type: application/sdp")
	}
	h.answer(m, code, headers, body)
}

// register registers the handset, and returns the response.
func (h *handset) register(expires int, headers ...string) *sipText {
	h.t.Helper()
	contact := fmt.Sprintf("Contact: <%s>;expires=%d", h.contact, expires)
	return h.registerAs(h.number, append(headers, contact)...)
}

func (h *handset) registerAs(number string, headers ...string) *sipText {
	h.t.Helper()
	h.mu.Lock()
	h.cseq += 2
	cseq := h.cseq
	h.mu.Unlock()
	host := cmp.Or(h.domain, h.server)
	uri := "sip:" + host
	aor := fmt.Sprintf("<sip:%s@%s>", number, host)
	headers = append([]string{"From: " + aor + ";tag=" + random(), "To: " + aor, "Call-ID: reg-" + h.number + h.conn.LocalAddr().String()}, headers...)
	m := h.begin("REGISTER", uri, cseq, headers, "").final()
	if m.code() == 401 {
		m = h.begin("REGISTER", uri, cseq+1, append(headers, h.credentials(m.header("WWW-Authenticate"), "REGISTER", uri)), "").final()
	}
	return m
}

// description is a session description of G.711 A-law at a port.
func description(port int, direction string) string {
	return fmt.Sprintf("v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio %d RTP/AVP 8 101\r\na=rtpmap:101 telephone-event/8000\r\na=%s\r\n", port, direction)
}

const sdpHeader = "Content-Type: application/sdp"
