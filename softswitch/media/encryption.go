package media

import (
	"crypto/rand"
	"strings"

	"github.com/pion/srtp/v3"
)

// Encryption says whether voice is encrypted by SRTP, and how we offer to agree on its keys.
type Encryption int

// The ways of encryption.
const (
	Preferred Encryption = iota // where both sides support it (RFC 8643); offered with keys, over TLS
	Accepted                    // where the peer offers it
	Required                    // else there is no call; offered with keys over TLS, else by DTLS
	DTLS                        // else there is no call; offered by DTLS
)

// always reports whether there is no call without encryption.
func (e Encryption) always() bool { return e == Required || e == DTLS }

// keying is how the keys of SRTP are agreed on. Of two streams we take the one with the greater.
type keying int

const (
	inClear keying = iota // voice is not encrypted
	byDTLS                // by a handshake where the voice goes (RFC 5763)
	bySDES                // in the session description (RFC 4568)
)

// first returns the keying of a first offer; secure is whether the signalling uses TLS.
func (e Encryption) first(secure bool) keying {
	switch {
	case e == DTLS, e == Required && !secure:
		return byDTLS
	case e == Accepted, !secure:
		return inClear
	}
	return bySDES
}

// ciphers decrypt what comes to a socket and encrypt what goes out; both are nil while there are no keys.
type ciphers struct{ in, out *srtp.Context }

// replay is the size of the windows against replay (RFC 3711 3.3.2).
const replay = 64

// decrypting returns a cipher for what comes.
func decrypting(key, salt []byte, profile srtp.ProtectionProfile) (*srtp.Context, error) {
	return srtp.CreateContext(key, salt, profile, srtp.SRTPReplayProtection(replay), srtp.SRTCPReplayProtection(replay))
}

// Encrypt sets whether the voice is encrypted. Call it before the first offer.
func (l *Leg) Encrypt(how Encryption) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.encrypt = how
}

// Secure reports whether the voice is encrypted; nothing is sent or heard while its keys are not agreed on.
func (l *Leg) Secure() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.keying() != inClear
}

// keying returns how the keys of the agreed description are agreed on. Callers hold l.mu.
func (l *Leg) keying() keying {
	if l.peer == nil {
		return inClear
	}
	return l.peer.keying
}

// crypt makes the keys of a description effective, unless they are unchanged. Callers hold l.mu.
func (l *Leg) crypt(d *description) error {
	keys := d.suite + string(d.key)
	if keys == l.keys {
		return nil
	}
	profile := srtp.ProtectionProfileAes128CmHmacSha1_80
	if strings.HasSuffix(d.suite, "_32") {
		profile = srtp.ProtectionProfileAes128CmHmacSha1_32
	}
	c := ciphers{out: l.voice.out}
	var err error
	if c.in, err = decrypting(d.key[:16], d.key[16:], profile); err != nil {
		return err
	}
	if c.out == nil || l.peer.suite != d.suite { // else our key has not changed: its packets go on
		if c.out, err = srtp.CreateContext(l.localKey[:16], l.localKey[16:], profile); err != nil {
			return err
		}
	}
	l.keys, l.voice, l.reports = keys, c, c
	return nil
}

// uncrypt forgets the keys. Callers hold l.mu.
func (l *Leg) uncrypt() {
	if l.keys != "" {
		l.keys = ""
		_, _ = rand.Read(l.localKey) // packet numbers go on, and must not meet the same key again (RFC 3711 9.1)
	}
	for i, a := range l.associations {
		if a != nil {
			a.end()
			l.associations[i] = nil
		}
	}
	l.voice, l.reports = ciphers{}, ciphers{}
}
