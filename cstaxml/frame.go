package cstaxml

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strconv"
	"unicode/utf8"
)

const (
	headerSize = 8
	maxFrame   = 65535 // header included: the length has sixteen bits
	eventID    = 9999  // the invoke ID of events
)

// Why a connection is ended for what it carries.
var (
	ErrFormat   = errors.New("the format indicator is not that of CSTA-XML without SOAP")
	ErrLength   = errors.New("the length in the header is too small to be true")
	ErrInvokeID = errors.New("the invoke ID is not four digits")
	ErrTooLong  = errors.New("the document is longer than a frame can say")
)

// readFrame reads one frame: its invoke ID and document. begun is called when its
// first octet has come.
func readFrame(r *bufio.Reader, begun func()) (id int, document []byte, err error) {
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
	if length <= headerSize {
		return 0, nil, ErrLength
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

// unexpected says that a connection ended in the middle of a frame.
func unexpected(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// frame puts the header before a document.
func frame(id int, document []byte) ([]byte, error) {
	length := headerSize + len(document)
	if length > maxFrame {
		return nil, ErrTooLong
	}
	out := make([]byte, 4, length)
	binary.BigEndian.PutUint16(out[2:], uint16(length))
	out = fmt.Appendf(out, "%04d", id)
	return append(out, document...), nil
}

// ascii writes a document in ASCII alone: other characters become references, for
// peers that count characters where octets are meant. The declaration's UTF-8 stays
// true.
func ascii(document []byte) []byte {
	plain := true
	for _, c := range document {
		plain = plain && c < utf8.RuneSelf
	}
	if plain {
		return document
	}
	out := make([]byte, 0, len(document)+len(document)/4)
	for _, r := range string(document) {
		if r < utf8.RuneSelf {
			out = append(out, byte(r))
		} else {
			out = fmt.Appendf(out, "&#%d;", r)
		}
	}
	return out
}
