package main

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"net/netip"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tr87proxy/tr87proxy/internal/capture"
	"github.com/tr87proxy/tr87proxy/sip"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

// decodeCapture shows the messages in a capture file, with time and direction.
func decodeCapture(cmd *cobra.Command, file *bufio.Reader) error {
	shown := 0
	c := &conversations{ways: map[flow][]byte{}, show: func(d decoded) error {
		shown++
		return write(cmd, d, d.text)
	}}
	err := capture.Read(file, c.take)
	if c.others > 0 || c.missing > 0 {
		note(cmd.ErrOrStderr(), asJSON(cmd), "%s of other protocols; %s in which octets are missing", counted(int64(c.others), "packet", "packets"), counted(int64(c.missing), "message", "messages"))
	}
	if err == nil && shown == 0 {
		return usageError{errors.New("nothing to decode: no SIP, no CSTA-XML and no CSTA in ASN.1 in this capture; TLS cannot be read")}
	}
	return err
}

// The limits of what is remembered of a capture.
const (
	mostFlows     = 10000
	longestSpeech = 1 << 20 // octets of a direction that are no whole message yet
)

// flow is a direction of a connection.
type flow struct{ from, to netip.AddrPort }

// conversations puts messages together.
type conversations struct {
	ways            map[flow][]byte // what has come since the last whole message
	show            func(decoded) error
	others, missing int // packets of other protocols; messages that are not whole
}

// take takes a piece of the capture.
func (c *conversations) take(p capture.Piece) error {
	if p.UDP {
		messages, _ := messagesOf(p.Octets, true)
		return c.tell(p, messages)
	}
	w := flow{p.From, p.To}
	before := c.ways[w]
	if p.Gap && len(before) > 0 {
		c.missing++
		before = nil
	}
	messages, rest := messagesOf(append(before, p.Octets...), false)
	if len(rest) > longestSpeech {
		c.missing++
		rest = nil
	}
	if len(c.ways) >= mostFlows {
		clear(c.ways)
	}
	if c.ways[w] = bytes.Clone(rest); len(rest) == 0 {
		delete(c.ways, w)
	}
	if len(messages) == 0 && len(rest) > 0 {
		return nil // it goes on in the next piece
	}
	return c.tell(p, messages)
}

// tell shows the messages that a piece has completed.
func (c *conversations) tell(p capture.Piece, messages []decoded) error {
	if len(messages) == 0 {
		c.others++
	}
	for _, d := range messages {
		d.Time, d.From, d.To = p.Time, p.From.String(), p.To.String()
		if err := c.show(d); err != nil {
			return err
		}
	}
	return nil
}

// messagesOf returns the whole messages at the beginning of octets, and the rest if it can be the beginning of one more. What is
// of another protocol is dropped. A datagram has no rest.
func messagesOf(octets []byte, datagram bool) (list []decoded, rest []byte) {
	for len(octets) > 0 {
		read := readerOf(octets)
		if read == nil {
			return list, nil
		}
		d, rest, whole := read(octets)
		switch {
		case !whole && datagram:
			return list, nil
		case !whole:
			return list, octets
		case len(rest) >= len(octets):
			return list, nil
		}
		list, octets = append(list, d...), rest
	}
	return list, nil
}

// readerOf returns what reads the first message of octets, or nil if they begin like none. A reader returns the rest, and whether
// the message is whole.
func readerOf(octets []byte) func([]byte) (list []decoded, rest []byte, whole bool) {
	switch {
	case spokenSIP(octets):
		return readSIP
	case octets[0] == 0 && (len(octets) < 2 || octets[1] == 0):
		return readXML
	case octets[0] == 0x26 || octets[0] < 0x60 && (len(octets) < 3 || berTag(octets[2])):
		return readASN1
	}
	return nil
}

// spokenSIP reports whether octets begin like a message of SIP, as far as they go.
func spokenSIP(octets []byte) bool {
	octets = bytes.TrimLeft(octets, "\r\n") // lines that keep a connection open
	line, _, ended := bytes.Cut(octets[:min(len(octets), longestStart)], []byte("\r\n"))
	status := []byte("SIP/2.0 ")
	if n := min(len(line), len(status)); bytes.Equal(line[:n], status[:n]) {
		return true
	}
	method, uri, _ := bytes.Cut(line, []byte(" "))
	for _, b := range method {
		if b < 'A' || b > 'Z' {
			return false
		}
	}
	return ended && bytes.HasSuffix(uri, []byte(" SIP/2.0")) || !ended && len(line) < longestStart
}

// longestStart is how many octets the first line of a message of SIP has at most here.
const longestStart = 2000

// berTag reports whether an octet can begin a PDU of CSTA: an operation, or an association.
func berTag(b byte) bool { return b >= 0xA1 && b <= 0xA4 || b >= 0x60 && b <= 0x64 }

func readSIP(octets []byte) (list []decoded, rest []byte, whole bool) {
	if trimmed := bytes.TrimLeft(octets, "\r\n"); len(trimmed) == 0 {
		return nil, nil, true
	}
	message, rest, whole, err := sip.Cut(octets)
	switch {
	case err != nil:
		return nil, nil, true
	case !whole:
		return nil, nil, false
	}
	message = sip.Conceal(message, uacsta.Conceal)
	head, body, _ := bytes.Cut(message, []byte("\r\n\r\n"))
	text := strings.ReplaceAll(string(head), "\r\n", "\n")
	if m, err := uacsta.Parse(body); err == nil {
		body = []byte(m.Indented())
	}
	if len(body) > 0 {
		text += "\n\n" + strings.ReplaceAll(string(body), "\r\n", "\n")
	}
	return []decoded{{What: "SIP", Text: text}}, rest, true
}

func readXML(octets []byte) (list []decoded, rest []byte, whole bool) {
	if len(octets) < 9 {
		return nil, nil, false
	}
	length := int(binary.BigEndian.Uint16(octets[2:]))
	if length <= 8 || octets[8] != '<' {
		return nil, nil, true
	}
	if length > len(octets) {
		return nil, nil, false
	}
	list, err := decodePacket(octets[:length])
	if err != nil {
		list = []decoded{{What: "CSTA-XML that cannot be read: " + err.Error()}}
	}
	return list, octets[length:], true
}

func readASN1(octets []byte) (list []decoded, rest []byte, whole bool) {
	head, length := 3, 0
	switch {
	case len(octets) < 4:
		return nil, nil, false
	case octets[0] == 0x26 && octets[1]&0x80 != 0 && berTag(octets[3]):
		length = int(binary.BigEndian.Uint16(octets[1:]) & 0x7FFF)
	case octets[0] < 0x60 && berTag(octets[2]):
		head, length = 2, int(binary.BigEndian.Uint16(octets))
	}
	switch end := head + length; {
	case length == 0:
		return nil, nil, true
	case end > len(octets):
		return nil, nil, false
	default:
		list, err := describedIn(octets[:end])
		if err != nil && length > 8192 { // more likely another protocol
			return nil, nil, true
		}
		if err != nil {
			list = append(list, decoded{What: "ASN.1 that cannot be read: " + err.Error()})
		}
		return list, octets[end:], true
	}
}

// passed says when a message passed, and from where to where.
func (d *decoded) passed() string {
	if d.Time.IsZero() {
		return ""
	}
	return d.Time.Local().Format("2006-01-02 15:04:05.000") + " " + d.From + " -> " + d.To + ", "
}
