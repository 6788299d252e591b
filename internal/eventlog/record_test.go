package eventlog

import (
	"bytes"
	"encoding/binary"
	"testing"
	"time"
)

// A record is read as it was written, whatever its octets; and one that was changed is not read.
func FuzzRecord(f *testing.F) {
	f.Add(uint64(7), "100", "delivered", []byte(`{"a":1}`), int64(1764432000123456789), uint16(3))
	f.Add(uint64(0), "", "", []byte{}, int64(-1), uint16(0))
	f.Fuzz(func(t *testing.T, seq uint64, device, kind string, data []byte, at int64, place uint16) {
		if len(device) > maxName || len(kind) > maxName {
			return
		}
		e := Entry{Seq: seq, Time: time.Unix(0, at), Device: device, Kind: kind, Data: data}
		k, v := key(seq), encode(&e)
		got, err := decode(k, v)
		if err != nil || got.Seq != seq || !got.Time.Equal(e.Time) || got.Device != device || got.Kind != kind || !bytes.Equal(got.Data, data) || got.size() != int64(len(v)-head+overhead) {
			t.Fatalf("%+v: %v", got, err)
		}
		changed := bytes.Clone(v)
		changed[int(place)%len(v)] ^= 1
		if _, err := decode(k, changed); err == nil {
			t.Error("a changed record is read")
		}
		if _, err := decode(key(seq+1), v); err == nil {
			t.Error("a record is read under another number")
		}
		// Whoever writes the checksum, too, gets no more than an error.
		for _, lie := range [][]byte{data, v[:int(place)%len(v)], changed} {
			if len(lie) >= 4 {
				lie = bytes.Clone(lie)
				binary.BigEndian.PutUint32(lie, checksum(k, lie))
			}
			_, _ = decode(k, lie)
		}
	})
}
