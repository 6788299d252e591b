package media

import (
	"encoding/base64"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// Errors of session descriptions.
var (
	ErrNoAudio  = errors.New("session description has no audio stream")
	ErrNoCodec  = errors.New("session description has neither PCMA nor PCMU")
	ErrNoCrypto = errors.New("session description has no usable SRTP key or fingerprint")
	// ErrPlain is returned for voice or fax in clear where that is not allowed.
	ErrPlain = errors.New("not encrypted, which the key srtp requires")
	// ErrPlainKeys is returned for SRTP keys that were sent without encryption.
	ErrPlainKeys = errors.New("SRTP keys are accepted over TLS only")
)

// Payload types of our telephone events at 8 and 48 kHz, unless the peer chose others.
const (
	eventPayload   = 101
	eventPayload48 = 102
)

// description is the audio stream that we use of a session description.
type description struct {
	origin    string         // its o= line
	address   netip.AddrPort // where to send voice; zero means nowhere
	control   netip.Addr     // where to send reports, if given
	direction Direction
	keying    keying
	suite     string // of the key; tag is the attribute's
	tag       string
	key       []byte
	prints    []string // fingerprints, one of them of the writer's certificate
	setup     string   // who begins the handshake; "" for the default
	mux       bool     // reports go with the voice
	formats   []format // of voice, in the writer's order
	event     uint8    // payload type of telephone events at 8 kHz; 0 means none
	event48   uint8    // at 48 kHz, beside Opus
	media     int      // index of its m= line
	lines     []stream
}

// read parses a session description (RFC 8866, RFC 4568) and selects a stream: the first encrypted one that we
// can use, rather by its keys than by DTLS, or the first plain one (RFC 3264 6). It returns the error of the first stream
// if we can use none.
func read(data []byte, signals netip.Addr, refused refusals) (*description, error) {
	s, err := parse(data)
	if err != nil {
		return nil, err
	}
	var best *description
	for i := range s.streams {
		m := &s.streams[i]
		if m.media != "audio" || m.port == 0 || !slices.Contains(profiles, m.proto) {
			continue
		}
		d, wrong := m.audio(s.attributes, signals, refused)
		switch {
		case wrong != nil:
			if err == nil {
				err = wrong
			}
		case best == nil || d.keying > best.keying:
			best = d
			best.origin, best.media, best.lines = s.origin, i, s.streams
		}
	}
	switch {
	case best != nil:
		return best, nil
	case err != nil:
		return nil, err
	}
	return nil, ErrNoAudio
}

// profiles are the profiles of RTP that we serve; we ignore the feedback of AVPF (RFC 4585) and SAVPF (RFC 5124).
var profiles = []string{"RTP/AVP", "RTP/AVPF", "RTP/SAVP", "RTP/SAVPF", "UDP/TLS/RTP/SAVP", "UDP/TLS/RTP/SAVPF"}

// audio reads an audio stream. session has the attributes of all streams.
func (m *stream) audio(session []attribute, signals netip.Addr, refused refusals) (*description, error) {
	d := &description{direction: direction(m.attributes, direction(session, SendRecv))}
	if err := d.connection(m, signals); err != nil {
		return nil, err
	}
	d.voice(m)
	if len(d.formats) == 0 {
		return nil, ErrNoCodec
	}
	if err := d.secure(m, session, refused); err != nil && strings.Contains(m.proto, "/SAVP") {
		return nil, err
	}
	return d, nil
}

// secure selects how keys are agreed on, and returns an error if they are not.
func (d *description) secure(m *stream, session []attribute, refused refusals) error {
	err := ErrNoCrypto
	if !strings.HasPrefix(m.proto, "UDP/TLS/") && d.crypto(m) {
		if err = refused[bySDES]; err == nil {
			d.keying = bySDES
			return nil
		}
	}
	if refused[byDTLS] == nil && d.identified(m, session) {
		d.keying = byDTLS
		return nil
	}
	return err
}

// voice selects the codecs and the payload types of telephone events.
func (d *description) voice(m *stream) {
	names := map[string]string{"8": pcma.name, "0": pcmu.name, "9": g722.name} // static types need no rtpmap
	for _, value := range values(m.attributes, "rtpmap") {
		number, name, _ := strings.Cut(value, " ")
		names[number] = strings.TrimSuffix(strings.TrimSpace(name), "/1")
	}
	parameters := map[string]string{}
	for _, value := range values(m.attributes, "fmtp") {
		number, text, _ := strings.Cut(value, " ")
		parameters[number] = strings.TrimSpace(text)
	}
	for _, text := range m.formats {
		number, err := strconv.ParseUint(text, 10, 7)
		if err != nil {
			continue
		}
		name := names[text]
		i := slices.IndexFunc(codecs, func(c *codec) bool { return strings.EqualFold(c.name, name) })
		switch {
		case i >= 0 && withCodec(d.formats, codecs[i]) == nil:
			d.formats = append(d.formats, format{uint8(number), codecs[i], parameters[text]})
		case strings.EqualFold(name, "telephone-event/8000") && d.event == 0:
			d.event = uint8(number)
		case strings.EqualFold(name, "telephone-event/48000") && d.event48 == 0:
			d.event48 = uint8(number)
		}
	}
}

// suites are the suites of SRTP that we support, best first (RFC 4568 6.2).
var suites = []string{"AES_CM_128_HMAC_SHA1_80", "AES_CM_128_HMAC_SHA1_32"}

// crypto selects the first usable key (RFC 4568 9.1). It returns false if there is none.
func (d *description) crypto(m *stream) bool {
	for _, value := range values(m.attributes, "crypto") {
		fields := strings.Fields(value)
		if len(fields) < 3 || !slices.Contains(suites, fields[1]) {
			continue
		}
		inline, ok := strings.CutPrefix(fields[2], "inline:")
		inline, _, _ = strings.Cut(inline, "|")
		key, err := base64.StdEncoding.DecodeString(inline)
		if ok && err == nil && len(key) == keyLength {
			d.tag, d.suite, d.key = fields[0], fields[1], key
			return true
		}
	}
	return false
}

// Values of a=setup (RFC 4145 4): the writer begins the handshake, the other one does, or either.
const (
	setupActive  = "active"
	setupPassive = "passive"
	setupBoth    = "actpass"
)

// identified reads what DTLS needs (RFC 5763 5), from the stream or else from the session. It returns false if that is
// not usable.
func (d *description) identified(m *stream, session []attribute) bool {
	find := func(name string) []string {
		if own := values(m.attributes, name); len(own) > 0 {
			return own
		}
		return values(session, name)
	}
	d.prints = fingerprints(find("fingerprint"))
	if setup := find("setup"); len(setup) > 0 {
		d.setup = strings.ToLower(setup[0])
	}
	usable := len(d.prints) > 0 && slices.Contains([]string{"", setupActive, setupPassive, setupBoth}, d.setup)
	d.mux = usable && len(values(m.attributes, "rtcp-mux")) > 0
	return usable
}

// write returns our session description: the answer to an offer, or an offer that keeps the streams and the
// encryption that were agreed (RFC 3264 8). to has the peer's streams.
func (l *Leg) write(dir Direction, to *description, formats []format) []byte {
	l.ours, l.ourEvents = formats, [2]uint8{to.event, to.event48}
	return l.document(to.lines, to.media, func(line func(string, ...any)) {
		l.audio(line, to.lines[to.media].proto, formats, to, dir)
		switch to.keying {
		case bySDES:
			line("a=crypto:%s %s inline:%s", to.tag, to.suite, base64.StdEncoding.EncodeToString(l.localKey))
		case byDTLS:
			line("a=setup:%s", l.setup())
			line("a=fingerprint:%s", l.engine.identity.fingerprint)
			if to.mux {
				line("a=rtcp-mux")
			}
		}
	})
}

// setup returns the value of our a=setup (RFC 5763 5). Callers hold l.mu.
func (l *Leg) setup() string {
	switch {
	case l.awaits: // an offer
		return setupBoth
	case l.associations[onVoice].client:
		return setupActive
	}
	return setupPassive
}

// document returns a session description with one stream, which body writes, at its place among those of the
// peer. It refuses the others.
func (l *Leg) document(lines []stream, media int, body func(line func(string, ...any))) []byte {
	l.version++
	ip := l.shown
	family := "IP4"
	if ip.Is6() {
		family = "IP6"
	}
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\r\n", args...) }
	line("v=0")
	line("o=- %d %d IN %s %s", l.ssrc, l.version, family, ip)
	line("s=-")
	line("c=IN %s %s", family, ip)
	line("t=0 0")
	for i, m := range lines {
		if i == media {
			body(line)
		} else {
			line("m=%s 0 %s %s", m.media, m.proto, strings.Join(m.formats, " "))
		}
	}
	return []byte(b.String())
}

func (l *Leg) audio(line func(string, ...any), proto string, formats []format, to *description, dir Direction) {
	var numbers, lines strings.Builder
	payload := func(number uint8, name, parameters string) {
		fmt.Fprintf(&numbers, " %d", number)
		fmt.Fprintf(&lines, "a=rtpmap:%d %s\r\n", number, name)
		if parameters != "" {
			fmt.Fprintf(&lines, "a=fmtp:%d %s\r\n", number, parameters)
		}
	}
	for _, f := range formats {
		payload(f.number, f.codec.name, f.parameters)
	}
	if to.event != 0 {
		payload(to.event, "telephone-event/8000", "0-16")
	}
	if to.event48 != 0 && withCodec(formats, opus) != nil {
		payload(to.event48, "telephone-event/48000", "0-16")
	}
	line("m=audio %d %s%s", l.port, proto, numbers.String())
	line("%sa=ptime:20", lines.String())
	line("a=%s", dir)
}
