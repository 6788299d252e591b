package accounts

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

var here = netip.MustParseAddr("192.0.2.1")

func add(t *testing.T, path, name, password, application string) {
	t.Helper()
	a := Account{Name: name, Application: application}
	if err := a.SetPassword(password); err != nil {
		t.Fatal(err)
	}
	if err := Edit(path, func(list []Account) ([]Account, error) { return append(list, a), nil }); err != nil {
		t.Fatal(err)
	}
}

func keeper(t *testing.T, path string, guard GuardConfig) *Keeper {
	t.Helper()
	k, err := Open(path, NewGuard(guard), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func TestCheck(t *testing.T) {
	path := filepath.Join(t.TempDir(), "accounts")
	add(t, path, "CRM", "s3cret:with colon", "")
	add(t, path, "dialler", "pw", "Dialler 1.0")
	// as htpasswd -nbB writes it
	f, _ := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	_, _ = f.WriteString("# by hand\nhtuser:$2y$05$bvIG6Nmid91Mu9RcmmWZfO5HJIMCT8riNW0hEp8f6/FuA2/mHZFpe\n")
	_ = f.Close()
	k := keeper(t, path, GuardConfig{After: 100, Pause: time.Nanosecond})
	for _, tt := range []struct {
		application, name, password, want string
	}{
		{"anything", "crm", "s3cret:with colon", "crm"},
		{"anything", "Crm", "s3cret:with colon", "crm"}, // out of what was right last
		{"anything", "crm", "wrong", ""},
		{"anything", "crm", "", ""},
		{"Dialler 1.0", "dialler", "pw", "dialler"},
		{"Dialler 2.0", "dialler", "pw", ""},
		{"", "dialler", "pw", ""},
		{"", "htuser", "password", "htuser"},
		{"", "nobody", "pw", ""},
		{"", "", "", ""},
		{"", strings.Repeat("x", 1000), "pw", ""},
		{"", "crm", strings.Repeat("x", 1000), ""},
	} {
		login, err := k.Check(context.Background(), tt.application, tt.name, tt.password, here)
		if name := login.Name; name != tt.want || (err == nil) != (tt.want != "") {
			t.Errorf("%s %s: %q, %v", tt.application, tt.name, login.Name, err)
		}
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Error(info.Mode(), err)
	}
	data, _ := os.ReadFile(path)
	if strings.Contains(string(data), "s3cret") {
		t.Error("the password stands in the file")
	}
}

// What is edited holds at once; what is not there any more does not, although it was
// right a moment ago.
func TestEdited(t *testing.T) {
	path := filepath.Join(t.TempDir(), "accounts")
	add(t, path, "crm", "old", "")
	k := keeper(t, path, GuardConfig{Pause: time.Nanosecond})
	check := func(password string, want error) Login {
		t.Helper()
		login, err := k.Check(context.Background(), "", "CRM", password, here)
		if !errors.Is(err, want) {
			t.Errorf("%s: %v, not %v", password, err, want)
		}
		return login
	}
	old := check("old", nil)
	if !k.Holds(old) || check("old", nil) != old {
		t.Error("a login does not hold although nothing has changed")
	}
	err := Edit(path, func(list []Account) ([]Account, error) { return list, list[Find(list, "CRM")].SetPassword("newer") })
	if err != nil {
		t.Fatal(err)
	}
	check("old", ErrWrong)
	newer := check("newer", nil)
	if k.Holds(old) || !k.Holds(newer) {
		t.Error("the login with the old password holds, or the one with the new does not")
	}
	err = Edit(path, func(list []Account) ([]Account, error) { list[0].Application = "CRM 5"; return list, nil })
	if err != nil || k.Holds(newer) {
		t.Error("another application ID is asked for, and the login holds", err)
	}
	err = Edit(path, func(list []Account) ([]Account, error) { list[0].Application = ""; return list, nil })
	if err != nil || !k.Holds(newer) {
		t.Error("it is as before, and the login does not hold", err)
	}
	if err := os.WriteFile(path, []byte("nonsense\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	check("newer", nil) // what it said before holds
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	check("newer", ErrWrong)
	if k.Holds(newer) || k.Holds(Login{}) {
		t.Error("still there")
	}
}

// Whoever watches a file is told when it changes.
func TestWatch(t *testing.T) {
	path := filepath.Join(t.TempDir(), "accounts")
	add(t, path, "crm", "old", "")
	k := keeper(t, path, GuardConfig{})
	ctx, cancel := context.WithCancel(t.Context())
	changed, done := make(chan struct{}, 10), make(chan struct{})
	go func() { k.Watch(ctx, func() { changed <- struct{}{} }); close(done) }()
	add(t, path, "dialler", "pw", "")
	select {
	case <-changed:
	case <-time.After(10 * time.Second):
		t.Error("nobody was told")
	}
	cancel()
	<-done
}

// Two who edit at once lose nothing of each other.
func TestEditTogether(t *testing.T) {
	path := filepath.Join(t.TempDir(), "accounts")
	add(t, path, "first", "pw", "")
	var group sync.WaitGroup
	for i := range 20 {
		group.Go(func() {
			err := Edit(path, func(list []Account) ([]Account, error) {
				return append(list, Account{Name: fmt.Sprint("n", i), hash: list[0].hash}), nil
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	if list, err := Read(path); err != nil || len(list) != 21 {
		t.Error(len(list), err)
	}
	if left, _ := filepath.Glob(filepath.Join(filepath.Dir(path), ".accounts.*")); len(left) > 0 {
		t.Error("left behind:", left)
	}
}

func TestFaults(t *testing.T) {
	hash := "$2a$10$N9qo8uLOickgx2ZMRZoMyeIjZAgcfl7p92ldGxad68LJZdL17lhWy"
	for text, want := range map[string]string{
		"crm":                             "x:1: is not name:hash",
		"# all right\n\ncrm:secret":       "x:3: is not name:hash",
		"a:" + hash + "\nA:" + hash:       "x:2: there is an account of this name already",
		":" + hash:                        "x:1: a name has",
		"a\x07:" + hash:                   "x:1: a name has",
		"a:" + hash + ":app\x01":          "x:1: an application ID has",
		strings.Repeat("#\n", maxFile):    "x: is larger",
		"a:" + hash + ":An: application ": "",
	} {
		_, err := read("x", strings.NewReader(text))
		if (err == nil) != (want == "") || err != nil && (!strings.HasPrefix(err.Error(), want) || strings.Contains(err.Error(), "secret")) {
			t.Errorf("%.20q: %v", text, err)
		}
	}
	var a Account
	if a.SetPassword("") == nil || a.SetPassword(strings.Repeat("x", 73)) == nil {
		t.Error("an unusable password is taken")
	}
}

func FuzzRead(f *testing.F) {
	f.Add("crm:$2a$10$N9qo8uLOickgx2ZMRZoMyeIjZAgcfl7p92ldGxad68LJZdL17lhWy:app\n# x\n\n")
	f.Add("a:b:c")
	f.Fuzz(func(t *testing.T, text string) {
		list, err := read("x", strings.NewReader(text))
		if err != nil {
			return
		}
		for _, a := range list {
			if a.Valid() != nil || a.hash == "" {
				t.Errorf("%+v", a)
			}
		}
	})
}
