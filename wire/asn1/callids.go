package asn1

import (
	"encoding/binary"
	"encoding/hex"
	"regexp"
	"strconv"
)

// CallIDs says how a codec writes the octets of a callID as text, and back.
type CallIDs int

const (
	// HexCallIDs is for switching functions in ASN.1: each octet is two hexadecimal digits.
	HexCallIDs CallIDs = iota
	// AnyCallIDs is for clients in ASN.1, before any switching function: a number up to 2147483647, which is what the core
	// calls each call, is four octets. So a callID has the same length at each proxy of a chain, and no table is needed. Of
	// other text, hexadecimal digits are octets again, and the rest follows the octet FF.
	AnyCallIDs
)

const (
	textMark     = 0xFF
	numberOctets = 4
)

// longestID is the longest identifier in octets. The standard sets no limit, but peers have one.
const longestID = 255

var hexDigits = regexp.MustCompile(`^([0-9A-F]{2})+$`)

// identifierHex returns the octets of an identifier in hexadecimal digits. It takes capital letters only, so that a call
// has one identifier.
func identifierHex(id string) ([]byte, error) {
	if len(id) > 2*longestID || id != "" && !hexDigits.MatchString(id) {
		return nil, &inexpressible{"an identifier that is not a hexadecimal number"}
	}
	return hex.DecodeString(id)
}

// identifierText returns an identifier as an IA5String. It returns an error for one that the peer would read as another,
// and for one that is too long.
func identifierText(id string) ([]byte, error) {
	if id == "" || len(id) > longestID || cleanText([]byte(id)) != id {
		return nil, &inexpressible{"an identifier that is not printable ASCII"}
	}
	return []byte(id), nil
}

// octets returns the octets of a callID.
func (ids CallIDs) octets(id string) ([]byte, error) {
	if ids == HexCallIDs {
		return identifierHex(id)
	}
	if n, err := strconv.ParseUint(id, 10, 31); err == nil && strconv.FormatUint(n, 10) == id {
		return binary.BigEndian.AppendUint32(nil, uint32(n)), nil
	}
	if data, err := identifierHex(id); err == nil && ids.text(data) == id {
		return data, nil
	}
	text, err := identifierText(id)
	return append([]byte{textMark}, text...), err
}

// text returns octets as a callID.
func (ids CallIDs) text(data []byte) string {
	switch {
	case ids == AnyCallIDs && len(data) > 0 && data[0] == textMark:
		return cleanText(data[1:])
	case ids == AnyCallIDs && len(data) == numberOctets && data[0] < 0x80:
		return strconv.FormatUint(uint64(binary.BigEndian.Uint32(data)), 10)
	}
	return toHex(data)
}
