package policy

import "testing"

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
		{"/(/", 0, "", ""}, {"/0/", 1, "", ""}, {"0 1", 0, "", ""},
	} {
		if _, err := ParseNumberRule(bad.match, bad.strip, bad.add, bad.replace); err == nil {
			t.Errorf("%+v is taken", bad)
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
