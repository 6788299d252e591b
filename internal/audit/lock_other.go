//go:build !(darwin || dragonfly || freebsd || illumos || linux || netbsd || openbsd)

package audit

import "os"

// lock does nothing on systems without flock.
func lock(*os.File) (free bool) { return true }

// writable and creatable do not know here.
func writable(string) error { return nil }

func creatable(string) error { return nil }
