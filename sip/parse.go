package sip

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"

	gosip "github.com/emiago/sipgo/sip"
)

// Limits of a SIP message.
const (
	maxMessage = 65535 // octets
	maxHeaders = 128   // lines
)

var (
	errIncomplete    = errors.New("incomplete message")
	errTooLarge      = errors.New("message larger than 65535 octets")
	errContentLength = errors.New("missing, malformed or contradictory Content-Length")
	errParserFailed  = errors.New("parser panicked")
)

// parser keeps headers as received, because Via, Record-Route, From and To must return to the
// peer unchanged. The sipgo default parses them into parts and loses quoted parameters
// (branched=FALSE;ms-internal-info="a;b"), blanks, and what follows the > of a Record-Route.
// sipgo parses only Content-Length, for framing.
var parser = gosip.NewParser(gosip.WithHeadersParsers(rawHeaders()))

// compact has the long names of the compact forms, which mean the same in every message (RFC 3261 7.3.3; the IANA
// registry of header fields).
var compact = map[string]string{
	"a": "Accept-Contact", "b": "Referred-By", "c": "Content-Type", "d": "Request-Disposition", "e": "Content-Encoding", "f": "From",
	"i": "Call-ID", "j": "Reject-Contact", "k": "Supported", "m": "Contact", "n": "Identity-Info", "o": "Event", "r": "Refer-To",
	"s": "Subject", "t": "To", "u": "Allow-Events", "v": "Via", "x": "Session-Expires", "y": "Identity",
}

// rawHeaders returns the parsers of headers, by lower-case name. sipgo lengthens some compact names before it looks
// here, so each header is entered under both.
func rawHeaders() map[string]gosip.HeaderParser {
	m := map[string]gosip.HeaderParser{}
	stock := gosip.DefaultHeadersParser()
	m["content-length"], m["l"] = stock["content-length"], stock["l"]
	for short, name := range compact {
		m[short] = func(_ []byte, value string) (gosip.Header, error) { return gosip.NewHeader(name, value), nil }
		m[strings.ToLower(name)] = m[short]
	}
	return m
}

// parse parses one whole message. It returns a panic of the parser as an error.
func parse(data []byte) (msg gosip.Message, err error) {
	defer func() {
		if p := recover(); p != nil {
			msg, err = nil, fmt.Errorf("%w: %v", errParserFailed, p)
		}
	}()
	if len(data) > maxMessage {
		return nil, errTooLarge
	}
	msg, err = parser.ParseSIP(readable(data))
	if err != nil {
		return msg, err
	}
	if n := headerCount(msg); n > maxHeaders {
		return msg, fmt.Errorf("%d header lines; at most %d are allowed", n, maxHeaders)
	}
	return msg, nil
}

// readable returns a request whose Request-URI has another scheme than sip and sips with a URI that sipgo reads: it fails
// for schemes with other characters than letters (RFC 3986 3.1). It returns any other message as it is.
func readable(data []byte) []byte {
	method, rest, _ := bytes.Cut(data, []byte(" "))
	uri, rest, ok := bytes.Cut(rest, []byte(" "))
	scheme, _, colon := bytes.Cut(uri, []byte(":"))
	letter := len(scheme) > 0 && scheme[0]|0x20 >= 'a' && scheme[0]|0x20 <= 'z'
	if !ok || !colon || !letter || !bytes.ContainsAny(scheme, "0123456789+-.") || !spells(string(scheme), "+-.") || bytes.ContainsAny(uri, "\r\n") {
		return data
	}
	return bytes.Join([][]byte{method, []byte("other:"), rest}, []byte(" "))
}

// requestURI returns the Request-URI of a request that parse has accepted, as received: sipgo's form of it repeats
// its headers.
func requestURI(data []byte) string {
	line, _, _ := bytes.Cut(data, []byte("\r"))
	_, rest, _ := bytes.Cut(line, []byte(" "))
	uri, _, _ := bytes.Cut(rest, []byte(" "))
	return string(uri)
}

func headerCount(msg gosip.Message) int {
	switch m := msg.(type) {
	case *gosip.Request:
		return len(m.Headers())
	case *gosip.Response:
		return len(m.Headers())
	}
	return 0
}

// frame finds the first message in a stream (RFC 3261 18.3). It skips leading line ends and
// relies on Content-Length. It returns errIncomplete if more octets are needed; after any other
// error the stream cannot be framed and must be closed.
func frame(data []byte) (skip, length int, err error) {
	for skip < len(data) && (data[skip] == '\r' || data[skip] == '\n') {
		skip++
	}
	rest := data[skip:]
	head := bytes.Index(rest, []byte("\r\n\r\n"))
	if head < 0 {
		if len(rest) > maxMessage {
			return skip, 0, errTooLarge
		}
		return skip, 0, errIncomplete
	}
	head += 4
	body, err := contentLength(rest[:head])
	switch {
	case err != nil:
		return skip, head, err
	case head+body > maxMessage:
		return skip, head, errTooLarge
	case head+body > len(rest):
		return skip, head + body, errIncomplete
	}
	return skip, head + body, nil
}

func contentLength(head []byte) (int, error) {
	length := -1
	for line := range bytes.Lines(head) {
		name, value, ok := bytes.Cut(line, []byte(":"))
		if !ok {
			continue
		}
		if name = bytes.TrimSpace(name); !bytes.EqualFold(name, []byte("Content-Length")) && !bytes.EqualFold(name, []byte("l")) {
			continue
		}
		n, err := strconv.ParseUint(string(bytes.TrimSpace(value)), 10, 31)
		if err != nil || length >= 0 && length != int(n) {
			return 0, errContentLength
		}
		length = int(n)
	}
	if length < 0 {
		return 0, errContentLength
	}
	return length, nil
}

// splitQuoted cuts s at the first sep outside quotes and angle brackets.
func splitQuoted(s string, sep byte) (before, after string, found bool) {
	quoted, angle := false, false
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '\\' && quoted:
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '<':
			angle = true
		case c == '>':
			angle = false
		case c == sep && !angle:
			return s[:i], s[i+1:], true
		}
	}
	return s, "", false
}

// param returns a parameter of a list such as ";a=1;b", honouring quotes.
func param(params, name string) (value string, ok bool) {
	for params != "" {
		var p string
		p, params, _ = splitQuoted(params, ';')
		key, value, _ := strings.Cut(p, "=")
		if strings.EqualFold(strings.TrimSpace(key), name) {
			return strings.Trim(strings.TrimSpace(value), `"`), true
		}
	}
	return "", false
}

// Address is the value of a From, To, Contact or similar header.
type Address struct {
	URI    string // without angle brackets
	Params string // everything after the URI, such as "tag=...", without the first semicolon
}

// Tag returns the tag parameter, or "".
func (a Address) Tag() string {
	tag, _ := param(a.Params, "tag")
	return tag
}

func parseAddress(value string) Address {
	head, params, _ := splitQuoted(value, ';')
	if open := strings.LastIndexByte(head, '<'); open >= 0 {
		if uri, _, ok := strings.Cut(head[open+1:], ">"); ok {
			return Address{URI: strings.TrimSpace(uri), Params: params}
		}
	}
	return Address{URI: strings.TrimSpace(head), Params: params}
}

// addresses parses the lines of a header such as Contact, each of which may have several values (RFC 3261 7.3.1).
func addresses(lines []string) (all []Address) {
	for _, value := range routes(lines) {
		all = append(all, parseAddress(value))
	}
	return all
}

// target returns the URI of the first address, which is a dialog's remote target (RFC 3261 12.1.1), or old without one.
func target(contacts []Address, old string) string {
	if len(contacts) == 0 {
		return old
	}
	return contacts[0].URI
}

// oneAddress reports whether a value is exactly one address with a URI, closed quotes and brackets, and at most one
// tag (RFC 3261 20.20, 20.39). A display name need not be quoted.
func oneAddress(value string) bool {
	text, closed := withoutQuoted(value)
	_, rest, bracketed := strings.Cut(text, "<")
	uri, params, ended := strings.Cut(rest, ">")
	if !bracketed {
		uri, params, _ = strings.Cut(text, ";")
		params, ended = ";"+params, !strings.ContainsAny(strings.TrimSpace(uri), " \t,>")
	}
	scheme, part, _ := strings.Cut(strings.TrimSpace(uri), ":")
	before, list, _ := strings.Cut(params, ";")
	if !closed || !ended || !spells(scheme, "+-.") || part == "" || strings.ContainsAny(uri, `<"`) || strings.TrimSpace(before) != "" || strings.ContainsAny(list, ",<>") {
		return false
	}
	tags := 0
	for p := range strings.SplitSeq(list, ";") {
		name, tag, _ := strings.Cut(p, "=")
		if strings.EqualFold(strings.TrimSpace(name), "tag") {
			if tags++; tags > 1 || strings.TrimSpace(tag) == "" {
				return false
			}
		}
	}
	return true
}

// withoutQuoted replaces each quoted string with one quotation mark. It returns false if the last one has no end.
func withoutQuoted(s string) (text string, closed bool) {
	var b strings.Builder
	quoted := false
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '\\' && quoted:
			i++
		case c == '"':
			if quoted = !quoted; quoted {
				b.WriteByte(c)
			}
		case !quoted:
			b.WriteByte(c)
		}
	}
	return b.String(), !quoted
}

func splitHostPort(s string) (host string, port int) {
	host = strings.TrimSpace(s)
	if i := strings.LastIndexByte(host, ':'); i > strings.LastIndexByte(host, ']') {
		if n, err := strconv.ParseUint(host[i+1:], 10, 16); err == nil {
			port = int(n)
		}
		host = host[:i]
	}
	return strings.Trim(host, "[]"), port
}

// via is the topmost Via value.
type via struct {
	sentBy string // host:port as received
	params string
}

// parseVia parses the first value of a Via line. There may be blanks around each of its parts (RFC 3261 25.1).
func parseVia(value string) (via, bool) {
	value, _, _ = splitQuoted(value, ',')
	head, params, _ := splitQuoted(value, ';')
	name, rest, _ := strings.Cut(head, "/")
	version, rest, _ := strings.Cut(rest, "/")
	fields := strings.Fields(rest)
	if !strings.EqualFold(strings.TrimSpace(name), "SIP") || strings.TrimSpace(version) != "2.0" || len(fields) < 2 {
		return via{}, false
	}
	return via{sentBy: strings.Join(fields[1:], ""), params: params}, true
}

func (v via) branch() string {
	b, _ := param(v.params, "branch")
	return b
}

// Cut returns the first message at the beginning of octets of a connection, without line ends before it, and what follows it.
// whole is false if the message goes on behind them. It returns an error for what is no message.
func Cut(data []byte) (message, rest []byte, whole bool, err error) {
	skip, length, err := frame(data)
	switch {
	case errors.Is(err, errIncomplete):
		return nil, data, false, nil
	case err != nil:
		return nil, nil, false, err
	}
	message, rest = data[skip:skip+length], data[skip+length:]
	_, err = parse(message)
	return message, rest, true, err
}
