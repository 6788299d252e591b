package accounts

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/crypto/bcrypt"
)

var here = netip.MustParseAddr("192.0.2.1")

// hashed is the hash of a password that takes little time: SetPassword's takes much.
func hashed(t *testing.T, password string) string {
	t.Helper()
	hash, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	return string(hash)
}

func add(t *testing.T, path, name, password, application string) {
	t.Helper()
	a := Account{Name: name, Application: application, hash: hashed(t, password)}
	if err := Edit(path, func(list []Account) ([]Account, error) { return append(list, a), nil }); err != nil {
		t.Fatal(err)
	}
}

// later makes a file so much younger: one that is replaced by another of its size within a tick of the
// file system's clock looks as before.
func later(t *testing.T, path string, by time.Duration) {
	t.Helper()
	info, err := os.Stat(path)
	if err == nil {
		err = os.Chtimes(path, time.Time{}, info.ModTime().Add(by))
	}
	if err != nil {
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

// An edit takes effect at once: a removed password no longer works, even if it was right a
// moment ago.
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
	err := Edit(path, func(list []Account) ([]Account, error) {
		list[Find(list, "CRM")].hash = hashed(t, "newer")
		return list, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	later(t, path, time.Second)
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

// A login is one of this process: what another has sealed does not hold.
func TestSeals(t *testing.T) {
	path := filepath.Join(t.TempDir(), "accounts")
	add(t, path, "crm", "pw", "")
	var logins [2]Login
	var keepers [2]*Keeper
	for i := range keepers {
		keepers[i] = keeper(t, path, GuardConfig{})
		var err error
		if logins[i], err = keepers[i].Check(t.Context(), "", "crm", "pw", here); err != nil {
			t.Fatal(err)
		}
	}
	if logins[0] == logins[1] || keepers[0].Holds(logins[1]) || !keepers[1].Holds(logins[1]) {
		t.Error("a login of another process holds")
	}
}

// Watch reports each change of the file that it sees, once.
func TestWatch(t *testing.T) {
	path := filepath.Join(t.TempDir(), "accounts")
	add(t, path, "crm", "old", "")
	synctest.Test(t, func(t *testing.T) {
		k := keeper(t, path, GuardConfig{})
		ctx, cancel := context.WithCancel(t.Context())
		var told atomic.Int64
		var group sync.WaitGroup
		group.Go(func() { k.Watch(ctx, func() { told.Add(1) }) })
		time.Sleep(20 * time.Second)
		synctest.Wait()
		if n := told.Load(); n != 0 {
			t.Error("told of nothing:", n)
		}
		for n := range 2 {
			err := Edit(path, func(list []Account) ([]Account, error) {
				list[0].hash = hashed(t, "newer")
				return list, nil
			})
			if err != nil {
				t.Fatal(err)
			}
			later(t, path, time.Duration(n+1)*time.Hour)
			time.Sleep(6 * time.Second)
			synctest.Wait()
		}
		if n := told.Load(); n != 2 {
			t.Errorf("told %d times of 2 changes", n)
		}
		cancel()
		group.Wait()
	})
}

// Two concurrent edits lose nothing.
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
	for text, want := range map[string]string{
		"crm":                             "x:1: must be name:hash",
		"# all right\n\ncrm:secret":       "x:3: must be name:hash",
		"a:" + hash + "\nA:" + hash:       "x:2: duplicate account name",
		":" + hash:                        "x:1: a name has",
		"a\x07:" + hash:                   "x:1: a name has",
		"a:" + hash + ":app\x01":          "x:1: an application ID has",
		strings.Repeat("#\n", (4 << 20)):  "x: larger",
		"a:" + hash + ":An: application ": "",
	} {
		_, err := file.Scan("x", strings.NewReader(text))
		if (err == nil) != (want == "") || err != nil && (!strings.HasPrefix(err.Error(), want) || strings.Contains(err.Error(), "secret")) {
			t.Errorf("%.20q: %v", text, err)
		}
	}
	var a Account
	if a.SetPassword("") == nil || a.SetPassword(strings.Repeat("x", 73)) == nil {
		t.Error("an unusable password is taken")
	}
}

// The response to a wrong password is delayed longer each time, that to a right one never. A
// client that hangs up does not wait.
func TestPauses(t *testing.T) {
	path := filepath.Join(t.TempDir(), "accounts")
	add(t, path, "crm", "right", "CRM 5")
	synctest.Test(t, func(t *testing.T) {
		k := keeper(t, path, GuardConfig{})
		for i, tt := range []struct {
			application, name, password string
			took                        time.Duration
			want                        error
		}{
			{"CRM 5", "crm", "wrong", 500 * time.Millisecond, ErrWrong},
			{"CRM 4", "crm", "right", time.Second, ErrWrong}, // another application is as wrong as a password
			{"CRM 4", "crm", "right", 2 * time.Second, ErrWrong},
			{"CRM 5", "crm", "right", 0, nil},
			{"CRM 5", "crm", "wrong", 500 * time.Millisecond, ErrWrong}, // the right one has made up for the others
			{"CRM 5", "nobody", "right", 500 * time.Millisecond, ErrWrong},
			{"CRM 5", "nobody", "right", time.Second, ErrWrong},
		} {
			began := time.Now()
			login, err := k.Check(t.Context(), tt.application, tt.name, tt.password, here)
			if took := time.Since(began); took != tt.took || !errors.Is(err, tt.want) || (login != Login{}) != (tt.want == nil) {
				t.Errorf("%d: %v after %v", i, err, took)
			}
		}
		gone, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
		defer cancel()
		began := time.Now()
		if _, err := k.Check(gone, "CRM 5", "crm", "wrong", here); !errors.Is(err, ErrWrong) || time.Since(began) != 10*time.Millisecond {
			t.Errorf("%v after %v", err, time.Since(began))
		}
		if k.guard.Wrong() != 7 {
			t.Error(k.guard.Wrong(), "wrong passwords")
		}
	})
}

// A locked name is refused at once, whatever the password is, at the peer that guessed and nowhere else,
// until the lock lapses.
func TestCheckLocked(t *testing.T) {
	path := filepath.Join(t.TempDir(), "accounts")
	add(t, path, "crm", "right", "")
	synctest.Test(t, func(t *testing.T) {
		k := keeper(t, path, GuardConfig{After: 2, For: time.Minute})
		check := func(password string, from netip.Addr, want error) {
			t.Helper()
			login, err := k.Check(t.Context(), "", "crm", password, from)
			if !errors.Is(err, want) || (login != Login{}) != (want == nil) {
				t.Errorf("%s from %v: %v", password, from, err)
			}
		}
		check("wrong", here, ErrWrong)
		check("wrong", here, ErrWrong)
		wrong, began := k.guard.Wrong(), time.Now()
		check("right", here, ErrLocked)
		check("wrong", here, ErrLocked)
		if time.Since(began) != 0 || k.guard.Wrong() != wrong {
			t.Error("a password that is not looked at takes time, or counts")
		}
		check("right", somewhere(1), nil)
		time.Sleep(time.Minute)
		check("right", here, nil)
	})
}

// A login that hangs up while it waits for its turn gets nothing. One that waits while the same
// password is proved is not checked again, but its application ID is.
func TestCheckWaits(t *testing.T) {
	path := filepath.Join(t.TempDir(), "accounts")
	add(t, path, "crm", "right", "CRM 5")
	synctest.Test(t, func(t *testing.T) {
		k := keeper(t, path, GuardConfig{})
		k.turns.free = 0
		ctx, cancel := context.WithCancel(t.Context())
		errs := make([]error, 4)
		var group sync.WaitGroup
		for i, application := range []string{"CRM 5", "CRM 5", "CRM 4", "CRM 5"} {
			ctx := ctx
			if i < 3 {
				ctx = t.Context()
			}
			group.Go(func() { _, errs[i] = k.Check(ctx, application, "crm", "right", here) })
			synctest.Wait()
		}
		cancel()
		synctest.Wait()
		k.turns.give()
		group.Wait()
		if errs[0] != nil || errs[1] != nil || !errors.Is(errs[2], ErrWrong) || !errors.Is(errs[3], context.Canceled) {
			t.Error(errs)
		}
		if k.turns.free != 1 || k.guard.Wrong() != 1 {
			t.Error(k.turns.free, "turns are free;", k.guard.Wrong(), "wrong passwords")
		}
	})
}

// A name that nobody has takes as long to be refused as a wrong password: the time does not tell
// which names there are.
func TestUnknownNamesTakeAsLong(t *testing.T) {
	path := filepath.Join(t.TempDir(), "accounts")
	crm := Account{Name: "crm"}
	if err := errors.Join(crm.SetPassword("right"), Edit(path, func([]Account) ([]Account, error) { return []Account{crm}, nil })); err != nil {
		t.Fatal(err)
	}
	k := keeper(t, path, GuardConfig{After: 100, Pause: time.Nanosecond, For: time.Nanosecond})
	least := func(name string) time.Duration {
		best := time.Hour
		for range 2 {
			began := time.Now()
			if _, err := k.Check(t.Context(), "", name, "wrong", here); !errors.Is(err, ErrWrong) {
				t.Error(err)
			}
			best = min(best, time.Since(began))
		}
		return best
	}
	known := least("crm")
	if unknown := least("nobody"); unknown < known/5 {
		t.Errorf("an unknown name is refused after %v, a wrong password after %v", unknown, known)
	}
}

// The longest names and passwords there may be are checked, and longer ones are not kept.
func TestLongest(t *testing.T) {
	path := filepath.Join(t.TempDir(), "accounts")
	name, password, application := strings.Repeat("n", maxName), strings.Repeat("p", maxPassword), strings.Repeat("a", maxName)
	add(t, path, name, password, application)
	k := keeper(t, path, GuardConfig{After: 1, Pause: time.Nanosecond})
	if login, err := k.Check(t.Context(), application, name, password, here); err != nil || login.Name != name {
		t.Error(login.Name, err)
	}
	for i, c := range [][3]string{{application, name + "n", password}, {application, name, password + "p"}, {application + "a", name, password}} {
		// an address each: a name that is too long counts as none, whose password is not looked at again
		if _, err := k.Check(t.Context(), c[0], c[1], c[2], somewhere(i)); !errors.Is(err, ErrWrong) {
			t.Error(i, err)
		}
		if locks := k.guard.Unlock("", netip.Prefix{}); len(locks) != 1 || locks[0].Name != "" {
			t.Errorf("%d: %+v", i, locks)
		}
	}
}

// What is wrong with the file is said: when it cannot be opened at the start, when others may read
// it, and when it cannot be read any more, which leaves what it said.
func TestFileOfKeeper(t *testing.T) {
	path := filepath.Join(t.TempDir(), "accounts")
	var out bytes.Buffer
	log := slog.New(slog.NewTextHandler(&out, nil))
	if _, err := Open(path, NewGuard(GuardConfig{}), log); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
	for mode, warned := range map[os.FileMode]bool{0o600: false, 0o640: true, 0o604: true, 0o611: false} {
		out.Reset()
		if err := os.WriteFile(path, []byte("crm:"+hash+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(path, NewGuard(GuardConfig{}), log); err != nil || strings.Contains(out.String(), "is readable by others") != warned {
			t.Errorf("%v: %v %s", mode, err, out.String())
		}
	}
	k, err := Open(path, NewGuard(GuardConfig{}), log)
	if err != nil {
		t.Fatal(err)
	}
	login := k.login(k.file.Content().list["crm"])
	out.Reset()
	if !k.Holds(login) || out.Len() != 0 {
		t.Error("a sound file is complained about", out.String())
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if !k.Holds(login) || !strings.Contains(out.String(), "could not read file with secrets: keeping its previous content") {
		t.Error("a file that is away ends logins, or nobody is told", out.String())
	}
	if err := os.WriteFile(path, []byte("robert:"+hash+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if k.Holds(login) {
		t.Error("the account is removed, and its login holds")
	}
}

func FuzzRead(f *testing.F) {
	f.Add("crm:$2a$10$N9qo8uLOickgx2ZMRZoMyeIjZAgcfl7p92ldGxad68LJZdL17lhWy:app\n# x\n\n")
	f.Add("a:b:c")
	f.Fuzz(func(t *testing.T, text string) {
		list, err := file.Scan("x", strings.NewReader(text))
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
