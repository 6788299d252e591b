package asn1

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// framing is how a flavour puts PDUs into frames.
type framing int

const (
	markedFrames framing = iota // 26 hex, two octets of 8000 hex + length, the PDU
	plainFrames                 // two octets of length, the PDU
)

const frameMark = 0x26

// ErrFrame is the error of octets that are not the start of a frame: the peer speaks another protocol, or has lost its
// place in this one.
var ErrFrame = errors.New("the octets are not the start of a frame")

// frame returns a PDU in its frame.
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

// read is Codec.ReadFrame.
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
	if length > longest && longest < MaxPDU { // of a stranger
		return nil, ErrTooLong
	}
	pdu := make([]byte, min(length, longest))
	_, err = io.ReadFull(r, pdu)
	if err == nil && length > longest {
		if _, err = r.Discard(length - longest); err == nil {
			return pdu, ErrTooLong
		}
	}
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return nil, err
	}
	return pdu, nil
}
