package audio

import "math/bits"

// The form of all sound here: 8 kHz, in frames of 20 ms.
const (
	Rate  = 8000      // samples a second
	Frame = Rate / 50 // samples in 20 ms
)

// Law is a companding law of ITU-T G.711.
type Law struct {
	encode *[1 << 16]byte
	decode *[256]int16
}

// The two laws of G.711.
var (
	ALaw  = newLaw(encodeA, decodeA)
	MuLaw = newLaw(encodeMu, decodeMu)
)

func newLaw(encode func(int16) byte, decode func(byte) int16) *Law {
	l := &Law{encode: new([1 << 16]byte), decode: new([256]int16)}
	for i := range l.encode {
		l.encode[i] = encode(int16(uint16(i)))
	}
	for i := range l.decode {
		l.decode[i] = decode(byte(i))
	}
	return l
}

// Samples decodes octets.
func (l *Law) Samples(payload []byte) []int16 {
	out := make([]int16, len(payload))
	for i, b := range payload {
		out[i] = l.decode[b]
	}
	return out
}

// Octets encodes samples.
func (l *Law) Octets(samples []int16) []byte {
	out := make([]byte, len(samples))
	for i, s := range samples {
		out[i] = l.encode[uint16(s)]
	}
	return out
}

// encodeA encodes the upper 13 bits of a sample (G.711 table 1).
func encodeA(s int16) byte {
	v, sign := int(s), byte(0xd5)
	if v < 0 {
		v, sign = -v-1, 0x55
	}
	v >>= 3
	if v < 32 {
		return byte(v>>1) ^ sign
	}
	segment := min(bits.Len(uint(v))-5, 7)
	return byte(segment<<4|v>>segment&15) ^ sign
}

func decodeA(b byte) int16 {
	b ^= 0x55
	v := int(b&15)<<4 + 8
	if segment := int(b >> 4 & 7); segment > 0 {
		v = (v + 256) << (segment - 1)
	}
	if b&0x80 == 0 {
		v = -v
	}
	return int16(v)
}

// encodeMu encodes the upper 14 bits of a sample (G.711 table 2).
func encodeMu(s int16) byte {
	v, sign := int(s), byte(0xff)
	if v < 0 {
		v, sign = -v, 0x7f
	}
	v = min(v>>2, 8158) + 33
	segment := bits.Len(uint(v)) - 6
	return byte(segment<<4|v>>(segment+1)&15) ^ sign
}

func decodeMu(b byte) int16 {
	b = ^b
	v := ((int(b&15)<<3 + 0x84) << (b >> 4 & 7)) - 0x84
	if b&0x80 != 0 {
		v = -v
	}
	return int16(v)
}
