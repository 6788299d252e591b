package freeswitch

import (
	"bytes"
	"strings"
)

// conceal returns a message of the event socket with its secrets overwritten by asterisks, in as many octets: the password of a
// login, and headers of events with passwords and keys. It returns the message itself if it has none.
func conceal(message []byte) []byte {
	out := message
	hide := func(from, to int) {
		if &out[0] == &message[0] {
			out = bytes.Clone(message)
		}
		for i := from; i < to; i++ {
			out[i] = '*'
		}
	}
	for begin := 0; begin < len(message); {
		end, next := len(message), len(message)
		if n := bytes.IndexByte(message[begin:], '\n'); n >= 0 {
			end, next = begin+n, begin+n+1
		}
		line := message[begin:end]
		switch colon := bytes.IndexByte(line, ':'); {
		case bytes.HasPrefix(line, []byte("auth ")):
			hide(begin+len("auth "), end)
		case bytes.HasPrefix(line, []byte("userauth ")):
			hide(begin+max(colon+1, len("userauth ")), end)
		case colon < 0 || colon+2 >= len(line):
		case secretName(line[:colon]), bytes.Contains(line[colon:], []byte("inline")): // a key in SDP
			hide(begin+colon+2, end)
		}
		begin = next
	}
	return out
}

// secretName reports whether a header of this name holds a secret.
func secretName(name []byte) bool {
	lower := strings.ToLower(string(name))
	for _, part := range []string{"passw", "secret", "credential", "-hash", "_hash", "auth_token", "_key", "-key", "crypto"} {
		if strings.Contains(lower, part) {
			return true
		}
	}
	return strings.HasSuffix(lower, "pin") || strings.HasSuffix(lower, "pwd")
}
