package media

import (
	"encoding/binary"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/pion/rtp"

	"github.com/tr87proxy/tr87proxy/internal/audio"
)

// keys lists the digits in the order of their event codes (RFC 4733 3.2).
const keys = "0123456789*#ABCD"

// eventOut is the telephone event being forwarded.
type eventOut struct {
	source uint32 // RTP timestamp at the sender
	ours   uint32
	at     time.Time
}

// key handles a packet of a telephone event (RFC 4733 2.5): it reports each event once and
// forwards every packet.
func (l *Leg) key(p *rtp.Packet, room *Room) {
	if len(p.Payload) < 4 || int(p.Payload[0]) >= len(keys) {
		return
	}
	l.mu.Lock()
	fresh := l.eventIn != p.Timestamp || l.eventIn == 0
	l.eventIn = p.Timestamp
	clock := audio.Rate
	if p.PayloadType != l.ourEvents[0] && (p.PayloadType == l.ourEvents[1] || p.PayloadType == l.peer.event48) {
		clock = opus.clock
	}
	l.mu.Unlock()
	if room != nil {
		for _, other := range room.others(l) {
			other.passEvent(p, clock)
		}
	}
	if fresh {
		l.watcher.Digit(rune(keys[p.Payload[0]]))
	}
}

// events returns the payload type and the clock of the telephone events that the telephone takes, which is that of
// its voice if it takes both (RFC 4733 2.1), or 0. Callers hold l.mu.
func (l *Leg) events() (number uint8, clock int) {
	switch {
	case l.peer == nil:
		return 0, audio.Rate
	case l.peer.event48 != 0 && (l.wide == opus || l.peer.event == 0):
		return l.peer.event48, opus.clock
	}
	return l.peer.event, audio.Rate
}

// passEvent forwards a packet of a telephone event. clock is that of its duration.
func (l *Leg) passEvent(p *rtp.Packet, clock int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	number, own := l.events()
	if number == 0 {
		return
	}
	fresh := l.event.source != p.Timestamp || time.Since(l.event.at) > silence
	if fresh {
		l.timestamp = l.elapsed(own)
		l.event.source, l.event.ours = p.Timestamp, l.timestamp
	}
	l.event.at = time.Now()
	payload := slices.Clone(p.Payload)
	duration := int(binary.BigEndian.Uint16(payload[2:])) * own / clock
	binary.BigEndian.PutUint16(payload[2:], uint16(min(duration, math.MaxUint16)))
	l.emit(number, fresh, l.event.ours, payload)
}

// digits sends digits to the telephone, each for tone and followed by pause, until done is
// closed.
func (l *Leg) digits(digits string, tone, pause time.Duration, done <-chan struct{}) {
	wait := func(d time.Duration) bool {
		t := time.NewTimer(d)
		defer t.Stop()
		select {
		case <-t.C:
			return true
		case <-l.done:
		case <-done:
		}
		return false
	}
	for _, digit := range strings.ToUpper(digits) {
		code := strings.IndexRune(keys, digit)
		if code < 0 {
			continue
		}
		l.mu.Lock()
		number, clock := l.events()
		at := l.elapsed(clock)
		l.mu.Unlock()
		for length := audio.Frame; ; length += audio.Frame {
			last := time.Duration(length)*time.Second/audio.Rate >= tone
			for range 1 + 2*count(last) { // the end packet is sent three times (RFC 4733 2.5.1.4)
				l.mu.Lock()
				if number != 0 {
					payload := []byte{byte(code), 10 | byte(count(last))<<7, 0, 0}
					binary.BigEndian.PutUint16(payload[2:], uint16(min(length*(clock/audio.Rate), math.MaxUint16)))
					l.emit(number, length == audio.Frame, at, payload)
				}
				l.mu.Unlock()
			}
			if last {
				l.mu.Lock()
				l.timestamp = at + uint32(length*(clock/audio.Rate))
				l.mu.Unlock()
				break
			}
			if !wait(20 * time.Millisecond) {
				return
			}
		}
		if !wait(pause) {
			return
		}
	}
}

func count(b bool) int {
	if b {
		return 1
	}
	return 0
}
