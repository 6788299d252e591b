package registrar

import (
	"bufio"
	"crypto/md5"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"io"
	"log/slog"
	"net"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/tr87proxy/tr87proxy/sip"
)

// station is a server that listens, and a user agent that stands for telephones.
type station struct {
	*Server

	t        *testing.T
	owner    *owner
	log      lines
	at       map[string]string // where it listens, by transport
	phone    *sip.UA
	incoming chan *sip.Request             // requests outside dialogs that telephones got, accepted
	answer   func(*sip.Request) sip.Answer // of a NOTIFY outside a dialog; nil: 200
}

// aStation serves users, whose passwords are "secret" where cfg names none.
func aStation(t *testing.T, cfg Config) *station {
	t.Helper()
	r := &station{
		t: t, owner: anOwner(t), log: make(lines, 100000), at: map[string]string{},
		incoming: make(chan *sip.Request, 1000),
	}
	if cfg.Users == nil {
		cfg.Users = []User{{Number: "100", Password: "secret"}, {Number: "101", Password: "secret"}}
	}
	cfg.Log = slog.New(slog.NewTextHandler(r.log, nil))
	r.Server = New(cfg, r.owner)
	t.Cleanup(r.Close)
	udp, err := r.UA().ListenUDP("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	tcp, err := r.UA().ListenTCP("127.0.0.1:0", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.at["UDP"], r.at["TCP"] = udp.String(), tcp.String()
	r.phone = sip.New(sip.Config{
		Requests: map[string]func(*sip.Request){"NOTIFY": func(q *sip.Request) {
			a := sip.Answer{}
			if r.answer != nil {
				a = r.answer(q)
			}
			r.incoming <- q
			q.Respond(a)
		}},
		InDialog: []string{"NOTIFY"},
	})
	t.Cleanup(r.phone.Close)
	if _, err := r.phone.ListenUDP("127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	return r
}

// nowhere is the contact of a telephone that listens nowhere.
func nowhere(number string) string { return fmt.Sprintf("<sip:%s@127.0.0.1:9>", number) }

// register registers contacts of a number, as a telephone that has restarted, and returns the code and the
// text of the response.
func (r *station) register(transport, number string, contacts ...string) (code int, text string) {
	r.t.Helper()
	var headers []string
	for _, c := range contacts {
		headers = append(headers, "Contact: "+c)
	}
	return r.raw(transport, number).registered(rand.Text(), 1, headers...)
}

// send sends a request of a number, as a user. A REGISTER registers the user agent.
func (r *station) send(method, transport, number, user, password string, headers ...sip.Header) *sip.Response {
	r.t.Helper()
	own := sip.UserURI(number, "127.0.0.1")
	res, err := r.phone.Request(r.t.Context(), method, sip.Invite{
		To: own, From: own, Target: "sip:" + r.at[transport] + ";transport=" + strings.ToLower(transport), Username: user, Password: password, Headers: headers,
	})
	if err != nil {
		r.t.Fatal(err)
	}
	return res
}

// contacts are the URIs that a user has registered.
func (r *station) contacts(number string) []string {
	r.t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	var list []string
	for _, b := range r.users[number].bindings {
		list = append(list, b.contact)
	}
	return list
}

// raw is a telephone that says exactly what a test tells it to. It shares nothing with sip.
type raw struct {
	t                 *testing.T
	transport, number string
	conn              net.Conn
	in                *bufio.Reader
	nonce             string
	uses              int // of the nonce
	notifies          []string
}

func (r *station) raw(transport, number string) *raw {
	r.t.Helper()
	conn, err := net.Dial(strings.ToLower(transport), r.at[transport])
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { _ = conn.Close() })
	return &raw{t: r.t, transport: transport, number: number, conn: conn, in: bufio.NewReader(conn)}
}

var nonceOf = regexp.MustCompile(`nonce="([^"]*)"`)

// register sends a REGISTER in a Call-ID, and returns the code and the text of the response.
func (w *raw) register(callID string, cseq int, password string, headers ...string) (code int, text string) {
	w.t.Helper()
	return w.request("REGISTER", w.number, callID, cseq, "", password, headers...)
}

// request sends a request, and returns the code and the text of the response. A header BODY is the body.
func (w *raw) request(method, to, callID string, cseq int, toTag, password string, headers ...string) (code int, text string) {
	w.t.Helper()
	uri := "sip:" + to + "@127.0.0.1"
	sum := func(s string) string {
		h := md5.Sum([]byte(s))
		return hex.EncodeToString(h[:])
	}
	lines := []string{
		method + " " + uri + " SIP/2.0", "Via: SIP/2.0/" + w.transport + " " + w.conn.LocalAddr().String() + ";branch=z9hG4bK" + rand.Text(),
		"From: <sip:" + w.number + "@127.0.0.1>;tag=1", "To: <" + uri + ">" + toTag, "Call-ID: " + callID, fmt.Sprintf("CSeq: %d %s", cseq, method), "Max-Forwards: 70",
	}
	if w.nonce != "" {
		w.uses++
		nc, cnonce := fmt.Sprintf("%08x", w.uses), "abc"
		response := sum(sum(w.number+":tr87proxy:"+password) + ":" + w.nonce + ":" + nc + ":" + cnonce + ":auth:" + sum(method+":"+uri))
		lines = append(lines, fmt.Sprintf(`Authorization: Digest username="%s", realm="tr87proxy", nonce="%s", uri="%s", response="%s", algorithm=MD5, qop=auth, nc=%s, cnonce="%s"`,
			w.number, w.nonce, uri, response, nc, cnonce))
	}
	body := ""
	for _, h := range headers {
		if text, ok := strings.CutPrefix(h, "BODY:"); ok {
			body = text
		} else {
			lines = append(lines, h)
		}
	}
	lines = append(lines, fmt.Sprintf("Content-Length: %d", len(body)), "", body)
	_ = w.conn.SetDeadline(time.Now().Add(patience))
	if _, err := w.conn.Write([]byte(strings.Join(lines, "\r\n"))); err != nil {
		w.t.Fatal(err)
	}
	for code == 0 {
		if text = w.read(); !strings.HasPrefix(text, "SIP/2.0 ") {
			w.notifies = append(w.notifies, text)
			continue
		}
		if _, err := fmt.Sscanf(text, "SIP/2.0 %d", &code); err != nil {
			w.t.Fatal(text)
		}
	}
	if found := nonceOf.FindStringSubmatch(text); found != nil {
		w.nonce, w.uses = found[1], 0
	}
	return code, text
}

// read reads a message.
func (w *raw) read() (text string) {
	w.t.Helper()
	_ = w.conn.SetDeadline(time.Now().Add(patience))
	length := 0
	for {
		line, err := w.in.ReadString('\n')
		if err != nil {
			w.t.Fatal(err)
		}
		if value, ok := strings.CutPrefix(line, "Content-Length: "); ok {
			length, _ = strconv.Atoi(strings.TrimSpace(value))
		}
		if text += line; line == "\r\n" {
			break
		}
	}
	body := make([]byte, length)
	if _, err := io.ReadFull(w.in, body); err != nil {
		w.t.Fatal(err)
	}
	return text + string(body)
}

// notify takes the next NOTIFY, and accepts it.
func (w *raw) notify() string {
	w.t.Helper()
	if len(w.notifies) == 0 {
		w.notifies = append(w.notifies, w.read())
	}
	text := w.notifies[0]
	w.notifies = w.notifies[1:]
	answer := []string{"SIP/2.0 200 OK"}
	for line := range strings.SplitSeq(text, "\r\n") {
		for _, name := range []string{"Via:", "From:", "To:", "Call-ID:", "CSeq:"} {
			if strings.HasPrefix(line, name) {
				answer = append(answer, line)
			}
		}
	}
	if _, err := w.conn.Write([]byte(strings.Join(append(answer, "Content-Length: 0", "", ""), "\r\n"))); err != nil {
		w.t.Fatal(err)
	}
	return text
}

// tagOf is the parameter tag of the To of a response.
func tagOf(text string) string {
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, "To: ") {
			return line[strings.Index(line, ";tag="):strings.Index(line, "\r")]
		}
	}
	return ""
}

// registered is register behind the challenge.
func (w *raw) registered(callID string, cseq int, headers ...string) (code int, text string) {
	w.t.Helper()
	w.nonce = ""
	if code, text = w.register(callID, cseq, "secret", headers...); code != 401 {
		w.t.Fatal("no challenge:", text)
	}
	return w.register(callID, cseq+1, "secret", headers...)
}
