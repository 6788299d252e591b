package main

import (
	"strings"
	"testing"
)

// What went well is a line for each package; what failed is said in full; the end is one line.
func TestSummary(t *testing.T) {
	const in = `{"Action":"output","Package":"a","Test":"TestX","Output":"=== RUN   TestX\n"}
{"Action":"pass","Package":"a","Test":"TestX","Elapsed":7}
{"Action":"output","Package":"a","Test":"TestY","Output":"    y_test.go:7: no sipp here\n"}
{"Action":"skip","Package":"a","Test":"TestY","Elapsed":0}
{"Action":"pass","Package":"a","Elapsed":7.04}
not of the tests
{"Action":"output","Package":"b","Test":"TestZ","Output":"    z_test.go:3: it is wrong\n"}
{"Action":"fail","Package":"b","Test":"TestZ","Elapsed":0.1}
{"Action":"output","Package":"b","Test":"TestP","Output":"panic: P\n"}
{"Action":"fail","Package":"b","Elapsed":0.1}
{"Action":"build-output","ImportPath":"c","Output":"c.go:1: syntax\n"}
{"Action":"fail","Package":"c","Elapsed":0,"FailedBuild":"c"}`
	var out strings.Builder
	r := &result{out: &out, slow: 5e9, output: map[string]*strings.Builder{}, skipped: map[string][]string{}}
	if err := r.read(strings.NewReader(in)); err != nil {
		t.Fatal(err)
	}
	r.end()
	const want = `slow  a TestX  7s
ok    a  7s
not of the tests
    z_test.go:3: it is wrong
panic: P
FAIL  b  100ms
c.go:1: syntax
FAIL  c  0s
1 tests passed, 3 failed: b TestZ; b; c; skipped: TestY (no sipp here).
`
	if out.String() != want || len(r.failed) == 0 {
		t.Errorf("%s", out.String())
	}
}
