package socket

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"regexp"
	"strings"
	"unicode/utf8"

	"github.com/coder/websocket"

	"github.com/tr87proxy/tr87proxy/wire/cstaxml"
)

// form is how messages carry invoke ID and document. The first message of a client settles the form of all.
type form int32

const (
	unsettled   form = iota
	framed           // binary: the header and the document, as over TCP
	numbered         // text: the invoke ID in four digits, and the document
	bare             // text: the document
	coded            // text: the length of the base64 of the header in one octet, the base64, and the document (Zultys)
	codedOctets      // the same in binary messages
)

const (
	headerSize = 8
	codedSize  = 12 // of a header in base64
)

// forms are the forms by name, for reasons of closing.
var forms = map[form]string{
	framed: "binary messages with the header of a frame", numbered: "text messages with an invoke ID", bare: "text messages without an invoke ID",
	coded: "text messages with a header in base64", codedOctets: "binary messages with a header in base64",
}

// formOf returns the form of a message, or an error that says why it has none.
func formOf(kind websocket.MessageType, data []byte, zultys bool) (form, error) {
	binary := kind == websocket.MessageBinary
	switch {
	case len(data) == 0:
		return unsettled, invalid("the message is empty")
	case zultys && data[0] == codedSize && binary:
		return codedOctets, nil
	case zultys && data[0] == codedSize:
		return coded, nil
	case binary && data[0] == 0:
		return framed, nil
	case binary:
		return unsettled, invalid("a binary message begins with the header of a frame; send documents in text messages")
	case !utf8.Valid(data):
		return unsettled, invalid("the text is no UTF-8")
	case data[0] >= '0' && data[0] <= '9':
		return numbered, nil
	}
	if document := bytes.TrimLeft(bytes.TrimPrefix(data, []byte("\ufeff")), " \t\r\n"); len(document) > 0 && document[0] == '<' {
		return bare, nil
	}
	return unsettled, invalid("a text message begins with four digits or a document")
}

// declared finds the encoding that a document declares.
var declared = regexp.MustCompile(`^\s*<\?xml\s[^>]*?\bencoding\s*=\s*["']([^"']*)["']`)

// frame returns the frame that a message of a form carries.
func (f form) frame(data []byte) ([]byte, error) {
	switch f {
	case framed:
		return whole(data)
	case coded, codedOctets:
		if len(data) < 1+codedSize {
			return nil, invalid("the message ends within its header")
		}
		header, err := base64.StdEncoding.Strict().DecodeString(string(data[1 : 1+codedSize]))
		if err != nil || len(header) != headerSize {
			return nil, invalid("the header is no base64 of eight octets")
		}
		return withLength(append(header, data[1+codedSize:]...))
	}
	document, id := data, "0000"
	if f == numbered {
		digits := 0
		for digits < len(data) && data[digits] >= '0' && data[digits] <= '9' {
			digits++
		}
		if digits != 4 {
			return nil, invalid("an invoke ID has four digits")
		}
		document, id = data[4:], string(data[:4])
	}
	if encoding := declared.FindSubmatch(bytes.TrimPrefix(document, []byte("\ufeff"))); encoding != nil && !strings.EqualFold(string(encoding[1]), "utf-8") && !ascii(document) {
		return nil, invalid("the document declares the encoding %.20s, and the text of a WebSocket is UTF-8", encoding[1])
	}
	return withLength(append([]byte("\x00\x00\x00\x00"+id), document...))
}

func ascii(text []byte) bool {
	for _, c := range text {
		if c >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

// whole returns the frame that a binary message is. Its length may count characters instead of octets: the message tells where
// the document ends.
func whole(data []byte) ([]byte, error) {
	if len(data) <= headerSize {
		return nil, cstaxml.ErrLength
	}
	length, characters := int(binary.BigEndian.Uint16(data[2:4])), headerSize+utf8.RuneCount(data[headerSize:])
	if length != len(data) && length != characters {
		return nil, invalid("the length in the header is %d, and the message has %d octets: a message is one frame", length, len(data))
	}
	return withLength(data)
}

// withLength sets the length in the header of a frame.
func withLength(frame []byte) ([]byte, error) {
	switch {
	case len(frame) <= headerSize:
		return nil, cstaxml.ErrLength
	case len(frame) > cstaxml.MaxFrame:
		return nil, cstaxml.ErrTooLong
	}
	binary.BigEndian.PutUint16(frame[2:4], uint16(len(frame)))
	return frame, nil
}

// message returns the message of a form that carries a frame.
func (f form) message(frame []byte) (websocket.MessageType, []byte) {
	switch f {
	case framed:
		return websocket.MessageBinary, frame
	case bare:
		return websocket.MessageText, frame[headerSize:]
	case coded, codedOctets:
		kind := websocket.MessageText
		if f == codedOctets {
			kind = websocket.MessageBinary
		}
		data := make([]byte, 1, 1+codedSize+len(frame)-headerSize)
		data[0] = codedSize
		return kind, append(base64.StdEncoding.AppendEncode(data, frame[:headerSize]), frame[headerSize:]...)
	}
	return websocket.MessageText, frame[4:] // the digits of the invoke ID, and the document
}

// invalidError is a message that cannot be read.
type invalidError struct{ text string }

func (e *invalidError) Error() string { return e.text }

func invalid(format string, args ...any) error { return &invalidError{fmt.Sprintf(format, args...)} }
