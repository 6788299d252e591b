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
	// AnyCallIDs are of any switching function, for a client in ASN.1: digits become octets
	// again where they can, other text goes behind the octet FF.
	AnyCallIDs
)

const textMark = 0xFF

// longestID is how many octets an identifier may have: the notation has no bound, a peer has.
const longestID = 255

var hexDigits = regexp.MustCompile(`^([0-9A-F]{2})+$`)

// identifierHex is the octets of an identifier in hexadecimal digits. They are written in one way
// only: another one would be another name for the same call.
func identifierHex(id string) ([]byte, error) {
	if len(id) > 2*longestID || id != "" && !hexDigits.MatchString(id) {
		return nil, &unsayable{"an identifier that is no hexadecimal number"}
	}
	return hex.DecodeString(id)
}

// identifierText is an identifier as IA5String: what would be read back as another one, or is
// longer than any number, is not written.
func identifierText(id string) ([]byte, error) {
	if id == "" || len(id) > longestID || cleanText([]byte(id)) != id {
		return nil, &unsayable{"an identifier that is not printable ASCII"}
	}
	return []byte(id), nil
}

// octets are those of a callID.
func (ids CallIDs) octets(id string) ([]byte, error) {
	if ids == HexCallIDs || hexDigits.MatchString(id) && !strings.HasPrefix(id, "FF") {
		return identifierHex(id)
	}
	text, err := identifierText(id)
	return append([]byte{textMark}, text...), err
}

func (ids CallIDs) text(data []byte) string {
	if ids == AnyCallIDs && len(data) > 0 && data[0] == textMark {
		return cleanText(data[1:])
	}
	return toHex(data)
}
