package sip

import "testing"

// reasonLines are Reason headers, and what they say.
var reasonLines = []struct {
	lines []string
	want  Causes
}{
	{nil, Causes{}},
	{[]string{"Q.850;cause=17"}, Causes{Q850: 17}},
	{[]string{`q.850 ; Cause = 16 ; text="Normal, clearing; really"`}, Causes{Q850: 16}},
	{[]string{`SIP;cause=200;text="Call completed elsewhere"`}, Causes{SIP: 200}},
	{[]string{`SIP;cause=486;text="a \" , b", Q.850;cause=1`}, Causes{Q850: 1, SIP: 486}},
	{[]string{"Q.850;cause=1", "SIP;cause=404"}, Causes{Q850: 1, SIP: 404}},
	{[]string{"Q.850;cause=1;text", "Q.850;cause=1"}, Causes{Q850: 1}},
	{[]string{"FreeSWITCH;cause=1;text=x", "Q.850;cause=3"}, Causes{Q850: 3}},
	{[]string{"Preemption;cause=1"}, Causes{}},
	{[]string{"Q.850"}, Causes{}},
	{[]string{"Q.850;cause=1", "Q.850;cause=2", "SIP;cause=404"}, Causes{SIP: 404}}, // which?
	{[]string{"Q.850;cause=1, Q.850;cause=2, Q.850;cause=1"}, Causes{}},
	{[]string{"Q.850;cause=1, Q.850"}, Causes{}},
	{[]string{"Q.850;cause=1;cause=17"}, Causes{}},
	{[]string{`SIP;cause=486, Q.850;cause="17"`}, Causes{}},
	{[]string{`Q.850;cause=1;text="no end`, "SIP;cause=404"}, Causes{}},
	{[]string{"Q.850;cause=1,"}, Causes{}},
	{[]string{""}, Causes{}},
	{[]string{"Q.850;cause=+17"}, Causes{}},
	{[]string{"Q.850;cause=17x"}, Causes{}},
	{[]string{"Q.850;cause"}, Causes{}},
	{[]string{"Q.850;cause=128"}, Causes{}},
	{[]string{"Q.850;cause=0"}, Causes{}},
	{[]string{"Q.850;cause=99999999999999999999"}, Causes{}},
	{[]string{"SIP;cause=99"}, Causes{}},
	{[]string{"SIP;cause=700"}, Causes{}},
	{[]string{"Q. 850;cause=1"}, Causes{}},
}

func TestCauses(t *testing.T) {
	for _, tt := range reasonLines {
		if got := parseCauses(tt.lines); got != tt.want {
			t.Errorf("%q: %+v, want %+v", tt.lines, got, tt.want)
		}
	}
}

// FuzzCauses reads Reason headers. Every cause is within its range, and the order of the headers does not matter.
func FuzzCauses(f *testing.F) {
	for _, tt := range reasonLines {
		one, other := "", ""
		if len(tt.lines) > 0 {
			one = tt.lines[0]
		}
		if len(tt.lines) > 1 {
			other = tt.lines[1]
		}
		f.Add(one, other)
	}
	f.Fuzz(func(t *testing.T, one, other string) {
		c := parseCauses([]string{one, other})
		if c.Q850 < 0 || c.Q850 > 127 || c.SIP != 0 && (c.SIP < 100 || c.SIP > 699) {
			t.Error(c)
		}
		if again := parseCauses([]string{other, one}); again != c {
			t.Errorf("%+v, and the other way round %+v", c, again)
		}
	})
}
