package files

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// What is replaced has the new content and mode, and the old owner; nothing is left beside it.
func TestReplace(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x")
	if (StampOf(path) != Stamp{}) {
		t.Error("a stamp of nothing")
	}
	if err := Replace(path, []byte("one"), 0o600); err != nil {
		t.Fatal(err)
	}
	owner := os.Getuid()
	if owner == 0 {
		owner = 4711
		if err := os.Chown(path, owner, owner); err != nil {
			t.Fatal(err)
		}
	}
	before := StampOf(path)
	if err := Replace(path, []byte("another"), 0o640); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(path)
	info, _ := os.Stat(path)
	if err != nil || string(data) != "another" || info.Mode().Perm() != 0o640 || int(info.Sys().(*syscall.Stat_t).Uid) != owner {
		t.Errorf("%q %v, owner %d: %v", data, info.Mode(), info.Sys().(*syscall.Stat_t).Uid, err)
	}
	if StampOf(path) == before {
		t.Error("the same stamp for another content")
	}
	if entries, _ := os.ReadDir(filepath.Dir(path)); len(entries) != 1 {
		t.Errorf("%d files are left", len(entries))
	}
}
