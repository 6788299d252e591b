package media

import (
	"bytes"

	"github.com/pion/srtp/v3"
)

// Encryption says whether voice is encrypted by SRTP.
type Encryption int

// The ways of encryption.
const (
	Preferred Encryption = iota // where both sides support it (RFC 8643)
	Accepted                    // where the peer offers it
	Required                    // else there is no call
)

// Encrypt sets whether the voice is encrypted. Keys go over TLS only. Call it before the first offer.
func (l *Leg) Encrypt(how Encryption) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.encrypt = how
}

// crypt creates the SRTP contexts, unless the keys are unchanged. Callers hold l.mu.
func (l *Leg) crypt(d *description) error {
	if keys := d.suite + string(d.key); keys == l.keys {
		return nil
	} else {
		l.keys = keys
	}
	profile := srtp.ProtectionProfileAes128CmHmacSha1_80
	if bytes.HasSuffix([]byte(d.suite), []byte("_32")) {
		profile = srtp.ProtectionProfileAes128CmHmacSha1_32
	}
	var err error
	if l.in, err = srtp.CreateContext(d.key[:16], d.key[16:], profile, srtp.SRTPReplayProtection(64), srtp.SRTCPReplayProtection(64)); err != nil {
		return err
	}
	if l.out != nil && l.peer.suite == d.suite { // our key has not changed: its packets go on
		return nil
	}
	l.out, err = srtp.CreateContext(l.localKey[:16], l.localKey[16:], profile)
	return err
}
