package sip

import (
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	gosip "github.com/emiago/sipgo/sip"
)

// A strict reader of SIP messages after the grammar of RFC 3261 25.1, which shares nothing
// with the package.

type strictMessage struct {
	start   string
	headers [][2]string
}

func strict(t *testing.T, data string) (m strictMessage) {
	t.Helper()
	head, body, found := strings.Cut(data, "\r\n\r\n")
	if !found {
		t.Fatalf("no end of the head:\n%q", data)
	}
	lines := strings.Split(head, "\r\n")
	m.start = lines[0]
	for _, l := range lines {
		for i := range len(l) {
			if c := l[i]; c < 0x20 && c != '\t' || c == 0x7f {
				t.Fatalf("a control character in %q", l)
			}
		}
	}
	length := -1
	for _, l := range lines[1:] {
		name, value, ok := strings.Cut(l, ":")
		if !ok || name == "" || strings.Trim(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-") != "" {
			t.Fatalf("no header: %q", l)
		}
		m.headers = append(m.headers, [2]string{name, strings.TrimSpace(value)})
		if name == "Content-Length" {
			length, _ = strconv.Atoi(strings.TrimSpace(value))
		}
	}
	if length != len(body) {
		t.Fatalf("Content-Length %d of a body of %d octets: there is more than one message", length, len(body))
	}
	return m
}

func (m strictMessage) names() string {
	var names []string
	for _, h := range m.headers {
		names = append(names, h[0])
	}
	return strings.Join(names, " ")
}

func (m strictMessage) value(t *testing.T, name string) string {
	t.Helper()
	for _, h := range m.headers {
		if h[0] == name {
			return h[1]
		}
	}
	t.Fatalf("no %s", name)
	return ""
}

// strictUser returns the user of sip:user@host.example and nothing else.
func strictUser(t *testing.T, uri string) string {
	t.Helper()
	rest, isSIP := strings.CutPrefix(uri, "sip:")
	user, host, found := strings.Cut(rest, "@")
	if !isSIP || !found || host != "host.example" || user == "" {
		t.Fatalf("URI %q", uri)
	}
	var b strings.Builder
	for i := 0; i < len(user); i++ {
		c := user[i]
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', strings.IndexByte("-_.!~*'()&=+$,;?/", c) >= 0:
			b.WriteByte(c)
		case c == '%' && i+2 < len(user):
			n, err := strconv.ParseUint(user[i+1:i+3], 16, 8)
			if err != nil {
				t.Fatalf("escape in %q", uri)
			}
			b.WriteByte(byte(n))
			i += 2
		default:
			t.Fatalf("%q in the user of %q", c, uri)
		}
	}
	return b.String()
}

// strictAddress reads name-addr with a display name in quotes.
func strictAddress(t *testing.T, value string) (name, uri, params string) {
	t.Helper()
	if value == "" || value[0] != '"' {
		t.Fatalf("address %q", value)
	}
	var b strings.Builder
	i := 1
	for ; value[i] != '"'; i++ {
		if value[i] == '\\' {
			i++
		}
		b.WriteByte(value[i])
	}
	rest, opened := strings.CutPrefix(value[i+1:], " <")
	uri, params, closed := strings.Cut(rest, ">")
	if !opened || !closed || !utf8.ValidString(b.String()) {
		t.Fatalf("address %q", value)
	}
	return b.String(), uri, params
}

// shownAs is what becomes of a display name: control characters are blanks.
func shownAs(text string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(text, "\uFFFD"))
}

// written is a request with a text in every place that text can come to.
func written(ua *UA, target, text string) string {
	h := hop{&deadEnd{}, netip.MustParseAddrPort("127.0.0.1:5060")}
	uri := UserURI(text, "host.example")
	d := &Dialog{
		ua: ua, callID: "1", localTag: "t", user: text, remote: "<" + uri + ">", target: target, hop: h,
		local: Quote(text) + " <" + uri + ">;tag=t",
	}
	return string(d.wire(&outgoing{method: "INVITE", contentType: "text/" + text, body: []byte(text), headers: []Header{
		{"P-Asserted-Identity", Quote(text) + " <" + uri + ">"}, {"Subject", text},
	}}, "z9hG4bK1", 1))
}

// Whatever a number, a name or another text says, what is written is one request, with
// exactly that user and that display name.
func FuzzWrite(f *testing.F) {
	for _, text := range []string{
		"100", "#31#", "+49301234", "0123@127.0.0.66:5066?", "0;phone-context=+1900", "0123;transport=tcp", "0%39", "a\x00b", `"\`, "ü\xff", "<>", " ", "\t",
		"01@x SIP/2.0\r\nX-Evil: injected\r\nX-Pad: ", "x\r\n\r\nINVITE sip:0900@x SIP/2.0\r\n\r\n", "Alice \"A\\\" <sip:b@c>\r\n", "\r", "\n", "\x7f", "\u2028", "\ufffe", "\xed\xa0\x80", "\x1b]]>",
	} {
		f.Add(text)
	}
	ua := New(Config{})
	f.Cleanup(ua.Close)
	f.Fuzz(func(t *testing.T, text string) {
		if text == "" || len(text) > 2000 {
			return
		}
		const headers = "Via Max-Forwards From To Call-ID CSeq Contact P-Asserted-Identity Subject User-Agent Content-Type Content-Length"
		m := strict(t, written(ua, UserURI(text, "host.example"), text))
		if m.names() != headers {
			t.Errorf("headers %s", m.names())
		}
		fields := strings.Split(m.start, " ")
		if len(fields) != 3 || fields[0] != "INVITE" || fields[2] != "SIP/2.0" || strictUser(t, fields[1]) != text {
			t.Errorf("start line %q of %q", m.start, text)
		}
		for header, end := range map[string]string{"From": ";tag=t", "P-Asserted-Identity": ""} {
			if name, uri, params := strictAddress(t, m.value(t, header)); name != shownAs(text) || strictUser(t, uri) != text || params != end {
				t.Errorf("%s %q of %q", header, m.value(t, header), text)
			}
		}
		to := m.value(t, "To")
		if strictUser(t, strings.Trim(to, "<>")) != text || len(to) != len(strings.Trim(to, "<>"))+2 {
			t.Errorf("To %q of %q", to, text)
		}
		contact := strings.Trim(m.value(t, "Contact"), "<>")
		contact, _, _ = strings.Cut(contact, ";transport=tcp")
		if strictUser(t, strings.Replace(contact, "@127.0.0.1:5062", "@host.example", 1)) != text {
			t.Errorf("Contact %q of %q", contact, text)
		}
		// a target as a peer wrote it, and a reason of ours
		m = strict(t, written(ua, "sip:"+text, text))
		if m.names() != headers || strings.Count(m.start, " ") != 2 {
			t.Errorf("%s %q of the target %q", m.names(), m.start, text)
		}
		refused := &Request{msg: mustRequest(t), hop: hop{&deadEnd{}, netip.MustParseAddrPort("127.0.0.1:5060")}, ua: ua}
		m = strict(t, string(refused.response(Answer{Code: 400, Reason: text, Headers: []Header{{"Warning", text}}}, whole)))
		if m.names() != "Via From To Call-ID CSeq Warning User-Agent Content-Length" || !strings.HasPrefix(m.start, "SIP/2.0 400 ") {
			t.Errorf("%s %q of the reason %q", m.names(), m.start, text)
		}
		cancel := strict(t, string(repeated([]byte(written(ua, UserURI(text, "host.example"), text)), "CANCEL", "", CancelReason(text))))
		if cancel.names() != "Via Max-Forwards From To Call-ID CSeq Reason Content-Length" {
			t.Errorf("CANCEL with %s", cancel.names())
		}
		// what we read is what we wrote
		if user := contactUser(UserURI(text, "host.example")); user != text {
			t.Errorf("%q is read as %q", text, user)
		}
	})
}

// A URI that could end before its end is not sent to.
func TestMalformedURI(t *testing.T) {
	ua := New(Config{})
	t.Cleanup(ua.Close)
	for _, uri := range []string{"sip:a b@127.0.0.1", "sip:a@127.0.0.1\r\nX: y", "sip:a@127.0.0.1>", "sip:\x00@127.0.0.1"} {
		for _, inv := range []Invite{{To: uri, From: "sip:a@b"}, {To: "sip:a@127.0.0.1", From: uri}, {To: "sip:a@127.0.0.1", Target: uri, From: "sip:a@b"}} {
			if _, err := ua.Request(t.Context(), "OPTIONS", inv); err == nil {
				t.Errorf("%+v is sent", inv)
			}
		}
	}
}

func TestUserURI(t *testing.T) {
	for got, want := range map[string]string{
		UserURI("#31*", "h"): "sip:%2331*@h", UserURI("+49", "::1"): "sip:+49@[::1]", UserURI("a;b?c/d,e@f", "h"): "sip:a%3Bb%3Fc%2Fd%2Ce%40f@h",
		WithUser("sips:h:5061;transport=tls", "0"): "sips:0@h:5061;transport=tls", WithUser("sip:old@h", "ü"): "sip:%C3%BC@h",
	} {
		if got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
	for uri, want := range map[string]URI{
		"sip:a?b@h;lr": {Scheme: "sip", User: "a?b", Host: "h", Loose: true, params: "lr"}, "sip:1@h?Replaces=a@b": {Scheme: "sip", User: "1", Host: "h"}, "sip:h?a=b": {Scheme: "sip", Host: "h"},
	} {
		if got := ParseURI(uri); got != want {
			t.Errorf("%s: %+v", uri, got)
		}
	}
}

func mustRequest(t *testing.T) *gosip.Request {
	t.Helper()
	msg, err := parse([]byte("OPTIONS sip:a SIP/2.0\r\nVia: SIP/2.0/UDP a;branch=z9hG4bK1\r\nFrom: <sip:a@b>;tag=1\r\nTo: <sip:c@d>;tag=2\r\nCall-ID: 1\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n"))
	if err != nil {
		t.Fatal(err)
	}
	return msg.(*gosip.Request)
}
