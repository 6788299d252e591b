package media

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pion/dtls/v3"
	"github.com/pion/rtcp"
	"github.com/pion/rtp"
	"github.com/pion/srtp/v3"

	"github.com/tr87proxy/tr87proxy/internal/audio"
	"github.com/tr87proxy/tr87proxy/internal/wait"
)

// shaker is a telephone with DTLS-SRTP.
type shaker struct {
	t       *testing.T
	conns   [2]*net.UDPConn // for voice and reports
	port    int
	id      *identity
	records [2]chan []byte // of each socket
	others  [2]chan []byte
	closed  chan struct{}
	stop    [2]func()  // end the connections before
	conn    *dtls.Conn // the last
	in, out [2]*srtp.Context
}

func newShaker(t *testing.T, e *Engine) *shaker {
	t.Helper()
	p := &shaker{t: t, closed: make(chan struct{})}
	var err error
	if p.conns[onVoice], p.conns[onReports], p.port, err = e.open(); err != nil {
		t.Fatal(err)
	}
	if p.id, err = newIdentity(); err != nil {
		t.Fatal(err)
	}
	var reads sync.WaitGroup
	for i, conn := range p.conns {
		p.records[i], p.others[i] = make(chan []byte, 100), make(chan []byte, 100)
		reads.Go(func() {
			for buf := make([]byte, 2000); ; {
				n, err := conn.Read(buf)
				if err != nil {
					return
				}
				to := p.others[i]
				if isRecord(buf[:n]) {
					to = p.records[i]
				}
				to <- slices.Clone(buf[:n])
			}
		})
	}
	t.Cleanup(func() {
		close(p.closed)
		_, _ = p.conns[onVoice].Close(), p.conns[onReports].Close()
		reads.Wait()
	})
	return p
}

// describe returns a session description of the telephone.
func (p *shaker) describe(setup string, more ...string) []byte {
	lines := append([]string{
		"v=0", "o=- 1 1 IN IP4 127.0.0.1", "s=-", "c=IN IP4 127.0.0.1", "t=0 0", fmt.Sprintf("m=audio %d UDP/TLS/RTP/SAVP 8 101", p.port),
		"a=rtpmap:101 telephone-event/8000", "a=fingerprint:" + p.id.fingerprint, "a=setup:" + setup,
	}, more...)
	return []byte(strings.Join(lines, "\r\n") + "\r\n")
}

// socket is one of a telephone's sockets for records.
type socket struct {
	*shaker
	i       int
	to      *net.UDPAddr
	stopped chan struct{}
}

func (s socket) ReadFrom(b []byte) (int, net.Addr, error) {
	select {
	case data := <-s.records[s.i]:
		return copy(b, data), s.to, nil
	case <-s.closed:
	case <-s.stopped:
	}
	return 0, nil, io.EOF
}
func (s socket) WriteTo(b []byte, _ net.Addr) (int, error) { return s.conns[s.i].WriteTo(b, s.to) }
func (s socket) LocalAddr() net.Addr                       { return s.conns[s.i].LocalAddr() }
func (socket) Close() error                                { return nil }
func (socket) SetDeadline(time.Time) error                 { return nil }
func (socket) SetReadDeadline(time.Time) error             { return nil }
func (socket) SetWriteDeadline(time.Time) error            { return nil }

// begins makes the connection for a handshake with a leg.
func (p *shaker) begins(l *Leg, i int, client bool, profiles ...dtls.SRTPProtectionProfile) *dtls.Conn {
	p.t.Helper()
	if p.stop[i] != nil {
		p.stop[i]()
	}
	s := socket{p, i, net.UDPAddrFromAddrPort(netip.AddrPortFrom(loopback, uint16(l.port+i))), make(chan struct{})}
	p.stop[i] = func() { close(s.stopped) }
	own, trusts := dtls.WithCertificates(p.id.certificate), dtls.WithInsecureSkipVerify(true)
	clients, servers := []dtls.ClientOption{own, trusts}, []dtls.ServerOption{own, trusts, dtls.WithClientAuth(dtls.RequireAnyClientCert)}
	if len(profiles) > 0 {
		use := dtls.WithSRTPProtectionProfiles(profiles...)
		clients, servers = append(clients, use), append(servers, use)
	}
	var conn *dtls.Conn
	var err error
	if client {
		conn, err = dtls.ClientWithOptions(s, s.to, clients...)
	} else {
		conn, err = dtls.ServerWithOptions(s, s.to, servers...)
	}
	if err != nil {
		p.t.Fatal(err)
	}
	return conn
}

// shakes performs a handshake.
func (p *shaker) shakes(l *Leg, i int, client bool, profile dtls.SRTPProtectionProfile) {
	p.t.Helper()
	conn := p.begins(l, i, client, profile)
	p.conn = conn
	ctx, cancel := context.WithTimeout(p.t.Context(), wait.Limit)
	defer cancel()
	if err := conn.HandshakeContext(ctx); err != nil {
		p.t.Fatal(err)
	}
	state, _ := conn.ConnectionState()
	if got := fingerprint("sha-256", sha256Sum(state.PeerCertificates[0])); got != l.engine.identity.fingerprint {
		p.t.Errorf("the switch shows %s", got)
	}
	cfg := srtp.Config{Profile: srtp.ProtectionProfile(profile)}
	if err := cfg.ExtractSessionKeysFromDTLS(&state, client); err != nil {
		p.t.Fatal(err)
	}
	var err error
	if p.in[i], err = srtp.CreateContext(cfg.Keys.RemoteMasterKey, cfg.Keys.RemoteMasterSalt, cfg.Profile); err != nil {
		p.t.Fatal(err)
	}
	if p.out[i], err = srtp.CreateContext(cfg.Keys.LocalMasterKey, cfg.Keys.LocalMasterSalt, cfg.Profile); err != nil {
		p.t.Fatal(err)
	}
	wait.For(p.t, "the keys", func() bool {
		l.mu.Lock()
		defer l.mu.Unlock()
		return l.associations[i].done
	})
}

// key is a packet by which a user presses a key, in clear.
func key(number uint16, digit byte) []byte {
	data, _ := (&rtp.Packet{
		Header:  rtp.Header{Version: 2, PayloadType: 101, SequenceNumber: number, Timestamp: 1000 * uint32(number), SSRC: 7},
		Payload: []byte{digit, 10, 0, 160},
	}).Marshal()
	return data
}

// sends sends a packet to a leg.
func (p *shaker) sends(l *Leg, data []byte) {
	p.t.Helper()
	if _, err := p.conns[onVoice].WriteToUDP(data, net.UDPAddrFromAddrPort(netip.AddrPortFrom(loopback, uint16(l.port)))); err != nil {
		p.t.Fatal(err)
	}
}

// secret encrypts a packet.
func (p *shaker) secret(data []byte) []byte {
	p.t.Helper()
	data, err := p.out[onVoice].EncryptRTP(nil, data, nil)
	if err != nil {
		p.t.Fatal(err)
	}
	return data
}

// talks checks that voice goes both ways with the present keys. number is that of the packet.
func (p *shaker) talks(l *Leg, at *ear, number uint16) {
	p.t.Helper()
	p.sends(l, p.secret(key(number, byte(number%10))))
	if got := wait.Next(p.t, at.digits, "a key"); got != rune('0'+number%10) {
		p.t.Errorf("the switch hears %c, want %d", got, number%10)
	}
	l.sendFrame(make([]int16, audio.Frame))
	if _, err := p.in[onVoice].DecryptRTP(nil, wait.Next(p.t, p.others[onVoice], "voice"), nil); err != nil {
		p.t.Errorf("the telephone hears: %v", err)
	}
}

// opens opens a leg for a telephone.
func (p *shaker) opens(e *Engine, how Encryption) (*Leg, *ear) {
	p.t.Helper()
	at := newEar()
	l, err := e.Open(loopback, at)
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(l.Close)
	l.Encrypt(how)
	return l, at
}

// answers has a leg answer an offer of the telephone.
func (p *shaker) answers(l *Leg, offer []byte) string {
	p.t.Helper()
	answer, _, err := l.Answer(offer, SendRecv, Peer{Addr: loopback})
	if err != nil {
		p.t.Fatal(err)
	}
	l.Begin()
	return string(answer)
}

// A telephone that offers DTLS is answered with it; each side can be the one that begins. Nothing is sent or heard in
// clear, before the handshake or after it, and nothing is heard twice. Reports go with the voice, or have a handshake of
// their own.
func TestDTLS(t *testing.T) {
	e := New(Config{MinPort: 37400, MaxPort: 37600})
	for _, tt := range []struct {
		setup, want string
		mux         bool
		profile     dtls.SRTPProtectionProfile
	}{
		{"actpass", "passive", true, dtls.SRTP_AES128_CM_HMAC_SHA1_80},
		{"active", "passive", false, dtls.SRTP_AES128_CM_HMAC_SHA1_32},
		{"passive", "active", true, dtls.SRTP_AEAD_AES_128_GCM},
		{"passive", "active", false, dtls.SRTP_AEAD_AES_256_GCM},
	} {
		p := newShaker(t, e)
		l, at := p.opens(e, Required)
		var more []string
		if tt.mux {
			more = []string{"a=rtcp-mux"}
		}
		answer := p.answers(l, p.describe(tt.setup, more...))
		if !strings.Contains(answer, " UDP/TLS/RTP/SAVP 8 101\r\n") || !strings.Contains(answer, "a=setup:"+tt.want+"\r\na=fingerprint:sha-256 ") || strings.Contains(answer, "a=rtcp-mux\r\n") != tt.mux {
			t.Fatalf("%+v is answered\n%s", tt, answer)
		}
		if !l.Secure() {
			t.Error("the voice is not encrypted")
		}
		l.sendFrame(make([]int16, audio.Frame)) // nothing goes out
		p.sends(l, key(1, 1))                   // nor is anything heard
		client := tt.want == "passive"
		p.shakes(l, onVoice, client, tt.profile)
		p.sends(l, key(2, 2))
		first := p.secret(key(3, 3))
		p.sends(l, first)
		p.sends(l, p.secret(key(4, 4)))
		p.sends(l, first)
		for _, want := range "34" {
			if got := wait.Next(t, at.digits, "a key"); got != want {
				t.Errorf("%+v: the switch hears %c, want %c", tt, got, want)
			}
		}
		p.talks(l, at, 5)
		socket := onVoice
		if !tt.mux {
			socket = onReports
			l.report(time.Now()) // without keys
			p.shakes(l, onReports, client, tt.profile)
		}
		l.report(time.Now())
		data, err := p.in[socket].DecryptRTCP(nil, wait.Next(t, p.others[socket], "a report"), nil)
		if err != nil {
			t.Errorf("%+v: a report: %v", tt, err)
		}
		list, err := rtcp.Unmarshal(data)
		if err != nil || list[0].(*rtcp.SenderReport).PacketCount != 1 {
			t.Errorf("%+v: a report: %v %v", tt, list, err)
		}
	}
}

// We offer DTLS, and a telephone may begin before we have read its answer.
func TestOfferOfDTLS(t *testing.T) {
	e := New(Config{MinPort: 37400, MaxPort: 37600})
	for setup, client := range map[string]bool{"active": true, "passive": false, "actpass": true} {
		p := newShaker(t, e)
		l, at := p.opens(e, DTLS)
		text := l.Propose(SendRecv, true)
		if !strings.Contains(string(text), "a=setup:actpass\r\na=fingerprint:sha-256 ") || !strings.Contains(string(text), "a=rtcp-mux\r\n") {
			t.Fatalf("%s", text)
		}
		if client {
			hello := p.begins(l, onVoice, true, dtls.SRTP_AES128_CM_HMAC_SHA1_80)
			ctx, cancel := context.WithCancel(t.Context())
			gone := make(chan error)
			go func() { gone <- hello.HandshakeContext(ctx) }()
			wait.For(t, "the early hello", func() bool {
				l.mu.Lock()
				defer l.mu.Unlock()
				return l.early[onVoice].data != nil
			})
			if err := l.Answered(p.describe(setup, "a=rtcp-mux"), Peer{Addr: loopback}); err != nil {
				t.Fatal(err)
			}
			if err := <-gone; err != nil {
				t.Fatal(err)
			}
			cancel()
			continue
		}
		if err := l.Answered(p.describe(setup, "a=rtcp-mux"), Peer{Addr: loopback}); err != nil {
			t.Fatal(err)
		}
		p.shakes(l, onVoice, client, dtls.SRTP_AES128_CM_HMAC_SHA1_80)
		p.talks(l, at, 1)
	}
}

// A telephone whose certificate is not that of its description, that has no SRTP, or that falls silent in the handshake
// or before, loses its call. Nothing is sent to it.
func TestNoKeys(t *testing.T) {
	for _, tt := range []struct {
		name   string
		setup  string
		fault  error
		shakes func(p *shaker, l *Leg)
	}{
		{"another certificate, of a client", "active", errStranger, func(p *shaker, l *Leg) {
			p.id, _ = newIdentity()
			_ = p.begins(l, onVoice, true, dtls.SRTP_AES128_CM_HMAC_SHA1_80).HandshakeContext(p.t.Context())
		}},
		{"another certificate, of a server", "passive", errStranger, func(p *shaker, l *Leg) {
			p.id, _ = newIdentity()
			_ = p.begins(l, onVoice, false, dtls.SRTP_AES128_CM_HMAC_SHA1_80).HandshakeContext(p.t.Context())
		}},
		{"no SRTP", "active", errNoProfile, func(p *shaker, l *Leg) {
			_ = p.begins(l, onVoice, true).HandshakeContext(p.t.Context())
		}},
		{"no common profile", "active", nil, func(p *shaker, l *Leg) {
			_ = p.begins(l, onVoice, true, dtls.SRTP_NULL_HMAC_SHA1_80).HandshakeContext(p.t.Context())
		}},
		{"no hello", "actpass", errNoHello, nil},
		{"no response to ours", "passive", errSlow, nil},
		{"half a handshake", "active", errSlow, func(p *shaker, l *Leg) {
			p.sends(l, []byte("\x16\xfe\xfd\x00\x00\x00\x00\x00\x00\x00\x00\x00\x0c\x01\x00\x00\x50\x00\x00\x00\x00\x00\x00\x00\x00"))
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cfg := Config{}
			if errors.Is(tt.fault, errNoHello) {
				cfg.Timeout = 100 * time.Millisecond
			} else if errors.Is(tt.fault, errSlow) {
				cfg.Handshake = 100 * time.Millisecond
			}
			e := New(cfg)
			p := newShaker(t, e)
			l, at := p.opens(e, Accepted)
			p.answers(l, p.describe(tt.setup, "a=rtcp-mux"))
			if tt.shakes != nil {
				tt.shakes(p, l)
			}
			err := wait.Next(t, at.dead, "the end of the leg")
			if !errors.Is(err, ErrHandshake) || tt.fault != nil && !errors.Is(err, tt.fault) {
				t.Errorf("%v, want %v", err, tt.fault)
			}
			l.sendFrame(make([]int16, audio.Frame))
			l.report(time.Now())
			if l.sent > 0 {
				t.Error("voice is sent")
			}
		})
	}
}

// An offer that changes neither certificate nor address keeps the association, whatever it says about hold; another
// certificate or address needs another handshake, before which nothing is heard.
func TestNewAssociation(t *testing.T) {
	e := New(Config{MinPort: 37400, MaxPort: 37600})
	p := newShaker(t, e)
	l, at := p.opens(e, Preferred)
	const profile = dtls.SRTP_AES128_CM_HMAC_SHA1_80
	p.answers(l, p.describe("actpass"))
	p.shakes(l, onVoice, true, profile)
	p.talks(l, at, 1)
	was := l.associations
	for n, text := range []string{
		string(p.describe("actpass", "a=sendonly")), string(p.describe("active")),
		strings.Replace(string(p.describe("actpass")), "c=IN IP4 127.0.0.1", "c=IN IP4 0.0.0.0", 1), string(p.describe("actpass")),
	} {
		if answer := p.answers(l, []byte(text)); !strings.Contains(answer, "a=setup:passive\r\n") || l.associations != was {
			t.Errorf("%s is answered\n%s", text, answer)
		}
		if !strings.Contains(text, "0.0.0.0") && !strings.Contains(text, "sendonly") {
			p.talks(l, at, uint16(n+2))
		}
	}
	l.Offer(SendOnly)
	if err := l.Answered(p.describe("active", "a=recvonly"), Peer{Addr: loopback}); err != nil || l.associations != was {
		t.Errorf("hold by the switch: %v", err)
	}
	l.Offer(SendRecv)
	if err := l.Answered(p.describe("active"), Peer{Addr: loopback}); err != nil || l.associations != was {
		t.Errorf("retrieval by the switch: %v", err)
	}
	p.talks(l, at, 8)
	for n, change := range []func(){
		func() { p.id, _ = newIdentity() },
		func() { id := p.id; p = newShaker(t, e); p.id = id },
	} {
		old := p.secret(key(uint16(20+n), 9))
		change()
		p.answers(l, p.describe("actpass"))
		p.sends(l, old)
		p.shakes(l, onVoice, true, profile)
		p.sends(l, old)
		p.talks(l, at, uint16(11+n))
	}
	_ = p.conn.Close() // the telephone ends the association, and wants another
	wait.For(t, "the end of the association", l.associations[onVoice].over)
	p.answers(l, p.describe("actpass"))
	p.shakes(l, onVoice, true, profile)
	p.talks(l, at, 14)
	p.answers(l, p.describe("passive")) // the other role
	p.shakes(l, onVoice, false, profile)
	p.talks(l, at, 15)
}

// A telephone behind NAT, whose records and voice come from elsewhere than its description says, is responded to there.
func TestDTLSBehindNAT(t *testing.T) {
	e := New(Config{MinPort: 37400, MaxPort: 37600})
	p := newShaker(t, e)
	l, at := p.opens(e, DTLS)
	p.answers(l, []byte(strings.Replace(string(p.describe("actpass", "a=rtcp-mux")), "c=IN IP4 127.0.0.1", "c=IN IP4 127.0.0.9", 1)))
	p.shakes(l, onVoice, true, dtls.SRTP_AES128_CM_HMAC_SHA1_80)
	l.sendFrame(make([]int16, audio.Frame)) // before any voice of the telephone
	if _, err := p.in[onVoice].DecryptRTP(nil, wait.Next(t, p.others[onVoice], "voice"), nil); err != nil {
		t.Error(err)
	}
	p.talks(l, at, 1)
}

// Voice that was encrypted by DTLS and by keys in turn is never encrypted twice with the same key.
func TestKeysAfterDTLS(t *testing.T) {
	e := New(Config{MinPort: 37400, MaxPort: 37600})
	p := newShaker(t, e)
	l, _ := p.opens(e, Preferred)
	keyed := strings.NewReplacer("UDP/TLS/", "", "a=setup:actpass", "a=crypto:1 AES_CM_128_HMAC_SHA1_80 "+someKey).Replace(string(p.describe("actpass")))
	seen := map[string]bool{}
	for range 2 {
		answer, _, err := l.Answer([]byte(keyed), SendRecv, Peer{Addr: loopback, Secure: true})
		_, ours, found := strings.Cut(string(answer), "inline:")
		if err != nil || !found || seen[ours] {
			t.Fatalf("%v\n%s", err, answer)
		}
		seen[ours] = true
		if l.sendFrame(make([]int16, audio.Frame)); l.sent == 0 {
			t.Error("no voice is sent")
		}
		p.answers(l, p.describe("actpass"))
		sent := l.sent
		if l.sendFrame(make([]int16, audio.Frame)); l.sent != sent {
			t.Error("voice is sent before the handshake")
		}
	}
}

// A leg that closes ends its handshakes, and waits for them.
func TestCloseInHandshake(t *testing.T) {
	e := New(Config{MinPort: 37400, MaxPort: 37600})
	for _, setup := range []string{"active", "passive"} {
		p := newShaker(t, e)
		l, at := p.opens(e, DTLS)
		p.answers(l, p.describe(setup))
		if setup == "active" {
			p.sends(l, []byte("\x16\xfe\xfd\x00\x00\x00\x00\x00\x00\x00\x00\x00\x0c\x01\x00\x00\x50\x00\x00\x00\x00\x00\x00\x00\x00"))
		} else {
			wait.Next(t, p.records[onVoice], "the hello")
		}
		wait.For(t, "the handshake", func() bool {
			l.mu.Lock()
			defer l.mu.Unlock()
			return l.associations[onVoice].started
		})
		l.Close()
		if len(at.dead) > 0 {
			t.Errorf("%s: %v", setup, <-at.dead)
		}
	}
}

// A record of a stranger begins no handshake and is not responded to.
func TestStrangersRecord(t *testing.T) {
	e := New(Config{MinPort: 37400, MaxPort: 37600})
	p := newShaker(t, e)
	l, _ := p.opens(e, DTLS)
	stranger := netip.MustParseAddrPort("198.51.100.1:4000")
	hello := []byte("\x16\xfe\xfd\x00\x00\x00\x00\x00\x00\x00\x00\x00\x0c\x01\x00\x00\x50\x00\x00\x00\x00\x00\x00\x00\x00")
	l.Propose(SendRecv, true)
	l.packet(hello, stranger)
	if l.early[onVoice].data != nil {
		t.Error("a stranger's record is kept")
	}
	if err := l.Answered(p.describe("active"), Peer{Addr: loopback}); err != nil {
		t.Fatal(err)
	}
	l.packet(hello, stranger)
	l.controlled(hello, stranger)
	for _, a := range l.associations {
		if a.started || a.to.Addr() != loopback || len(a.records) > 0 {
			t.Errorf("a stranger's record counts: %+v", a)
		}
	}
	for range 3 * maxRecords { // a telephone that floods fills the queue, and waits for nobody
		l.associations[onReports].started = true // by nobody
		l.controlled(hello, l.associations[onReports].to)
	}
	if n := len(l.associations[onReports].records); n != maxRecords {
		t.Errorf("%d records wait", n)
	}
}

// Records in clear that anybody at the telephone's address can write neither end a handshake before it begins, nor have
// the telephone end its association afterwards: package dtls would answer some by an encrypted alert.
func TestForgedRecords(t *testing.T) {
	e := New(Config{MinPort: 37400, MaxPort: 37600})
	other, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(loopback, 0)))
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	forged := map[string]string{
		"a fatal alert":         "\x15\xfe\xfd\x00\x00\x00\x00\x00\x00\x03\x00\x00\x02\x02\x28",
		"an alert that closes":  "\x15\xfe\xfd\x00\x00\x00\x00\x00\x00\x03\x01\x00\x02\x01\x00",
		"half an alert":         "\x15\xfe\xfd\x00\x00\x00\x00\x00\x00\x03\x02\x00\x01\x02",
		"data":                  "\x17\xfe\xfd\x00\x00\x00\x00\x00\x00\x03\x03\x00\x01x",
		"another type":          "\x1e\xfe\xfd\x00\x00\x00\x00\x00\x00\x03\x04\x00\x01x",
		"another type, later":   "\x1e\xfe\xfd\x00\x01\x00\x00\x00\x00\x03\x04\x00\x01x",
		"a change of cipher":    "\x14\xfe\xfd\x00\x00\x00\x00\x00\x00\x03\x05\x00\x01\x07",
		"data beside a message": "\x14\xfe\xfd\x00\x00\x00\x00\x00\x00\x03\x06\x00\x01\x01\x17\xfe\xfd\x00\x00\x00\x00\x00\x00\x03\x07\x00\x01x",
		"no whole header":       "\x16\xfe\xfd\x00",
		"no whole record":       "\x16\xfe\xfd\x00\x00\x00\x00\x00\x00\x03\x08\x00\x02x",
	}
	for name, record := range forged {
		for _, offers := range []bool{true, false} {
			p := newShaker(t, e)
			l, at := p.opens(e, Required)
			forge := func() { l.packet([]byte(record), other.LocalAddr().(*net.UDPAddr).AddrPort()) }
			if offers {
				l.Propose(SendRecv, false)
				forge()
				err = l.Answered(p.describe("active", "a=rtcp-mux"), Peer{Addr: loopback})
			} else {
				_, _, err = l.Answer(p.describe("active", "a=rtcp-mux"), SendRecv, Peer{Addr: loopback})
				forge()
				l.Begin()
			}
			if err != nil {
				t.Fatal(err)
			}
			forge()
			p.shakes(l, onVoice, true, dtls.SRTP_AES128_CM_HMAC_SHA1_80)
			p.talks(l, at, 1)
			l.mu.Lock()
			octets := l.associations[onVoice].octets
			l.mu.Unlock()
			forge()
			l.mu.Lock()
			if l.associations[onVoice].octets != octets {
				t.Errorf("%s is taken", name)
			}
			l.mu.Unlock()
			p.talks(l, at, 2)
		}
	}
}

// A handshake that somebody else begins or completes at the telephone's address, but at another port, fails alone. A
// telephone that is not where its description says, behind NAT, has a handshake there; it loses its call after
// several have failed.
func TestHandshakeFromElsewhere(t *testing.T) {
	e := New(Config{MinPort: 37400, MaxPort: 37600})
	const profile = dtls.SRTP_AES128_CM_HMAC_SHA1_80
	start := func(p *shaker) (*Leg, *ear) {
		l, at := p.opens(e, Required)
		p.answers(l, p.describe("actpass", "a=rtcp-mux"))
		return l, at
	}
	p, q := newShaker(t, e), newShaker(t, e)
	for _, record := range []string{
		"\x16\xfe\xfd\x00\x00\x00\x00\x00\x00\x03\x00\x00\x0e\x01\x00\x00\x02\x00\x00\x00\x00\x00\x00\x00\x02\xfe\xfd", // a hello
		"\x16\xfe\xfd\x00\x00\x00\x00\x00\x00\x03\x01\x00\x0c\x0e\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00",
	} {
		l, at := start(p)
		forge := func() { l.packet([]byte(record), netip.AddrPortFrom(loopback, uint16(q.port))) }
		forge()
		p.sends(l, []byte("\x14\xfe\xfd\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01\x01")) // now the handshake is the telephone's
		wait.For(t, "the record", func() bool {
			l.mu.Lock()
			defer l.mu.Unlock()
			return l.associations[onVoice].to.Port() == uint16(p.port)
		})
		forge()
		p.shakes(l, onVoice, true, profile)
		p.talks(l, at, 1)
	}
	l, at := start(p)
	_ = q.begins(l, onVoice, true, profile).HandshakeContext(t.Context()) // with another certificate
	p.shakes(l, onVoice, true, profile)
	p.talks(l, at, 1)
	if len(at.dead) > 0 {
		t.Error(<-at.dead)
	}
	l, at = q.opens(e, Required)
	q.answers(l, bytes.Replace(q.describe("actpass", "a=rtcp-mux"), fmt.Append(nil, q.port), fmt.Append(nil, p.port), 1))
	q.shakes(l, onVoice, true, profile)
	q.talks(l, at, 1)
	for timeout, times := range map[time.Duration]int{time.Minute: maxFailures + 1, 500 * time.Millisecond: 1} {
		e = New(Config{MinPort: 37400, MaxPort: 37600, Timeout: timeout})
		l, at = start(p)
		for range times {
			_ = q.begins(l, onVoice, true, profile).HandshakeContext(t.Context())
		}
		if err := wait.Next(t, at.dead, "the end of the leg"); !errors.Is(err, ErrHandshake) || !errors.Is(err, errStranger) {
			t.Errorf("%d times: %v", times, err)
		}
	}
}

// A telephone's hello may come before Begin. Its alert in clear counts in the handshake, and not before.
func TestHelloBeforeBegin(t *testing.T) {
	e := New(Config{MinPort: 37400, MaxPort: 37600})
	p := newShaker(t, e)
	l, at := p.opens(e, Required)
	if _, _, err := l.Answer(p.describe("active", "a=rtcp-mux"), SendRecv, Peer{Addr: loopback}); err != nil {
		t.Fatal(err)
	}
	fatal := []byte("\x15\xfe\xfd\x00\x00\x00\x00\x00\x00\x03\x00\x00\x02\x02\x28")
	p.sends(l, fatal)
	p.sends(l, []byte("\x16\xfe\xfd\x00\x00\x00\x00\x00\x00\x00\x00\x00\x0c\x01\x00\x00\x50\x00\x00\x00\x00\x00\x00\x00\x00"))
	wait.For(t, "the early hello", func() bool {
		l.mu.Lock()
		defer l.mu.Unlock()
		return l.early[onVoice].data != nil
	})
	if l.associations[onVoice].started {
		t.Error("a handshake begins before the answer is sent")
	}
	l.Begin()
	p.sends(l, fatal)
	if err := wait.Next(t, at.dead, "the end of the leg"); !errors.Is(err, ErrHandshake) || errors.Is(err, errSlow) {
		t.Error(err)
	}
}

// A telephone cannot have us keep what it sends without end.
func TestLongHandshake(t *testing.T) {
	e := New(Config{MinPort: 37400, MaxPort: 37600})
	p := newShaker(t, e)
	l, _ := p.opens(e, DTLS)
	p.answers(l, p.describe("active"))
	part := append([]byte("\x16\xfe\xfd\x00\x00\x00\x00\x00\x00\x00\x00\x04\x00"), make([]byte, 1024)...)
	a := l.associations[onReports]
	a.started = true // by nobody
	for n := range 2 * maxOctets / len(part) {
		l.controlled(part, a.to)
		if taken := len(a.records) > 0; taken {
			<-a.records
		} else if n < maxOctets/len(part) {
			t.Fatalf("part %d is dropped", n)
		}
	}
	if a.octets > maxOctets {
		t.Errorf("%d octets are taken", a.octets)
	}
}

// Certificates of other kinds and longer hashes, of which the strongest counts.
func TestFingerprints(t *testing.T) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	wrong, short := make([]byte, 64), sha256Sum(der)[:31]
	weak := sha1.Sum(der)
	right := map[string]string{}
	for _, h := range hashes {
		right[h.name] = fingerprint(h.name, h.sum(der))
	}
	for _, tt := range []struct {
		values []string
		want   int // fingerprints that are used
		ok     bool
	}{
		{nil, 0, false},
		{[]string{right["sha-256"]}, 1, true},
		{[]string{right["sha-384"]}, 1, true},
		{[]string{strings.ToLower(right["sha-512"])}, 1, true},
		{[]string{right["sha-256"], right["sha-256"]}, 1, true},
		{[]string{fingerprint("sha-256", wrong[:32]), right["sha-256"]}, 2, true},
		{[]string{right["sha-256"], fingerprint("sha-512", wrong)}, 1, false},
		{[]string{fingerprint("sha-1", weak[:]), right["sha-256"]}, 1, true},
		{[]string{fingerprint("sha-1", weak[:])}, 0, false},
		{[]string{fingerprint("sha-256", short)}, 0, false},
		{[]string{right["sha-256"] + ":00"}, 0, false},
		{[]string{strings.ReplaceAll(right["sha-256"], ":", "")}, 0, false},
		{[]string{strings.Replace(right["sha-256"], ":", "::", 1)[:len(right["sha-256"])]}, 0, false},
		{[]string{right["sha-256"] + " x"}, 0, false},
		{[]string{"sha-256 " + strings.Repeat("x", 95)}, 0, false},
	} {
		got := fingerprints(tt.values)
		if err := verify(der, got); len(got) != tt.want || (err == nil) != tt.ok {
			t.Errorf("%q: %q, %v", tt.values, got, err)
		}
	}
	// a telephone with such a certificate
	e := New(Config{MinPort: 37400, MaxPort: 37600})
	p := newShaker(t, e)
	p.id = &identity{tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, right["sha-384"]}
	l, at := p.opens(e, DTLS)
	p.answers(l, p.describe("actpass"))
	p.shakes(l, onVoice, true, dtls.SRTP_AES128_CM_HMAC_SHA1_80)
	p.talks(l, at, 1)
}

// Each engine has a certificate of its own.
func TestIdentity(t *testing.T) {
	one, err := newIdentity()
	if err != nil {
		t.Fatal(err)
	}
	two, err := newIdentity()
	if err != nil || one.fingerprint == two.fingerprint || reflect.DeepEqual(one.certificate, two.certificate) {
		t.Errorf("%v %v %v", one, two, err)
	}
	if fingerprints([]string{one.fingerprint})[0] != one.fingerprint || verify(one.certificate.Certificate[0], []string{one.fingerprint}) != nil || verify(two.certificate.Certificate[0], []string{one.fingerprint}) == nil {
		t.Errorf("%v", one.fingerprint)
	}
}
