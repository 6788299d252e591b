package media

import (
	"time"

	"github.com/pion/rtp"

	"github.com/tr87proxy/tr87proxy/internal/audio"
)

// pass forwards a packet of another telephone: as it is if this telephone has agreed to its codec, or converted to
// this telephone's law. It drops what is neither.
func (l *Leg) pass(p *rtp.Packet, from *codec) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.peer == nil {
		return
	}
	payload, to := p.Payload, l.peer.law()
	switch {
	case from == l.wide:
		to = withCodec(l.peer.formats, from)
	case from.law == nil:
		to = nil
	case to != nil && to.codec != from:
		payload = to.codec.law.Octets(from.law.Samples(payload))
	}
	if to == nil {
		return
	}
	if l.source != p.SSRC || l.lastSent.IsZero() {
		l.source = p.SSRC
		l.shift = l.elapsed(to.codec.clock) - p.Timestamp
	}
	l.timestamp = p.Timestamp + l.shift
	l.emit(to.number, p.Marker, l.timestamp, payload)
}

// elapsed returns the timestamp of the next packet after the source changed. clock is in Hz. Callers hold l.mu.
func (l *Leg) elapsed(clock int) uint32 {
	if l.lastSent.IsZero() {
		return l.timestamp
	}
	return l.timestamp + uint32(max(time.Since(l.lastSent)*time.Duration(clock)/time.Second, time.Duration(clock/50)))
}

// sendFrame sends a frame of samples. It sets the marker on the first frame after silence.
func (l *Leg) sendFrame(samples []int16) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.peer == nil {
		return
	}
	to := l.peer.law()
	if to == nil {
		return
	}
	fresh := l.source != 0 || l.lastSent.IsZero() || time.Since(l.lastSent) > silence
	if fresh {
		l.timestamp = l.elapsed(audio.Rate)
	} else {
		l.timestamp += audio.Frame
	}
	l.source = 0
	l.emit(to.number, fresh, l.timestamp, to.codec.law.Octets(samples))
}

// emit sends one packet. Callers hold l.mu.
func (l *Leg) emit(payloadType uint8, marker bool, timestamp uint32, payload []byte) {
	encrypted := l.peer.keying != inClear
	if l.closed || l.relay != nil || !l.flow.Sends() || !l.to.IsValid() || encrypted && l.voice.out == nil {
		return
	}
	l.sequence++
	p := rtp.Packet{
		Header:  rtp.Header{Version: 2, PayloadType: payloadType, Marker: marker, SequenceNumber: l.sequence, Timestamp: timestamp, SSRC: l.ssrc},
		Payload: payload,
	}
	data, err := p.Marshal()
	if err == nil && encrypted {
		data, err = l.voice.out.EncryptRTP(nil, data, nil)
	}
	if err != nil {
		return
	}
	if _, err := l.conn.WriteToUDPAddrPort(data, l.to); err == nil {
		l.sent++
		l.octets += uint32(len(payload))
		l.lastSent = time.Now()
	}
}
