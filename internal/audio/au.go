package audio

import "encoding/binary"

// Encodings of an AU file.
const (
	auMuLaw = 1
	auPCM   = 3
	auALaw  = 27
)

// auHeader is the length of the fixed part of the header: magic number, offset of the sound, its size, encoding, Rate,
// and channels, each big-endian in four octets.
const auHeader = 24

// readAU reads a file of Sun's and NeXT's format.
func readAU(data []byte) (*Clip, error) {
	if len(data) < auHeader {
		return nil, errSound
	}
	u32 := func(at int) int64 { return int64(binary.BigEndian.Uint32(data[at:])) }
	begin, size := u32(4), u32(8)
	switch {
	case u32(16) != Rate || u32(20) != 1 || begin < auHeader || begin > int64(len(data)):
		return nil, errSound
	case size == unknownSize:
		size = int64(len(data)) - begin
	case size > int64(len(data))-begin:
		return nil, errShort
	}
	body := data[begin : begin+size]
	switch u32(12) {
	case auMuLaw:
		return &Clip{MuLaw.Samples(body)}, nil
	case auALaw:
		return &Clip{ALaw.Samples(body)}, nil
	case auPCM:
		c := &Clip{make([]int16, len(body)/2)}
		for i := range c.samples {
			c.samples[i] = int16(binary.BigEndian.Uint16(body[2*i:]))
		}
		return c, nil
	}
	return nil, errSound
}
