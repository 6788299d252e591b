package accounts

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// hash is one of bcrypt, of a password that nobody needs.
const hash = "$2a$10$N9qo8uLOickgx2ZMRZoMyeIjZAgcfl7p92ldGxad68LJZdL17lhWy"

// What is edited is written as a whole or not at all: comments stay, and so does the mode of the
// file.
func TestEdit(t *testing.T) {
	failure := errors.New("no")
	for name, tt := range map[string]struct {
		before, after string // "-" is no file
		change        func([]Account) ([]Account, error)
		want          error // of the edit; nil with after as before means any
	}{
		"new":         {"-", "crm:" + hash + "\n", nil, nil},
		"behind":      {"# by hand\n\na:" + hash + "\n# more\n", "# by hand\n# more\na:" + hash + "\ncrm:" + hash + "\n", nil, nil},
		"application": {"a:" + hash + ":CRM 5\n", "a:" + hash + ":CRM 5\ncrm:" + hash + "\n", nil, nil},
		"refused":     {"a:" + hash + "\n", "a:" + hash + "\n", func([]Account) ([]Account, error) { return nil, failure }, failure},
		"bad name":    {"a:" + hash + "\n", "a:" + hash + "\n", func([]Account) ([]Account, error) { return []Account{{Name: "b:c", hash: hash}}, nil }, ErrName},
		"bad app":     {"a:" + hash + "\n", "a:" + hash + "\n", func([]Account) ([]Account, error) { return []Account{{Name: "b", Application: "\n", hash: hash}}, nil }, ErrApplication},
		"emptied":     {"# x\na:" + hash + "\n", "# x\n", func([]Account) ([]Account, error) { return nil, nil }, nil},
	} {
		path := filepath.Join(t.TempDir(), "accounts")
		mode := os.FileMode(0o600)
		if tt.before != "-" {
			mode = 0o640
			if err := os.WriteFile(path, []byte(tt.before), mode); err != nil {
				t.Fatal(err)
			}
		}
		change := tt.change
		if change == nil {
			change = func(list []Account) ([]Account, error) { return append(list, Account{Name: "crm", hash: hash}), nil }
		}
		if err := Edit(path, change); !errors.Is(err, tt.want) {
			t.Errorf("%s: %v", name, err)
		}
		data, err := os.ReadFile(path)
		if err != nil || string(data) != tt.after {
			t.Errorf("%s: the file has %q, %v", name, data, err)
		}
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != mode {
			t.Errorf("%s: %v %v", name, info.Mode(), err)
		}
	}
}

// What cannot be read is not edited.
func TestEditUnreadable(t *testing.T) {
	dir := t.TempDir()
	never := func([]Account) ([]Account, error) {
		t.Error("it is edited")
		return nil, nil
	}
	if err := Edit(filepath.Join(dir, "nowhere", "accounts"), never); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
	if err := Edit(dir, never); err == nil {
		t.Error("a folder is edited")
	}
	path := filepath.Join(dir, "accounts")
	if err := os.WriteFile(path, []byte("nonsense\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Edit(path, never); err == nil || !strings.HasPrefix(err.Error(), path+":1: ") {
		t.Error(err)
	}
	if data, _ := os.ReadFile(path); string(data) != "nonsense\n" {
		t.Errorf("%q", data)
	}
	if _, err := Read(filepath.Join(dir, "nothing")); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
	if _, err := Read(dir); err == nil {
		t.Error("a folder is read")
	}
}

// Names, application IDs and passwords have bounds, and characters that would be something else in
// the file.
func TestValid(t *testing.T) {
	for _, tt := range []struct {
		name, application string
		want              error
	}{
		{"a", "", nil}, {strings.Repeat("a", maxName), strings.Repeat("b", maxName), nil}, {"a#", "#", nil}, {"a b", " CRM: 5 ", nil}, {"Zoë", "Zoë", nil}, {"~!", "~!", nil},
		{"", "", ErrName}, {strings.Repeat("a", maxName+1), "", ErrName}, {"a", strings.Repeat("b", maxName+1), ErrApplication}, {"#a", "", ErrName}, {"a:b", "", ErrName}, {" a", "", ErrName}, {"a ", "", ErrName},
		{"a\x1f", "", ErrName}, {"a\x7f", "", ErrName}, {"a", "\x1f", ErrApplication}, {"a", "\x7f", ErrApplication}, {"a", "\n", ErrApplication},
	} {
		if err := (&Account{Name: tt.name, Application: tt.application}).Valid(); !errors.Is(err, tt.want) {
			t.Errorf("%.20q for %.20q: %v, not %v", tt.name, tt.application, err, tt.want)
		}
	}
	for password, want := range map[string]error{"": ErrPassword, strings.Repeat("p", maxPassword): nil, strings.Repeat("p", maxPassword+1): ErrPassword} {
		var a Account
		if err := a.SetPassword(password); !errors.Is(err, want) || (a.hash != "") != (want == nil) {
			t.Errorf("a password of %d octets: %v", len(password), err)
		}
	}
}

// A file may have so many octets and accounts, and no more. Names are the same in large and small
// letters.
func TestLargeFiles(t *testing.T) {
	line := "a:" + hash + "\n"
	if list, err := file.Scan("x", strings.NewReader(line+strings.Repeat("#", (4<<20)-len(line)))); err != nil || len(list) != 1 {
		t.Error(len(list), err)
	}
	if _, err := file.Scan("x", strings.NewReader(line+strings.Repeat("#", (4<<20)-len(line)+1))); err == nil || !strings.HasPrefix(err.Error(), "x: larger than 4194304 octets") {
		t.Error(err)
	}
	var b strings.Builder
	for i := range maxAccounts {
		fmt.Fprintf(&b, "%d:%s\n", i, hash)
	}
	list, err := file.Scan("x", strings.NewReader(b.String()))
	if err != nil || len(list) != maxAccounts {
		t.Error(len(list), err)
	}
	if _, err := file.Scan("x", strings.NewReader(b.String()+line)); err == nil || err.Error() != "x:20001: more than 20000 accounts" {
		t.Error(err)
	}
	list = []Account{{Name: "Bob"}, {Name: "crm"}}
	for name, want := range map[string]int{"bob": 0, "BOB": 0, "crm": 1, "bo": -1, "": -1} {
		if got := Find(list, name); got != want {
			t.Errorf("%q is found at %d", name, got)
		}
	}
}

// Lines of other systems, blank ones and comments are read; an account says which application.
func TestLines(t *testing.T) {
	list, err := file.Scan("x", strings.NewReader("# x\r\n  \t\n\r\na:"+hash+"\r\nb:"+hash+":App: 5\n#c:"+hash+"\nd:"+hash))
	if err != nil || len(list) != 3 || list[0].hash != hash || list[0].Application != "" || list[1].Application != "App: 5" || list[2].Name != "d" {
		t.Errorf("%+v %v", list, err)
	}
}
