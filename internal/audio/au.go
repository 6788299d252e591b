package audio

import "encoding/binary"

// auFormats has the format tag of WAVE for each encoding of an AU file.
var auFormats = map[int64]int{1: formatMuLaw, 3: formatPCM, 27: formatALaw}

// auHeader is the length of the fixed part of the header: magic number, offset of the sound, its size, encoding, rate,
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
	return clip(auFormats[u32(12)], binary.BigEndian, data[begin:begin+size])
}
