package accounts

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/crypto/bcrypt"

	"github.com/tr87proxy/tr87proxy/internal/files"
)

// Account is an account of an application.
type Account struct {
	Name        string
	Application string // application ID that must be given; "" accepts any
	Digest      bool   // SetPassword stores what HTTP Digest needs, too

	hash string   // bcrypt hash
	h1   []string // by the order of algorithms; nil: the account cannot log in by HTTP Digest
}

const (
	maxAccounts = 20000
	maxName     = 128
	maxPassword = 72 // octets; bcrypt ignores the rest
)

// Errors of names, application IDs and passwords that cannot be stored.
var (
	ErrName        = fmt.Errorf("a name has 1 to %d characters, no colon, no control characters, and no # in front", maxName)
	ErrApplication = fmt.Errorf("an application ID has at most %d characters and no control characters", maxName)
	ErrPassword    = fmt.Errorf("a password has 1 to %d octets", maxPassword)
)

// SetPassword sets the hashes of a password. It returns [ErrPassword] if the password cannot be
// used.
func (a *Account) SetPassword(password string) error {
	if password == "" || len(password) > maxPassword {
		return ErrPassword
	}
	hash, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.DefaultCost)
	a.hash, a.h1 = string(hash), nil
	for _, algorithm := range algorithms {
		if a.Digest {
			a.h1 = append(a.h1, H1(algorithm, a.Name, DigestRealm, password))
		}
	}
	return err
}

// Valid returns [ErrName], [ErrApplication], or nil if the account can be stored.
func (a *Account) Valid() error {
	switch {
	case !printable(a.Name) || a.Name == "" || strings.ContainsRune(a.Name, ':') || a.Name[0] == '#' || strings.TrimSpace(a.Name) != a.Name:
		return ErrName
	case !printable(a.Application):
		return ErrApplication
	}
	return nil
}

func printable(s string) bool {
	return len(s) <= maxName && !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f })
}

// file is the form of a file of accounts. Each line has a name, hashes and, optionally, an application ID, separated by
// colons; htpasswd -B writes the first two. The hashes are a bcrypt hash and, for HTTP Digest, H(A1) by each algorithm,
// separated by commas: name:$2a$10$...,MD5=...,SHA-256=...
var file = files.List[Account]{
	Entries: "accounts", Key: "account name", Most: maxAccounts,
	KeyOf: func(a Account) string { return strings.ToLower(a.Name) },
	Parse: parse, Format: format,
}

// Read reads a file of accounts. An error names file and line.
func Read(path string) ([]Account, error) { return file.Read(path) }

// Edit changes a file of accounts as [files.List.Edit] does.
func Edit(path string, change func([]Account) ([]Account, error)) error {
	return file.Edit(path, change)
}

// parse parses a line. Its errors do not repeat the line.
func parse(line string) (Account, error) {
	name, rest, found := strings.Cut(line, ":")
	hashes, application, _ := strings.Cut(rest, ":")
	hash, h1, more := strings.Cut(hashes, ",")
	a := Account{Name: name, Application: application, hash: hash, Digest: more}
	if _, err := bcrypt.Cost([]byte(hash)); !found || err != nil {
		return a, errors.New("must be name:hash or name:hash:application, with a bcrypt hash")
	}
	if more {
		var err error
		if a.h1, err = parseH1(h1); err != nil {
			return a, err
		}
	}
	return a, a.Valid()
}

// Find returns the index of an account in a list, by its name in any case, or -1.
func Find(list []Account, name string) int {
	return slices.IndexFunc(list, func(a Account) bool { return strings.EqualFold(a.Name, name) })
}

// format writes a line.
func format(a Account) (string, error) {
	line := a.Name + ":" + a.hashes()
	if a.Application != "" {
		line += ":" + a.Application
	}
	return line, a.Valid()
}

// hashes returns the hashes of an account as they stand in the file.
func (a *Account) hashes() string {
	text := a.hash
	if a.Digest {
		text += formatH1(a.h1)
	}
	return text
}
