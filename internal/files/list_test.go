package files

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var words = List[string]{
	Entries: "words", Key: "word", Most: 3,
	KeyOf: strings.ToLower, Parse: func(line string) (string, error) { return line, refused(line) }, Format: func(w string) (string, error) { return w, refused(w) },
}

var errWord = errors.New("not this word")

func refused(word string) error {
	if word == "no" {
		return errWord
	}
	return nil
}

// A list is written only if it can be read again.
func TestList(t *testing.T) {
	path := filepath.Join(t.TempDir(), "words")
	edit := func(list ...string) error {
		return words.Edit(path, func([]string) ([]string, error) { return list, nil })
	}
	if err := edit("a", "b"); err != nil {
		t.Fatal(err)
	}
	for name, err := range map[string]error{"twice": edit("a", "A"), "too many": edit("a", "b", "c", "d"), "refused": edit("a", "no")} {
		if list, wrong := words.Read(path); err == nil || wrong != nil || strings.Join(list, "") != "ab" {
			t.Errorf("%s: %v; then %v, %v", name, err, list, wrong)
		}
	}
	if _, err := words.Scan("x", strings.NewReader("a\n#\n\nno")); !errors.Is(err, errWord) || err.Error() != "x:4: not this word" {
		t.Error(err)
	}
}

// A file is read again when it was replaced, even by one of the same size within the same moment.
func TestFollowed(t *testing.T) {
	path := filepath.Join(t.TempDir(), "words")
	read := func(path string) (string, error) {
		data, err := os.ReadFile(path)
		return string(data), err
	}
	if _, err := Follow("words", path, read, slog.New(slog.DiscardHandler)); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
	replace := func(text string) {
		t.Helper()
		if err := Replace(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	replace("0")
	f, err := Follow("words", path, read, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{"1", "2", "3", "4"} {
		replace(text)
		if got := f.Content(); got != text {
			t.Errorf("%q instead of %q", got, text)
		}
	}
}
