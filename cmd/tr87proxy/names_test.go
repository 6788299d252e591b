package main

import (
	"context"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/tr87proxy/tr87proxy/internal/wait"
)

// monitor and watch show the names of devices and callers that the switch tells, who called whom, and for how long.
func TestNames(t *testing.T) {
	n := startNode(t)
	ctx, stop := context.WithCancel(t.Context())
	var group sync.WaitGroup
	defer group.Wait()
	defer stop()
	shown := map[string]*buffer{}
	for _, what := range []string{"monitor", "watch"} {
		out := &buffer{}
		shown[what] = out
		root := newRoot()
		root.SetOut(out)
		root.SetErr(out)
		group.Go(func() { execute(ctx, root, []string{what, "101", "--server", n.server}) })
	}
	has := func(what, pattern string) func() bool {
		return func() bool { return regexp.MustCompile(pattern).MatchString(shown[what].String()) }
	}
	wait.For(t, "the idle telephone", has("watch", `101 "Phone 101" idle\n`))
	wait.For(t, "the monitor", has("monitor", `monitor \S+ on 101\n`))
	if r := runCommand(t.Context(), "", "call", "100", "101", "--server", n.server); r.status != 0 {
		t.Fatal(r.errOut)
	}
	wait.For(t, "the call at the monitor", has("monitor", `101 rings, from 100 "Phone 100"`))
	wait.For(t, "the call in the rows", has("watch", `101 "Phone 101" alerting from 100 "Phone 100"`))
	if text := shown["monitor"].String(); strings.Contains(text, "refused") {
		t.Error(text)
	}
}

// The names of a switch are bounded, shortened, and cannot control the terminal.
func TestDeviceNames(t *testing.T) {
	known := deviceNames{}
	for i := range mostNames + 10 {
		known.set(string(rune('a'+i%26))+strings.Repeat("x", i/26), "n")
	}
	if len(known) != mostNames {
		t.Errorf("%d names", len(known))
	}
	known.set("a", "\x1b[2J"+strings.Repeat("é", 50))
	if got := known.of("a"); got != `a "?[2J`+strings.Repeat("é", longestName-5)+`…"` {
		t.Errorf("%q", got)
	}
	if got := known.of("nobody"); got != "nobody" {
		t.Errorf("%q", got)
	}
}
