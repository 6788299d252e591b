package accounts

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// h1s are the hashes of crm:CSTA:s3cret, as md5sum and sha256sum print them.
const h1s = ",MD5=cbc8c0974464aeaf7ceddca3cf42f671,SHA-256=df0a4a49e6b94f87ad08e536fd2411aa8c57d70e96906662e0382cb6e3e9a1db"

// An account with HTTP Digest has its hashes in the file, keeps them when the password changes, and loses them with the flag.
func TestDigestInFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "accounts")
	edit := func(change func(a *Account) error) string {
		t.Helper()
		err := Edit(path, func(list []Account) ([]Account, error) {
			if len(list) == 0 {
				list = []Account{{Name: "crm", Application: "CRM, 4: x"}}
			}
			return list, change(&list[0])
		})
		data, _ := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
	text := edit(func(a *Account) error { a.Digest = true; return a.SetPassword("s3cret") })
	if !strings.HasSuffix(text, h1s+":CRM, 4: x\n") || strings.Contains(text, "s3cret") {
		t.Error(text)
	}
	if again := edit(func(*Account) error { return nil }); again != text {
		t.Error("it is read or written wrongly:", again)
	}
	if text = edit(func(a *Account) error { return a.SetPassword("other") }); strings.Contains(text, h1s) || !strings.Contains(text, ",MD5=") {
		t.Error("after a change of the password:", text)
	}
	if text = edit(func(a *Account) error { a.Digest = false; return nil }); strings.Contains(text, "MD5") {
		t.Error("after the end of HTTP Digest:", text)
	}
	for _, wrong := range []string{
		",", ",MD5=cbc8c0974464aeaf7ceddca3cf42f671", strings.ToUpper(h1s), h1s[:len(h1s)-2], strings.Replace(h1s, "MD5=c", "MD5=x", 1), h1s + ",", h1s + h1s,
		",SHA-256=df0a4a49e6b94f87ad08e536fd2411aa8c57d70e96906662e0382cb6e3e9a1db,MD5=cbc8c0974464aeaf7ceddca3cf42f671", strings.ReplaceAll(h1s, ",", ", "),
	} {
		if _, err := file.Scan("x", strings.NewReader("a:"+hash+wrong)); err == nil || !strings.HasPrefix(err.Error(), "x:1: the hashes for HTTP Digest must be") {
			t.Errorf("%s: %v", wrong, err)
		}
	}
}

// Right responses log in as the password does; wrong ones, and those to accounts that cannot use HTTP Digest, count alike and take as
// long; what proves nothing does not count.
func TestCheckDigest(t *testing.T) {
	path := filepath.Join(t.TempDir(), "accounts")
	line := func(name, more string) string { return name + ":" + hashed(t, "s3cret") + more + "\n" }
	text := line("crm", h1s) + line("plain", "") + line("bound", h1s+":CRM 4")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		k := keeper(t, path, GuardConfig{})
		if !k.Digests() {
			t.Error("no account has HTTP Digest")
		}
		right := func(algorithm string) func(string) error {
			return func(h1 string) error {
				if h1 != "" && h1 == H1(algorithm, "crm", "CSTA", "s3cret") {
					return nil
				}
				return ErrWrong
			}
		}
		want, err := k.Check(t.Context(), "", "crm", "s3cret", here)
		if err != nil {
			t.Fatal(err)
		}
		for _, algorithm := range algorithms {
			if got, err := k.CheckDigest(t.Context(), "crm", algorithm, right(algorithm), here); err != nil || got != want || !k.Holds(got) {
				t.Errorf("%s: %+v %v", algorithm, got, err)
			}
		}
		stale := errors.New("stale")
		for range 10 {
			if _, err := k.CheckDigest(t.Context(), "crm", MD5, func(string) error { return stale }, here); !errors.Is(err, stale) {
				t.Error("another error:", err)
			}
		}
		if k.guard.Wrong() != 0 {
			t.Error("what proves nothing counts")
		}
		careless := func(string) error { return nil }
		for name, respond := range map[string]func(string) error{
			"crm": right(SHA256), "CRM": right(MD5), "nobody": careless, "plain": careless, "bound": careless, "Crm2": right(MD5),
		} {
			begun, before := time.Now(), k.guard.Wrong()
			if _, err := k.CheckDigest(t.Context(), name, MD5, respond, here); !errors.Is(err, ErrWrong) || strings.Contains(err.Error(), "--digest") != (name != "crm") || k.guard.Wrong() != before+1 || time.Since(begun) < 500*time.Millisecond || time.Since(begun) > time.Second {
				t.Errorf("%s: %v after %v", name, err, time.Since(begun))
			}
		}
		for range 4 {
			_, _ = k.CheckDigest(t.Context(), "crm", MD5, func(string) error { return ErrWrong }, here)
		}
		if _, err := k.CheckDigest(t.Context(), "crm", MD5, right(MD5), here); !errors.Is(err, ErrLocked) {
			t.Error("not locked:", err)
		}
		if _, err := k.Check(t.Context(), "", "crm", "s3cret", here); !errors.Is(err, ErrLocked) {
			t.Error("not locked for passwords:", err)
		}
	})
	if err := os.WriteFile(path, []byte(line("crm", "")), 0o600); err != nil {
		t.Fatal(err)
	}
	if k := keeper(t, path, GuardConfig{}); k.Digests() {
		t.Error("no account has HTTP Digest, and it is offered")
	}
}
