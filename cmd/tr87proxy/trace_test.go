package main

import (
	"strings"
	"testing"
)

// The file of the trace has what passed, also after the proxy has ended, and trace --file shows it as it shows that of a running one.
func TestTraceFile(t *testing.T) {
	n := startNode(t)
	if r := runCommand(t.Context(), "", "call", "100", "101", "--server", n.server); r.status != 0 {
		t.Fatal(r.errOut)
	}
	n.stop()
	r := runCommand(t.Context(), "", "trace", "--file", n.traced, "--service", "MakeCall")
	for _, want := range []string{"-- MakeCall 100 101 ", "allowed: ", "<-- ok MakeCall 100 "} {
		if r.status != 0 || !strings.Contains(r.out, want) {
			t.Errorf("status %d, %q is not in it:\n%s%s", r.status, want, r.out, r.errOut)
		}
	}
	if strings.Contains(r.out, "session") {
		t.Errorf("the filter is not used:\n%s", r.out)
	}
	all := runCommand(t.Context(), "", "trace", "--file", n.traced)
	if !strings.Contains(all.out, "session opened") || !strings.Contains(all.out, "session closed") {
		t.Errorf("the session is not in it:\n%s", all.out)
	}
}
