package tokens

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

var day = time.Date(2026, 11, 29, 0, 0, 0, 0, time.UTC)

// made makes a token and returns it with its text.
func made(name string, scope Scope, expires time.Time) (Token, string) {
	t := Token{Name: name, Scope: scope, Created: day, Expires: expires}
	return t, t.Make()
}

func write(t *testing.T, path string, list ...Token) {
	t.Helper()
	if err := Edit(path, func([]Token) ([]Token, error) { return list, nil }); err != nil {
		t.Fatal(err)
	}
}

func keeper(t *testing.T, path string) *Keeper {
	t.Helper()
	k, err := Open(path, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// A token is right as a whole only, and a file does not have its secret.
func TestCheck(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tokens")
	crm, text := made("CRM", Control, time.Time{})
	wall, other := made("wallboard", Observe, time.Now().Add(time.Hour))
	_, unknown := made("crm", Control, time.Time{})
	old, expired := made("old", Control, day.Add(time.Hour))
	write(t, path, crm, wall, old)
	k := keeper(t, path)
	if !strings.HasPrefix(text, Prefix) || len(text) != len("tr87_")+8+1+32 {
		t.Error(text)
	}
	for given, want := range map[string]struct {
		name string
		err  error
	}{
		text: {"CRM", nil}, other: {"wallboard", nil}, unknown: {"", ErrWrong}, expired: {"", ErrExpired},
		"": {"", ErrWrong}, "tr87_": {"", ErrWrong}, crm.ID: {"", ErrWrong}, Prefix + crm.ID: {"", ErrWrong}, Prefix + crm.ID + "_": {"", ErrWrong},
		text[:len(text)-1]: {"", ErrWrong}, text + "a": {"", ErrWrong}, " " + text: {"", ErrWrong}, strings.ToUpper(text): {"", ErrWrong}, text + "\n": {"", ErrWrong},
		text[:len(Prefix)+9] + other[len(Prefix)+9:]:                  {"", ErrWrong}, // its ID, and the secret of another
		expired[:len(Prefix)+9] + other[len(Prefix)+9:]:               {"", ErrWrong}, // nobody learns that it has expired without its secret
		Prefix + "????????_" + strings.Repeat("a", 32):                {"", ErrWrong},
		strings.TrimPrefix(text, Prefix):                              {"", ErrWrong},
		text[:len(text)-1] + flipped(text[len(text)-1:]):              {"", ErrWrong},
		strings.Repeat("tr87_", 100000) + strings.Repeat("_", 100000): {"", ErrWrong},
	} {
		got, err := k.Check(given)
		if got.Name != want.name || !errors.Is(err, want.err) || (err == nil) != (want.err == nil) {
			t.Errorf("%.60q: %q, %v", given, got.Name, err)
		}
		if (err == nil) != k.Holds(got) {
			t.Errorf("%.60q holds: %v", given, k.Holds(got))
		}
	}
	data, err := os.ReadFile(path)
	if err != nil || strings.Contains(string(data), text[len(Prefix)+9:]) || !strings.Contains(string(data), crm.ID) {
		t.Errorf("%s %v", data, err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Error(info.Mode(), err)
	}
}

func flipped(letter string) string {
	if letter == "a" {
		return "b"
	}
	return "a"
}

// A token holds until it is revoked, changed or expired; an unreadable file changes nothing.
func TestHolds(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tokens")
	crm, text := made("crm", Control, time.Now().Add(time.Hour))
	for name, change := range map[string]func(*Token){
		"name": func(t *Token) { t.Name = "boss" }, "scope": func(t *Token) { t.Scope = Observe }, "expiry": func(t *Token) { t.Expires = t.Expires.Add(time.Second) },
		"secret": func(n *Token) { n.Make(); n.ID = crm.ID }, "ID": func(t *Token) { t.Make() },
	} {
		write(t, path, crm)
		k := keeper(t, path)
		proved, err := k.Check(text)
		if err != nil || !k.Holds(proved) {
			t.Fatal(err)
		}
		changed := crm
		change(&changed)
		write(t, path, changed)
		if k.Holds(proved) {
			t.Errorf("it holds with another %s", name)
		}
		changed = crm
		changed.Comment = "new"
		write(t, path, changed)
		if !k.Holds(proved) {
			t.Error("a comment ends it")
		}
		if err := os.WriteFile(path, []byte("nonsense\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := k.Check(text); err != nil || !k.Holds(proved) {
			t.Error("a broken file ends it", err)
		}
		overwrite(t, path, "")
		if _, err := k.Check(text); !errors.Is(err, ErrWrong) || k.Holds(proved) {
			t.Error("it is revoked and holds", err)
		}
	}
}

func overwrite(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// A token is good until the moment at which it expires.
func TestExpires(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "tokens")
		token, text := made("crm", Control, time.Now().Add(time.Hour).Truncate(time.Second))
		token.Created = time.Time{}.AddDate(1990, 0, 0)
		write(t, path, token)
		k := keeper(t, path)
		proved, err := k.Check(text)
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Until(token.Expires) - 1)
		if _, err := k.Check(text); err != nil || !k.Holds(proved) {
			t.Error("it expires too early:", err)
		}
		time.Sleep(time.Nanosecond)
		if _, err := k.Check(text); !errors.Is(err, ErrExpired) || k.Holds(proved) {
			t.Error("it does not expire:", err)
		}
	})
}

// What is added while the proxy runs is good at once, and Watch tells of it.
func TestWatch(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tokens")
	write(t, path)
	synctest.Test(t, func(t *testing.T) {
		k := keeper(t, path)
		ctx, cancel := context.WithCancel(t.Context())
		var told atomic.Int64
		done := make(chan struct{})
		go func() {
			defer close(done)
			k.Watch(ctx, func() { told.Add(1) })
		}()
		synctest.Wait()
		token, text := made("crm", Control, time.Time{})
		write(t, path, token)
		if _, err := k.Check(text); err != nil {
			t.Error(err)
		}
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if n := told.Load(); n != 1 {
			t.Errorf("told %d times", n)
		}
		cancel()
		<-done
	})
}

// A file says what was put into it; faults name their line and no content.
func TestFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tokens")
	overwrite(t, path, "# by hand\n\n")
	full, _ := made("sip:alice@contoso.com", Observe, day.Add(time.Hour))
	full.Comment = `a "comment" # with: everything ✓`
	plain, _ := made("# crm", Control, time.Time{})
	write(t, path, full, plain)
	list, err := Read(path)
	if err != nil || !reflect.DeepEqual(list, []Token{full, plain}) {
		t.Errorf("%+v %v", list, err)
	}
	if data, _ := os.ReadFile(path); !strings.HasPrefix(string(data), "# by hand\n{") {
		t.Errorf("%s", data)
	}
	good, err := format(plain)
	if err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]string{
		good + "\n" + good: "x:2: duplicate token ID",
		good + good:        "x:1: must be an object of JSON",
		good + " x":        "x:1: must be an object of JSON",
		"crm:s3cret":       "x:1: must be an object of JSON",
		strings.Replace(good, `"scope"`, `"s3cret"`, 1):        "x:1: must be an object of JSON",
		strings.Replace(good, plain.ID, "s3cret", 1):           "x:1: must be an object of JSON",
		strings.Replace(good, `"sha256":"`, `"sha256":"00`, 1): "x:1: must be an object of JSON",
		strings.Replace(good, `"sha256":"`, `"sha256":"x`, 1):  "x:1: must be an object of JSON",
		strings.Replace(good, "control", "s3cret", 1):          "x:1: a scope is",
		strings.Replace(good, "# crm", " ", 1):                 "x:1: a name has",
		strings.Replace(good, "2026", "0001", 1):               "", // long ago, but some time
		strings.Replace(good, "2026-11-29", "0001-01-01", 1):   "x:1: must be an object of JSON",
		"null": "x:1: must be an object of JSON", "[]": "x:1: must be an object of JSON",
	} {
		_, err := file.Scan("x", strings.NewReader(text))
		if (err == nil) != (want == "") || err != nil && (!strings.HasPrefix(err.Error(), want) || strings.Contains(err.Error(), "s3cret")) {
			t.Errorf("%s: %v", text, err)
		}
	}
}

func TestValid(t *testing.T) {
	for _, tt := range []struct {
		token Token
		want  error
	}{
		{Token{Name: strings.Repeat("n", maxName), Scope: Observe, Comment: strings.Repeat("c", maxComment)}, nil},
		{Token{Name: "Zoë: a", Scope: Control, Created: day, Expires: day.Add(1)}, nil},
		{Token{Name: "", Scope: Observe}, ErrName}, {Token{Name: " a", Scope: Observe}, ErrName}, {Token{Name: "a\n", Scope: Observe}, ErrName}, {Token{Name: "a\x7fb", Scope: Observe}, ErrName},
		{Token{Name: strings.Repeat("n", maxName+1), Scope: Observe}, ErrName}, {Token{Name: "\xff", Scope: Observe}, ErrName},
		{Token{Name: "a"}, ErrScope}, {Token{Name: "a", Scope: "all"}, ErrScope},
		{Token{Name: "a", Scope: Observe, Comment: "\n"}, ErrComment}, {Token{Name: "a", Scope: Observe, Comment: strings.Repeat("c", maxComment+1)}, ErrComment},
		{Token{Name: "a", Scope: Observe, Created: day, Expires: day}, ErrExpires},
	} {
		if err := tt.token.Valid(); !errors.Is(err, tt.want) {
			t.Errorf("%+v: %v, not %v", tt.token, err, tt.want)
		}
	}
}

// An ID removes one token, a name all of its own; what could be both removes nothing.
func TestRemove(t *testing.T) {
	a, b, c := Token{ID: "aaaaaaaa", Name: "crm"}, Token{ID: "bbbbbbbb", Name: "CRM"}, Token{ID: "cccccccc", Name: "aaaaaaaa"}
	for _, tt := range []struct {
		list          []Token
		which         string
		left, removed []Token
		fails         bool
	}{
		{[]Token{a, b}, "aaaaaaaa", []Token{b}, []Token{a}, false}, {[]Token{a, b}, "Crm", nil, []Token{a, b}, false}, {[]Token{a, b}, "other", []Token{a, b}, nil, false},
		{[]Token{a, c}, "aaaaaaaa", nil, nil, true}, {[]Token{b, c}, "aaaaaaaa", []Token{b}, []Token{c}, false}, {nil, "crm", nil, nil, false},
	} {
		left, removed, err := Remove(tt.list, tt.which)
		if !reflect.DeepEqual(left, tt.left) || !reflect.DeepEqual(removed, tt.removed) || (err != nil) != tt.fails {
			t.Errorf("%s of %v: %v, %v, %v", tt.which, tt.list, left, removed, err)
		}
	}
}

func FuzzRead(f *testing.F) {
	token, _ := made("crm", Control, time.Time{})
	text, _ := format(token)
	f.Add(text + "\n# x\n\n")
	f.Add(`{"id":"aaaaaaaa"}`)
	f.Fuzz(func(t *testing.T, text string) {
		list, err := file.Scan("x", strings.NewReader(text))
		if err != nil {
			return
		}
		for _, token := range list {
			again, err := format(token)
			if err != nil {
				t.Fatal(err)
			}
			if read, err := parse(again); err != nil || !reflect.DeepEqual(read, token) {
				t.Errorf("%+v is %+v, %v", token, read, err)
			}
		}
	})
}
