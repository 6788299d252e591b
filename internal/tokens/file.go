package tokens

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/tr87proxy/tr87proxy/internal/files"
)

// maxTokens is the number of tokens in a file at most.
const maxTokens = 10000

// file is the form of a file of tokens: an object of JSON on each line.
var file = files.List[Token]{
	Entries: "tokens", Key: "token ID", Most: maxTokens,
	KeyOf: func(t Token) string { return t.ID },
	Parse: parse, Format: format,
}

// line is a token as the file has it.
type line struct {
	ID      string    `json:"id"`
	Name    string    `json:"name"`
	Scope   Scope     `json:"scope"`
	Hash    string    `json:"sha256"` // in hexadecimal digits
	Created time.Time `json:"created"`
	Expires time.Time `json:"expires,omitzero"`
	Comment string    `json:"comment,omitempty"`
}

// Read reads a file of tokens. An error names file and line.
func Read(path string) ([]Token, error) { return file.Read(path) }

// Edit changes a file of tokens as [files.List.Edit] does.
func Edit(path string, change func([]Token) ([]Token, error)) error { return file.Edit(path, change) }

// errLine does not repeat the line.
var errLine = errors.New(`must be an object of JSON with id, name, scope, sha256 and created, as "tr87proxy tokens add" writes it`)

func parse(text string) (Token, error) {
	var l line
	d := json.NewDecoder(strings.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(&l); err != nil {
		return Token{}, errLine
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return Token{}, errLine
	}
	t := Token{ID: l.ID, Name: l.Name, Scope: l.Scope, Created: l.Created.UTC(), Expires: l.Expires.UTC(), Comment: l.Comment}
	hash, err := hex.DecodeString(l.Hash)
	if err != nil || len(hash) != len(t.hash) || !spells(l.ID, idOctets) || l.Created.IsZero() {
		return Token{}, errLine
	}
	t.hash = [len(t.hash)]byte(hash)
	return t, t.Valid()
}

func format(t Token) (string, error) {
	if err := t.Valid(); err != nil {
		return "", err
	}
	text, err := json.Marshal(line{t.ID, t.Name, t.Scope, hex.EncodeToString(t.hash[:]), t.Created.UTC(), t.Expires.UTC(), t.Comment})
	return string(text), err
}

// Remove removes from a list the token with an ID, or all tokens of a name in any case. It returns what is left and what it
// has removed.
func Remove(list []Token, which string) (left, removed []Token, err error) {
	byID := slices.ContainsFunc(list, func(t Token) bool { return t.ID == which })
	for _, t := range list {
		switch named := strings.EqualFold(t.Name, which); {
		case byID && named && t.ID != which:
			return nil, nil, fmt.Errorf("%q is the ID of one token and the name of another", which)
		case t.ID == which, named:
			removed = append(removed, t)
		default:
			left = append(left, t)
		}
	}
	return left, removed, nil
}
