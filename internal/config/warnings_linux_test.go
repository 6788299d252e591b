package config

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// A folder in which the user of the program cannot create files is warned of, and one in which she can is not.
func TestFolderWithoutRight(t *testing.T) {
	folder := t.TempDir()
	if list := NoFolder("api.events.file", filepath.Join(folder, "events.db")); list != nil {
		t.Error(list)
	}
	if err := os.Chmod(folder, 0o500); err != nil {
		t.Fatal(err)
	}
	if os.Getuid() == 0 { // root may all the same: be somebody else for access(2), which looks at the real user
		const nobody, same = 65534, -1
		if err := syscall.Setresuid(nobody, same, same); err != nil {
			t.Skip(err)
		}
		defer func() { _ = syscall.Setresuid(0, same, same) }()
	}
	list := NoFolder("api.events.file", filepath.Join(folder, "events.db"))
	if len(list) != 1 || !strings.HasPrefix(list[0], "api.events.file: you cannot create files in directory "+folder+" (permission denied)") {
		t.Error(list)
	}
}
