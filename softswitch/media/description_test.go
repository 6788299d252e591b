package media

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pion/rtp"
)

const someKey = "inline:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"

// What is used of an offer over TLS, and over a transport that is not encrypted.
func TestDescriptions(t *testing.T) {
	crypto := "a=crypto:2 AES_CM_128_HMAC_SHA1_80 " + someKey
	somePrint := "a=fingerprint:SHA-256 ab" + strings.Repeat(":0F", 31) + "\r\n"
	for _, tt := range []struct {
		name, text, want, plain string // plain: "" for the same
	}{
		{"plain", "m=audio 4000 RTP/AVP 0 8 101\r\na=rtpmap:101 telephone-event/8000\r\n", "192.0.2.1:4000 PCMU 0 event 101 sendrecv", ""},
		{"A-law first", "m=audio 4000 RTP/AVP 18 8 0\r\n", "192.0.2.1:4000 PCMA 8 event 0 sendrecv", ""},
		{"dynamic A-law", "m=audio 4000 RTP/AVP 97 0\r\na=rtpmap:97 pcma/8000/1\r\n", "192.0.2.1:4000 PCMA 97 event 0 sendrecv", ""},
		{"another clock", "m=audio 4000 RTP/AVP 97 0\r\na=rtpmap:97 PCMA/16000\r\n", "192.0.2.1:4000 PCMU 0 event 0 sendrecv", ""},
		{"G.722 first", "m=audio 4000 RTP/AVP 9 8 0\r\n", "192.0.2.1:4000 G722 9 event 0 sendrecv", ""},
		{"a static type for another codec", "m=audio 4000 RTP/AVP 8 0\r\na=rtpmap:8 L16/44100/2\r\n", "192.0.2.1:4000 PCMU 0 event 0 sendrecv", ""},
		{"own address", "m=audio 4000 RTP/AVP 8\r\nc=IN IP4 192.0.2.7\r\na=sendonly\r\n", "192.0.2.7:4000 PCMA 8 event 0 sendonly", ""},
		{"hold of old", "m=audio 4000 RTP/AVP 8\r\nc=IN IP4 0.0.0.0\r\n", "invalid AddrPort PCMA 8 event 0 inactive", ""},
		{"feedback", "m=audio 4000 RTP/AVPF 8\r\na=rtcp-fb:* nack\r\n", "192.0.2.1:4000 PCMA 8 event 0 sendrecv", ""},
		{"several ports", "m=audio 4000/2 RTP/AVP 8\r\n", "192.0.2.1:4000 PCMA 8 event 0 sendrecv", ""},
		{"video before it", "m=video 5000 RTP/AVP 96\r\nm=audio 4000 RTP/AVP 8\r\n", "192.0.2.1:4000 PCMA 8 event 0 sendrecv", ""},
		{"fax before it", "m=image 5000 udptl t38\r\nm=audio 4000 RTP/AVP 8\r\n", "192.0.2.1:4000 PCMA 8 event 0 sendrecv", ""},
		{"fax over TCP", "m=audio 4000 RTP/AVP 8\r\nm=image 9 TCP t38\r\n", "192.0.2.1:4000 PCMA 8 event 0 sendrecv", ""},
		{"media without name", "m=x-data 5000 RTP/AVP 99\r\nm=audio 4000 RTP/AVP 8\r\n", "192.0.2.1:4000 PCMA 8 event 0 sendrecv", ""},
		{"secure first", "m=audio 4000 RTP/SAVP 8\r\n" + crypto + "|2^20\r\nm=audio 4002 RTP/AVP 8\r\n", "192.0.2.1:4000 PCMA 8 event 0 sendrecv secure", "192.0.2.1:4002 PCMA 8 event 0 sendrecv"},
		{"secure second", "m=audio 4002 RTP/AVP 8\r\nm=audio 4000 RTP/SAVPF 8\r\n" + crypto + "\r\n", "192.0.2.1:4000 PCMA 8 event 0 sendrecv secure", "192.0.2.1:4002 PCMA 8 event 0 sendrecv"},
		{"secure if you can (RFC 8643)", "m=audio 4000 RTP/AVP 8\r\n" + crypto + "\r\n", "192.0.2.1:4000 PCMA 8 event 0 sendrecv secure", "192.0.2.1:4000 PCMA 8 event 0 sendrecv"},
		{"secure without our codec", "m=audio 4000 RTP/SAVP 18\r\n" + crypto + "\r\nm=audio 4002 RTP/AVP 8\r\n", "192.0.2.1:4002 PCMA 8 event 0 sendrecv", ""},
		{"no key", "m=audio 4000 RTP/SAVP 8\r\na=crypto:1 F8_128_HMAC_SHA1_80 " + someKey + "\r\n", ErrNoCrypto.Error(), ""},
		{"only secure", "m=audio 4000 RTP/SAVP 8\r\n" + crypto, "192.0.2.1:4000 PCMA 8 event 0 sendrecv secure", ErrPlainKeys.Error()},
		{"no codec", "m=audio 4000 RTP/AVP 3 18\r\n", ErrNoCodec.Error(), ""},
		{"refused", "m=audio 0 RTP/AVP 8\r\n", ErrNoAudio.Error(), ""},
		{"nothing", "", ErrNoAudio.Error(), ""},
		{"DTLS", "m=audio 4000 UDP/TLS/RTP/SAVPF 8\r\na=setup:ACTPASS\r\n" + somePrint, "192.0.2.1:4000 PCMA 8 event 0 sendrecv DTLS", ""},
		{"DTLS for the session", "a=setup:active\r\n" + somePrint + "m=audio 4000 UDP/TLS/RTP/SAVP 8\r\n", "192.0.2.1:4000 PCMA 8 event 0 sendrecv DTLS", ""},
		{"DTLS in an older profile", "m=audio 4000 RTP/SAVP 8\r\n" + somePrint, "192.0.2.1:4000 PCMA 8 event 0 sendrecv DTLS", ""},
		{"DTLS if you can (RFC 8643)", "m=audio 4000 RTP/AVP 8\r\n" + somePrint, "192.0.2.1:4000 PCMA 8 event 0 sendrecv DTLS", ""},
		{"DTLS, reports with the voice", "m=audio 4000 UDP/TLS/RTP/SAVP 8\r\na=rtcp-mux\r\n" + somePrint, "192.0.2.1:4000 PCMA 8 event 0 sendrecv DTLS mux", ""},
		{"no DTLS, no reports with the voice", "m=audio 4000 RTP/AVP 8\r\na=rtcp-mux\r\na=setup:holdconn\r\n" + somePrint, "192.0.2.1:4000 PCMA 8 event 0 sendrecv", ""},
		{"DTLS, or a key", "m=audio 4000 RTP/SAVP 8\r\n" + crypto + "\r\n" + somePrint, "192.0.2.1:4000 PCMA 8 event 0 sendrecv secure", "192.0.2.1:4000 PCMA 8 event 0 sendrecv DTLS"},
		{"DTLS first, a key second", "m=audio 4000 UDP/TLS/RTP/SAVP 8\r\n" + somePrint + "m=audio 4002 RTP/SAVP 8\r\n" + crypto + "\r\nm=audio 4004 RTP/AVP 8\r\n", "192.0.2.1:4002 PCMA 8 event 0 sendrecv secure", "192.0.2.1:4000 PCMA 8 event 0 sendrecv DTLS"},
		{"DTLS with a key only", "m=audio 4000 UDP/TLS/RTP/SAVP 8\r\n" + crypto + "\r\n", ErrNoCrypto.Error(), ""},
		{"DTLS without fingerprint", "m=audio 4000 UDP/TLS/RTP/SAVPF 8\r\n", ErrNoCrypto.Error(), ""},
		{"DTLS with a weak hash", "m=audio 4000 UDP/TLS/RTP/SAVP 8\r\na=fingerprint:sha-1 00" + strings.Repeat(":00", 19) + "\r\na=fingerprint:md5 00" + strings.Repeat(":00", 15) + "\r\n", ErrNoCrypto.Error(), ""},
		{"DTLS later", "m=audio 4000 UDP/TLS/RTP/SAVP 8\r\na=setup:holdconn\r\n" + somePrint, ErrNoCrypto.Error(), ""},
		{"another transport", "m=audio 4000 TCP/TLS/RTP/SAVP 8\r\n" + somePrint, ErrNoAudio.Error(), ""},
		{"no port", "m=audio x RTP/AVP 8\r\n", errSyntax.Error(), ""},
		{"port too high", "m=audio 65536 RTP/AVP 8\r\n", errSyntax.Error(), ""},
		{"no formats", "m=audio 4000 RTP/AVP\r\n", errSyntax.Error(), ""},
		{"too many streams", strings.Repeat("m=video 0 RTP/AVP 96\r\n", maxStreams) + "m=audio 4000 RTP/AVP 8\r\n", errSyntax.Error(), ""},
		{"too long", "m=audio 4000 RTP/AVP 8\r\n" + strings.Repeat("a=x\r\n", maxDescription/5), errSyntax.Error(), ""},
		{"a control character", "m=audio 4000 RTP/AVP 8\r\na=x\x00y\r\n", errSyntax.Error(), ""},
		{"a second description", "m=audio 4000 RTP/AVP 8\r\nv=0\r\n", errSyntax.Error(), ""},
		{"no line", "hello\r\n", errSyntax.Error(), ""},
	} {
		for secure, want := range map[bool]string{true: tt.want, false: tt.plain} {
			if want == "" {
				want = tt.want
			}
			if got := outline(read([]byte(offer+tt.text), outside, Peer{outside, secure}.refuses())); got != want && !strings.HasPrefix(got, want+":") {
				t.Errorf("%s, over TLS %v: %s, want %s", tt.name, secure, got, want)
			}
		}
	}
}

// outline shows a description in one line.
func outline(d *description, err error) string {
	if err != nil {
		return err.Error()
	}
	text := fmt.Sprintf("%s %s %d event %d %s", d.address, strings.TrimSuffix(d.formats[0].codec.name, "/8000"), d.formats[0].number, d.event, d.direction)
	switch d.keying {
	case byDTLS:
		text += " DTLS"
	case bySDES:
		text += " secure"
	}
	if d.mux {
		text += " mux"
	}
	return text
}

// Descriptions in the forms that telephones write them in, which are not all those of RFC 8866.
func TestLenient(t *testing.T) {
	const want = "192.0.2.1:4000 PCMA 8 event 0 sendonly"
	for name, text := range map[string]string{
		"complete":               "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\na=sendonly\r\nm=audio 4000 RTP/AVP 8\r\n",
		"no end of the last":     "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\nm=audio 4000 RTP/AVP 8\r\na=sendonly",
		"line feeds":             "v=0\no=- 1 1 IN IP4 192.0.2.1\ns=-\nc=IN IP4 192.0.2.1\nt=0 0\na=sendonly\nm=audio 4000 RTP/AVP 8\n",
		"no s=":                  "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\na=sendonly\r\nm=audio 4000 RTP/AVP 8\r\n",
		"an empty s=":            "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\na=sendonly\r\nm=audio 4000 RTP/AVP 8\r\n",
		"no t=":                  "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\na=sendonly\r\nm=audio 4000 RTP/AVP 8\r\n",
		"t= before c=":           "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nt=0 0\r\nc=IN IP4 192.0.2.1\r\na=sendonly\r\nm=audio 4000 RTP/AVP 8\r\n",
		"the direction before":   "v=0\r\na=sendonly\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nt=0 0\r\nc=IN IP4 192.0.2.1\r\nm=audio 4000 RTP/AVP 8\r\n",
		"an unknown line":        "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nx=1\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\na=sendonly\r\nm=audio 4000 RTP/AVP 8\r\n",
		"white space at the end": "v=0\r\no=- 1 1 IN IP4 192.0.2.1 \r\ns=- \r\nc=IN IP4 192.0.2.1 \r\nt=0 0\r\na=sendonly \r\nm=audio 4000 RTP/AVP 8 \r\n\r\n",
		"a host name":            "v=0\r\no=- 1 1 IN IP4 phone.example\r\ns=-\r\nc=IN IP4 phone-1.example.org\r\nt=0 0\r\na=sendonly\r\nm=audio 4000 RTP/AVP 8\r\n",
	} {
		if got := outline(read([]byte(text), outside, Peer{}.refuses())); got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
}

// Of the streams of an offer we take one, and refuse the others with port 0 (RFC 3264 6).
func TestOneStream(t *testing.T) {
	e := New(Config{MinPort: 36000, MaxPort: 36100})
	for _, tt := range []struct {
		streams []string
		secure  bool
		want    []string
	}{
		{[]string{"m=audio 4000 RTP/AVP 8", "m=image 4002 udptl t38"}, false, []string{"m=audio P RTP/AVP 8", "m=image 0 udptl t38"}},
		{[]string{"m=image 0 udptl t38", "m=audio 4000 RTP/AVPF 8"}, false, []string{"m=image 0 udptl t38", "m=audio P RTP/AVPF 8"}},
		{[]string{"m=x-data 1 TCP 1 2", "m=audio 0 RTP/AVP 8", "m=audio 4000 RTP/AVP 8"}, false, []string{"m=x-data 0 TCP 1 2", "m=audio 0 RTP/AVP 8", "m=audio P RTP/AVP 8"}},
		{[]string{"m=audio 4000 RTP/AVP 8", "m=audio 4002 RTP/SAVP 8\r\na=crypto:1 AES_CM_128_HMAC_SHA1_80 " + someKey}, true, []string{"m=audio 0 RTP/AVP 8", "m=audio P RTP/SAVP 8"}},
	} {
		l, err := e.Open(loopback, deaf{})
		if err != nil {
			t.Fatal(err)
		}
		answer, _, err := l.Answer([]byte(offer+strings.Join(tt.streams, "\r\n")+"\r\n"), SendRecv, Peer{outside, tt.secure})
		if err != nil {
			t.Fatal(tt.streams, err)
		}
		for what, text := range map[string][]byte{"the answer": answer, "our next offer": l.Offer(SendRecv)} {
			var got []string
			for line := range strings.Lines(strings.ReplaceAll(string(text), fmt.Sprintf(" %d ", l.port), " P ")) {
				if strings.HasPrefix(line, "m=") {
					line, _, _ = strings.Cut(strings.TrimSpace(line), "P 8 0")
					got = append(got, strings.Replace(strings.TrimSpace(line), " 8 0", " 8", 1))
				}
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("%s to %q: %q, want %q", what, tt.streams, got, tt.want)
			}
		}
		l.Close()
	}
}

// Keys are offered over TLS only; where voice must be encrypted, nothing else is offered or accepted, and DTLS is used
// where there is no TLS, or if it is asked for.
func TestEncryption(t *testing.T) {
	e := New(Config{MinPort: 36000, MaxPort: 36100})
	plain, keyed := "m=audio 4000 RTP/AVP 8\r\n", "a=crypto:1 AES_CM_128_HMAC_SHA1_80 "+someKey+"\r\n"
	savp := strings.Replace(plain, "AVP", "SAVP", 1) + keyed
	dtls := strings.Replace(plain, "RTP/AVP", "UDP/TLS/RTP/SAVP", 1) + "a=setup:active\r\na=fingerprint:sha-256 00" + strings.Repeat(":00", 31) + "\r\n"
	for _, tt := range []struct {
		how             Encryption
		secure          bool
		proto           string // of our offer
		keys            bool
		plain, best, to error // for answers: plain, RTP/AVP with keys, RTP/SAVP
		dtls            error // and DTLS
	}{
		{Accepted, true, "RTP/AVP", false, nil, nil, ErrNoCrypto, ErrNoCrypto},
		{Preferred, true, "RTP/AVP", true, nil, nil, nil, ErrNoCrypto},
		{Preferred, false, "RTP/AVP", false, nil, nil, ErrPlainKeys, ErrNoCrypto},
		{Required, true, "RTP/SAVP", true, ErrPlain, nil, nil, ErrNoCrypto},
		{Required, false, "UDP/TLS/RTP/SAVP", false, ErrPlain, ErrPlain, ErrPlainKeys, nil},
		{DTLS, true, "UDP/TLS/RTP/SAVP", false, ErrPlain, ErrPlain, ErrNoCrypto, nil},
		{DTLS, false, "UDP/TLS/RTP/SAVP", false, ErrPlain, ErrPlain, ErrPlainKeys, nil},
	} {
		for text, want := range map[string]error{plain: tt.plain, plain + keyed: tt.best, savp: tt.to, dtls: tt.dtls} {
			l, err := e.Open(loopback, deaf{})
			if err != nil {
				t.Fatal(err)
			}
			l.Encrypt(tt.how)
			l.Propose(SendRecv, !tt.secure) // to another telephone
			got := l.Propose(SendRecv, tt.secure)
			l.Propose(SendRecv, !tt.secure)
			if prints := strings.Contains(string(got), "a=setup:actpass\r\na=fingerprint:sha-256 "); prints != strings.HasPrefix(tt.proto, "UDP/") {
				t.Errorf("%v, over TLS %v: %s", tt.how, tt.secure, got)
			}
			if !strings.Contains(string(got), " "+tt.proto+" ") || strings.Contains(string(got), "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:") != tt.keys {
				t.Errorf("%v, over TLS %v: %s", tt.how, tt.secure, got)
			} else if err := l.Answered([]byte(offer+text), Peer{outside, tt.secure}); !errors.Is(err, want) {
				t.Errorf("%v, over TLS %v, answer %q: %v, want %v", tt.how, tt.secure, text, err, want)
			}
			l.Close()
		}
	}
	for how, want := range map[Encryption]error{Accepted: nil, Preferred: nil, Required: ErrPlain, DTLS: ErrPlain} {
		l, err := e.Open(loopback, deaf{})
		if err != nil {
			t.Fatal(err)
		}
		l.Encrypt(how)
		if _, _, err := l.Answer([]byte(offer+plain), SendRecv, Peer{outside, true}); !errors.Is(err, want) {
			t.Errorf("%v, a plain offer: %v, want %v", how, err, want)
		}
		l.Close()
	}
}

// Telephone events go to a telephone at the clock of its voice, with their duration converted (RFC 4733 2.1).
func TestEventClocks(t *testing.T) {
	e := New(Config{MinPort: 36000, MaxPort: 36100})
	far, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(loopback, 0)))
	if err != nil {
		t.Fatal(err)
	}
	defer far.Close()
	at := fmt.Sprintf("v=0\r\nc=IN IP4 127.0.0.1\r\nm=audio %d RTP/AVP ", far.LocalAddr().(*net.UDPAddr).Port)
	for _, tt := range []struct {
		types, rtpmaps string
		clock          int // of the event that comes
		number         byte
		duration       uint16 // of 20 ms at the clock of the event
	}{
		{"8 101", "a=rtpmap:101 telephone-event/8000\r\n", 8000, 101, 160},
		{"8 101", "a=rtpmap:101 telephone-event/8000\r\n", 48000, 101, 160},
		{"8 102", "a=rtpmap:102 telephone-event/48000\r\n", 8000, 102, 960},
		{"8 101 102", "a=rtpmap:101 telephone-event/8000\r\na=rtpmap:102 telephone-event/48000\r\n", 48000, 101, 160},
	} {
		l, err := e.Open(loopback, deaf{})
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := l.Answer([]byte(at+tt.types+"\r\n"+tt.rtpmaps), SendRecv, Peer{Addr: loopback}); err != nil {
			t.Fatal(err)
		}
		p := &rtp.Packet{Payload: binary.BigEndian.AppendUint16([]byte{5, 10}, uint16(tt.clock/50))}
		l.passEvent(p, tt.clock)
		_ = far.SetReadDeadline(time.Now().Add(10 * time.Second))
		buf := make([]byte, 100)
		n, err := far.Read(buf)
		if err != nil || n != 16 || buf[1]&0x7f != tt.number || binary.BigEndian.Uint16(buf[14:]) != tt.duration {
			t.Errorf("%s, an event at %d Hz: % x %v, want type %d, duration %d", tt.types, tt.clock, buf[:n], err, tt.number, tt.duration)
		}
		l.Close()
	}
}
