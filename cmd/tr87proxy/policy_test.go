package main

import (
	"io"
	"strings"
	"testing"
)

// A front that there is not is no answer to who may do what.
func TestExplainNamesFronts(t *testing.T) {
	root := newRoot()
	root.SetArgs([]string{"policy", "explain", "--as", "crm", "--front", "telex", "MakeCall", "100"})
	root.SetOut(io.Discard)
	root.SetErr(io.Discard)
	if err := root.Execute(); err == nil || !strings.Contains(err.Error(), `--front "telex": write one of: sip, xml, asn1`) {
		t.Error(err)
	}
}
