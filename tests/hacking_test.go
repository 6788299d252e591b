package tests

import (
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode"
)

// What HACKING.md names is there: files and folders, and the parts of Go names.
func TestNamesInHacking(t *testing.T) {
	page, err := os.ReadFile("../HACKING.md")
	if err != nil {
		t.Fatal(err)
	}
	paths, words := map[string]bool{}, map[string]bool{}
	between := func(r rune) bool { return r != '_' && !unicode.IsLetter(r) && !unicode.IsDigit(r) }
	err = filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.Name() == ".git" && d.IsDir():
			return fs.SkipDir
		}
		path = strings.TrimPrefix(path, "../")
		paths[path], paths[filepath.Base(path)] = true, true
		if path == "tests/hacking_test.go" || !slices.Contains([]string{".go", ".js", ".txt"}, filepath.Ext(path)) {
			return nil
		}
		code, err := os.ReadFile("../" + path)
		for w := range strings.FieldsFuncSeq(string(code), between) {
			words[w] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	text := regexp.MustCompile("(?s)\n```.*?\n```\n").ReplaceAllString(string(page), "\n")
	code, file, name := regexp.MustCompile("`([^`\n]+)`"), regexp.MustCompile(`^[\w./-]*/[\w./-]+$|\.(go|js|md|txt|yaml)$`), regexp.MustCompile(`^[A-Za-z]\w*(\.\w+)*$`)
	names := 0
	for _, m := range code.FindAllStringSubmatch(text, -1) {
		shown := strings.TrimPrefix(m[1], "./")
		switch {
		case file.MatchString(shown):
			names++
			if !paths[strings.TrimSuffix(shown, "/")] {
				t.Errorf("there is no file %s", shown)
			}
		case name.MatchString(shown):
			names++
			for _, part := range strings.Split(shown, ".") {
				if !words[part] {
					t.Errorf("%s: no code has the name %s", shown, part)
				}
			}
		}
	}
	if names < 150 {
		t.Errorf("only %d names: this test shows little", names)
	}
}

// The table of floors in HACKING.md is that of TestFloors.
func TestFloorsInHacking(t *testing.T) {
	page, err := os.ReadFile("../HACKING.md")
	if err != nil {
		t.Fatal(err)
	}
	shown := map[string]int{}
	for _, row := range regexp.MustCompile(`(?m)^\| ([0-9]+) \| ([\w/.]+) \|`).FindAllStringSubmatch(string(page), -1) {
		floor, err := strconv.Atoi(row[1])
		if err != nil {
			t.Fatal(err)
		}
		shown[row[2]] = floor
	}
	if !maps.Equal(shown, floors) {
		t.Errorf("HACKING.md has %v, floors are %v", shown, floors)
	}
}
