package sip

import (
	"bytes"
	"errors"
	"net/url"
	"strconv"
	"strings"
)

// The functions in this file write every octet that we send. They keep each value within its
// header.

// requestLine writes the start line of a request (RFC 3261 7.1) and escapes what would end the
// URI.
func requestLine(b *bytes.Buffer, method, uri string) {
	b.WriteString(method + " ")
	for i := range len(uri) {
		if c := uri[i]; notInURI(rune(c)) {
			b.WriteString("%" + string(hexadecimal[c>>4]) + string(hexadecimal[c&15]))
		} else {
			b.WriteByte(c)
		}
	}
	b.WriteString(" SIP/2.0\r\n")
}

// statusLine writes the start line of a response (RFC 3261 7.2).
func statusLine(b *bytes.Buffer, code int, reason string) {
	b.WriteString("SIP/2.0 " + strconv.Itoa(code) + " " + printable(reason) + "\r\n")
}

// line writes a header.
func line(b *bytes.Buffer, name, value string) {
	b.WriteString(name)
	b.WriteString(": ")
	b.WriteString(printable(value))
	b.WriteString("\r\n")
}

// end writes the end of the header section and the body.
func end(b *bytes.Buffer, contentType string, body []byte) {
	if len(body) > 0 {
		line(b, "Content-Type", contentType)
	}
	line(b, "Content-Length", strconv.Itoa(len(body)))
	b.WriteString("\r\n")
	b.Write(body)
}

// printable replaces control characters, with which a value could end its line and begin
// another one. Everything else stays unchanged, because values that came from a peer must
// return to it as received.
func printable(value string) string {
	if strings.IndexFunc(value, control) < 0 {
		return value
	}
	return strings.Map(func(r rune) rune {
		if control(r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(value, "\uFFFD"))
}

func control(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }

// notInURI reports whether the character would end a URI early.
func notInURI(r rune) bool { return r <= ' ' || r == 0x7f || r == '<' || r == '>' || r == '"' }

var errURI = errors.New("URI has blanks, quotes, angle brackets or control characters")

// Quote returns s as a quoted-string (RFC 3261 25.1), for example as a display name.
func Quote(s string) string {
	s = printable(strings.ReplaceAll(strings.ToValidUTF8(s, "\uFFFD"), "\t", " "))
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"`
}

// contactUser returns the unescaped user part of a URI for our Contact, or "" if it is
// malformed.
func contactUser(uri string) string {
	user, err := url.PathUnescape(ParseURI(uri).User)
	if err != nil {
		return ""
	}
	return user
}
