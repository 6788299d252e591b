package eventlog

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"time"

	"github.com/tr87proxy/tr87proxy/internal/database"
)

// head is the number of octets of an entry before its texts: checksum, time, lengths of device and kind.
const head = 16

func key(seq uint64) []byte { return binary.BigEndian.AppendUint64(nil, seq) }

var checksums = crc32.MakeTable(crc32.Castagnoli)

// encode returns an entry as it is in the file.
func encode(e *Entry) []byte {
	b := make([]byte, 4, head+len(e.Device)+len(e.Kind)+len(e.Data))
	b = binary.BigEndian.AppendUint64(b, uint64(e.Time.UnixNano()))
	b = binary.BigEndian.AppendUint16(b, uint16(len(e.Device)))
	b = binary.BigEndian.AppendUint16(b, uint16(len(e.Kind)))
	b = append(b, e.Device...)
	b = append(b, e.Kind...)
	b = append(b, e.Data...)
	binary.BigEndian.PutUint32(b, checksum(key(e.Seq), b))
	return b
}

// checksum returns the checksum of an entry that stands under a key.
func checksum(k, v []byte) uint32 {
	return crc32.Update(crc32.Checksum(k, checksums), checksums, v[4:])
}

// decode reads an entry. It keeps nothing of its arguments.
func decode(k, v []byte) (Entry, error) {
	if len(k) != 8 || len(v) < head || checksum(k, v) != binary.BigEndian.Uint32(v) {
		return Entry{}, fmt.Errorf("%w: an entry has a wrong checksum", database.ErrDamaged)
	}
	device, kind := int(binary.BigEndian.Uint16(v[12:])), int(binary.BigEndian.Uint16(v[14:]))
	texts := v[head:]
	if device+kind > len(texts) {
		return Entry{}, fmt.Errorf("%w: an entry is too short", database.ErrDamaged)
	}
	return Entry{
		Seq:    binary.BigEndian.Uint64(k),
		Time:   entryTime(v),
		Device: string(texts[:device]),
		Kind:   string(texts[device : device+kind]),
		Data:   bytes.Clone(texts[device+kind:]),
	}, nil
}

func entryTime(v []byte) time.Time { return time.Unix(0, int64(binary.BigEndian.Uint64(v[4:]))) }
