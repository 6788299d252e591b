package cstaxml

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/tr87proxy/tr87proxy/uacsta"
)

const (
	headerSize = 8

	// MaxFrame is the longest frame in octets, header included: the length field has sixteen bits.
	MaxFrame = 65535
	// EventID is the invoke ID of events.
	EventID = 9999
)

// The faults of a frame that end its connection.
var (
	ErrFormat   = errors.New("the format indicator is not that of CSTA-XML without SOAP")
	ErrLength   = errors.New("the length in the header is shorter than the header")
	ErrInvokeID = errors.New("the invoke ID is not four digits")
	ErrTooLong  = errors.New("the document does not fit in a frame")
	errEarly    = errors.New("the document is too long for a peer that has not logged in")
)

// ReadFrame reads one frame of at most longest octets and returns its invoke ID and its document. It calls begun once
// it has read the first octet. It returns io.EOF if the connection ends before a frame, io.ErrUnexpectedEOF if it ends
// within one.
func ReadFrame(r *bufio.Reader, longest int, begun func()) (id int, document []byte, err error) {
	var header [headerSize]byte
	if header[0], err = r.ReadByte(); err != nil {
		return 0, nil, err
	}
	begun()
	if _, err := io.ReadFull(r, header[1:]); err != nil {
		return 0, nil, unexpected(err)
	}
	if header[0] != 0 || header[1] != 0 {
		return 0, nil, ErrFormat
	}
	length := int(binary.BigEndian.Uint16(header[2:4]))
	switch {
	case length <= headerSize:
		return 0, nil, ErrLength
	case length > longest:
		return 0, nil, errEarly
	}
	for _, c := range header[4:] {
		if c < '0' || c > '9' {
			return 0, nil, ErrInvokeID
		}
	}
	if id, err = strconv.Atoi(string(header[4:])); err != nil {
		return 0, nil, ErrInvokeID
	}
	document = make([]byte, length-headerSize)
	if _, err := io.ReadFull(r, document); err != nil {
		return 0, nil, unexpected(err)
	}
	return id, document, nil
}

// unexpected turns io.EOF into io.ErrUnexpectedEOF: the connection ended within a frame.
func unexpected(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// Frame returns a document with the header before it. It returns [ErrTooLong] if they are longer than [MaxFrame].
func Frame(id int, document []byte) ([]byte, error) {
	length := headerSize + len(document)
	if length > MaxFrame {
		return nil, ErrTooLong
	}
	out := make([]byte, 4, length)
	binary.BigEndian.PutUint16(out[2:], uint16(length))
	out = fmt.Appendf(out, "%04d", id)
	return append(out, document...), nil
}

// conceal returns a frame with the secrets of its document overwritten.
func conceal(frame []byte) []byte {
	document := frame[min(headerSize, len(frame)):]
	if hidden := uacsta.Conceal(document); len(hidden) > 0 && &hidden[0] != &document[0] {
		return slices.Concat(frame[:headerSize], hidden)
	}
	return frame
}

// ascii returns a document in ASCII: it writes other characters in texts and attribute values as character references.
// Names, comments and processing instructions cannot have references and stay as they are. A declaration of UTF-8
// stays true, since ASCII is UTF-8.
func ascii(document []byte) []byte {
	if !slices.ContainsFunc(document, func(c byte) bool { return c >= utf8.RuneSelf }) {
		return document
	}
	out := make([]byte, 0, len(document)+len(document)/4)
	for rest := string(document); rest != ""; {
		part, kind := nextPart(rest)
		rest = rest[len(part):]
		quote := rune(0)
		for _, r := range part {
			switch {
			case r < utf8.RuneSelf:
				if kind == inTag && (r == '"' || r == '\'') && (quote == 0 || quote == r) {
					quote ^= r // opens it, or closes it
				}
				out = append(out, byte(r))
			case kind == inText, kind == inTag && quote != 0:
				out = fmt.Appendf(out, "&#%d;", r)
			case kind == inCDATA:
				out = fmt.Appendf(out, "]]>&#%d;<![CDATA[", r)
			default:
				out = utf8.AppendRune(out, r)
			}
		}
	}
	return out
}

type kindOfPart int

const (
	inText kindOfPart = iota
	inTag
	inCDATA
	verbatim
)

// nextPart returns the first part of a well-formed document: text, or one piece of markup.
func nextPart(s string) (part string, kind kindOfPart) {
	until := func(begin, end string) string {
		if i := strings.Index(s[len(begin):], end); i >= 0 {
			return s[:len(begin)+i+len(end)]
		}
		return s
	}
	switch {
	case strings.HasPrefix(s, "<![CDATA["):
		return until("<![CDATA[", "]]>"), inCDATA
	case strings.HasPrefix(s, "<!--"):
		return until("<!--", "-->"), verbatim
	case strings.HasPrefix(s, "<?"):
		return until("<?", "?>"), verbatim
	case s[0] == '<':
		quote := byte(0)
		for i := range len(s) {
			switch c := s[i]; {
			case quote == 0 && c == '>':
				return s[:i+1], inTag
			case quote == 0 && (c == '"' || c == '\''):
				quote = c
			case c == quote:
				quote = 0
			}
		}
		return s, inTag
	}
	if i := strings.IndexByte(s, '<'); i >= 0 {
		return s[:i], inText
	}
	return s, inText
}
