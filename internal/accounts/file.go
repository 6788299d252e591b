package accounts

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/crypto/bcrypt"

	"github.com/tr87proxy/tr87proxy/internal/files"
)

// Account is an account of an application.
type Account struct {
	Name        string
	Application string // application ID that must be given; "" accepts any
	hash        string // bcrypt hash
}

const (
	maxFile     = 4 << 20
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

// SetPassword sets the hash of a password. It returns [ErrPassword] if the password cannot be
// used.
func (a *Account) SetPassword(password string) error {
	if password == "" || len(password) > maxPassword {
		return ErrPassword
	}
	hash, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.DefaultCost)
	a.hash = string(hash)
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

// Read reads a file of accounts. Each line has a name, a bcrypt hash and, optionally, an
// application ID, separated by colons; htpasswd -B writes the first two. An error names file
// and line.
func Read(path string) ([]Account, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	return read(path, f)
}

func read(path string, r io.Reader) ([]Account, error) {
	data, err := io.ReadAll(io.LimitReader(r, maxFile+1))
	if err != nil {
		return nil, err
	}
	if len(data) > maxFile {
		return nil, fmt.Errorf("%s: larger than %d octets", path, maxFile)
	}
	var list []Account
	there := map[string]bool{}
	number := 0
	for line := range strings.Lines(string(data)) {
		number++
		line = strings.TrimRight(line, "\r\n")
		if strings.TrimSpace(line) == "" || line[0] == '#' {
			continue
		}
		account, err := parse(line)
		if err != nil {
			return nil, fmt.Errorf("%s:%d: %w", path, number, err)
		}
		if name := strings.ToLower(account.Name); there[name] {
			return nil, fmt.Errorf("%s:%d: duplicate account name", path, number)
		} else {
			there[name] = true
		}
		if list = append(list, account); len(list) > maxAccounts {
			return nil, fmt.Errorf("%s:%d: more than %d accounts", path, number, maxAccounts)
		}
	}
	return list, nil
}

// parse parses a line. Its errors do not repeat the line.
func parse(line string) (Account, error) {
	name, rest, found := strings.Cut(line, ":")
	hash, application, _ := strings.Cut(rest, ":")
	a := Account{Name: name, Application: application, hash: hash}
	if _, err := bcrypt.Cost([]byte(hash)); !found || err != nil {
		return a, errors.New("must be name:hash or name:hash:application, with a bcrypt hash")
	}
	return a, a.Valid()
}

// Find returns the index of an account in a list, by its name in any case, or -1.
func Find(list []Account, name string) int {
	return slices.IndexFunc(list, func(a Account) bool { return strings.EqualFold(a.Name, name) })
}

// Edit changes a file of accounts atomically: readers see the old or the new content,
// concurrent edits are serialised, and nothing changes if change fails. It creates a missing
// file, readable by its owner only. Comments are kept at the top.
func Edit(path string, change func([]Account) ([]Account, error)) error {
	folder, err := os.Open(filepath.Dir(path)) // lock the directory, since the file itself is replaced
	if err != nil {
		return err
	}
	defer func() { _ = folder.Close() }()
	if err := syscall.Flock(int(folder.Fd()), syscall.LOCK_EX); err != nil {
		return err
	}
	old, err := os.ReadFile(path)
	mode := os.FileMode(0o600)
	switch info, statErr := os.Stat(path); {
	case errors.Is(err, os.ErrNotExist):
	case err != nil:
		return err
	case statErr == nil:
		mode = info.Mode().Perm()
	}
	list, err := read(path, bytes.NewReader(old))
	if err != nil {
		return err
	}
	if list, err = change(list); err != nil {
		return err
	}
	var b bytes.Buffer
	for line := range strings.Lines(string(old)) {
		if strings.HasPrefix(line, "#") {
			b.WriteString(line)
		}
	}
	for _, a := range list {
		if err := a.Valid(); err != nil {
			return err
		}
		b.WriteString(a.Name + ":" + a.hash)
		if a.Application != "" {
			b.WriteString(":" + a.Application)
		}
		b.WriteByte('\n')
	}
	return files.Replace(path, b.Bytes(), mode)
}
