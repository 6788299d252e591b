package asn1

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// framing is how PDUs follow one another on a connection.
type framing int

const (
	markedFrames framing = iota // 26 hex, 8000 hex + length in two octets, the PDU
	plainFrames                 // length in two octets, the PDU
)

const frameMark = 0x26

// ErrFrame is of a peer that has lost the beginning of PDUs, or speaks something else.
var ErrFrame = errors.New("no beginning of a PDU")

// frame puts a PDU into its frame.
func (f framing) frame(pdu []byte) ([]byte, error) {
	if len(pdu) > MaxPDU {
		return nil, ErrTooLong
	}
	head := []byte{frameMark}
	length := uint16(0x8000 | len(pdu))
	if f == plainFrames {
		head, length = nil, uint16(len(pdu))
	}
	return append(binary.BigEndian.AppendUint16(head, length), pdu...), nil
}

// read reads a PDU. begun is called once its first octet is there.
func (f framing) read(r *bufio.Reader, longest int, begun func()) ([]byte, error) {
	first, err := r.Peek(1)
	if err != nil {
		return nil, err
	}
	begun()
	head := make([]byte, 2)
	if f == markedFrames {
		if first[0] != frameMark {
			return nil, fmt.Errorf("%w: %02X", ErrFrame, first[0])
		}
		_, _ = r.Discard(1)
	}
	if _, err := io.ReadFull(r, head); err != nil {
		return nil, err
	}
	length := int(binary.BigEndian.Uint16(head))
	if f == markedFrames {
		if length&0x8000 == 0 {
			return nil, fmt.Errorf("%w: length %04X", ErrFrame, length)
		}
		length &= 0x7FFF
	}
	if length > longest {
		return nil, ErrTooLong
	}
	pdu := make([]byte, length)
	if _, err = io.ReadFull(r, pdu); errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return pdu, err
}
