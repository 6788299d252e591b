package tokens

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base32"
	"errors"
	"fmt"
	"strings"
	"time"
)

// Scope says for what a token is good, of what policy lets its name do.
type Scope string

// The scopes.
const (
	Observe Scope = "observe" // only services that observe
	Control Scope = "control" // everything
)

// Token is a token without its secret.
type Token struct {
	ID      string // in front of the secret; it is no secret itself
	Name    string // the identity of its bearer
	Scope   Scope
	Created time.Time
	Expires time.Time // the zero time: never
	Comment string

	// hash is that of the whole text. One round of SHA-256 is enough: the secret is 160 random bits, which nobody guesses
	// at any speed, unlike a password. For the same reason a wrong secret locks nothing and is not delayed.
	hash [sha256.Size]byte
}

// Prefix begins every token, so that people, and programs that look for leaked secrets, recognise one.
const Prefix = "tr87_"

const (
	idOctets     = 5
	secretOctets = 20
	maxName      = 128
	maxComment   = 256
)

// letters spell IDs and secrets: eight letters are five octets.
var letters = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

// Errors of tokens that cannot be stored.
var (
	ErrName    = fmt.Errorf("a name has 1 to %d characters, no control characters, and no space at its ends", maxName)
	ErrScope   = errors.New("a scope is observe or control")
	ErrComment = fmt.Errorf("a comment has at most %d characters and no control characters", maxComment)
	ErrExpires = errors.New("a token expires after it is created")
)

// Make makes a token with a random ID and secret, and returns its text, which is in no file: Prefix, ID, an underscore, and
// the secret.
func (t *Token) Make() (text string) {
	random := make([]byte, idOctets+secretOctets)
	_, _ = rand.Read(random)
	t.ID = letters.EncodeToString(random[:idOctets])
	text = Prefix + t.ID + "_" + letters.EncodeToString(random[idOctets:])
	t.hash = sha256.Sum256([]byte(text))
	return text
}

// Valid returns an error if the token cannot be stored.
func (t *Token) Valid() error {
	switch {
	case t.Name == "" || !printable(t.Name, maxName) || strings.TrimSpace(t.Name) != t.Name:
		return ErrName
	case t.Scope != Observe && t.Scope != Control:
		return ErrScope
	case !printable(t.Comment, maxComment):
		return ErrComment
	case !t.Expires.IsZero() && !t.Expires.After(t.Created):
		return ErrExpires
	}
	return nil
}

func printable(s string, most int) bool {
	return len(s) <= most && strings.ToValidUTF8(s, "") == s && !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f })
}

// Expired reports whether the token has expired at a time.
func (t *Token) Expired(now time.Time) bool { return !t.Expires.IsZero() && !now.Before(t.Expires) }

// is reports whether text is this token.
func (t *Token) is(text string) bool {
	hash := sha256.Sum256([]byte(text))
	return subtle.ConstantTimeCompare(hash[:], t.hash[:]) == 1
}

// IDOf returns the ID of a token's text, or "" if the text has not the form of a token.
func IDOf(text string) string {
	rest, found := strings.CutPrefix(text, Prefix)
	id, secret, parted := strings.Cut(rest, "_")
	if !found || !parted || !spells(id, idOctets) || !spells(secret, secretOctets) {
		return ""
	}
	return id
}

// spells reports whether text is that of so many octets.
func spells(text string, octets int) bool {
	return len(text) == letters.EncodedLen(octets) && strings.Trim(text, "abcdefghijklmnopqrstuvwxyz234567") == ""
}
