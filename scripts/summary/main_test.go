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
{"Action":"run","Package":"b","Test":"TestP"}
{"Action":"output","Package":"b","Test":"TestP","Output":"panic: P\n"}
{"Action":"run","Package":"b","Test":"TestQ"}
{"Action":"pause","Package":"b","Test":"TestQ"}
{"Action":"output","Package":"b","Test":"TestQ","Output":"    q_test.go:3: it waits for its turn\n"}
{"Action":"fail","Package":"b","Elapsed":0.1}
{"Action":"build-output","ImportPath":"c","Output":"c.go:1: syntax\n"}
{"Action":"fail","Package":"c","Elapsed":0,"FailedBuild":"c"}`
	var out strings.Builder
	r := newResult(&out, 5e9)
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

// Half a minute without a word is followed by what is running. Output that ends in the middle, as after an
// interrupt, is a failure.
func TestInterrupted(t *testing.T) {
	const in = `{"Time":"2026-01-01T00:00:00Z","Action":"start","Package":"a"}
{"Time":"2026-01-01T00:00:01Z","Action":"run","Package":"a","Test":"TestX"}
{"Time":"2026-01-01T00:00:02Z","Action":"run","Package":"a","Test":"TestY"}
{"Time":"2026-01-01T00:00:03Z","Action":"run","Package":"a","Test":"TestY/part"}
{"Time":"2026-01-01T00:00:29Z","Action":"pass","Package":"a","Test":"TestX","Elapsed":28}
{"Time":"2026-01-01T00:00:31Z","Action":"output","Package":"a","Test":"TestY","Output":"    y_test.go:7: halfway\n"}
{"Time":"2026-01-01T00:00:32Z","Action":"output","Pack`
	var out strings.Builder
	r := newResult(&out, 0)
	if err := r.read(strings.NewReader(in)); err != nil {
		t.Fatal(err)
	}
	r.end()
	const want = `...   1 tests passed; running: a TestY
{"Time":"2026-01-01T00:00:32Z","Action":"output","Pack
FAIL  a  it did not end; running: TestY, TestY/part
1 tests passed, 1 failed: a did not end.
`
	if out.String() != want {
		t.Errorf("%s", out.String())
	}
}
