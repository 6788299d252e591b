package proxy

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"strconv"
	"strings"
	"sync/atomic"
)

// references makes the references and callIDs that clients see: decimal numbers from 1 to 2^31-1,
// because some clients read them as integers. None repeats until all have been used, and nobody can
// guess the next: it is a counter under a permutation (a Feistel network) with a random key.
type references struct {
	key   [16]byte
	count atomic.Uint32
}

func newReferences() *references {
	r := &references{}
	_, _ = rand.Read(r.key[:]) // it never fails
	return r
}

// next returns a new reference.
func (r *references) next() string {
	for {
		if n := r.permute(r.count.Add(1)); n > 0 && n < 1<<31 { // half of the numbers are too large
			return strconv.FormatUint(uint64(n), 10)
		}
	}
}

// maxReference limits a link's reference, in octets.
const maxReference = 1024

// reference returns a copy of a link's reference, which does not keep the whole message in memory. It
// returns "" if the reference is too long.
func reference(text string) string {
	if len(text) > maxReference {
		return ""
	}
	return strings.Clone(text)
}

// permute maps the 32-bit numbers onto themselves.
func (r *references) permute(n uint32) uint32 {
	left, right := uint16(n>>16), uint16(n)
	for round := range byte(6) {
		mac := hmac.New(sha256.New, r.key[:])
		_, _ = mac.Write([]byte{round, byte(right >> 8), byte(right)}) // it never fails
		left, right = right, left^binary.BigEndian.Uint16(mac.Sum(nil))
	}
	return uint32(left)<<16 | uint32(right)
}
