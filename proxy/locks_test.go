package proxy

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"sync"
	"testing"
)

// TestMain checks the order of the core's locks in every test of the package.
func TestMain(m *testing.M) {
	var mu sync.Mutex
	held := map[string][]rank{} // by goroutine
	flag.Parse()
	if flag.Lookup("test.bench").Value.String() != "" {
		os.Exit(m.Run()) // it would take most of the time
	}
	checkLocks = func(r rank, taken bool) {
		var stack [64]byte
		goroutine, _, _ := bytes.Cut(stack[:runtime.Stack(stack[:], false)], []byte(" ["))
		mu.Lock()
		defer mu.Unlock()
		id := string(goroutine)
		mine := held[id]
		if !taken {
			if i := slices.Index(mine, r); i >= 0 {
				mine = slices.Delete(mine, i, i+1)
			}
			if held[id] = mine; len(mine) == 0 {
				delete(held, id)
			}
			return
		}
		if r == 0 || len(mine) > 0 && slices.Max(mine) >= r {
			fmt.Fprintf(os.Stderr, "FAIL: a lock of rank %d is taken while some of %v are held\n%s", r, mine, debug.Stack())
			os.Exit(1) // a panic would be taken for a fault of the link's
		}
		held[id] = append(mine, r)
	}
	os.Exit(m.Run())
}
