package asn1

import (
	"encoding/hex"
	"regexp"
	"strings"
)

// CallIDs says how a codec writes the octets of a callID as text, and back.
type CallIDs int

const (
	// HexCallIDs is for switching functions in ASN.1: each octet is two hexadecimal digits.
	HexCallIDs CallIDs = iota
	// AnyCallIDs is for clients in ASN.1, before any switching function: text of hexadecimal digits is octets again, other
	// text follows the octet FF.
	AnyCallIDs
)

const textMark = 0xFF

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
	if ids == HexCallIDs || hexDigits.MatchString(id) && !strings.HasPrefix(id, "FF") {
		return identifierHex(id)
	}
	text, err := identifierText(id)
	return append([]byte{textMark}, text...), err
}

// text returns octets as a callID.
func (ids CallIDs) text(data []byte) string {
	if ids == AnyCallIDs && len(data) > 0 && data[0] == textMark {
		return cleanText(data[1:])
	}
	return toHex(data)
}
