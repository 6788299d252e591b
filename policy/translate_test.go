package policy

import (
	"strings"
	"testing"
)

func TestNumberRules(t *testing.T) {
	rule := func(match string, strip int, add, replace string) NumberRule {
		t.Helper()
		r, err := ParseNumberRule(match, strip, add, replace)
		if err != nil {
			t.Fatalf("%s: %v", match, err)
		}
		return r
	}
	rules := NumberRules{
		rule("00x.", 2, "+", ""), rule("0[1-9]x.", 1, "+49", ""), rule(`/9(\d{4})/`, 0, "", "+4989$1"), rule("[5-7]xxx", 0, "+4930", ""), rule("*21*x.#", 4, "", ""),
	}
	for in, want := range map[string]string{
		"004420123": "+4420123", "00": "+", "0894711": "+49894711", "01": "+491", "00x": "00x", "94711": "+49894711", "947110": "947110", "5123": "+49305123", "8123": "8123",
		"*21*100#": "100#", "": "", "+49": "+49",
	} {
		got := rules.Apply(in)
		traced, steps := rules.Trace(in)
		if got != want || traced != want || len(steps) == 0 || steps[len(steps)-1].Fits != (got != in) {
			t.Errorf("%s: %s, %s %v, want %s", in, got, traced, steps, want)
		}
	}
	for _, bad := range []struct {
		match        string
		strip        int
		add, replace string
	}{
		{"", 0, "", ""}, {".", 0, "", ""}, {"x..", 0, "", ""}, {"[a]", 0, "", ""}, {"[]", 0, "", ""}, {"[9-0]", 0, "", ""}, {"0x", 3, "", ""}, {"0x.", 2, "", ""}, {"0x", -1, "", ""}, {"0x", 0, "", "$1"},
		{"/(/", 0, "", ""}, {"/0/", 1, "", ""}, {"/0/", -1, "", ""}, {"/0/", 0, "1", "$1"}, {"0 1", 0, "", ""}, {"[5", 0, "", ""}, {"[5-]x]", 0, "", ""}, {"0/", 0, "", ""}, {"0:", 0, "", ""}, {"0a", 0, "", ""}, {"00x.", 3, "", ""}, {"[2-5]0", 3, "", ""},
	} {
		if _, err := ParseNumberRule(bad.match, bad.strip, bad.add, bad.replace); err == nil {
			t.Errorf("%+v is taken", bad)
		}
	}
}

// What digit maps match, and the result.
func TestDigitMaps(t *testing.T) {
	for _, tt := range []struct {
		match          string
		strip          int
		add            string
		fits, made, no string
	}{
		{"0x", 1, "+", "09", "+9", "0a"}, {"0x", 2, "", "05", "", "0"}, {"[2-5]0", 0, "", "20", "20", "60"}, {"[25]0", 1, "", "50", "0", "30"}, {"[5]0", 0, "", "50", "50", "0"}, {"0.1", 0, "9", "1", "91", "01x"}, {"x.1", 1, "", "001", "01", "2"},
		{"+1", 1, "00", "+1", "001", "1"}, {"#1*", 0, "7", "#1*", "7#1*", "11"}, {"[1-3].9", 1, "", "1239", "239", "49"}, {"9", 1, "", "9", "", "99"},
	} {
		r, err := ParseNumberRule(tt.match, tt.strip, tt.add, "")
		if err != nil {
			t.Errorf("%s: %v", tt.match, err)
			continue
		}
		if got := (NumberRules{r}).Apply(tt.fits); got != tt.made {
			t.Errorf("%s makes %s of %s, want %s", tt.match, got, tt.fits, tt.made)
		}
		if _, steps := (NumberRules{r}).Trace(tt.no); len(steps) != 1 || steps[0].Fits || steps[0].Number != tt.no || steps[0].Rule != tt.match {
			t.Errorf("%s: %+v", tt.match, steps)
		}
		if _, steps := (NumberRules{r}).Trace(tt.fits); len(steps) != 1 || steps[0] != (Step{tt.match, true, tt.made}) {
			t.Errorf("%s: %+v", tt.match, steps)
		}
	}
}

// Rules are not tried on an extension. The first rule that matches ends the trial.
func TestTrace(t *testing.T) {
	first, err := ParseNumberRule("1xx", 1, "9", "")
	if err != nil {
		t.Fatal(err)
	}
	second, err := ParseNumberRule("/(.*)/", 0, "", "8$1")
	if err != nil {
		t.Fatal(err)
	}
	n := ours()
	n.Rules = NumberRules{second, first}
	for written, want := range map[string]struct {
		number string
		steps  int
	}{"100": {"100", 0}, "lobby": {"lobby", 0}, "alice": {"alice", 0}, "tel:2": {"82", 1}, "a,b": {"", 1}} {
		number, steps, err := n.Trace(written)
		if number.String() != want.number || len(steps) != want.steps || (err == nil) != (want.number != "") {
			t.Errorf("%s: %v %v %v", written, number, steps, err)
		}
	}
}

// A rule makes a number of text that is none; the number is decided on, and obeys the rules. Without such a rule the
// text is refused.
func TestDialStrings(t *testing.T) {
	var rules NumberRules
	for _, r := range [][2]string{{`/sofia/gateway/trunk1/(\+?\d+)/`, "$1"}, {`/0([1-9]\d+)/`, "+49$1"}, {`/loopback/(.+)/`, "$1"}} {
		rule, err := ParseNumberRule(r[0], 0, "", r[1])
		if err != nil {
			t.Fatal(err)
		}
		rules = append(rules, rule)
	}
	n := ours()
	n.Rules = rules
	for written, want := range map[string]string{
		"sofia/gateway/trunk1/030123": "+4930123", "sofia/gateway/trunk1/+4930123": "+4930123", "sofia/gateway/trunk1/100": "100", "loopback/100": "100",
		"sofia/gateway/trunk2/030123": "", "sofia/gateway/trunk1/030123@x": "", "{a=b}sofia/gateway/trunk1/030123": "", "sofia/gateway/trunk1/030123\n": "+4930123", "sofia/gateway/trunk1/1\n2": "",
		"loopback/lobby": "", "loopback/1/2": "", "loopback/" + strings.Repeat("1", maxNumber+1): "",
	} {
		got, err := n.Parse(written, "")
		if got.String() != want || (err == nil) != (want != "") {
			t.Errorf("%q: %q %v, want %q", written, got, err, want)
		}
		if traced, _, _ := n.Trace(written); traced != got {
			t.Errorf("%q: traced to %q, not %q", written, traced, got)
		}
		if again, err := n.Parse(got.String(), ""); want != "" && (err != nil || again != got) {
			t.Errorf("%q: %q %v", got, again, err)
		}
	}
}

func TestPhoneContext(t *testing.T) {
	r, err := ParseNumberRule("00x.", 2, "+", "")
	if err != nil {
		t.Fatal(err)
	}
	n := &Numbers{Main: "+1425555", Extensions: func(number string) bool { return len(number) == 4 && number[0] == '0' }, Rules: NumberRules{r}}
	for written, want := range map[string]string{
		"tel:5550100;phone-context=+1425": "0100", "tel:4711;phone-context=+49-89": "+49894711", "tel:4711;phone-context=contoso.com": "4711", "tel:+4711;phone-context=+49": "+4711",
		"tel:0044 20 1": "+44201", "0044201": "+44201", "sip:0044201@x": "+44201", "0010": "0010", "tel:0010": "0010",
	} {
		if got, err := n.Parse(written, ""); err != nil || got.String() != want {
			t.Errorf("%s: %s %v, want %s", written, got, err, want)
		}
		if got, _, err := n.Trace(written); err != nil || got.String() != want {
			t.Errorf("%s: traced to %s %v", written, got, err)
		}
	}
}
